//! How the samples of one row are written: small, exact, and readable without any other row.
//!
//! ```text
//! blob  = runs  { start  length }*  sample*          which points, then what they gave, in the same order
//! start = zigzag of (first point − end of the run before)
//! ```
//! A sample begins with a head: four bits of kind, then a number in groups of three and seven bits.
//!
//! | kind | number | value |
//! |---|---|---|
//! | 0 | zigzag m | m |
//! | 1–6 | zigzag m | m ÷ 10ᵏ: the double nearest to a decimal fraction |
//! | 7–12 | zigzag m | m × 10⁶⁻ᵏ: what a register times its scale gives, one bit away from the nearest |
//! | 13 | length | UTF-8 |
//! | 14 | 0 1 | false, true |
//! | 14 | 2 | eight bytes of double, little-endian |
//! | 14 | 3 | the sample that follows is stale |
//! | 14 | 4–7 | no value: absent, out of range, communication failed, undecodable |
//! | 15 | 0 | four bytes of float, little-endian |

use std::sync::Arc;

use super::outbox::cut;
use crate::domain::{PointIx, Quality, Sample, Value};

/// Of this layout; in `series.codec`.
pub(super) const CODEC: i64 = 1;
/// Longer texts are cut when they are written.
pub const TEXT_MAX_BYTES: usize = 1024;

const TEXT: u8 = 13;
const WORD: u8 = 14;
const SINGLE: u8 = 15;
const DOUBLE_FOLLOWS: u64 = 2;
const STALE: u64 = 3;
/// Beyond this a double no longer holds every integer.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
const POWERS: [f64; 7] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6];
const SCALES: [f64; 6] = [1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6];

/// The bytes are not what [`encode`] writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("understand stored samples at byte {at}")]
pub struct Unreadable {
    pub at: usize,
}

pub fn encode(samples: &[(PointIx, Sample)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + samples.len() * 4);
    let runs: Vec<_> = samples.chunk_by(|one, next| one.0.0.checked_add(1) == Some(next.0.0)).collect();
    put_varint(&mut out, runs.len() as u64);
    let mut end = 0;
    for run in runs {
        let first = i64::from(run[0].0.0);
        put_varint(&mut out, zigzag(first - end));
        put_varint(&mut out, run.len() as u64);
        end = first + run.len() as i64;
    }
    samples.iter().for_each(|(_, sample)| put_sample(&mut out, sample));
    out
}

fn put_sample(out: &mut Vec<u8>, sample: &Sample) {
    if sample.quality() == Quality::Stale {
        put_head(out, WORD, STALE);
    }
    match sample.value() {
        Some(Value::Number(number)) => put_number(out, *number),
        Some(Value::Flag(flag)) => put_head(out, WORD, u64::from(*flag)),
        Some(Value::Text(text)) => {
            let text = cut(text, TEXT_MAX_BYTES);
            put_head(out, TEXT, text.len() as u64);
            out.extend_from_slice(text.as_bytes());
        }
        None => put_head(out, WORD, missing_word(sample.quality())),
    }
}

fn missing_word(quality: Quality) -> u64 {
    match quality {
        // Good and stale have a value by construction.
        Quality::Absent | Quality::Good | Quality::Stale => 4,
        Quality::OutOfRange => 5,
        Quality::CommFail => 6,
        Quality::DecodeError => 7,
    }
}

fn put_number(out: &mut Vec<u8>, number: f64) {
    if let Some((kind, m)) = as_decimal(number) {
        put_head(out, kind, zigzag(m));
    } else if f64::from(number as f32).to_bits() == number.to_bits() {
        put_head(out, SINGLE, 0);
        out.extend_from_slice(&(number as f32).to_le_bytes());
    } else {
        put_head(out, WORD, DOUBLE_FOLLOWS);
        out.extend_from_slice(&number.to_le_bytes());
    }
}

/// `number` as a kind and an integer, if that gives back exactly the same bits.
fn as_decimal(number: f64) -> Option<(u8, i64)> {
    let whole = |m: f64| (m.abs() < EXACT_MAX).then_some(m as i64);
    let divided = (0u8..).zip(POWERS).map(|(kind, power)| (kind, (number * power).round()));
    let scaled = (7u8..).zip(SCALES).map(|(kind, scale)| (kind, (number / scale).round()));
    divided
        .chain(scaled)
        .filter_map(|(kind, m)| Some((kind, whole(m)?)))
        .find(|(kind, m)| decimal(*kind, *m).is_some_and(|back| back.to_bits() == number.to_bits()))
}

