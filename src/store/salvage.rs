//! A damaged `events.db`: what can be read of it goes into a new one, row by row, under the ids it had.
//!
//! While this goes on the damaged file is called `events.db.salvaging`. A start that finds it without an `events.db` beside it
//! begins again; only then is it put aside.

use std::{fs, path::Path};

use rusqlite::{Connection, params};

use super::{
    Fired, OpenOperation, Recovered, Settings,
    carve::{Carver, Cell, Column},
    chain::{self, Pen, Why},
    commit::{self, Head},
    error::{Access, File, StoreError},
    evidence::{self, Hash},
    losses, open, quarantine, sum,
};
use crate::domain::{AlarmMemory, EndpointId, Letter, Loss, LossClass, LossReason, Suite};

const SALVAGING: &str = "events.db.salvaging";
const NEW: &str = "events.db.new";

/// A new file with what could be read, not in its place yet.
pub(super) struct Salvaged {
    told: Told,
    losses: Vec<Loss>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// Undelivered letters.
    pub salvaged: u64,
    /// Undelivered letters that could not be read; where nobody knows what they were, as many as there may have been.
    pub unreadable: u64,
    pub events: u64,
}

/// Whether an earlier start did not come to the end of it; finishes what only wants to be put aside.
pub(super) fn is_underway(dir: &Path) -> Result<bool, StoreError> {
    let salvaging = dir.join(SALVAGING);
    if !salvaging.exists() {
        return Ok(false);
    }
    if !dir.join(File::Events.name()).exists() {
        return Ok(true);
    }
    quarantine::put_aside(dir, File::Events, &salvaging)?;
    Ok(false)
}

/// The damaged file gives up its name.
///
/// # Errors
/// If it cannot be renamed or opened.
pub(super) fn begin(dir: &Path) -> Result<(), StoreError> {
    let salvaging = dir.join(SALVAGING);
    if dir.join(File::Events.name()).exists() {
        quarantine::rename(&dir.join(File::Events.name()), &salvaging)?;
    }
    Ok(())
}

/// How large the damaged file is, with its log.
pub(super) fn bytes(dir: &Path) -> u64 {
    let length = |path| fs::metadata(path).map_or(0, |found| found.len());
    let path = dir.join(SALVAGING);
    length(quarantine::with(&path, "-wal")) + length(path)
}

/// What a start needs to know before the rest is saved: the alarms that are open, what devices were told, how far the chain went.
///
/// # Errors
/// If the file cannot be opened.
pub(super) fn glance(dir: &Path) -> Result<Recovered, StoreError> {
    let mut found = Recovered::nothing();
    let outcome = carver(dir)?.each(|cell| {
        look(&mut found, &cell);
        Ok::<_, std::convert::Infallible>(())
    });
    match outcome {
        Ok(_unreadable) => {}
        Err(never) => match never {},
    }
    found.alarms.sort_by(|a, b| a.key.cmp(&b.key));
    found.alarms.dedup_by(|a, b| a.key == b.key);
    Ok(found)
}

fn look(found: &mut Recovered, cell: &Cell) {
    use Column::{Blob, Integer, Null, Text};
    let mut reached = |seq: i64, hash: &[u8]| {
        let (Ok(seq), Ok(hash)) = (u64::try_from(seq), hash.try_into()) else { return };
        if seq >= found.last_seq {
            (found.last_seq, found.last_hash) = (seq, hash);
        }
    };
    match (cell.rowid, &cell.columns[..]) {
        // meta
        (Some(1), [Null, Text(epoch), Integer(_), Integer(_), Blob(_), Integer(seq), Blob(hash), ..]) => {
            found.epoch.clone_from(epoch);
            reached(*seq, hash);
        }
        (Some(seq), columns) if is_event(columns) => {
            if let Some(Blob(hash)) = columns.get(8) {
                reached(seq, hash);
            }
        }
        // alarm
        (None, [Text(_), Text(_), Text(_) | Null, Text(_) | Null, Text(memory)]) => {
            if let Ok(memory) = serde_json::from_str::<AlarmMemory>(memory) {
                found.alarms.push(memory);
            }
        }
        // operation
        (None, [Text(id), Integer(at), Text(device), Text(command), Text(who), Text(from)]) => {
            if let Ok(at) = jiff::Timestamp::from_millisecond(*at) {
                found.operations.push(OpenOperation {
                    id: id.clone(),
                    at,
                    device: device.as_str().into(),
                    command: command.as_str().into(),
                    who: who.clone(),
                    from: from.clone(),
                });
            }
        }
        // firing
        (None, [Text(schedule), Text(device), Text(_), Text(day), Integer(settled @ (0 | 1))]) => {
            if let Ok(day) = day.parse() {
                let (schedule, device) = (schedule.clone(), device.as_str().into());
                found.fired.push(Fired { schedule, device, day, settled: *settled == 1 });
            }
        }
        _ => {}
    }
}

