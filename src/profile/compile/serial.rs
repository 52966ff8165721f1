//! `[serial]`, its frames, and the points behind it.

use std::time::Duration;

use super::{
    Check,
    point::{DEFAULT_EVERY, Found, byte_match},
};
use crate::{
    at,
    profile::{
        Checksum, ChecksumKind, Class, FrameLength, FrameShape, Link, Read, SerialEvent, SerialLink,
        SerialRequest,
        decode::Decoder,
        plan::Take,
        product::Point,
        schema::{
            ByteMatchFile, ChecksumFile, ChecksumForm, ChecksumKindFile, Endian, FrameFile, PointFile,
            RequestFile, SerialFile,
        },
    },
    text,
};

const DEFAULT_TIMEOUT: Duration = Duration::from_millis(500);
const DEFAULT_RETRIES: u8 = 1;
const DEFAULT_MAX: usize = 256;
const ALL_BITS: u8 = 0xFF;
const READ_KEYS: [&str; 6] = ["frame", "at", "type", "bits", "length", "order"];

impl Check<'_> {
    pub(super) fn serial(
        &mut self,
        file: &SerialFile,
        points: &[PointFile],
        class: &Class,
    ) -> (Link, Decoder, Vec<Point>) {
        let mut link = self.serial_link(file);
        let names: Vec<&str> = frame_names(file).collect();
        let points =
            self.points(points, class, |check, i, point| check.serial_point(i, point, &names, &link));
        for (ix, request) in (0u16..).zip(&mut link.requests) {
            let matched = request.matches.iter().map(|wanted| wanted.at + wanted.bytes.len());
            let read = points.iter().filter(|point| point.read == Read::Serial { frame: ix }).map(reaches);
            request.reply = link.frame.shortest_with(matched.chain(read).max().unwrap_or(0));
        }
        (Link::Serial(link), Decoder::Frames, points)
    }

    fn serial_link(&mut self, file: &SerialFile) -> SerialLink {
        if file.request.is_empty() && file.event.is_empty() {
            let told = text!("既没有 request 也没有 event", "there is neither a request nor an event");
            self.error(at!["serial"], told);
        }
        self.frame_names_are_unique(file);
        let frame = self.frame(&file.frame);
        SerialLink {
            requests: file
                .request
                .iter()
                .enumerate()
                .map(|(i, request)| self.request(i, request, &frame))
                .collect(),
            events: self.events(file, &frame),
            timeout: self.period(at!["serial", "timeout"], file.timeout, DEFAULT_TIMEOUT),
            retries: file.retries.unwrap_or(DEFAULT_RETRIES),
            turnaround: file.turnaround.map_or(Duration::ZERO, Duration::from),
            heartbeat: file
                .heartbeat
                .map(|beat| self.period(at!["serial", "heartbeat"], Some(beat), beat.into())),
            frame,
        }
    }

    /// A point names a frame, whether it is asked for or not.
    fn frame_names_are_unique(&mut self, file: &SerialFile) {
        let names: Vec<&str> = frame_names(file).collect();
        for (n, name) in names.iter().enumerate().filter(|(n, name)| names[..*n].contains(name)) {
            let (list, i) = match n.checked_sub(file.request.len()) {
                Some(event) => ("event", event),
                None => ("request", n),
            };
            let told = text!("\"{name}\" 已经有了", "\"{name}\" is already there");
            self.error(at!["serial", list, i, "name"], told);
        }
    }

    fn frame(&mut self, file: &FrameFile) -> FrameShape {
        let max = file.max.unwrap_or(DEFAULT_MAX).max(file.fixed.unwrap_or(0));
        let written = [file.end.is_some(), file.fixed.is_some(), file.length.is_some()];
        if written.iter().filter(|is| **is).count() != 1 {
            let told = text!(
                "end、fixed、length 要写且只写一个：一帧到哪里结束",
                "exactly one of end, fixed and length: where a frame ends"
            );
            self.error(at!["serial", "frame"], told);
        }
        for (key, bytes) in [("start", &file.start), ("end", &file.end)] {
            if bytes.as_ref().is_some_and(|bytes| bytes.0.is_empty()) {
                self.error(at!["serial", "frame", key], text!("{key} 是空的", "`{key}` is empty"));
            }
        }
        if file.fixed.is_some() && file.max.is_some_and(|written| written < max) {
            self.error(at!["serial", "frame", "max"], text!("max 小于 fixed", "`max` is less than `fixed`"));
        }
        if let Some(field) = &file.length {
            self.inside(at!["serial", "frame", "length", "at"], field.at, field.size, max);
        }
        if let Some(address) = &file.address {
            self.inside(at!["serial", "frame", "address", "at"], address.at, 1, file.fixed.unwrap_or(max));
            if address.mask == Some(0) {
                let told = text!("mask 不能是 0", "the mask cannot be 0");
                self.error(at!["serial", "frame", "address", "mask"], told);
            }
        }
        let length = match (&file.end, file.fixed, &file.length) {
            (Some(end), ..) => FrameLength::EndsWith(end.0.clone()),
            (None, Some(fixed), _) => FrameLength::Fixed(fixed),
            (None, None, Some(field)) => FrameLength::Field {
                at: field.at,
                size: field.size,
                little: field.order == Endian::Little,
                adds: field.adds,
            },
            (None, None, None) => FrameLength::Fixed(max),
        };
        FrameShape {
            start: file.start.as_ref().map(|start| start.0.clone()).unwrap_or_default(),
            checksum: file.checksum.as_ref().map(|checksum| self.checksum(checksum, &length, max)),
            length,
            max,
            address: file.address.as_ref().map(|address| (address.at, address.mask.unwrap_or(ALL_BITS))),
        }
    }

    /// The checked bytes come first, the checksum right after them, and there must be room for it.
    fn checksum(&mut self, file: &ChecksumFile, length: &FrameLength, max: usize) -> Checksum {
        let (kind, bytes) = checksum_kind(file.kind);
        let hex = file.form == ChecksumForm::Hex;
        let size = if hex { bytes * 2 } else { bytes };
        let whole = match length {
            FrameLength::Fixed(fixed) => *fixed,
            FrameLength::EndsWith(_) | FrameLength::Field { .. } => max,
        };
        let (whole, room) = (i64::try_from(whole).unwrap_or(i64::MAX), i64::from(size));
        let to = if file.to < 0 { whole + file.to } else { file.to };
        let from = i64::try_from(file.from).unwrap_or(i64::MAX);
        if from >= to || to + room > whole {
            let told = text!(
                "校验要占 {size} 字节，这里放不下（from、to 的位置不对）",
                "there is no room for the {size} bytes of the checksum (see `from` and `to`)"
            );
            self.error(at!["serial", "frame", "checksum", "to"], told);
        }
        Checksum { kind, from: file.from, to: file.to, little: file.order == Endian::Little, hex }
    }

    fn request(&mut self, i: usize, file: &RequestFile, frame: &FrameShape) -> SerialRequest {
        let send = match (&file.send, &file.send_text) {
            (Some(template), None) => template.0.clone(),
            (None, Some(text)) => text.bytes().map(Some).collect(),
            (None, None) | (Some(_), Some(_)) => {
                let told = text!("send 和 send_text 要写且只写一个", "exactly one of send and send_text");
                self.error(at!["serial", "request", i], told);
                vec![None]
            }
        };
        if send.is_empty() {
            self.error(at!["serial", "request", i], text!("没有要发的字节", "there is nothing to send"));
        }
        SerialRequest {
            name: file.name.clone(),
            send,
            every: self.period(at!["serial", "request", i, "every"], file.every, DEFAULT_EVERY),
            matches: self.matches("request", i, &file.matches, frame),
            // until its points are known
            reply: 0,
        }
    }

    fn events(&mut self, file: &SerialFile, frame: &FrameShape) -> Vec<SerialEvent> {
        let requests = || file.request.iter().map(|request| request.name.as_str());
        let events = file.event.iter().enumerate().map(|(i, event)| {
            let answers = event.answers.iter().enumerate().filter_map(|(n, name)| {
                let found = (0u16..).zip(requests()).find(|(_, request)| request == name);
                if found.is_none() {
                    let told = text!("没有叫 \"{name}\" 的 request", "there is no request \"{name}\"");
                    self.unknown(at!["serial", "event", i, "answers", n], told, name, requests());
                }
                found.map(|(ix, _)| ix)
            });
            let answers = answers.collect();
            SerialEvent {
                name: event.name.clone(),
                matches: self.matches("event", i, &event.matches, frame),
                answers,
            }
        });
        events.collect()
    }

    fn matches(
        &mut self,
        list: &str,
        i: usize,
        files: &[ByteMatchFile],
        frame: &FrameShape,
    ) -> Vec<crate::profile::ByteMatch> {
        for (n, file) in files.iter().enumerate() {
            let path = at!["serial", list, i, "match", n];
            if file.bytes.0.is_empty() {
                self.error(path, text!("bytes 是空的", "`bytes` is empty"));
            }
            self.inside(path, file.at, file.bytes.0.len(), longest(frame));
        }
        files.iter().map(byte_match).collect()
    }

    fn serial_point(
        &mut self,
        i: usize,
        file: &PointFile,
        names: &[&str],
        link: &SerialLink,
    ) -> Option<Found> {
        self.special_keys(i, file, &["when"]);
        if !self.read_keys(at!["point", i, "read"], &file.read, &READ_KEYS, &["frame", "at", "type"]) {
            return None;
        }
        let name = file.read.frame.as_deref()?;
        let frame = (0u16..).zip(names).find(|(_, known)| **known == name).map(|(ix, _)| ix);
        if frame.is_none() {
            let told =
                text!("没有叫 \"{name}\" 的 request 或 event", "there is no request or event \"{name}\"");
            self.unknown(at!["point", i, "read", "frame"], told, name, names.iter().copied());
        }
        let take = self.bytes(i, file);
        if let Some(Take::Bytes { at, len, when, .. }) = &take {
            let from = usize::try_from(*at).unwrap_or_default();
            let back = usize::try_from(at.unsigned_abs()).unwrap_or(usize::MAX);
            let (from, len) = if *at < 0 { (0, back) } else { (from, *len) };
            self.inside(at!["point", i, "read"], from, len, longest(&link.frame));
            if let Some(when) = when {
                self.inside(at!["point", i, "when"], when.at, when.bytes.len(), longest(&link.frame));
            }
        }
        let every = frame
            .and_then(|ix| link.requests.get(usize::from(ix)))
            .map_or(DEFAULT_EVERY, |request| request.every);
        Some(Found { read: Read::Serial { frame: frame? }, take: take?, every })
    }

    fn inside(&mut self, path: &[crate::document::Step<'_>], at: usize, len: usize, whole: usize) {
        if at.saturating_add(len) > whole {
            self.error(path, text!("超出一帧的 {whole} 字节", "beyond the {whole} bytes of a frame"));
        }
    }
}

