//! `class.toml` → [`Class`].

use std::{sync::Arc, time::Duration};

use super::{
    Check,
    expression::{self, ExpressionMistake},
};
use crate::{
    at,
    document::{Document, Place, Problems, Step},
    domain::{Kind, Origin, Period, Priority, Text},
    profile::{
        Class, ClassAlarm, ClassPoint, When,
        schema::{ClassAlarmFile, ClassFile, ClassPointFile},
    },
    text,
};

/// The alarm that every class has without writing it.
pub(super) const COMM_LOSS: &str = "comm_loss";
/// What `rate` and `stuck` go by if nothing else is written.
const ALWAYS: &str = "true";
/// Longer than this, a flag that is held says nothing of now.
const LONGEST_HOLD: Duration = Duration::from_secs(600);
const SHORTEST_HOLD: Duration = Duration::from_secs(1);
const COMM_LOSS_ON_DELAY: Duration = Duration::from_secs(30);

/// The class that `document` describes, or `None` and what is wrong with it in `problems`.
pub fn compile_class(document: &Document, problems: &mut Problems) -> Option<Class> {
    let mut found = Problems::default();
    let class = document.read::<ClassFile>(&mut found).map(|file| {
        let mut check = Check { document, problems: &mut found };
        check.duplicates("point", file.point.iter().map(|point| point.name.as_str()));
        check.duplicates("alarm", file.alarm.iter().map(|alarm| alarm.name.as_str()));
        check.class(file)
    });
    let sound = !found.has_errors();
    problems.extend(found);
    class.filter(|_| sound)
}

