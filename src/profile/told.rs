//! Cases of commands: what would go over the wire against what was wanted.

use std::collections::BTreeMap;

use super::{Case, Command, Profile, cases::WantWriteFile, trial::Difference, trial::Readings};
use crate::domain::{Instruction, PointIx, Sample, Value};

impl Case {
    /// No reading is wanted: of a command's case it is the write that counts.
    pub(super) fn wants_nothing(&self) -> bool {
        self.want.is_empty()
    }

    /// `got`: the readings of the registers in the case, which the interlock sees.
    pub(super) fn write_difference(
        &self,
        profile: &Profile,
        got: &BTreeMap<PointIx, Sample>,
    ) -> Option<Difference> {
        let (asked, want) = self.file.command.as_ref().zip(self.file.want_write.as_ref())?;
        let command = profile.command(&asked.name)?;
        let base = profile.address_base();
        let got = written(profile, command, &Value::from(&asked.value), got);
        let same = match &got {
            Ok(instruction) => want.is(instruction, base),
            Err(_refused) => want.is_nothing(),
        };
        let got = got.map_or_else(|why| why, |instruction| shown(&instruction, base));
        (!same).then(|| Difference { of: "write".into(), want: want.shown(), got })
    }
}

/// What is sent for `value`, or why nothing is.
fn written(
    profile: &Profile,
    command: &Command,
    value: &Value,
    got: &BTreeMap<PointIx, Sample>,
) -> Result<Instruction, String> {
    let setting = command.setting(value).map_err(|unfit| format!("refused: {}", unfit.text().en))?;
    let Some(interlock) = &command.interlock else { return Ok(setting.instruction) };
    let readings =
        got.iter().map(|(ix, sample)| (profile.points[usize::from(ix.0)].name.as_str(), sample)).collect();
    match Readings(&readings).truth(&interlock.expression) {
        Some(true) => Ok(setting.instruction),
        Some(false) => Err("refused by its interlock".to_owned()),
        None => Err("refused: nobody knows whether its interlock holds".to_owned()),
    }
}

impl WantWriteFile {
    fn is_nothing(&self) -> bool {
        self.holding.is_empty() && self.coil.is_empty()
    }

    fn is(&self, instruction: &Instruction, base: u16) -> bool {
        let function = self.function.is_none_or(|function| function == instruction.function());
        function
            && match instruction {
                Instruction::Registers { first, words, .. } => {
                    self.coil.is_empty() && numbered(&self.holding) == from(*first, base, words)
                }
                Instruction::Coils { first, bits, .. } => {
                    self.holding.is_empty() && numbered(&self.coil) == from(*first, base, bits)
                }
            }
    }

    fn shown(&self) -> String {
        match self.is_nothing() {
            true => "nothing written".to_owned(),
            false => {
                let function = self.function.map_or_else(String::new, |code| format!("function {code} "));
                let words = numbered(&self.holding).into_iter().map(|(at, word)| format!("{at:#06x}={word}"));
                let bits = numbered(&self.coil).into_iter().map(|(at, bit)| format!("{at:#06x}={bit}"));
                format!("{function}{}", words.chain(bits).collect::<Vec<_>>().join(" "))
            }
        }
    }
}

fn shown(instruction: &Instruction, base: u16) -> String {
    let list = |all: &mut dyn Iterator<Item = String>| all.collect::<Vec<_>>().join(" ");
    let values = match instruction {
        Instruction::Registers { first, words, .. } => {
            list(&mut from(*first, base, words).into_iter().map(|(at, word)| format!("{at:#06x}={word}")))
        }
        Instruction::Coils { first, bits, .. } => {
            list(&mut from(*first, base, bits).into_iter().map(|(at, bit)| format!("{at:#06x}={bit}")))
        }
    };
    format!("function {} {values}", instruction.function())
}

fn numbered<T: Copy>(listed: &BTreeMap<String, T>) -> BTreeMap<u32, T> {
    let number = |text: &str| super::cases::register_number(text).map(u32::from);
    listed.iter().filter_map(|(text, value)| Some((number(text)?, *value))).collect()
}

/// As the profile counts.
fn from<T: Copy>(first: u16, base: u16, values: &[T]) -> BTreeMap<u32, T> {
    (u32::from(first) + u32::from(base)..).zip(values.iter().copied()).collect()
}
