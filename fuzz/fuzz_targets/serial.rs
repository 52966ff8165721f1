//! Serial frames: any stream against the shapes of the shipped products and of products nobody has made.
#![no_main]

use std::sync::LazyLock;

use gatehouse::{
    document::Problems,
    fieldbus::{frames::Cut, serial::codec::Cutter},
    profile::{Checksum, ChecksumKind, FrameLength, FrameShape, Library, Link},
};
use libfuzzer_sys::{
    arbitrary::{Arbitrary, Unstructured},
    fuzz_target,
};

static SHIPPED: LazyLock<Vec<FrameShape>> = LazyLock::new(|| {
    let library = Library::shipped(&mut Problems::default());
    let profiles = library.ids().filter_map(|id| library.profile(id));
    profiles
        .filter_map(|profile| match &profile.link {
            Link::Serial(link) => Some(link.frame.clone()),
            _ => None,
        })
        .collect()
});

type Made = (Vec<u8>, u8, Vec<u8>, u8, i8, u8, bool, i8);

fn shape(made: Made) -> FrameShape {
    let (start, length, end, from, to, kind, little, adds) = made;
    let kinds = [
        ChecksumKind::Sum8,
        ChecksumKind::Twos8,
        ChecksumKind::Xor8,
        ChecksumKind::Lrc8,
        ChecksumKind::Crc16Modbus,
        ChecksumKind::Crc16Osdp,
        ChecksumKind::Crc16Arc,
    ];
    let checksum = Checksum {
        kind: kinds[usize::from(kind) % 7],
        from: from.into(),
        to: to.into(),
        little,
        hex: kind & 0x80 != 0,
    };
    let length = match length % 3 {
        0 => FrameLength::Fixed(length.into()),
        1 => FrameLength::EndsWith(end),
        _ => FrameLength::Field { at: from.into(), size: usize::from(length % 4), little, adds: adds.into() },
    };
    FrameShape { start, length, max: 300, checksum: (kind & 0x40 != 0).then_some(checksum), address: None }
}

/// The first byte chooses a shipped shape, or that one is made up; the second says how long the pieces are.
fn chosen(input: &[u8]) -> Option<(FrameShape, usize, &[u8])> {
    let (&[which, piece], rest) = input.split_first_chunk()?;
    let piece = usize::from(piece).max(1);
    if let Some(shape) = SHIPPED.get(usize::from(which)) {
        return Some((shape.clone(), piece, rest));
    }
    let mut made = Unstructured::new(rest);
    let shape = shape(Made::arbitrary(&mut made).ok()?);
    Some((shape, piece, made.take_rest()))
}

fuzz_target!(|input: &[u8]| {
    let Some((shape, piece, stream)) = chosen(input) else { return };
    let most = shape.max;
    let Ok(mut cutter) = Cutter::new(shape) else { return };
    for chunk in stream.chunks(piece) {
        for frame in cutter.push(chunk) {
            assert!(frame.len() <= most);
        }
        assert!(cutter.kept() <= most + chunk.len());
    }
});
