//! What comes back on an endpoint's topics: receipts, people's acknowledgements, and commands where they are allowed. Pure.

use std::collections::HashMap;

use crate::domain::{
    ClassName, CommandName, DeviceId, EndpointId, OccurrenceId, Value,
    command::{Command, Operate},
};
use serde::Deserialize;

/// Nothing that a person means is longer.
const LONGEST: usize = 4 * 1024;

/// What an endpoint may tell devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commands(pub Vec<(ClassName, CommandName)>);

/// Why something that came back is not acted upon.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unheard {
    #[error("read {0} bytes: that is longer than anybody means it")]
    TooLong(usize),
    #[error("read it: {0}")]
    Unreadable(String),
    /// The broker kept it from an earlier time.
    #[error("believe it: the broker kept it from nobody knows when")]
    Kept,
    /// A command is carried out once, or not at all.
    #[error("know whether it was carried out already: the broker sends it again; ask anew where it was not")]
    Again,
    #[error("let this endpoint command {command} of {device}")]
    Forbidden { device: String, command: String },
}

#[derive(Deserialize)]
struct Receipt<'a> {
    #[serde(borrow)]
    id: std::borrow::Cow<'a, str>,
}

#[derive(Deserialize)]
struct Acknowledge {
    id: String,
    #[serde(rename = "as")]
    by: String,
    note: Option<String>,
}

#[derive(Deserialize)]
struct Order {
    device: String,
    command: String,
    value: Value,
    #[serde(rename = "as")]
    by: String,
    note: Option<String>,
}

/// The id of the letter that a receipt is for.
pub fn receipt(payload: &[u8]) -> Result<String, Unheard> {
    let text = text(payload)?.trim();
    match text.starts_with('{') {
        true => {
            serde_json::from_str::<Receipt>(text).map(|receipt| receipt.id.into_owned()).map_err(unreadable)
        }
        false => Ok(text.to_owned()),
    }
}

/// A person's word on an alarm; the endpoint vouches for who it is.
pub fn acknowledgement(payload: &[u8], endpoint: &EndpointId) -> Result<Command, Unheard> {
    let Acknowledge { id, by, note } = serde_json::from_str(text(payload)?).map_err(unreadable)?;
    let alarm = OccurrenceId::from(id);
    Ok(Command::Acknowledge { alarm, by, note, from: from(endpoint) })
}

/// A command, if this endpoint may give it. `classes`: of the site's devices.
pub fn order(
    payload: &[u8],
    endpoint: &EndpointId,
    allowed: &Commands,
    classes: &HashMap<DeviceId, ClassName>,
) -> Result<Command, Unheard> {
    let Order { device, command, value, by, note } =
        serde_json::from_str(text(payload)?).map_err(unreadable)?;
    let class = classes.get(device.as_str());
    let may = |(of, name): &(ClassName, CommandName)| Some(of) == class && name.as_str() == command;
    if !allowed.0.iter().any(may) {
        return Err(Unheard::Forbidden { device: short(&device), command: short(&command) });
    }
    let (device, command, from) = (device.into(), command.into(), from(endpoint));
    Ok(Command::Operate(Operate { device, command, value, by, from, note, firing: None }))
}

/// Who vouches for the person; as long as a command's origin may be.
fn from(endpoint: &EndpointId) -> String {
    format!("mqtt:{endpoint}").chars().take(64).collect()
}

fn text(payload: &[u8]) -> Result<&str, Unheard> {
    if payload.len() > LONGEST {
        return Err(Unheard::TooLong(payload.len()));
    }
    str::from_utf8(payload).map_err(|error| Unheard::Unreadable(error.to_string()))
}

fn unreadable(error: serde_json::Error) -> Unheard {
    Unheard::Unreadable(error.to_string())
}

/// As much of a stranger's word as goes into a log.
fn short(word: &str) -> String {
    word.chars().filter(|letter| !letter.is_control()).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> EndpointId {
        "safety-inspection".into()
    }

    #[test]
    fn a_receipt_names_its_letter() {
        for (payload, id) in [
            ("0b6f", Some("0b6f")),
            (" 0b6f\n", Some("0b6f")),
            (r#"{"id":"0b6f","at":"12:00"}"#, Some("0b6f")),
            (r#"{"event":"0b6f"}"#, None),
            (r#"{"id":7}"#, None),
        ] {
            assert_eq!(receipt(payload.as_bytes()).ok().as_deref(), id, "{payload}");
        }
        assert_eq!(receipt(&[b'x'; LONGEST + 1]), Err(Unheard::TooLong(LONGEST + 1)));
        assert!(receipt(&[0xff]).is_err());
    }

    #[test]
    fn an_acknowledgement_says_who_vouches_for_the_person() {
        let heard = acknowledgement(r#"{"id":"9c1e-1","as":"李强","note":"已派人"}"#.as_bytes(), &endpoint());
        let expected = Command::Acknowledge {
            alarm: "9c1e-1".into(),
            by: "李强".to_owned(),
            note: Some("已派人".to_owned()),
            from: "mqtt:safety-inspection".to_owned(),
        };
        assert_eq!(heard, Ok(expected));
        for nobody in [r#"{"id":"9c1e-1"}"#, "{", "[]", "9c1e-1"] {
            assert!(acknowledgement(nobody.as_bytes(), &endpoint()).is_err(), "{nobody}");
        }
    }

    #[test]
    fn only_what_an_endpoint_may_command_is_a_command() {
        let allowed = Commands(vec![("street-light".into(), "set_dimming".into())]);
        let classes =
            HashMap::from([("lamp-3".into(), "street-light".into()), ("lift-1".into(), "elevator".into())]);
        let told = |device: &str, command: &str, allowed: &Commands| {
            let payload = format!(r#"{{"device":"{device}","command":"{command}","value":40,"as":"王芳"}}"#);
            order(payload.as_bytes(), &endpoint(), allowed, &classes)
        };
        let Ok(Command::Operate(good)) = told("lamp-3", "set_dimming", &allowed) else {
            panic!("it is allowed")
        };
        assert_eq!((good.value, good.from.as_str()), (40.0.into(), "mqtt:safety-inspection"));
        for (device, command) in
            [("lamp-3", "set_lamp"), ("lift-1", "set_dimming"), ("nobody", "set_dimming")]
        {
            assert!(
                matches!(told(device, command, &allowed), Err(Unheard::Forbidden { .. })),
                "{device} {command}"
            );
        }
        assert!(told("lamp-3", "set_dimming", &Commands::default()).is_err(), "nothing is allowed by itself");
    }
}
