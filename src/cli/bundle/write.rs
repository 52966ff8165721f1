//! A bundle made from a store, beside a running gateway.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::Context;
use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;

use super::{
    CAPTURES, CHAIN, CONFIGURATION, ChainLine, EVENTS, EventLine, HANDOVER, MANIFEST, Manifest, PAGE,
    PUBLIC_KEY, RECEIPTS, ReceiptLine, VERSIONS, WRITINGS, page,
};
use crate::{
    app::capture,
    cli::alarms::local,
    config::Site,
    domain::{Suite, Text},
    store::{
        LetterState, Reader,
        chain::{Broken, Capture, Configuration, Content, Fact, PublicKey, Record, Row, Verified},
        evidence::{Sealed, digest, hex, unhex},
    },
    text,
};

/// Raw frames beyond this stay where they are.
const MOST_CAPTURED: u64 = 256 << 20;

/// A bundle, ready to be written.
pub struct Made {
    pub tar: Vec<u8>,
    pub occurrence: String,
    pub lacks: Vec<Text>,
    /// Whether the whole store holds.
    pub verdict: Result<Verified, Broken>,
}

/// What is put in.
#[derive(Default)]
struct Files(Vec<(String, Vec<u8>)>);

impl Files {
    fn add(&mut self, name: impl Into<String>, body: impl Into<Vec<u8>>) {
        self.0.push((name.into(), body.into()));
    }

    fn lines<T: Serialize>(&mut self, name: &str, lines: &[T]) -> anyhow::Result<()> {
        let mut body = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut body, line)?;
            body.push(b'\n');
        }
        self.add(name, body);
        Ok(())
    }

    fn digests(&self, alg: Suite) -> BTreeMap<String, String> {
        self.0.iter().map(|(name, body)| (name.clone(), hex(&digest(alg, body)))).collect()
    }

    fn tar(&self, at: Timestamp) -> anyhow::Result<Vec<u8>> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, body) in &self.0 {
            let mut header = tar::Header::new_gnu();
            header.set_size(body.len() as u64);
            header.set_mode(0o640);
            header.set_mtime(u64::try_from(at.as_second()).unwrap_or(0));
            tar.append_data(&mut header, name, &body[..])
                .with_context(|| format!("put {name} into the bundle"))?;
        }
        tar.into_inner().context("end the bundle")
    }
}

/// `None`: nothing is on record of `id` (an occurrence, or `device/alarm` of one that is open).
///
/// # Errors
/// If the store or a capture cannot be read.
pub fn make(site: &Site, reader: &Reader, id: &str) -> anyhow::Result<Option<Made>> {
    let Some(occurrence) = reader.history(id)?.last().map(|last| last.alarm.occurrence.to_string()) else {
        return Ok(None);
    };
    let verdict = reader.verify(None)?;
    let events = reader.sealed_history(&occurrence)?;
    let mut lacks = Vec::new();
    let (rows, before) = rows(reader, &events, &occurrence, &mut lacks)?;
    let mut files = Files::default();
    let event_lines: Vec<EventLine> = events.iter().map(event_line).collect();
    files.lines(EVENTS, &event_lines)?;
    files.lines(CHAIN, &chain_lines(&rows, before, &occurrence, &events))?;
    let handover = reader.switches(before.0)?;
    if !handover.is_empty() {
        files.lines(HANDOVER, &handover)?;
    }
    let receipts = receipts(reader, &events, &site.timezone)?;
    files.lines(RECEIPTS, &receipts)?;
    let captures: Vec<Capture> = reader.kept_captures(Some(&occurrence))?;
    add_captures(&mut files, &site.store.dir, &captures, &mut lacks);
    add_configuration(&mut files, reader, &rows, &mut lacks)?;
    let key = signer(&rows).map_or_else(|| reader.public_key(), |signer| Ok(Some(signer)))?;
    if let Some(key) = &key {
        files.add(PUBLIC_KEY, format!("{}\n", key.public));
    } else {
        lacks.push(text!("签名：网关没有密钥", "a signature: the gateway has no key"));
    }
    let made_at = Timestamp::now();
    let said = page::Said {
        site,
        events: &events,
        receipts: &receipts,
        captures: &captures,
        key: key.as_ref(),
        verdict: &verdict,
        lacks: &lacks,
        made_at,
    };
    files.add(PAGE, page::page(&said));
    let alg = reader.alg()?;
    let newer = !alg.is_international() || !handover.is_empty() || rows.iter().any(Known::is_newer);
    let manifest = Manifest {
        gatehouse_bundle: if newer { *VERSIONS.end() } else { *VERSIONS.start() },
        site: site.id.clone(),
        occurrence: occurrence.clone(),
        made_at: local(made_at, &site.timezone),
        made_by: format!("gatehouse {}", env!("CARGO_PKG_VERSION")),
        files: files.digests(alg),
        alg,
        lacks: lacks.clone(),
    };
    files.0.insert(0, (MANIFEST.to_owned(), serde_json::to_vec_pretty(&manifest)?));
    Ok(Some(Made { tar: files.tar(made_at)?, occurrence, lacks, verdict }))
}

