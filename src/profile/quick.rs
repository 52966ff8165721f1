//! The short way of most registers: a number from whole registers, scaled, within its range.
//!
//! It says what the point's [`Plan`] says or nothing at all: whatever is no such number is left to the plan.

use super::{
    Point, Read,
    plan::{Form, Pick, Plan, Scale, Take, Turn, Wire},
};
use crate::domain::{PointIx, Table};

/// By point, close together: every register that is polled comes by here.
#[derive(Debug, Default)]
pub(super) struct Quick(Box<[Option<Way>]>);

#[derive(Clone, Copy, Debug)]
struct Way {
    table: Table,
    address: u16,
    word: Word,
    scale: Scale,
    offset: f64,
    low: f64,
    high: f64,
}

/// What is read; of two registers, whether the second is the upper one.
#[derive(Clone, Copy, Debug)]
enum Word {
    Unsigned,
    Signed,
    Unsigned32 { reversed: bool },
    Signed32 { reversed: bool },
    Float32 { reversed: bool },
}

impl Quick {
    pub fn of(points: &[Point]) -> Self {
        Self(points.iter().map(|point| Way::of(&point.read, &point.plan)).collect())
    }

    /// The good number of `point`, if these registers hold one.
    #[inline]
    pub fn number(&self, point: PointIx, table: Table, first: u16, words: &[u16]) -> Option<f64> {
        let way = self.0.get(usize::from(point.0))?.as_ref()?;
        if way.table != table {
            return None;
        }
        way.number(words.get(usize::from(way.address.checked_sub(first)?)..)?)
    }
}

impl Way {
    fn of(read: &Read, plan: &Plan) -> Option<Self> {
        let Read::Modbus { table, address, span } = *read else { return None };
        let Take::Words { wire, bytes_swapped: false, words_reversed: reversed } = plan.take else {
            return None;
        };
        let Turn::Number { scale, offset, range } = plan.turn else { return None };
        if !(plan.absent.patterns.is_empty() && plan.absent.numbers.is_empty()) {
            return None;
        }
        const WHOLE: Pick = Pick { shift: 0, width: 16 };
        const BOTH: Pick = Pick { shift: 0, width: 32 };
        let word = match (wire, span) {
            (Wire::Whole { pick: WHOLE, form: Form::Unsigned }, 1) => Word::Unsigned,
            (Wire::Whole { pick: WHOLE, form: Form::Signed }, 1) => Word::Signed,
            (Wire::Whole { pick: BOTH, form: Form::Unsigned }, 2) => Word::Unsigned32 { reversed },
            (Wire::Whole { pick: BOTH, form: Form::Signed }, 2) => Word::Signed32 { reversed },
            (Wire::Float32, 2) => Word::Float32 { reversed },
            (
                Wire::Whole { .. } | Wire::Float32 | Wire::Float64 | Wire::Text | Wire::Hex | Wire::Decimal,
                _,
            ) => return None,
        };
        // whatever is not finite is beyond these too
        let [low, high] = range.unwrap_or([f64::MIN, f64::MAX]);
        Some(Way { table, address, word, scale, offset, low: low.max(f64::MIN), high: high.min(f64::MAX) })
    }

    /// `words` from the point's first register on.
    #[inline]
    fn number(&self, words: &[u16]) -> Option<f64> {
        let both = |reversed| {
            let &[first, second] = words.first_chunk()?;
            let [high, low] = if reversed { [second, first] } else { [first, second] };
            Some(u32::from(high) << 16 | u32::from(low))
        };
        let raw = match self.word {
            Word::Unsigned => f64::from(*words.first()?),
            Word::Signed => f64::from(*words.first()? as i16),
            Word::Unsigned32 { reversed } => f64::from(both(reversed)?),
            Word::Signed32 { reversed } => f64::from(both(reversed)? as i32),
            Word::Float32 { reversed } => f64::from(f32::from_bits(both(reversed)?)),
        };
        let number = self.scale.apply(raw) + self.offset;
        (number >= self.low && number <= self.high).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{Sample, Value},
        profile::plan::Absent,
    };

