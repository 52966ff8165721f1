//! Something a device can be told to do, compiled: from the value people ask for to what goes over the wire.

use super::{
    Profile,
    plan::{Dictionary, Plan, Take, Turn, Wire},
};
use crate::{
    domain::{CommandName, Expression, Instruction, PointIx, Text, Value},
    text,
};

#[derive(Debug)]
pub struct Command {
    pub name: CommandName,
    pub title: Text,
    /// Of a number: lowest and highest that is ever sent.
    pub range: Option<[f64; 2]>,
    /// The point that shows whether it was done.
    pub read_back: Option<PointIx>,
    pub interlock: Option<Interlock>,
    pub(super) address: u16,
    pub(super) span: u16,
    pub(super) multiple: bool,
    /// As for a point: what the register would read as.
    pub(super) plan: Plan,
}

/// Only while it is true is the command sent.
#[derive(Debug)]
pub struct Interlock {
    /// As the profile has it.
    pub source: String,
    pub expression: Expression,
    /// The points it names: all must be good.
    pub points: Vec<PointIx>,
}

/// What is told to a device, and the value that it will have then: that asked for, rounded to what the register can hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    pub instruction: Instruction,
    pub value: Value,
}

/// Why nothing on the wire is this value.
#[derive(Clone, Debug, PartialEq)]
pub enum Unfit {
    NotANumber,
    NotAFlag,
    /// None of these words.
    NotAWord(Vec<String>),
    Beyond([f64; 2]),
    /// The register cannot hold it.
    DoesNotFit,
}

impl Unfit {
    pub fn text(&self) -> Text {
        match self {
            Unfit::NotANumber => text!("要一个数值", "it takes a number"),
            Unfit::NotAFlag => text!("要 true 或 false", "it takes true or false"),
            Unfit::NotAWord(words) => {
                let all = words.join(", ");
                text!("只能是：{all}", "it takes one of: {all}")
            }
            Unfit::Beyond([low, high]) => {
                text!("要在 {low} 到 {high} 之间", "it takes {low} to {high}")
            }
            Unfit::DoesNotFit => text!("寄存器放不下这个值", "the register cannot hold this value"),
        }
    }
}

impl Command {
    /// What goes over the wire for `value`, exactly, and what the device will have then.
    ///
    /// # Errors
    /// If `value` is of another kind, out of range, or cannot be held within half a step of the register.
    pub fn setting(&self, value: &Value) -> Result<Setting, Unfit> {
        self.fitting(value)?;
        let (instruction, held) = match self.plan.take {
            Take::Bit => {
                let bit = self.plan.bit(value).ok_or(Unfit::DoesNotFit)?;
                let (first, multiple) = (self.address, self.multiple);
                (Instruction::Coils { first, bits: vec![bit], multiple }, self.plan.of_bit(bit))
            }
            Take::Words { .. } | Take::Bytes { .. } | Take::Pointer { .. } | Take::WholeText(_) => {
                let words = self.plan.words(self.span, value).ok_or(Unfit::DoesNotFit)?;
                let words: Vec<u16> = words.into_iter().map(|word| word.over(0)).collect();
                let held = self.plan.of_words(&words);
                let (first, multiple) = (self.address, self.multiple);
                (Instruction::Registers { first, words, multiple }, held)
            }
        };
        let held = held.as_ref().and_then(|sample| sample.value());
        match held.filter(|held| self.is_as_asked(value, held)) {
            Some(held) => Ok(Setting { instruction, value: held.clone() }),
            None => Err(Unfit::DoesNotFit),
        }
    }

    /// `text` as a value of the kind that this command takes.
    ///
    /// # Errors
    /// If it is none.
    pub fn value_in(&self, text: &str) -> Result<Value, Unfit> {
        match &self.plan.turn {
            // "nan" and "inf" are no numbers to a device
            Turn::Number { .. } => {
                let number = text.parse().ok().filter(|number: &f64| number.is_finite());
                number.map(Value::Number).ok_or(Unfit::NotANumber)
            }
            Turn::Flag(_) => match text {
                "true" | "on" | "1" | "开" => Ok(Value::Flag(true)),
                "false" | "off" | "0" | "关" => Ok(Value::Flag(false)),
                _ => Err(Unfit::NotAFlag),
            },
            Turn::Choice(_) | Turn::Text => Ok(Value::Text(text.into())),
        }
    }

