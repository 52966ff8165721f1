//! The silence before each question on a serial line: what the line needs to tell frames apart, and what its devices need besides.

use std::time::Duration;

/// Who was asked last, as far as that matters to whoever is asked next.
#[derive(Debug, Default)]
pub struct Turn {
    left: Duration,
}

impl Turn {
    /// The silence before the next question, to a device that needs `turnaround`; `gap`: what the line itself needs. Between two questions to
    /// one device that is what its product asks for, if anything. When the device changes, the one that is left must have let go of the line
    /// and the next must be ready: the longer of both.
    pub fn to(&mut self, turnaround: Duration, gap: Duration) -> Duration {
        let left = std::mem::replace(&mut self.left, turnaround);
        gap.max(left).max(turnaround)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_needs_the_longer_silence_has_it() {
        let mut turn = Turn::default();
        for (fact, turnaround, silence) in [
            ("nobody was asked before", 0, 4),
            ("the same again", 0, 4),
            ("one that needs more", 10, 10),
            ("the same again", 10, 10),
            ("one that needs less: the other must let go of the line", 0, 10),
            ("the same again: no more than the gap", 0, 4),
            ("one that needs less than the gap", 3, 4),
        ] {
            let ms = Duration::from_millis;
            assert_eq!(turn.to(ms(turnaround), ms(4)), ms(silence), "{fact}");
        }
    }
}
