//! `[endpoint.drill]`: when, and how long for the receipt.

use std::time::Duration;

use super::{desk::Desk, file::DrillTable};
use crate::{
    at,
    domain::timetable::At,
    text,
    uplink::{DrillTurns, Turns},
};

/// More often is no drill but a load.
const SHORTEST: Duration = Duration::from_secs(10);

pub(super) fn drill(desk: &mut Desk<'_>, n: usize, table: &DrillTable) -> Option<DrillTurns> {
    let path = at!["endpoint", n, "drill"];
    let turns = match (table.at, table.every) {
        (Some(At::Clock(time)), None) => Turns::Daily(time),
        (Some(At::Sun { .. }), None) => {
            let told = text!("演练按钟点，例如 \"09:00\"", "a drill goes by the clock, such as \"09:00\"");
            desk.error(at!["endpoint", n, "drill", "at"], told);
            return None;
        }
        (None, Some(every)) => Turns::Every(every.into()),
        (Some(_), Some(_)) | (None, None) => {
            let told = text!(
                "演练写 at = \"09:00\" 或 every = \"1d\"，二者取一",
                "a drill has at = \"09:00\" or every = \"1d\", one of the two"
            );
            desk.error(path, told);
            return None;
        }
    };
    let within: Duration = table.within.into();
    if let Turns::Every(every) = turns
        && every < SHORTEST
    {
        desk.error(at!["endpoint", n, "drill", "every"], text!("至少 10s", "it is 10s at least"));
        return None;
    }
    if within.is_zero() || matches!(turns, Turns::Every(every) if within > every) {
        let told = text!(
            "within 要大于 0，且不超过两次演练的间隔",
            "it is more than 0, and no more than from one drill to the next"
        );
        desk.error(at!["endpoint", n, "drill", "within"], told);
        return None;
    }
    Some(DrillTurns { turns, within })
}
