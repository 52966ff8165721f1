//! The site file as written: keys, kinds and defaults; what they mean is for the checks beside it.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

use super::{alarm_table::AlarmTable, evidence::EvidenceTable};
use crate::{
    alarm::{ChatteringLimit, FloodLimit, ShelvingLimits},
    domain::{
        BusId, ClassName, CommandName, DeviceId, EndpointId, Period, Priority, ProfileId, SecretFile, Size,
        Value, timetable::At,
    },
    fieldbus::{dlt645, modbus, mqtt, serial},
    uplink::{self, Purpose, Wants, http},
};

/// `gatehouse.toml`: one residential compound.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SiteFile {
    pub site: SiteTable,
    #[serde(default)]
    pub store: StoreTable,
    #[serde(default)]
    pub console: ConsoleTable,
    #[serde(default)]
    pub record: RecordTable,
    #[serde(default)]
    pub bus: Vec<BusTable>,
    #[serde(default)]
    pub device: Vec<DeviceTable>,
    #[serde(default)]
    pub endpoint: Vec<EndpointTable>,
    #[serde(default)]
    pub alarm: Vec<AlarmTable>,
    #[serde(default)]
    pub schedule: Vec<ScheduleTable>,
    #[serde(default)]
    pub shelving: ShelvingTable,
    pub escalation: Option<EscalationTable>,
    #[serde(default)]
    pub chattering: ChatteringTable,
    #[serde(default)]
    pub flood: FloodTable,
    #[serde(default)]
    pub credit: CreditTable,
    #[serde(default)]
    pub evidence: EvidenceTable,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Site")]
pub struct SiteTable {
    pub id: String,
    /// For people; the id if left out.
    pub name: Option<String>,
    /// A name of the IANA time zone database.
    #[serde(default = "default_timezone")]
    pub timezone: String,
    /// Folders of profiles besides the shipped ones, relative to this file; the same id replaces.
    #[serde(default)]
    pub profile_dirs: Vec<PathBuf>,
    /// Everything that leaves says that it is not real.
    #[serde(default)]
    pub demo: bool,
    /// Degrees, north is positive; for schedules by the sun.
    #[schemars(range(min = -90, max = 90))]
    pub latitude: Option<f64>,
    /// Degrees, east is positive.
    #[schemars(range(min = -180, max = 180))]
    pub longitude: Option<f64>,
}

