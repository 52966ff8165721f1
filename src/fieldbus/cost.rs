//! What an exchange costs a line, known before a byte is sent: the plan weighs requests by it, `check --plan` adds it up, the schedule
//! estimates with it how long the line will be taken. Pure.

use std::{path::PathBuf, time::Duration};

use super::{
    modbus::codec::Question,
    plan::Ask,
    port,
    serial::{
        codec,
        config::{Framing, Settings},
    },
};
use crate::profile::Link;

/// Silence between frames above 19200 baud (Modbus over Serial Line V1.02, 2.5.1.1); below it is 3.5 characters.
const SHORTEST_GAP: Duration = Duration::from_micros(1750);
/// A line is listened to at least this long after a fault.
const QUIET_AFTER_FAULT: Duration = Duration::from_millis(50);
/// Until a device on a serial line begins to answer. No document of any device says it; controllers that look at their port once in a
/// program cycle take 1 to 20 ms.
const USUAL_DELAY: Duration = Duration::from_millis(5);
/// There and back, and a controller's own time, on a compound's network.
const USUAL_ROUND_TRIP: Duration = Duration::from_millis(5);
/// Ten megabits a second: what the Ethernet chips of field devices have.
const ETHERNET_BYTE: Duration = Duration::from_nanos(800);
/// What MBAP has and RTU has not: transaction, protocol and length before the unit id, no CRC behind the values.
const MBAP_BYTES: usize = 6;
const CRC_BYTES: usize = 2;
/// DL/T 645-2007: two starts, address, control, length, identifier, checksum, end; meters send up to four bytes ahead of it.
const METER_FRAME_BYTES: usize = 16;
const METER_WAKE_UP_BYTES: usize = 4;

/// What a line makes of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LineCost {
    wire: Wire,
    /// How long one byte takes.
    character: Duration,
    /// Until a device begins to answer.
    delay: Duration,
    /// What is waited for a silent device besides its own time.
    latency: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Wire {
    /// Frames are told apart by silence, one exchange at a time.
    Serial,
    Tcp,
    /// Nobody is asked: devices speak by themselves.
    Unasked,
}

/// The bytes of a question and of its good answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lengths {
    question: usize,
    answer: usize,
}

impl LineCost {
    /// A serial port, whatever is spoken on it.
    pub fn serial(settings: &Settings) -> Self {
        Self {
            wire: Wire::Serial,
            character: port::character(settings),
            delay: USUAL_DELAY,
            latency: Duration::ZERO,
        }
    }

    /// A serial line behind a serial server or a modem, whose network adds up to `latency`.
    pub fn behind_server(baud: u32, framing: Framing, latency: Duration) -> Self {
        let line = Self::serial(&Settings { port: PathBuf::new(), baud, framing, rs485: None });
        Self { delay: USUAL_DELAY + USUAL_ROUND_TRIP, latency, ..line }
    }

    /// The same line with frames in ASCII: n bytes are 2n + 1 characters.
    pub fn in_ascii(self) -> Self {
        Self { character: self.character * 5 / 2, ..self }
    }

    /// A connection of its own: bytes cost next to nothing, each exchange a round trip.
    pub fn tcp() -> Self {
        Self { wire: Wire::Tcp, character: ETHERNET_BYTE, delay: USUAL_ROUND_TRIP, latency: Duration::ZERO }
    }

    /// A broker: what comes, comes.
    pub fn unasked() -> Self {
        Self {
            wire: Wire::Unasked,
            character: Duration::ZERO,
            delay: Duration::ZERO,
            latency: Duration::ZERO,
        }
    }

    /// The same line with devices that are known to answer after `delay`.
    pub fn answering_after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// Whether bytes take so long on it that units compete for its time.
    pub fn is_narrow(&self) -> bool {
        self.wire == Wire::Serial
    }

    /// How long a question with a good answer takes the line, the silence before it included. Of an answer whose length is not
    /// known it counts what the profile reads of it.
    pub fn exchange(&self, ask: &Ask, link: &Link) -> Duration {
        let Some(Lengths { question, answer }) = self.lengths(ask, link) else { return Duration::ZERO };
        // the silence that tells the device where the question ends comes before its own delay
        self.bytes(question + answer) + self.gap(link) + self.delay + self.rest(link)
    }

