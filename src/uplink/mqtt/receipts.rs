//! Which letters wait for their receiver's own receipt, and which receipts came when nobody waited any more.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

/// Receipts that came late are kept for the letter's next turn, so that it need not go again.
const MOST_EARLY: usize = 256;

#[derive(Debug, Default)]
pub struct Receipts(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    expected: HashMap<String, oneshot::Sender<()>>,
    early: VecDeque<String>,
}

/// A receipt that is waited for, until this is dropped.
#[derive(Debug)]
pub struct Expected<'a> {
    receipts: &'a Receipts,
    id: &'a str,
    came: oneshot::Receiver<()>,
}

impl Receipts {
    /// The receipt for `id` may come from now on.
    pub fn expect<'a>(&'a self, id: &'a str) -> Expected<'a> {
        let (tell, came) = oneshot::channel();
        self.book().expected.insert(id.to_owned(), tell);
        Expected { receipts: self, id, came }
    }

    /// Whether the receipt for `id` came after its last turn was over; it is used up.
    pub fn had(&self, id: &str) -> bool {
        let early = &mut self.book().early;
        let at = early.iter().position(|early| early == id);
        at.and_then(|at| early.remove(at)).is_some()
    }

    pub fn came(&self, id: String) {
        let mut book = self.book();
        let waiting = book.expected.remove(&id);
        if waiting.is_none_or(|waiting| waiting.send(()).is_err()) {
            if book.early.len() == MOST_EARLY {
                book.early.pop_front();
            }
            book.early.push_back(id);
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Expected<'_> {
    /// Returns when it came.
    pub async fn came(&mut self) {
        if (&mut self.came).await.is_err() {
            // another turn of the same letter waits in this one's place
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        self.receipts.book().expected.remove(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_receipt_is_for_whoever_waits_or_for_the_next_turn() {
        let receipts = Receipts::default();
        let mut expected = receipts.expect("a");
        receipts.came("a".to_owned());
        expected.came().await;
        drop(expected);
        assert!(!receipts.had("a"), "it was used");
        drop(receipts.expect("b"));
        receipts.came("b".to_owned());
        assert!(receipts.had("b"), "it came late");
        assert!(!receipts.had("b"), "and counts once");
    }

    #[test]
    fn a_flood_of_receipts_takes_bounded_room() {
        let receipts = Receipts::default();
        (0..10_000).for_each(|n| receipts.came(n.to_string()));
        assert_eq!(receipts.book().early.len(), MOST_EARLY);
        assert!(receipts.had("9999") && !receipts.had("0"));
    }
}
