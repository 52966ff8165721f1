//! Batches of readings: the envelope of letters, one block a device, cut where they would become too long. Pure.
//!
//! The same cut of the same readings gives the same bytes under the same id, so that a batch that goes again is known again.

use std::collections::BTreeSet;

use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::envelope::{self, Shown};
use crate::{
    domain::{AlarmKey, ClassName, DeviceId, PointName, Quality, SiteFacts, Value},
    store::{StoreError, StoredReading},
};

/// What a batch is about, where a letter is about an alarm. No device of a site can be called so: its id has a colon.
pub fn readings_key() -> AlarmKey {
    AlarmKey { device: "gatehouse:readings".into(), alarm: "readings".into() }
}

/// A device whose readings go, and which of its points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visible {
    pub device: DeviceId,
    pub class: ClassName,
    pub points: BTreeSet<PointName>,
}

/// How far an endpoint has the readings: everything up to `since`, and of the window that ends at `until` also all devices
/// before `device`, and that one up to `at`. In milliseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    pub since: i64,
    pub until: i64,
    pub device: String,
    pub at: i64,
    /// Of the last batch that was confirmed.
    pub number: u64,
}

impl Cursor {
    /// Nothing of the next window went yet.
    pub fn stands_at(since: i64, number: u64) -> Self {
        Self { since, until: since, device: String::new(), at: since, number }
    }

    pub fn is_within_window(&self) -> bool {
        self.until > self.since
    }
}

/// Readings of one device that were read together.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    at: Timestamp,
    cells: Vec<(PointName, Option<Value>, Quality)>,
}

#[derive(Clone, Debug, PartialEq)]
struct Block {
    device: DeviceId,
    class: ClassName,
    rows: Vec<Row>,
}

/// What goes next, and where that leads.
#[derive(Clone, Debug, PartialEq)]
pub struct Cut {
    blocks: Vec<Block>,
    pub next: Cursor,
}

impl Cut {
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    pub fn rows(&self) -> usize {
        self.blocks.iter().map(|block| block.rows.len()).sum()
    }

    fn newest(&self) -> Option<Timestamp> {
        self.blocks.iter().flat_map(|block| &block.rows).map(|row| row.at).max()
    }
}

/// Takes readings from where `cursor` stands within its window until some `most` bytes are full. `read` gives those of one
/// device from a moment to a moment, both in, oldest first.
///
/// # Errors
/// What `read` gives.
pub fn cut<I: Iterator<Item = Result<StoredReading, StoreError>>>(
    read: impl Fn(&str, Timestamp, Timestamp) -> Result<I, StoreError>,
    devices: &[Visible],
    cursor: &Cursor,
    most: usize,
) -> Result<Cut, StoreError> {
    let mut blocks = Vec::new();
    let mut bytes = 0;
    for visible in devices.iter().filter(|visible| visible.device.as_str() >= cursor.device.as_str()) {
        let from = if visible.device.as_str() == cursor.device { cursor.at } else { cursor.since };
        let (from, to) = (moment(from.saturating_add(1)), moment(cursor.until));
        let mut rows: Vec<Row> = Vec::new();
        for reading in read(&visible.device, from, to)? {
            let StoredReading { point, at, value, quality, .. } = reading?;
            let begins = rows.last().is_none_or(|row| row.at != at);
            if begins && bytes >= most {
                // between two rows, so that none is torn
                let at = rows.last().map_or(from.as_millisecond() - 1, |row| row.at.as_millisecond());
                keep(&mut blocks, visible, rows);
                let next = Cursor { device: visible.device.to_string(), at, ..cursor.clone() };
                return Ok(Cut { blocks, next: Cursor { number: cursor.number + 1, ..next } });
            }
            if !visible.points.contains(&point) {
                continue;
            }
            bytes += cell_bytes(value.as_ref()) + if begins { ROW_BYTES } else { 0 };
            if begins {
                rows.push(Row { at, cells: Vec::new() });
            }
            if let Some(row) = rows.last_mut() {
                row.cells.push((point, value, quality));
            }
        }
        keep(&mut blocks, visible, rows);
    }
    let number = cursor.number + u64::from(!blocks.is_empty());
    Ok(Cut { blocks, next: Cursor::stands_at(cursor.until, number) })
}

