//! Rows are added at the chain's end, in the transaction that makes true what they say.

use rusqlite::{Connection, OptionalExtension, params};

use super::{
    fact::{AuditDigest, Base, Fact, ReceiptFact, Record, SaidDigest, Why},
    notary::Pen,
};
use crate::{
    domain::{NextKey, SignedHead, Suite},
    store::{
        columns::{Alg, Count},
        commit,
        evidence::{Hash, digest, hex, link},
    },
};

/// Adds a row; its number.
pub(crate) fn append(conn: &Connection, pen: &Pen, fact: Fact) -> rusqlite::Result<i64> {
    let when = match fact {
        // its own record has it
        Fact::Event { .. } => None,
        _ => pen.when.clone(),
    };
    let kind = fact.word();
    let seq = match fact {
        Fact::Event { seq, .. } => seq,
        _ => commit::head(conn)?.seq,
    };
    let (last, prev, Alg(alg)): (i64, Hash, Alg) = conn
        .prepare_cached("SELECT link_n, link_hash, alg FROM meta")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let record = serde_json::to_vec(&Record { fact, when, alg })
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    let hash = link(alg, &prev, &digest(alg, &record));
    let n = last + 1;
    conn.prepare_cached("INSERT INTO link (n, seq, kind, record, hash) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![n, Count(seq), kind, record, hash])?;
    conn.prepare_cached("UPDATE meta SET link_n = ?1, link_hash = ?2")?.execute(params![n, hash])?;
    Ok(n)
}

/// A letter came to its end: its row says so, and where in the chain it stands.
pub(crate) fn receipt(conn: &Connection, pen: &Pen, row: i64) -> rusqlite::Result<()> {
    let fact = conn
        .prepare_cached(
            "SELECT endpoint, event_id, seq, state, coalesce(delivered_at_ms, tried_at_ms, 0), receipt_status, receipt_said
             FROM outbox WHERE row = ?1",
        )?
        .query_row([row], |found| receipt_fact(row, found, in_force(conn)?))?;
    let n = append(conn, pen, Fact::Receipt(fact))?;
    conn.prepare_cached("UPDATE outbox SET link = ?2 WHERE row = ?1")?.execute([row, n]).map(drop)
}

/// Of the columns that the statement above names, in its order.
pub(super) fn receipt_fact(row: i64, found: &rusqlite::Row, suite: Suite) -> rusqlite::Result<ReceiptFact> {
    let said: Option<String> = found.get(6)?;
    Ok(ReceiptFact {
        row,
        endpoint: found.get(0)?,
        event: found.get(1)?,
        seq: found.get::<_, Count>(2)?.0,
        outcome: found.get(3)?,
        at_ms: found.get(4)?,
        status: found.get(5)?,
        said: SaidDigest::of(suite, said.as_deref()),
    })
}

/// What the next row is hashed with, and signed with.
pub(super) fn in_force(conn: &Connection) -> rusqlite::Result<Suite> {
    conn.prepare_cached("SELECT alg FROM meta")?.query_row([], |row| row.get(0).map(|Alg(alg)| alg))
}

/// The first row of a file: a new one's, or one's that an older version wrote.
pub(crate) fn begin(conn: &Connection, suite: Suite) -> rusqlite::Result<()> {
    let begun: i64 = conn.query_row("SELECT link_n FROM meta", [], |row| row.get(0))?;
    if begun > 0 {
        return Ok(());
    }
    let tx = conn.unchecked_transaction()?;
    let old: i64 =
        tx.query_row("SELECT (SELECT count(*) FROM event) + (SELECT count(*) FROM audit)", [], |row| {
            row.get(0)
        })?;
    tx.execute("UPDATE meta SET alg = ?1", [Alg(suite)])?;
    append_base(&tx, if old > 0 { Why::Upgraded } else { Why::Begun }, &Pen::default())?;
    tx.commit()
}

/// Tells what lies before, as the file has it now.
pub(crate) fn append_base(conn: &Connection, why: Why, pen: &Pen) -> rusqlite::Result<()> {
    let told = told_base(conn)?;
    let (audit, letter) = match why {
        Why::Begun | Why::Upgraded | Why::Salvaged => {
            (last(conn, "audit", "number")?, last(conn, "outbox", "row")?)
        }
        Why::Retired => (unlinked_audit(conn, told.as_ref())?, told.as_ref().map_or(0, |base| base.letter)),
        Why::Gap => told.as_ref().map_or((0, 0), |base| (base.audit, base.letter)),
    };
    let suite = in_force(conn)?;
    // What was told once is gone on from, not read again: it would vouch for what somebody changed since.
    let known = told.filter(|base| base.audit <= audit && why != Why::Salvaged);
    let known = known.and_then(|base| Some((base.audit, base.audit_digest.fold(suite)?)));
    let audit_digest =
        AuditDigest::folded(suite, &fold_audit(conn, suite, known.unwrap_or_default(), audit)?);
    let (epoch, link, link_hash, head) = conn.query_row(
        "SELECT epoch, link_base_n, link_base_hash, base_seq, base_hash, last_seq, last_hash FROM meta",
        [],
        |row| {
            let [base, last]: [(u64, Hash); 2] =
                [(row.get::<_, Count>(3)?.0, row.get(4)?), (row.get::<_, Count>(5)?.0, row.get(6)?)];
            let head = match why {
                // what is in the file is vouched for by its own hashes alone
                Why::Begun | Why::Upgraded | Why::Salvaged | Why::Gap => last,
                Why::Retired => base,
            };
            Ok((row.get::<_, String>(0)?, row.get::<_, Count>(1)?.0, row.get::<_, Hash>(2)?, head))
        },
    )?;
    let base = Base {
        why,
        epoch,
        link,
        link_hash: hex(&link_hash),
        seq: head.0,
        hash: hex(&head.1),
        audit,
        audit_digest,
        letter,
    };
    let n = append(conn, pen, Fact::Base(base))?;
    conn.execute("UPDATE meta SET link_told = ?1", [n]).map(drop)
}

/// The latest row of kind base.
fn told_base(conn: &Connection) -> rusqlite::Result<Option<Base>> {
    let record: Option<Vec<u8>> = conn
        .query_row("SELECT record FROM link WHERE n = (SELECT link_told FROM meta)", [], |row| row.get(0))
        .optional()?;
    let record = record.and_then(|record| serde_json::from_slice::<Record>(&record).ok());
    Ok(record.and_then(|record| {
        let Fact::Base(base) = record.fact else { return None };
        Some(base)
    }))
}

fn last(conn: &Connection, table: &str, column: &str) -> rusqlite::Result<i64> {
    conn.query_row(&format!("SELECT coalesce(max({column}), 0) FROM {table}"), [], |row| row.get(0))
}

/// The audit that has no rows in the chain any more: from what was `told` of it on, up to the first that still has one.
fn unlinked_audit(conn: &Connection, told: Option<&Base>) -> rusqlite::Result<i64> {
    let linked: Option<i64> = conn
        .prepare_cached(
            "SELECT number FROM audit WHERE number > ?1 AND link > (SELECT link_base_n FROM meta) ORDER BY number LIMIT 1",
        )?
        .query_row([told.map_or(0, |base| base.audit)], |row| row.get(0))
        .optional()?;
    match linked {
        Some(linked) => Ok(linked - 1),
        None => last(conn, "audit", "number"),
    }
}

/// What `said` should be, as the audit stands.
pub(super) fn audit_digest(
    conn: &Connection,
    said: &AuditDigest,
    until: i64,
) -> rusqlite::Result<AuditDigest> {
    let folded =
        |suite| Ok(AuditDigest::folded(suite, &fold_audit(conn, suite, (0, Hash::default()), until)?));
    match said {
        AuditDigest::FoldedSha256(_) => folded(Suite::International),
        AuditDigest::FoldedSm3(_) => folded(Suite::Guomi),
        AuditDigest::Sha256(_) => {
            let mut whole = Vec::new();
            each_audit(conn, (0, until), |entry| {
                whole.extend_from_slice(entry);
                whole.push(b'\n');
            })?;
            Ok(AuditDigest::Sha256(hex(&digest(Suite::International, &whole))))
        }
    }
}

/// `from`: the entry up to which it is known, and what it came to.
fn fold_audit(conn: &Connection, suite: Suite, from: (i64, Hash), until: i64) -> rusqlite::Result<Hash> {
    let (after, mut sum) = from;
    each_audit(conn, (after, until), |entry| sum = link(suite, &sum, entry))?;
    Ok(sum)
}

/// Behind one entry and up to another, each as a JSON array.
fn each_audit(
    conn: &Connection,
    (after, until): (i64, i64),
    mut of: impl FnMut(&[u8]),
) -> rusqlite::Result<()> {
    let mut rows = conn.prepare_cached(
        "SELECT json_array(number, at_ms, who, origin, action, object, outcome) FROM audit
         WHERE number > ?1 AND number <= ?2 ORDER BY number",
    )?;
    let mut rows = rows.query([after, until])?;
    while let Some(row) = rows.next()? {
        of(row.get_ref(0)?.as_bytes()?);
    }
    Ok(())
}

/// The chain begins behind what was written before event `until`, whose hash stands in the file's meta.
pub(crate) fn retire(conn: &Connection, pen: &Pen, until: u64) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "UPDATE meta SET (link_base_n, link_base_hash) = (SELECT n, hash FROM link WHERE seq <= ?1 AND n < link_n ORDER BY n DESC LIMIT 1)
         WHERE EXISTS (SELECT 1 FROM link WHERE seq <= ?1 AND n > link_base_n AND n < link_n)",
    )?
    .execute([Count(until)])?;
    append_base(conn, Why::Retired, pen)?;
    conn.prepare_cached("DELETE FROM link WHERE n <= (SELECT link_base_n FROM meta)")?.execute([]).map(drop)
}

