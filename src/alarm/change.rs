//! What a site changes in a class's alarm: only what differs, for one device or for the whole class.

use std::time::Duration;

use crate::{
    domain::{AlarmName, ClassName, DeviceId, Priority},
    profile::{ClassAlarm, OverTime, Profile},
};

#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    pub device: Option<DeviceId>,
    pub class: Option<ClassName>,
    pub name: AlarmName,
    pub on_delay: Option<Duration>,
    pub off_delay: Option<Duration>,
    pub priority: Option<Priority>,
    pub latching: Option<bool>,
    /// `Some(false)`: the rule is off. Never for life-safety alarms.
    pub enabled: Option<bool>,
    pub rescue_within: Option<Duration>,
    /// Never for life-safety alarms.
    pub over_time: Option<OverTimeChange>,
}

/// Of a rule that looks at more than the moment; of another kind of rule it changes nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum OverTimeChange {
    Count { times: Option<usize>, within: Option<Duration> },
    Rate { rise: Option<f64>, fall: Option<f64>, within: Option<Duration> },
    Stuck { lasting: Option<Duration>, deadband: Option<f64> },
}

impl Override {
    pub(super) fn concerns(&self, device: &DeviceId, profile: &Profile, alarm: &AlarmName) -> bool {
        self.name == *alarm
            && self.device.as_ref().is_none_or(|own| own == device)
            && self.class.as_ref().is_none_or(|class| *class == profile.class.name)
    }

    pub(super) fn apply(&self, alarm: &mut ClassAlarm) {
        alarm.on_delay = self.on_delay.unwrap_or(alarm.on_delay);
        alarm.off_delay = self.off_delay.unwrap_or(alarm.off_delay);
        alarm.priority = self.priority.unwrap_or(alarm.priority);
        alarm.rescue_within = alarm.rescue_within.map(|own| self.rescue_within.unwrap_or(own));
        // Only a person ends what is a matter of life.
        alarm.latching = alarm.life_safety || self.latching.unwrap_or(alarm.latching);
        if let (Some(own), Some(change), false) = (&mut alarm.over_time, &self.over_time, alarm.life_safety) {
            change.apply(own);
        }
    }
}

impl OverTimeChange {
    fn apply(&self, own: &mut OverTime) {
        match (self, own) {
            (Self::Count { times, within }, OverTime::Count { times: own_times, within: own_within }) => {
                *own_times = times.unwrap_or(*own_times);
                *own_within = within.unwrap_or(*own_within);
            }
            (
                Self::Rate { rise, fall, within },
                OverTime::Rate { point: _, rise: own_rise, fall: own_fall, within: own_within },
            ) => {
                *own_rise = rise.or(*own_rise);
                *own_fall = fall.or(*own_fall);
                *own_within = within.unwrap_or(*own_within);
            }
            (
                Self::Stuck { lasting, deadband },
                OverTime::Stuck { point: _, lasting: own_lasting, deadband: own_deadband },
            ) => {
                *own_lasting = lasting.unwrap_or(*own_lasting);
                *own_deadband = deadband.unwrap_or(*own_deadband);
            }
            // the site's check does not let it come this far
            (Self::Count { .. } | Self::Rate { .. } | Self::Stuck { .. }, _) => {}
        }
    }
}
