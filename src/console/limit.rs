//! How often somebody may ask: a bucket each that fills with time. Pure.

use std::{collections::HashMap, hash::Hash, time::Duration};

use crate::domain::Mono;

/// So many are known apart; more ask as if their bucket were empty.
const KNOWN: usize = 1024;

/// `burst` at once, `per_second` in the long run, each.
#[derive(Debug)]
pub struct Limiter<K> {
    burst: f64,
    per_second: f64,
    buckets: HashMap<K, Bucket>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: f64,
    at: Mono,
}

impl<K: Hash + Eq> Limiter<K> {
    pub fn new(burst: u32, per_second: f64) -> Self {
        Self { burst: burst.into(), per_second, buckets: HashMap::new() }
    }

    /// Takes one for `who`; if there is none, how long until there is.
    pub fn take(&mut self, who: K, now: Mono) -> Result<(), Duration> {
        let (burst, per_second) = (self.burst, self.per_second);
        if self.buckets.len() >= KNOWN && !self.buckets.contains_key(&who) {
            // whoever has a full bucket again need not be remembered
            self.buckets.retain(|_, bucket| bucket.filled(burst, per_second, now).left < burst);
            if self.buckets.len() >= KNOWN {
                return Err(Duration::from_secs_f64(1.0 / per_second));
            }
        }
        let bucket = self.buckets.entry(who).or_insert(Bucket { left: burst, at: now });
        *bucket = bucket.filled(burst, per_second, now);
        if bucket.left < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.left) / per_second));
        }
        bucket.left -= 1.0;
        Ok(())
    }
}

impl Bucket {
    fn filled(self, burst: f64, per_second: f64, now: Mono) -> Self {
        let left = self.left + now.since(self.at).as_secs_f64() * per_second;
        Self { left: left.min(burst), at: self.at.max(now) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Mono {
        Mono(Duration::from_secs(seconds))
    }

    #[test]
    fn each_has_a_burst_and_then_a_pace() {
        let mut limiter = Limiter::new(3, 0.5);
        for _ in 0..3 {
            assert_eq!(limiter.take("a", at(100)), Ok(()));
        }
        assert_eq!(limiter.take("a", at(100)), Err(Duration::from_secs(2)));
        assert_eq!(limiter.take("b", at(100)), Ok(()), "others do not wait for it");
        assert_eq!(limiter.take("a", at(101)), Err(Duration::from_secs(1)));
        assert_eq!(limiter.take("a", at(102)), Ok(()));
        assert!(limiter.take("a", at(102)).is_err());
        for _ in 0..3 {
            assert_eq!(limiter.take("a", at(10_000)), Ok(()), "no more than a burst is saved up");
        }
        assert!(limiter.take("a", at(10_000)).is_err());
    }

    #[test]
    fn who_asks_under_many_names_takes_no_memory_without_end() {
        let mut limiter = Limiter::new(1, 0.1);
        let let_in = (0..5000).filter(|name| limiter.take(*name, at(0)).is_ok()).count();
        assert_eq!((let_in, limiter.buckets.len()), (KNOWN, KNOWN));
        assert_eq!(limiter.take(9999, at(10)), Ok(()), "once the others may ask again they are forgotten");
        assert_eq!(limiter.buckets.len(), 1);
    }
}
