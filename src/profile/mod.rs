//! Products as people describe them, compiled into plans that turn raw bytes into readings.
//!
//! `<class>/class.toml` says what every device of a kind has; `<class>/<maker>-<model>.toml` says where one product keeps
//! it; `<class>/<list>.codes.toml` how a platform calls its alarms. `schema` has the keys as written, `compile` finds every mistake in them, `decode` does what they say.

#[cfg(test)]
mod bare;
mod captured;
mod cases;
mod class;
mod codes;
mod command;
mod compile;
mod credit;
mod decode;
mod device;
mod encode;
mod library;
mod link;
mod message;
mod plan;
mod product;
mod quick;
mod schema;
mod shown;
mod take;
#[cfg(test)]
mod tests;
mod told;
mod trial;
mod value;
mod written;

pub use captured::plain_wire;
pub use cases::{Case, CasesFile, read_cases};
pub use class::{Class, ClassAlarm, ClassPoint, CreditPoints, OverTime, When};
pub use codes::{Code, CodeKind, CodeTable, CodesFile, Verified, code_names};
pub use command::{Command, Interlock, Setting, Unfit};
pub use compile::{ExpressionMistake, compile_class, compile_codes, compile_profile, points_named};
pub use credit::CreditPlan;
pub use decode::Decoded;
pub use device::{Address, Device, OWN_ALARMS, OWN_CLOCK, OWN_ENDPOINT, OWN_FLASH, OWN_LINE, OWN_STORE};
pub use encode::{Bits, Patch, RawWrite, put_json};
pub use library::Library;
pub use link::{
    ByteMatch, Checksum, ChecksumKind, Dialect, Dlt645Item, Dlt645Link, FrameLength, FrameShape, Link,
    ModbusLink, MqttLink, SerialEvent, SerialLink, SerialRequest,
};
pub use product::{Point, Profile, Read};
pub use schema::{ClassFile, ProfileFile};
pub use shown::shown;
pub use trial::{Captured, Conditions, Difference, Verdict, Wire, run_cases, stretches};
pub use written::{hex_bytes, number_in};
