//! Crash points: where the fault runs cut the process off, to see that nothing is lost and nothing believed too early.
//!
//! A build without the feature `crash-points` has nothing of this. With it, `GATEHOUSE_CRASH_AT=NAME:N` ends the process, as a
//! power cut would, when it comes to the point NAME for the N-th time.

/// The end of the process, here, if the fault runs want it here.
#[cfg(feature = "crash-points")]
macro_rules! crash_point {
    ($name:literal) => {
        $crate::crash::pass($name)
    };
}
#[cfg(not(feature = "crash-points"))]
macro_rules! crash_point {
    ($name:literal) => {};
}

#[cfg(feature = "crash-points")]
pub(crate) fn pass(name: &str) {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    static PASSED: AtomicU64 = AtomicU64::new(0);

    let Ok(wanted) = std::env::var("GATEHOUSE_CRASH_AT") else { return };
    let (point, times) = wanted.split_once(':').unwrap_or((&wanted, "1"));
    if point == name && Ok(PASSED.fetch_add(1, Relaxed) + 1) == times.parse() {
        std::process::abort();
    }
}
