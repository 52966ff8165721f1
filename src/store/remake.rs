//! A letter whose body is not what was written is made anew from its event, which the hash chain vouches for.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};

use super::{
    columns::Count,
    error::{File, StoreError},
    evidence::{self, Durability, Hash, Sealed},
    outbox::Stored,
    sum,
};
use crate::domain::{Event, Letter};

/// Writes the letters of an event, as they were written when it was committed.
pub type Scribe = Arc<dyn Fn(&Sealed) -> Vec<Letter> + Send + Sync>;

/// The letter, whole again in the file too. `None`: nobody can say what it was, or it may have been sent already in other words than these.
///
/// # Errors
/// What SQLite says; nothing is changed then.
pub(super) fn remake(
    conn: &mut Connection,
    scribe: &Scribe,
    damaged: &Stored,
) -> Result<Option<Letter>, StoreError> {
    let sql = StoreError::sql(File::Events);
    let Stored { letter, sum: known } = damaged;
    let Some(sealed) = event_of(conn, letter).map_err(sql)? else { return Ok(None) };
    let again = scribe(&sealed).into_iter().find(|again| again.endpoint == letter.endpoint);
    let Some(again) = again else { return Ok(None) };
    let sum = sum::of(&again.body);
    if *known != Some(sum) && (letter.attempts > 0 || is_of_persons(&sealed.event)) {
        return Ok(None);
    }
    let tx = conn.transaction().map_err(sql)?;
    write(&tx, letter.row, &again).map_err(sql)?;
    tx.commit().map_err(sql)?;
    Ok(Some(Letter { body: again.body, content_type: again.content_type, ..letter.clone() }))
}

/// The body of `row` from now on.
pub(super) fn write(conn: &Connection, row: i64, again: &Letter) -> rusqlite::Result<()> {
    conn.execute(
        "UPDATE body SET body = ?2, sum = ?3 WHERE row = ?1",
        params![row, &again.body[..], sum::of(&again.body)],
    )?;
    conn.execute("UPDATE outbox SET content_type = ?2 WHERE row = ?1", params![row, again.content_type])
        .map(drop)
}

/// If its record is the one that was linked into the chain.
pub(super) fn event_of(conn: &Connection, letter: &Letter) -> rusqlite::Result<Option<Sealed>> {
    let found = conn
        .query_row(
            "SELECT record, hash, prev_hash FROM event WHERE seq = ?1 AND id = ?2",
            params![Count(letter.seq), letter.event_id],
            |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Hash>(1)?, row.get::<_, Hash>(2)?)),
        )
        .optional()?;
    let sealed = found.and_then(|(record, hash, prev_hash)| {
        let event: Event = serde_json::from_slice(&record).ok()?;
        let whole = evidence::link(event.alg, &prev_hash, &record) == hash;
        whole.then_some(Sealed {
            event,
            record,
            hash,
            prev_hash,
            durability: Durability::Committed,
            put_right: None,
        })
    });
    Ok(sealed)
}

/// Then its record may have sealed values where the letter had others.
fn is_of_persons(event: &Event) -> bool {
    event.alarm.acknowledged.is_some()
        || event.credit.is_some()
        || event.readings.values().any(|reading| reading.data.is_private())
}
