//! `[[command]]` → [`Command`]: where it writes, what values it takes, what must hold before and what shows it after.

use std::{collections::BTreeMap, sync::Arc};

use super::{Check, class::titled, meaning::Compared};
use crate::{
    at,
    domain::{Expression, Kind, PointIx, Value},
    profile::{
        Class, ClassPoint, Command, Interlock,
        plan::{Absent, Form, Plan, Scale, Take, Turn},
        product::Point,
        schema::{CommandFile, ModbusFile, ProfileFile},
        written::Meaning,
    },
    text,
};

impl Check<'_> {
    /// Those that are sound; none for a class that is never told anything.
    pub(super) fn commands(&mut self, file: &ProfileFile, class: &Class, points: &[Point]) -> Vec<Command> {
        self.duplicates("command", file.command.iter().map(|command| command.name.as_str()));
        let mut commands = Vec::new();
        for (i, written) in file.command.iter().enumerate() {
            match &file.modbus {
                _ if class.is_never_told() => {
                    let told = text!(
                        "对电梯只读不写：不能有 [[command]]",
                        "an elevator is never written to: no [[command]]"
                    );
                    self.error(at!["command", i], told);
                }
                None => {
                    let told = text!("[[command]] 只用于 [modbus]", "[[command]] is for [modbus] only");
                    self.error(at!["command", i], told);
                }
                Some(modbus) => {
                    commands.extend(self.command(i, written, modbus, Around { file, class, points }))
                }
            }
        }
        commands
    }

    fn command(
        &mut self,
        i: usize,
        written: &CommandFile,
        modbus: &ModbusFile,
        around: Around<'_>,
    ) -> Option<Command> {
        self.scale_and_range(&["command".into(), i.into()], written.scale, written.offset, written.range);
        let place = self.written_register(i, &written.write, modbus);
        let shown_by = self.read_back(i, written, around);
        let interlock = self.interlock(i, written, around);
        let (address, span, take) = place?;
        let turn = self.command_turn(i, written, &take, shown_by)?;
        self.read_back_kind(i, &turn, shown_by);
        let command = Command {
            name: written.name.as_str().into(),
            title: titled(written.title.clone(), &written.name),
            range: written.range,
            read_back: written.read_back.as_deref().and_then(|name| around.point(name)),
            interlock,
            address,
            span,
            multiple: written.multiple,
            plan: Plan { take, absent: Absent::default(), turn },
        };
        self.range_fits(i, &command);
        Some(command)
    }

    /// The class's definition of the read-back point.
    fn read_back<'c>(
        &mut self,
        i: usize,
        written: &CommandFile,
        around: Around<'c>,
    ) -> Option<&'c ClassPoint> {
        let name = written.read_back.as_deref()?;
        let names = || around.file.point.iter().map(|point| point.name.as_str());
        if !names().any(|point| point == name) {
            let told = text!("这个文件里没有测点 \"{name}\"", "this file has no point \"{name}\"");
            self.unknown(at!["command", i, "read_back"], told, name, names());
            return None;
        }
        around.class.point(name)
    }

    fn interlock(&mut self, i: usize, written: &CommandFile, around: Around<'_>) -> Option<Interlock> {
        let source = written.interlock.as_deref()?;
        let path = at!["command", i, "interlock"];
        if !self.condition(path, source, &around.class.points) {
            return None;
        }
        let expression = Expression::compile(source).ok()?;
        let lacks = |name: &&String| !around.file.point.iter().any(|point| point.name == **name);
        for name in expression.names().iter().filter(lacks) {
            let told = text!(
                "这个文件里没有测点 \"{name}\"，这条命令永远不会发出",
                "this file has no point \"{name}\": the command would never be sent"
            );
            self.error(path, told);
        }
        let points = expression.names().iter().map(|name| around.point(name)).collect::<Option<_>>()?;
        Some(Interlock { source: source.to_owned(), expression, points })
    }

    /// What kind of value it takes: words or flags by `values`, a flag for one bit, else a number.
    fn command_turn(
        &mut self,
        i: usize,
        written: &CommandFile,
        take: &Take,
        shown_by: Option<&ClassPoint>,
    ) -> Option<Turn> {
        let compared = Compared::of(take);
        let number = written.values.is_none() && !matches!(compared, Compared::Patterns(Form::Truth, _));
        if number {
            let (scale, offset) = (written.scale.unwrap_or(1.0), written.offset.unwrap_or(0.0));
            // The range is the command's own to keep: it holds for what is asked, and to a float's precision for what is sent.
            return Some(Turn::Number { scale: Scale::new(scale), offset, range: None });
        }
        for (key, _) in [
            ("scale", written.scale.is_some()),
            ("offset", written.offset.is_some()),
            ("range", written.range.is_some()),
        ]
        .into_iter()
        .filter(|(_, is)| *is)
        {
            let told =
                text!("只有写数值的命令才有 \"{key}\"", "only a command that takes a number has \"{key}\"");
            self.key_error(at!["command", i, key], told);
        }
        match &written.values {
            None => Some(Turn::Flag(None)),
            Some(values) => self.command_values(i, values, compared, shown_by),
        }
    }

    fn command_values(
        &mut self,
        i: usize,
        values: &BTreeMap<String, Meaning>,
        compared: Compared,
        shown_by: Option<&ClassPoint>,
    ) -> Option<Turn> {
        let of = at!["command", i];
        if values.values().any(|meaning| matches!(meaning, Meaning::Flag(_))) {
            let flags = self.meanings(of, values, Self::flag);
            return self.dictionary(of, flags, compared).map(|all| Turn::Flag(Some(all)));
        }
        let words = self.meanings(of, values, |check, path, meaning| match (shown_by, meaning) {
            (Some(class), _) if class.kind == Kind::Choice => check.word(path, meaning, class),
            (_, Meaning::Word(word)) => Some(Arc::from(word.as_str())),
            (_, Meaning::Flag(_)) => None,
        });
        self.dictionary(of, words, compared).map(Turn::Choice)
    }

    fn read_back_kind(&mut self, i: usize, turn: &Turn, shown_by: Option<&ClassPoint>) {
        let Some(class) = shown_by else { return };
        let alike = match turn {
            Turn::Number { .. } => class.kind == Kind::Number,
            Turn::Flag(_) => class.kind == Kind::Flag,
            Turn::Choice(_) => class.kind == Kind::Choice,
            Turn::Text => false,
        };
        if !alike {
            let name = &class.name;
            let told = text!(
                "测点 \"{name}\" 的种类与这条命令的值不同，看不出是否执行",
                "the point \"{name}\" is of another kind than the command's value: it cannot show whether it was done"
            );
            self.error(at!["command", i, "read_back"], told);
        }
    }

    /// Both ends of the range must be something that can be sent; a number without one is bounded by its register alone.
    fn range_fits(&mut self, i: usize, command: &Command) {
        match (&command.plan.turn, command.range) {
            (Turn::Number { .. }, None) => {
                let told = text!(
                    "没有 range：寄存器放得下的任何数值都会发出",
                    "no `range`: any number that the register can hold is sent"
                );
                self.warning(at!["command", i], told);
            }
            (Turn::Number { .. }, Some(ends)) => {
                for (n, end) in ends.into_iter().enumerate().filter(|(_, end)| end.is_finite()) {
                    if command.setting(&Value::Number(end)).is_err() {
                        let told = text!("寄存器放不下 {end}", "the register cannot hold {end}");
                        self.error(at!["command", i, "range", n], told);
                    }
                }
            }
            (Turn::Flag(_) | Turn::Choice(_) | Turn::Text, _) => {}
        }
    }
}

/// The file and class that a command stands in, with the points that were sound.
#[derive(Clone, Copy)]
struct Around<'a> {
    file: &'a ProfileFile,
    class: &'a Class,
    points: &'a [Point],
}

impl Around<'_> {
    fn point(&self, name: &str) -> Option<PointIx> {
        let place = (0u16..).zip(self.points).find(|(_, point)| point.name.as_str() == name);
        place.map(|(ix, _)| PointIx(ix))
    }
}