/// How many bytes a frame must have for this point to be in it.
fn reaches(point: &Point) -> usize {
    match &point.plan.take {
        Take::Bytes { at, len, .. } => usize::try_from(*at).map_or(at.unsigned_abs() as usize, |at| at + len),
        Take::Bit | Take::Words { .. } | Take::Pointer { .. } | Take::WholeText(_) => 0,
    }
}

fn longest(frame: &FrameShape) -> usize {
    match frame.length {
        FrameLength::Fixed(fixed) => fixed,
        FrameLength::EndsWith(_) | FrameLength::Field { .. } => frame.max,
    }
}

/// Requests first, then events: the order of `Read::Serial::frame`.
fn frame_names(file: &SerialFile) -> impl Iterator<Item = &str> {
    let requests = file.request.iter().map(|request| request.name.as_str());
    requests.chain(file.event.iter().map(|event| event.name.as_str()))
}

/// And how many bytes it has.
fn checksum_kind(kind: ChecksumKindFile) -> (ChecksumKind, u8) {
    match kind {
        ChecksumKindFile::Sum8 => (ChecksumKind::Sum8, 1),
        ChecksumKindFile::Twos8 => (ChecksumKind::Twos8, 1),
        ChecksumKindFile::Xor8 => (ChecksumKind::Xor8, 1),
        ChecksumKindFile::Lrc8 => (ChecksumKind::Lrc8, 1),
        ChecksumKindFile::Crc16Modbus => (ChecksumKind::Crc16Modbus, 2),
        ChecksumKindFile::Crc16Osdp => (ChecksumKind::Crc16Osdp, 2),
        ChecksumKindFile::Crc16Arc => (ChecksumKind::Crc16Arc, 2),
    }
}
