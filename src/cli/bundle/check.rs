//! A bundle held against itself: the chain by its hashes, its end by the signature, everything else by the chain.

use std::collections::{BTreeMap, BTreeSet};

use super::{Bundle, CAPTURES, CONFIGURATION, ChainLine, EventLine, MANIFEST, ReceiptLine, WRITINGS};
use crate::{
    domain::{Event, HeadStatement, Suite, Text},
    store::{
        chain::{
            Capture, Configuration, Content, Fact, Fault, Keys, ReceiptFact, Record, Row, SaidDigest, Step,
            Walk, handed_over,
        },
        evidence::{self, digest, hex, unhex},
    },
    text,
};

/// It holds.
#[derive(Debug)]
pub struct Checked {
    pub events: usize,
    pub rows: u64,
    /// Shown by their digest alone.
    pub hidden: u64,
    pub unsigned: u64,
    pub keys: Keys,
    /// What its rows are hashed with.
    pub algs: BTreeSet<Suite>,
    pub head: Option<HeadStatement>,
    pub receipts: usize,
    pub captures: usize,
    pub lacks: Vec<Text>,
}

/// Where it does not.
#[derive(Debug, PartialEq, Eq)]
pub struct Faulty {
    pub place: Text,
    pub why: Text,
}

impl From<Fault> for Faulty {
    fn from(Fault { n, why }: Fault) -> Self {
        Self { place: text!("chain.jsonl 第 {n} 行", "row {n} of chain.jsonl"), why }
    }
}

fn in_file(name: &str, why: Text) -> Faulty {
    Faulty { place: Text::new(name, name), why }
}

/// What the chain says.
#[derive(Default)]
struct Said {
    events: BTreeMap<u64, SaidEvent>,
    receipts: BTreeMap<i64, ReceiptFact>,
    captures: BTreeMap<String, Capture>,
    dropped: BTreeSet<String>,
    configurations: BTreeSet<(Suite, String)>,
    hidden: u64,
}

/// An event as its row has it.
struct SaidEvent {
    hash: String,
    alg: Suite,
    occurrence: String,
}

/// `trusted`: the public key that alone counts, base64; without it the bundle's own is taken for the box's.
///
/// # Errors
/// The first thing that does not hold.
pub fn check(bundle: &Bundle, trusted: Option<String>) -> Result<Checked, Faulty> {
    files(bundle)?;
    let trusted = trusted.map(|key| successor(key, &bundle.handover)).or_else(|| bundle.public_key.clone());
    let (walk, said) = chain(&bundle.chain, trusted)?;
    events(&bundle.events, &bundle.manifest.occurrence, &said)?;
    receipts(&bundle.receipts, &said)?;
    let captures = captures(bundle, &said)?;
    configuration(bundle, &said)?;
    if walk.rows > 0 && walk.head.is_none() {
        let why = text!("没有任何签名", "nothing in it is signed");
        return Err(in_file(super::CHAIN, why));
    }
    Ok(Checked {
        events: bundle.events.len(),
        rows: walk.rows,
        hidden: said.hidden,
        unsigned: walk.end().0.saturating_sub(walk.signed_until + u64::from(walk.signed_until > 0)),
        keys: walk.keys,
        algs: walk.algs,
        head: walk.head,
        receipts: said.receipts.len(),
        captures,
        lacks: bundle.manifest.lacks.clone(),
    })
}

/// Who is trusted at the bundle's beginning by whoever trusts `key`.
fn successor(key: String, handover: &[Fact]) -> String {
    handover.iter().fold(key, |key, switch| handed_over(&key, switch).unwrap_or(key))
}

/// Damage on the way, and files that were added or taken out.
fn files(bundle: &Bundle) -> Result<(), Faulty> {
    let (named, alg) = (&bundle.manifest.files, bundle.manifest.alg);
    for (name, body) in bundle.files.iter().filter(|(name, _)| *name != MANIFEST) {
        match named.get(name) {
            Some(known) if *known == hex(&digest(alg, body)) => {}
            Some(_) => return Err(in_file(name, text!("内容被改动过", "it was changed"))),
            None => return Err(in_file(name, text!("清单里没有它", "the manifest does not name it"))),
        }
    }
    match named.keys().find(|name| !bundle.files.contains_key(*name)) {
        Some(missing) => Err(in_file(missing, text!("缺失", "it is missing"))),
        None => Ok(()),
    }
}

fn chain(lines: &[ChainLine], trusted: Option<String>) -> Result<(Walk, Said), Faulty> {
    let at = |n: u64, why: Text| Faulty::from(Fault { n, why });
    let hash = |line: &ChainLine| {
        unhex(&line.hash).ok_or_else(|| at(line.n, text!("哈希值无效", "its hash is none")))
    };
    let [before, rows @ ..] = lines else {
        return Err(in_file(super::CHAIN, text!("是空的", "it is empty")));
    };
    let (mut walk, mut said) =
        (Walk::from(before.n, hash(before)?, Some(before.alg), trusted), Said::default());
    for line in rows {
        let content = match (&line.record, &line.digest) {
            (Some(record), None) => Content::Record(record.clone().into_bytes()),
            (None, Some(digest)) => {
                let digest = unhex(digest);
                Content::Digest(digest.ok_or_else(|| at(line.n, text!("摘要无效", "its digest is none")))?)
            }
            (Some(_), Some(_)) | (None, None) => {
                return Err(at(
                    line.n,
                    text!("应有内容或摘要，且只有其一", "it must have a record or a digest, not both"),
                ));
            }
        };
        match walk.step(Row { n: line.n, content, hash: hash(line)? })? {
            Step::Said(record) => said.hear(*record),
            Step::Silent => said.hidden += 1,
        }
    }
    walk.is_vouched_for()?;
    Ok((walk, said))
}

