//! Small things as people write them in profiles: hex bytes, bit ranges, register numbers, raw values.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

use crate::domain::Value;

/// A text with a form of its own, checked when it is read.
macro_rules! formed_text {
    ($(#[$doc:meta])* $name:ident($inner:ty), $pattern:literal, $example:literal, $parse:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
        #[schemars(with = "String", inline, extend("pattern" = $pattern, "examples" = [$example]))]
        pub struct $name(pub $inner);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = Cow::<str>::deserialize(from)?;
                let parse: fn(&str) -> Option<$inner> = $parse;
                let expected = concat!("a text such as ", stringify!($example));
                parse(&text).map(Self).ok_or_else(|| de::Error::invalid_value(de::Unexpected::Str(&text), &expected))
            }
        }
    };
}

formed_text! {
    /// Bytes in hex, blanks between them or not: `"0D 0A"`.
    HexBytes(Vec<u8>), "^([0-9A-Fa-f]{2} *)*$", "53 0A", hex_bytes
}

formed_text! {
    /// Bytes in hex with `{address}` for the device's one: `"53 {address} 08"`.
    HexTemplate(Vec<Option<u8>>), r"^(([0-9A-Fa-f]{2}|\{address\}) *)*$", "53 {address} 08 00", hex_template
}

formed_text! {
    /// Bits from 0 = least significant, both ends in: `"4..7"` or `"3"`.
    Bits([u8; 2]), r"^[0-9]{1,2}(\.\.[0-9]{1,2})?$", "0..7", bits
}

formed_text! {
    /// A JSON pointer (RFC 6901), unescaped step by step: `"/object/occupied"`.
    Pointer(Box<[String]>), r"^(/([^~]|~[01])*)?$", "/object/occupied", pointer_steps
}

formed_text! {
    /// A data identifier of DL/T 645-2007 (数据标识), DI3 first as the standard's tables print it: `"02010100"`.
    ItemId(u32), "^[0-9A-Fa-f]{8}$", "02010100", item_id
}

fn item_id(text: &str) -> Option<u32> {
    let digits = text.len() == 8 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    u32::from_str_radix(text, 16).ok().filter(|_| digits)
}

/// Bytes in hex, blanks between them or not.
pub fn hex_bytes(text: &str) -> Option<Vec<u8>> {
    hex_template(text)?.into_iter().collect()
}

fn hex_template(text: &str) -> Option<Vec<Option<u8>>> {
    const ADDRESS: &str = "{address}";
    let mut bytes = Vec::new();
    let mut rest = text.trim_start_matches(' ');
    while !rest.is_empty() {
        let (byte, after) = match rest.strip_prefix(ADDRESS) {
            Some(after) => (None, after),
            None => {
                let (digits, after) = rest.split_at_checked(2)?;
                let plain = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
                (Some(u8::from_str_radix(digits, 16).ok().filter(|_| plain)?), after)
            }
        };
        bytes.push(byte);
        rest = after.trim_start_matches(' ');
    }
    Some(bytes)
}

fn bits(text: &str) -> Option<[u8; 2]> {
    let (low, high) = text.split_once("..").unwrap_or((text, text));
    Some([low.parse().ok()?, high.parse().ok()?])
}

pub(super) fn pointer_steps(text: &str) -> Option<Box<[String]>> {
    let steps = match text.strip_prefix('/') {
        Some(rest) => rest,
        None => return text.is_empty().then(Box::default),
    };
    let unescaped = |step: &str| {
        let stray = step.replace("~0", "").replace("~1", "").contains('~');
        (!stray).then(|| step.replace("~1", "/").replace("~0", "~"))
    };
    steps.split('/').map(unescaped).collect()
}

/// A value as it comes over the wire: in `absent`, `missing` and `only`.
#[derive(Clone, Debug, PartialEq)]
pub enum RawValue {
    Whole(i64),
    Float(f64),
    Flag(bool),
    Text(String),
}

