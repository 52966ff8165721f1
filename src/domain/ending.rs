//! What came of telling a device something: in one word, in a sentence, and whether there is anything left to do.

use serde::{Deserialize, Serialize};

use super::{PointName, Text, Value};
use crate::text;

/// What came back when a device was told something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The device says that it did it.
    Accepted,
    /// The device says no.
    Refused { why: Text },
    /// Nothing went over the wire, and nothing will.
    NotSent { why: Text },
    /// It went out, and nothing that says yes or no came back.
    Unknown { why: Text },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Ending {
    /// The read-back point shows it.
    ReadBack {
        point: PointName,
        after_ms: u64,
    },
    /// The device says that it did it; the product has no point that shows it.
    Accepted,
    /// The read-back point does not show it; `accepted`: though the device said yes.
    NotShown {
        point: PointName,
        shows: Option<Value>,
        accepted: bool,
    },
    /// It was sent, and nobody knows whether it was done.
    Unknown {
        why: Text,
    },
    Refused {
        why: Text,
    },
    NotSent {
        why: Text,
    },
    /// The value is none for this command.
    Unfit {
        why: Text,
    },
    Interlock {
        condition: String,
        why: Text,
    },
    /// Nothing is ever written to an elevator.
    NeverTold,
    /// The device or its line is being told something else.
    Busy,
    /// Only for a schedule: the device shows it already, or somebody has told it something else since.
    NotNeeded,
    /// Only for a schedule: nobody knows yet what state the device is in.
    NotYet,
}

impl Ending {
    pub fn word(&self) -> &'static str {
        match self {
            Ending::ReadBack { .. } => "done",
            Ending::Accepted => "accepted",
            Ending::NotShown { .. } => "not_shown",
            Ending::Unknown { .. } => "unknown",
            Ending::Refused { .. } => "refused",
            Ending::NotSent { .. } => "not_sent",
            Ending::Unfit { .. } => "unfit",
            Ending::Interlock { .. } => "interlock",
            Ending::NeverTold => "never_told",
            Ending::Busy => "busy",
            Ending::NotNeeded => "not_needed",
            Ending::NotYet => "not_yet",
        }
    }

    /// It was done, as far as anybody can tell.
    pub fn is_good(&self) -> bool {
        match self {
            Ending::ReadBack { .. } | Ending::Accepted | Ending::NotNeeded => true,
            Ending::NotShown { .. }
            | Ending::Unknown { .. }
            | Ending::Refused { .. }
            | Ending::NotSent { .. }
            | Ending::Unfit { .. }
            | Ending::Interlock { .. }
            | Ending::NeverTold
            | Ending::Busy
            | Ending::NotYet => false,
        }
    }

    /// Somebody decided: the device, its interlock, the person. What is not settled a schedule may look at again.
    pub fn is_settled(&self) -> bool {
        match self {
            Ending::NotShown { accepted, .. } => *accepted,
            Ending::Unknown { .. } | Ending::NotSent { .. } | Ending::Busy | Ending::NotYet => false,
            Ending::ReadBack { .. }
            | Ending::Accepted
            | Ending::Refused { .. }
            | Ending::Unfit { .. }
            | Ending::Interlock { .. }
            | Ending::NeverTold
            | Ending::NotNeeded => true,
        }
    }

    /// A sentence's end: what comes after "lamp-3 set_dimming = 40:".
    pub fn text(&self) -> Text {
        match self {
            Ending::ReadBack { point, after_ms } => {
                let seconds = *after_ms as f64 / 1000.0;
                text!(
                    "已执行，{seconds:.1} 秒后由 {point} 读回",
                    "done, {point} shows it after {seconds:.1} s"
                )
            }
            Ending::Accepted => {
                text!("设备已接受；没有测点可以读回", "accepted by the device; no point can show it")
            }
            Ending::NotShown { point, shows, accepted } => not_shown(point, shows.as_ref(), *accepted),
            Ending::Unknown { why } => {
                let (zh, en) = (&why.zh, &why.en);
                text!("不知道是否执行：{zh}", "nobody knows whether it was done: {en}")
            }
            Ending::Refused { why } => {
                let (zh, en) = (&why.zh, &why.en);
                text!("设备拒绝：{zh}", "refused by the device: {en}")
            }
            Ending::NotSent { why } => {
                let (zh, en) = (&why.zh, &why.en);
                text!("没有发出：{zh}", "not sent: {en}")
            }
            Ending::Unfit { why } => {
                let (zh, en) = (&why.zh, &why.en);
                text!("没有发出：{zh}", "not sent: {en}")
            }
            Ending::Interlock { condition, why } => {
                let (zh, en) = (&why.zh, &why.en);
                text!(
                    "联锁不允许（{condition}）：{zh}",
                    "not sent, its interlock ({condition}) does not hold: {en}"
                )
            }
            Ending::NeverTold => {
                text!("没有发出：对电梯只读不写", "not sent: an elevator is never written to")
            }
            Ending::Busy => text!(
                "没有发出：这台设备或它的总线正忙于另一条命令",
                "not sent: another command to this device or its line is in hand"
            ),
            Ending::NotNeeded => text!("不需要再发", "not needed any more"),
            Ending::NotYet => text!("设备状态未知，先不发", "not sent: the device's state is not known yet"),
        }
    }
}

fn not_shown(point: &PointName, shows: Option<&Value>, accepted: bool) -> Text {
    let (zh, en) = match accepted {
        true => ("设备已接受", "accepted by the device"),
        false => ("设备没有应答", "the device did not answer"),
    };
    match shows {
        Some(value) => text!("{zh}，但 {point} 显示 {value}", "{en}, but {point} shows {value}"),
        None => text!("{zh}，但 {point} 没有新读数", "{en}, but {point} was not read since"),
    }
}
