//! For each critical alarm, the raw frames of its line and the readings of its device, from two minutes before it to five after:
//! in files beside the store, whose digests stand in the chain of evidence.
//!
//! What memory had is written at once, the rest when its time is over: whoever pulls the plug in between takes the frames since the
//! alarm, and what is there says so. The oldest files make room for new ones, and that stands in the chain too.

mod file;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::{Timestamp, tz::TimeZone};
use tokio::{select, sync::Notify, task::spawn_blocking, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use self::file::{Part, Taken};
use super::{Ended, lines::Lines};
use crate::{
    domain::{
        BusId, Clock, DeviceId, Event, Mono, Priority, Suite, Text, TransitionKind,
        tape::{Piece, TapeWish},
    },
    profile::Device,
    store::{
        EventStore, Reader, StoreError,
        chain::{Capture, Fact, FileDigest, Gap},
    },
    text,
};

const BEFORE: Duration = Duration::from_secs(120);
const AFTER: Duration = Duration::from_secs(300);
/// So many alarms are accompanied at once; of more than that only what memory has when they are raised.
const MOST_PENDING: usize = 32;
/// Of one alarm, before it is compressed.
const MOST_BYTES: usize = 16 << 20;
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Events that one look takes.
const LOOK: u64 = 500;

pub struct Keeper {
    pub dir: PathBuf,
    pub events: EventStore,
    pub lines: Arc<Lines>,
    pub devices: Arc<[Device]>,
    pub clock: Arc<dyn Clock>,
    pub zone: TimeZone,
    /// What its files are digested with.
    pub suite: Suite,
    pub wake: Arc<Notify>,
    /// Events up to here were there before the start.
    pub since: u64,
    /// All captures together, in bytes.
    pub most: u64,
}

/// An alarm that is accompanied to the end of its five minutes.
#[derive(Clone, Debug)]
struct Accompanied {
    event: Event,
    bus: BusId,
    due: Mono,
    /// The gateway did not run all the time.
    interrupted: bool,
}

impl Keeper {
    pub async fn run(self, stop: CancellationToken) -> Ended {
        let pending = self.left_over().await;
        self.go_on(pending, stop).await
    }

    async fn go_on(mut self, mut pending: Vec<Accompanied>, stop: CancellationToken) -> Ended {
        let mut news = true;
        loop {
            let stopping = select! {
                () = stop.cancelled() => true,
                () = self.wake.notified() => {
                    news = true;
                    false
                }
                () = sleep(LOOK_AGAIN) => false,
            };
            let raised = if news { self.raised().await } else { Some(Vec::new()) };
            // a store that cannot be read now is looked at again
            news = raised.is_none();
            for event in raised.unwrap_or_default() {
                let Some(bus) = self.bus_of(&event.device.id) else { continue };
                let due = self.clock.now().mono + AFTER;
                let one = Accompanied { event, bus, due, interrupted: false };
                let full = pending.len() >= MOST_PENDING;
                self.keep(
                    &one,
                    Part::Before,
                    full.then(|| text!("同时的紧急报警太多", "too many critical alarms at once")),
                )
                .await;
                if !full {
                    pending.push(one);
                }
            }
            let now = self.clock.now().mono;
            let (due, rest) = pending.into_iter().partition(|one| stopping || now >= one.due);
            pending = rest;
            let due: Vec<Accompanied> = due;
            for one in due {
                let cut = stopping && now < one.due;
                self.keep(&one, Part::After, cut.then(|| text!("网关停止了", "the gateway was stopped")))
                    .await;
            }
            if stopping {
                return Ok("capture");
            }
        }
    }

    fn bus_of(&self, id: &DeviceId) -> Option<BusId> {
        self.devices
            .iter()
            .find(|device| device.id == *id && !device.is_own())
            .map(|device| device.bus.clone())
    }

    /// Critical alarms that were raised since the last look; `None` if that cannot be known now.
    async fn raised(&mut self) -> Option<Vec<Event>> {
        let (dir, since) = (self.dir.clone(), self.since);
        let looked =
            spawn_blocking(move || Reader::open(&dir).and_then(|reader| reader.events(since, LOOK))).await;
        match looked {
            Ok(Ok(events)) => {
                self.since = events.last().map_or(since, |last| last.event.seq);
                Some(events.into_iter().map(|sealed| sealed.event).filter(is_critical_raise).collect())
            }
            Ok(Err(_)) | Err(_) => None,
        }
    }

    /// Those whose five minutes an earlier run did not see to their end.
    async fn left_over(&self) -> Vec<Accompanied> {
        let (dir, until) = (self.dir.clone(), self.since);
        let looked = spawn_blocking(move || {
            let reader = Reader::open(&dir)?;
            let events = reader.events(until.saturating_sub(LOOK), LOOK)?;
            // by event: whether the last part is there too
            let mut done: HashMap<String, bool> = HashMap::new();
            for one in reader.captures(None)? {
                let ended = Part::After.is_that_of(&one);
                *done.entry(one.event).or_default() |= ended;
            }
            Ok::<_, StoreError>((events, done))
        });
        let Ok(Ok((events, done))) = looked.await else { return Vec::new() };
        let now = self.clock.now();
        let events = events.into_iter().map(|sealed| sealed.event).filter(is_critical_raise);
        let accompanied = events.filter_map(|event| {
            let since_boot = now.mono.since(Mono(Duration::from_millis(event.mono_ms)));
            let gone = match event.boot_id == self.clock.boot_id() {
                true => since_boot,
                // off in between: nothing but the wall clock knows for how long
                false => Duration::try_from(now.wall.duration_since(event.at)).unwrap_or_default(),
            };
            // ended before anything of it was on disk: its readings are there still
            let begun = match done.get(&event.id) {
                None => gone < AFTER,
                Some(ended) => !ended,
            };
            let bus = self.bus_of(&event.device.id).filter(|_| begun)?;
            let due = now.mono + AFTER.saturating_sub(gone);
            Some(Accompanied { event, bus, due, interrupted: true })
        });
        accompanied.take(MOST_PENDING).collect()
    }

    /// `cut`: why it is not all that it should be.
    async fn keep(&self, one: &Accompanied, part: Part, cut: Option<Text>) {
        let at = one.event.at;
        let moved = |by: Duration, forward: bool| {
            let there = if forward { at.checked_add(by) } else { at.checked_sub(by) };
            there.unwrap_or(at)
        };
        let now = self.clock.now().wall;
        let (from, to) = match part {
            Part::Before => (moved(BEFORE, false), now),
            Part::After => (at, moved(AFTER, true).min(now.max(at))),
        };
        let mut lacks = Vec::new();
        if let Some(why) = cut {
            let what = text!("此后至五分钟的部分", "the rest until five minutes after");
            lacks.push(Gap { what, why });
        }
        if one.interrupted && part == Part::After {
            lacks.push(Gap {
                what: text!("网关这次启动之前的报文", "frames before this start of the gateway"),
                why: text!(
                    "其间网关停过，报文只在内存里",
                    "it ended in between, and frames are in its memory only"
                ),
            });
        }
        let frames = match self.carries_private(&one.bus) {
            false => self.frames(&one.bus, from, to, &mut lacks),
            // what is of persons is not on the disk in clear anywhere
            true => {
                lacks.push(Gap {
                    what: text!("报文", "frames"),
                    why: text!("这条总线上有涉及个人的数值", "this line carries values of persons"),
                });
                Vec::new()
            }
        };
        let private = self.private(&one.event.device.id);
        let taken = Taken {
            event: one.event.clone(),
            bus: one.bus.clone(),
            part,
            from,
            // readings of the whole time are in the second part: the first are stored by then
            readings_from: (part == Part::After).then(|| moved(BEFORE, false)),
            to,
            frames,
            private,
            lacks,
        };
        let (dir, zone, most, suite) = (self.dir.clone(), self.zone.clone(), self.most, self.suite);
        let written = spawn_blocking(move || {
            let capture = file::write(&dir, &taken, &zone, suite)?;
            Ok::<_, std::io::Error>((capture, file::make_room(&dir, most, suite)))
        });
        match written.await {
            Ok(Ok((capture, dropped))) => self.note(capture, dropped).await,
            Ok(Err(error)) => {
                error!(%error, alarm = %one.event.key(), "The raw frames around a critical alarm cannot be kept.");
            }
            Err(error) => error!(%error, "The raw frames around a critical alarm cannot be kept."),
        }
    }

    async fn note(&self, capture: Capture, dropped: Vec<(String, FileDigest)>) {
        let facts = dropped.into_iter().map(|(file, digest)| Fact::Dropped { file, digest });
        for fact in std::iter::once(Fact::Capture(capture)).chain(facts) {
            if let Err(error) = self.events.witness(fact).await {
                warn!(%error, "The chain of evidence does not tell of a capture.");
            }
        }
    }

    fn carries_private(&self, bus: &BusId) -> bool {
        let mut of_bus = self.devices.iter().filter(|device| device.bus == *bus);
        of_bus.any(|device| {
            let class = &device.profile.class;
            device.profile.points.iter().any(|point| class.points[point.class_point].data.is_private())
        })
    }

    fn private(&self, id: &DeviceId) -> Vec<String> {
        let device = self.devices.iter().find(|device| device.id == *id);
        let points = device.into_iter().flat_map(|device| &device.profile.class.points);
        points.filter(|point| point.data.is_private()).map(|point| point.name.to_string()).collect()
    }

    fn frames(&self, bus: &BusId, from: Timestamp, to: Timestamp, lacks: &mut Vec<Gap>) -> Vec<Piece> {
        let (mut pieces, mut bytes, mut next, mut recorded_over) = (Vec::new(), 0, 0, false);
        loop {
            let page = self.lines.tape(&TapeWish { bus: bus.clone(), from: next, since: Some(from) });
            recorded_over |= page.lost > 0;
            if !page.known || page.next == next {
                break;
            }
            next = page.next;
            for piece in page.pieces.into_iter().filter(|piece| piece.at <= to) {
                bytes += piece.what.len();
                pieces.push(piece);
            }
            if bytes > MOST_BYTES {
                lacks.push(Gap {
                    what: text!("超过 16 MiB 的报文", "frames beyond 16 MiB"),
                    why: text!("每个报警最多保留这么多", "no more is kept of one alarm"),
                });
                break;
            }
        }
        match pieces.first() {
            None => lacks.push(Gap {
                what: text!("报文", "frames"),
                why: text!(
                    "这段时间总线上没有，或没有录制",
                    "the line carried none then, or none are recorded"
                ),
            }),
            Some(first) if recorded_over && first.at > from + Duration::from_secs(5) => {
                let first = first.at;
                lacks.push(Gap {
                    what: text!("{first} 之前的报文", "frames before {first}"),
                    why: text!(
                        "报文内存（[record] memory）没有这么久，或网关没有运行",
                        "the memory for frames ([record] memory) did not reach so far back, or the gateway did not run"
                    ),
                });
            }
            Some(_) => {}
        }
        pieces
    }
}

fn is_critical_raise(event: &Event) -> bool {
    event.alarm.priority == Priority::Critical
        && !event.is_loss_report()
        && event.kind == TransitionKind::Raised
}

/// Where captures lie.
pub fn folder(dir: &Path) -> PathBuf {
    dir.join("captures")
}

#[cfg(test)]
mod tests;
