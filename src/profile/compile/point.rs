//! What points of all protocols have in common.

use std::time::Duration;

use super::{Check, meaning::Compared};
use crate::{
    at,
    document::Step,
    profile::{
        ByteMatch, Class, Read,
        plan::{Form, Pick, Plan, Take, Wire},
        product::Point,
        schema::{ByteMatchFile, Endian, PointFile, ReadFile, WireType},
    },
    text,
};

pub(super) const DEFAULT_EVERY: Duration = Duration::from_secs(1);

impl ReadFile {
    /// The keys that are written, in the order of the contract.
    fn keys(&self) -> Vec<&'static str> {
        let all = [
            ("table", self.table.is_some()),
            ("address", self.address.is_some()),
            ("frame", self.frame.is_some()),
            ("item", self.item.is_some()),
            ("at", self.at.is_some()),
            ("pointer", self.pointer.is_some()),
            ("type", self.kind.is_some()),
            ("bits", self.bits.is_some()),
            ("length", self.length.is_some()),
            ("order", self.order.is_some()),
            ("byte_order", self.byte_order.is_some()),
        ];
        all.into_iter().filter(|(_, written)| *written).map(|(key, _)| key).collect()
    }
}

impl PointFile {
    /// The keys of the point itself that not every protocol knows.
    fn special_keys(&self) -> Vec<&'static str> {
        let all = [
            ("every", self.every.is_some()),
            ("byte_order", self.byte_order.is_some()),
            ("missing", self.missing.is_some()),
            ("when", self.when.is_some()),
        ];
        all.into_iter().filter(|(_, written)| *written).map(|(key, _)| key).collect()
    }
}

/// One point as far as its protocol has worked it out.
pub(super) struct Found {
    pub read: Read,
    pub take: Take,
    pub every: Duration,
}

