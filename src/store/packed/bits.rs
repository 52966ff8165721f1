//! Bits, the lowest first, and small whole numbers in as few of them as they have lately needed.

use super::Unreadable;

/// A step this many times beyond what is usual is written at length.
const USUAL_TIMES: u32 = 11;
/// How slowly [`Spread`] forgets: a sixteenth a step.
const MEMORY: u32 = 4;
/// So many bits can be put at once beside the seven that may be held: then no shift is by all 64.
const AT_ONCE: u32 = 56;
/// A step of so many bits never counts as usual.
const USUAL_BITS: u32 = 56;

#[derive(Default)]
pub struct BitWriter {
    /// Written up to `at`; what is beyond is room.
    out: Vec<u8>,
    at: usize,
    /// What is no whole byte yet.
    held: u64,
    /// How many bits of `held`: fewer than 8 between two calls.
    count: u32,
}

impl BitWriter {
    /// After what `out` has already.
    pub fn after(out: Vec<u8>) -> Self {
        Self { at: out.len(), out, held: 0, count: 0 }
    }

    /// The lowest `count` bits of `bits`, which has no others.
    #[inline]
    pub fn put(&mut self, bits: u64, count: u32) {
        debug_assert!(count <= 64 && (count == 64 || bits >> count == 0));
        if count > AT_ONCE {
            self.put_short(bits & 0xffff_ffff, 32);
            self.put_short(bits >> 32, count - 32);
        } else {
            self.put_short(bits, count);
        }
    }

    /// Eight bytes are written whatever there is, so that no branch depends on how much it is.
    #[inline]
    fn put_short(&mut self, bits: u64, count: u32) {
        self.held |= bits << self.count;
        self.count += count;
        let held = self.held.to_le_bytes();
        match self.out.get_mut(self.at..).and_then(|room| room.first_chunk_mut::<8>()) {
            Some(room) => *room = held,
            None => self.put_growing(held),
        }
        self.at += (self.count >> 3) as usize;
        self.held >>= self.count & !7;
        self.count &= 7;
    }

    #[cold]
    fn put_growing(&mut self, held: [u8; 8]) {
        self.out.resize((self.at * 2).max(self.at + 256), 0);
        self.out[self.at..self.at + 8].copy_from_slice(&held);
    }

    /// A number of unknown size: how many bits, then they.
    pub fn put_number(&mut self, number: u64) {
        let bits = (u64::BITS - number.leading_zeros()).max(1);
        self.put(u64::from(bits - 1), 6);
        self.put(number, bits);
    }

    pub fn put_bytes(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.put_short(u64::from(*byte), 8));
    }

    /// Filled up to a whole byte.
    pub fn finish(mut self) -> Vec<u8> {
        // what is held stands behind the whole bytes already
        self.out.truncate(self.at + usize::from(self.count > 0));
        self.out
    }
}

/// Never reads beyond its bytes, however it is asked.
#[derive(Clone)]
pub struct BitReader<'a> {
    bytes: &'a [u8],
    /// How many of `bytes` are in `held` or gone.
    at: usize,
    held: u64,
    count: u32,
}

impl<'a> BitReader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, held: 0, count: 0 }
    }

    pub fn lost(&self) -> Unreadable {
        Unreadable { at: self.at }
    }

    /// At least 56 bits are held, or all there are.
    #[inline]
    fn fill(&mut self) {
        if let Some(next) = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<8>()) {
            self.held |= u64::from_le_bytes(*next) << self.count;
            let whole = (63 - self.count) >> 3;
            self.at += whole as usize;
            self.count += whole << 3;
        } else {
            self.fill_from_the_end();
        }
    }

    #[cold]
    fn fill_from_the_end(&mut self) {
        while self.count <= 56
            && let Some(byte) = self.bytes.get(self.at)
        {
            self.held |= u64::from(*byte) << self.count;
            self.count += 8;
            self.at += 1;
        }
    }

    #[inline]
    pub fn take(&mut self, count: u32) -> Result<u64, Unreadable> {
        if count > 32 {
            let low = self.take_short(32)?;
            return Ok(low | self.take_short(count - 32)? << 32);
        }
        self.take_short(count)
    }

    #[inline]
    fn take_short(&mut self, count: u32) -> Result<u64, Unreadable> {
        if self.count < count {
            self.fill();
            if self.count < count {
                return Err(self.lost());
            }
        }
        let bits = self.held & ((1 << count) - 1);
        self.held >>= count;
        self.count -= count;
        Ok(bits)
    }

    /// How many ones there are before the next zero, `most` at most; the zero is taken too.
    #[inline]
    fn ones(&mut self, most: u32) -> Result<u32, Unreadable> {
        if self.count <= most {
            self.fill();
        }
        let ones = self.held.trailing_ones().min(most);
        self.take_short(if ones < most { ones + 1 } else { most })?;
        Ok(ones)
    }

    /// A usual step with `low` lower bits, if there are surely enough bits for one; else nothing is taken. It fills up each time: a
    /// branch that asks whether it must is one that nobody can foresee.
    #[inline(always)]
    fn usual(&mut self, low: u32) -> Option<u64> {
        let most = USUAL_TIMES + low;
        self.fill();
        let times = self.held.trailing_ones();
        if times >= USUAL_TIMES || self.count < most {
            return None;
        }
        let step = u64::from(times) << low | self.held >> (times + 1) & ((1 << low) - 1);
        self.held >>= times + 1 + low;
        self.count -= times + 1 + low;
        Some(step)
    }

    pub fn flag(&mut self) -> Result<bool, Unreadable> {
        Ok(self.take_short(1)? == 1)
    }

    pub fn number(&mut self) -> Result<u64, Unreadable> {
        let bits = self.take_short(6)? as u32 + 1;
        self.take(bits)
    }

    pub fn text(&mut self, length: usize) -> Result<String, Unreadable> {
        if length > self.bytes.len() {
            return Err(self.lost());
        }
        let bytes =
            (0..length).map(|_| Ok(self.take_short(8)? as u8)).collect::<Result<Vec<u8>, Unreadable>>()?;
        String::from_utf8(bytes).map_err(|_| self.lost())
    }
}

