//! Everything in `events.db` that counts as evidence, held against the chain; where it breaks first.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    append::{audit_digest, in_force, receipt_fact},
    fact::{Base, Fact, ReceiptFact, Record, Why},
    walk::{Content, Fault, Keys, Row, Step, Walk},
};
use crate::{
    domain::{Event, HeadStatement, Suite, Text},
    store::{
        Reader,
        columns::{Alg, Count},
        error::{File, StoreError},
        evidence::{self, Hash, hex, unhex},
    },
    text,
};

/// All of it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    pub epoch: String,
    pub events: u64,
    pub last_seq: u64,
    pub last_hash: Hash,
    /// Rows of the one chain.
    pub links: u64,
    pub last_link: u64,
    /// Of them: not signed yet.
    pub unsigned: u64,
    pub keys: Keys,
    /// What its rows are hashed with.
    pub algs: BTreeSet<Suite>,
    /// The latest signature.
    pub head: Option<HeadStatement>,
    /// Where the chain begins, and why there.
    pub begins: Option<Base>,
    pub receipts: u64,
    pub audit: u64,
}

/// Where it breaks first.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("verify {}: {}", place.text().en, why.en)]
pub struct Broken {
    pub place: Place,
    pub why: Text,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Event(u64),
    Link(u64),
    Audit(i64),
    Letter(i64),
    /// What the file says of the chain's ends.
    Ends,
}

impl Place {
    pub fn text(self) -> Text {
        match self {
            Place::Event(seq) => text!("事件 {seq}", "event {seq}"),
            Place::Link(n) => text!("证据链第 {n} 行", "row {n} of the chain"),
            Place::Audit(number) => text!("审计记录 {number}", "audit entry {number}"),
            Place::Letter(row) => text!("上报回执 {row}", "the receipt of letter {row}"),
            Place::Ends => text!("链首尾标记", "the marks of the chain's ends"),
        }
    }

    fn broken(self, why: Text) -> Broken {
        Broken { place: self, why }
    }
}

/// What ends a walk: the file cannot be read, or what it says does not hold.
enum Stop {
    Sql(rusqlite::Error),
    Broken(Broken),
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Self {
        Stop::Sql(error)
    }
}

impl From<Broken> for Stop {
    fn from(broken: Broken) -> Self {
        Stop::Broken(broken)
    }
}

impl From<Fault> for Stop {
    fn from(Fault { n, why }: Fault) -> Self {
        Stop::Broken(Place::Link(n).broken(why))
    }
}

/// What the file says of the ends.
struct Meta {
    epoch: String,
    base: (u64, Hash),
    last: (u64, Hash),
    link_base: (u64, Hash),
    link: (u64, Hash),
    told: u64,
    /// What the next row is to be hashed with.
    alg: Suite,
}

impl Reader {
    /// Walks all there is, from what retention left to what is known when it begins; only signatures of `trusted` count, if that is
    /// given (base64).
    ///
    /// # Errors
    /// The outer one if the file cannot be read; the inner one if what it says does not hold.
    pub fn verify(&self, trusted: Option<String>) -> Result<Result<Verified, Broken>, StoreError> {
        let sql = StoreError::sql(File::Events);
        // one state of the file, whatever is written meanwhile
        let tx = self.conn.unchecked_transaction().map_err(sql)?;
        let verdict = self.verify_within(trusted);
        drop(tx);
        verdict
    }

    /// The same, in the transaction that is open.
    pub(in crate::store) fn verify_within(
        &self,
        trusted: Option<String>,
    ) -> Result<Result<Verified, Broken>, StoreError> {
        let sql = StoreError::sql(File::Events);
        match verify(&self.conn, trusted) {
            Ok(verified) => Ok(Ok(verified)),
            Err(Stop::Broken(broken)) => Ok(Err(broken)),
            // a value of another type than it was written with
            Err(Stop::Sql(error)) if is_nonsense(&error) => {
                let why = text!("内容类型不对：{error}", "a value has another type: {error}");
                Ok(Err(Place::Ends.broken(why)))
            }
            Err(Stop::Sql(error)) => Err(sql(error)),
        }
    }

    /// Without asking whose the signatures are.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub fn verify_chain(&self) -> Result<Result<Verified, Broken>, StoreError> {
        self.verify(None)
    }
}

pub(super) fn is_nonsense(error: &rusqlite::Error) -> bool {
    matches!(
        error,
        rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
    )
}

