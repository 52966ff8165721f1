//! A recording from anywhere is read or refused, written again as it was, and played into the shipped products. And the tape that it comes
//! from: whatever a line carries, it keeps to its room.
#![no_main]

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use gatehouse::{
    cli::recording::{Header, Named, Recording, read},
    document::Problems,
    domain::{DeviceIx, ManualClock, Medium, Mono, Stamp},
    fieldbus::{BusDevice, record::Tape, replay::Player},
    profile::{Address, Library},
};
use libfuzzer_sys::fuzz_target;

static SHIPPED: LazyLock<Library> = LazyLock::new(|| Library::shipped(&mut Problems::default()));

fuzz_target!(|input: &[u8]| {
    match input.split_first() {
        // a recording begins like this
        Some((b'{', _)) => {
            if let Ok(recording) = read(input) {
                again(&recording);
                play(&recording);
            }
        }
        Some((room, script)) => tape(usize::from(*room) * 8, script),
        None => {}
    }
});

fn again(recording: &Recording) {
    let line = |line: String| line + "\n";
    let mut text = line(json(&recording.header));
    recording.lines.iter().for_each(|piece| text.push_str(&line(json(piece))));
    let read = read(text.as_bytes()).expect("what was written can be read");
    assert_eq!(
        (bare(&read.header), &read.lines, read.cut),
        (bare(&recording.header), &recording.lines, false)
    );
}

/// Without the settings of its lines, which are any JSON: numbers in it may be rounded.
fn bare(header: &Header) -> Header {
    let mut bare = header.clone();
    bare.buses.iter_mut().for_each(|bus| bus.settings = serde_json::Value::Null);
    bare
}

fn json(part: &impl serde::Serialize) -> String {
    serde_json::to_string(part).expect("it was read from such text")
}

fn play(recording: &Recording) {
    for bus in recording.header.buses.iter().take(8) {
        let of_bus = recording.header.devices.iter().filter(|device| device.bus == bus.id);
        let devices = (0u32..).zip(of_bus.take(8)).filter_map(|(ix, device)| {
            Some(BusDevice {
                ix: DeviceIx(ix),
                id: device.id.clone(),
                medium: Medium::default(),
                address: match &device.address {
                    Named::Unit(unit) => Address::Unit(*unit),
                    Named::Address(text) => Address::Text(text.clone()),
                },
                profile: SHIPPED.profile(&device.profile)?,
            })
        });
        let Ok(mut player) = Player::new(&bus.id, &bus.kind, devices.collect()) else { continue };
        let (mut heard, mut last) = (Vec::new(), None);
        for line in recording.lines.iter().filter(|line| line.bus == bus.id) {
            let at = Stamp { mono: Mono(Duration::from_nanos(line.piece.mono_ns)), wall: line.piece.at };
            player.play(&line.piece, at, &mut heard);
            heard.clear();
            last = Some(at);
        }
        if let Some(at) = last {
            player.end(at, &mut heard);
        }
    }
}

/// What each piece takes besides its bytes, at the least.
const HEAD: u64 = 16;

/// Each byte of the script is a deed, and how long its bytes are.
fn tape(room: usize, script: &[u8]) {
    let tape = Tape::new(room, Arc::new(ManualClock::new()));
    for deed in script {
        let bytes = vec![*deed; usize::from(deed >> 3) * 9];
        match deed & 7 {
            0 | 1 => tape.heard(&bytes),
            2 => tape.sent(&bytes),
            3 | 4 => tape.message(&bytes[..bytes.len() / 2], &bytes, deed & 1 == 1),
            5 => tape.opened(),
            6 => tape.lost(),
            _ => drop(tape.page(u64::from(*deed), None)),
        }
    }
    let deeds = script.iter().filter(|deed| **deed & 7 != 7).count() as u64;
    let (mut from, mut pieces, mut lost) = (0, 0, 0);
    loop {
        let page = tape.page(from, None);
        if page.next == from {
            break;
        }
        (from, lost) = (page.next, lost + page.lost);
        pieces += page.pieces.len() as u64;
        assert!(pieces <= room as u64 / HEAD, "{pieces} pieces in a room of {room}");
    }
    assert_eq!(pieces + lost, if room == 0 { 0 } else { deeds });
}
