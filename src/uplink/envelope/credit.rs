//! Points that are given, as they leave the box: the card in clear text to who keeps the points, to others a pseudonym.

use serde::{Serialize, Serializer};

use super::View;
use crate::domain::{DataClass, credit};

#[derive(Serialize)]
pub(super) struct Credit<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    category: Option<&'a str>,
    weight_g: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    points: Option<Hundredths>,
    #[serde(skip_serializing_if = "Option::is_none")]
    card: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    card_pseudonym: Option<&'a str>,
    /// The device's own counter, with this delivery in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    total_g: Option<i64>,
    at: String,
}

/// As a number: 24.7, not 2470.
struct Hundredths(i64);

impl Serialize for Hundredths {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 % 100 {
            0 => to.serialize_i64(self.0 / 100),
            _ => to.serialize_f64(self.0 as f64 / 100.0),
        }
    }
}

impl<'a> View<'a> {
    pub(super) fn credit(&self, credit: &'a credit::Credit) -> Credit<'a> {
        let (person, cards) = (self.may_see(DataClass::Personal), self.wants.may_see_card());
        Credit {
            transaction: person.then_some(credit.transaction.as_str()),
            category: credit.category.as_deref(),
            weight_g: credit.weight_g,
            points: credit.points.filter(|_| person).map(Hundredths),
            card: credit.card.as_deref().filter(|_| cards),
            card_pseudonym: credit.card_pseudonym.as_deref().filter(|_| !cards),
            total_g: credit.total_g,
            at: self.time(credit.at),
        }
    }
}