fn decimal(kind: u8, m: i64) -> Option<f64> {
    let kind = usize::from(kind);
    match POWERS.get(kind) {
        Some(power) => Some(m as f64 / power),
        None => SCALES.get(kind - POWERS.len()).map(|scale| m as f64 * scale),
    }
}

/// # Errors
/// `Unreadable` where the bytes stop making sense; never more work or memory than a small multiple of them.
pub fn decode(blob: &[u8]) -> Result<Vec<(PointIx, Sample)>, Unreadable> {
    let mut cursor = Cursor { blob, at: 0 };
    let points = cursor.points()?;
    let samples = points
        .into_iter()
        .map(|point| Ok((point, cursor.sample()?)))
        .collect::<Result<Vec<_>, Unreadable>>()?;
    if cursor.at == blob.len() { Ok(samples) } else { Err(cursor.lost()) }
}

struct Cursor<'a> {
    blob: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn lost(&self) -> Unreadable {
        Unreadable { at: self.at }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Unreadable> {
        let end = self.at.checked_add(count).ok_or(self.lost())?;
        let bytes = self.blob.get(self.at..end).ok_or(self.lost())?;
        self.at = end;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        let bytes = self.take(N)?;
        bytes.try_into().map_err(|_| self.lost())
    }

    /// Which points the row has: never more than it has bytes, for every sample takes at least one.
    fn points(&mut self) -> Result<Vec<PointIx>, Unreadable> {
        let mut points = Vec::new();
        let mut end = 0i64;
        for _ in 0..self.varint()? {
            let first = end.checked_add(unzigzag(self.varint()?)).ok_or(self.lost())?;
            let length = usize::try_from(self.varint()?).map_err(|_| self.lost())?;
            if length > self.blob.len().saturating_sub(points.len()) {
                return Err(self.lost());
            }
            end = first.checked_add(length as i64).ok_or(self.lost())?;
            for point in first..end {
                points.push(PointIx(u16::try_from(point).map_err(|_| self.lost())?));
            }
        }
        Ok(points)
    }

    fn sample(&mut self) -> Result<Sample, Unreadable> {
        match self.head()? {
            (WORD, STALE) => {
                let head = self.head()?;
                self.value(head).map(Sample::stale)
            }
            (WORD, 4) => Ok(Sample::without_value(Quality::Absent)),
            (WORD, 5) => Ok(Sample::without_value(Quality::OutOfRange)),
            (WORD, 6) => Ok(Sample::without_value(Quality::CommFail)),
            (WORD, 7) => Ok(Sample::without_value(Quality::DecodeError)),
            head => self.value(head).map(Sample::good),
        }
    }

    fn value(&mut self, head: (u8, u64)) -> Result<Value, Unreadable> {
        match head {
            (TEXT, length) => {
                let length = usize::try_from(length).map_err(|_| self.lost())?;
                let text = std::str::from_utf8(self.take(length)?).map_err(|_| self.lost())?;
                Ok(Value::Text(Arc::from(text)))
            }
            (WORD, 0) => Ok(Value::Flag(false)),
            (WORD, 1) => Ok(Value::Flag(true)),
            (WORD, DOUBLE_FOLLOWS) => Ok(Value::Number(f64::from_le_bytes(self.array()?))),
            (SINGLE, 0) => Ok(Value::Number(f64::from(f32::from_le_bytes(self.array()?)))),
            (WORD | SINGLE, _) => Err(self.lost()),
            (kind, m) => decimal(kind, unzigzag(m)).map(Value::Number).ok_or(self.lost()),
        }
    }

    fn head(&mut self) -> Result<(u8, u64), Unreadable> {
        let [first] = self.array()?;
        let low = u64::from(first >> 4 & 0b111);
        let rest = if first & 0x80 == 0 { 0 } else { self.varint()? };
        let high = rest.checked_mul(8).ok_or(self.lost())?;
        Ok((first & 0x0f, high | low))
    }

    fn varint(&mut self) -> Result<u64, Unreadable> {
        let mut value = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.lost())
    }
}