impl Said {
    fn hear(&mut self, Record { fact, alg: by, .. }: Record) {
        match fact {
            Fact::Event { seq, hash, occurrence, event_alg: alg } => {
                self.events.insert(seq, SaidEvent { hash, alg, occurrence });
            }
            // of one that was tried again the last counts
            Fact::Receipt(receipt) => drop(self.receipts.insert(receipt.row, receipt)),
            Fact::Capture(capture) => drop(self.captures.insert(capture.file.clone(), capture)),
            Fact::Dropped { file, .. } => drop(self.dropped.insert(file)),
            Fact::Head { configuration, .. } => drop(self.configurations.insert((by, configuration))),
            Fact::Base(_)
            | Fact::Audit { .. }
            | Fact::Start { .. }
            | Fact::Clock { .. }
            | Fact::Switch { .. } => {}
        }
    }
}

impl Said {
    fn was_in_force(&self, configuration: &[u8]) -> bool {
        self.configurations.iter().any(|(by, known)| *known == hex(&digest(*by, configuration)))
    }
}

/// Each is the one that the chain has, none that the chain has of this alarm is left out.
fn events(lines: &[EventLine], occurrence: &str, said: &Said) -> Result<(), Faulty> {
    let mut shown = BTreeSet::new();
    for EventLine { seq, record, hash, prev_hash } in lines {
        let broken = |why| Err(Faulty { place: text!("事件 {seq}", "event {seq}"), why });
        let (Some(own), Some(prev)) = (unhex(hash), unhex(prev_hash)) else {
            return broken(text!("哈希值无效", "its hash is none"));
        };
        let Some(known) = said.events.get(seq) else {
            return broken(text!("证据链里没有它", "the chain knows nothing of it"));
        };
        if evidence::link(known.alg, &prev, record.as_bytes()) != own {
            return broken(text!("记录被改动过", "its record was changed"));
        }
        if known.hash != *hash {
            return broken(text!("与证据链所记不符", "it is not the one that the chain has"));
        }
        let event: Option<Event> = serde_json::from_str(record).ok();
        let is_it = |event: Event| {
            (event.seq, event.alg, event.alarm.occurrence.as_str()) == (*seq, known.alg, occurrence)
        };
        if !event.is_some_and(is_it) {
            return broken(text!("不属于这个报警", "it is not of this alarm"));
        }
        shown.insert(*seq);
    }
    let mine = said.events.iter().filter(|(_, said)| said.occurrence == occurrence);
    match mine.map(|(seq, _)| *seq).find(|seq| !shown.contains(seq)) {
        Some(seq) => {
            Err(Faulty { place: text!("事件 {seq}", "event {seq}"), why: text!("缺失", "it is missing") })
        }
        None if lines.is_empty() => Err(in_file(super::EVENTS, text!("是空的", "it is empty"))),
        None => Ok(()),
    }
}

fn receipts(lines: &[ReceiptLine], said: &Said) -> Result<(), Faulty> {
    for line in lines.iter().filter(|line| line.state == "delivered") {
        let row = line.row;
        let agrees = said.receipts.get(&row).is_some_and(|known| {
            let said = SaidDigest::of(known.said.suite(), line.said.as_deref());
            (&known.endpoint, &known.event, known.seq, &known.outcome, known.status)
                == (&line.endpoint, &line.event, line.seq, &line.state, line.status)
                && known.said == said
        });
        if !agrees {
            let place = text!("上报回执 {row}", "the receipt of letter {row}");
            return Err(Faulty {
                place, why: text!("与证据链所记不符", "it is not what the chain says")
            });
        }
    }
    Ok(())
}

/// How many there are.
fn captures(bundle: &Bundle, said: &Said) -> Result<usize, Faulty> {
    let mut count = 0;
    for (name, body) in bundle.files.iter().filter(|(name, _)| name.starts_with(CAPTURES)) {
        let known = said.captures.get(&name[CAPTURES.len()..]);
        if known.is_none_or(|known| !known.digest.is_of(body)) {
            return Err(in_file(name, text!("与证据链所记不符", "it is not the one that the chain has")));
        }
        count += 1;
    }
    Ok(count)
}

fn configuration(bundle: &Bundle, said: &Said) -> Result<(), Faulty> {
    let Some(text) = bundle.files.get(CONFIGURATION) else { return Ok(()) };
    let known: Option<Configuration> = serde_json::from_slice(text).ok();
    let Some(known) = known.filter(|_| said.was_in_force(text)) else {
        return Err(in_file(
            CONFIGURATION,
            text!("与签名所记不符", "it is not the one that was in force when the chain was signed"),
        ));
    };
    let digests: BTreeSet<&String> = std::iter::once(&known.site).chain(known.profiles.values()).collect();
    for (name, body) in bundle.files.iter().filter(|(name, _)| name.starts_with(WRITINGS)) {
        if !digests.contains(&hex(&digest(known.alg, body))) {
            return Err(in_file(name, text!("不是当时生效的那一份", "it is not the one that was in force")));
        }
    }
    Ok(())
}
