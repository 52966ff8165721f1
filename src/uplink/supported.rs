//! What the contract has and this version does not do: said at the check, never passed over in silence.

use super::Wants;
use crate::{domain::Text, text};

impl Wants {
    /// What of this the endpoint will not get from this version; `None` if it gets all of it.
    pub fn unsupported(&self) -> Option<Text> {
        self.readings.then(|| {
            text!(
                "本版本尚不转发读数（readings = true），只投递报警",
                "readings are not forwarded in this version (readings = true), only alarms are"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_are_said_not_to_go() {
        assert!(Wants { readings: true, ..Wants::default() }.unsupported().is_some());
        assert_eq!(Wants::default().unsupported(), None);
    }
}