fn is_event(columns: &[Column]) -> bool {
    use Column::{Blob, Integer, Null, Text};
    matches!(
        columns,
        [Null, Text(_), Text(_), Text(_), Text(_), Text(_), Integer(_), Blob(_), Blob(hash), Blob(prev), ..]
            if hash.len() == 32 && prev.len() == 32
    )
}

fn carver(dir: &Path) -> Result<Carver, StoreError> {
    let path = dir.join(SALVAGING);
    Carver::open(&path).map_err(|source| StoreError::io("read", &path, Access::Read, source))
}

/// Makes the new file. Takes a while: for a thread of its own.
///
/// # Errors
/// `Full` if there is no room beside the damaged one even for what is undelivered.
pub(super) fn salvage(settings: &Settings) -> Result<Salvaged, StoreError> {
    let sql = StoreError::sql(File::Events);
    let dir = &settings.dir;
    let path = dir.join(NEW);
    quarantine::remove(&path);
    let carver = carver(dir)?;
    let mut conn = open::writer_at(&path, File::Events, open::Synchronous::Normal, settings.events_max)?;
    conn.execute_batch(
        "PRAGMA foreign_keys = OFF;
         CREATE TEMP TABLE listed (row INTEGER PRIMARY KEY, endpoint TEXT, device TEXT, alarm TEXT);",
    )
    .map_err(sql)?;
    commit::recover(&conn, settings.suite).and_then(|_| chain::clear(&conn)).map_err(sql)?;
    let tx = conn.transaction().map_err(sql)?;
    carver.each(|cell| save(&tx, &cell)).map_err(sql)?;
    tx.commit().map_err(sql)?;
    // Last, because they are many: without room for them what is undelivered is saved all the same.
    let tx = conn.transaction().map_err(sql)?;
    match carver.each(|cell| save_event(&tx, &cell)).and_then(|_unreadable| tx.commit()).map_err(sql) {
        Ok(()) | Err(StoreError::Full { .. }) => {}
        Err(error) => return Err(error),
    }
    let tx = conn.transaction().map_err(sql)?;
    let mut found = reconcile(&tx).map_err(sql)?;
    found.losses.extend(missing_events(&tx).map_err(sql)?);
    found.told.events = count(&tx, "SELECT count(*) FROM event").map_err(sql)?;
    tx.commit().map_err(sql)?;
    open::checkpoint_all(&conn).and_then(|()| conn.close().map_err(|(_, error)| error)).map_err(sql)?;
    Ok(found)
}

