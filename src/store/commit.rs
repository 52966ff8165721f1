//! One commit: what must be true together, in one transaction.

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::{
    AuditEntry, Commit, Recovered,
    chain::{self, Fact, Pen, Why},
    columns::{Count, Json, Millis, Rank, state_word},
    credits,
    error::{File, StoreError},
    evidence::{Hash, Sealed, hex},
    losses, operations, outbox, sum,
};
use crate::domain::{AlarmMemory, EventId, Letter, SignedHead, Suite};

/// The end of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub seq: u64,
    pub hash: Hash,
}

/// A new file gets its epoch, and its chain begins by `suite`; an old one says where it stands.
pub(super) fn recover(conn: &Connection, suite: Suite) -> rusqlite::Result<Recovered> {
    conn.execute(
        "INSERT OR IGNORE INTO meta (only, epoch, created_ms, base_seq, base_hash, last_seq, last_hash)
         VALUES (1, ?1, CAST(unixepoch('subsec') * 1000 AS INTEGER), 0, ?2, 0, ?2)",
        params![EventId::random().to_string(), Hash::default()],
    )?;
    chain::begin(conn, suite)?;
    stands(conn)
}

/// Where an old file stands.
pub(super) fn stands(conn: &Connection) -> rusqlite::Result<Recovered> {
    let epoch = conn.query_row("SELECT epoch FROM meta", [], |row| row.get(0))?;
    let head = head(conn)?;
    let mut memories = conn.prepare("SELECT memory FROM alarm ORDER BY device, alarm")?;
    let alarms = memories
        .query_map([], |row| row.get(0).map(|Json(memory)| memory))?
        .collect::<rusqlite::Result<Vec<AlarmMemory>>>()?;
    let told = outbox::told(conn)?;
    let (operations, fired) = (operations::open(conn)?, operations::fired(conn)?);
    let (last_seq, last_hash, superseded) = (head.seq, head.hash, Vec::new());
    // a file of before the chain knows of none
    let newest = chain::newest(conn).unwrap_or_default();
    Ok(Recovered { epoch, last_seq, last_hash, alarms, told, operations, fired, superseded, newest })
}

/// # Errors
/// `OutOfOrder` if an event is not the chain's next; `Full`; nothing of it is stored then.
pub(super) fn commit(
    conn: &mut Connection,
    commit: &Commit,
    pen: &Pen,
) -> Result<Option<SignedHead>, StoreError> {
    let sql = StoreError::sql(File::Events);
    crash_point!("commit.begin");
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sql)?;
    if let Some(head) = follow(head(&tx).map_err(sql)?, &commit.events)? {
        move_head(&tx, &head).map_err(sql)?;
    }
    write(&tx, commit, pen).map_err(sql)?;
    let signed = pen.sign_if_urgent(&tx, commit).map_err(sql)?;
    crash_point!("commit.written");
    tx.commit().map_err(sql)?;
    crash_point!("commit.done");
    Ok(signed)
}

pub(super) fn head(conn: &Connection) -> rusqlite::Result<Head> {
    conn.prepare_cached("SELECT last_seq, last_hash FROM meta")?
        .query_row([], |row| Ok(Head { seq: row.get::<_, Count>(0)?.0, hash: row.get(1)? }))
}

/// The head after `events`, which must be the chain's next; `None` if there are none.
fn follow(mut head: Head, events: &[Sealed]) -> Result<Option<Head>, StoreError> {
    for event in events {
        if event.event.seq != head.seq + 1 || event.prev_hash != head.hash {
            return Err(StoreError::OutOfOrder { last: head.seq, found: event.event.seq });
        }
        head = Head { seq: event.event.seq, hash: event.hash };
    }
    Ok((!events.is_empty()).then_some(head))
}

pub(super) fn move_head(tx: &Transaction, head: &Head) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE meta SET last_seq = ?1, last_hash = ?2")?
        .execute(params![Count(head.seq), head.hash])
        .map(drop)
}

fn write(tx: &Transaction, commit: &Commit, pen: &Pen) -> rusqlite::Result<()> {
    commit.letters.iter().try_for_each(|letter| add_letter(tx, letter).map(drop))?;
    write_all_but_letters(tx, commit, pen)
}

pub(super) fn write_all_but_letters(tx: &Transaction, commit: &Commit, pen: &Pen) -> rusqlite::Result<()> {
    commit.events.iter().try_for_each(|event| add_event(tx, event, pen))?;
    losses::told(tx, &commit.told_losses)?;
    commit.alarms.iter().try_for_each(|memory| remember(tx, memory))?;
    commit.credits.iter().try_for_each(|credit| credits::add(tx, credit))?;
    commit.accounts.iter().try_for_each(|(device, account)| credits::enter(tx, device, account))?;
    commit.audit.iter().try_for_each(|entry| add_audit(tx, entry, pen))?;
    commit.operations.iter().try_for_each(|step| operations::step(tx, step))
}

