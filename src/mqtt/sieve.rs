//! Takes the payload out of messages that are too long before the MQTT library sees them.
//!
//! The library answers a packet above its limit by dropping the connection, and a broker that kept the message sends it again at
//! the next: one retained file on one topic would mute a whole bus for good. Here such a message arrives as a short one that
//! says how long it was, so that it can be acknowledged, counted and told.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Longest packet that is let through whole.
pub const MAX_PACKET: usize = 256 * 1024;
const CHUNK: usize = 16 * 1024;
/// MQTT 3.1.1, 2.2.3: the remaining length takes one to four bytes.
const LONGEST_HEADER: usize = 5;
const PUBLISH: u8 = 3;

/// What stands in the place of a payload that was too long; nobody outside can write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark([u8; 16]);

impl Mark {
    /// # Errors
    /// If the kernel gives no random bits.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bits = [0; 16];
        getrandom::fill(&mut bits)?;
        Ok(Self(bits))
    }

    /// How long the packet was whose payload this stands for.
    pub fn length(&self, payload: &[u8]) -> Option<u32> {
        let length = payload.strip_prefix(&self.0)?;
        Some(u32::from_be_bytes(length.try_into().ok()?))
    }
}

/// Where in the stream of packets it is.
#[derive(Debug)]
enum At {
    /// In a packet's fixed header, these bytes of it seen.
    Header(Vec<u8>),
    /// In a packet that is let through: so many bytes are left of it.
    Passing(usize),
    /// In the topic and id of a PUBLISH that is too long.
    Head { first: u8, length: usize, seen: Vec<u8> },
    /// In the payload that is left out.
    Dropping(usize),
    /// This is not MQTT: the library will say so.
    Lost,
}

/// The pure part: bytes in, bytes out.
#[derive(Debug)]
pub struct Sieve {
    at: At,
    mark: Mark,
}

impl Sieve {
    pub fn new(mark: Mark) -> Self {
        Self { at: At::Header(Vec::new()), mark }
    }

    /// Moves `input` to `out`, without the payloads that are too long. Never more comes out than went in, plus one header.
    pub fn pass(&mut self, mut input: &[u8], out: &mut BytesMut) {
        while !input.is_empty() {
            match &mut self.at {
                At::Lost => return out.extend_from_slice(input),
                At::Passing(left) | At::Dropping(left) if *left == 0 => self.at = At::Header(Vec::new()),
                At::Passing(left) => {
                    let (now, rest) = input.split_at(input.len().min(*left));
                    out.extend_from_slice(now);
                    *left -= now.len();
                    input = rest;
                }
                At::Dropping(left) => {
                    let now = input.len().min(*left);
                    *left -= now;
                    input = &input[now..];
                }
                At::Header(seen) => {
                    seen.push(input[0]);
                    input = &input[1..];
                    self.header(out);
                }
                At::Head { seen, .. } => {
                    seen.push(input[0]);
                    input = &input[1..];
                    self.head(out);
                }
            }
        }
    }

    fn header(&mut self, out: &mut BytesMut) {
        let At::Header(seen) = &self.at else { return };
        let Some(length) = remaining_length(&seen[1..]) else {
            if seen.len() == LONGEST_HEADER {
                out.extend_from_slice(seen);
                self.at = At::Lost;
            }
            return;
        };
        let first = seen[0];
        if first >> 4 == PUBLISH && length + seen.len() > MAX_PACKET {
            self.at = At::Head { first, length, seen: Vec::new() };
        } else {
            out.extend_from_slice(seen);
            self.at = At::Passing(length);
        }
    }

    fn head(&mut self, out: &mut BytesMut) {
        let At::Head { first, length, seen } = &self.at else { return };
        let id = if first & 0b0110 == 0 { 0 } else { 2 };
        let [high, low, ..] = seen[..] else { return };
        let head = 2 + usize::from(u16::from_be_bytes([high, low])) + id;
        if seen.len() < head {
            return;
        }
        let told = [&self.mark.0[..], &(u32::try_from(*length).unwrap_or(u32::MAX)).to_be_bytes()].concat();
        out.extend_from_slice(&[*first]);
        write_remaining_length(head + told.len(), out);
        out.extend_from_slice(seen);
        out.extend_from_slice(&told);
        // a topic is at most 64 KiB, the packet is longer than that
        self.at = At::Dropping(length - head);
    }
}

fn remaining_length(bytes: &[u8]) -> Option<usize> {
    let last = bytes.last()?;
    let add = |sum: usize, byte: &u8| (sum << 7) | usize::from(byte & 0x7F);
    (last & 0x80 == 0).then(|| bytes.iter().rev().fold(0, add))
}

fn write_remaining_length(mut length: usize, out: &mut BytesMut) {
    loop {
        let low = (length & 0x7F) as u8;
        length >>= 7;
        let more = if length > 0 { 0x80 } else { 0 };
        out.extend_from_slice(&[low | more]);
        if length == 0 {
            return;
        }
    }
}

