//! What could not be stored yet: kept in memory, delivered from there, and stored later in the same order, under the same ids,
//! with what became of it meanwhile.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::Arc,
};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use serde::{Deserialize, Serialize};

use super::{
    Backlog, Commit, Receipted,
    chain::{Pen, Why},
    commit,
    commit::Head,
    error::{File, StoreError},
    losses, outbox,
};
use crate::domain::{AlarmKey, EndpointId, Hindrance, Letter, Loss, LossClass, LossReason, Priority};

/// Commits that memory holds; then one is given up, and counted.
const MOST_HELD: usize = 10_000;
/// Marks on stored letters that memory holds.
const MOST_MARKS: usize = 10_000;
/// So many go into one transaction.
const TOGETHER: usize = 256;

/// What became of a letter since it was last written down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fate {
    pub attempts: u32,
    pub put_off: Option<PutOff>,
    pub end: Option<End>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum End {
    Delivered(Receipted),
    SetAside { why: Hindrance, at: Timestamp },
}

/// It was tried `at`, and will be again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PutOff {
    pub why: Hindrance,
    pub at: Timestamp,
    pub next_at: Timestamp,
}

/// One thing that a courier says of a letter.
#[derive(Clone, Debug)]
pub(super) enum Note {
    PutOff(PutOff),
    End(End),
}

impl Fate {
    fn note(&mut self, note: Note) {
        self.attempts += 1;
        match note {
            Note::PutOff(put_off) => self.put_off = Some(put_off),
            Note::End(end) => self.end = Some(end),
        }
    }

    /// Onto the letter's row in the file; one that was settled before stays so.
    pub fn write(&self, conn: &Connection, row: i64, pen: &Pen) -> Result<(), StoreError> {
        let before = self.attempts.saturating_sub(1);
        if before > 0 {
            conn.prepare_cached(
                "UPDATE outbox SET attempts = attempts + ?2 WHERE row = ?1 AND state = 'queued'",
            )
            .and_then(|mut statement| statement.execute(params![row, before]))
            .map_err(StoreError::sql(File::Events))?;
        }
        let written = match (&self.end, &self.put_off) {
            (Some(End::Delivered(receipt)), _) => outbox::settle(conn, row, receipt, pen),
            (Some(End::SetAside { why, at }), _) => outbox::set_aside(conn, row, why, *at, pen),
            (None, Some(PutOff { why, at, next_at })) => outbox::put_off(conn, row, why, *at, *next_at),
            (None, None) => Ok(()),
        };
        match written {
            Err(StoreError::NoSuchLetter { .. }) => Ok(()),
            written => written,
        }
    }
}

/// A letter of a commit that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HeldLetter {
    pub letter: Letter,
    pub fate: Fate,
}

struct Held {
    /// Its letters are those of the ring: they say that it was volatile.
    commit: Arc<Commit>,
    letters: Vec<i64>,
}

pub(super) struct Ring {
    most: usize,
    held: VecDeque<Held>,
    /// By number; to the couriers a letter of the ring has the row minus its number.
    letters: BTreeMap<i64, HeldLetter>,
    numbered: i64,
    /// Where letters that couriers may still have in hand went.
    moved: HashMap<i64, i64>,
    /// Given up, not written down yet.
    lost: Vec<Loss>,
    /// On letters of the file, whose rows could not be written.
    marks: BTreeMap<i64, Fate>,
}

impl Default for Ring {
    fn default() -> Self {
        Self::of(MOST_HELD)
    }
}

