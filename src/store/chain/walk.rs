//! The chain followed row by row, wherever its rows come from: a store, or a bundle that shows some of them by their digest alone.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    fact::{Base, Fact, Record, Why},
    key::{is_signed, key_id, suite_of_key},
};
use crate::{
    domain::{HeadStatement, NextKey, SignedHead, Suite, Text},
    store::evidence::{Hash, digest, hex, link, unhex},
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
    /// Only this one counts (base64), and whom it hands over to; else the chain's own word is taken for whose it is, and said.
    pub trusted: Option<String>,
    /// Key id → public key, signatures.
    pub seen: BTreeMap<String, (String, u64)>,
    /// Who has to sign next.
    in_force: Option<String>,
    /// The one in force is the trusted one, or was handed over to from it.
    is_trusted: bool,
    /// The first signature before the trusted key's own: a later one of that covers it too.
    stranger: Option<(u64, String)>,
}

impl Keys {
    /// Row `n` is signed with `public`. Only a switch hands over to another; who trusts nobody in particular is told of each.
    fn signed(&mut self, n: u64, public: &str, hands_over: bool) -> Result<(), Text> {
        let id = key_id(public).ok_or_else(|| text!("公钥无效", "its public key is none"))?;
        let strict = self.trusted.is_some() || hands_over;
        if strict && self.in_force.as_deref().is_some_and(|in_force| in_force != public) {
            return Err(another(&id));
        }
        if let Some(trusted) = &self.trusted {
            self.is_trusted |= trusted.trim() == public;
            if !self.is_trusted && self.stranger.is_none() {
                self.stranger = Some((n, id.clone()));
            }
        }
        self.in_force = Some(public.to_owned());
        self.seen.entry(id).or_insert_with(|| (public.to_owned(), 0)).1 += 1;
        Ok(())
    }

    /// What is signed counts.
    fn counts(&self) -> bool {
        self.trusted.is_none() || self.is_trusted
    }
}

fn another(id: &str) -> Text {
    text!("签名用的是另一把密钥 {id}", "it is signed with another key, {id}")
}

/// Who is to be trusted behind `switch`, if `trusted` is before it; `None`: it does not hand over from that.
pub fn handed_over(trusted: &str, switch: &Fact) -> Option<String> {
    let Fact::Switch { next, signed, signature, public_key } = switch else { return None };
    let statement = SignedHead::read(signed)?;
    let holds = trusted.trim() == public_key
        && statement.next.as_ref() == Some(next)
        && suite_of_key(&next.public_key) == Some(next.alg)
        && is_signed(statement.alg, signed, signature, public_key);
    holds.then(|| next.public_key.clone())
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
    /// What the next row is hashed with; `None`: the first row says.
    alg: Option<Suite>,
    /// The latest event that a row vouched for; `None` where that cannot be known.
    event: Option<(u64, Hash)>,
    pub keys: Keys,
    pub rows: u64,
    pub head: Option<HeadStatement>,
    /// The latest row that is signed: everything up to it.
    pub signed_until: u64,
    /// All that rows were hashed with.
    pub algs: BTreeSet<Suite>,
}

/// A signature as a row has it.
struct Signature<'a> {
    signed: &'a str,
    signature: &'a str,
    public_key: &'a str,
}

impl Walk {
    /// From behind row `n`.
    pub fn from(n: u64, hash: Hash, alg: Option<Suite>, trusted: Option<String>) -> Self {
        let keys = Keys { trusted, ..Keys::default() };
        let algs = BTreeSet::new();
        Self { n, hash, alg, event: None, keys, rows: 0, head: None, signed_until: 0, algs }
    }

    /// Where it stands.
    pub fn end(&self) -> (u64, Hash) {
        (self.n, self.hash)
    }

    pub fn event(&self) -> Option<(u64, Hash)> {
        self.event
    }

    /// What a row behind the last one would be hashed with.
    pub fn alg(&self) -> Option<Suite> {
        self.alg
    }

