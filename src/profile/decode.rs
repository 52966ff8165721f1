//! Raw bytes to readings: pure, total; a failure never becomes a number.

use jiff::Timestamp;

use super::Profile;
use crate::domain::{PointIx, Raw, Sample};

/// What one raw answer said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decoded {
    /// Points that the answer speaks of; others keep what they had.
    pub samples: Vec<(PointIx, Sample)>,
    /// The device's own time and number of the message, where the profile says where they stand.
    pub source_time: Option<Timestamp>,
    pub sequence: Option<u64>,
    /// The payload as a whole could not be read (not JSON, too deep, too long): why.
    pub malformed: Option<String>,
}

impl Profile {
    /// Decodes `raw`; of the points in `about`, those that it speaks of.
    pub fn decode(&self, _raw: &Raw, _about: &[PointIx]) -> Decoded {
        todo!()
    }
}
