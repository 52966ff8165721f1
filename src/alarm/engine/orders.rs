//! What people order of alarms besides taking them on: shelve, take out of service, close, report of a rescue. Each order comes to
//! changes that are committed like every other, or is turned down with the reason.

use std::time::Duration;

use jiff::Timestamp;

use super::{Change, Engine, Look, Slot, Watched};
use crate::{
    alarm::{
        Latest, Rule, ShelvingLimits, Truth, WorkedOut,
        lifecycle::{self, Held, Input},
    },
    domain::{
        Acknowledgement, AlarmKey, AlarmMemory, DeviceIx, Hold, Period, Priority, RescueStep, Stamp, Text,
        TransitionKind, command::Act, event::of_no_occurrence,
    },
    text,
};

/// Why nothing comes of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TurnedDown {
    NoSuchAlarm,
    /// A device where an alarm is wanted.
    OneAlarmOnly,
    /// A matter of life, or a critical alarm of an elevator.
    NeverShelved {
        alarm: AlarmKey,
    },
    NotAtThisPriority {
        priority: Priority,
    },
    TooLong {
        limit: Duration,
    },
    /// Matters of life that would go out of service with it.
    LifeSafety {
        alarms: Vec<AlarmKey>,
    },
    Already {
        by: String,
        until: Timestamp,
    },
    NotHeld,
    StillActive,
    NotOpen,
    NoRescue,
    AlreadyReported {
        by: String,
        at: Timestamp,
    },
    TooLateFor {
        step: RescueStep,
    },
}

/// One alarm that an order is about.
struct Meant<'a> {
    slot: &'a Slot,
    latest: &'a Latest,
    look: Look<'a>,
}

impl Engine {
    /// What the order of `who` about `subject` comes to: an occurrence, an alarm (`device/alarm`), or for
    /// [`Act::TakeOut`] and [`Act::PutBack`] a whole device.
    ///
    /// # Errors
    /// Why nothing comes of it.
    pub fn order(
        &self,
        subject: &str,
        act: &Act,
        who: &Acknowledgement,
        now: Stamp,
    ) -> Result<Vec<Change>, TurnedDown> {
        let meant = self.meant(subject, now);
        let whole_device = self.devices.iter().any(|watched| *watched.id == *subject);
        match (act, meant.as_slice()) {
            (_, []) => Err(TurnedDown::NoSuchAlarm),
            (Act::TakeOut { length, life_safety }, meant) => {
                self.take_out(meant, (*length, *life_safety), who, whole_device)
            }
            (Act::PutBack, meant) => put_back(meant, who),
            (Act::Shelve { length }, [alarm]) => alarm.shelve(*length, &self.customs.shelving, who),
            (Act::Unshelve, [alarm]) => alarm.lift(Held::Shelved, who).ok_or(TurnedDown::NotHeld),
            (Act::Close, [alarm]) => alarm.close(who),
            (Act::Rescue { step }, [alarm]) => alarm.rescue(*step, who),
            (Act::Shelve { .. } | Act::Unshelve | Act::Close | Act::Rescue { .. }, [_, _, ..]) => {
                Err(TurnedDown::OneAlarmOnly)
            }
        }
    }

    fn meant(&self, subject: &str, now: Stamp) -> Vec<Meant<'_>> {
        let mut meant = Vec::new();
        for (place, watched) in self.devices.iter().enumerate() {
            for (slot, alarm) in watched.alarms.iter().enumerate() {
                if is_meant(watched, alarm, subject) {
                    let look = self.look(DeviceIx(place as u32), slot, now);
                    meant.push(Meant { slot: alarm, latest: &watched.latest, look });
                }
            }
        }
        meant
    }

    fn take_out(
        &self,
        meant: &[Meant<'_>],
        (length, life_safety): (Duration, bool),
        who: &Acknowledgement,
        whole_device: bool,
    ) -> Result<Vec<Change>, TurnedDown> {
        within(length, self.customs.shelving.out_of_service)?;
        let of_life = meant.iter().filter(|alarm| alarm.rule().alarm.life_safety);
        let alarms: Vec<AlarmKey> = of_life.map(|alarm| alarm.slot.memory.key.clone()).collect();
        if !alarms.is_empty() && !life_safety {
            return Err(TurnedDown::LifeSafety { alarms });
        }
        let speaker = meant.iter().position(|alarm| alarm.rule().points().is_empty()).unwrap_or(0);
        let mut changes = Vec::new();
        for (n, alarm) in meant.iter().enumerate() {
            let speaks = !whole_device || n == speaker;
            changes.extend(alarm.take_out(length, who, (whole_device, speaks)));
        }
        match meant.first().and_then(|alarm| alarm.slot.memory.overlay.out_of_service.as_ref()) {
            Some(hold) if changes.is_empty() => {
                Err(TurnedDown::Already { by: hold.order.by.clone(), until: hold.until })
            }
            Some(_) | None => Ok(changes),
        }
    }
}

