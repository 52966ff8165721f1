//! Is anybody there? Units are knocked at one by one, read-only, and all that is heard is told apart: answers, exceptions, answers of
//! others that come late, requests of another master, our own echo, and bytes that are no frame.
//!
//! Nothing that is heard here becomes a reading: whose answer it is matters, not to which question.

use std::{collections::VecDeque, time::Duration};

use crc::{CRC_16_MODBUS, Crc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep_until, timeout, timeout_at},
};
use tokio_serial::SerialStream;

use super::config::{RtuSettings, TcpSettings};
use crate::fieldbus::{
    driver::LineFault,
    port::{self, OpenPort, Port},
};

const CRC: Crc<u16> = Crc::<u16>::new(&CRC_16_MODBUS);
/// Modbus over Serial Line V1.02, 2.5.1.1.
const SHORTEST_GAP: Duration = Duration::from_micros(1750);
/// The longest frame (2.5.1).
const LONGEST_FRAME: usize = 256;
/// An echo comes late on a slow adapter: so many of our last requests are still known as ours.
const REMEMBERED: usize = 4;
/// What a gateway says about a unit that does not answer it.
const SAID_BY_GATEWAYS: [u8; 2] = [0x0A, 0x0B];

/// Read one holding register: 03, from 0, count 1.
pub const READ_ONE: [u8; 5] = [0x03, 0, 0, 0, 1];
/// Read device identification, basic, from the first object (Modbus Application Protocol V1.1b3, 6.21).
pub const IDENTIFY: [u8; 4] = [0x2B, 0x0E, 0x01, 0x00];
/// Report server id (6.13).
pub const REPORT_ID: [u8; 1] = [0x11];

/// What came of one knock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Knocked {
    pub outcome: Outcome,
    pub took: Duration,
    /// Units whose answers came though they were not asked now.
    pub late: Vec<u8>,
    /// Units that somebody else asked.
    pub asked_by_others: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Function and data of its answer.
    Answer(Vec<u8>),
    /// It is there and said no.
    Exception(u8),
    Silent,
    /// Our own bytes came back, nothing else.
    Echo,
    /// Bytes that are no frame.
    Noise,
}

/// A whole frame with a right checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub unit: u8,
    pub sort: Sort,
    /// Function and data.
    pub pdu: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    Request,
    Reply,
    Exception,
}

/// A line on which units are looked for.
pub enum Knocker<P = SerialStream> {
    Serial { port: OpenPort<P>, character: Duration, busy_until: Instant, ours: VecDeque<Vec<u8>> },
    Tcp { settings: TcpSettings, stream: Option<TcpStream>, transaction: u16 },
}

impl Knocker {
    /// # Errors
    /// When the port cannot be opened.
    pub fn serial(settings: &RtuSettings) -> Result<Self, LineFault> {
        let port = OpenPort::new(port::open(settings)?, settings.port.clone());
        Ok(Knocker::new(port, port::character(settings)))
    }

    /// # Errors
    /// When nobody takes the connection.
    pub async fn tcp(settings: TcpSettings) -> Result<Self, LineFault> {
        let stream = Some(port::connect(&settings.host, settings.port).await?);
        Ok(Knocker::Tcp { settings, stream, transaction: 0 })
    }
}

impl<P: Port> Knocker<P> {
    pub fn new(port: OpenPort<P>, character: Duration) -> Self {
        Knocker::Serial { port, character, busy_until: Instant::now(), ours: VecDeque::new() }
    }

    /// Hears what the line says by itself for `span`: the frames, and how many bytes were none.
    ///
    /// # Errors
    /// When the line is gone.
    pub async fn listen(&mut self, span: Duration) -> Result<(Vec<Seen>, usize), LineFault> {
        let Knocker::Serial { port, .. } = self else { return Ok((Vec::new(), 0)) };
        let until = Instant::now() + span;
        let (mut heard, mut chunk) = (Vec::new(), [0; 256]);
        while let Ok(count) = timeout_at(until, port.read(&mut chunk)).await {
            heard.extend_from_slice(&chunk[..count?]);
            // who talks without end has been heard enough
            if heard.len() > 16 * LONGEST_FRAME {
                break;
            }
        }
        Ok(frames(&heard))
    }