impl Ring {
    /// That holds at most so many commits.
    pub fn of(most: usize) -> Self {
        Self {
            most,
            held: VecDeque::new(),
            letters: BTreeMap::new(),
            numbered: 0,
            moved: HashMap::new(),
            lost: Vec::new(),
            marks: BTreeMap::new(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.held.is_empty() && self.marks.is_empty() && self.lost.is_empty()
    }

    /// Letters that nobody has taken yet.
    pub fn waiting(&self) -> usize {
        self.letters.values().filter(|held| held.fate.end.is_none()).count()
    }

    /// The same by endpoint, added to `backlog`; and those that were set aside.
    pub fn count(&self, backlog: &mut HashMap<EndpointId, Backlog>) {
        for held in self.letters.values() {
            let counts = backlog.entry(held.letter.endpoint.clone()).or_default();
            match held.fate.end {
                None => counts.queued += 1,
                Some(End::SetAside { .. }) => counts.set_aside += 1,
                Some(End::Delivered(_)) => {}
            }
        }
    }

    pub fn hold(&mut self, commit: Arc<Commit>, letters: Vec<Letter>) {
        let letters = letters.into_iter().map(|letter| HeldLetter { letter, fate: Fate::default() });
        self.take_in(commit, letters.collect());
    }

    /// As [`Self::hold`], of letters with a past.
    pub fn take_in(&mut self, commit: Arc<Commit>, letters: Vec<HeldLetter>) {
        if self.held.len() >= self.most {
            self.give_up_one();
        }
        let mut numbers = Vec::with_capacity(letters.len());
        for letter in letters {
            self.numbered += 1;
            self.letters.insert(self.numbered, letter);
            numbers.push(self.numbered);
        }
        self.held.push_back(Held { commit, letters: numbers });
    }

    /// Of those that matter least the oldest: who was told of everything in it, then who was not told of the least urgent. What is
    /// missing in the chain is counted when the rest is stored.
    fn give_up_one(&mut self) {
        let least = (0..self.held.len()).min_by_key(|at| Reverse(self.urgency(&self.held[*at])));
        let Some(held) = least.and_then(|at| self.held.remove(at)) else { return };
        for number in held.letters {
            let Some(HeldLetter { letter, fate }) = self.letters.remove(&number) else { continue };
            if fate.end.is_none() {
                self.add_loss(Loss {
                    endpoint: Some(letter.endpoint),
                    first_seq: letter.seq,
                    last_seq: letter.seq,
                    count: 1,
                    ..Loss::of(LossClass::Alarms, LossReason::NotStored)
                });
            }
        }
    }

    /// The greater the less urgent is what somebody has still to be told.
    fn urgency(&self, held: &Held) -> (bool, Option<Priority>) {
        let letters = held.letters.iter().filter_map(|number| self.letters.get(number));
        let waiting = letters.filter(|held| held.fate.end.is_none()).map(|held| held.letter.priority);
        let most_urgent = waiting.min();
        (most_urgent.is_none(), most_urgent)
    }

    /// One after the other they become one.
    fn add_loss(&mut self, loss: Loss) {
        let alike = |known: &&mut Loss| known.endpoint == loss.endpoint && known.reason == loss.reason;
        match self.lost.iter_mut().find(alike) {
            Some(known) => {
                known.last_seq = known.last_seq.max(loss.last_seq);
                known.count += loss.count;
            }
            None => self.lost.push(loss),
        }
    }

    /// Everything held, for a start that is to go on with it.
    pub fn contents(&self) -> impl Iterator<Item = (&Commit, Vec<&HeldLetter>)> {
        self.held.iter().map(|held| {
            let letters = held.letters.iter().filter_map(|number| self.letters.get(number));
            (&*held.commit, letters.collect())
        })
    }

    /// Where the chain stood when memory began to hold what follows.
    pub fn base(&self) -> Option<Head> {
        let first = self.held.iter().find_map(|held| held.commit.events.first())?;
        Some(Head { seq: first.event.seq.checked_sub(1)?, hash: first.prev_hash })
    }

    pub fn marks(&self) -> &BTreeMap<i64, Fate> {
        &self.marks
    }

    pub fn add_marks(&mut self, marks: BTreeMap<i64, Fate>) {
        self.marks.extend(marks);
    }

    /// The most urgent letter for `endpoint` that is its alarm's oldest; not of alarms in `skip`, nor of those that have one in the
    /// file before it (`behind`).
    pub fn claim(
        &self,
        endpoint: &EndpointId,
        skip: &[AlarmKey],
        behind: impl Fn(&AlarmKey) -> bool,
    ) -> Option<Letter> {
        let mut seen = HashSet::new();
        let mine = self.letters.iter().filter(|(_, held)| held.letter.endpoint == *endpoint);
        let waiting = mine.filter(|(_, held)| held.fate.end.is_none());
        let heads = waiting.filter(|(_, held)| seen.insert(&held.letter.key));
        let may_go = heads.filter(|(_, held)| !skip.contains(&held.letter.key) && !behind(&held.letter.key));
        let (number, held) = may_go.min_by_key(|(_, held)| (held.letter.priority, held.letter.seq))?;
        Some(Letter {
            row: -number,
            attempts: held.letter.attempts + held.fate.attempts,
            ..held.letter.clone()
        })
    }

    /// Whether `row` of the file was delivered or set aside, though it does not say so.
    pub fn is_done(&self, row: i64) -> bool {
        self.marks.get(&row).is_some_and(|fate| fate.end.is_some())
    }

    /// Where a letter of the ring is in the file, if it went there.
    pub fn moved(&self, row: i64) -> Option<i64> {
        self.moved.get(&-row).copied()
    }

    #[cfg(test)]
    pub fn moved_count(&self) -> usize {
        self.moved.len()
    }

    /// No courier has the letter in hand any more that is at `row` of the file now.
    pub fn settled(&mut self, row: i64) {
        self.moved.retain(|_, now| *now != row);
    }

    /// A letter of the ring (`row` < 0), or of the file that cannot be written.
    pub fn note(&mut self, row: i64, note: Note) -> Result<(), StoreError> {
        if row >= 0 {
            if self.marks.len() >= MOST_MARKS && !self.marks.contains_key(&row) {
                return Err(StoreError::Full { file: File::Events });
            }
            self.marks.entry(row).or_default().note(note);
            return Ok(());
        }
        match self.letters.get_mut(&-row) {
            Some(held) if held.fate.end.is_none() => {
                held.fate.note(note);
                Ok(())
            }
            _ => Err(StoreError::NoSuchLetter { row }),
        }
    }

    /// Brings what is held into the file, in order. What is not there yet after an error is held as before.
    pub fn store(&mut self, conn: &mut Connection, pen: &Pen) -> Result<(), StoreError> {
        let sql = StoreError::sql(File::Events);
        while !self.is_empty() {
            let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sql)?;
            self.marks.iter().try_for_each(|(row, fate)| fate.write(&tx, *row, pen))?;
            self.lost.iter().try_for_each(|loss| losses::write(&tx, loss)).map_err(sql)?;
            let count = self.held.len().min(TOGETHER);
            let mut rows = Vec::new();
            for held in self.held.iter().take(count) {
                self.store_one(&tx, held, &mut rows, pen)?;
            }
            tx.commit().map_err(sql)?;
            self.marks.clear();
            self.lost.clear();
            self.held.drain(..count);
            for (number, row) in rows {
                let unsettled = self.letters.remove(&number).is_some_and(|held| held.fate.end.is_none());
                if let Some(row) = row.filter(|_| unsettled) {
                    self.moved.insert(number, row);
                }
            }
        }
        Ok(())
    }

    fn store_one(
        &self,
        tx: &Transaction,
        held: &Held,
        rows: &mut Vec<(i64, Option<i64>)>,
        pen: &Pen,
    ) -> Result<(), StoreError> {
        let sql = StoreError::sql(File::Events);
        let letters = held.letters.iter().filter_map(|number| Some((*number, self.letters.get(number)?)));
        let place = place(tx, &held.commit, pen)?;
        if place == Place::Taken {
            rows.extend(held.letters.iter().map(|number| (*number, None)));
            return Ok(());
        }
        if place == Place::Next {
            commit::write_all_but_letters(tx, &held.commit, pen).map_err(sql)?;
            if let Some(last) = held.commit.events.last() {
                commit::move_head(tx, &Head { seq: last.event.seq, hash: last.hash }).map_err(sql)?;
            }
        }
        for (number, held) in letters {
            let row = match place {
                Place::There => row_of(tx, &held.letter).map_err(sql)?,
                Place::Next | Place::Taken => Some(commit::add_letter(tx, &held.letter).map_err(sql)?),
            };
            if let Some(row) = row {
                held.fate.write(tx, row, pen)?;
            }
            rows.push((number, row));
        }
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// At the end of the chain.
    Next,
    /// It was on the disk after all, though the disk said that it was not.
    There,
    /// Its numbers are those of other events: it cannot be stored.
    Taken,
}

/// Where in the file's chain a held commit goes. Where the chain has a gap before it, it goes on from behind the gap.
fn place(tx: &Transaction, held: &Commit, pen: &Pen) -> Result<Place, StoreError> {
    let sql = StoreError::sql(File::Events);
    let Some(first) = held.events.first() else { return Ok(Place::Next) };
    if commit::has(tx, &first.event.id).map_err(sql)? {
        return Ok(Place::There);
    }
    let head = commit::head(tx).map_err(sql)?;
    if first.event.seq == head.seq + 1 && first.prev_hash == head.hash {
        return Ok(Place::Next);
    }
    let mut lost = Loss {
        first_seq: head.seq + 1,
        last_seq: first.event.seq.saturating_sub(1),
        count: first.event.seq.saturating_sub(head.seq + 1),
        ..Loss::of(LossClass::Alarms, LossReason::NotStored)
    };
    if first.event.seq <= head.seq {
        let last = held.events.last().map_or(first.event.seq, |last| last.event.seq);
        lost = Loss { first_seq: first.event.seq, last_seq: last, count: held.events.len() as u64, ..lost };
        losses::write(tx, &lost).map_err(sql)?;
        return Ok(Place::Taken);
    }
    if lost.count > 0 {
        losses::write(tx, &lost).map_err(sql)?;
    }
    let before = Head { seq: first.event.seq - 1, hash: first.prev_hash };
    commit::rebase(tx, &first.event.epoch, before, Why::Gap, pen).map_err(sql)?;
    Ok(Place::Next)
}

fn row_of(conn: &Connection, letter: &Letter) -> rusqlite::Result<Option<i64>> {
    conn.prepare_cached("SELECT row FROM outbox WHERE endpoint = ?1 AND event_id = ?2 AND seq = ?3")?
        .query_row(params![letter.endpoint.as_str(), letter.event_id, letter.seq as i64], |row| row.get(0))
        .optional()
}
