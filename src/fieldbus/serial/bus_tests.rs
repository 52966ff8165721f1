//! A whole bus on a real pty: asked, heard, unplugged, and back under the same name.

use std::{
    fs::File, os::unix::fs::symlink, path::Path, sync::Arc, sync::atomic::Ordering::Relaxed, time::Duration,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};
use tokio_serial::{SerialPort, SerialStream};
use tokio_util::sync::CancellationToken;

use super::{bus, config::Settings};
use crate::{
    domain::{Failure, Raw},
    fieldbus::fixtures,
    profile::{ByteMatch, FrameLength, FrameShape, Link, Profile, SerialEvent, SerialLink, SerialRequest},
};

/// A scale that is asked for its weight and says by itself when its button is pressed.
fn scale() -> Arc<Profile> {
    let at = |at, text: &str| vec![ByteMatch { at, bytes: text.as_bytes().to_vec() }];
    fixtures::product(Link::Serial(SerialLink {
        frame: FrameShape {
            start: vec![],
            length: FrameLength::EndsWith(b"\r\n".to_vec()),
            max: 64,
            checksum: None,
            address: None,
        },
        requests: vec![SerialRequest {
            name: "weight".to_owned(),
            send: b"SI\r\n".iter().map(|byte| Some(*byte)).collect(),
            every: Duration::from_millis(200),
            matches: at(0, "S"),
            reply: 0,
        }],
        events: vec![SerialEvent { name: "button".to_owned(), matches: at(0, "K"), answers: vec![] }],
        timeout: Duration::from_millis(500),
        retries: 0,
        turnaround: Duration::ZERO,
        heartbeat: None,
    }))
}

/// The scale's end of a line whose other end is at `link`. The file keeps the pty alive until the bus has opened it.
fn plug_in(link: &Path) -> (SerialStream, File) {
    let (scale, ours) = SerialStream::pair().unwrap();
    let name = ours.name().expect("a pty has a name");
    // it is locked by whoever opens it as a port
    drop(ours);
    let kept = File::open(&name).unwrap();
    if link.symlink_metadata().is_ok() {
        std::fs::remove_file(link).unwrap();
    }
    symlink(name, link).unwrap();
    (scale, kept)
}

async fn asked(scale: &mut SerialStream) {
    let mut request = [0; 4];
    timeout(Duration::from_secs(20), scale.read_exact(&mut request)).await.unwrap().unwrap();
    assert_eq!(&request, b"SI\r\n");
}

#[tokio::test]
async fn a_scale_is_asked_and_heard_and_survives_being_unplugged() {
    let dir = TempDir::new().unwrap();
    let link = dir.path().join("scale");
    let (parts, mut heard) = fixtures::parts(&[("", scale())]);
    let counters = parts.counters.clone();
    let settings = Settings { port: link.clone(), baud: 9600, framing: Default::default(), rs485: None };
    let stop = CancellationToken::new();
    let running = tokio::spawn(bus(parts, &settings).unwrap().run(stop.clone()));

    let told = fixtures::next(&mut heard).await;
    assert!(
        matches!(&told.outcome, Err(Failure::LineDown { fault }) if fault.to_string().contains("scale")),
        "{told:?}"
    );

    for round in 0..2 {
        let (mut far_end, kept) = plug_in(&link);
        asked(&mut far_end).await;
        drop(kept);
        far_end.write_all(b"K1\r\nS S     12.345 kg\r\n").await.unwrap();
        let mut frames = Vec::new();
        while frames.len() < 2 {
            match fixtures::next(&mut heard).await.outcome {
                Ok(Raw::Frame { frame, bytes }) => frames.push((frame, bytes.to_vec())),
                Ok(other) => panic!("{other:?}"),
                Err(Failure::LineDown { .. }) if frames.is_empty() => {}
                Err(other) => panic!("round {round}: {other:?}"),
            }
        }
        let weight = (0, b"S S     12.345 kg\r\n".to_vec());
        assert_eq!(frames, [weight, (1, b"K1\r\n".to_vec())], "the answer, and what came in between");
        assert_eq!(counters.reconnects.load(Relaxed), round);
        drop(far_end);
    }
    let down = loop {
        let told = fixtures::next(&mut heard).await;
        if let Err(failure) = told.outcome {
            break failure;
        }
    };
    assert!(matches!(down, Failure::LineDown { .. }), "{down:?}");
    stop.cancel();
    running.await.unwrap().unwrap();
}