    /// Asks `unit` this and waits for `patience` beyond the time that the bytes themselves take.
    ///
    /// # Errors
    /// When the line is gone.
    pub async fn knock(&mut self, unit: u8, pdu: &[u8], patience: Duration) -> Result<Knocked, LineFault> {
        match self {
            Knocker::Serial { port, character, busy_until, ours } => {
                let gap = (*character * 7 / 2).max(SHORTEST_GAP);
                sleep_until(*busy_until + gap).await;
                let request = framed(unit, pdu);
                port.write(&request).await?;
                ours.truncate(REMEMBERED - 1);
                ours.push_front([&[unit], pdu].concat());
                let sent = Instant::now();
                let until = sent + patience + *character * (request.len() + LONGEST_FRAME / 16) as u32;
                let (mut heard, mut chunk) = (Vec::new(), [0; 256]);
                while heard.len() < 4 * LONGEST_FRAME
                    && let Ok(count) = timeout_at(until, port.read(&mut chunk)).await
                {
                    heard.extend_from_slice(&chunk[..count?]);
                    if is_answered(&heard, unit, pdu) {
                        break;
                    }
                }
                *busy_until = Instant::now();
                Ok(judge(&heard, (unit, pdu), ours, sent.elapsed()))
            }
            Knocker::Tcp { settings, stream, transaction } => {
                *transaction = transaction.wrapping_add(1);
                let began = Instant::now();
                let mut open = match stream.take() {
                    Some(open) => open,
                    None => port::connect(&settings.host, settings.port).await?,
                };
                let answer = timeout(patience, exchange(&mut open, *transaction, unit, pdu)).await;
                let outcome = match answer {
                    Ok(Ok(answer)) => {
                        *stream = Some(open);
                        sort_out(answer)
                    }
                    // cut off in the midst of something, or hung up: the next knock has a connection of its own
                    Err(_elapsed) => Outcome::Silent,
                    Ok(Err(_hung_up)) => Outcome::Silent,
                };
                Ok(Knocked { outcome, took: began.elapsed(), late: Vec::new(), asked_by_others: Vec::new() })
            }
        }
    }
}

/// One exchange by MBAP (Modbus Messaging on TCP/IP V1.0b, 3.1.3); answers to other transactions are passed over.
async fn exchange(
    stream: &mut TcpStream,
    transaction: u16,
    unit: u8,
    pdu: &[u8],
) -> std::io::Result<Vec<u8>> {
    let mut request = Vec::with_capacity(7 + pdu.len());
    request.extend(transaction.to_be_bytes());
    request.extend([0, 0]);
    request.extend((1 + pdu.len() as u16).to_be_bytes());
    request.push(unit);
    request.extend(pdu);
    stream.write_all(&request).await?;
    loop {
        let mut header = [0; 7];
        stream.read_exact(&mut header).await?;
        let [high, low, 0, 0, length_high, length_low, its_unit] = header else {
            return Err(std::io::ErrorKind::InvalidData.into());
        };
        let length = usize::from(u16::from_be_bytes([length_high, length_low]));
        if !(2..=LONGEST_FRAME).contains(&length) {
            return Err(std::io::ErrorKind::InvalidData.into());
        }
        let mut body = vec![0; length - 1];
        stream.read_exact(&mut body).await?;
        let ours = u16::from_be_bytes([high, low]) == transaction && its_unit == unit;
        if ours && body.first().is_some_and(|function| Some(function & 0x7F) == pdu.first().copied()) {
            return Ok(body);
        }
    }
}

fn sort_out(answer: Vec<u8>) -> Outcome {
    match answer[..] {
        [function, code, ..] if function & 0x80 != 0 && SAID_BY_GATEWAYS.contains(&code) => Outcome::Silent,
        [function, code, ..] if function & 0x80 != 0 => Outcome::Exception(code),
        _ => Outcome::Answer(answer),
    }
}

fn framed(unit: u8, pdu: &[u8]) -> Vec<u8> {
    let mut frame = vec![unit];
    frame.extend_from_slice(pdu);
    frame.extend(CRC.checksum(&frame).to_le_bytes());
    frame
}

fn answers(seen: &Seen, unit: u8, pdu: &[u8]) -> bool {
    seen.unit == unit
        && seen.sort != Sort::Request
        && seen.pdu.first().map(|f| f & 0x7F) == pdu.first().copied()
}

fn is_answered(heard: &[u8], unit: u8, pdu: &[u8]) -> bool {
    frames(heard).0.iter().any(|seen| answers(seen, unit, pdu))
}