/// Where and how much is kept.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Store")]
pub struct StoreTable {
    pub dir: PathBuf,
    pub events_max: Size,
    pub telemetry_max: Size,
    pub telemetry_keep: Period,
    /// Seals values of persons in both files; 32 bytes in base64, made at the first start if it is not there. Not in `dir`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<SecretFile>,
    /// Values of persons can be read for this long.
    pub private_keep: Period,
    /// How long is kept what the readings of each hour came to: count, min, max, mean, last.
    pub hourly_keep: Period,
    /// The same for each day of the site's calendar.
    pub daily_keep: Period,
    /// How much the gateway may write to its flash in a day: beyond it an alarm is raised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flash_per_day: Option<Size>,
    /// How much the flash can take in its life, as its maker states it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flash_endurance: Option<Size>,
    /// What stays free on the partition, whoever else may use it. Left out: 64 MiB, on a small partition an eighth of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reserve: Option<Size>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Console")]
pub struct ConsoleTable {
    /// IP address and port; nothing is open before there is a token (`gatehouse token add`).
    pub listen: String,
    /// Names by which it may be called, besides IP addresses and localhost.
    pub hosts: Vec<String>,
    /// IP addresses of reverse proxies whose `X-Forwarded-For` is believed: then it is the caller's address that is held to a pace and
    /// stands in the audit. Of anybody else that header says nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trusted_proxies: Vec<String>,
    /// With `key_file`: TLS. PEM, the certificate and its chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
}

/// What lines carried lately: raw bytes, kept in memory for `gatehouse record`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Record")]
pub struct RecordTable {
    /// For all buses together; `"0B"` switches it off.
    pub memory: Size,
}

/// One line or connection; exactly one of the tables says which kind.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Bus")]
pub struct BusTable {
    pub id: BusId,
    pub modbus_tcp: Option<modbus::config::TcpSettings>,
    pub modbus_rtu: Option<modbus::config::RtuSettings>,
    pub modbus_rtu_tcp: Option<modbus::config::RtuTcpSettings>,
    pub modbus_ascii: Option<modbus::config::AsciiSettings>,
    pub modbus_dtu: Option<modbus::config::DtuSettings>,
    pub serial: Option<serial::config::Settings>,
    pub mqtt: Option<mqtt::config::Settings>,
    pub dlt645: Option<dlt645::config::LineSettings>,
    pub dlt645_tcp: Option<dlt645::config::TcpSettings>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Device")]
pub struct DeviceTable {
    /// `"1..40"`, both ends in: one device for each number, `{n}` stands for it in id, name, unit, address and tags.
    pub repeat: Option<String>,
    pub id: DeviceId,
    /// For people; the id if left out.
    pub name: Option<String>,
    pub profile: ProfileId,
    pub bus: BusId,
    /// Modbus unit id.
    pub unit: Option<Unit>,
    /// Serial and MQTT devices: as the profile puts it into frames and topics. A DL/T 645 meter's number, as printed on it.
    pub address: Option<String>,
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// A Modbus unit id, or text with `{n}` in it under `repeat`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(into = "String")]
#[schemars(with = "String", inline)]
#[schemars(extend("type" = ["integer", "string"], "minimum" = 0, "maximum" = 255, "examples" = [1, "{n}"]))]
pub struct Unit(pub String);

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Endpoint")]
pub struct EndpointTable {
    pub id: EndpointId,
    pub purpose: Purpose,
    /// Exactly one of the two tables says where letters go.
    pub http: Option<http::config::Settings>,
    pub mqtt: Option<uplink::mqtt::config::Settings>,
    #[serde(default)]
    pub wants: Wants,
    pub drill: Option<DrillTable>,
    #[serde(default)]
    pub upload: UploadTable,
}

/// How readings go, where `wants.readings` has them go.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Upload")]
pub struct UploadTable {
    /// From one batch to the next, once all that waits is delivered.
    pub every: Period,
}

impl Default for UploadTable {
    fn default() -> Self {
        Self { every: Period(Duration::from_secs(60)) }
    }
}

/// A test event that goes the way of every alarm, and has to be confirmed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Drill")]
pub struct DrillTable {
    /// Each day at this time, such as `"09:00"`; or `every`.
    pub at: Option<At>,
    pub every: Option<Period>,
    /// Without a receipt after this, a local alarm says that nobody would have heard.
    #[serde(default = "default_within")]
    pub within: Period,
}

fn default_within() -> Period {
    Period(Duration::from_secs(600))
}

/// The longest that a person may keep an alarm from being announced, by priority; `"0s"`: never. What is a matter of life, and critical
/// alarms of elevators, are never shelved.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Shelving")]
pub struct ShelvingTable {
    pub critical: Period,
    pub high: Period,
    pub medium: Period,
    pub low: Period,
    /// The longest that an alarm or a device may be out of service.
    pub out_of_service: Period,
}

/// From when on an alarm that comes and goes is told once instead of each time, until it is calm. Never what is critical or a matter of
/// life.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Chattering")]
pub struct ChatteringTable {
    /// It chatters when it was raised more often than this…
    #[schemars(range(min = 1, max = 1000))]
    pub more_than: u32,
    /// … within this.
    pub within: Period,
    /// It is calm again when it was not raised for so long.
    pub calm: Period,
}

impl Default for ChatteringTable {
    fn default() -> Self {
        let ChatteringLimit { more_than, within, calm } = ChatteringLimit::default();
        Self { more_than: more_than as u32, within: Period(within), calm: Period(calm) }
    }
}

/// From when on there are more alarms than anybody can take in: then critical ones go singly, of the others a summary goes now and then.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Flood")]
pub struct FloodTable {
    /// It is a flood when more than these were announced…
    #[schemars(range(min = 2, max = 1000000))]
    pub more_than: u32,
    /// … within this; it is over when it is half of them or fewer.
    pub within: Period,
    /// How long what is not critical waits at most.
    pub summary_every: Period,
}

impl Default for FloodTable {
    fn default() -> Self {
        let FloodLimit { more_than, within, summary_every } = FloodLimit::default();
        Self { more_than: more_than as u32, within: Period(within), summary_every: Period(summary_every) }
    }
}

/// Points for what people bring to a recycling kiosk, where the kiosk does not reckon them itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Credit")]
pub struct CreditTable {
    /// By the kiosk's word for what was brought. To the hundredth of a point.
    pub points_per_kg: BTreeMap<String, f64>,
}

/// What happens while nobody acknowledges. Without this table: nothing.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Escalation")]
pub struct EscalationTable {
    /// Of which alarms.
    #[serde(default = "default_escalated")]
    pub priorities: Vec<Priority>,
    /// The next contact, then the one after, and so on.
    #[serde(default)]
    pub step: Vec<EscalationStepTable>,
    /// After the last step it is announced anew this often; left out: no more.
    pub again: Option<Period>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "EscalationStep")]
pub struct EscalationStepTable {
    /// Since the announcement before it.
    #[serde(default = "default_next_contact")]
    pub after: Period,
    /// Endpoints that are told from then on, besides those that want the alarm anyway.
    #[serde(default)]
    pub endpoints: Vec<EndpointId>,
    /// Whose turn it is, for people.
    pub contact: Option<String>,
}

fn default_escalated() -> Vec<Priority> {
    vec![Priority::Critical, Priority::High]
}

fn default_next_contact() -> Period {
    Period(Duration::from_secs(60))
}

impl Default for ShelvingTable {
    fn default() -> Self {
        let ShelvingLimits { critical, high, medium, low, out_of_service } = ShelvingLimits::default();
        Self {
            critical: Period(critical),
            high: Period(high),
            medium: Period(medium),
            low: Period(low),
            out_of_service: Period(out_of_service),
        }
    }
}

/// Tells devices something at a time of each day, or of some days.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Schedule")]
pub struct ScheduleTable {
    pub id: String,
    /// One device, or `class`: all of a class.
    pub device: Option<DeviceId>,
    pub class: Option<ClassName>,
    /// Of the class, only devices that have all these tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// A command of the devices' profiles: `gatehouse commands list`.
    pub command: CommandName,
    pub value: CommandValue,
    pub at: At,
    /// Every day if left out.
    #[serde(default)]
    pub days: Vec<DayOfWeek>,
}

/// A number, a word, true or false.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(with = "String", inline, extend("type" = ["integer", "number", "string", "boolean"]))]
pub struct CommandValue(pub Value);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DayOfWeek {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

fn default_timezone() -> String {
    "Asia/Shanghai".to_owned()
}

impl Default for StoreTable {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(86_400);
        Self {
            dir: PathBuf::from("/var/lib/gatehouse"),
            events_max: Size(512 << 20),
            telemetry_max: Size(1 << 30),
            telemetry_keep: Period(90 * DAY),
            key: None,
            private_keep: Period(30 * DAY),
            hourly_keep: Period(400 * DAY),
            daily_keep: Period(3650 * DAY),
            flash_per_day: None,
            flash_endurance: None,
            reserve: None,
        }
    }
}

impl Default for RecordTable {
    fn default() -> Self {
        Self { memory: Size(4 << 20) }
    }
}

impl Default for ConsoleTable {
    /// Loopback until an address is chosen.
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8480".to_owned(),
            hosts: Vec::new(),
            trusted_proxies: Vec::new(),
            cert_file: None,
            key_file: None,
        }
    }
}

impl From<Unit> for String {
    fn from(unit: Unit) -> String {
        unit.0
    }
}

impl<'de> Deserialize<'de> for Unit {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Either;
        impl de::Visitor<'_> for Either {
            type Value = Unit;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an integer or text")
            }
            fn visit_i64<E: de::Error>(self, unit: i64) -> Result<Unit, E> {
                Ok(Unit(unit.to_string()))
            }
            fn visit_u64<E: de::Error>(self, unit: u64) -> Result<Unit, E> {
                Ok(Unit(unit.to_string()))
            }
            fn visit_str<E: de::Error>(self, unit: &str) -> Result<Unit, E> {
                Ok(Unit(unit.to_owned()))
            }
        }
        d.deserialize_any(Either)
    }
}
