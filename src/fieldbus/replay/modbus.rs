//! Modbus from a tape: RTU requests and what came after each; TCP by transaction.

use std::{collections::HashMap, time::Duration};

use crc::{CRC_16_MODBUS, Crc};

use super::Stage;
use crate::{
    domain::{DeviceIx, Failure, Garble, Raw, Stamp},
    fieldbus::{
        BusDevice,
        modbus::codec::{Hearing, Question, Reply},
        plan::Ask,
    },
    profile::{Address, Dialect, Link},
    text,
};

const CRC: Crc<u16> = Crc::<u16>::new(&CRC_16_MODBUS);
/// What a gateway says about a unit: that unit's silence.
const SAID_BY_GATEWAYS: [u16; 2] = [0x0A, 0x0B];
/// No Modbus message over TCP is longer (MBAP header and 253 bytes).
const LONGEST_ADU: usize = 260;

/// Who answers to a unit id, and how.
#[derive(Clone)]
struct Unit {
    device: DeviceIx,
    dialect: Dialect,
    retries: u8,
    timeout: Duration,
}

struct Units(HashMap<u8, Unit>);

impl Units {
    fn new(devices: &[BusDevice]) -> Self {
        let unit = |device: &BusDevice| match (&device.address, &device.profile.link) {
            (Address::Unit(unit), Link::Modbus(link)) => {
                let known = Unit {
                    device: device.ix,
                    dialect: link.dialect,
                    retries: link.retries,
                    timeout: link.timeout,
                };
                Some((*unit, known))
            }
            (Address::Unit(_) | Address::Text(_), _) => None,
        };
        Self(devices.iter().filter_map(unit).collect())
    }

    fn question(&self, request: &[u8]) -> Option<Question> {
        let unit = request.first()?;
        let dialect = self.0.get(unit).map_or(Dialect::Standard, |unit| unit.dialect);
        Question::decode(request, dialect)
    }

    /// Whether the bus asks a unit the same again at once.
    fn may_retry(&self, open: &Open, stage: &Stage<'_>) -> bool {
        self.0.get(&open.question.unit).is_some_and(|unit| {
            let online = stage.devices.get(&unit.device).is_some_and(|known| known.missed == 0);
            online && open.tries <= unit.retries
        })
    }
}

/// A question that has no answer yet.
struct Open {
    question: Question,
    hearing: Hearing,
    asked: Stamp,
    tries: u8,
}

impl Open {
    fn new(question: Question, asked: Stamp) -> Self {
        Self { hearing: Hearing::new(&question), question, asked, tries: 1 }
    }

    fn why(&self) -> Failure {
        match self.hearing.complaint() {
            None => Failure::Silent,
            Some(what) => Failure::Garbled { what },
        }
    }
}

fn ask(question: &Question) -> Ask {
    Ask::Block { table: question.table, first: question.first, count: question.count }
}

fn answer(units: &Units, question: &Question, reply: Reply, at: Stamp, stage: &mut Stage<'_>) {
    let Some(unit) = units.0.get(&question.unit) else {
        let number = question.unit;
        let told = text!("站号 {number} 不在配置里", "unit {number} is not in the site");
        stage.unknown(at, &question.encode(), told);
        return;
    };
    match reply {
        Reply::Values(raw) => {
            let points = stage.points_in(unit.device, &ask(question));
            stage.answered(unit.device, points, raw, at);
        }
        Reply::Refused(code) => {
            let why =
                if SAID_BY_GATEWAYS.contains(&code) { Failure::Silent } else { Failure::Refused { code } };
            let points = stage.points_about(unit.device, &ask(question));
            stage.failed(unit.device, points, why, at);
        }
    }
}

fn unanswered(units: &Units, question: &Question, why: Failure, at: Stamp, stage: &mut Stage<'_>) {
    if let Some(unit) = units.0.get(&question.unit) {
        let points = stage.points_about(unit.device, &ask(question));
        stage.failed(unit.device, points, why, at);
    }
}

/// A serial line: one question at a time.
pub struct Rtu {
    units: Units,
    open: Option<Open>,
    /// Answered, but perhaps only a marker: the next question tells.
    held: Option<(Question, Raw, Stamp)>,
}

impl Rtu {
    pub fn new(devices: &[BusDevice]) -> Self {
        Self { units: Units::new(devices), open: None, held: None }
    }

    pub fn sent(&mut self, bytes: &[u8], at: Stamp, stage: &mut Stage<'_>) {
        let question = self.units.question(bytes);
        if let Some((asked, raw, heard)) = self.held.take()
            && !question.is_some_and(|next| is_marker(&asked, &next))
        {
            answer(&self.units, &asked, Reply::Values(raw), heard, stage);
        }
        let mut tries = 1;
        if let Some(open) = self.open.take() {
            let again = question == Some(open.question) && self.units.may_retry(&open, stage);
            if again {
                tries = open.tries + 1;
            } else {
                unanswered(&self.units, &open.question, open.why(), at, stage);
            }
        }
        match question {
            Some(question) => self.open = Some(Open { tries, ..Open::new(question, at) }),
            None => stage.unknown(at, bytes, text!("发出的不是读请求", "what was sent is no read")),
        }
    }

    pub fn heard(&mut self, bytes: &[u8], at: Stamp, stage: &mut Stage<'_>) {
        let Some(open) = &mut self.open else {
            stage.unknown(at, bytes, text!("没有人问", "nobody had asked"));
            return;
        };
        let Some(reply) = open.hearing.hear(bytes) else { return };
        let question = open.question;
        self.open = None;
        match reply {
            Reply::Values(raw) => self.held = Some((question, raw, at)),
            reply @ Reply::Refused(_) => answer(&self.units, &question, reply, at, stage),
        }
    }