fn event_line(sealed: &Sealed) -> EventLine {
    EventLine {
        seq: sealed.event.seq,
        record: String::from_utf8_lossy(&sealed.record).into_owned(),
        hash: hex(&sealed.hash),
        prev_hash: hex(&sealed.prev_hash),
    }
}

/// A row, read.
struct Known {
    row: Row,
    record: Option<Record>,
}

impl Known {
    fn alg(&self) -> Suite {
        self.record.as_ref().map_or(Suite::International, |record| record.alg)
    }

    /// Nothing that reads the first version of bundles would understand it.
    fn is_newer(&self) -> bool {
        let is_base = |record: &Record| matches!(record.fact, Fact::Base(_));
        !self.alg().is_international() || self.record.as_ref().is_some_and(is_base)
    }
}

type Hash = crate::store::evidence::Hash;

/// From the first event's row to a signature over the last that speaks of the alarm; and the row before them.
fn rows(
    reader: &Reader,
    events: &[Sealed],
    occurrence: &str,
    lacks: &mut Vec<Text>,
) -> anyhow::Result<(Vec<Known>, (u64, Hash))> {
    let first = events.iter().find_map(|event| reader.link_of(event.event.seq).transpose()).transpose()?;
    let unlinked = events.iter().filter(|event| matches!(reader.link_of(event.event.seq), Ok(None))).count();
    if unlinked > 0 {
        lacks.push(text!(
            "{unlinked} 个事件在证据链里的行：它们早于链首",
            "the chain's rows of {unlinked} events: they are older than its beginning"
        ));
    }
    let after = first.map_or(0, |first| first - 1);
    let (before, rows) = reader.links(after, if first.is_some() { u64::MAX >> 1 } else { 0 })?;
    let mut rows: Vec<Known> = rows
        .into_iter()
        .map(|row| {
            let record = match &row.content {
                Content::Record(record) => serde_json::from_slice(record).ok(),
                Content::Digest(_) => None,
            };
            Known { row, record }
        })
        .collect();
    let about = |known: &Known| {
        known.record.as_ref().is_some_and(|record| speaks_of(&record.fact, occurrence, events))
    };
    let last = rows.iter().rposition(about).unwrap_or(0);
    let is_head = |known: &Known| matches!(known.record, Some(Record { fact: Fact::Head { .. }, .. }));
    match rows.iter().skip(last + 1).position(is_head) {
        Some(further) => rows.truncate(last + 1 + further + 1),
        None if !rows.is_empty() => {
            lacks.push(text!(
                "对最后几行的签名：一小时内、末次回执后一分钟内就会有",
                "a signature over the latest rows: there is one within an hour, or a minute after the last receipt"
            ));
        }
        None => {}
    }
    Ok((rows, (after, before)))
}

/// Whose signature the bundle ends with: the site may have gone over to another key since.
fn signer(rows: &[Known]) -> Option<PublicKey> {
    rows.iter().rev().find_map(|known| {
        let Fact::Head { public_key, .. } = &known.record.as_ref()?.fact else { return None };
        PublicKey::of(public_key.clone())
    })
}

fn speaks_of(fact: &Fact, occurrence: &str, events: &[Sealed]) -> bool {
    let key = || events.last().map(|last| last.event.key().to_string());
    match fact {
        Fact::Event { occurrence: of, .. } => of == occurrence,
        Fact::Audit { object, .. } => object == occurrence || Some(object) == key().as_ref(),
        Fact::Receipt(receipt) => events.iter().any(|event| event.event.id == receipt.event),
        Fact::Capture(capture) => capture.occurrence == occurrence,
        Fact::Base(_)
        | Fact::Start { .. }
        | Fact::Clock { .. }
        | Fact::Head { .. }
        | Fact::Switch { .. }
        | Fact::Dropped { .. } => false,
    }
}