fn put_back(meant: &[Meant<'_>], who: &Acknowledgement) -> Result<Vec<Change>, TurnedDown> {
    let changes: Vec<Change> =
        meant.iter().filter_map(|alarm| alarm.lift(Held::OutOfService, who)).flatten().collect();
    if changes.is_empty() { Err(TurnedDown::NotHeld) } else { Ok(changes) }
}

fn is_meant(watched: &Watched, alarm: &Slot, subject: &str) -> bool {
    let memory = &alarm.memory;
    *watched.id == *subject
        || memory.occurrence.as_deref() == Some(subject)
        || subject
            .split_once('/')
            .is_some_and(|(device, name)| device == &*memory.key.device && name == &*memory.key.alarm)
}

fn within(length: Duration, limit: Duration) -> Result<(), TurnedDown> {
    if length.is_zero() || length > limit { Err(TurnedDown::TooLong { limit }) } else { Ok(()) }
}

impl Meant<'_> {
    fn rule(&self) -> &Rule {
        &self.slot.rule
    }

    fn shelve(
        &self,
        length: Duration,
        limits: &ShelvingLimits,
        who: &Acknowledgement,
    ) -> Result<Vec<Change>, TurnedDown> {
        let (alarm, class) = (&self.rule().alarm, &self.latest.profile().class);
        if alarm.life_safety || (class.is_elevator() && alarm.priority == Priority::Critical) {
            return Err(TurnedDown::NeverShelved { alarm: self.slot.memory.key.clone() });
        }
        let limit = limits.of(alarm.priority);
        if limit.is_zero() {
            return Err(TurnedDown::NotAtThisPriority { priority: alarm.priority });
        }
        within(length, limit)?;
        let mut memory = AlarmMemory::clone(&self.slot.memory);
        if let Some(shelf) = &memory.overlay.shelf {
            return Err(TurnedDown::Already { by: shelf.order.by.clone(), until: shelf.until });
        }
        memory.overlay.shelf = Some(Box::new(self.hold(length, who)));
        Ok(vec![self.slot.change(&self.look, TransitionKind::Shelved, memory, Some(who.clone()))])
    }

    fn hold(&self, length: Duration, who: &Acknowledgement) -> Hold {
        let memory = &self.slot.memory;
        let told_as = memory.occurrence.clone().unwrap_or_else(|| of_no_occurrence(&memory.key));
        Hold::begun(who.clone(), told_as, length, self.look.now.mono, self.look.boot_id)
    }

    /// `None`: it is out already.
    fn take_out(
        &self,
        length: Duration,
        who: &Acknowledgement,
        (whole_device, speaks): (bool, bool),
    ) -> Option<Change> {
        let is_out = self.slot.memory.overlay.out_of_service.is_some();
        let kind = lifecycle::turn(Held::OutOfService, is_out, true)?;
        let mut memory = AlarmMemory::clone(&self.slot.memory);
        let quiet = !speaks && memory.state.is_none();
        let hold = Hold { whole_device, quiet, ..self.hold(length, who) };
        memory.overlay.out_of_service = Some(Box::new(hold));
        if quiet {
            return Some(Change { device: self.look.device, slot: self.look.slot, step: None, memory });
        }
        Some(self.slot.change(&self.look, kind, memory, Some(who.clone())))
    }

    /// `None`: nothing holds it back.
    fn lift(&self, held: Held, who: &Acknowledgement) -> Option<Vec<Change>> {
        let mut change = self.slot.turned(&self.look, held, false)?;
        if let Some(step) = &mut change.step {
            step.done = Some(who.clone());
        }
        Some(vec![change])
    }

    /// Not while its condition holds: it would only be raised again.
    fn close(&self, who: &Acknowledgement) -> Result<Vec<Change>, TurnedDown> {
        let slot = self.slot;
        let now = self.look.now;
        let truth = slot.rule.truth(self.latest, now.mono, true, &mut WorkedOut::default());
        if lifecycle::is_active(slot.memory.state) && truth == Truth::True {
            return Err(TurnedDown::StillActive);
        }
        let (state, kind) = lifecycle::next(slot.memory.state, Input::Close, slot.rule.alarm.latching)
            .ok_or(TurnedDown::NotOpen)?;
        let mut memory = slot.after(state, kind, now);
        memory.acknowledged.get_or_insert_with(|| who.clone());
        Ok(vec![slot.change(&self.look, kind, memory, Some(who.clone()))])
    }

    fn rescue(&self, step: RescueStep, who: &Acknowledgement) -> Result<Vec<Change>, TurnedDown> {
        let mut memory = AlarmMemory::clone(&self.slot.memory);
        if memory.state.is_none() {
            return Err(TurnedDown::NotOpen);
        }
        let rescue = memory.overlay.rescue.as_mut().ok_or(TurnedDown::NoRescue)?;
        if let Some(first) = rescue.step(step) {
            return Err(TurnedDown::AlreadyReported { by: first.by.clone(), at: first.at });
        }
        let later = RescueStep::ALL.into_iter().filter(|later| *later > step);
        if let Some(later) = later.into_iter().find(|later| rescue.step(*later).is_some()) {
            return Err(TurnedDown::TooLateFor { step: later });
        }
        rescue.passing = rescue.passing.kept(self.look.now.mono, self.look.boot_id);
        rescue.note(step, who.clone());
        Ok(vec![self.slot.change(&self.look, TransitionKind::Rescue, memory, Some(who.clone()))])
    }
}

