//! Points for what people bring are money: one credit for each delivery that was weighed at rest, and books that are balanced against
//! the device's own counter. Pure.

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{DeviceId, EventId, Text};
use crate::text;

/// A counter that begins anew shows no more than this when it is heard next; one that shows more was set to something.
const BEGUN_ANEW_G: i64 = 100_000;

/// What is told of a credit goes under this name, where others have an alarm's. Of these letters none is ever left out.
pub const EVENT: &str = "credit";

/// Hundredths of a point for a kilogram, by the device's word for what was brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tariff(pub BTreeMap<String, i64>);

impl Tariff {
    /// Hundredths of a point, rounded half up. `None`: the site has no tariff for this.
    pub fn points(&self, category: Option<&str>, weight_g: i64) -> Option<i64> {
        let a_kilogram = self.0.get(category?)?;
        Some(a_kilogram.checked_mul(weight_g)?.checked_add(500)? / 1000)
    }
}

/// Why a delivery earned nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refused {
    /// The scale did not say that it was at rest.
    Unstable,
    Overload,
    Underload,
    /// Zero, or less.
    NothingWeighed,
    /// The weight is missing or cannot be believed.
    NoWeight,
    /// The transaction's number cannot be read.
    NoNumber,
    /// The number was credited before, for another weight.
    NumberUsedAgain,
}

impl Refused {
    pub fn word(self) -> &'static str {
        match self {
            Refused::Unstable => "unstable",
            Refused::Overload => "overload",
            Refused::Underload => "underload",
            Refused::NothingWeighed => "nothing_weighed",
            Refused::NoWeight => "no_weight",
            Refused::NoNumber => "no_number",
            Refused::NumberUsedAgain => "number_used_again",
        }
    }

    pub fn title(self) -> Text {
        match self {
            Refused::Unstable => text!("称重未稳定", "the scale was not at rest"),
            Refused::Overload => text!("称重超载", "the scale was overloaded"),
            Refused::Underload => text!("秤低于零点", "the scale was below its zero"),
            Refused::NothingWeighed => text!("重量为零或负数", "zero or less was weighed"),
            Refused::NoWeight => text!("没有可信的重量", "there was no weight to believe"),
            Refused::NoNumber => text!("投递单号无法解读", "its number could not be read"),
            Refused::NumberUsedAgain => {
                text!("投递单号重复而重量不同", "its number was credited before, for another weight")
            }
        }
    }
}

/// What a message says of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Under which its event goes: the same for the same transaction of the same device, whatever happened to the store.
    pub id: EventId,
    pub transaction: String,
    pub weight_g: Result<i64, Refused>,
    pub category: Option<String>,
    /// Hundredths; where the device reckons them.
    pub points: Option<i64>,
    pub card: Option<String>,
}

/// What a message says that concerns the books.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub delivery: Option<Delivery>,
    /// The device's own counter of all that was brought.
    pub total_g: Option<i64>,
    /// It was said some time ago: its counter is not where the device stands.
    pub late: bool,
    pub at: Timestamp,
}

/// A delivery for which points are given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credit {
    /// Of a person: sealed where it is stored.
    pub transaction: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    pub weight_g: i64,
    /// Hundredths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub points: Option<i64>,
    /// Of a person: sealed where it is stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card: Option<String>,
    /// The same for the same card at this site; nobody without the site's key finds the card from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card_pseudonym: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_g: Option<i64>,
    /// When the device said so.
    pub at: Timestamp,
}

/// What came of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It speaks of no delivery.
    Nothing,
    /// Of one that was judged before.
    Again,
    Credited {
        weight_g: i64,
    },
    Refused(Refused),
}

/// What the device's counter did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    Unheard,
    /// From now on the books are balanced against it.
    First,
    Went,
    /// Past its highest number, and on from zero.
    Overflowed,
    /// It counts from zero again; what was brought just before it did nobody knows.
    BeganAnew,
}

/// The books of one device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Account {
    /// What the device's counter showed last.
    pub total_g: Option<i64>,
    /// How far it went since the books are balanced against it, and what was credited of that.
    pub counted_g: i64,
    pub credited_g: i64,
    pub credits: u64,
    pub weight_g: i64,
    /// Hundredths.
    pub points: i64,
    pub refused: u64,
    /// Since the last credit.
    pub refused_in_a_row: u64,
    pub why_refused: Option<Refused>,
    /// Which one was refused last: its repetition is not another.
    pub refused_last: Option<String>,
    pub overflows: u64,
    pub began_anew: u64,
    /// Differences that people looked into.
    pub written_off_g: i64,
}

impl Account {
    /// By how much the counter went further than what was credited; less than zero: more was credited.
    pub fn difference_g(&self) -> Option<i64> {
        self.total_g.map(|_| self.counted_g.saturating_sub(self.credited_g))
    }