    /// The words that it takes, where it takes words.
    pub fn words(&self) -> Vec<String> {
        let words = |all: &mut dyn Iterator<Item = String>| all.collect();
        match &self.plan.turn {
            Turn::Number { .. } | Turn::Text => Vec::new(),
            Turn::Flag(_) => vec!["true".to_owned(), "false".to_owned()],
            Turn::Choice(Dictionary::Patterns(all)) => {
                words(&mut all.iter().map(|(_, word)| word.to_string()))
            }
            Turn::Choice(Dictionary::Numbers(all)) => {
                words(&mut all.iter().map(|(_, word)| word.to_string()))
            }
            Turn::Choice(Dictionary::Texts(all)) => words(&mut all.iter().map(|(_, word)| word.to_string())),
        }
    }

    fn fitting(&self, value: &Value) -> Result<(), Unfit> {
        match (&self.plan.turn, value) {
            (Turn::Number { .. }, Value::Number(number)) => match self.range {
                _ if !number.is_finite() => Err(Unfit::NotANumber),
                Some(range) if !(range[0]..=range[1]).contains(number) => Err(Unfit::Beyond(range)),
                Some(_) | None => Ok(()),
            },
            (Turn::Number { .. } | Turn::Text, _) => Err(Unfit::NotANumber),
            (Turn::Flag(_), Value::Flag(_)) => Ok(()),
            (Turn::Flag(_), _) => Err(Unfit::NotAFlag),
            (Turn::Choice(_), Value::Text(word)) if self.words().iter().any(|known| **known == **word) => {
                Ok(())
            }
            (Turn::Choice(_), _) => Err(Unfit::NotAWord(self.words())),
        }
    }

    /// Whether what the register will hold is what was asked for, to half a step of it, and within range.
    fn is_as_asked(&self, asked: &Value, held: &Value) -> bool {
        let (Value::Number(asked), Value::Number(held)) = (asked, held) else { return asked == held };
        let noise = if self.plan.step() == 0.0 { FLOAT_NOISE * asked.abs() } else { 0.0 };
        let within = self.range.is_none_or(|[low, high]| (low - noise..=high + noise).contains(held));
        let half_a_step = self.plan.step() / 2.0 * (1.0 + FLOAT_NOISE);
        within && (asked - held).abs() <= half_a_step + noise
    }
}

/// A 32-bit float holds seven digits; doubles are reckoned with on the way.
const FLOAT_NOISE: f64 = 1e-6;

impl Plan {
    /// What one step of the raw number is worth; 0 where there are no steps.
    fn step(&self) -> f64 {
        let whole = matches!(self.take, Take::Bit | Take::Words { wire: Wire::Whole { .. }, .. });
        match &self.turn {
            Turn::Number { scale, .. } if whole => scale.apply(1.0).abs(),
            Turn::Number { .. } | Turn::Flag(_) | Turn::Choice(_) | Turn::Text => 0.0,
        }
    }
}

impl Profile {
    /// Whether `seen` at `point` shows that `command` set `value`. A coarser point may have rounded or cut it.
    pub fn shows(&self, command: &Command, point: PointIx, value: &Value, seen: &Value) -> bool {
        match (value, seen) {
            (Value::Number(value), Value::Number(seen)) => {
                let (step, of_command) = (self.points[usize::from(point.0)].plan.step(), command.plan.step());
                let coarse = step > of_command * (1.0 + FLOAT_NOISE);
                let steps =
                    if coarse { step * (1.0 - FLOAT_NOISE) } else { step / 2.0 * (1.0 + FLOAT_NOISE) };
                let floats = if step == 0.0 || of_command == 0.0 { value.abs() * FLOAT_NOISE } else { 0.0 };
                (value - seen).abs() <= steps + floats
            }
            (value, seen) => value == seen,
        }
    }
}