impl Check<'_> {
    /// Each point of the file, found by its protocol with `find`; those that cannot be are left out, and reported.
    pub(super) fn points(
        &mut self,
        files: &[PointFile],
        class: &Class,
        mut find: impl FnMut(&mut Self, usize, &PointFile) -> Option<Found>,
    ) -> Vec<Point> {
        let points = files.iter().enumerate().filter_map(|(i, file)| {
            let place = class.points.iter().position(|point| point.name.as_str() == file.name);
            if place.is_none() {
                let (name, class_name) = (&file.name, &class.name);
                let told = text!(
                    "类别 {class_name} 没有测点 \"{name}\"",
                    "class {class_name} has no point \"{name}\""
                );
                self.unknown(
                    at!["point", i, "name"],
                    told,
                    name,
                    class.points.iter().map(|p| p.name.as_str()),
                );
            }
            let Found { read, take, every } = find(self, i, file)?;
            let class_point = place?;
            let compared = Compared::of(&take);
            let absent = self.absent(i, file, compared);
            let turn = self.turn(i, file, &class.points[class_point], compared)?;
            let plan = Plan { take, absent, turn };
            Some(Point { name: file.name.as_str().into(), class_point, every, read, plan })
        });
        points.collect()
    }

    /// Tells the keys of `read` that are not among `legal`, and those of `needed` that are missing.
    pub(super) fn read_keys(
        &mut self,
        of: &[Step<'_>],
        read: &ReadFile,
        legal: &[&str],
        needed: &[&str],
    ) -> bool {
        let path = |key| [of, &[Step::Key(key)]].concat();
        let written = read.keys();
        for key in written.iter().filter(|key| !legal.contains(key)) {
            let told = text!("\"{key}\" 不能用在这里", "\"{key}\" does not belong here");
            let all = legal.join(", ");
            let place = self.document.key_place(&path(key));
            self.problems.error_with_help(place, told, text!("可用的有：{all}", "legal here: {all}"));
        }
        let missing: Vec<&str> = needed.iter().copied().filter(|key| !written.contains(key)).collect();
        if !missing.is_empty() {
            let all = missing.join(", ");
            self.error(of, text!("缺少 {all}", "{all} missing"));
        }
        missing.is_empty()
    }

    pub(super) fn special_keys(&mut self, i: usize, file: &PointFile, legal: &[&str]) {
        for key in file.special_keys().into_iter().filter(|key| !legal.contains(key)) {
            let told = text!("这种测点没有 \"{key}\"", "a point of this kind has no \"{key}\"");
            self.key_error(at!["point", i, key], told);
        }
    }

    /// The meaning of a value read from a container of `width` bits (0 for texts of any length).
    pub(super) fn wire(
        &mut self,
        of: &[Step<'_>],
        read: &ReadFile,
        kind: WireType,
        container: u8,
    ) -> Option<Wire> {
        let path = |key| [of, &[Step::Key(key)]].concat();
        if is_bcd(kind) {
            return None;
        }
        let form = match form(kind) {
            Ok(form) => form,
            Err(wire) => {
                if read.bits.is_some() {
                    self.key_error(&path("bits"), text!("只有整数才有 bits", "only whole numbers have bits"));
                }
                return Some(wire);
            }
        };
        let own = if kind == WireType::Bool { container } else { width(kind).min(container) };
        let pick = match &read.bits {
            None => Pick::all(own),
            Some(_) => self.pick(of, read, container)?,
        };
        Some(Wire::Whole { pick, form })
    }

    /// The bits of `read`, which must lie in a container of `width` bits.
    pub(super) fn pick(&mut self, of: &[Step<'_>], read: &ReadFile, width: u8) -> Option<Pick> {
        let [low, high] = read.bits.as_ref()?.0;
        if low > high || high >= width {
            let last = width.saturating_sub(1);
            let told =
                text!("bits 要从小到大，在 0..{last} 之内", "bits go from low to high within 0..{last}");
            self.error(&[of, &[Step::Key("bits")]].concat(), told);
            return None;
        }
        Some(Pick { shift: low, width: high - low + 1 })
    }

    /// `length` belongs to texts, and only to them (`[dlt645]` sees to its BCD itself).
    pub(super) fn text_length(&mut self, of: &[Step<'_>], read: &ReadFile, kind: WireType) -> Option<u16> {
        if is_bcd(kind) {
            let told = text!(
                "bcd 和 bcd_signed 只用于 [dlt645]；这里用 bcd16、bcd32",
                "`bcd` and `bcd_signed` are for [dlt645] only; here there are `bcd16` and `bcd32`"
            );
            self.error(&[of, &[Step::Key("type")]].concat(), told);
            return None;
        }
        match (is_text(kind), read.length) {
            (true, None) => {
                self.error(of, text!("缺少 length", "length is missing"));
                None
            }
            (false, Some(_)) => {
                let path = [of, &[Step::Key("length")]].concat();
                self.key_error(&path, text!("只有文本才有 length", "only texts have a length"));
                None
            }
            (true, length) => length,
            (false, None) => None,
        }
    }

    /// A value cut out of bytes: `at`, `order`, `when`.
    pub(super) fn bytes(&mut self, i: usize, file: &PointFile) -> Option<Take> {
        let of = at!["point", i, "read"];
        let (read, kind) = (&file.read, file.read.kind?);
        let length = self.text_length(of, read, kind);
        let len = if is_text(kind) { usize::from(length?) } else { usize::from(width(kind) / 8) };
        let at = read.at?;
        let back = usize::try_from(at.unsigned_abs()).unwrap_or(usize::MAX);
        if at < 0 && back < len {
            let told =
                text!("从末尾数 {back} 字节放不下 {len} 字节", "{len} bytes do not fit into the last {back}");
            self.error(at!["point", i, "read", "at"], told);
        }
        let wire = self.wire(of, read, kind, width(kind))?;
        let little = read.order.unwrap_or_default() == Endian::Little;
        Some(Take::Bytes { at, len, wire, little, when: file.when.as_ref().map(byte_match) })
    }
}

/// Whole numbers have a form; the others are what they are.
pub(super) fn form(kind: WireType) -> Result<Form, Wire> {
    match kind {
        WireType::Bool => Ok(Form::Truth),
        WireType::U8 | WireType::U16 | WireType::U32 | WireType::U64 => Ok(Form::Unsigned),
        WireType::I8 | WireType::I16 | WireType::I32 | WireType::I64 => Ok(Form::Signed),
        WireType::Sm8 => Ok(Form::SignMagnitude),
        WireType::Bcd16 | WireType::Bcd32 | WireType::Bcd => Ok(Form::Bcd),
        WireType::BcdSigned => Ok(Form::SignedBcd),
        WireType::F32 => Err(Wire::Float32),
        WireType::F64 => Err(Wire::Float64),
        WireType::String => Err(Wire::Text),
        WireType::Decimal => Err(Wire::Decimal),
        WireType::Hex => Err(Wire::Hex),
    }
}

pub(super) fn byte_match(file: &ByteMatchFile) -> ByteMatch {
    ByteMatch { at: file.at, bytes: file.bytes.0.clone() }
}

pub(super) fn is_text(kind: WireType) -> bool {
    matches!(kind, WireType::String | WireType::Decimal | WireType::Hex)
}

/// Of a length that is written.
pub(super) fn is_bcd(kind: WireType) -> bool {
    matches!(kind, WireType::Bcd | WireType::BcdSigned)
}

/// In bits; a bool takes a byte, a text and a `bcd` none of their own.
pub(super) fn width(kind: WireType) -> u8 {
    match kind {
        WireType::Bool | WireType::U8 | WireType::I8 | WireType::Sm8 => 8,
        WireType::U16 | WireType::I16 | WireType::Bcd16 => 16,
        WireType::U32 | WireType::I32 | WireType::F32 | WireType::Bcd32 => 32,
        WireType::U64 | WireType::I64 | WireType::F64 => 64,
        WireType::String | WireType::Decimal | WireType::Hex | WireType::Bcd | WireType::BcdSigned => 0,
    }
}
