//! How a product is spoken to: what a driver must know of it.

use std::time::Duration;

#[derive(Clone, Debug)]
pub enum Link {
    Modbus(ModbusLink),
    Serial(SerialLink),
    Mqtt(MqttLink),
    Dlt645(Dlt645Link),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModbusLink {
    pub dialect: Dialect,
    pub max_registers: u16,
    pub max_gap: u16,
    pub timeout: Duration,
    pub retries: u8,
    pub turnaround: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Standard,
    /// Replies carry a two-byte byte count (Monarch NICE3000+).
    Nice3000,
}

impl Dialect {
    /// A refusal in words (Modbus Application Protocol V1.1b3, section 7), or as the vendor's number.
    pub fn refusal(self, code: u16) -> String {
        let words = match (self, code) {
            // its error words share this place with exceptions and mean other things
            (Dialect::Nice3000, _) => return format!("error {code:04X}"),
            (Dialect::Standard, 1) => "no such function",
            (Dialect::Standard, 2) => "no such address; counted from 0 or from 1?",
            (Dialect::Standard, 3) => "no such quantity; fewer registers at once?",
            (Dialect::Standard, 4) => "the device failed",
            (Dialect::Standard, 5 | 6) => "the device is busy",
            (Dialect::Standard, 10) => "the gateway has no path to it",
            (Dialect::Standard, 11) => "it does not answer the gateway",
            (Dialect::Standard, _) => return format!("exception {code:02X}"),
        };
        format!("exception {code:02X}: {words}")
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
    pub fn refusal(code: u16) -> String {
        const WORDS: [&str; 7] = [
            "another error",
            "no such data",
            "wrong password or not allowed",
            "the baud rate cannot be changed",
            "too many yearly time zones",
            "too many daily periods",
            "too many tariffs",
        ];
        let said = WORDS.iter().enumerate().filter(|(bit, _)| code >> bit & 1 == 1);
        let said = said.map(|(_, word)| *word).collect::<Vec<_>>().join(", ");
        if said.is_empty() { format!("error {code:02X}") } else { format!("error {code:02X}: {said}") }
    }
}