fn verify(conn: &Connection, trusted: Option<String>) -> Result<Verified, Stop> {
    let meta = meta(conn)?;
    let events = events(conn, &meta)?;
    let mut checker = Checker { conn, meta: &meta, bases: bases(conn)?, base: None, receipts: 0, audit: 0 };
    let mut walk = Walk::from(meta.link_base.0, meta.link_base.1, None, trusted);
    let mut rows = conn.prepare("SELECT n, record, hash, kind, seq FROM link WHERE n > ?1 ORDER BY n")?;
    let mut rows = rows.query([Count(meta.link_base.0)])?;
    while let Some(found) = rows.next()? {
        let n = found.get::<_, Count>(0)?.0;
        let row = Row { n, content: Content::Record(found.get(1)?), hash: found.get(2)? };
        if let Step::Said(record) = walk.step(row)? {
            if record.fact.word() != found.get::<_, String>(3)? {
                return Err(Place::Link(n).broken(text!("类型标记被改动过", "its kind was changed")).into());
            }
            if let Fact::Event { seq, .. } = &record.fact
                && found.get::<_, Count>(4)?.0 != *seq
            {
                return Err(Place::Link(n)
                    .broken(text!("事件号被改动过", "its event's number was changed"))
                    .into());
            }
            checker.check(n, &record)?;
        }
    }
    walk.is_vouched_for()?;
    let end = walk.end();
    if end != meta.link {
        let (last, marked) = (end.0, meta.link.0);
        let why = text!(
            "链止于 {last}，而标记说是 {marked}",
            "the chain ends at {last}, and is said to end at {marked}"
        );
        return Err(Place::Link(last + 1).broken(why).into());
    }
    if walk.alg() != Some(meta.alg) {
        let why = text!(
            "所用算法的标记与证据链不符",
            "what the next row is hashed with is not what the chain says"
        );
        return Err(Place::Ends.broken(why).into());
    }
    if walk.event() != Some(meta.last) {
        let why = text!("末尾事件与证据链不符", "the last event is not the one that the chain has");
        return Err(Place::Event(meta.last.0).broken(why).into());
    }
    checker.end()?;
    let last = meta.last;
    Ok(Verified {
        epoch: meta.epoch.clone(),
        events,
        last_seq: last.0,
        last_hash: last.1,
        links: walk.rows,
        last_link: end.0,
        // the signature's own row is not under it
        unsigned: end.0.saturating_sub(walk.signed_until + u64::from(walk.signed_until > 0)),
        receipts: checker.receipts,
        audit: checker.audit,
        begins: checker.base,
        keys: walk.keys,
        algs: walk.algs,
        head: walk.head,
    })
}

fn meta(conn: &Connection) -> rusqlite::Result<Meta> {
    let alg = alg(conn)?;
    conn.query_row(
        "SELECT epoch, base_seq, base_hash, last_seq, last_hash, link_base_n, link_base_hash, link_n, link_hash, link_told FROM meta",
        [],
        |row| {
            let place = |at: usize| Ok::<_, rusqlite::Error>((row.get::<_, Count>(at)?.0, row.get::<_, Hash>(at + 1)?));
            Ok(Meta {
                epoch: row.get(0)?,
                base: place(1)?,
                last: place(3)?,
                link_base: place(5)?,
                link: place(7)?,
                told: row.get::<_, Count>(9)?.0,
                alg,
            })
        },
    )
}

/// A file that no daemon of this version has opened yet knows of no other than the first.
pub(super) fn alg(conn: &Connection) -> rusqlite::Result<Suite> {
    match conn.prepare("SELECT 1 FROM pragma_table_info('meta') WHERE name = 'alg'")?.exists([])? {
        true => in_force(conn),
        false => Ok(Suite::International),
    }
}

/// The events by their own chain; how many. Those before its beginning are held against their own hashes alone.
fn events(conn: &Connection, meta: &Meta) -> Result<u64, Stop> {
    let mut statement = conn.prepare(
        "SELECT seq, record, hash, prev_hash, id, kind, device, alarm, occurrence, at_ms FROM event ORDER BY seq",
    )?;
    let mut rows = statement.query([])?;
    let (mut at, mut count) = (meta.base, 0);
    while let Some(row) = rows.next()? {
        let seq = row.get::<_, Count>(0)?.0;
        let broken = |why| Stop::from(Place::Event(seq).broken(why));
        let (record, hash, prev): (Vec<u8>, Hash, Hash) = (row.get(1)?, row.get(2)?, row.get(3)?);
        if seq > meta.base.0 {
            if seq != at.0 + 1 {
                return Err(Place::Event(at.0 + 1).broken(text!("缺失", "it is missing")).into());
            }
            if prev != at.1 {
                return Err(broken(text!("与前一事件不衔接", "it does not follow the one before it")));
            }
            at = (seq, hash);
            count += 1;
        }
        let event = serde_json::from_slice::<Event>(&record);
        let alg = event.as_ref().map_or(Suite::International, |event| event.alg);
        if evidence::link(alg, &prev, &record) != hash {
            return Err(broken(text!("记录被改动过", "its record was changed")));
        }
        let event = event.map_err(|_| broken(text!("记录无法读懂", "its record cannot be read")))?;
        let kind = if event.is_loss_report() { "loss_report" } else { event.kind.word() };
        let same = event.seq == seq
            && event.id == row.get::<_, String>(4)?
            && kind == row.get::<_, String>(5)?
            && *event.device.id == *row.get::<_, String>(6)?
            && *event.alarm.name == *row.get::<_, String>(7)?
            && *event.alarm.occurrence == *row.get::<_, String>(8)?
            && event.at.as_millisecond() == row.get::<_, i64>(9)?;
        if !same {
            return Err(broken(text!("记录与索引列不符", "its record is of another event")));
        }
    }
    if at != meta.last {
        return Err(Place::Event(at.0 + 1).broken(text!("末尾缺失", "it is missing at the end")).into());
    }
    Ok(count)
}