/// A connection read through a [`Sieve`].
#[derive(Debug)]
pub struct Sieved<S> {
    stream: S,
    sieve: Sieve,
    ready: BytesMut,
}

impl<S> Sieved<S> {
    pub fn new(stream: S, mark: Mark) -> Self {
        Self { stream, sieve: Sieve::new(mark), ready: BytesMut::new() }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Sieved<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.ready.is_empty() {
            let mut chunk = [0; CHUNK];
            let mut chunk = ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut chunk))?;
            if chunk.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.sieve.pass(chunk.filled(), &mut this.ready);
        }
        let now = this.ready.len().min(buf.remaining());
        buf.put_slice(&this.ready[..now]);
        this.ready.advance(now);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Sieved<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rumqttc::{Packet, Publish, QoS};

    use super::*;

    const MARK: Mark = Mark([0xA5; 16]);

    fn through(stream: &[u8], pieces: usize) -> BytesMut {
        let mut sieve = Sieve::new(MARK);
        let mut out = BytesMut::new();
        stream.chunks(pieces).for_each(|piece| sieve.pass(piece, &mut out));
        out
    }

    fn publish(topic: &str, qos: QoS, bytes: usize) -> Vec<u8> {
        let mut publish = Publish::new(topic, qos, vec![b'x'; bytes]);
        publish.pkid = if qos == QoS::AtMostOnce { 0 } else { 7 };
        let mut wire = BytesMut::new();
        publish.write(&mut wire).unwrap();
        wire.to_vec()
    }

    /// Read with the library's own codec and limit.
    fn packets(mut wire: BytesMut) -> Vec<Packet> {
        let mut packets = Vec::new();
        while !wire.is_empty() {
            packets.push(Packet::read(&mut wire, MAX_PACKET).unwrap());
        }
        packets
    }

    #[test]
    fn a_message_that_is_too_long_arrives_as_its_length_and_the_others_whole() {
        for (fact, qos, bytes, long) in [
            ("short", QoS::AtLeastOnce, 10, false),
            ("the library's own default limit", QoS::AtLeastOnce, 10_241, false),
            ("1 MiB", QoS::AtLeastOnce, 1 << 20, true),
            ("1 MiB, QoS 0", QoS::AtMostOnce, 1 << 20, true),
            ("5 MiB", QoS::AtLeastOnce, 5 << 20, true),
        ] {
            let wire = [publish("a/1", qos, bytes), publish("b", QoS::AtLeastOnce, 3)].concat();
            for pieces in [1_500, 64 * 1024, wire.len()] {
                let [Packet::Publish(first), Packet::Publish(second)] = &packets(through(&wire, pieces))[..]
                else {
                    panic!("{fact}: two messages")
                };
                assert_eq!((&first.topic[..], first.qos), (&b"a/1"[..], qos), "{fact}");
                assert_eq!(first.pkid, if qos == QoS::AtMostOnce { 0 } else { 7 }, "{fact}");
                let told = MARK.length(&first.payload);
                assert_eq!(told.is_some(), long, "{fact}");
                assert!(told.is_none_or(|told| told as usize > bytes), "{fact}: {told:?}");
                assert_eq!(&second.payload[..], b"xxx", "{fact}: the next one is whole");
            }
        }
    }

    #[test]
    fn the_border_is_exact() {
        let head = 2 + 1 + 2;
        for (bytes, long) in [(MAX_PACKET - head - 4, false), (MAX_PACKET - head - 3, true)] {
            let wire = publish("b", QoS::AtLeastOnce, bytes);
            let [Packet::Publish(only)] = &packets(through(&wire, 999))[..] else { panic!("one message") };
            assert_eq!(MARK.length(&only.payload).is_some(), long, "{} bytes in all", wire.len());
        }
    }

    #[test]
    fn what_is_not_mqtt_is_left_to_the_library() {
        let nonsense = [0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F, 1, 2, 3];
        assert_eq!(&through(&nonsense, 1)[..], nonsense);
    }

    proptest! {
        #[test]
        fn any_bytes_pass_without_panic_and_the_same_however_they_arrive(
            stream in prop::collection::vec(any::<u8>(), 0..600),
            pieces in 1usize..50,
        ) {
            let at_once = through(&stream, stream.len().max(1));
            prop_assert_eq!(&at_once, &through(&stream, pieces));
            prop_assert!(at_once.len() <= stream.len() + 32);
        }

        #[test]
        fn a_remaining_length_is_read_as_it_was_written(length in 0usize..268_435_456) {
            let mut out = BytesMut::new();
            write_remaining_length(length, &mut out);
            prop_assert_eq!(remaining_length(&out), Some(length));
        }
    }
}
