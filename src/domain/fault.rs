//! Why nothing came that could be decoded: what was wrong with the answer, or with the line. In words: see [`Diagnosis`](super::Diagnosis).

use std::{fmt, io, time::Duration};

use super::Text;
use crate::text;

/// What came instead of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Garble {
    /// Bytes, and no frame among them whose checksum is right.
    Checksum,
    /// So many bytes that are no answer to this question.
    Stray { bytes: usize },
    /// A valid answer, of a unit that was not asked.
    OtherUnit { unit: u8 },
    /// A valid answer, to another question.
    OtherQuestion,
    /// A question of another master.
    OtherMaster,
    /// The answer came after its time: so much later, where that could be measured.
    Late { by: Option<Duration> },
    /// Nothing but our own bytes.
    Echo,
    /// The answer has another number of values than were asked for.
    Count { values: usize, asked: usize },
    /// The answer has another number of bytes than the profile reads.
    Length { bytes: usize, asked: usize },
    /// The answer goes on in further frames, which are not read.
    InParts,
    /// Not the protocol of this line.
    Foreign,
    /// The device closed the connection, or it broke.
    HungUp { why: String },
    /// Nothing was sent: this line has no such question.
    Unaskable,
}

impl fmt::Display for Garble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.diagnosis().what.en)
    }
}

/// Who holds a serial port that we want.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    pub pid: u32,
    pub program: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {} {}", self.pid, self.program)
    }
}

/// The line itself does not work: nobody on it can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineFault {
    /// There is no such port: never was, or unplugged.
    Missing {
        port: String,
    },
    Busy {
        port: String,
        holder: Option<Holder>,
    },
    /// This user may not open it.
    Denied {
        port: String,
    },
    /// The site file wants RS-485 direction control, and the port's driver does not do it.
    NoDirection {
        why: Text,
    },
    /// Port gone, connection refused, broker away.
    Gone {
        why: Text,
    },
    /// Somebody talks without end; the line is left alone for a while.
    Babble {
        bytes: usize,
        over: Duration,
    },
}

impl std::error::Error for LineFault {}

impl LineFault {
    /// `place` (a port, a host) does not work any more, or never did; as the system has it.
    pub fn gone(place: impl fmt::Display, error: &io::Error) -> Self {
        let why = match in_chinese(error.kind()) {
            Some(zh) => text!("{place}：{zh}，{error}", "{place}: {error}"),
            None => text!("{place}：{error}", "{place}: {error}"),
        };
        Self::down(why)
    }

    pub fn down(why: Text) -> Self {
        LineFault::Gone { why }
    }

    /// Nobody took the connection.
    pub fn no_connection(place: impl fmt::Display, waited: Duration) -> Self {
        let seconds = waited.as_secs_f64();
        let why = text!("{place}：{seconds} 秒内没有连上", "{place}: no connection within {seconds} s");
        Self::down(why)
    }
}

/// The commonest of the system's troubles; their own words stand behind it.
fn in_chinese(kind: io::ErrorKind) -> Option<&'static str> {
    match kind {
        io::ErrorKind::ConnectionRefused => Some("连接被拒绝"),
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
            Some("连接断开")
        }
        io::ErrorKind::UnexpectedEof => Some("对方断开了连接"),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Some("网络不通"),
        io::ErrorKind::TimedOut => Some("没有应答"),
        io::ErrorKind::NotFound => Some("不存在"),
        io::ErrorKind::AddrInUse => Some("端口已被占用"),
        io::ErrorKind::AddrNotAvailable => Some("本机没有这个地址"),
        _ => None,
    }
}

/// Fits "failed to …".
impl fmt::Display for LineFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LineFault::Gone { why } => write!(f, "use the line: {}", why.en),
            LineFault::Babble { bytes, over } => {
                write!(f, "use the line: it carries {bytes} bytes in {over:?} that nobody asked for")
            }
            LineFault::Missing { .. }
            | LineFault::Busy { .. }
            | LineFault::Denied { .. }
            | LineFault::NoDirection { .. } => {
                write!(f, "use the line: {}", self.diagnosis().what.en)
            }
        }
    }
}
