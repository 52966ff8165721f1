use proptest::prelude::*;
use tokio::io::{DuplexStream, duplex};

use super::*;

const PATIENCE: Duration = Duration::from_millis(100);

fn line() -> (Knocker<DuplexStream>, DuplexStream) {
    let (ours, theirs) = duplex(4096);
    (Knocker::new(OpenPort::new(ours, "/dev/ttyTEST".into()), Duration::from_millis(1)), theirs)
}

/// What a knock at unit 3 comes to where the line says `reply`.
async fn knocked(reply: Vec<u8>) -> Knocked {
    let (mut knocker, mut theirs) = line();
    let peer = tokio::spawn(async move {
        let mut request = [0; 8];
        theirs.read_exact(&mut request).await.unwrap();
        theirs.write_all(&reply).await.unwrap();
        theirs
    });
    let knocked = knocker.knock(3, &READ_ONE, PATIENCE).await.unwrap();
    drop(peer.await.unwrap());
    knocked
}

#[tokio::test(start_paused = true)]
async fn what_is_heard_is_told_apart() {
    let request = framed(3, &READ_ONE);
    let answer = framed(3, &[3, 2, 0, 0xAF]);
    let with = |before: &[u8], after: &[u8]| [before, after].concat();
    for (fact, reply, expected) in [
        ("an answer", answer.clone(), Outcome::Answer(vec![3, 2, 0, 0xAF])),
        ("an exception counts as found", framed(3, &[0x83, 2]), Outcome::Exception(2)),
        ("behind our own echo", with(&request, &answer), Outcome::Answer(vec![3, 2, 0, 0xAF])),
        ("behind noise", with(&[0xFF, 0], &answer), Outcome::Answer(vec![3, 2, 0, 0xAF])),
        ("nothing", Vec::new(), Outcome::Silent),
        ("our own bytes alone", request.clone(), Outcome::Echo),
        ("a wrong checksum", vec![3, 3, 2, 0, 0xAF, 0, 0], Outcome::Noise),
        ("another unit's answer", framed(7, &[3, 2, 0, 1]), Outcome::Silent),
        ("another master's question", framed(9, &READ_ONE), Outcome::Silent),
        ("a gateway says so about the unit", framed(3, &[0x83, 0x0B]), Outcome::Silent),
    ] {
        assert_eq!(knocked(reply).await.outcome, expected, "{fact}");
    }
    assert_eq!(knocked(framed(7, &[3, 2, 0, 1])).await.late, [7]);
    assert_eq!(knocked(framed(9, &READ_ONE)).await.asked_by_others, [9]);
}

#[tokio::test(start_paused = true)]
async fn a_late_echo_is_no_other_master() {
    let (mut knocker, mut theirs) = line();
    for unit in [3, 4] {
        let knocked = knocker.knock(unit, &READ_ONE, PATIENCE).await.unwrap();
        assert_eq!(knocked.asked_by_others, [0u8; 0]);
        let mut request = [0; 8];
        theirs.read_exact(&mut request).await.unwrap();
        theirs.write_all(&request).await.unwrap();
    }
    assert_eq!(knocker.knock(5, &READ_ONE, PATIENCE).await.unwrap().outcome, Outcome::Echo);
}

#[tokio::test(start_paused = true)]
async fn another_master_is_heard_before_anything_is_asked() {
    let (mut knocker, mut theirs) = line();
    theirs.write_all(&framed(9, &READ_ONE)).await.unwrap();
    theirs.write_all(&framed(9, &[3, 2, 0, 1])).await.unwrap();
    theirs.write_all(&[0xAA]).await.unwrap();
    let (seen, stray) = knocker.listen(PATIENCE).await.unwrap();
    let sorts = seen.iter().map(|seen| (seen.unit, seen.sort)).collect::<Vec<_>>();
    assert_eq!((sorts, stray), (vec![(9, Sort::Request), (9, Sort::Reply)], 1));
}

#[test]
fn a_device_says_who_it_is() {
    let basic = b"\x2B\x0E\x01\x01\x00\x00\x03\x00\x05Maker\x01\x02X1\x02\x04V2.0";
    for (fact, pdu, expected) in [
        ("identification", &basic[..], Some("Maker X1 V2.0")),
        ("an object is cut off", &basic[..17], None),
        ("server id", b"\x11\x06\x01\xFFDoor", Some("Door")),
        ("no text in it", b"\x11\x02\x01\xFF", None),
        ("something else", b"\x03\x02\x00\x01", None),
        ("nothing", b"", None),
    ] {
        assert_eq!(identity(pdu).as_deref(), expected, "{fact}");
    }
    let reply = framed(5, basic);
    let (seen, stray) = frames(&reply);
    assert_eq!((seen.len(), stray, seen[0].sort), (1, 0, Sort::Reply));
}

proptest! {
    #[test]
    fn any_bytes_are_looked_at_and_every_byte_is_counted(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let (seen, stray) = frames(&bytes);
        let in_frames: usize = seen.iter().map(|seen| seen.pdu.len() + 3).sum();
        prop_assert_eq!(in_frames + stray, bytes.len());
        identity(&bytes);
    }

    #[test]
    fn frames_are_found_between_whatever_else(noise in prop::collection::vec(Just(0xEEu8), 0..20), unit in 1u8..=247, value: u16) {
        let [high, low] = value.to_be_bytes();
        let frame = framed(unit, &[3, 2, high, low]);
        let (seen, _) = frames(&[&noise[..], &frame, &noise].concat());
        prop_assert!(seen.iter().any(|seen| seen.unit == unit && seen.pdu == [3, 2, high, low]));
    }
}
