//! How a product is spoken to: what a driver must know of it.

use std::time::Duration;

use crate::domain::{Called, Diagnosis, Failure, Medium};

#[derive(Clone, Debug)]
pub enum Link {
    Modbus(ModbusLink),
    Serial(SerialLink),
    Mqtt(MqttLink),
    Dlt645(Dlt645Link),
}

impl Link {
    /// A failure in words, as this product means it behind `medium`. `None` where nothing is wrong yet.
    pub fn diagnose(&self, failure: &Failure, medium: Medium) -> Option<Diagnosis> {
        match (self, failure) {
            (Link::Modbus(link), Failure::Refused { code }) => Some(link.dialect.refusal(*code)),
            (Link::Dlt645(_), Failure::Refused { code }) => Some(Dlt645Link::refusal(*code)),
            (Link::Serial(_) | Link::Mqtt(_), Failure::Refused { code }) => {
                Some(Diagnosis::vendor_error(*code))
            }
            (_, failure) => failure.diagnosis(medium, self.called()),
        }
    }

    fn called(&self) -> Called {
        match self {
            Link::Modbus(_) => Called::UnitId,
            Link::Serial(_) => Called::Address,
            Link::Mqtt(_) => Called::Topic,
            Link::Dlt645(_) => Called::MeterNumber,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModbusLink {
    pub dialect: Dialect,
    pub max_registers: u16,
    pub max_gap: u16,
    /// First register and count of a read are multiples of this: a power of two.
    pub align: u16,
    pub timeout: Duration,
    pub retries: u8,
    pub turnaround: Duration,
    /// How many requests a TCP server of this product takes at once; serial lines carry one at a time.
    pub pipeline: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Standard,
    /// Replies carry a two-byte byte count (Monarch NICE3000+).
    Nice3000,
}

impl Dialect {
    /// A refusal in words, or as the vendor's number.
    pub fn refusal(self, code: u16) -> Diagnosis {
        match self {
            Dialect::Standard => Diagnosis::exception(code),
            // its error words share this place with exceptions and mean other things
            Dialect::Nice3000 => Diagnosis::vendor_error(code),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SerialLink {
    pub frame: FrameShape,
    pub requests: Vec<SerialRequest>,
    pub events: Vec<SerialEvent>,
    pub timeout: Duration,
    pub retries: u8,
    pub turnaround: Duration,
    pub heartbeat: Option<Duration>,
}

/// How a frame is cut from the stream (keys: see the serial table of a profile).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameShape {
    pub start: Vec<u8>,
    pub length: FrameLength,
    pub max: usize,
    pub checksum: Option<Checksum>,
    /// Where the device's address stands, and which bits of that byte are it.
    pub address: Option<(usize, u8)>,
}

impl FrameShape {
    /// The shortest frame whose first `content` bytes mean something.
    pub fn shortest_with(&self, content: usize) -> usize {
        let (header, end) = match &self.length {
            FrameLength::Fixed(fixed) => return *fixed,
            FrameLength::EndsWith(end) => (self.start.len(), end.len()),
            FrameLength::Field { at, size, .. } => (at + size, 0),
        };
        // what is summed up to so many bytes before the end has these behind it: the checksum, then the end
        let behind = self.checksum.as_ref().map_or(0, |sum| usize::try_from(-sum.to).unwrap_or(0));
        (content.max(header) + behind.max(end)).min(self.max)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameLength {
    Fixed(usize),
    EndsWith(Vec<u8>),
    Field { at: usize, size: usize, little: bool, adds: i64 },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checksum {
    pub kind: ChecksumKind,
    pub from: usize,
    /// Negative counts from the frame's end; exclusive. The checksum stands right after.
    pub to: i64,
    pub little: bool,
    /// Written as ASCII hex digits.
    pub hex: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChecksumKind {
    Sum8,
    Twos8,
    Xor8,
    Lrc8,
    Crc16Modbus,
    Crc16Osdp,
    Crc16Arc,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SerialRequest {
    pub name: String,
    /// The bytes to send before the checksum; `None` stands for the device's address.
    pub send: Vec<Option<u8>>,
    pub every: Duration,
    pub matches: Vec<ByteMatch>,
    /// Bytes of the shortest answer that has in it all that the profile reads there.
    pub reply: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SerialEvent {
    pub name: String,
    pub matches: Vec<ByteMatch>,
    /// Indices of the requests whose wait it ends.
    pub answers: Vec<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByteMatch {
    pub at: usize,
    pub bytes: Vec<u8>,
}

impl ByteMatch {
    /// Whether `frame` has these bytes at that place; a frame that ends before it does not.
    pub fn holds(&self, frame: &[u8]) -> bool {
        frame.get(self.at..).is_some_and(|rest| rest.starts_with(&self.bytes))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MqttLink {
    /// With `{address}` in it.
    pub topic: String,
    pub heartbeat: Option<Duration>,
}

/// An electricity meter that speaks DL/T 645-2007.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dlt645Link {
    /// What it is asked for; a point's `frame` is a place in here.
    pub items: Vec<Dlt645Item>,
    /// FE bytes in front of each request.
    pub wakeup: u8,
    pub timeout: Duration,
    pub retries: u8,
    pub turnaround: Duration,
}

/// One data identifier (数据标识) and how often it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dlt645Item {
    /// DI3 is the highest byte.
    pub id: u32,
    pub every: Duration,
    /// Bytes of its data that points read.
    pub length: u16,
}

impl Dlt645Item {
    /// Whether data of so many bytes are this item: what is read in part only might be another format of the same name. How many
    /// values a block (FF in DI1 or DI0) has is the meter's affair.
    pub fn fits(&self, length: usize) -> bool {
        let [.., di1, di0] = self.id.to_be_bytes();
        di1 == 0xFF || di0 == 0xFF || length == usize::from(self.length)
    }
}

impl Dlt645Link {
    /// A refusal in words: the bits of the error word, as the package `dlt645` 3.2.0 names them.
    pub fn refusal(code: u16) -> Diagnosis {
        const WORDS: [(&str, &str); 7] = [
            ("其他错误", "another error"),
            ("无请求数据", "no such data"),
            ("密码错或未授权", "wrong password or not allowed"),
            ("通信速率不能更改", "the baud rate cannot be changed"),
            ("年时区数超", "too many yearly time zones"),
            ("日时段数超", "too many daily periods"),
            ("费率数超", "too many tariffs"),
        ];
        let said = WORDS.iter().enumerate().filter(|(bit, _)| code >> bit & 1 == 1);
        let (zh, en): (Vec<_>, Vec<_>) = said.map(|(_, words)| *words).unzip();
        Diagnosis::meter_error(code, &zh.join("、"), &en.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_as_long_as_what_is_read_of_it_and_what_ends_it() {
        let sum = |to| Some(Checksum { kind: ChecksumKind::Sum8, from: 0, to, little: false, hex: false });
        let field = FrameLength::Field { at: 2, size: 2, little: true, adds: 0 };
        let ends = FrameLength::EndsWith(b"\r\n".to_vec());
        for (fact, length, checksum, content, want) in [
            ("always the same", FrameLength::Fixed(9), None, 3, 9),
            ("what is read, then its end", ends.clone(), None, 5, 7),
            ("a checksum before the end", ends.clone(), sum(-3), 5, 8),
            ("no shorter than its length field", field.clone(), None, 0, 4),
            ("a checksum at the end", field.clone(), sum(-2), 7, 9),
            ("a checksum at the front", field.clone(), sum(3), 7, 7),
            ("no longer than any", field, sum(-2), 100, 64),
        ] {
            let shape = FrameShape { start: vec![1], length, max: 64, checksum, address: None };
            assert_eq!(shape.shortest_with(content), want, "{fact}");
        }
    }
}