fn put_head(out: &mut Vec<u8>, kind: u8, number: u64) {
    let low = (number & 0b111) as u8;
    let more = number >> 3;
    out.push(u8::from(more != 0) << 7 | low << 4 | kind);
    if more != 0 {
        put_varint(out, more);
    }
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63) as u64
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<bool>().prop_map(Value::Flag),
            prop::num::f64::NORMAL.prop_map(Value::Number),
            prop::num::f32::ANY
                .prop_filter("a number", |n| !n.is_nan())
                .prop_map(|n| Value::Number(n.into())),
            (any::<i64>(), 0..7usize).prop_map(|(m, e)| Value::Number(m as f64 / POWERS[e])),
            (any::<u16>(), 0..6usize).prop_map(|(m, e)| Value::Number(f64::from(m) * SCALES[e])),
            "\\PC{0,200}".prop_map(|text| Value::Text(text.into())),
        ]
    }

    fn sample() -> impl Strategy<Value = Sample> {
        prop_oneof![
            6 => value().prop_map(Sample::good),
            1 => value().prop_map(Sample::stale),
            1 => prop::sample::select(&Quality::ALL[2..]).prop_map(Sample::without_value),
        ]
    }

    /// As `PartialEq`, but 0.0 is not -0.0.
    fn bits(samples: &[(PointIx, Sample)]) -> Vec<(u16, Quality, Option<u64>, Option<Value>)> {
        let number = |value: &Value| match value {
            Value::Number(number) => Some(number.to_bits()),
            Value::Flag(_) | Value::Text(_) => None,
        };
        samples
            .iter()
            .map(|(at, one)| (at.0, one.quality(), one.value().and_then(number), one.value().cloned()))
            .collect()
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(samples in prop::collection::vec((any::<u16>().prop_map(PointIx), sample()), 0..40)) {
            prop_assert_eq!(bits(&decode(&encode(&samples)).unwrap()), bits(&samples));
        }

        #[test]
        fn no_bytes_panic_or_allocate_without_limit(blob in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(samples) = decode(&blob) {
                prop_assert!(samples.len() <= blob.len());
            }
        }
    }

    #[test]
    fn what_is_common_is_small() {
        let number = |n| Sample::good(Value::Number(n));
        for (fact, sample, bytes) in [
            ("a small whole number", number(3.0), 1),
            ("a floor", number(-9.0), 2),
            ("a register", number(65535.0), 3),
            ("a decimal fraction", number(230.1), 3),
            ("a register times 0.1", number(2301.0 * 0.1), 3),
            ("a register times 0.001", number(2303.0 * 0.001), 3),
            ("a float from the wire", number(f64::from(230.1f32)), 5),
            ("any double", number(std::f64::consts::PI), 9),
            ("minus nothing", number(-0.0), 5),
            ("a flag", Sample::good(Value::Flag(true)), 1),
            ("a stale flag", Sample::stale(Value::Flag(true)), 2),
            ("no value", Sample::without_value(Quality::CommFail), 1),
            ("a choice", Sample::good(Value::Text("closed".into())), 7),
        ] {
            // one run of one point takes three bytes
            let blob = encode(&[(PointIx(7), sample.clone())]);
            assert_eq!(blob.len(), 3 + bytes, "{fact}");
            assert_eq!(bits(&decode(&blob).unwrap()), bits(&[(PointIx(7), sample)]), "{fact}");
        }
    }

    #[test]
    fn a_text_too_long_is_cut_between_characters() {
        let long = Sample::good(Value::Text("困".repeat(600).into()));
        let back = decode(&encode(&[(PointIx(0), long)])).unwrap();
        assert_eq!(back[0].1, Sample::good(Value::Text("困".repeat(341).into())));
    }

    #[test]
    fn a_blob_cut_short_is_unreadable() {
        let blob = encode(&[(PointIx(0), Sample::good(Value::Text("closed".into())))]);
        for end in 0..blob.len() {
            assert!(decode(&blob[..end]).is_err(), "{end} bytes");
        }
    }
}