fn save(conn: &Connection, cell: &Cell) -> rusqlite::Result<()> {
    use Column::{Blob, Integer, Null, Text};
    match (cell.rowid, &cell.columns[..]) {
        (
            Some(row),
            columns @ [Null, Text(_), Text(_), Integer(_), Text(_), Text(_), Integer(_), Text(_), ..],
        ) if columns.len() >= 14 => save_letter(conn, row, columns),
        (Some(row), [Null, Blob(body), known @ ..]) if known.is_empty() || has_sum(known, body) => conn
            .prepare_cached("INSERT OR IGNORE INTO body (row, body, sum) VALUES (?1, ?2, ?3)")?
            .execute(params![row, body, known.first().and_then(integer)])
            .map(drop),
        (
            Some(number),
            [
                Null,
                Integer(at),
                Text(who),
                Text(origin),
                Text(action),
                Text(object),
                Text(outcome),
                link @ ..,
            ],
        ) if link.len() <= 1 => conn
            .prepare_cached("INSERT OR IGNORE INTO audit VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?
            .execute(params![
                number,
                at,
                who,
                origin,
                action,
                object,
                outcome,
                link.first().and_then(integer)
            ])
            .map(drop),
        (Some(n), [Null, Integer(seq), Text(kind), Blob(record), Blob(hash)]) if hash.len() == 32 => conn
            .prepare_cached("INSERT OR IGNORE INTO link VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![n, seq, kind, record, hash])
            .map(drop),
        // writing: only what its digest vouches for
        (None, [Blob(digest), Text(name), Blob(body)]) if is_digest(digest, body) => conn
            .prepare_cached("INSERT OR IGNORE INTO writing VALUES (?1, ?2, ?3)")?
            .execute(params![digest, name, body])
            .map(drop),
        (None, [Text(endpoint), Text(device), Text(alarm), Integer(row), ..]) => conn
            .prepare_cached("INSERT OR IGNORE INTO listed VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![row, endpoint, device, alarm])
            .map(drop),
        (
            None,
            [
                Text(device),
                Text(alarm),
                state @ (Text(_) | Null),
                occurrence @ (Text(_) | Null),
                Text(memory),
            ],
        ) => conn
            .prepare_cached("INSERT OR IGNORE INTO alarm VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![device, alarm, text(state), text(occurrence), memory])
            .map(drop),
        // upload: what is lost of it is sent anew
        (
            None,
            [Text(endpoint), Integer(since), Integer(until), Text(device), Integer(at), Integer(number)],
        ) => conn
            .prepare_cached("INSERT OR IGNORE INTO upload VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
            .execute(params![endpoint, since, until, device, at, number])
            .map(drop),
        // credit
        (Some(row), [Null, Blob(id), Text(device), Integer(at), Integer(seq), Text(record)]) => conn
            .prepare_cached("INSERT OR IGNORE INTO credit VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
            .execute(params![row, id, device, at, seq, record])
            .map(drop),
        // account
        (None, [Text(device), Text(memory)]) => conn
            .prepare_cached("INSERT OR IGNORE INTO account VALUES (?1, ?2)")?
            .execute([device, memory])
            .map(drop),
        // private_key, but for one that was overwritten because its time was over
        (Some(id), [Null, created @ (Integer(_) | Null), Blob(wrapped)])
            if wrapped.iter().any(|byte| *byte != 0) =>
        {
            conn.prepare_cached(
                "INSERT OR IGNORE INTO private_key (id, created_ms, wrapped) VALUES (?1, ?2, ?3)",
            )?
            .execute(params![id, integer(created), wrapped])
            .map(drop)
        }
        (None, [Text(id), Integer(at), Text(device), Text(command), Text(who), Text(origin)]) => conn
            .prepare_cached("INSERT OR IGNORE INTO operation VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
            .execute(params![id, at, device, command, who, origin])
            .map(drop),
        (None, [Text(schedule), Text(device), Text(command), Text(day), Integer(settled @ (0 | 1))]) => conn
            .prepare_cached("INSERT OR IGNORE INTO firing VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![schedule, device, command, day, settled])
            .map(drop),
        _ => Ok(()),
    }
}

/// A page may be damaged in its midst. Of a body that is older than its sum its courier finds out.
fn has_sum(known: &[Column], body: &[u8]) -> bool {
    match known {
        [Column::Integer(known)] => *known == sum::of(body),
        [Column::Null] => true,
        _ => false,
    }
}

/// A letter that cannot be delivered as it was written: seen as set aside, and reported.
///
/// # Errors
/// What SQLite says; nothing is changed then.
pub(super) fn give_up(conn: &mut Connection, letter: &Letter, pen: &Pen) -> Result<(), StoreError> {
    let sql = StoreError::sql(File::Events);
    let tx = conn.transaction().map_err(sql)?;
    tx.execute(
        "UPDATE outbox SET state = 'set_aside', next_at_ms = NULL, last_error = 'its body is damaged',
           last_error_zh = '内容已损坏' WHERE row = ?1",
        [letter.row],
    )
    .and_then(|_| chain::receipt(&tx, pen, letter.row))
    .map_err(sql)?;
    let subject = Some(letter.key.to_string());
    let loss = Loss { subject, ..damaged(letter.endpoint.as_str(), letter.seq, letter.seq, 1) };
    losses::write(&tx, &loss).and_then(|()| tx.commit()).map_err(sql)
}

/// Of two that say different things of a letter, the one that knows more: a letter once delivered stays so.
fn save_letter(conn: &Connection, row: i64, columns: &[Column]) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO outbox (row, endpoint, event_id, seq, device, alarm, priority, state, attempts, last_error, next_at_ms,
                             delivered_at_ms, receipt_status, receipt_said, hindrance, last_error_zh, tried_at_ms, content_type, link)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)
         ON CONFLICT (row) DO UPDATE SET state = excluded.state, attempts = excluded.attempts, next_at_ms = NULL,
           delivered_at_ms = excluded.delivered_at_ms, receipt_status = excluded.receipt_status, link = excluded.link
         WHERE outbox.state = 'queued' AND excluded.state <> 'queued'
         ON CONFLICT DO NOTHING",
    )?
    .execute(params![
        row,
        text(&columns[1]),
        text(&columns[2]),
        integer(&columns[3]),
        text(&columns[4]),
        text(&columns[5]),
        integer(&columns[6]),
        text(&columns[7]),
        integer(&columns[8]).unwrap_or(0),
        text(&columns[9]),
        integer(&columns[10]),
        integer(&columns[11]),
        integer(&columns[12]),
        text(&columns[13]),
        columns.get(14).and_then(text),
        columns.get(15).and_then(text),
        columns.get(16).and_then(integer),
        columns.get(17).and_then(text),
        columns.get(18).and_then(integer),
    ])
    .map(drop)
    // what no constraint of the table allows was no letter
    .or_else(|error| match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::ConstraintViolation) => Ok(()),
        _ => Err(error),
    })
}

fn is_digest(digest: &[u8], body: &[u8]) -> bool {
    Suite::ALL.iter().any(|suite| evidence::digest(*suite, body)[..] == *digest)
}

fn save_event(conn: &Connection, cell: &Cell) -> rusqlite::Result<()> {
    use Column::{Blob, Integer, Text};
    let (Some(seq), columns) = (cell.rowid, &cell.columns) else { return Ok(()) };
    if !is_event(columns) {
        return Ok(());
    }
    let [
        _,
        Text(id),
        Text(kind),
        Text(device),
        Text(alarm),
        Text(occurrence),
        Integer(at),
        Blob(record),
        Blob(hash),
        Blob(prev),
        ..,
    ] = &columns[..]
    else {
        return Ok(());
    };
    let prev_hash: Hash = prev[..].try_into().unwrap_or_default();
    if !Suite::ALL.iter().any(|suite| evidence::link(*suite, &prev_hash, record)[..] == hash[..]) {
        return Ok(());
    }
    conn.prepare_cached("INSERT OR IGNORE INTO event VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)")?
        .execute(params![seq, id, kind, device, alarm, occurrence, at, record, hash, prev])
        .map(drop)
}

/// Letters whose row or whose body could not be read. A row is made anew from its body and the list of what is undelivered.
fn reconcile(conn: &Connection) -> rusqlite::Result<Salvaged> {
    let lost = conn
        .prepare(
            "SELECT l.row, l.endpoint, l.device, l.alarm, b.body FROM listed l LEFT JOIN body b USING (row)
                  WHERE NOT EXISTS (SELECT 1 FROM outbox o WHERE o.row = l.row)",
        )?
        .query_map([], |row| {
            let letter = (row.get(0)?, row.get::<_, String>(1)?, row.get(2)?, row.get(3)?);
            Ok((letter, row.get::<_, Option<Vec<u8>>>(4)?))
        })?
        .collect::<rusqlite::Result<Vec<((i64, String, String, String), Option<Vec<u8>>)>>>()?;
    let mut by_endpoint = std::collections::BTreeMap::<String, Loss>::new();
    for ((row, endpoint, device, alarm), body) in lost {
        let facts = body.as_deref().and_then(Facts::read);
        let saved = facts.map(|facts| facts.save(conn, row, [&endpoint, &device, &alarm])).transpose()?;
        if saved != Some(true) {
            add(&mut by_endpoint, &endpoint, 0);
        }
    }
    let bodiless = conn
        .prepare("SELECT endpoint, seq FROM outbox WHERE state = 'queued' AND NOT EXISTS (SELECT 1 FROM body WHERE body.row = outbox.row)")?
        .query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)))?
        .collect::<rusqlite::Result<Vec<(String, i64)>>>()?;
    bodiless.iter().for_each(|(endpoint, seq)| add(&mut by_endpoint, endpoint, *seq));
    conn.execute(
        "UPDATE outbox SET state = 'set_aside', next_at_ms = NULL, last_error = 'its body stood in a damaged page',
           last_error_zh = '内容所在的页已损坏'
         WHERE state = 'queued' AND NOT EXISTS (SELECT 1 FROM body WHERE body.row = outbox.row)",
        [],
    )?;
    let nobody_knows = count(
        conn,
        "SELECT count(*) FROM body WHERE NOT EXISTS (SELECT 1 FROM outbox WHERE outbox.row = body.row)",
    )?;
    conn.execute("DELETE FROM body WHERE NOT EXISTS (SELECT 1 FROM outbox WHERE outbox.row = body.row)", [])?;
    let mut losses: Vec<Loss> = by_endpoint.into_values().collect();
    if nobody_knows > 0 {
        losses.push(Loss { endpoint: None, ..damaged("", 0, 0, nobody_knows) });
    }
    let unreadable = losses.iter().map(|loss| loss.count).sum();
    let salvaged = count(conn, "SELECT count(*) FROM outbox WHERE state = 'queued'")?;
    Ok(Salvaged { told: Told { salvaged, unreadable, events: 0 }, losses })
}

