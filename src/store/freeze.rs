//! A letter that was written while the clock was not set is frozen by a commit just before anybody tries to deliver it: with its times
//! put right, if the clock was set by then. From there on its body stays what it is, like that of any other.

use rusqlite::{Connection, TransactionBehavior, params};

use super::{
    columns::Millis,
    error::{File, StoreError},
    evidence::Sealed,
    remake::{self, Scribe},
};
use crate::domain::{ClockSet, Letter, PutRight, TransitionKind};

/// Who writes it anew, and what is known of the clock.
pub(super) struct Known<'a> {
    pub scribe: Option<&'a Scribe>,
    pub sets: &'a [ClockSet],
    /// When it is tried.
    pub at: jiff::Timestamp,
}

/// # Errors
/// What SQLite says; nothing is changed then.
pub(super) fn freeze(
    conn: &mut Connection,
    letter: &Letter,
    row: i64,
    known: &Known<'_>,
) -> Result<Letter, StoreError> {
    let sql = StoreError::sql(File::Events);
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sql)?;
    let corrected = corrected(&tx, letter, known).map_err(sql)?;
    if let Some(again) = &corrected {
        remake::write(&tx, row, again).map_err(sql)?;
    }
    tx.execute(
        "UPDATE outbox SET tried_at_ms = ?2 WHERE row = ?1 AND tried_at_ms IS NULL",
        params![row, Millis(known.at)],
    )
    .map_err(sql)?;
    tx.commit().map_err(sql)?;
    let frozen = Letter { provisional: false, ..letter.clone() };
    Ok(match corrected {
        Some(again) => Letter { body: again.body, content_type: again.content_type, ..frozen },
        None => frozen,
    })
}

/// The letter as it would be written now. `None`: nobody knows better than then, or it is no alarm.
fn corrected(conn: &Connection, letter: &Letter, known: &Known<'_>) -> rusqlite::Result<Option<Letter>> {
    let Some(scribe) = known.scribe else { return Ok(None) };
    let Some(sealed) = remake::event_of(conn, letter)? else { return Ok(None) };
    let put_right = PutRight::of(&sealed.event, known.sets);
    if put_right.is_none() || sealed.event.kind == TransitionKind::Drill {
        return Ok(None);
    }
    let letters = scribe(&Sealed { put_right, ..sealed });
    Ok(letters.into_iter().find(|again| again.endpoint == letter.endpoint))
}