impl fmt::Display for RawValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RawValue::Whole(number) => write!(f, "{number}"),
            RawValue::Float(number) => write!(f, "{number}"),
            RawValue::Flag(flag) => write!(f, "{flag}"),
            RawValue::Text(text) => write!(f, "\"{text}\""),
        }
    }
}

impl From<&RawValue> for Value {
    fn from(written: &RawValue) -> Value {
        match written {
            RawValue::Whole(number) => Value::Number(*number as f64),
            RawValue::Float(number) => Value::Number(*number),
            RawValue::Flag(flag) => Value::Flag(*flag),
            RawValue::Text(text) => Value::Text(text.as_str().into()),
        }
    }
}

/// What a raw value means: a choice's word, or true or false for a flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    Word(String),
    Flag(bool),
}

/// A register's number: `0x0010`, `16`, or the manuals' `"40017"`, whose first digit names the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegisterNumber {
    Plain(u16),
    /// The table's digit and the number after it, counted from 1.
    Manual {
        digit: char,
        number: u32,
    },
}

/// A type that takes several kinds of TOML value: its schema, and which kinds its visitor reads.
macro_rules! one_of {
    ($name:ident, $expects:literal, $schema:tt, { $($visit:ident($kind:ty) => $make:expr),+ $(,)? }) => {
        impl JsonSchema for $name {
            fn inline_schema() -> bool { true }
            fn schema_name() -> Cow<'static, str> { stringify!($name).into() }
            fn json_schema(_: &mut SchemaGenerator) -> Schema { json_schema!($schema) }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl de::Visitor<'_> for Visitor {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str($expects) }
                    $(fn $visit<E: de::Error>(self, value: $kind) -> Result<$name, E> {
                        let make: fn($kind) -> Option<$name> = $make;
                        make(value).ok_or_else(|| E::custom(concat!("expected ", $expects)))
                    })+
                }
                from.deserialize_any(Visitor)
            }
        }
    };
}

one_of!(RawValue, "a number, a text, true or false", { "type": ["integer", "number", "string", "boolean"] }, {
    visit_i64(i64) => |number| Some(RawValue::Whole(number)),
    visit_u64(u64) => |number| i64::try_from(number).ok().map(RawValue::Whole),
    visit_f64(f64) => |number| Some(RawValue::Float(number)),
    visit_bool(bool) => |flag| Some(RawValue::Flag(flag)),
    visit_str(&str) => |text| Some(RawValue::Text(text.to_owned())),
});

one_of!(Meaning, "a word, true or false", { "type": ["string", "boolean"] }, {
    visit_bool(bool) => |flag| Some(Meaning::Flag(flag)),
    visit_str(&str) => |word| Some(Meaning::Word(word.to_owned())),
});

one_of!(RegisterNumber, "a register's number, from 0 to 65535 or such as \"40019\"",
    { "type": ["integer", "string"], "minimum": 0, "maximum": 65535, "pattern": "^[0134][0-9]{4,5}$", "examples": [0] }, {
    visit_i64(i64) => |number| u16::try_from(number).ok().map(RegisterNumber::Plain),
    visit_u64(u64) => |number| u16::try_from(number).ok().map(RegisterNumber::Plain),
    visit_str(&str) => manual,
});

fn manual(text: &str) -> Option<RegisterNumber> {
    let digit = text.chars().next().filter(|digit| matches!(digit, '0' | '1' | '3' | '4'))?;
    let number = text[1..].parse().ok().filter(|_| matches!(text.len(), 5 | 6))?;
    Some(RegisterNumber::Manual { digit, number })
}

/// A number written as text, decimal or 0x hex; with a sign or not.
pub fn number_in(text: &str) -> Option<i128> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let number = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => digits.parse::<u64>().ok(),
    };
    let number = i128::from(number.filter(|_| !digits.contains('+'))?);
    Some(if negative { -number } else { number })
}
