//! The chain followed row by row, wherever its rows come from: a store, or a bundle that shows some of them by their digest alone.

use std::collections::BTreeMap;

use super::{
    fact::{Base, Fact, Record, Why},
    key::{is_signed, key_id},
};
use crate::{
    domain::{HeadStatement, SignedHead, Text},
    store::evidence::{Hash, hex, link, sha256, unhex},
    text,
};

/// A row as it is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub n: u64,
    pub content: Content,
    pub hash: Hash,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    Record(Vec<u8>),
    /// What it says is nobody's business here; that it said something is.
    Digest(Hash),
}

/// The first thing that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub n: u64,
    pub why: Text,
}

/// Who signed, how often.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// Only this one counts (base64); else the chain's own word is taken for whose it is, and said.
    pub trusted: Option<String>,
    /// Key id → public key, signatures.
    pub seen: BTreeMap<String, (String, u64)>,
}

/// What a row that holds says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Said(Box<Record>),
    Silent,
}

/// How far the chain holds.
#[derive(Debug)]
pub struct Walk {
    n: u64,
    hash: Hash,
    /// The latest event that a row vouched for; `None` where that cannot be known.
    event: Option<(u64, Hash)>,
    pub keys: Keys,
    pub rows: u64,
    pub head: Option<HeadStatement>,
    /// The latest row that is signed: everything up to it.
    pub signed_until: u64,
}

impl Walk {
    /// From behind row `n`.
    pub fn from(n: u64, hash: Hash, trusted: Option<String>) -> Self {
        let keys = Keys { trusted, seen: BTreeMap::new() };
        Self { n, hash, event: None, keys, rows: 0, head: None, signed_until: 0 }
    }

    /// Where it stands.
    pub fn end(&self) -> (u64, Hash) {
        (self.n, self.hash)
    }

    pub fn event(&self) -> Option<(u64, Hash)> {
        self.event
    }

    /// # Errors
    /// What does not hold: nothing after it is worth anything.
    pub fn step(&mut self, row: Row) -> Result<Step, Fault> {
        let fault = |why: Text| Fault { n: row.n, why };
        if row.n != self.n + 1 {
            let missing = self.n + 1;
            let why = text!("它前面的第 {missing} 行缺失", "row {missing}, before it, is missing");
            return Err(fault(why));
        }
        let digest = match &row.content {
            Content::Record(record) => sha256(record),
            Content::Digest(digest) => *digest,
        };
        if link(&self.hash, &digest) != row.hash {
            let why = text!(
                "内容被改动过，或与前一行不衔接",
                "it was changed, or does not follow the row before it"
            );
            return Err(fault(why));
        }
        let step = match &row.content {
            Content::Digest(_) => Step::Silent,
            Content::Record(record) => {
                let record: Record = serde_json::from_slice(record)
                    .map_err(|_| fault(text!("内容无法读懂", "what it says cannot be read")))?;
                self.follow(&record.fact).map_err(fault)?;
                Step::Said(Box::new(record))
            }
        };
        (self.n, self.hash) = (row.n, row.hash);
        self.rows += 1;
        Ok(step)
    }

    fn follow(&mut self, fact: &Fact) -> Result<(), Text> {
        match fact {
            Fact::Event { seq, hash, .. } => self.event_row(*seq, hash),
            // it tells of the beginning; the end is where it was
            Fact::Base(Base { why: Why::Retired, .. }) => Ok(()),
            Fact::Base(Base { seq, hash, .. }) => {
                let hash = unhex(hash).ok_or_else(|| text!("哈希值无效", "its hash is none"))?;
                self.event = Some((*seq, hash));
                Ok(())
            }
            Fact::Head { signed, signature, public_key, .. } => self.head_row(signed, signature, public_key),
            Fact::Audit { .. }
            | Fact::Receipt(_)
            | Fact::Start { .. }
            | Fact::Clock { .. }
            | Fact::Capture(_)
            | Fact::Dropped { .. } => Ok(()),
        }
    }

    fn event_row(&mut self, seq: u64, hash: &str) -> Result<(), Text> {
        let hash = unhex(hash).ok_or_else(|| text!("哈希值无效", "its hash is none"))?;
        if let Some((before, _)) = self.event
            && seq != before + 1
        {
            return Err(text!(
                "它记的是事件 {seq}，而前一个事件是 {before}",
                "it is of event {seq}, and the one before it was {before}"
            ));
        }
        self.event = Some((seq, hash));
        Ok(())
    }

    fn head_row(&mut self, signed: &str, signature: &str, public_key: &str) -> Result<(), Text> {
        let id = key_id(public_key).ok_or_else(|| text!("公钥无效", "its public key is none"))?;
        if let Some(trusted) = &self.keys.trusted
            && trusted.trim() != public_key
        {
            return Err(text!("签名用的是另一把密钥 {id}", "it is signed with another key, {id}"));
        }
        if !is_signed(signed, signature, public_key) {
            return Err(text!("签名无效", "the signature is not valid"));
        }
        let head = SignedHead { signed: signed.to_owned(), signature: signature.to_owned(), key: id.clone() };
        let statement =
            head.statement().ok_or_else(|| text!("签名内容无法读懂", "what is signed cannot be read"))?;
        if statement.link != self.n || statement.link_hash != hex(&self.hash) {
            return Err(text!("签名签的不是它前面这条链", "what is signed is not the chain before it"));
        }
        if let Some((seq, hash)) = self.event
            && (statement.seq != seq || statement.hash != hex(&hash))
        {
            return Err(text!("签名签的不是它前面的事件", "what is signed is not the event before it"));
        }
        self.keys.seen.entry(id).or_insert_with(|| (public_key.to_owned(), 0)).1 += 1;
        self.signed_until = statement.link;
        self.head = Some(statement);
        Ok(())
    }
}