    /// Every seventh pattern of a register and those at the ends, in either half of two: the short way says what the plan says, or leaves it to the plan where that has no number.
    #[test]
    fn the_short_way_and_the_plan_agree_on_every_pattern() {
        let wires = [
            (Wire::Whole { pick: Pick::all(16), form: Form::Unsigned }, 1),
            (Wire::Whole { pick: Pick::all(16), form: Form::Signed }, 1),
            (Wire::Whole { pick: Pick::all(32), form: Form::Unsigned }, 2),
            (Wire::Whole { pick: Pick::all(32), form: Form::Signed }, 2),
            (Wire::Float32, 2),
        ];
        let turns = [
            (Scale::Times(1.0), 0.0, None),
            (Scale::Over(10.0), 0.0, None),
            (Scale::Times(0.3), -40.5, Some([-10.0, 300.0])),
            (Scale::Times(f64::MAX), 0.0, Some([f64::NEG_INFINITY, f64::INFINITY])),
        ];
        let (mut quick, mut left) = (0, 0);
        for (wire, span) in wires {
            for words_reversed in [false, true] {
                for (scale, offset, range) in turns {
                    let take = Take::Words { wire, bytes_swapped: false, words_reversed };
                    let turn = Turn::Number { scale, offset, range };
                    let plan = Plan { take, absent: Absent::default(), turn };
                    let read = Read::Modbus { table: Table::Holding, address: 0, span };
                    let way = Way::of(&read, &plan).expect("one of those");
                    for word in (0..=u16::MAX).step_by(7).chain([0x7f7f, 0x7fff, 0x8000, 0xff80, u16::MAX]) {
                        let words = [[word, word.rotate_left(5)], [word.rotate_left(3), word]];
                        for words in words.iter().map(|words| &words[..usize::from(span)]) {
                            let slow = plan.of_words(words).expect("it speaks of the point");
                            match (way.number(words), slow.value()) {
                                (Some(number), Some(Value::Number(slow_number))) if slow.is_good() => {
                                    assert_eq!(
                                        number.to_bits(),
                                        slow_number.to_bits(),
                                        "{words:x?} {plan:?}"
                                    );
                                    quick += 1;
                                }
                                (None, None) => left += 1,
                                (number, _) => panic!("{words:x?} {number:?} {slow:?} {plan:?}"),
                            }
                        }
                    }
                }
            }
        }
        assert!(quick > 200_000 && left > 20_000, "{quick} {left}");
    }

    #[test]
    fn what_is_not_so_plain_is_left_to_the_plan() {
        let whole = |pick| Wire::Whole { pick, form: Form::Unsigned };
        let number = || Turn::Number { scale: Scale::Times(1.0), offset: 0.0, range: None };
        let words = |wire| Take::Words { wire, bytes_swapped: false, words_reversed: false };
        let plain = || Plan { take: words(whole(Pick::all(16))), absent: Absent::default(), turn: number() };
        let read = |span| Read::Modbus { table: Table::Input, address: 3, span };
        assert!(Way::of(&read(1), &plain()).is_some());
        let swapped = Take::Words { wire: whole(Pick::all(16)), bytes_swapped: true, words_reversed: false };
        let absent = Absent { patterns: Box::new([0xffff]), ..Absent::default() };
        for (fact, span, plan) in [
            ("another span", 2, plain()),
            ("some of the bits", 1, Plan { take: words(whole(Pick { shift: 4, width: 12 })), ..plain() }),
            ("bytes swapped", 1, Plan { take: swapped, ..plain() }),
            ("a pattern for absent", 1, Plan { absent, ..plain() }),
            ("a flag", 1, Plan { turn: Turn::Flag(None), ..plain() }),
            ("a double", 4, Plan { take: words(Wire::Float64), ..plain() }),
        ] {
            assert!(Way::of(&read(span), &plan).is_none(), "{fact}");
        }
        let quick = Quick(Box::new([Way::of(&read(1), &plain())]));
        let number = |table, first, words: &[u16]| quick.number(PointIx(0), table, first, words);
        assert_eq!(number(Table::Input, 2, &[7, 9]), Some(9.0));
        for (fact, table, first, words) in [
            ("another table", Table::Holding, 2, &[7, 9][..]),
            ("before the answer", Table::Input, 4, &[7, 9]),
            ("behind the answer", Table::Input, 1, &[7, 9]),
        ] {
            assert_eq!(number(table, first, words), None, "{fact}");
        }
        assert_eq!(quick.number(PointIx(1), Table::Input, 2, &[7, 9]), None, "no such point");
        assert_eq!(Some(Sample::good(Value::Number(9.0))), plain().of_words(&[9]));
    }
}
