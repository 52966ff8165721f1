//! `[credit]`: of a class, which points make a delivery; of a product, where it has them.

use std::time::Duration;

use super::Check;
use crate::{
    at,
    document::Step,
    domain::{Kind, PointIx, PointName},
    profile::{
        Class, ClassPoint, Read,
        class::CreditPoints,
        credit::{CreditPlan, STABLE},
        plan::{Absent, Plan, Scale, Take, Turn},
        product::Point,
        schema::{ClassCreditFile, CreditFile, ProfileFile},
    },
    text,
};

const KILOGRAM: &str = "kg";
/// A counter below this tells too little, and none goes further: grams beyond it are no exact numbers.
const WRAPS: std::ops::RangeInclusive<f64> = 100.0..=1e12;

/// What a point must be.
#[derive(Clone, Copy)]
enum Wanted {
    Text,
    /// A text, or one of several words.
    Word,
    Scale,
    Kilograms,
    Number,
}

impl Wanted {
    fn is(self, point: &ClassPoint) -> bool {
        match self {
            Wanted::Text => point.kind == Kind::Text,
            Wanted::Word => matches!(point.kind, Kind::Text | Kind::Choice),
            Wanted::Scale => point.values.iter().any(|word| **word == *STABLE),
            Wanted::Kilograms => point.kind == Kind::Number && point.unit == KILOGRAM,
            Wanted::Number => point.kind == Kind::Number,
        }
    }
}

impl Check<'_> {
    /// Marks the card and what is reckoned among `points`.
    pub(super) fn class_credit(
        &mut self,
        file: ClassCreditFile,
        points: &mut [ClassPoint],
    ) -> Option<CreditPoints> {
        let mut find = |key, name: &str, wanted| self.credit_point(at!["credit", key], name, points, wanted);
        let found = [
            find("transaction", &file.transaction, Wanted::Text),
            find("weight", &file.weight, Wanted::Kilograms),
            find("scale", &file.scale, Wanted::Scale),
            find("category", &file.category, Wanted::Word),
            find("points", &file.points, Wanted::Number),
            find("card", &file.card, Wanted::Text),
            find("total", &file.total, Wanted::Kilograms),
            find("refused", &file.refused, Wanted::Number),
            find("counted", &file.counted, Wanted::Kilograms),
            find("credited", &file.credited, Wanted::Kilograms),
            find("difference", &file.difference, Wanted::Kilograms),
        ];
        let mut found = found.into_iter().collect::<Option<Vec<PointName>>>()?.into_iter();
        let mut next = || found.next();
        let credit = CreditPoints {
            transaction: next()?,
            weight: next()?,
            scale: next()?,
            category: next()?,
            points: next()?,
            card: next()?,
            total: next()?,
            refused: next()?,
            counted: next()?,
            credited: next()?,
            difference: next()?,
        };
        for point in points {
            point.card = point.name == credit.card;
            point.reckoned = credit.reckoned().contains(&&point.name);
        }
        Some(credit)
    }

    fn credit_point(
        &mut self,
        path: &[Step<'_>],
        name: &str,
        points: &[ClassPoint],
        wanted: Wanted,
    ) -> Option<PointName> {
        let Some(point) = points.iter().find(|point| point.name.as_str() == name) else {
            let told = text!("没有测点 \"{name}\"", "there is no point \"{name}\"");
            self.unknown(path, told, name, points.iter().map(|point| point.name.as_str()));
            return None;
        };
        if !wanted.is(point) {
            let (zh, en) = match wanted {
                Wanted::Text => ("须是 text", "it is a text"),
                Wanted::Word => ("须是 text 或 choice", "it is a text or a choice"),
                Wanted::Scale => ("须是含有 \"stable\" 的 choice", "it is a choice with the word \"stable\""),
                Wanted::Kilograms => ("须是以 kg 为单位的 number", "it is a number in kg"),
                Wanted::Number => ("须是 number", "it is a number"),
            };
            self.error(path, text!("{zh}", "{en}"));
            return None;
        }
        Some(point.name.clone())
    }

    /// Adds the points that the gateway reckons for this product to `points`. `None`: it does not say enough of a delivery.
    pub(super) fn credit(
        &mut self,
        file: &ProfileFile,
        class: &Class,
        points: &mut Vec<Point>,
    ) -> Option<CreditPlan> {
        self.reckoned_by_hand(file, class);
        let credit = class.credit.as_ref();
        let place = |name: &PointName, points: &[Point]| {
            let numbered = (0u16..).map(PointIx).zip(points);
            numbered.into_iter().find(|(_, point)| point.name == *name).map(|(ix, _)| ix)
        };
        let needed = credit.and_then(|credit| {
            let [transaction, weight, scale] =
                [&credit.transaction, &credit.weight, &credit.scale].map(|name| place(name, points));
            Some((credit, transaction?, weight?, scale?))
        });
        let Some((credit, transaction, weight, scale)) = needed else {
            if file.credit.is_some() {
                let told = text!(
                    "没有投递单号、重量和称重状态的测点，就没有积分可记",
                    "without points for transaction, weight and scale nothing is credited"
                );
                self.key_error(at!["credit"], told);
            }
            return None;
        };
        let highest_g = file.credit.as_ref().and_then(|file| self.wraps_at(file));
        let [refused, counted, credited, difference] =
            credit.reckoned().map(|name| reckoned(class, name, points));
        Some(CreditPlan {
            transaction,
            weight,
            scale,
            category: place(&credit.category, points),
            points: place(&credit.points, points),
            card: place(&credit.card, points),
            total: place(&credit.total, points),
            refused: refused?,
            counted: counted?,
            credited: credited?,
            difference: difference?,
            highest_g,
        })
    }

    fn reckoned_by_hand(&mut self, file: &ProfileFile, class: &Class) {
        for (i, point) in file.point.iter().enumerate() {
            if class.point(&point.name).is_some_and(|point| point.reckoned) {
                let name = &point.name;
                let told = text!(
                    "\"{name}\" 由网关自己计算，模板里不写",
                    "\"{name}\" is reckoned by the gateway: no profile has it"
                );
                self.error(at!["point", i, "name"], told);
            }
        }
    }

    fn wraps_at(&mut self, file: &CreditFile) -> Option<i64> {
        let highest = file.total_wraps_at?;
        if !WRAPS.contains(&highest) {
            self.error(
                at!["credit", "total_wraps_at"],
                text!("须在 100 到 1e12 之间", "it is from 100 to 1e12"),
            );
            return None;
        }
        Some((highest * 1000.0).round() as i64)
    }
}

fn reckoned(class: &Class, name: &PointName, points: &mut Vec<Point>) -> Option<PointIx> {
    let class_point = class.points.iter().position(|point| point.name == *name)?;
    let ix = u16::try_from(points.len()).ok().map(PointIx)?;
    points.push(Point {
        name: name.clone(),
        class_point,
        every: Duration::from_secs(1),
        read: Read::Reckoned,
        // nothing that is heard speaks of it
        plan: Plan {
            take: Take::Bit,
            absent: Absent::default(),
            turn: Turn::Number { scale: Scale::new(1.0), offset: 0.0, range: None },
        },
    });
    Some(ix)
}
