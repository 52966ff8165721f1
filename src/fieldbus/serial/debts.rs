//! What devices may still say to questions that nobody waits for any more: pure.
//!
//! A frame does not say which question it answers. A device answers in order, so what matters is which answers cannot be told apart.

use std::collections::HashSet;

use super::members::{Members, Question};

#[derive(Debug, Default)]
pub struct Debts {
    /// Given up: the answer may come, or never.
    owed: HashSet<Question>,
    /// Asked twice for one answer: a device that is always one behind owes the other.
    doubted: HashSet<Question>,
}

impl Debts {
    /// Whether the next answer to `asked` might be that to another question, or an old one to itself.
    pub fn forbid(&self, asked: Question, members: &Members) -> bool {
        self.owed.iter().any(|owed| members.could_be_mistaken(*owed, asked))
            || self.doubted.iter().any(|owed| *owed != asked && members.could_be_mistaken(*owed, asked))
    }

    pub fn given_up(&mut self, question: Question) {
        self.owed.insert(question);
    }

    /// One answer was thrown away for it; the next one is its own, be it to the first asking or the second.
    pub fn waited_out(&mut self, question: Question) {
        self.owed.retain(|owed| owed.member != question.member);
        self.doubted.retain(|owed| owed.member != question.member);
        self.doubted.insert(question);
    }

    /// An answer to `question` came: whatever cannot be mistaken for it cannot come any more.
    pub fn answered(&mut self, question: Question, members: &Members) {
        let stays =
            |owed: &Question| owed.member != question.member || members.could_be_mistaken(*owed, question);
        self.owed.retain(stays);
        self.doubted.retain(stays);
    }
}
