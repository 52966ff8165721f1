//! What one message of a device says of a delivery for which points may be given. Pure, total: what is not certain is refused.

use jiff::Timestamp;

use super::Device;
use crate::domain::{
    PointIx, Quality, Sample, Value,
    credit::{Account, Claim, Delivery, Refused, credit_id},
};

/// The word of a scale at rest.
pub(super) const STABLE: &str = "stable";
const OVERLOAD: &str = "overload";
const UNDERLOAD: &str = "underload";
/// Nobody brings more at once, and no counter goes further: what is above is no exact number of grams.
const MOST_KG: f64 = 1e12;
const MOST_POINTS: f64 = 1e12;
/// Longer numbers of transactions, words and cards are cut here, between two letters.
const LONGEST: usize = 128;
/// What a transaction is called whose number cannot be read.
const UNREADABLE: &str = "?";

/// Where a product has what its class calls a delivery, and what is reckoned from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreditPlan {
    pub transaction: PointIx,
    pub weight: PointIx,
    pub scale: PointIx,
    pub category: Option<PointIx>,
    pub points: Option<PointIx>,
    pub card: Option<PointIx>,
    pub total: Option<PointIx>,
    pub refused: PointIx,
    pub counted: PointIx,
    pub credited: PointIx,
    pub difference: PointIx,
    /// Where the device's counter begins from zero again.
    pub highest_g: Option<i64>,
}

impl CreditPlan {
    /// What `samples`, which came in one message of `device`, say of a delivery and of its counter. All of it from this message: what one
    /// message says of the weight belongs to no other one's transaction.
    pub fn claim(
        &self,
        (site, device): (&str, &Device),
        samples: &[(PointIx, Sample)],
        at: Timestamp,
        late: bool,
    ) -> Claim {
        let said = Said(samples);
        let total_g = said.number(self.total).and_then(grams).filter(|total| *total >= 0);
        Claim { delivery: self.delivery((site, device), &said), total_g, late, at }
    }

    fn delivery(&self, (site, device): (&str, &Device), said: &Said<'_>) -> Option<Delivery> {
        let number = match (said.text(Some(self.transaction)), said.sample(self.transaction)) {
            (Some(number), _) if !number.is_empty() => Some(number),
            // left out, or null: nobody brought anything yet
            (Some(_), _) | (None, None) => return None,
            (None, Some(sample)) if sample.quality() == Quality::Absent => return None,
            (None, Some(_)) => None,
        };
        let weight_g = match number {
            None => Err(Refused::NoNumber),
            Some(_) => self.weight(said),
        };
        let number = number.unwrap_or(UNREADABLE);
        let points = said.number(self.points).filter(|points| (0.0..=MOST_POINTS).contains(points));
        let word = |point| said.text(point).filter(|word| !word.is_empty()).map(cut);
        Some(Delivery {
            id: credit_id(site, &device.id, number),
            transaction: cut(number),
            weight_g,
            category: word(self.category),
            points: points.map(|points| (points * 100.0).round() as i64),
            card: word(self.card),
        })
    }

    /// At rest, and more than nothing.
    fn weight(&self, said: &Said<'_>) -> Result<i64, Refused> {
        match said.text(Some(self.scale)) {
            Some(STABLE) => {}
            Some(OVERLOAD) => return Err(Refused::Overload),
            Some(UNDERLOAD) => return Err(Refused::Underload),
            Some(_) | None => return Err(Refused::Unstable),
        }
        match said.number(Some(self.weight)).and_then(grams) {
            None => Err(Refused::NoWeight),
            Some(..=0) => Err(Refused::NothingWeighed),
            Some(weight_g) => Ok(weight_g),
        }
    }

    /// How the books stand, as readings.
    pub fn reckoned(&self, account: &Account) -> Vec<(PointIx, Sample)> {
        let kilograms = |grams: i64| Sample::good(Value::Number(grams as f64 / 1000.0));
        let mut samples = vec![(self.refused, Sample::good(Value::Number(account.refused_in_a_row as f64)))];
        if let Some(difference) = account.difference_g() {
            samples.push((self.counted, kilograms(account.counted_g)));
            samples.push((self.credited, kilograms(account.credited_g)));
            samples.push((self.difference, kilograms(difference)));
        }
        samples
    }
}

/// To the gram.
fn grams(kilograms: f64) -> Option<i64> {
    (kilograms.abs() <= MOST_KG).then(|| (kilograms * 1000.0).round() as i64)
}

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(LONGEST)].to_owned()
}

struct Said<'a>(&'a [(PointIx, Sample)]);

impl Said<'_> {
    fn sample(&self, point: PointIx) -> Option<&Sample> {
        self.0.iter().find(|(said, _)| *said == point).map(|(_, sample)| sample)
    }

    fn number(&self, point: Option<PointIx>) -> Option<f64> {
        match self.sample(point?)?.value()? {
            Value::Number(number) => Some(*number),
            Value::Flag(_) | Value::Text(_) => None,
        }
    }

    fn text(&self, point: Option<PointIx>) -> Option<&str> {
        match self.sample(point?)?.value()? {
            Value::Text(text) => Some(text.trim()),
            Value::Flag(_) | Value::Number(_) => None,
        }
    }
}
