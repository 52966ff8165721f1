//! `[mqtt]` and the points behind it.

use serde_json::Value as Json;

use super::{
    Check,
    point::{DEFAULT_EVERY, Found},
};
use crate::{
    at,
    profile::{
        Class, Link, MqttLink, Read,
        decode::Decoder,
        message::{MAX_PAYLOAD, Message},
        plan::{Take, Word},
        product::Point,
        schema::{MqttFile, PayloadFile, PointFile, ReadFile, WireType},
        written::{Pointer, RawValue, pointer_steps},
    },
    text,
};

const ADDRESS: &str = "{address}";

impl Check<'_> {
    pub(super) fn mqtt(
        &mut self,
        file: &MqttFile,
        points: &[PointFile],
        class: &Class,
    ) -> (Link, Decoder, Vec<Point>) {
        self.topic(&file.topic);
        self.json_only(file);
        let message = self.message(file);
        let heartbeat =
            file.heartbeat.map(|period| self.period(at!["mqtt", "heartbeat"], Some(period), period.into()));
        let points = self.points(points, class, |check, i, point| check.mqtt_point(i, point, file));
        let link = Link::Mqtt(MqttLink { topic: file.topic.clone(), heartbeat });
        (link, Decoder::Message(message), points)
    }

    /// MQTT 3.1.1, 4.7: `+` is a whole level, `#` the last one, no NUL; and a device must be told from another.
    fn topic(&mut self, topic: &str) {
        let path = at!["mqtt", "topic"];
        let levels: Vec<&str> = topic.split('/').collect();
        let lone = |mark: char| levels.iter().all(|level| !level.contains(mark) || level.len() == 1);
        let last = levels.iter().rev().skip(1).all(|level| *level != "#");
        if !lone('+') || !lone('#') || !last || topic.contains('\0') || topic.len() > usize::from(u16::MAX) {
            let told = text!(
                "主题写法不对：+ 要独占一级，# 要独占最后一级",
                "not a topic filter: + is a whole level, # is the whole last level"
            );
            self.error(path, told);
        }
        if !topic.contains(ADDRESS) {
            let told = text!(
                "主题里没有 {{address}}：分不清是哪台设备",
                "no {{address}} in the topic: devices cannot be told apart"
            );
            self.error(path, told);
        }
    }

    fn json_only(&mut self, file: &MqttFile) {
        if file.payload == PayloadFile::Json {
            return;
        }
        let written = [
            ("bytes", file.bytes.is_some()),
            ("only", !file.only.is_empty()),
            ("time", file.time.is_some()),
            ("sequence", file.sequence.is_some()),
        ];
        for (key, _) in written.into_iter().filter(|(_, is)| *is) {
            let told =
                text!("只有 payload = \"json\" 才有 \"{key}\"", "\"{key}\" is for payload = \"json\" only");
            self.key_error(at!["mqtt", key], told);
        }
    }

    fn message(&mut self, file: &MqttFile) -> Message {
        let path = |pointer: &Option<Pointer>| pointer.as_ref().map(|pointer| pointer.0.clone());
        match file.payload {
            PayloadFile::Text => Message::Text,
            PayloadFile::Bytes => Message::Bytes,
            PayloadFile::Json => {
                let only = file.only.iter().filter_map(|(key, wanted)| {
                    let steps = pointer_steps(key);
                    if steps.is_none() {
                        let told = text!("\"{key}\" 不是 JSON 指针", "\"{key}\" is no JSON pointer");
                        self.key_error(at!["mqtt", "only", key.as_str()], told);
                    }
                    Some((steps?, to_json(wanted)))
                });
                Message::Json {
                    only: only.collect(),
                    bytes: path(&file.bytes),
                    time: path(&file.time),
                    sequence: path(&file.sequence),
                }
            }
        }
    }

    fn mqtt_point(&mut self, i: usize, file: &PointFile, mqtt: &MqttFile) -> Option<Found> {
        let of = at!["point", i, "read"];
        let by_bytes = mqtt.payload == PayloadFile::Bytes || (mqtt.bytes.is_some() && file.read.at.is_some());
        let take = if by_bytes {
            self.special_keys(i, file, &["when"]);
            let sound =
                self.read_keys(of, &file.read, &["at", "type", "bits", "length", "order"], &["at", "type"]);
            sound.then(|| self.bytes(i, file))??
        } else if mqtt.payload == PayloadFile::Text {
            self.special_keys(i, file, &[]);
            let sound = self.read_keys(of, &file.read, &["type", "bits"], &["type"]);
            Take::WholeText(sound.then(|| self.json_word(i, &file.read))??)
        } else {
            self.special_keys(i, file, &["missing"]);
            let sound = self.read_keys(of, &file.read, &["pointer", "type", "bits"], &["pointer", "type"]);
            let word = sound.then(|| self.json_word(i, &file.read))??;
            let steps = file.read.pointer.as_ref()?.0.clone();
            Take::Pointer { steps, word, missing: file.missing.as_ref().map(to_json) }
        };
        if let Take::Bytes { at, len, .. } = &take
            && usize::try_from(*at).is_ok_and(|at| at + len > MAX_PAYLOAD)
        {
            self.error(of, text!("超出消息的最大长度", "beyond the longest message"));
        }
        Some(Found { read: Read::Mqtt, take, every: DEFAULT_EVERY })
    }

    fn json_word(&mut self, i: usize, read: &ReadFile) -> Option<Word> {
        const WHOLE_BITS: u8 = 64;
        let of = at!["point", i, "read"];
        match read.kind? {
            WireType::F64 if read.bits.is_some() => self.pick(of, read, WHOLE_BITS).map(Word::Bits),
            WireType::F64 => Some(Word::Number),
            WireType::Bool | WireType::String if read.bits.is_some() => {
                let told = text!("只有数字（f64）才有 bits", "only numbers (f64) have bits");
                self.key_error(at!["point", i, "read", "bits"], told);
                None
            }
            WireType::Bool => Some(Word::Flag),
            WireType::String => Some(Word::Text),
            WireType::U8
            | WireType::I8
            | WireType::Sm8
            | WireType::U16
            | WireType::I16
            | WireType::U32
            | WireType::I32
            | WireType::U64
            | WireType::I64
            | WireType::F32
            | WireType::Bcd16
            | WireType::Bcd32
            | WireType::Decimal
            | WireType::Hex
            | WireType::Bcd
            | WireType::BcdSigned => {
                let told =
                    text!("JSON 和文本里的值不能是这种 type", "a value in JSON or text has no such type");
                let help = text!("可用的有：bool, f64, string", "legal here: bool, f64, string");
                self.error_with_help(at!["point", i, "read", "type"], told, help);
                None
            }
        }
    }
}

fn to_json(raw: &RawValue) -> Json {
    match raw {
        RawValue::Whole(number) => (*number).into(),
        RawValue::Float(number) => (*number).into(),
        RawValue::Flag(flag) => (*flag).into(),
        RawValue::Text(text) => text.as_str().into(),
    }
}