    /// How long one try takes the line when nobody answers: the timeout, then listening until no late answer can come.
    pub fn silence(&self, ask: &Ask, link: &Link) -> Duration {
        let Some(Lengths { question, answer }) = self.lengths(ask, link) else { return Duration::ZERO };
        let (timeout, counted) = match link {
            Link::Modbus(link) => (link.timeout, question + answer),
            Link::Serial(link) => (link.timeout, question),
            Link::Dlt645(link) => (link.timeout, question),
            Link::Mqtt(_) => return Duration::ZERO,
        };
        let timeout = timeout + self.latency;
        match (self.wire, link) {
            // the connection is given up and made anew
            (Wire::Tcp | Wire::Unasked, _) => timeout + self.delay,
            (Wire::Serial, Link::Modbus(_)) => {
                let patience = timeout + self.bytes(counted);
                self.rest(link) + patience + patience.max(QUIET_AFTER_FAULT)
            }
            (Wire::Serial, Link::Serial(_) | Link::Dlt645(_) | Link::Mqtt(_)) => {
                self.rest(link) + self.bytes(counted) + timeout + timeout.max(QUIET_AFTER_FAULT)
            }
        }
    }

    fn bytes(&self, count: usize) -> Duration {
        self.character * u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// The silence that ends a frame.
    fn gap(&self, link: &Link) -> Duration {
        match (self.wire, link) {
            (Wire::Tcp | Wire::Unasked, _) | (_, Link::Mqtt(_)) => Duration::ZERO,
            (Wire::Serial, Link::Modbus(_)) => (self.character * 7 / 2).max(SHORTEST_GAP),
            (Wire::Serial, Link::Serial(_) | Link::Dlt645(_)) => self.character * 4,
        }
    }

    /// The silence before a question: what the line needs, or the product where that is longer. When the unit changes it may be that of the one
    /// that is left ([`super::turn`]), which is not counted here.
    pub fn rest(&self, link: &Link) -> Duration {
        let turnaround = match link {
            Link::Modbus(link) => link.turnaround,
            Link::Serial(link) => link.turnaround,
            Link::Dlt645(link) => link.turnaround,
            Link::Mqtt(_) => Duration::ZERO,
        };
        self.gap(link).max(turnaround)
    }

    /// `None`: nothing of the kind can be asked.
    fn lengths(&self, ask: &Ask, link: &Link) -> Option<Lengths> {
        match (ask, link) {
            _ if self.wire == Wire::Unasked => None,
            (&Ask::Block { table, first, count }, Link::Modbus(link)) => {
                let question = Question { unit: 0, table, first, count, dialect: link.dialect };
                let more = match self.wire {
                    Wire::Tcp => MBAP_BYTES - CRC_BYTES,
                    Wire::Serial | Wire::Unasked => 0,
                };
                Some(Lengths {
                    question: question.encode().len() + more,
                    answer: question.reply_length() + more,
                })
            }
            (Ask::Frame { request }, Link::Serial(link)) => {
                let request = link.requests.get(usize::from(*request))?;
                let question = codec::encode(&link.frame, &request.send, 0).len();
                Some(Lengths { question, answer: request.reply })
            }
            (Ask::Frame { request }, Link::Dlt645(link)) => {
                let item = link.items.get(usize::from(*request))?;
                Some(Lengths {
                    question: usize::from(link.wakeup) + METER_FRAME_BYTES,
                    answer: METER_WAKE_UP_BYTES + METER_FRAME_BYTES + usize::from(item.length),
                })
            }
            (
                Ask::Block { .. } | Ask::Frame { .. },
                Link::Modbus(_) | Link::Serial(_) | Link::Dlt645(_) | Link::Mqtt(_),
            ) => None,
        }
    }
}

#[cfg(test)]
#[path = "cost_tests.rs"]
mod tests;
