//! Stop when told to: SIGTERM from the service manager, SIGINT from a person.

use tokio::signal::unix::{SignalKind, signal};

/// Which of them came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Terminate,
    Interrupt,
}

/// Waits until somebody wants the program to stop.
///
/// # Errors
/// If the signals cannot be listened to.
pub async fn told_to_stop() -> std::io::Result<Told> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => Ok(Told::Terminate),
        _ = interrupt.recv() => Ok(Told::Interrupt),
    }
}
