//! One capture as a file: JSON lines, gzip. First what it is of, then the frames as a recording has them, then the readings.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use flate2::{Compression, write::GzEncoder};
use jiff::{Timestamp, tz::TimeZone};
use serde_json::json;

use super::folder;
use crate::{
    domain::{BusId, Event, Suite, Text, tape::Piece},
    store::{
        StoredReading, TelemetryReader,
        chain::{Capture, FileDigest, Gap},
    },
    text,
};

const MOST_READINGS: usize = 100_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Before,
    After,
}

impl Part {
    /// How the name of its file ends.
    fn ending(self) -> &'static str {
        match self {
            Part::Before => "-1.jsonl.gz",
            Part::After => "-2.jsonl.gz",
        }
    }

    pub fn is_that_of(self, capture: &Capture) -> bool {
        capture.file.ends_with(self.ending())
    }
}

pub struct Taken {
    pub event: Event,
    pub bus: BusId,
    pub part: Part,
    pub from: Timestamp,
    pub readings_from: Option<Timestamp>,
    pub to: Timestamp,
    pub frames: Vec<Piece>,
    /// Points whose values are of persons: left out.
    pub private: Vec<String>,
    pub lacks: Vec<Gap>,
}

/// On the disk, name and all, before the chain tells of it.
///
/// # Errors
/// If it cannot be written.
pub fn write(dir: &Path, taken: &Taken, zone: &TimeZone, suite: Suite) -> io::Result<Capture> {
    let folder = folder(dir);
    if !folder.is_dir() {
        DirBuilder::new().mode(0o750).create(&folder)?;
        File::open(dir)?.sync_all()?;
    }
    let name = format!("{}{}", taken.event.id, taken.part.ending());
    let mut lacks = taken.lacks.clone();
    let readings = readings(dir, taken, &mut lacks);
    let local = |at: Timestamp| at.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string();
    let mut capture = Capture {
        occurrence: taken.event.alarm.occurrence.to_string(),
        event: taken.event.id.clone(),
        bus: taken.bus.to_string(),
        file: name.clone(),
        digest: FileDigest::of(suite, &[]),
        bytes: 0,
        from: local(taken.from),
        to: local(taken.to),
        frames: taken.frames.len() as u64,
        readings: readings.len() as u64,
        lacks,
    };
    let packed = pack(taken, &capture, &readings, local)?;
    capture.digest = FileDigest::of(suite, &packed);
    capture.bytes = packed.len() as u64;
    let beside = folder.join(format!("{name}.new"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(&beside)?;
    file.write_all(&packed)?;
    file.sync_all()?;
    fs::rename(&beside, folder.join(&name))?;
    File::open(&folder)?.sync_all()?;
    Ok(capture)
}

fn pack(
    taken: &Taken,
    capture: &Capture,
    readings: &[StoredReading],
    local: impl Fn(Timestamp) -> String,
) -> io::Result<Vec<u8>> {
    let mut out = BufWriter::new(GzEncoder::new(Vec::new(), Compression::fast()));
    let mut line = |value: &serde_json::Value| {
        serde_json::to_writer(&mut out, value)?;
        out.write_all(b"\n")
    };
    line(&json!({
        "gatehouse_capture": 1, "occurrence": capture.occurrence, "event": capture.event, "bus": capture.bus,
        "device": taken.event.device.id, "from": capture.from, "to": capture.to, "lacks": capture.lacks,
    }))?;
    for piece in &taken.frames {
        let mut frame = serde_json::to_value(piece)?;
        frame["bus"] = json!(taken.bus);
        line(&frame)?;
    }
    for reading in readings {
        line(&json!({
            "device": &*reading.device, "point": reading.point, "at": local(reading.at), "value": reading.value,
            "unit": &*reading.unit, "quality": reading.quality,
        }))?;
    }
    out.into_inner().map_err(|error| error.into_error())?.finish()
}

/// What can be had of them: a store of readings that cannot be read keeps nothing else from being kept.
fn readings(dir: &Path, taken: &Taken, lacks: &mut Vec<Gap>) -> Vec<StoredReading> {
    let Some(from) = taken.readings_from else { return Vec::new() };
    let gap = |why: Text| Gap { what: text!("读数", "readings"), why };
    if !taken.private.is_empty() {
        let names = taken.private.join(", ");
        lacks.push(gap(text!("{names} 涉及个人，未收入", "{names} are of persons and left out")));
    }
    let look = || {
        let reader = TelemetryReader::open(dir)?;
        let found = reader.readings(taken.event.device.id.as_str(), None, from, taken.to)?;
        let open = found.filter(|reading| {
            reading
                .as_ref()
                .map_or(true, |reading| !taken.private.iter().any(|name| **name == *reading.point))
        });
        open.take(MOST_READINGS).collect::<Result<Vec<_>, _>>()
    };
    match look() {
        Ok(readings) => readings,
        Err(error) => {
            lacks.push(gap(error.text()));
            Vec::new()
        }
    }
}

/// The oldest give way; their names and digests.
pub fn make_room(dir: &Path, most: u64, suite: Suite) -> Vec<(String, FileDigest)> {
    let Ok(entries) = fs::read_dir(folder(dir)) else { return Vec::new() };
    let mut files: Vec<_> = entries
        .flatten()
        .filter_map(|entry| {
            let found = entry.metadata().ok()?;
            Some((found.modified().ok()?, found.len(), entry.path()))
        })
        .collect();
    files.sort();
    let mut total: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
    let mut gone = Vec::new();
    for (_, bytes, path) in files {
        if total <= most {
            break;
        }
        let unread = |_| FileDigest::named(suite, String::new());
        let digest = fs::read(&path).map_or_else(unread, |body| FileDigest::of(suite, &body));
        if fs::remove_file(&path).is_ok() {
            total -= bytes;
            gone.push((path.file_name().unwrap_or_default().to_string_lossy().into_owned(), digest));
        }
    }
    gone
}