/// Nothing of it, for a file into which the rows of another are brought.
pub(crate) fn clear(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute("DELETE FROM link", [])?;
    conn.execute("UPDATE meta SET link_n = 0, link_told = 0", []).map(drop)
}

/// The chain goes on behind what was brought.
pub(crate) fn adopt(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute(
        "UPDATE meta SET (link_base_n, link_base_hash, link_n, link_hash) =
           (SELECT n, hash, n, hash FROM link ORDER BY n DESC LIMIT 1)
         WHERE EXISTS (SELECT 1 FROM link)",
        [],
    )?;
    let last: Option<Vec<u8>> =
        conn.query_row("SELECT record FROM link ORDER BY n DESC LIMIT 1", [], |row| row.get(0)).optional()?;
    match last.and_then(|record| serde_json::from_slice::<Record>(&record).ok()) {
        Some(last) => conn.execute("UPDATE meta SET alg = ?1", [Alg(last.alg_after())]).map(drop),
        None => Ok(()),
    }
}

/// Signs the end of the chain. `None` where there is no key.
pub(super) fn sign(conn: &Connection, pen: &Pen) -> rusqlite::Result<Option<SignedHead>> {
    let alg = in_force(conn)?;
    let Some(Signed { head, public_key }) = signed_end(conn, pen, alg, None)? else { return Ok(None) };
    let SignedHead { signed, signature, .. } = head.clone();
    let configuration = hex(&digest(alg, pen.configuration.as_bytes()));
    append(conn, pen, Fact::Head { signed, signature, public_key, configuration })?;
    Ok(Some(head))
}

