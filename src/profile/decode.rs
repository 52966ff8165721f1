//! Raw bytes to readings: pure, total; a failure never becomes a number.

use jiff::Timestamp;

use super::{Profile, Read, message::Message, plan::Plan};
use crate::domain::{PointIx, Raw, Sample, Table, Value};

/// What one raw answer said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decoded {
    /// Points that the answer speaks of; others keep what they had.
    pub samples: Vec<(PointIx, Sample)>,
    /// The device's own time and number of the message, where the profile says where they stand.
    pub source_time: Option<Timestamp>,
    pub sequence: Option<u64>,
    /// The payload as a whole could not be read (not JSON, too deep, too long): why.
    pub malformed: Option<String>,
}

/// What holds for an answer as a whole.
#[derive(Debug)]
pub(super) enum Decoder {
    /// Registers and frames are checked before they come here.
    /// Modbus; the profile counts registers from `base`.
    Registers {
        base: u16,
    },
    Frames,
    Message(Message),
}

impl Profile {
    /// What the profile's register numbers are counted from.
    pub fn address_base(&self) -> u16 {
        match self.decoder {
            Decoder::Registers { base } => base,
            Decoder::Frames | Decoder::Message(_) => 0,
        }
    }

    /// Decodes `raw`; of the points in `about`, those that it speaks of, in that order. Never panics, whatever `raw`
    /// holds; what is not one of the profile's answers gives nothing.
    pub fn decode(&self, raw: &Raw, about: &[PointIx]) -> Decoded {
        self.decode_into(Vec::new(), raw, about)
    }

    /// The same, into the memory of `samples`, which is empty.
    pub fn decode_into(&self, samples: Vec<(PointIx, Sample)>, raw: &Raw, about: &[PointIx]) -> Decoded {
        match raw {
            Raw::Registers { table, first, words } => self.registers(samples, (*table, *first, words), about),
            Raw::Bits { table, first, bits } => {
                self.checked(about, |read, plan| plan.of_bit(*stretch(read, *table, *first, bits)?.first()?))
            }
            Raw::Frame { frame, bytes } => self.checked(about, |read, plan| match read {
                Read::Serial { frame: of } if of == frame => plan.of_bytes(bytes),
                Read::Serial { .. } | Read::Modbus { .. } | Read::Mqtt | Read::Reckoned => None,
            }),
            Raw::Payload { bytes, retained } => {
                let Decoder::Message(shape) = &self.decoder else { return Decoded::default() };
                let mut decoded = self.message(shape, bytes, about);
                if *retained {
                    decoded.samples =
                        decoded.samples.into_iter().map(|(ix, sample)| (ix, sample.aged())).collect();
                }
                decoded
            }
        }
    }

    fn registers(
        &self,
        mut samples: Vec<(PointIx, Sample)>,
        (table, first, words): (Table, u16, &[u16]),
        about: &[PointIx],
    ) -> Decoded {
        samples.reserve(about.len());
        for &ix in about {
            match self.quick.number(ix, table, first, words) {
                Some(number) => samples.push((ix, Sample::good(Value::Number(number)))),
                None => samples
                    .extend(self.sample(ix, |read, plan| plan.of_words(stretch(read, table, first, words)?))),
            }
        }
        Decoded { samples, ..Decoded::default() }
    }

    fn sample(
        &self,
        ix: PointIx,
        sample: impl Fn(&Read, &Plan) -> Option<Sample>,
    ) -> Option<(PointIx, Sample)> {
        let point = self.points.get(usize::from(ix.0))?;
        Some((ix, sample(&point.read, &point.plan)?))
    }

    fn checked(&self, about: &[PointIx], sample: impl Fn(&Read, &Plan) -> Option<Sample>) -> Decoded {
        let mut samples = Vec::with_capacity(about.len());
        samples.extend(about.iter().filter_map(|ix| self.sample(*ix, &sample)));
        Decoded { samples, ..Decoded::default() }
    }

    pub(super) fn each(
        &self,
        about: &[PointIx],
        sample: impl Fn(&Plan) -> Option<Sample>,
    ) -> Vec<(PointIx, Sample)> {
        self.checked(about, |_, plan| sample(plan)).samples
    }
}

/// The point's own part of `all`, which begins at `first` of `table`; `None` unless all of it is there.
fn stretch<'a, T>(read: &Read, table: Table, first: u16, all: &'a [T]) -> Option<&'a [T]> {
    let Read::Modbus { table: of, address, span } = read else { return None };
    let from = usize::from(address.checked_sub(first)?);
    all.get(from..from + usize::from(*span)).filter(|_| *of == table)
}
