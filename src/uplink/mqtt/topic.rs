//! Topics with places in them for what a letter is about. Pure.

use crate::{domain::Text, text};

/// MQTT 3.1.1, 4.7.3 allows 65 535 bytes; brokers and their people do not.
const LONGEST: usize = 512;

/// What a place in a topic stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Site,
    Class,
    Device,
    Alarm,
}

impl Place {
    pub const ALL: [Place; 4] = [Place::Site, Place::Class, Place::Device, Place::Alarm];

    pub fn word(self) -> &'static str {
        match self {
            Place::Site => "site",
            Place::Class => "class",
            Place::Device => "device",
            Place::Alarm => "alarm",
        }
    }
}

/// What stands at the places of one letter's topic.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    pub site: &'a str,
    pub class: &'a str,
    pub device: &'a str,
    pub alarm: &'a str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Place(Place),
}

/// Why nothing can be published on a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadTopic {
    Empty,
    TooLong,
    /// `+`, `#` or a control character.
    Forbidden(char),
    /// Brokers keep topics that begin so to themselves.
    Dollar,
    /// A brace that is not closed, or not opened.
    Brace,
    Unknown(String),
}

impl BadTopic {
    pub fn words(&self, places: &[Place]) -> Text {
        let legal: Vec<String> = places.iter().map(|place| format!("{{{}}}", place.word())).collect();
        let legal = legal.join(" ");
        match self {
            BadTopic::Empty => text!("主题不能为空", "a topic must not be empty"),
            BadTopic::TooLong => text!("主题超过 {LONGEST} 字节", "the topic is over {LONGEST} bytes long"),
            BadTopic::Forbidden(letter) => {
                let letter = letter.escape_debug();
                text!(
                    "主题里不能有 \"{letter}\"",
                    "there may be no \"{letter}\" in a topic that is published on"
                )
            }
            BadTopic::Dollar => {
                text!("以 $ 开头的主题归消息服务器自己用", "topics that begin with $ are the broker's own")
            }
            BadTopic::Brace => {
                text!("花括号不成对；可用：{legal}", "a brace without its other half; known: {legal}")
            }
            BadTopic::Unknown(name) => {
                text!("这里没有 {{{name}}}；可用：{legal}", "there is no {{{name}}} here; known: {legal}")
            }
        }
    }
}

impl Template {
    /// `text`, in which `places` may stand.
    ///
    /// # Errors
    /// If it is no topic, or has other places.
    pub fn parse(text: &str, places: &[Place]) -> Result<Self, BadTopic> {
        if text.is_empty() {
            return Err(BadTopic::Empty);
        }
        if text.len() > LONGEST {
            return Err(BadTopic::TooLong);
        }
        if text.starts_with('$') {
            return Err(BadTopic::Dollar);
        }
        if let Some(letter) = text.chars().find(|&letter| matches!(letter, '+' | '#') || letter.is_control())
        {
            return Err(BadTopic::Forbidden(letter));
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, behind) = after.split_once('}').ok_or(BadTopic::Brace)?;
            let place = places.iter().find(|place| place.word() == name);
            let place = place.ok_or_else(|| BadTopic::Unknown(name.to_owned()))?;
            push(&mut pieces, before)?;
            pieces.push(Piece::Place(*place));
            rest = behind;
        }
        push(&mut pieces, rest)?;
        Ok(Self(pieces))
    }

    /// For a topic that has no other places.
    pub fn for_site(&self, site: &str) -> String {
        self.fill(About { site, class: "", device: "", alarm: "" })
    }

    pub fn fill(&self, about: About<'_>) -> String {
        let mut topic = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => topic.push_str(text),
                Piece::Place(Place::Site) => push_level(&mut topic, about.site),
                Piece::Place(Place::Class) => push_level(&mut topic, about.class),
                Piece::Place(Place::Device) => push_level(&mut topic, about.device),
                Piece::Place(Place::Alarm) => push_level(&mut topic, about.alarm),
            }
        }
        topic
    }
}

fn push(pieces: &mut Vec<Piece>, text: &str) -> Result<(), BadTopic> {
    if text.contains('}') {
        return Err(BadTopic::Brace);
    }
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
    Ok(())
}

/// A name never makes a level of its own, nor a wildcard.
fn push_level(topic: &mut String, name: &str) {
    let own = |letter: char| matches!(letter, '/' | '+' | '#') || letter.is_control();
    topic.extend(name.chars().map(|letter| if own(letter) { '-' } else { letter }));
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABOUT: About<'_> =
        About { site: "yard", class: "elevator", device: "lift-3-1", alarm: "passenger_trapped" };

    #[test]
    fn what_a_letter_is_about_stands_in_its_topic() {
        for (text, topic) in [
            ("alarms", "alarms"),
            ("{site}", "yard"),
            ("a/{site}/{class}/{device}/{alarm}/z", "a/yard/elevator/lift-3-1/passenger_trapped/z"),
            ("{device}{device}", "lift-3-1lift-3-1"),
        ] {
            assert_eq!(Template::parse(text, &Place::ALL).unwrap().fill(ABOUT), topic, "{text}");
        }
        let strange = About { device: "a/+/#\u{0}b", ..ABOUT };
        assert_eq!(Template::parse("x/{device}", &Place::ALL).unwrap().fill(strange), "x/a-----b");
    }

    #[test]
    fn what_is_no_topic_is_refused() {
        let long = "x".repeat(LONGEST + 1);
        for (text, fault) in [
            ("", BadTopic::Empty),
            (long.as_str(), BadTopic::TooLong),
            ("alarms/#", BadTopic::Forbidden('#')),
            ("alarms/+/x", BadTopic::Forbidden('+')),
            ("a\u{0}", BadTopic::Forbidden('\u{0}')),
            ("$SYS/x", BadTopic::Dollar),
            ("a/{site", BadTopic::Brace),
            ("a/site}", BadTopic::Brace),
            ("a/{siet}", BadTopic::Unknown("siet".to_owned())),
        ] {
            assert_eq!(Template::parse(text, &Place::ALL), Err(fault), "{text}");
        }
        assert_eq!(Template::parse("{device}", &[Place::Site]), Err(BadTopic::Unknown("device".to_owned())));
    }
}
