//! How long a unit takes to answer, learned from its answers. Pure.

use std::time::Duration;

/// USB adapters and serial servers hand on in lumps: no unit is judged to be faster than this, nor than a part of what its product may take.
const SHORTEST_PATIENCE: Duration = Duration::from_millis(50);
const SHORTEST_PART: u32 = 4;

/// A smoothed mean and deviation, as TCP learns its round trips (RFC 6298, 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency(Option<Learned>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Learned {
    mean: Duration,
    deviation: Duration,
}

impl Latency {
    /// An answer took so long, the line's own time included.
    pub fn took(&mut self, sample: Duration) {
        self.0 = Some(match self.0 {
            None => Learned { mean: sample, deviation: sample / 4 },
            Some(Learned { mean, deviation }) => Learned {
                mean: (mean * 7 + sample) / 8,
                deviation: (deviation * 3 + mean.abs_diff(sample)) / 4,
            },
        });
    }

    /// How long to wait for it: twice what TCP would, and no longer than the product may take.
    pub fn patience(&self, most: Duration) -> Duration {
        self.0.map_or(most, |Learned { mean, deviation }| {
            (mean * 2 + deviation * 8).max(SHORTEST_PATIENCE).max(most / SHORTEST_PART).min(most)
        })
    }

    pub fn mean(&self) -> Option<Duration> {
        self.0.map(|learned| learned.mean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn patience_follows_the_answers_and_stays_within_what_the_product_may_take() {
        let most = 500 * MS;
        let steady = |sample: Duration| {
            let mut latency = Latency::default();
            (0..100).for_each(|_| latency.took(sample));
            latency
        };
        assert_eq!(Latency::default().patience(most), most, "nothing is known");
        assert_eq!((steady(MS).patience(most), steady(MS).patience(100 * MS)), (125 * MS, 50 * MS));
        let of_eighty = steady(80 * MS).patience(most);
        assert!((160 * MS..180 * MS).contains(&of_eighty), "{of_eighty:?}");
        assert_eq!(steady(400 * MS).patience(most), most);
        let mut restless = steady(40 * MS);
        (0..20).for_each(|n| restless.took(if n % 2 == 0 { 10 * MS } else { 90 * MS }));
        assert!(restless.patience(most) > 200 * MS, "{restless:?}");
    }
}
