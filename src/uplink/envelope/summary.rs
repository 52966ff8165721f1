//! What was told together, grouped by what explains it: a line that is down, a device that does not answer, or the same alarm of many.

use std::collections::BTreeMap;

use serde::Serialize;

use super::View;
use crate::domain::{AlarmName, AlarmState, ClassName, DeviceId, OccurrenceId, Priority, Summarised, Text};

#[derive(Serialize)]
pub(super) struct Summary<'a> {
    /// Alarms in it; and steps of alarms that there was no room for.
    count: usize,
    #[serde(skip_serializing_if = "is_none")]
    more: u64,
    groups: Vec<Group<'a>>,
}

fn is_none(more: &u64) -> bool {
    *more == 0
}

#[derive(Serialize)]
struct Group<'a> {
    /// `device/alarm` of what explains them, if an alarm does.
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    class: &'a ClassName,
    name: &'a AlarmName,
    title: &'a Text,
    priority: Priority,
    alarms: Vec<One<'a>>,
}

#[derive(Serialize)]
struct One<'a> {
    device: &'a DeviceId,
    occurrence: &'a OccurrenceId,
    state: AlarmState,
    /// Its latest step, and how many there were.
    step: &'static str,
    steps: u64,
    first_seq: u64,
    last_seq: u64,
    at: String,
}

impl<'a> View<'a> {
    /// Only what the endpoint wants.
    pub(super) fn summary(&self) -> Summary<'a> {
        let event = self.event;
        let wanted = event
            .summary
            .iter()
            .filter(|one| self.wants.is_alarm_wanted(one.priority, std::iter::once(&one.class)));
        let mut groups: BTreeMap<(Priority, Option<String>, &ClassName, &AlarmName), Group> = BTreeMap::new();
        let mut count = 0;
        for one in wanted {
            count += 1;
            let cause = one.cause.as_ref().map(ToString::to_string);
            let group = groups.entry((one.priority, cause.clone(), &one.class, &one.key.alarm));
            let group = group.or_insert_with(|| Group {
                cause,
                class: &one.class,
                name: &one.key.alarm,
                title: &one.title,
                priority: one.priority,
                alarms: Vec::new(),
            });
            group.alarms.push(self.one(one));
        }
        Summary { count, more: event.more, groups: groups.into_values().collect() }
    }

    fn one(&self, one: &'a Summarised) -> One<'a> {
        One {
            device: &one.key.device,
            occurrence: &one.occurrence,
            state: one.state,
            step: one.kind.word(),
            steps: one.steps,
            first_seq: one.first_seq,
            last_seq: one.last_seq,
            at: self.time(one.at),
        }
    }
}