/// `{"at":"2026-11-23T14:03:11.482+08:00","values":[]},`
const ROW_BYTES: usize = 64;

fn cell_bytes(value: Option<&Value>) -> usize {
    match value {
        Some(Value::Text(text)) => text.len() + 3,
        Some(Value::Flag(_) | Value::Number(_)) | None => 10,
    }
}

fn keep(blocks: &mut Vec<Block>, visible: &Visible, rows: Vec<Row>) {
    if !rows.is_empty() {
        blocks.push(Block { device: visible.device.clone(), class: visible.class.clone(), rows });
    }
}

pub fn moment(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(if ms < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

/// What every batch says of where it comes from.
#[derive(Clone, Debug)]
pub struct Origin {
    pub site: SiteFacts,
    pub epoch: String,
    pub zone: TimeZone,
    pub demo: bool,
}

#[derive(Serialize)]
struct Envelope<'a, D: Serialize> {
    specversion: &'static str,
    id: &'a str,
    source: String,
    #[serde(rename = "type")]
    kind: &'static str,
    subject: &'static str,
    time: String,
    datacontenttype: &'static str,
    gatehouseseq: u64,
    gatehouseepoch: &'a str,
    data: &'a D,
}

#[derive(Serialize)]
struct Batch<'a> {
    site: &'a SiteFacts,
    backfill: bool,
    demo: bool,
    batch: Vec<ShownBlock<'a>>,
}

#[derive(Serialize)]
struct ShownBlock<'a> {
    device: &'a DeviceId,
    class: &'a ClassName,
    points: Vec<&'a PointName>,
    rows: Vec<ShownRow<'a>>,
}

#[derive(Serialize)]
struct ShownRow<'a> {
    at: String,
    values: Vec<Shown<'a>>,
    /// Left out when all are good; `null` where a point was not read with the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    quality: Option<Vec<Option<Quality>>>,
}

#[derive(Serialize)]
struct LossData<'a> {
    site: &'a SiteFacts,
    demo: bool,
    losses: [Loss; 1],
}

#[derive(Serialize)]
struct Loss {
    class: &'static str,
    reason: &'static str,
    from: String,
    to: String,
}

impl Origin {
    /// The id and the body of a batch; `backfill`: it is not what was read just now.
    pub fn batch(&self, cut: &Cut, backfill: bool) -> (String, Vec<u8>) {
        let batch = cut.blocks.iter().map(|block| self.block(block)).collect();
        let data = Batch { site: &self.site, backfill, demo: self.demo, batch };
        let time = cut.newest().unwrap_or(Timestamp::UNIX_EPOCH);
        self.envelope("gatehouse.readings", "readings", cut.next.number, time, &data)
    }

    /// The id and the body of a report that readings from `from` to `to` were given up before they could be delivered.
    pub fn loss(
        &self,
        reason: &'static str,
        (from, to): (Timestamp, Timestamp),
        number: u64,
    ) -> (String, Vec<u8>) {
        let (shown_from, shown_to) = (self.time(from), self.time(to));
        let loss = Loss { class: "readings", reason, from: shown_from, to: shown_to };
        let data = LossData { site: &self.site, demo: self.demo, losses: [loss] };
        self.envelope("gatehouse.loss_report", "readings", number, to, &data)
    }