/// Rows of other alarms' people and frames are nobody's business: their digest stands for them.
fn chain_lines(rows: &[Known], before: (u64, Hash), occurrence: &str, events: &[Sealed]) -> Vec<ChainLine> {
    let alg = rows.first().map_or(Suite::International, Known::alg);
    let first = ChainLine { n: before.0, hash: hex(&before.1), alg, ..ChainLine::default() };
    let lines = rows.iter().map(|known| {
        let Known { row, record } = known;
        let open = record.as_ref().is_some_and(|record| match &record.fact {
            Fact::Audit { .. } | Fact::Capture(_) => speaks_of(&record.fact, occurrence, events),
            Fact::Base(_)
            | Fact::Event { .. }
            | Fact::Receipt(_)
            | Fact::Start { .. }
            | Fact::Clock { .. }
            | Fact::Head { .. }
            | Fact::Switch { .. }
            | Fact::Dropped { .. } => true,
        });
        let line = ChainLine { n: row.n, hash: hex(&row.hash), ..ChainLine::default() };
        match &row.content {
            Content::Record(record) if open => {
                ChainLine { record: Some(String::from_utf8_lossy(record).into_owned()), ..line }
            }
            Content::Record(record) => ChainLine { digest: Some(hex(&digest(known.alg(), record))), ..line },
            Content::Digest(digest) => ChainLine { digest: Some(hex(digest)), ..line },
        }
    });
    std::iter::once(first).chain(lines).collect()
}

fn receipts(reader: &Reader, events: &[Sealed], zone: &TimeZone) -> anyhow::Result<Vec<ReceiptLine>> {
    let mut lines = Vec::new();
    for event in events {
        let mut letters = reader.letters_of(&event.event.id)?;
        letters.reverse();
        lines.extend(letters.into_iter().map(|letter| {
            ReceiptLine {
                row: letter.number,
                endpoint: letter.endpoint,
                event: letter.event_id,
                seq: letter.seq,
                state: letter.state.word().to_owned(),
                attempts: letter.attempts,
                at: match letter.state {
                    LetterState::Delivered => letter.delivered_at,
                    LetterState::Queued | LetterState::SetAside => letter.tried_at,
                }
                .map(|at| local(at, zone)),
                status: letter.receipt_status,
                said: letter.receipt_said,
            }
        }));
    }
    Ok(lines)
}

fn add_captures(files: &mut Files, dir: &Path, captures: &[Capture], lacks: &mut Vec<Text>) {
    let mut total = 0;
    for capture in captures {
        total += capture.bytes;
        let name = &capture.file;
        let read = fs::read(capture::folder(dir).join(&capture.file));
        match read {
            Ok(body) if total <= MOST_CAPTURED => files.add(format!("{CAPTURES}{}", capture.file), body),
            Ok(_) => lacks.push(text!("{name}：太大", "{name}: too large")),
            Err(error) => lacks.push(text!("{name}：{error}", "{name}: {error}")),
        }
    }
    if captures.is_empty() {
        lacks.push(text!("原始报文：只为紧急报警保留", "raw frames: they are kept of critical alarms only"));
    }
}

/// What was in force when the alarm was raised, by the first signature after it.
fn add_configuration(
    files: &mut Files,
    reader: &Reader,
    rows: &[Known],
    lacks: &mut Vec<Text>,
) -> anyhow::Result<()> {
    let Some(first) = rows.first() else { return Ok(()) };
    let start = reader.start_before(first.row.n)?;
    let Some(Record { fact: Fact::Start { configuration, .. }, .. }) = start else {
        lacks.push(text!(
            "当时生效的配置：那次启动早于链首",
            "the configuration in force: the start of that run is older than the chain's beginning"
        ));
        return Ok(());
    };
    files.add(CONFIGURATION, configuration.text());
    let Configuration { site, profiles, .. } = &configuration;
    for (name, digest) in
        std::iter::once(("gatehouse.toml", site)).chain(profiles.iter().map(|(n, d)| (n.as_str(), d)))
    {
        match unhex(digest).map(|digest| reader.writing(&digest)).transpose()?.flatten() {
            Some((_, body)) => files.add(format!("{WRITINGS}{}", file_name(name)), body),
            None => lacks.push(text!("当时生效的 {name}", "{name}, as it was in force")),
        }
    }
    Ok(())
}

/// `elevator/x@1` → `elevator_x@1.toml`.
fn file_name(name: &str) -> String {
    match name {
        "gatehouse.toml" => name.to_owned(),
        profile => format!("{}.toml", profile.replace('/', "_")),
    }
}
