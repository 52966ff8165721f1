//! Why nothing came that could be decoded: what was wrong with the answer, or with the line. In words: see [`Diagnosis`](super::Diagnosis).

use std::{fmt, time::Duration};

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
    /// Port gone, connection refused, broker away.
    Gone {
        why: String,
    },
    /// Somebody talks without end; the line is left alone for a while.
    Babble {
        bytes: usize,
        over: Duration,
    },
}

impl std::error::Error for LineFault {}

/// Fits "failed to …".
impl fmt::Display for LineFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LineFault::Gone { why } => write!(f, "use the line: {why}"),
            LineFault::Babble { bytes, over } => {
                write!(f, "use the line: it carries {bytes} bytes in {over:?} that nobody asked for")
            }
            LineFault::Missing { .. } | LineFault::Busy { .. } | LineFault::Denied { .. } => {
                write!(f, "use the line: {}", self.diagnosis().what.en)
            }
        }
    }
}