fn add_event(tx: &Transaction, sealed: &Sealed, pen: &Pen) -> rusqlite::Result<()> {
    let event = &sealed.event;
    tx.prepare_cached(
        "INSERT INTO event (seq, id, kind, device, alarm, occurrence, at_ms, record, hash, prev_hash)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?
    .execute(params![
        Count(event.seq),
        event.id,
        if event.is_loss_report() { "loss_report" } else { event.kind.word() },
        event.device.id.as_str(),
        event.alarm.name.as_str(),
        event.alarm.occurrence.as_str(),
        Millis(event.at),
        sealed.record,
        sealed.hash,
        sealed.prev_hash,
    ])?;
    let (seq, hash, occurrence) = (event.seq, hex(&sealed.hash), event.alarm.occurrence.to_string());
    chain::append(tx, pen, Fact::Event { seq, hash, occurrence, event_alg: event.alg }).map(drop)
}

/// Its row.
pub(super) fn add_letter(tx: &Transaction, letter: &Letter) -> rusqlite::Result<i64> {
    let row = tx
        .prepare_cached(
            "INSERT INTO outbox (endpoint, event_id, seq, device, alarm, priority, attempts, content_type)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .insert(params![
            letter.endpoint.as_str(),
            letter.event_id,
            Count(letter.seq),
            letter.key.device.as_str(),
            letter.key.alarm.as_str(),
            Rank(letter.priority),
            letter.attempts,
            letter.content_type,
        ])?;
    tx.prepare_cached("INSERT INTO body (row, body, sum) VALUES (?1, ?2, ?3)")?.execute(params![
        row,
        &letter.body[..],
        sum::of(&letter.body)
    ])?;
    Ok(row)
}

pub(super) fn has(conn: &Connection, event_id: &str) -> rusqlite::Result<bool> {
    conn.prepare_cached("SELECT 1 FROM event WHERE id = ?1")?.exists([event_id])
}

pub(super) fn id_at(conn: &Connection, seq: u64) -> rusqlite::Result<Option<String>> {
    conn.query_row("SELECT id FROM event WHERE seq = ?1", [Count(seq)], |row| row.get(0)).optional()
}

/// Takes back what nobody was told is stored: it is decided again.
pub(super) fn undo_after(conn: &Connection, head: Head, pen: &Pen) -> rusqlite::Result<()> {
    let after = [Count(head.seq)];
    conn.execute("DELETE FROM body WHERE row IN (SELECT row FROM outbox WHERE seq > ?1)", after)?;
    conn.execute("DELETE FROM outbox WHERE seq > ?1", [Count(head.seq)])?;
    conn.execute("DELETE FROM event WHERE seq > ?1", [Count(head.seq)])?;
    credits::undo_after(conn, head.seq)?;
    conn.execute("UPDATE meta SET last_seq = ?1, last_hash = ?2", params![Count(head.seq), head.hash])?;
    chain::append_base(conn, Why::Gap, pen)
}

/// The chain goes on from elsewhere: what lies before is not in this file, and `why` that is so.
pub(super) fn rebase(
    conn: &Connection,
    epoch: &str,
    head: Head,
    why: Why,
    pen: &Pen,
) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "UPDATE meta SET epoch = ?1, base_seq = ?2, base_hash = ?3, last_seq = ?2, last_hash = ?3",
    )?
    .execute(params![epoch, Count(head.seq), head.hash])?;
    chain::append_base(conn, why, pen)
}

/// An alarm of which there is nothing to remember has no row.
fn remember(tx: &Transaction, memory: &AlarmMemory) -> rusqlite::Result<()> {
    let key = (memory.key.device.as_str(), memory.key.alarm.as_str());
    if memory.is_nothing() {
        return tx
            .prepare_cached("DELETE FROM alarm WHERE device = ?1 AND alarm = ?2")?
            .execute(key)
            .map(drop);
    }
    tx.prepare_cached(
        "INSERT OR REPLACE INTO alarm (device, alarm, state, occurrence, memory) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![key.0, key.1, memory.state.map(state_word), memory.occurrence.as_deref(), Json(memory),])
    .map(drop)
}

pub(super) fn add_audit(tx: &Transaction, entry: &AuditEntry, pen: &Pen) -> rusqlite::Result<()> {
    let AuditEntry { at, who, from, action, object, outcome } = entry;
    let number = tx
        .prepare_cached(
            "INSERT INTO audit (at_ms, who, origin, action, object, outcome) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .insert(params![Millis(*at), who, from, action, object, outcome])?;
    let fact = Fact::Audit {
        number,
        at_ms: at.as_millisecond(),
        who: who.clone(),
        origin: from.clone(),
        action: (*action).to_owned(),
        object: object.clone(),
        outcome: outcome.clone(),
    };
    let link = chain::append(tx, pen, fact)?;
    tx.prepare_cached("UPDATE audit SET link = ?2 WHERE number = ?1")?.execute([number, link]).map(drop)
}

/// Lets go of some delivered letters' bodies, oldest first; never of one that is still to be delivered. How many.
pub(super) fn make_room(conn: &Connection) -> rusqlite::Result<usize> {
    conn.prepare_cached(
        "DELETE FROM body WHERE row IN
           (SELECT row FROM body JOIN outbox USING (row) WHERE state = 'delivered' ORDER BY row LIMIT 256)",
    )?
    .execute([])
}
