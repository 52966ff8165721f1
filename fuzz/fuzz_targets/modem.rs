//! Whoever dials in where modems register: known or not by whatever it says in whatever pieces; then heartbeats and frames.
#![no_main]

use gatehouse::fieldbus::modbus::{
    clothes::Clothes,
    config::Said,
    heartbeat::Heartbeats,
    knock,
    reception::{Caller, recognised},
};
use libfuzzer_sys::fuzz_target;
use tokio::time::Instant;

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (piece, which, stream) = input;
    let registrations = [&b"LIFTS-3"[..], b"\xFE\x01", b"460001234567890"].map(|said| Said(said.to_vec()));
    let (mut said, mut pieces) = (Vec::new(), stream.chunks(usize::from(piece % 128).max(1)));
    let mut caller = Caller::Perhaps;
    while caller == Caller::Perhaps
        && let Some(chunk) = pieces.next()
    {
        said.extend_from_slice(chunk);
        caller = recognised(&said, registrations.iter());
        assert!(caller != Caller::Perhaps || said.len() < Said::LONGEST, "it is known soon who it is");
    }
    let Caller::Registered(modem) = caller else { return };
    let behind = said.split_off(registrations[modem].0.len());
    assert_eq!(said, registrations[modem].0);

    let heartbeat = [&b"ping"[..], b"\xFE\x01", b"", b"aa"][usize::from(which % 4)];
    let (now, mut bare) = (Instant::now(), Vec::new());
    let mut clothes = Heartbeats::new(heartbeat.to_vec(), now);
    let mut came = behind.len();
    clothes.take_off(&behind, now, &mut bare);
    for chunk in pieces {
        came += chunk.len();
        clothes.take_off(chunk, now, &mut bare);
    }
    assert!(bare.len() <= came && (!heartbeat.is_empty() || bare.len() == came));

    let (frames, stray) = knock::frames(&bare);
    assert!(stray <= bare.len());
    for frame in frames {
        knock::identity(&frame.pdu);
    }
});