fn add(by_endpoint: &mut std::collections::BTreeMap<String, Loss>, endpoint: &str, seq: i64) {
    let seq = u64::try_from(seq).unwrap_or(0);
    let loss = by_endpoint.entry(endpoint.to_owned()).or_insert_with(|| damaged(endpoint, seq, seq, 0));
    loss.count += 1;
    (loss.first_seq, loss.last_seq) = (loss.first_seq.min(seq), loss.last_seq.max(seq));
}

fn damaged(endpoint: &str, first_seq: u64, last_seq: u64, count: u64) -> Loss {
    Loss {
        endpoint: Some(EndpointId::from(endpoint)),
        first_seq,
        last_seq,
        count,
        ..Loss::of(LossClass::Alarms, LossReason::Damaged)
    }
}

/// Records of the chain that are not there, though there are some before and after them.
fn missing_events(conn: &Connection) -> rusqlite::Result<Option<Loss>> {
    let (first, last, there): (Option<i64>, Option<i64>, i64) =
        conn.query_row("SELECT min(seq), max(seq), count(*) FROM event", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    let (Some(first), Some(last)) = (first, last) else { return Ok(None) };
    let number = |n: i64| u64::try_from(n).unwrap_or(0);
    let missing = number(last - first + 1 - there);
    let loss = Loss { endpoint: None, ..damaged("", number(first), number(last), missing) };
    Ok((missing > 0).then_some(loss))
}

fn count(conn: &Connection, sql: &str) -> rusqlite::Result<u64> {
    conn.query_row(sql, [], |row| row.get::<_, i64>(0)).map(|count| u64::try_from(count).unwrap_or(0))
}

/// What a body says of its letter.
struct Facts {
    id: String,
    seq: u64,
    priority: i64,
}

impl Facts {
    fn read(body: &[u8]) -> Option<Self> {
        let body: serde_json::Value = serde_json::from_slice(body).ok()?;
        let priority = ["critical", "high", "medium", "low"]
            .iter()
            .position(|word| body["data"]["alarm"]["priority"].as_str() == Some(*word));
        Some(Self {
            id: body["id"].as_str()?.to_owned(),
            seq: body["gatehouseseq"].as_u64()?,
            priority: priority.unwrap_or(0) as i64,
        })
    }

    /// False if the letter is there already, under another row.
    fn save(
        &self,
        conn: &Connection,
        row: i64,
        [endpoint, device, alarm]: [&str; 3],
    ) -> rusqlite::Result<bool> {
        conn.prepare_cached(
            "INSERT OR IGNORE INTO outbox (row, endpoint, event_id, seq, device, alarm, priority) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![row, endpoint, self.id, self.seq as i64, device, alarm, self.priority])
        .map(|changed| changed == 1)
    }
}

fn text(column: &Column) -> Option<&str> {
    if let Column::Text(text) = column { Some(text) } else { None }
}

fn integer(column: &Column) -> Option<i64> {
    if let Column::Integer(integer) = column { Some(*integer) } else { None }
}

impl Salvaged {
    /// Puts the new file in its place, its chain beginning at `base` of `epoch`; the damaged one is put aside.
    ///
    /// # Errors
    /// If a file cannot be written or moved; the next start begins again.
    pub fn install(&self, settings: &Settings, epoch: &str, base: Head) -> Result<Told, StoreError> {
        let sql = StoreError::sql(File::Events);
        let dir = &settings.dir;
        let (new, path) = (dir.join(NEW), dir.join(File::Events.name()));
        let mut conn = open::writer_at(&new, File::Events, open::Synchronous::Full, settings.events_max)?;
        let tx = conn.transaction().map_err(sql)?;
        chain::adopt(&tx)
            .and_then(|()| commit::rebase(&tx, epoch, base, Why::Salvaged, &Pen::default()))
            .map_err(sql)?;
        self.losses.iter().try_for_each(|loss| losses::write(&tx, loss)).map_err(sql)?;
        tx.commit().map_err(sql)?;
        open::checkpoint_all(&conn).and_then(|()| conn.close().map_err(|(_, error)| error)).map_err(sql)?;
        let synced = fs::File::open(&new).and_then(|file| file.sync_all());
        synced.map_err(|source| StoreError::io("sync", &new, Access::Write, source))?;
        quarantine::rename(&new, &path)?;
        let synced = fs::File::open(dir).and_then(|dir| dir.sync_all());
        synced.map_err(|source| StoreError::io("sync", dir, Access::Write, source))?;
        quarantine::put_aside(dir, File::Events, &dir.join(SALVAGING))?;
        Ok(self.told)
    }
}