/// From the next row on by `wanted`, unless that is so already. The key in force hands over, in its last signature: without it, or
/// without the other one, everything stays as it was.
pub(super) fn switch(conn: &Connection, pen: &Pen, wanted: Suite) -> rusqlite::Result<()> {
    let alg = in_force(conn)?;
    let Some(key) = pen.keys.of(wanted).filter(|_| wanted != alg) else { return Ok(()) };
    // whoever knew the key of before holds one end more by it
    sign(conn, pen)?;
    let next = NextKey { alg: wanted, public_key: key.public() };
    let Some(Signed { head, public_key }) = signed_end(conn, pen, alg, Some(next.clone()))? else {
        return Ok(());
    };
    let SignedHead { signed, signature, .. } = head;
    append(conn, pen, Fact::Switch { next, signed, signature, public_key })?;
    conn.execute("UPDATE meta SET alg = ?1", [Alg(wanted)]).map(drop)
}

struct Signed {
    head: SignedHead,
    public_key: String,
}

fn signed_end(
    conn: &Connection,
    pen: &Pen,
    alg: Suite,
    next: Option<NextKey>,
) -> rusqlite::Result<Option<Signed>> {
    let (Some(key), Some(when)) = (pen.keys.of(alg), &pen.when) else { return Ok(None) };
    let statement =
        conn.query_row("SELECT epoch, last_seq, last_hash, link_n, link_hash FROM meta", [], |row| {
            Ok(crate::domain::HeadStatement {
                gatehouse_head: crate::domain::HEAD_VERSION,
                epoch: row.get(0)?,
                seq: row.get::<_, Count>(1)?.0,
                hash: hex(&row.get::<_, Hash>(2)?),
                link: row.get::<_, Count>(3)?.0,
                link_hash: hex(&row.get::<_, Hash>(4)?),
                at: when.at.clone(),
                boot_id: pen.boot_id.clone(),
                mono_ms: when.mono_ms,
                time_quality: when.clock,
                alg,
                next,
            })
        })?;
    let signed = serde_json::to_string(&statement)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    Ok(key.sign(&signed).map(|signature| Signed {
        head: SignedHead { signature, key: key.id(), signed },
        public_key: key.public(),
    }))
}
