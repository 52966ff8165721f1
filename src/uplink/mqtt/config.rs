//! `[endpoint.mqtt]` as written.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{Period, SecretFile};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "MqttReceiver")]
pub struct Settings {
    /// `mqtt://host:1883` or `mqtts://host:8883`.
    pub url: String,
    /// The broker keeps our session under this name; it must be ours alone.
    pub client_id: String,
    pub username: Option<String>,
    pub password: Option<SecretFile>,
    /// Authorities that may vouch for the broker; given, no others are trusted.
    pub ca_file: Option<PathBuf>,
    /// Who we are, for mutual TLS: both or neither.
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    /// Where letters are published: `{site}`, `{class}`, `{device}` and `{alarm}` stand for what the letter is about.
    #[serde(default = "default_topic")]
    pub topic: String,
    /// Where batches of readings are published; `{site}` stands for the site's id.
    #[serde(default = "default_readings_topic")]
    pub readings_topic: String,
    /// The body in the receiver's own words: a file with a template over the object that would be sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<PathBuf>,
    /// A platform's list of codes, `class/list`, for the template's filter `code`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code_table: Option<String>,
    /// The platform's own codes, besides that list or over it: by the name of an alarm, or `point.word` of a choice.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub codes: BTreeMap<String, String>,
    /// What the template gives; `application/json` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// When a letter counts as delivered.
    #[serde(default)]
    pub receipt: Receipt,
    /// How long the receiver's own receipt may take; then the letter goes again.
    #[serde(default = "default_receipt_within")]
    pub receipt_within: Period,
    /// Where the receiver's people acknowledge alarms: `{"id": "…", "as": "NAME", "note": "…"}`.
    pub ack_topic: Option<String>,
    /// Where commands to devices may come from: `{"device": "…", "command": "…", "value": …, "as": "NAME"}`.
    pub command_topic: Option<String>,
    /// The commands that are obeyed, `"class/command"` each; all others are refused, and those to elevators always.
    #[serde(default)]
    pub commands: Vec<String>,
}

/// What makes a letter delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "MqttReceipt")]
pub enum Receipt {
    /// The broker has it. Whether anybody hears it is the broker's matter.
    #[default]
    Puback,
    /// The receiver publishes the letter's `id` on this topic, as text or as `{"id": "…"}`, within `receipt_within`.
    Topic(String),
}

fn default_receipt_within() -> Period {
    Period(Duration::from_secs(60))
}

fn default_topic() -> String {
    "gatehouse/{site}/alarms/{class}/{device}/{alarm}".to_owned()
}

fn default_readings_topic() -> String {
    "gatehouse/{site}/readings".to_owned()
}