    fn envelope(
        &self,
        kind: &'static str,
        subject: &'static str,
        number: u64,
        time: Timestamp,
        data: &impl Serialize,
    ) -> (String, Vec<u8>) {
        let content = serde_json::to_vec(data).expect("text keys and finite numbers are always JSON");
        let mut digest = Sha256::new();
        digest.update(&self.epoch);
        digest.update(kind);
        digest.update(number.to_be_bytes());
        digest.update(&content);
        let id: String = digest.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        let envelope = Envelope {
            specversion: "1.0",
            id: &id,
            source: format!("/gatehouse/{}", self.site.id),
            kind,
            subject,
            time: self.time(time),
            datacontenttype: "application/json",
            gatehouseseq: number,
            gatehouseepoch: &self.epoch,
            data,
        };
        let body = serde_json::to_vec(&envelope).expect("text keys and finite numbers are always JSON");
        (id, body)
    }

    fn block<'a>(&self, block: &'a Block) -> ShownBlock<'a> {
        let mut points: Vec<&PointName> = Vec::new();
        for (point, _, _) in block.rows.iter().flat_map(|row| &row.cells) {
            if !points.contains(&point) {
                points.push(point);
            }
        }
        let rows = block.rows.iter().map(|row| self.row(row, &points)).collect();
        ShownBlock { device: &block.device, class: &block.class, points, rows }
    }

    fn row<'a>(&self, row: &'a Row, points: &[&PointName]) -> ShownRow<'a> {
        let cell = |wanted: &&PointName| row.cells.iter().find(|(point, _, _)| point == *wanted);
        let cells: Vec<_> = points.iter().map(cell).collect();
        let all_good = cells.iter().all(|cell| matches!(cell, Some((_, _, Quality::Good))));
        let quality = || cells.iter().map(|cell| cell.map(|(_, _, quality)| *quality)).collect();
        let values = cells.iter().map(|cell| Shown(cell.and_then(|(_, value, _)| value.as_ref())));
        ShownRow { at: self.time(row.at), values: values.collect(), quality: (!all_good).then(quality) }
    }

    fn time(&self, at: Timestamp) -> String {
        envelope::time(at, &self.zone)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn reading(device: &str, point: &str, ms: i64, value: Option<f64>, quality: Quality) -> StoredReading {
        StoredReading {
            device: Arc::from(device),
            point: point.into(),
            at: moment(ms),
            value: value.map(Value::Number),
            unit: Arc::from(""),
            quality,
        }
    }

    fn visible(device: &str) -> Visible {
        Visible {
            device: device.into(),
            class: "power-line".into(),
            points: BTreeSet::from(["voltage_a".into(), "current_a".into()]),
        }
    }

    /// Two devices, `n` rows each, one a second, with a point that the endpoint may not see.
    fn stored(n: i64) -> Vec<StoredReading> {
        let mut all = Vec::new();
        for device in ["meter-a", "meter-b"] {
            for second in 1..=n {
                let ms = second * 1000;
                all.push(reading(device, "voltage_a", ms, Some(230.0 + second as f64 / 10.0), Quality::Good));
                all.push(reading(device, "owner", ms, Some(7.0), Quality::Good));
                match second % 2 {
                    0 => all.push(reading(device, "current_a", ms, None, Quality::CommFail)),
                    _ => all.push(reading(device, "current_a", ms, Some(1.25), Quality::Good)),
                }
            }
        }
        all
    }

    fn take(all: &[StoredReading], cursor: &Cursor, most: usize) -> Cut {
        let read = |device: &str, from: Timestamp, to: Timestamp| {
            let of = move |reading: &&StoredReading| (from..=to).contains(&reading.at);
            let found: Vec<_> =
                all.iter().filter(|reading| *reading.device == *device).filter(of).cloned().map(Ok).collect();
            Ok(found.into_iter())
        };
        cut(read, &[visible("meter-a"), visible("meter-b")], cursor, most).unwrap()
    }

    fn origin() -> Origin {
        Origin {
            site: SiteFacts { id: "yard".to_owned(), name: "院子".to_owned() },
            epoch: "9c1e".to_owned(),
            zone: TimeZone::fixed(jiff::tz::offset(8)),
            demo: false,
        }
    }

    #[test]
    fn a_batch_is_as_the_contract_has_it() {
        let cursor = Cursor { until: 2000, ..Cursor::stands_at(0, 4) };
        let cut = take(&stored(3), &cursor, 100_000);
        let (id, body) = origin().batch(&cut, false);
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (&body["type"], &body["id"], &body["gatehouseseq"]),
            (&"gatehouse.readings".into(), &id.into(), &5.into())
        );
        assert_eq!(body["time"], "1970-01-01T08:00:02.000+08:00");
        let block = &body["data"]["batch"][0];
        assert_eq!(
            block,
            &serde_json::json!({ "device": "meter-a", "class": "power-line", "points": ["voltage_a", "current_a"],
                "rows": [ { "at": "1970-01-01T08:00:01.000+08:00", "values": [230.1, 1.25] },
                          { "at": "1970-01-01T08:00:02.000+08:00", "values": [230.2, null], "quality": ["good", "comm_fail"] } ] })
        );
        assert_eq!(body["data"]["batch"].as_array().unwrap().len(), 2);
        assert!(!body.to_string().contains("owner"), "what it may not see is not there");
        assert_eq!(cut.next, Cursor::stands_at(2000, 5), "the window is done");
    }

    #[test]
    fn cut_anywhere_every_row_goes_once_and_in_order() {
        let all = stored(40);
        for most in [1, 100, 333, 1000, 100_000] {
            let mut cursor = Cursor { until: 40_000, ..Cursor::stands_at(0, 0) };
            let mut seen: Vec<(String, i64)> = Vec::new();
            while cursor.is_within_window() {
                let cut = take(&all, &cursor, most);
                assert_eq!(cut, take(&all, &cursor, most), "the same again");
                assert!(cut.rows() > 0 || !cut.next.is_within_window(), "it moves on");
                for block in &cut.blocks {
                    seen.extend(
                        block.rows.iter().map(|row| (block.device.to_string(), row.at.as_millisecond())),
                    );
                }
                cursor = cut.next;
            }
            let expected: Vec<_> = ["meter-a", "meter-b"]
                .into_iter()
                .flat_map(|device| (1..=40).map(move |s| (device.to_owned(), s * 1000)))
                .collect();
            assert_eq!(seen, expected, "{most} bytes");
            assert_eq!(cursor.since, 40_000);
        }
    }

    #[test]
    fn what_was_not_read_with_the_others_is_neither_a_value_nor_a_fault() {
        let all = [
            reading("meter-a", "voltage_a", 1000, Some(230.0), Quality::Good),
            reading("meter-a", "current_a", 2000, Some(1.0), Quality::Good),
        ];
        let cut = take(&all, &Cursor { until: 5000, ..Cursor::stands_at(0, 0) }, 1000);
        let body: serde_json::Value = serde_json::from_slice(&origin().batch(&cut, true).1).unwrap();
        let rows = &body["data"]["batch"][0]["rows"];
        assert_eq!(
            (&rows[0]["values"], &rows[0]["quality"]),
            (&serde_json::json!([230, null]), &serde_json::json!(["good", null]))
        );
        assert_eq!(
            (&rows[1]["values"], &rows[1]["quality"]),
            (&serde_json::json!([null, 1]), &serde_json::json!([null, "good"]))
        );
    }

    #[test]
    fn the_same_batch_has_the_same_id_and_another_has_another() {
        let all = stored(4);
        let of = |until, number| {
            let cut = take(&all, &Cursor { until, ..Cursor::stands_at(0, number) }, 100_000);
            origin().batch(&cut, false)
        };
        assert_eq!(of(3000, 1), of(3000, 1));
        assert_ne!(of(3000, 1).0, of(4000, 1).0);
        assert_ne!(of(3000, 1).0, of(3000, 2).0);
    }
}
