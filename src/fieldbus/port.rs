//! Ports and connections, as every line opens, times and loses them.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustix::net::sockopt;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_serial::{ClearBuffer, SerialPort, SerialStream};

use super::{
    driver::LineFault,
    holder,
    record::Tape,
    rs485,
    serial::config::{Framing, Parity, Settings},
};
use crate::text;

/// A port whose transmit buffer does not take a request within this time is no port any more.
const WRITE_WITHIN: Duration = Duration::from_secs(2);
/// A host on a compound's network that does not take a connection within this time takes none.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);

/// More than this waits unread in no connection of a line: who sends more babbles, and is heard at the next read.
const MOST_WAITING: usize = 64 * 1024;

/// Bytes in, bytes out: a serial port, a connection to one, or in tests a pipe.
pub trait Port: AsyncRead + AsyncWrite + Send + Unpin {
    /// Throws away what the kernel holds and nobody has read.
    fn clear_input(&mut self) -> io::Result<()>;
}

impl Port for SerialStream {
    fn clear_input(&mut self) -> io::Result<()> {
        SerialPort::clear(self, ClearBuffer::Input).map_err(io::Error::from)
    }
}

impl Port for TcpStream {
    /// TCP has nothing like a flush of what has come: it is read. The end of the stream is left for the next read to find.
    fn clear_input(&mut self) -> io::Result<()> {
        let mut thrown = [0; 1024];
        let mut most = MOST_WAITING;
        while most > 0 {
            match self.try_read(&mut thrown) {
                Ok(0) => break,
                Ok(count) => most = most.saturating_sub(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Port for Box<dyn Port> {
    fn clear_input(&mut self) -> io::Result<()> {
        (**self).clear_input()
    }
}

/// Opens the port raw and for us alone. A pty is a port too; it drops parity without a word.
///
/// # Errors
/// When the path is not there, not a port, or another program has it.
pub fn open(settings: &Settings) -> Result<SerialStream, LineFault> {
    let path = settings.port.to_string_lossy();
    let Framing { data_bits, parity, stop_bits } = settings.framing;
    let builder = tokio_serial::new(path, settings.baud)
        .data_bits(if data_bits == 7 { tokio_serial::DataBits::Seven } else { tokio_serial::DataBits::Eight })
        .parity(match parity {
            Parity::None => tokio_serial::Parity::None,
            Parity::Even => tokio_serial::Parity::Even,
            Parity::Odd => tokio_serial::Parity::Odd,
        })
        .stop_bits(if stop_bits == 2 { tokio_serial::StopBits::Two } else { tokio_serial::StopBits::One });
    let held = settings.rs485.map(|rs485| rs485::switch_on(&settings.port, rs485)).transpose()?;
    let opened = SerialStream::open(&builder).map_err(|error| unopened(&settings.port, &error));
    // until here, so that the driver has no moment without an owner to forget its settings in
    drop(held);
    opened
}

/// Why a port did not open.
fn unopened(port: &Path, error: &tokio_serial::Error) -> LineFault {
    use tokio_serial::ErrorKind;
    let name = port.display().to_string();
    match error.kind {
        ErrorKind::Io(io::ErrorKind::NotFound) => LineFault::Missing { port: name },
        ErrorKind::Io(io::ErrorKind::PermissionDenied) => LineFault::Denied { port: name },
        // what a locked port is reported as, whether by the kernel or by the lock on its file
        ErrorKind::NoDevice => LineFault::Busy { port: name, holder: holder::of(port) },
        ErrorKind::Io(_) | ErrorKind::InvalidInput | ErrorKind::Unknown => {
            LineFault::down(text!("{name}：{error}", "{name}: {error}"))
        }
    }
}

/// The port (or the connection to one) does not work any more.
pub fn gone(port: impl AsRef<Path>, error: &io::Error) -> LineFault {
    LineFault::gone(port.as_ref().display(), error)
}

/// It was closed, or never opened.
pub fn not_open(port: impl AsRef<Path>) -> LineFault {
    let port = port.as_ref().display();
    LineFault::down(text!("{port}：没有打开", "{port}: not open"))
}

/// How long one character takes on the line.
pub fn character(settings: &Settings) -> Duration {
    settings.framing.character(settings.baud)
}

/// A connection to a device or to a serial server, for single small frames.
///
/// # Errors
/// When nobody is there, or nobody takes it within three seconds.
pub async fn connect(host: &str, port: u16) -> Result<TcpStream, LineFault> {
    connect_within(host, port, CONNECT_WITHIN).await
}

/// The same with another patience.
///
/// # Errors
/// When nobody is there, or nobody takes it in time.
pub async fn connect_within(host: &str, port: u16, patience: Duration) -> Result<TcpStream, LineFault> {
    let place = format!("{host}:{port}");
    let gone = |error: io::Error| LineFault::gone(&place, &error);
    let stream = timeout(patience, TcpStream::connect((host, port)))
        .await
        .map_err(|_elapsed| LineFault::no_connection(&place, patience))?
        .map_err(gone)?;
    stream.set_nodelay(true).map_err(gone)?;
    Ok(stream)
}

/// Has the kernel watch over a connection: a peer that acknowledges nothing for so long is an error at the next read, where it would
/// otherwise be silent for a quarter of an hour, or for ever while nothing is sent.
pub fn watch_over(stream: &TcpStream, within: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, within / 2)?;
    sockopt::set_tcp_keepintvl(stream, within / 5)?;
    sockopt::set_tcp_keepcnt(stream, 2)?;
    sockopt::set_tcp_user_timeout(stream, within.as_millis() as u32)?;
    Ok(())
}

/// A port that is open, and what it is called when it fails.
pub struct OpenPort<P> {
    port: P,
    /// Its path, or `host:port`.
    name: PathBuf,
    tape: Option<Arc<Tape>>,
}

impl<P: Port> OpenPort<P> {
    pub fn new(port: P, name: PathBuf) -> Self {
        Self { port, name, tape: None }
    }

    pub fn port(&self) -> &P {
        &self.port
    }

    /// What it carries from now on is kept.
    pub fn recorded(mut self, tape: Option<Arc<Tape>>) -> Self {
        if let Some(tape) = &tape {
            tape.opened();
        }
        self.tape = tape;
        self
    }

    /// At least one byte, as soon as there is one. Cancel-safe.
    ///
    /// # Errors
    /// End of file is how an unplugged adapter looks, so it is a fault like EIO: reading on would spin.
    pub async fn read(&mut self, into: &mut [u8]) -> Result<usize, LineFault> {
        match self.port.read(into).await {
            Ok(0) => Err(self.lost(&io::Error::new(io::ErrorKind::UnexpectedEof, "the port is gone"))),
            Ok(count) => {
                if let Some(tape) = &self.tape {
                    tape.heard(&into[..count]);
                }
                Ok(count)
            }
            Err(error) => Err(self.lost(&error)),
        }
    }

    /// Hands `bytes` to the kernel, which sends them; no `flush`, because that would block the thread until they are sent.
    ///
    /// # Errors
    /// When the port is gone, or takes nothing more.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), LineFault> {
        if let Some(tape) = &self.tape {
            tape.sent(bytes);
        }
        match timeout(WRITE_WITHIN, self.port.write_all(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.lost(&error)),
            Err(_elapsed) => Err(self.lost(&io::Error::new(io::ErrorKind::TimedOut, "it takes no bytes"))),
        }
    }

    /// # Errors
    /// When the port is gone.
    pub fn clear_input(&mut self) -> Result<(), LineFault> {
        self.port.clear_input().map_err(|error| self.lost(&error))
    }

    fn lost(&self, error: &io::Error) -> LineFault {
        if let Some(tape) = &self.tape {
            tape.lost();
        }
        gone(&self.name, error)
    }
}

#[cfg(test)]
impl Port for tokio::io::DuplexStream {
    fn clear_input(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};

    use super::*;
    use crate::domain::Lang;

    #[tokio::test(start_paused = true)]
    async fn who_refuses_and_who_takes_no_connection_are_told_apart() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        assert!(connect("127.0.0.1", address.port()).await.is_ok_and(|stream| stream.nodelay().unwrap()));

        // a server that hangs: its queue is full and nobody takes from it
        rustix::net::listen(&listener, 0).unwrap();
        let dial = |to: &SocketAddr| std::net::TcpStream::connect_timeout(to, Duration::from_millis(30));
        let waiting: Vec<_> = std::iter::from_fn(|| dial(&address).ok()).take(100).collect();
        let began = tokio::time::Instant::now();
        let fault = connect("127.0.0.1", address.port()).await.unwrap_err();
        assert_eq!(fault, LineFault::no_connection(address, CONNECT_WITHIN), "{} wait", waiting.len());
        assert_eq!(began.elapsed(), CONNECT_WITHIN);

        drop((waiting, listener));
        let fault = connect("127.0.0.1", address.port()).await.unwrap_err();
        let told = fault.diagnosis().line(Lang::Zh);
        assert!(told.contains(&format!("{address}：连接被拒绝")), "{told}");
        let fault = connect("no-such-host.invalid", 502).await.unwrap_err();
        assert!(matches!(fault, LineFault::Gone { .. }), "{fault}");
    }
}