    pub fn end(&mut self, stage: &mut Stage<'_>) {
        if let Some((asked, raw, heard)) = self.held.take() {
            answer(&self.units, &asked, Reply::Values(raw), heard, stage);
        }
        // nobody knows what would still have come
        self.open = None;
    }
}

/// A question that was only asked so that the next answer can be believed: the same block, another length, right before.
fn is_marker(asked: &Question, next: &Question) -> bool {
    (asked.unit, asked.table, asked.first) == (next.unit, next.table, next.first) && asked.count != next.count
}

/// A connection: questions under way by transaction.
pub struct Tcp {
    units: Units,
    sent: Vec<u8>,
    heard: Vec<u8>,
    open: HashMap<u16, Open>,
    /// Without an answer, but perhaps asked again at once.
    missed: Vec<Open>,
}

impl Tcp {
    pub fn new(devices: &[BusDevice]) -> Self {
        let units = Units::new(devices);
        Self { units, sent: Vec::new(), heard: Vec::new(), open: HashMap::new(), missed: Vec::new() }
    }

    /// A new connection: nothing that was asked on the old one is answered any more.
    pub fn opened(&mut self, at: Stamp, stage: &mut Stage<'_>) {
        self.sent.clear();
        self.heard.clear();
        self.give_up(at, stage, |_, _| true);
    }

    pub fn sent(&mut self, bytes: &[u8], at: Stamp, stage: &mut Stage<'_>) {
        self.give_up(at, stage, is_over);
        self.sent.extend_from_slice(bytes);
        while let Some((transaction, rtu)) = cut(&mut self.sent) {
            let Some(question) = self.units.question(&rtu) else {
                stage.unknown(at, &rtu, text!("发出的不是读请求", "what was sent is no read"));
                continue;
            };
            let again = self.missed.iter().position(|missed| missed.question == question);
            let tries = again.map_or(1, |again| self.missed.swap_remove(again).tries + 1);
            self.tell_missed(question.unit, at, stage);
            self.open.insert(transaction, Open { tries, ..Open::new(question, at) });
        }
    }

    pub fn heard(&mut self, bytes: &[u8], at: Stamp, stage: &mut Stage<'_>) {
        self.give_up(at, stage, is_over);
        self.heard.extend_from_slice(bytes);
        while let Some((transaction, rtu)) = cut(&mut self.heard) {
            let Some(mut open) = self.open.remove(&transaction) else {
                stage.unknown(
                    at,
                    &rtu,
                    text!("没有这个事务号的问题", "no question has this transaction number"),
                );
                continue;
            };
            match open.hearing.hear(&rtu) {
                Some(reply) => answer(&self.units, &open.question, reply, at, stage),
                None => {
                    let why = Failure::Garbled { what: Garble::OtherQuestion };
                    unanswered(&self.units, &open.question, why, at, stage);
                }
            }
        }
    }

    pub fn end(&mut self, at: Stamp, stage: &mut Stage<'_>) {
        self.give_up(at, stage, is_over);
        for open in std::mem::take(&mut self.missed) {
            unanswered(&self.units, &open.question, Failure::Silent, at, stage);
        }
        self.open.clear();
        self.sent.clear();
        self.heard.clear();
    }

    /// Questions whose time is over: told, or kept where they may be asked again.
    fn give_up(&mut self, now: Stamp, stage: &mut Stage<'_>, over: fn(&Open, (Duration, Stamp)) -> bool) {
        let timeout = |unit: u8| self.units.0.get(&unit).map_or(Duration::from_secs(5), |unit| unit.timeout);
        let is_over = |(_, open): &(&u16, &Open)| over(open, (timeout(open.question.unit), now));
        let mut late: Vec<u16> = self.open.iter().filter(is_over).map(|(number, _)| *number).collect();
        late.sort_unstable();
        for open in late.into_iter().filter_map(|number| self.open.remove(&number)).collect::<Vec<_>>() {
            match self.units.may_retry(&open, stage) {
                true => self.missed.push(open),
                false => unanswered(&self.units, &open.question, Failure::Silent, now, stage),
            }
        }
    }

    /// The unit is asked something else: what it missed was not asked again.
    fn tell_missed(&mut self, unit: u8, at: Stamp, stage: &mut Stage<'_>) {
        let (told, kept) =
            std::mem::take(&mut self.missed).into_iter().partition(|missed| missed.question.unit == unit);
        self.missed = kept;
        let told: Vec<Open> = told;
        for open in told {
            unanswered(&self.units, &open.question, Failure::Silent, at, stage);
        }
    }
}

fn is_over(open: &Open, (timeout, now): (Duration, Stamp)) -> bool {
    timeout < now.mono.since(open.asked.mono)
}

/// The first whole message of `stream`, as the RTU frame that says the same; what is no Modbus empties it.
fn cut(stream: &mut Vec<u8>) -> Option<(u16, Vec<u8>)> {
    let &[high, low, protocol_high, protocol_low, length_high, length_low, ..] = &stream[..] else {
        return None;
    };
    let length = usize::from(u16::from_be_bytes([length_high, length_low]));
    let end = 6 + length;
    if (protocol_high, protocol_low) != (0, 0) || length < 2 || end > LONGEST_ADU {
        stream.clear();
        return None;
    }
    let mut rtu = stream.get(6..end)?.to_vec();
    stream.drain(..end);
    rtu.extend(CRC.checksum(&rtu).to_le_bytes());
    Some((u16::from_be_bytes([high, low]), rtu))
}
