//! What was logged, for this room's tests.

use std::{
    cell::RefCell,
    io::{self, Write},
    sync::Once,
};

thread_local! {
    static LOG: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Keeps what its thread logs.
struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.with_borrow_mut(|log| log.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// From here on `spoken` knows what this thread logs. One listener for all threads: one for this thread alone would miss
/// what another met first, when nobody listened.
pub fn listen() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| tracing_subscriber::fmt().with_ansi(false).with_writer(|| Log).init());
}

/// The lines of this level, as `listen`'s caller logged them.
pub fn spoken(level: &str) -> Vec<String> {
    let log = LOG.with_borrow(|log| String::from_utf8(log.clone()).expect("text"));
    log.lines().filter(|line| line.contains(level)).map(str::to_owned).collect()
}
