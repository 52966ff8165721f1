//! Classes and profiles as they are written: the keys of `class.toml` and `<maker>-<model>.toml`, nothing more.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::written::{Bits, HexBytes, HexTemplate, ItemId, Meaning, Pointer, RawValue, RegisterNumber};
use crate::domain::{DataClass, Kind, Origin, Period, Priority, Table, Text};

/// `class.toml`: the standard points and alarms of a kind of device.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClassFile {
    #[schemars(extend("pattern" = "^[a-z][a-z0-9]*(-[a-z0-9]+)*$", "examples" = ["elevator"]))]
    pub class: String,
    pub title: Option<Text>,
    #[serde(default)]
    pub point: Vec<ClassPointFile>,
    #[serde(default)]
    pub alarm: Vec<ClassAlarmFile>,
    /// Devices of this class take in what people bring, and points are given for it.
    pub credit: Option<ClassCreditFile>,
}

/// Which points make a delivery for which points are given, by their names. A profile without `transaction`, `weight` or `scale` gives
/// none; the last four are reckoned by the gateway, and no profile has them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClassCreditFile {
    /// A text: another one for each delivery.
    pub transaction: String,
    /// In kg: of this delivery alone, the packing taken off.
    pub weight: String,
    /// A choice with the word `stable`: only then anything is given.
    pub scale: String,
    pub category: String,
    /// The points, where the device reckons them; else the site's tariff does.
    pub points: String,
    /// Whose they are. In clear text it goes to the service that keeps the points and to nobody else.
    pub card: String,
    /// In kg: the device's own counter of all deliveries.
    pub total: String,
    /// How many deliveries were refused since the last that was credited.
    pub refused: String,
    /// In kg: how far the counter went since the books are balanced against it, how much was credited of that, and the difference.
    pub counted: String,
    pub credited: String,
    pub difference: String,
}