/// What a [`Spread`] gives back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    By(u64),
    /// Not a step: something else follows.
    Other,
}

/// Rice's code, whose parameter follows the mean of the latest steps (as JPEG-LS does): a step that is usual for its column takes
/// about as many bits as there is news in it.
#[derive(Clone, Copy, Default)]
pub struct Spread {
    /// Of the steps, times 2^MEMORY.
    mean: u64,
}

impl Spread {
    #[inline]
    fn low_bits(self) -> u32 {
        (self.mean >> MEMORY | 1).ilog2()
    }

    /// Without the cap a single jump would make every later step dear.
    #[inline]
    fn learn(&mut self, step: u64, low: u32) {
        let step = step.min(u64::from(2 * USUAL_TIMES) << low).min(1 << USUAL_BITS);
        self.mean = self.mean - (self.mean >> MEMORY) + step;
    }

    #[inline(always)]
    pub fn put(&mut self, out: &mut BitWriter, step: u64) {
        let low = self.low_bits();
        let times = step >> low;
        let head = times.min(u64::from(USUAL_TIMES)) as u32 + 1;
        if times < u64::from(USUAL_TIMES) && head + low <= AT_ONCE {
            let (ones, rest) = ((1 << times) - 1, step & ((1 << low) - 1));
            out.put_short(ones | rest << head, head + low);
        } else {
            Self::put_long(out, step, low);
        }
        self.learn(step, low);
    }

    #[cold]
    fn put_long(out: &mut BitWriter, step: u64, low: u32) {
        let times = step >> low;
        if times < u64::from(USUAL_TIMES) {
            out.put((1 << times) - 1, times as u32 + 1);
            out.put(step & ((1 << low) - 1), low);
        } else {
            out.put((1 << USUAL_TIMES) - 1, USUAL_TIMES + 1);
            out.put_number(step);
        }
    }

    pub fn put_other(out: &mut BitWriter) {
        out.put((1 << (USUAL_TIMES + 1)) - 1, USUAL_TIMES + 1);
    }

    #[inline(always)]
    pub fn take(&mut self, bits: &mut BitReader) -> Result<Step, Unreadable> {
        let low = self.low_bits();
        match bits.usual(low) {
            Some(step) => {
                self.learn(step, low);
                Ok(Step::By(step))
            }
            None => self.take_long(bits, low),
        }
    }

    #[cold]
    fn take_long(&mut self, bits: &mut BitReader, low: u32) -> Result<Step, Unreadable> {
        let times = bits.ones(USUAL_TIMES)?;
        let step = if times < USUAL_TIMES {
            u64::from(times) << low | bits.take(low)?
        } else if bits.flag()? {
            return Ok(Step::Other);
        } else {
            bits.number()?
        };
        self.learn(step, low);
        Ok(Step::By(step))
    }

    /// Where nothing but steps can stand.
    #[inline]
    pub fn take_step(&mut self, bits: &mut BitReader) -> Result<u64, Unreadable> {
        match self.take(bits)? {
            Step::By(step) => Ok(step),
            Step::Other => Err(bits.lost()),
        }
    }
}

#[inline]
pub fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63) as u64
}

#[inline]
pub fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}