    /// After the last row.
    ///
    /// # Errors
    /// The first signature, if there are some and none is of the key that is trusted.
    pub fn is_vouched_for(&self) -> Result<(), Fault> {
        match &self.keys.stranger {
            Some((n, id)) if !self.keys.is_trusted => Err(Fault { n: *n, why: another(id) }),
            Some(_) | None => Ok(()),
        }
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
        let record = match &row.content {
            Content::Digest(_) => None,
            Content::Record(record) => Some(serde_json::from_slice::<Record>(record)),
        };
        let named = record.as_ref().and_then(|record| Some(record.as_ref().ok()?.alg));
        let Some(alg) = self.holds(&row, named) else {
            let why = text!(
                "内容被改动过，或与前一行不衔接",
                "it was changed, or does not follow the row before it"
            );
            return Err(fault(why));
        };
        let step = match record.transpose() {
            Err(_unreadable) => return Err(fault(text!("内容无法读懂", "what it says cannot be read"))),
            Ok(None) => Step::Silent,
            Ok(Some(record)) => {
                self.follow(row.n, alg, &record.fact).map_err(fault)?;
                self.alg = Some(record.alg_after());
                Step::Said(Box::new(record))
            }
        };
        self.algs.insert(alg);
        (self.n, self.hash) = (row.n, row.hash);
        self.rows += 1;
        Ok(step)
    }

    /// By which algorithm. Not by the one that the row has `named`: by the one in force, which changes only where the key in force signs
    /// that. Whoever hashes rows anew, by whatever algorithm, needs that key; and a name that is added or struck out is a changed row.
    fn holds(&self, row: &Row, named: Option<Suite>) -> Option<Suite> {
        let alg = self.alg.or(named).unwrap_or_default();
        let digest = match &row.content {
            Content::Record(record) => digest(alg, record),
            Content::Digest(digest) => *digest,
        };
        let is_named = named.is_none_or(|named| named == alg);
        (is_named && link(alg, &self.hash, &digest) == row.hash).then_some(alg)
    }

    fn follow(&mut self, n: u64, alg: Suite, fact: &Fact) -> Result<(), Text> {
        match fact {
            Fact::Event { seq, hash, .. } => self.event_row(*seq, hash),
            // it tells of the beginning; the end is where it was
            Fact::Base(Base { why: Why::Retired, .. }) => Ok(()),
            Fact::Base(Base { seq, hash, .. }) => {
                let hash = unhex(hash).ok_or_else(|| text!("哈希值无效", "its hash is none"))?;
                self.event = Some((*seq, hash));
                Ok(())
            }
            Fact::Head { signed, signature, public_key, .. } => {
                self.signed_row(n, alg, &Signature { signed, signature, public_key }, None)
            }
            Fact::Switch { next, signed, signature, public_key } => {
                if suite_of_key(&next.public_key) != Some(next.alg) {
                    return Err(text!("公钥无效", "its public key is none"));
                }
                self.signed_row(n, alg, &Signature { signed, signature, public_key }, Some(next))?;
                self.keys.in_force = Some(next.public_key.clone());
                Ok(())
            }
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

    /// `next`: whom the row says it hands over to.
    fn signed_row(
        &mut self,
        n: u64,
        alg: Suite,
        Signature { signed, signature, public_key }: &Signature<'_>,
        next: Option<&NextKey>,
    ) -> Result<(), Text> {
        self.keys.signed(n, public_key, next.is_some())?;
        if !is_signed(alg, signed, signature, public_key) {
            return Err(text!("签名无效", "the signature is not valid"));
        }
        let statement = SignedHead::read(signed)
            .ok_or_else(|| text!("签名内容无法读懂", "what is signed cannot be read"))?;
        let chain = (statement.link, &statement.link_hash, statement.alg, statement.next.as_ref());
        if chain != (self.n, &hex(&self.hash), alg, next) {
            return Err(text!("签名签的不是它前面这条链", "what is signed is not the chain before it"));
        }
        if let Some((seq, hash)) = self.event
            && (statement.seq != seq || statement.hash != hex(&hash))
        {
            return Err(text!("签名签的不是它前面的事件", "what is signed is not the event before it"));
        }
        if self.keys.counts() {
            self.signed_until = statement.link;
            self.head = Some(statement);
        }
        Ok(())
    }
}