impl Check<'_> {
    fn class(&mut self, file: ClassFile) -> Class {
        if file.point.is_empty() {
            self.error(at![], text!("这个类别没有任何测点", "this class has no point"));
        }
        let mut points: Vec<ClassPoint> =
            file.point.into_iter().enumerate().map(|(i, point)| self.class_point(i, point)).collect();
        self.expressions(&file.alarm, &points);
        let mut alarms: Vec<ClassAlarm> = file
            .alarm
            .into_iter()
            .enumerate()
            .map(|(i, alarm)| self.class_alarm(i, alarm, &points))
            .collect();
        if !alarms.iter().any(|alarm| alarm.name.as_str() == COMM_LOSS) {
            alarms.push(comm_loss());
        }
        let credit = file.credit.and_then(|credit| self.class_credit(credit, &mut points));
        Class { title: titled(file.title, &file.class), name: file.class.into(), points, alarms, credit }
    }

    fn class_point(&mut self, i: usize, file: ClassPointFile) -> ClassPoint {
        let choice = file.kind == Kind::Choice;
        if !choice && !file.values.is_empty() {
            let told = text!("只有 choice 才有 values", "only a choice has values");
            self.key_error(at!["point", i, "values"], told);
        }
        if choice && file.values.len() < 2 {
            let told =
                text!("choice 要在 values 里列出至少两个词", "a choice lists at least two words in `values`");
            self.error(at!["point", i, "values"], told);
        }
        for (n, word) in file.values.iter().enumerate() {
            if file.values[..n].contains(word) {
                self.error(
                    at!["point", i, "values", n],
                    text!("\"{word}\" 重复", "\"{word}\" is there twice"),
                );
            }
        }
        if file.kind != Kind::Number && !file.unit.is_empty() {
            let told = text!("只有 number 才有单位", "only a number has a unit");
            self.key_error(at!["point", i, "unit"], told);
        }
        if let Some(Period(hold)) = file.hold {
            if file.kind != Kind::Flag {
                self.key_error(at!["point", i, "hold"], text!("只有 flag 才能保持", "only a flag is held"));
            } else if hold < SHORTEST_HOLD || hold > LONGEST_HOLD {
                self.error(at!["point", i, "hold"], text!("须在 1s 到 10m 之间", "it is from 1s to 10m"));
            }
        }
        ClassPoint {
            title: titled(file.title, &file.name),
            name: file.name.into(),
            kind: file.kind,
            unit: file.unit,
            values: file.values.into_iter().map(Arc::from).collect(),
            data: file.data,
            required: file.required,
            hold: file.hold.map(Duration::from),
            card: false,
            reckoned: false,
        }
    }

    fn class_alarm(&mut self, i: usize, file: ClassAlarmFile, points: &[ClassPoint]) -> ClassAlarm {
        let link = file.name == COMM_LOSS || file.link_lost;
        if file.link_lost && file.on_delay.is_none() {
            let told = text!("要写 on_delay：多久没有应答", "`on_delay` says after how long a silence");
            self.key_error(at!["alarm", i, "link_lost"], told);
        }
        match &file.when {
            None if !link && file.rate.is_none() && file.stuck.is_none() => {
                let told = text!(
                    "缺少 \"when\"：报警在什么情况下成立",
                    "\"when\" is missing: what the alarm watches"
                );
                self.error(at!["alarm", i], told);
            }
            Some(_) if link => {
                let told = text!(
                    "这个报警看的是通信本身，不能另写条件",
                    "this alarm watches the link itself: it takes no condition"
                );
                self.key_error(at!["alarm", i, "when"], told);
            }
            Some(_) | None => {}
        }
        self.suppressed(i, &file);
        let over_time = self.over_time(i, &file, points);
        let on_delay = if link { COMM_LOSS_ON_DELAY } else { Duration::ZERO };
        let delay = |written: Option<Period>, default| written.map_or(default, Duration::from);
        ClassAlarm {
            title: match link {
                true if file.name == COMM_LOSS => file.title.unwrap_or_else(|| comm_loss().title),
                true | false => titled(file.title, &file.name),
            },
            name: file.name.into(),
            priority: file.priority,
            when: match link {
                true => When::LinkLost,
                false => When::Expression(file.when.unwrap_or_else(|| ALWAYS.to_owned())),
            },
            over_time,
            clear_when: file.clear_when,
            on_delay: delay(file.on_delay, on_delay),
            off_delay: delay(file.off_delay, Duration::ZERO),
            // Only a person ends what is a matter of life.
            latching: file.latching || file.life_safety,
            life_safety: file.life_safety,
            origin: file.origin,
            suppress_when: file.suppress_when,
            rescue_within: file.rescue_within.map(Duration::from),
            cause: file.cause.unwrap_or_default(),
            response: file.response.unwrap_or_default(),
        }
    }

    /// What a device itself says of a matter of life reaches people, whatever its mode.
    fn suppressed(&mut self, i: usize, file: &ClassAlarmFile) {
        if file.suppress_when.is_some() && file.life_safety && file.origin == Origin::Reported {
            let name = &file.name;
            let told = text!(
                "\"{name}\" 关系人身安全且由设备上报，不能抑制",
                "\"{name}\" is a matter of life that the device itself reports: it cannot be suppressed"
            );
            self.key_error(at!["alarm", i, "suppress_when"], told);
        }
        let day = Duration::from_secs(86_400);
        if file.rescue_within.is_some_and(|within| within.0.is_zero() || within.0 > day) {
            let told = text!("须大于 0，不超过 1d", "it is more than 0 and 1d at most");
            self.error(at!["alarm", i, "rescue_within"], told);
        }
    }

    fn expressions(&mut self, alarms: &[ClassAlarmFile], points: &[ClassPoint]) {
        let written = alarms.iter().enumerate().filter_map(|(i, alarm)| Some((i, alarm.when.as_deref()?)));
        for (i, source) in written {
            self.condition(at!["alarm", i, "when"], source, points);
        }
        let written = alarms.iter().enumerate();
        for (i, source) in written.filter_map(|(i, alarm)| Some((i, alarm.suppress_when.as_deref()?))) {
            self.condition(at!["alarm", i, "suppress_when"], source, points);
        }
        let written = alarms.iter().enumerate();
        for (i, source) in written.filter_map(|(i, alarm)| Some((i, alarm.clear_when.as_deref()?))) {
            self.condition(at!["alarm", i, "clear_when"], source, points);
        }
    }

    /// Tells what is wrong with the condition `source` at `path`; whether nothing is.
    pub(super) fn condition(&mut self, path: &[Step<'_>], source: &str, points: &[ClassPoint]) -> bool {
        let whole = self.document.place(path);
        let mistakes = expression::check(source, points);
        let sound = mistakes.is_empty();
        for ExpressionMistake { span, message, help } in mistakes {
            let place = span.and_then(|span| inside(&whole, source, span)).unwrap_or(whole.clone());
            match help {
                Some(help) => self.problems.error_with_help(place, message, help),
                None => self.problems.error(place, message),
            }
        }
        sound
    }
}

/// The stretch `span` of `source` in the file, where the file has it letter for letter between quotes.
fn inside(whole: &Place, source: &str, span: std::ops::Range<usize>) -> Option<Place> {
    let written = whole.source.text.get(whole.span.clone())?;
    let start = whole.span.start + written.find(source)?;
    Some(Place { source: whole.source.clone(), span: start + span.start..start + span.end })
}

fn comm_loss() -> ClassAlarm {
    ClassAlarm {
        name: COMM_LOSS.into(),
        title: text!("通信中断", "communication lost"),
        priority: Priority::High,
        when: When::LinkLost,
        over_time: None,
        clear_when: None,
        on_delay: COMM_LOSS_ON_DELAY,
        off_delay: Duration::ZERO,
        latching: false,
        life_safety: false,
        origin: Origin::Reported,
        suppress_when: None,
        rescue_within: None,
        cause: Text::default(),
        response: Text::default(),
    }
}

/// A title that was left out is the name itself.
pub(super) fn titled(title: Option<Text>, name: &str) -> Text {
    title.unwrap_or_else(|| Text::new(name, name))
}