/// The rows of kind base, and after which event some were taken back or are missing there.
fn bases(conn: &Connection) -> Result<Vec<(u64, Option<u64>)>, Stop> {
    let mut statement = conn.prepare("SELECT n, record FROM link WHERE kind = 'base' ORDER BY n")?;
    let mut rows = statement.query([])?;
    let mut bases = Vec::new();
    while let Some(row) = rows.next()? {
        let record: Vec<u8> = row.get(1)?;
        // one that cannot be read is found where it stands
        if let Ok(Record { fact: Fact::Base(base), .. }) = serde_json::from_slice(&record) {
            bases.push((row.get::<_, Count>(0)?.0, (base.why == Why::Gap).then_some(base.seq)));
        }
    }
    Ok(bases)
}

/// Rows of other tables, against what the chain says of them.
struct Checker<'a> {
    conn: &'a Connection,
    meta: &'a Meta,
    bases: Vec<(u64, Option<u64>)>,
    base: Option<Base>,
    receipts: u64,
    audit: u64,
}

impl Checker<'_> {
    fn check(&mut self, n: u64, record: &Record) -> Result<(), Stop> {
        match &record.fact {
            Fact::Base(base) => {
                self.base = Some(base.clone());
                Ok(())
            }
            Fact::Event { seq, hash, event_alg, .. } => self.event(n, *seq, (hash, *event_alg)),
            Fact::Audit { .. } => self.audit(n, &record.fact),
            Fact::Receipt(receipt) => self.receipt(n, receipt),
            Fact::Start { .. }
            | Fact::Clock { .. }
            | Fact::Head { .. }
            | Fact::Switch { .. }
            | Fact::Capture(_)
            | Fact::Dropped { .. } => Ok(()),
        }
    }

    fn event(&self, n: u64, seq: u64, (hash, alg): (&str, Suite)) -> Result<(), Stop> {
        if self.bases.iter().any(|(at, until)| *at > n && until.is_some_and(|until| until < seq)) {
            return Ok(()); // taken back
        }
        let found: Option<(Hash, Alg)> = self
            .conn
            .prepare_cached("SELECT hash, CAST(record AS TEXT) ->> '$.alg' FROM event WHERE seq = ?1")?
            .query_row([Count(seq)], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        match found {
            Some((found, named)) if Some(found) == unhex(hash) && named.0 == alg => Ok(()),
            None if seq <= self.meta.base.0 => Ok(()), // retired
            Some(_) => Err(Place::Event(seq)
                .broken(text!("与证据链第 {n} 行所记不符", "it is not what row {n} of the chain says"))
                .into()),
            None => Err(Place::Event(seq).broken(text!("缺失", "it is missing")).into()),
        }
    }

    fn audit(&mut self, n: u64, said: &Fact) -> Result<(), Stop> {
        let Fact::Audit { number, .. } = said else { return Ok(()) };
        let found = self
            .conn
            .prepare_cached(
                "SELECT at_ms, who, origin, action, object, outcome, link FROM audit WHERE number = ?1",
            )?
            .query_row([number], |row| {
                let fact = Fact::Audit {
                    number: *number,
                    at_ms: row.get(0)?,
                    who: row.get(1)?,
                    origin: row.get(2)?,
                    action: row.get(3)?,
                    object: row.get(4)?,
                    outcome: row.get(5)?,
                };
                Ok((fact, row.get::<_, Option<i64>>(6)?))
            })
            .optional()?;
        let place = Place::Audit(*number);
        match found {
            None => return Err(place.broken(text!("缺失", "it is missing")).into()),
            Some((found, link)) if found != *said || link != i64::try_from(n).ok() => {
                return Err(place
                    .broken(text!("与证据链第 {n} 行所记不符", "it is not what row {n} of the chain says"))
                    .into());
            }
            Some(_) => self.audit += 1,
        }
        Ok(())
    }

    fn receipt(&mut self, n: u64, said: &ReceiptFact) -> Result<(), Stop> {
        let found = self
            .conn
            .prepare_cached(
                "SELECT endpoint, event_id, seq, state, coalesce(delivered_at_ms, tried_at_ms, 0), receipt_status, receipt_said, link
                 FROM outbox WHERE row = ?1",
            )?
            .query_row([said.row], |row| Ok((receipt_fact(said.row, row, said.said.suite())?, row.get::<_, Option<i64>>(7)?)))
            .optional()?;
        let place = Place::Letter(said.row);
        let delivered = said.outcome == "delivered";
        match found {
            Some((found, link)) if link == i64::try_from(n).ok() => {
                if found != *said {
                    let why = text!("与证据链第 {n} 行所记不符", "it is not what row {n} of the chain says");
                    return Err(place.broken(why).into());
                }
                self.receipts += 1;
                Ok(())
            }
            // tried again, or given up, since
            _ if !delivered => Ok(()),
            None if said.seq <= self.meta.base.0 => Ok(()),
            Some(_) | None => {
                let why = text!("回执缺失或被改动过", "the receipt is missing or was changed");
                Err(place.broken(why).into())
            }
        }
    }

    /// What stands in the tables and not in the chain.
    fn end(&self) -> Result<(), Stop> {
        let Some(base) =
            &self.base.as_ref().filter(|_| self.bases.last().is_some_and(|last| last.0 == self.meta.told))
        else {
            return Err(Place::Ends
                .broken(text!("链首说明缺失", "where the chain begins is not said"))
                .into());
        };
        let agrees = base.epoch == self.meta.epoch
            && base.link == self.meta.link_base.0
            && base.link_hash == hex(&self.meta.link_base.1)
            && (base.why != Why::Retired
                || (base.seq, &base.hash) == (self.meta.base.0, &hex(&self.meta.base.1)));
        if !agrees {
            return Err(Place::Ends
                .broken(text!("与证据链所记的链首不符", "they are not what the chain says of its beginning"))
                .into());
        }
        if audit_digest(self.conn, &base.audit_digest, base.audit)? != base.audit_digest {
            let until = base.audit;
            let why = text!("至 {until} 为止的审计记录被改动过", "the audit up to entry {until} was changed");
            return Err(Place::Audit(until).broken(why).into());
        }
        self.unsaid("SELECT number FROM audit WHERE number > ?1 AND (link IS NULL OR link <= ?2 OR NOT EXISTS (SELECT 1 FROM link WHERE n = audit.link AND kind = 'audit')) LIMIT 1", base.audit, Place::Audit)?;
        self.unsaid("SELECT row FROM outbox WHERE state <> 'queued' AND link IS NULL AND row > ?1 AND ?2 >= 0 LIMIT 1", base.letter, Place::Letter)?;
        self.unsaid("SELECT row FROM outbox WHERE link > ?2 AND ?1 >= 0 AND (state = 'queued' OR NOT EXISTS (SELECT 1 FROM link WHERE n = outbox.link AND kind = 'receipt')) LIMIT 1", 0, Place::Letter)?;
        self.writings()?;
        let counted: i64 = self.conn.query_row(
            "SELECT count(*) FROM outbox WHERE link > ?1",
            [Count(self.meta.link_base.0)],
            |row| row.get(0),
        )?;
        if u64::try_from(counted) != Ok(self.receipts) {
            let why = text!("回执与证据链数目不符", "there are more or fewer receipts than the chain has");
            return Err(Place::Ends.broken(why).into());
        }
        Ok(())
    }

    fn writings(&self) -> Result<(), Stop> {
        let mut statement = self.conn.prepare("SELECT digest, name, body FROM writing")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (digest, name, body): (Vec<u8>, String, Vec<u8>) = (row.get(0)?, row.get(1)?, row.get(2)?);
            if !Suite::ALL.iter().any(|alg| evidence::digest(*alg, &body)[..] == digest[..]) {
                let why = text!("保存的 {name} 被改动过", "{name}, as it was in force, was changed");
                return Err(Place::Ends.broken(why).into());
            }
        }
        Ok(())
    }

    fn unsaid(&self, sql: &str, until: i64, place: impl Fn(i64) -> Place) -> Result<(), Stop> {
        let base = i64::try_from(self.meta.link_base.0).unwrap_or(i64::MAX);
        let found: Option<i64> =
            self.conn.query_row(sql, params![until, base], |row| row.get(0)).optional()?;
        match found {
            None => Ok(()),
            Some(found) => {
                Err(place(found).broken(text!("证据链里没有它", "the chain knows nothing of it")).into())
            }
        }
    }
}

/// When the latest signature was, if there is one that can be read.
pub fn signed_at(head: &HeadStatement) -> Option<Timestamp> {
    head.at.parse().ok()
}