    /// Enters a claim. `known`: what its transaction was credited for before, if it was; `highest_g`: where the device's counter begins
    /// from zero.
    pub fn enter(&mut self, claim: &Claim, known: Option<i64>, highest_g: Option<i64>) -> (Verdict, Counter) {
        let verdict = match &claim.delivery {
            None => Verdict::Nothing,
            Some(delivery) => self.judge(delivery, known),
        };
        let credited = match verdict {
            Verdict::Credited { weight_g } => weight_g,
            Verdict::Nothing | Verdict::Again | Verdict::Refused(_) => 0,
        };
        if let Verdict::Credited { weight_g } = verdict {
            self.credits += 1;
            self.weight_g = self.weight_g.saturating_add(weight_g);
            self.refused_in_a_row = 0;
        }
        // it may be in the counter already, and be credited when the scale rests
        let pending = claim.delivery.is_some() && known.is_none() && credited == 0;
        let counter = match claim.total_g.filter(|_| !claim.late) {
            // the books begin with the next
            Some(_) if self.total_g.is_none() && pending => Counter::Unheard,
            Some(total_g) => self.count(total_g, credited, highest_g),
            None => Counter::Unheard,
        };
        // what comes late was counted long ago: before the books began, or it is what the counter went too far
        let counts = match claim.late {
            false => self.total_g.is_some(),
            true => self.difference_g().is_some_and(|difference| credited <= difference),
        };
        if counts {
            self.credited_g = self.credited_g.saturating_add(credited);
        }
        (verdict, counter)
    }

    /// Somebody looked into the difference: from here on the books balance. How much it was.
    pub fn write_off(&mut self) -> i64 {
        let difference = self.difference_g().unwrap_or(0);
        self.written_off_g = self.written_off_g.saturating_add(difference);
        self.credited_g = self.counted_g;
        difference
    }

    /// A credit that was entered, and is not true. The counter went all the same: entered again, it balances.
    pub fn take_back(&mut self, credit: &Credit) {
        self.credits = self.credits.saturating_sub(1);
        self.weight_g = self.weight_g.saturating_sub(credit.weight_g);
        self.points = self.points.saturating_sub(credit.points.unwrap_or(0));
        if self.total_g.is_some() {
            self.credited_g = self.credited_g.saturating_sub(credit.weight_g);
        }
    }

    fn judge(&mut self, delivery: &Delivery, known: Option<i64>) -> Verdict {
        let why = match (delivery.weight_g, known) {
            (Ok(weight_g), None) => return Verdict::Credited { weight_g },
            (Ok(weight_g), Some(known)) if weight_g != known => Refused::NumberUsedAgain,
            (_, Some(_)) => return Verdict::Again,
            (Err(why), None) => why,
        };
        let id = delivery.id.to_string();
        if self.refused_last.as_ref() == Some(&id) && self.why_refused == Some(why) {
            return Verdict::Again;
        }
        self.refused += 1;
        self.refused_in_a_row += 1;
        (self.why_refused, self.refused_last) = (Some(why), Some(id));
        Verdict::Refused(why)
    }

    fn count(&mut self, total_g: i64, credited: i64, highest_g: Option<i64>) -> Counter {
        let (went, counter) = match self.total_g {
            None => (credited, Counter::First),
            Some(last) if total_g >= last => (total_g.saturating_sub(last), Counter::Went),
            Some(last) => match highest_g {
                Some(highest) if last >= highest / 10 * 9 && total_g <= highest / 10 => {
                    (highest.saturating_sub(last).saturating_add(total_g), Counter::Overflowed)
                }
                Some(_) | None if total_g <= BEGUN_ANEW_G => (total_g, Counter::BeganAnew),
                // it was set back: that is a difference, and somebody has to know why
                Some(_) | None => (total_g.saturating_sub(last), Counter::Went),
            },
        };
        self.overflows += u64::from(counter == Counter::Overflowed);
        self.began_anew += u64::from(counter == Counter::BeganAnew);
        self.counted_g = self.counted_g.saturating_add(went);
        self.total_g = Some(total_g);
        counter
    }
}

/// The id of the event, and so the key by which a receiver knows it again. By what the device says alone, so that a store that was lost
/// gives nobody his points twice.
pub fn credit_id(site: &str, device: &DeviceId, transaction: &str) -> EventId {
    let mut digest = Sha256::new();
    for part in ["gatehouse credit 1", site, device.as_str(), transaction] {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    let mut id = [0; 16];
    id.copy_from_slice(&digest.finalize()[..16]);
    EventId(id)
}

/// Grams as kilograms, exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kilograms(pub i64);

impl fmt::Display for Kilograms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, grams) = (if self.0 < 0 { "-" } else { "" }, self.0.unsigned_abs());
        write!(f, "{sign}{}.{:03}", grams / 1000, grams % 1000)
    }
}

/// Hundredths of points as points, exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Points(pub i64);

impl fmt::Display for Points {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, hundredths) = (if self.0 < 0 { "-" } else { "" }, self.0.unsigned_abs());
        match hundredths % 100 {
            0 => write!(f, "{sign}{}", hundredths / 100),
            rest => write!(f, "{sign}{}.{rest:02}", hundredths / 100),
        }
    }
}

#[cfg(test)]
mod tests;