/// Of a product that takes in what people bring.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreditFile {
    /// In kg: where the device's counter of all deliveries begins from zero again by itself.
    pub total_wraps_at: Option<f64>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClassPointFile {
    #[schemars(extend("pattern" = "^[a-z][a-z0-9_]*$", "examples" = ["floor"]))]
    pub name: String,
    pub title: Option<Text>,
    pub kind: Kind,
    /// The unit that every profile scales into, for numbers.
    #[serde(default)]
    pub unit: String,
    /// The legal words, for choices.
    #[serde(default)]
    pub values: Vec<String>,
    #[serde(default)]
    pub data: DataClass,
    #[serde(default)]
    pub required: bool,
    /// Of a flag that falls off now and then while it is true: once true, conditions take it as true until it was false for so long.
    pub hold: Option<Period>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClassAlarmFile {
    #[schemars(extend("pattern" = "^[a-z][a-z0-9_]*$", "examples" = ["overload"]))]
    pub name: String,
    pub title: Option<Text>,
    pub priority: Priority,
    /// CEL over the class's points; `comm_loss` goes without, and `rate` and `stuck` may.
    pub when: Option<String>,
    /// In the place of `when`: the device does not answer. For what is to be told of a silence that lasts (EN 81-28: three days), besides
    /// `comm_loss`.
    #[serde(default)]
    pub link_lost: bool,
    /// CEL over the class's points: once raised it stays active until this holds, so that a value that trembles at its limit is one alarm.
    pub clear_when: Option<String>,
    /// `when` has become true so many times within so long.
    pub count: Option<CountFile>,
    /// A number has changed by so much within so long.
    pub rate: Option<RateFile>,
    /// A value has not changed for so long, though `when` held.
    pub stuck: Option<StuckFile>,
    pub on_delay: Option<Period>,
    pub off_delay: Option<Period>,
    /// Stays until a person closes it.
    #[serde(default)]
    pub latching: bool,
    /// Never shelved, never closed by itself.
    #[serde(default)]
    pub life_safety: bool,
    #[serde(default)]
    pub origin: Origin,
    /// CEL over the class's points: while it holds, the alarm is tracked and shown, but not announced.
    pub suppress_when: Option<String>,
    /// Someone may be shut in: help must have arrived within this; it is warned of after a sixth, a half and five sixths of it.
    pub rescue_within: Option<Period>,
    pub cause: Option<Text>,
    pub response: Option<Text>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CountFile {
    #[schemars(range(min = 2, max = 1000))]
    pub times: u32,
    pub within: Period,
}

/// At least one of `rise` and `fall`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateFile {
    /// A number of the class.
    pub point: String,
    /// In the point's unit; more than 0.
    pub rise: Option<f64>,
    pub fall: Option<f64>,
    pub within: Period,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StuckFile {
    pub point: String,
    #[serde(rename = "for")]
    pub lasting: Period,
    /// Of a number: smaller steps are no change. 0 if left out.
    pub deadband: Option<f64>,
}

/// `<maker>-<model>.toml`: one product, and where its values stand.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProfileFile {
    #[schemars(extend("pattern" = "^[a-z][a-z0-9-]*/[a-z0-9][a-z0-9-]*$", "examples" = ["elevator/maker-model"]))]
    pub profile: String,
    #[schemars(range(min = 1))]
    pub revision: u32,
    pub title: Option<Text>,
    #[serde(default)]
    pub products: Vec<String>,
    /// Where the map comes from: document, edition, page.
    pub source: String,
    pub modbus: Option<ModbusFile>,
    pub mqtt: Option<MqttFile>,
    pub serial: Option<SerialFile>,
    pub dlt645: Option<Dlt645File>,
    pub credit: Option<CreditFile>,
    #[serde(default)]
    pub point: Vec<PointFile>,
    #[serde(default)]
    pub command: Vec<CommandFile>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PointFile {
    pub name: String,
    pub read: ReadFile,
    /// Poll period; Modbus and DL/T 645 only.
    pub every: Option<Period>,
    pub byte_order: Option<ByteOrder>,
    pub scale: Option<f64>,
    pub offset: Option<f64>,
    /// Raw values that mean "no value".
    #[serde(default)]
    pub absent: Vec<RawValue>,
    /// Lowest and highest believable value, after scale.
    pub range: Option<[f64; 2]>,
    /// Raw value → word of a choice, or true or false.
    pub values: Option<BTreeMap<String, Meaning>>,
    /// The raw value where the JSON pointer finds nothing.
    pub missing: Option<RawValue>,
    /// Only frames with these bytes speak of the point.
    pub when: Option<ByteMatchFile>,
}

/// Where a raw value stands. Which keys belong depends on the protocol.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReadFile {
    pub table: Option<Table>,
    pub address: Option<RegisterNumber>,
    pub frame: Option<String>,
    pub item: Option<ItemId>,
    /// Byte offset; negative counts from the end. DL/T 645: in the data behind the identifier, 0 if left out.
    #[schemars(range(min = -65535, max = 65535))]
    pub at: Option<i32>,
    pub pointer: Option<Pointer>,
    #[serde(rename = "type")]
    pub kind: Option<WireType>,
    pub bits: Option<Bits>,
    /// Of a text: registers for Modbus, bytes elsewhere. Of a `bcd` or `bcd_signed`: bytes.
    #[schemars(range(min = 1))]
    pub length: Option<u16>,
    pub order: Option<Endian>,
    pub byte_order: Option<ByteOrder>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WireType {
    Bool,
    U8,
    I8,
    Sm8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
    Bcd16,
    Bcd32,
    String,
    Decimal,
    Hex,
    /// `length` bytes of two digits each; DL/T 645 only.
    Bcd,
    /// As `bcd`; the top bit is the sign.
    #[serde(rename = "bcd_signed")]
    BcdSigned,
}

/// The bytes of a 32-bit value as they come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum ByteOrder {
    #[default]
    #[serde(rename = "ABCD")]
    Abcd,
    #[serde(rename = "CDAB")]
    Cdab,
    #[serde(rename = "BADC")]
    Badc,
    #[serde(rename = "DCBA")]
    Dcba,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Endian {
    #[default]
    Big,
    Little,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModbusFile {
    #[serde(default)]
    pub dialect: DialectFile,
    #[serde(default)]
    #[schemars(range(max = 1))]
    pub address_base: u8,
    #[serde(default)]
    pub byte_order: ByteOrder,
    #[schemars(range(min = 1, max = 125))]
    pub max_registers: Option<u16>,
    #[serde(default)]
    #[schemars(range(max = 124))]
    pub max_gap: u16,
    /// The product reads only blocks of registers whose first address (from 0) and count are multiples of this: 1, 2, 4, 8 or 16.
    pub align: Option<u16>,
    pub timeout: Option<Period>,
    pub retries: Option<u8>,
    /// The silence that the product needs before the next question, to itself or to another device of its line.
    pub turnaround: Option<Period>,
    /// How many requests the product takes at once over Modbus TCP; serial lines carry one at a time. 1 if left out.
    #[schemars(range(min = 1, max = 16))]
    pub pipeline: Option<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DialectFile {
    #[default]
    Standard,
    /// Replies with a two-byte byte count (Monarch NICE3000+).
    Nice3000,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MqttFile {
    pub topic: String,
    pub payload: PayloadFile,
    /// JSON only: where a base64 text stands, whose bytes the points with `at` read.
    pub bytes: Option<Pointer>,
    /// JSON only: a message that differs here is not for this profile.
    #[serde(default)]
    pub only: BTreeMap<String, RawValue>,
    /// The device's own time: RFC 3339 with its offset, or Unix seconds or milliseconds. A message whose time is before that of one
    /// that was heard already is stale, unless `sequence` counts on; one that the broker kept is stale unless its time is fresh.
    pub time: Option<Pointer>,
    /// A number that the device counts up with each message. The same number, time and readings within ten minutes are a
    /// duplicate and dropped; without `time`, only of the newest message. A number that goes back with a newer time, or (without `time`)
    /// by more than 16 or after ten minutes, is a device that began anew: its message counts. Without `sequence` nothing is
    /// dropped but what the broker itself sends again before it was acknowledged.
    pub sequence: Option<Pointer>,
    /// Longer silence than this is `comm_loss`.
    pub heartbeat: Option<Period>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PayloadFile {
    Json,
    Bytes,
    Text,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SerialFile {
    pub timeout: Option<Period>,
    pub retries: Option<u8>,
    /// The silence that the product needs before the next question, to itself or to another device of its line.
    pub turnaround: Option<Period>,
    pub heartbeat: Option<Period>,
    pub frame: FrameFile,
    #[serde(default)]
    pub request: Vec<RequestFile>,
    #[serde(default)]
    pub event: Vec<EventFile>,
}

/// A meter that is asked for data identifiers.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dlt645File {
    pub timeout: Option<Period>,
    pub retries: Option<u8>,
    /// The silence that the product needs before the next question, to itself or to another device of its line.
    pub turnaround: Option<Period>,
    /// FE bytes in front of each request, which wake the meter's receiver.
    #[schemars(range(max = 16))]
    pub wakeup: Option<u8>,
}

/// How a frame is cut from the stream: one of `end`, `fixed` and `length`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FrameFile {
    pub start: Option<HexBytes>,
    pub end: Option<HexBytes>,
    #[schemars(range(min = 1, max = 4096))]
    pub fixed: Option<usize>,
    pub length: Option<LengthFile>,
    #[schemars(range(min = 1, max = 4096))]
    pub max: Option<usize>,
    pub checksum: Option<ChecksumFile>,
    pub address: Option<FrameAddressFile>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LengthFile {
    pub at: usize,
    #[schemars(range(min = 1, max = 4))]
    pub size: usize,
    #[serde(default)]
    pub order: Endian,
    /// Whole frame = the field's value + this.
    #[serde(default)]
    #[schemars(range(min = -4096, max = 4096))]
    pub adds: i64,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChecksumFile {
    pub kind: ChecksumKindFile,
    #[serde(default)]
    pub from: usize,
    /// Exclusive; negative counts from the frame's end. The checksum stands right after.
    #[schemars(range(min = -4096, max = 4096))]
    pub to: i64,
    #[serde(default)]
    pub order: Endian,
    #[serde(default)]
    pub form: ChecksumForm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum ChecksumKindFile {
    #[serde(rename = "sum8")]
    Sum8,
    #[serde(rename = "twos8")]
    Twos8,
    #[serde(rename = "xor8")]
    Xor8,
    #[serde(rename = "lrc8")]
    Lrc8,
    #[serde(rename = "crc16-modbus")]
    Crc16Modbus,
    #[serde(rename = "crc16-osdp")]
    Crc16Osdp,
    #[serde(rename = "crc16-arc")]
    Crc16Arc,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChecksumForm {
    #[default]
    Bytes,
    /// ASCII hex digits.
    Hex,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FrameAddressFile {
    pub at: usize,
    pub mask: Option<u8>,
}

/// Something the device is asked: `send` in hex, or `send_text`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestFile {
    pub name: String,
    pub send: Option<HexTemplate>,
    pub send_text: Option<String>,
    pub every: Option<Period>,
    #[serde(default, rename = "match")]
    pub matches: Vec<ByteMatchFile>,
}

/// Something the device says unasked, or instead of the reply.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventFile {
    pub name: String,
    #[serde(default, rename = "match")]
    pub matches: Vec<ByteMatchFile>,
    #[serde(default)]
    pub answers: Vec<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ByteMatchFile {
    pub at: usize,
    pub bytes: HexBytes,
}

/// Something the device can be told to do.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandFile {
    #[schemars(extend("pattern" = "^[a-z][a-z0-9_]*$", "examples" = ["set_dimming"]))]
    pub name: String,
    pub title: Option<Text>,
    pub write: ReadFile,
    /// Lowest and highest value that is ever sent, before scale.
    pub range: Option<[f64; 2]>,
    pub scale: Option<f64>,
    pub offset: Option<f64>,
    /// Raw value → word, or true or false, that people ask for.
    pub values: Option<BTreeMap<String, Meaning>>,
    /// The point that shows whether it was done.
    pub read_back: Option<String>,
    /// CEL over the class's points: only while it is true is anything sent. Unknown is not true.
    pub interlock: Option<String>,
    /// This product takes the functions for many registers or coils (16, 15) only, also for one.
    #[serde(default)]
    pub multiple: bool,
}