impl TurnedDown {
    /// What is wrong, and what can be done.
    pub fn text(&self) -> Text {
        match self {
            Self::NoSuchAlarm => text!(
                "没有这个报警或设备（写编号、设备/报警，停用时也可只写设备）",
                "there is no such alarm or device (write its number, device/alarm, or to take it out of service the device alone)"
            ),
            Self::OneAlarmOnly => {
                text!("要写明是哪个报警：设备/报警", "say which of its alarms: device/alarm")
            }
            Self::NeverShelved { alarm } => text!(
                "{alarm} 关系人身安全，不能搁置；请确认它（alarms ack），或停用（alarms out-of-service --life-safety）",
                "{alarm} is a matter of life and is never shelved: acknowledge it (alarms ack), or take it out of service (alarms out-of-service --life-safety)"
            ),
            Self::NotAtThisPriority { priority } => {
                let (zh, en) = of_priority(*priority);
                text!(
                    "本小区不允许搁置{zh}级报警（[shelving]）",
                    "this site does not let {en} alarms be shelved ([shelving])"
                )
            }
            Self::TooLong { limit } => {
                let limit = Period(*limit);
                text!(
                    "时长须大于 0，最长 {limit}（[shelving]）",
                    "it is more than 0 and {limit} at most ([shelving])"
                )
            }
            Self::LifeSafety { alarms } => {
                let alarms = alarms.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                text!(
                    "会停用关系人身安全的报警：{alarms}。确实如此，请加 --life-safety，并另行派人值守",
                    "this would take matters of life out of service: {alarms}. If that is meant, add --life-safety, and have someone watch meanwhile"
                )
            }
            Self::Already { by, .. } => text!(
                "{by} 已处理；要改期限，先恢复",
                "{by} did so already; to change until when, put it back first"
            ),
            Self::NotHeld => text!("它没有被搁置或停用", "it is not shelved or out of service"),
            Self::StillActive => text!(
                "条件仍然成立，关闭后会立即再次报警；请先排除，或搁置、停用",
                "its condition still holds, so it would be raised again at once: mend it first, shelve it, or take it out of service"
            ),
            Self::NotOpen => text!("这个报警没有在报", "this alarm is not open"),
            Self::NoRescue => text!(
                "这个报警没有救援计时（类别的 rescue_within）",
                "this alarm has no rescue clock (rescue_within of its class)"
            ),
            Self::AlreadyReported { by, .. } => text!("{by} 已报过", "{by} reported it already"),
            Self::TooLateFor { step } => {
                let word = step.word();
                text!("已经报过后面的一步（{word}）", "a later step is reported already ({word})")
            }
        }
    }
}

impl TurnedDown {
    /// When somebody did it before, or until when it goes on.
    pub fn at(&self) -> Option<Timestamp> {
        match self {
            Self::Already { until: at, .. } | Self::AlreadyReported { at, .. } => Some(*at),
            Self::NoSuchAlarm
            | Self::OneAlarmOnly
            | Self::NeverShelved { .. }
            | Self::NotAtThisPriority { .. }
            | Self::TooLong { .. }
            | Self::LifeSafety { .. }
            | Self::NotHeld
            | Self::StillActive
            | Self::NotOpen
            | Self::NoRescue
            | Self::TooLateFor { .. } => None,
        }
    }
}

fn of_priority(priority: Priority) -> (&'static str, &'static str) {
    match priority {
        Priority::Critical => ("紧急", "critical"),
        Priority::High => ("高", "high"),
        Priority::Medium => ("中", "medium"),
        Priority::Low => ("低", "low"),
    }
}
