//! A serial line without hardware: both ends of a pseudoterminal, the device's end held here.

use std::{
    io,
    path::{Path, PathBuf},
};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_serial::{SerialPort, SerialStream};

/// The device's end. The gateway opens [`Pty::path`] as it would a USB adapter, as often as it likes.
#[derive(Debug)]
pub struct Pty {
    ours: SerialStream,
    path: PathBuf,
    /// Held so that the line outlives the gateway's closing of it.
    _theirs: SerialStream,
}

impl Pty {
    /// A new line: raw, no echo.
    ///
    /// # Errors
    /// If the system has no pseudoterminal left, or none at all (`/dev/ptmx`, `/dev/pts`).
    pub fn open() -> io::Result<Self> {
        let (ours, theirs) = SerialStream::pair()?;
        let path = theirs.name().ok_or_else(|| io::Error::other("the pseudoterminal has no name"))?;
        Ok(Self { ours, path: PathBuf::from(path), _theirs: theirs })
    }

    /// What the gateway opens, `/dev/pts/<n>`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What came over the line; waits for at least one byte. Cancel-safe.
    ///
    /// # Errors
    /// If the line is gone.
    pub async fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.ours.read(into).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => Ok(count),
        }
    }

    /// Puts all of `bytes` on the line.
    ///
    /// # Errors
    /// If the line is gone.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.ours.write_all(bytes).await
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::OpenOptions, io::Write, os::unix::fs::OpenOptionsExt};

    use super::*;

    #[tokio::test]
    async fn bytes_go_both_ways_unchanged_and_the_line_can_be_opened_again() {
        let mut pty = Pty::open().unwrap();
        for round in 0..2 {
            // 0x0A, 0x0D, 0x11 and 0x03 mean something to a terminal that is not raw.
            let said = [0x01, 0x0A, 0x0D, 0x11, 0x03, 0xFF, round];
            let mut gateway = OpenOptions::new();
            let mut gateway = gateway.read(true).write(true).custom_flags(0o400).open(pty.path()).unwrap();
            gateway.write_all(&said).unwrap();
            let mut heard = [0; 16];
            let count = pty.read(&mut heard).await.unwrap();
            assert_eq!(heard[..count], said, "to the device, round {round}");
            pty.write(&said).await.unwrap();
            let mut back = [0; 7];
            std::io::Read::read_exact(&mut gateway, &mut back).unwrap();
            assert_eq!(back, said, "to the gateway, round {round}");
        }
    }
}
