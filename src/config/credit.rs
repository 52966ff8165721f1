//! `[credit]`: what a kilogram is worth.

use super::{desk::Desk, file::CreditTable};
use crate::{at, domain::credit::Tariff, text};

/// More is a slip of the pen.
const MOST: f64 = 1e6;

pub(super) fn tariff(desk: &mut Desk<'_>, table: &CreditTable) -> Tariff {
    let mut tariff = Tariff::default();
    for (category, points) in &table.points_per_kg {
        let hundredths = points * 100.0;
        if !(0.0..=MOST).contains(points) || (hundredths - hundredths.round()).abs() > 1e-6 {
            let told = text!(
                "每公斤积分须在 0 到 1000000 之间，最多两位小数",
                "points per kg are from 0 to 1000000, with two decimals at most"
            );
            desk.error(at!["credit", "points_per_kg", category.as_str()], told);
        }
        tariff.0.insert(category.clone(), hundredths.round() as i64);
    }
    tariff
}