/// `ours`: unit and PDU of our last requests: where they come back, that is the line's echo.
fn judge(heard: &[u8], (unit, pdu): (u8, &[u8]), ours: &VecDeque<Vec<u8>>, took: Duration) -> Knocked {
    let (seen, stray) = frames(heard);
    let is_ours =
        |seen: &&Seen| ours.iter().any(|sent| sent.split_first() == Some((&seen.unit, &seen.pdu[..])));
    let echoed = seen.iter().any(|seen| is_ours(&seen));
    let outcome = match seen.iter().find(|seen| answers(seen, unit, pdu)) {
        Some(seen) => sort_out(seen.pdu.clone()),
        None if stray > 0 => Outcome::Noise,
        None if echoed => Outcome::Echo,
        None => Outcome::Silent,
    };
    let (requests, replies): (Vec<&Seen>, Vec<&Seen>) =
        seen.iter().partition(|seen| seen.sort == Sort::Request);
    Knocked {
        outcome,
        took,
        late: replies.iter().map(|seen| seen.unit).filter(|its| *its != unit).collect(),
        asked_by_others: requests.into_iter().filter(|seen| !is_ours(seen)).map(|seen| seen.unit).collect(),
    }
}

/// The frames in `bytes`, wherever they stand, and how many bytes belong to none.
pub fn frames(bytes: &[u8]) -> (Vec<Seen>, usize) {
    let (mut seen, mut stray, mut at) = (Vec::new(), 0, 0);
    while at < bytes.len() {
        match frame_at(&bytes[at..]) {
            Some((frame, length)) => {
                seen.push(frame);
                at += length;
            }
            None => {
                stray += 1;
                at += 1;
            }
        }
    }
    (seen, stray)
}

fn frame_at(bytes: &[u8]) -> Option<(Seen, usize)> {
    let &[unit, function, ..] = bytes else { return None };
    let counted = |at: usize, rest: usize| bytes.get(at).map(|count| usize::from(*count) + rest);
    let lengths: [Option<(usize, Sort)>; 2] = match function {
        0x81..=0xFF => [Some((5, Sort::Exception)), None],
        0x01..=0x04 => [Some((8, Sort::Request)), counted(2, 5).map(|length| (length, Sort::Reply))],
        0x05 | 0x06 => [Some((8, Sort::Request)), None],
        0x0F | 0x10 => [counted(6, 9).map(|length| (length, Sort::Request)), Some((8, Sort::Reply))],
        0x11 => [Some((4, Sort::Request)), counted(2, 5).map(|length| (length, Sort::Reply))],
        0x2B => [Some((7, Sort::Request)), identification(bytes).map(|length| (length, Sort::Reply))],
        _ => return None,
    };
    lengths.into_iter().flatten().find_map(|(length, sort)| {
        let frame = bytes.get(..length)?;
        let (body, crc) = frame.split_last_chunk::<2>()?;
        let right = body.len() >= 2 && CRC.checksum(body).to_le_bytes() == *crc;
        right.then(|| (Seen { unit, sort, pdu: body[1..].to_vec() }, length))
    })
}

/// How long a reply with a device's identification is: its objects say so one after the other.
fn identification(bytes: &[u8]) -> Option<usize> {
    let objects = *bytes.get(7)?;
    let mut end = 8;
    for _ in 0..objects {
        end += 2 + usize::from(*bytes.get(end + 1)?);
    }
    Some(end + 2)
}

/// What a device says of itself, from its reply to [`IDENTIFY`] or [`REPORT_ID`]; `None` where nothing in it can be read.
pub fn identity(pdu: &[u8]) -> Option<String> {
    let words = match pdu {
        [0x2B, 0x0E, _, _, _, _, objects, rest @ ..] => {
            let (mut rest, mut words) = (rest, Vec::new());
            for _ in 0..*objects {
                let [_, length, after @ ..] = rest else { break };
                let (text, after) = after.split_at_checked(usize::from(*length))?;
                words.extend(printable(text));
                rest = after;
            }
            words.join(" ")
        }
        [0x11, _, rest @ ..] => printable(rest)?,
        _ => return None,
    };
    (!words.is_empty()).then_some(words)
}

/// The readable part of what should be text.
fn printable(bytes: &[u8]) -> Option<String> {
    let text: String =
        bytes.iter().filter(|byte| (0x20..0x7F).contains(*byte)).map(|byte| char::from(*byte)).collect();
    let text = text.trim();
    (text.len() >= 2).then(|| text.to_owned())
}

#[cfg(test)]
#[path = "knock_tests.rs"]
mod tests;
