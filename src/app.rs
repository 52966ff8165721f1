//! The only wiring: opens the stores, builds the channels, spawns each task, waits, and drains in order.
//!
//! Stop polling → the pipeline empties its inbox and commits → couriers finish the request in hand → close the stores.

mod api;
mod attest;
pub mod capture;
mod clock;
mod dial_in;
mod dispatch;
mod drills;
mod field;
mod flash;
mod herald;
mod keys;
pub mod lines;
pub mod own;
mod porter;
mod timekeeper;
mod upward;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, anyhow};
use jiff::tz::TimeZone;
use tokio::{
    runtime::Handle,
    sync::{Notify, mpsc, oneshot, watch},
    task::{JoinError, JoinSet},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

pub use self::drills::drill_at_rest;
use self::{
    api::Api, attest::witness, capture::Keeper, clock::ClockReporter, dispatch::dispatcher, drills::Drills,
    field::Field, flash::FlashReporter, herald::Herald, keys::Keys, lines::Lines, porter::Porter,
    timekeeper::Timekeeper, upward::Upward,
};
use crate::{
    alarm::{Customs, Engine, Flood, Latest, OnDevice, Override, RuleBook, RuleProblem},
    config::{Bus, Endpoint, PrivateStore, Site},
    console::{
        self,
        door::{self, Visit},
    },
    domain::{
        AlarmMemory, BusId, ClassName, Clock, DeviceId, DeviceIx, EndpointId, Heard, OccurrenceId, SiteFacts,
        command::{Command, Outcome},
        credit::Tariff,
        timetable::{Place, Schedule},
    },
    ops::watchdog,
    pipeline::{
        Asked, Credits, Ledger, Operations, Orphaned, Pipeline, Private, Progress, Recent, Spare, Tide,
        Trouble, Upkeep,
    },
    profile::Device,
    store::{self, CatalogueEntry, EventStore, Fired, OpenOperation, Recovered, StoreError, TelemetryStore},
    uplink::{Router, Template, Wants, readings::Origin},
};

/// What the pipeline's inbox holds; when it is full the buses wait, so they poll slower and nothing grows.
const INBOX: usize = 1024;
/// People ask one thing at a time.
const QUESTIONS: usize = 16;
/// How long each stage of the drain may take; together they stay under the 10 s that a stop may last.
const EMPTY_INBOX: Duration = Duration::from_millis(3500);
const END_OF_TASKS: Duration = Duration::from_millis(5500);
const CLOSING: Duration = Duration::from_secs(1);
/// Somebody may be acknowledging on the store while the gateway was away; another gateway would stay longer.
const PATIENCE_FOR_LOCK: Duration = Duration::from_millis(1000);
const LOCK_MOMENT: Duration = Duration::from_millis(50);
/// Raw frames around critical alarms take no more than this, nor an eighth of what events.db may have.
const CAPTURES_MAX: u64 = 64 << 20;
/// How soon a door that could not be opened is tried again.
const DOOR_AGAIN: Duration = Duration::from_secs(3);

/// What a task was, when it ends.
type Ended = anyhow::Result<&'static str>;

/// Runs the gateway of `site` until `stop`, or until a part of it ends by itself, which is an error. Buses and pipeline run where it is
/// called, everything else on `rest`: the field waits for none of it.
///
/// # Errors
/// If the stores cannot be opened, a rule is not valid, or a task ended.
pub async fn run(
    site: Site,
    clock: Arc<dyn Clock>,
    rest: &Handle,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let (to_pipeline, heard) = mpsc::channel(INBOX);
    let (to_answer, asked) = mpsc::channel(QUESTIONS);
    let Parts { core, buses, endpoints, dir, schedules, place, tape_memory, console, digest } =
        Parts::of(site);
    let captures_max = (core.store.events_max.0 / 8).min(CAPTURES_MAX);
    let (timezone, suite) = (core.timezone.clone(), core.store.suite);
    let templates = core.templates.clone();
    let known = endpoints.iter().map(|endpoint| endpoint.id.clone()).collect::<Vec<_>>();
    let mut core = Core::open(core, &clock, heard, asked, Opening::WhateverComes).await?;
    let (events, telemetry) = (core.pipeline.events.clone(), core.pipeline.telemetry.clone());
    match events.queued_for_others(&known).await {
        Ok(others) => others.iter().for_each(|(endpoint, letters)| {
            warn!(
                %endpoint, letters,
                "Letters wait for an endpoint that the site does not name any more. They are kept: put it back, or give them \
                 up with `gatehouse delivery discard`."
            );
        }),
        Err(error) if error.passes() => {}
        Err(error) => return Err(error).context("read the event store"),
    }
    core.end_orphans().await?;
    core.close_operations().await?;
    let fired = std::mem::take(&mut core.fired);

    let polling = CancellationToken::new();
    let serving = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let field = Field { devices: &core.pipeline.devices, sender: &to_pipeline, clock: &clock };
    let (gauges, lines) = field.spawn(&mut tasks, buses, tape_memory, &polling);
    if let Some(own) = flash::own(&core.pipeline.devices) {
        let profile = Arc::clone(&core.pipeline.devices[own.0 as usize].profile);
        let (telemetry, clock, pipeline) = (telemetry.clone(), Arc::clone(&clock), to_pipeline.clone());
        tasks.spawn(FlashReporter { own, profile, telemetry, clock, pipeline }.run(polling.clone()));
    }
    let counters = lines.iter().map(|(bus, line)| (bus.clone(), line.counter.clone())).collect();
    core.pipeline.operations = Operations::new(dispatcher(&core.pipeline.devices, counters));
    let lines = Arc::new(Lines::new(lines, &core.pipeline.devices));
    let (to_herald, to_clock) = (to_pipeline.clone(), to_pipeline.clone());
    let privacy = core.keys.as_ref().map(|keys| Arc::clone(&keys.privacy));
    if let Some(keys) = core.keys.take() {
        tasks.spawn_on(keys.run(serving.clone()), rest);
    }
    let place_zone = place.zone.clone();
    let origin = Origin {
        site: core.pipeline.site.clone(),
        epoch: core.epoch.clone(),
        zone: place.zone.clone(),
        demo: core.pipeline.demo,
    };
    let upward = Upward {
        rest,
        to_answer: &to_answer,
        clock: &clock,
        origin,
        dir: &dir,
        privacy,
        polling: &polling,
        serving: &serving,
    };
    let ways: Arc<[_]> = upward.spawn(&mut tasks, endpoints, &mut core.pipeline).into();
    let stop_polling = polling.clone();
    // A site without a bus still delivers what it has and takes commands.
    tasks.spawn(async move {
        stop_polling.cancelled().await;
        drop(to_pipeline);
        Ok("inbox")
    });
    let herald = Herald {
        devices: Arc::clone(&core.pipeline.devices),
        ways: Arc::clone(&ways),
        zone: timezone.clone(),
        store: events.clone(),
        clock: Arc::clone(&clock),
        sender: to_herald,
    };
    tasks.spawn_on(herald.run(polling.clone()), rest);
    let shown = console::api::Place {
        site: core.pipeline.site.clone(),
        zone: timezone.clone(),
        demo: core.pipeline.demo,
        digest,
        endpoints: known,
        dir: dir.clone(),
    };
    let drills = Arc::new(Drills {
        site: core.pipeline.site.clone(),
        timezone,
        demo: core.pipeline.demo,
        templates,
        clock: Arc::clone(&clock),
        ways,
    });
    if !schedules.is_empty() {
        let keeper = Timekeeper::new(schedules, place, Arc::clone(&clock), to_answer.clone(), fired);
        tasks.spawn_on(keeper.run(polling.clone()), rest);
    }
    let wake = Arc::new(Notify::new());
    core.pipeline.wake.push(Arc::clone(&wake));
    let keeper = Keeper {
        dir: dir.clone(),
        events: events.clone(),
        lines: Arc::clone(&lines),
        devices: Arc::clone(&core.pipeline.devices),
        clock: Arc::clone(&clock),
        zone: place_zone,
        suite,
        wake,
        since: core.last_seq,
        most: captures_max,
    };
    tasks.spawn_on(keeper.run(serving.clone()), rest);
    let (step, step_seen) = watch::channel(None);
    if let Some(own) = clock::own(&core.pipeline.devices) {
        let profile = Arc::clone(&core.pipeline.devices[own.0 as usize].profile);
        let (clock, wake) = (Arc::clone(&clock), core.pipeline.wake.clone());
        let reporter = ClockReporter { own, profile, clock, pipeline: to_clock, wake, step };
        tasks.spawn_on(reporter.run(polling.clone()), rest);
    } else {
        drop(to_clock);
    }
    let porter = Porter {
        started_at: clock.now().wall,
        demo: core.pipeline.demo,
        clock,
        pipeline: to_answer,
        telemetry: telemetry.clone(),
        buses: gauges,
        lines,
        drills,
        step: step_seen,
    };
    let (to_porter, visits) = mpsc::channel(QUESTIONS);
    let api = Api {
        settings: console,
        place: shown,
        clock: Arc::clone(&porter.clock),
        to_answer: porter.pipeline.clone(),
        to_porter: to_porter.clone(),
        committed: Arc::default(),
    };
    core.pipeline.wake.push(Arc::clone(&api.committed));
    api.spawn(&mut tasks, rest, &serving);
    let progress = Arc::clone(&core.pipeline.progress);
    let (emptied, inbox_empty) = oneshot::channel::<()>();
    tasks.spawn(async move {
        let ended = core.pipeline.run().await;
        drop(emptied);
        Ok(ended.map(|()| "pipeline")?)
    });
    tasks.spawn_on(serve(dir, to_porter, serving.clone()), rest);
    tasks.spawn_on(porter.run(visits, serving.clone()), rest);
    tasks.spawn_on(watch(progress, serving.clone()), rest);

    let first = tokio::select! {
        () = stop.cancelled() => None,
        first = tasks.join_next() => first,
    };
    info!("Gatehouse stops.");
    polling.cancel();
    // The sender is dropped when the inbox is empty: that, or silence, is all there is to hear.
    let emptied = timeout(EMPTY_INBOX, inbox_empty).await.is_ok();
    serving.cancel();
    let others = async { while tasks.join_next().await.is_some() {} };
    // What memory holds has been sent by now, or nobody takes it.
    let patience = if disk_failed(first.as_ref()) { Duration::from_secs(1) } else { END_OF_TASKS };
    let ended = timeout(patience, others).await.is_ok();
    if !(emptied && ended) {
        warn!(emptied, ended, "Not every part ended in time; what was committed is safe.");
        tasks.abort_all();
    }
    let closed = close(telemetry, events).await;
    first.map_or(closed, |first| Err(why(first)))
}

/// Carries out one command on the store of a gateway that does not run.
///
/// # Errors
/// If the stores cannot be opened: in use, if a gateway runs after all.
pub async fn ask_at_rest(site: Site, clock: Arc<dyn Clock>, command: Command) -> anyhow::Result<Outcome> {
    let (nothing_more, heard) = mpsc::channel(1);
    let (ask, asked) = mpsc::channel(1);
    let (reply, outcome) = oneshot::channel();
    let mut parts = Parts::of(site).core;
    // the gateway's own key must be the gateway's own file
    if let Some(private) = &mut parts.private {
        private.may_be_made = false;
    }
    let Core { pipeline, .. } = Core::open(parts, &clock, heard, asked, Opening::Sound).await?;
    let (events, telemetry) = (pipeline.events.clone(), pipeline.telemetry.clone());
    let carried = tokio::spawn(pipeline.run());
    ask.send(Asked::Command(command, reply)).await.context("ask the pipeline")?;
    let outcome = outcome.await.context("get the pipeline's answer");
    drop(nothing_more);
    carried.await.context("end the pipeline")??;
    close(telemetry, events).await?;
    outcome
}

/// A site, taken apart along the path of a reading.
struct Parts {
    core: CoreParts,
    buses: Vec<Bus>,
    endpoints: Vec<Endpoint>,
    /// Where the store is, and the door beside it.
    dir: PathBuf,
    schedules: Vec<Schedule>,
    place: Place,
    /// How much of what all lines carry is kept, in bytes.
    tape_memory: u64,
    console: console::config::Settings,
    /// Of the site file.
    digest: String,
}

/// What decides and keeps.
struct CoreParts {
    site: SiteFacts,
    timezone: TimeZone,
    demo: bool,
    store: store::Settings,
    private: Option<PrivateStore>,
    /// Those of the site, then the gateway's own: its lines, its endpoints, its store, its flash.
    devices: Vec<Device>,
    /// Who wants to hear of these classes wants to hear that their line is down.
    classes_on: HashMap<DeviceId, BTreeSet<ClassName>>,
    overrides: Vec<Override>,
    customs: Customs,
    tariff: Tariff,
    routes: Vec<(EndpointId, Wants)>,
    /// Of endpoints whose letters have a form of their own.
    templates: HashMap<EndpointId, Template>,
    /// What is in force.
    writings: Vec<store::Writing>,
}

impl Parts {
    fn of(site: Site) -> Self {
        let routes = site.endpoints.iter().map(|endpoint| (endpoint.id.clone(), endpoint.wants.clone()));
        let routes = routes.collect();
        let (dir, tape_memory) = (site.store.dir.clone(), site.tape_memory.0);
        let place = Place { zone: site.timezone.clone(), coordinates: site.coordinates };
        let own = own::all(&site);
        let classes_on = own::classes(&site.buses, &site.devices);
        let templates = site.endpoints.iter().filter_map(|endpoint| {
            let template = endpoint.receiver.template()?.clone();
            Some((endpoint.id.clone(), template))
        });
        let templates = templates.collect();
        let devices = site.devices.into_iter().chain(own).collect();
        let core = CoreParts {
            site: SiteFacts { id: site.id, name: site.name },
            timezone: site.timezone,
            demo: site.demo,
            store: site.store,
            private: site.private,
            classes_on,
            devices,
            overrides: site.overrides,
            customs: site.customs,
            tariff: site.tariff,
            routes,
            templates,
            writings: site.writings,
        };
        let Site { buses, endpoints, schedules, console, digest, .. } = site;
        Self { core, buses, endpoints, dir, schedules, place, tape_memory, console, digest }
    }
}

/// How the event store is opened.
#[derive(Clone, Copy)]
enum Opening {
    /// For one command: as it should be, or not at all.
    Sound,
    /// For the gateway, which starts whatever it finds. A command that is being carried out on the store is waited for.
    WhateverComes,
}

impl Opening {
    async fn open(self, settings: &store::Settings) -> Result<(EventStore, Recovered), StoreError> {
        if let Opening::Sound = self {
            return EventStore::open(settings);
        }
        let until = Instant::now() + PATIENCE_FOR_LOCK;
        loop {
            match EventStore::open_or_go_without(settings) {
                Err(StoreError::InUse { .. }) if Instant::now() < until => sleep(LOCK_MOMENT).await,
                opened => return opened,
            }
        }
    }
}

/// The pipeline with its stores open, nothing running yet.
struct Core {
    pipeline: Pipeline,
    /// Alarms that were open and have no rule any more.
    orphans: Vec<AlarmMemory>,
    /// Occurrences that go on under another name.
    superseded: Vec<OccurrenceId>,
    /// What the last run told devices and did not live to see the end of.
    cut_off: Vec<OpenOperation>,
    /// For which day each schedule told each device last.
    fired: Vec<Fired>,
    keys: Option<Keys>,
    epoch: String,
    last_seq: u64,
}

impl Core {
    async fn open(
        parts: CoreParts,
        clock: &Arc<dyn Clock>,
        heard: mpsc::Receiver<Heard>,
        asked: mpsc::Receiver<Asked>,
        opening: Opening,
    ) -> anyhow::Result<Self> {
        let devices: Arc<[Device]> = parts.devices.into();
        let written = store::last_written(&parts.store.dir);
        let (events, recovered) = opening.open(&parts.store).await.context("open the event store")?;
        let telemetry = TelemetryStore::open(&parts.store, catalogue(&devices)).unwrap_or_else(|error| {
            error!(%error, "Readings cannot be kept until the next start; alarms go on.");
            TelemetryStore::absent(devices.len())
        });
        info!(site = %parts.site.id, devices = devices.len(), seq = recovered.last_seq, "Gatehouse starts.");
        if let Some(newest) = written.into_iter().chain(recovered.newest).max() {
            clock.raise_floor(newest);
        }
        let keys = Keys::open(parts.private.as_ref(), &events, clock).await;
        let privacy = keys.as_ref().map(|keys| Arc::clone(&keys.privacy));
        let (ledger, epoch, last_seq) =
            (Ledger::new(&recovered, parts.store.suite), recovered.epoch.clone(), recovered.last_seq);
        let starts = matches!(opening, Opening::WhateverComes);
        events.attest(witness(&parts.store, parts.writings, clock, starts)).await?;
        let own_store = devices.iter().position(Device::is_own_store).map(|place| DeviceIx(place as u32));
        let watched = watched(&devices, &parts.overrides)?;
        let tide = tide(&devices, &parts.customs, &recovered.alarms, clock.boot_id());
        let (engine, orphans) = Engine::new(watched, recovered.alarms, clock.boot_id());
        let engine = engine.with_customs(parts.customs);
        let router = Router::new(parts.timezone, parts.routes)
            .keep_telling(recovered.told)
            .in_their_words(parts.templates)
            .standing_for(parts.classes_on)
            .sealing(privacy.clone());
        let router = Arc::new(router);
        let scribe = Arc::clone(&router);
        let credits = Credits::new(parts.tariff, keys::pseudonyms(privacy.as_deref(), &parts.store.dir));
        let private = Private::new(privacy, &devices);
        let opener = private.clone();
        let again =
            move |sealed: &_| opener.unsealed(sealed).map_or_else(Vec::new, |open| scribe.address(&open));
        events.remake_by(Arc::new(again)).await?;
        let pipeline = Pipeline {
            site: parts.site,
            demo: parts.demo,
            devices,
            engine,
            ledger,
            events,
            telemetry,
            address: Box::new(move |sealed| router.address(sealed)),
            wake: Vec::new(),
            clock: Arc::clone(clock),
            heard,
            asked,
            progress: Arc::new(Progress::default()),
            trouble: Trouble::default(),
            spare: Spare::default(),
            upkeep: Upkeep::reporting_as(own_store),
            tide,
            recent: Recent::default(),
            messages: BTreeMap::new(),
            operations: Operations::nowhere(),
            private,
            credits,
        };
        pipeline.warn_of_clear_text();
        let Recovered { operations: cut_off, fired, superseded, .. } = recovered;
        Ok(Self { pipeline, orphans, superseded, cut_off, fired, keys, epoch, last_seq })
    }

    /// Whoever was told of an alarm's beginning is told of its end, also when its device or rule is gone from the site, or when
    /// it goes on under another name.
    async fn end_orphans(&mut self) -> anyhow::Result<()> {
        let orphans = std::mem::take(&mut self.orphans);
        let (open, held): (Vec<_>, Vec<_>) = orphans.into_iter().partition(|orphan| orphan.state.is_some());
        self.forget(held).await?;
        let orphans = open.into_iter().filter_map(|orphan| orphan.occurrence);
        let superseded = std::mem::take(&mut self.superseded);
        self.end(orphans.collect(), Orphaned::RuleRemoved).await?;
        self.end(superseded, Orphaned::Superseded).await
    }

    /// What a person held back of a rule that is gone.
    async fn forget(&mut self, held: Vec<AlarmMemory>) -> anyhow::Result<()> {
        if held.is_empty() {
            return Ok(());
        }
        let alarms = held.into_iter().map(|held| AlarmMemory::normal(held.key)).collect();
        match self.pipeline.events.commit(store::Commit { alarms, ..store::Commit::default() }).await {
            // the next start tries again
            Err(error) if error.passes() => Ok(()),
            forgotten => forgotten.context("forget what was held back"),
        }
    }

    async fn end(&mut self, occurrences: Vec<OccurrenceId>, why: Orphaned) -> anyhow::Result<()> {
        let mut last = Vec::new();
        for occurrence in occurrences {
            match self.pipeline.events.latest(&occurrence).await {
                Ok(event) => last.extend(event),
                Err(error) if error.passes() => {}
                Err(error) => return Err(error).context("read an alarm's last event"),
            }
        }
        match self.pipeline.close_orphans(last, why).await {
            Err(error) if error.passes() => {
                warn!("There is no room to close alarms that nothing watches; the next start tries again.");
                Ok(())
            }
            closed => closed.context("close alarms that nothing watches"),
        }
    }
}

impl Core {
    /// "Nobody knows" is an outcome too: it stands in the audit before anything new is asked.
    async fn close_operations(&mut self) -> anyhow::Result<()> {
        match self.pipeline.close_operations(std::mem::take(&mut self.cut_off)).await {
            Err(error) if error.passes() => {
                warn!("There is no room to write down what became of commands; the next start tries again.");
                Ok(())
            }
            closed => closed.context("close commands that were cut off"),
        }
    }
}

/// Both, whatever one of them says.
async fn close(telemetry: TelemetryStore, events: EventStore) -> anyhow::Result<()> {
    let events = timeout(CLOSING, events.close()).await.context("close the event store in time");
    let telemetry = timeout(CLOSING, telemetry.close()).await.context("close the telemetry store in time");
    events?.context("close the event store")?;
    telemetry?.context("close the telemetry store")
}

fn catalogue(devices: &[Device]) -> Arc<[CatalogueEntry]> {
    let entry = |device: &Device| CatalogueEntry {
        device: device.id.clone(),
        points: device
            .profile
            .points
            .iter()
            .map(|point| (point.name.clone(), device.profile.class.points[point.class_point].unit.clone()))
            .collect(),
    };
    devices.iter().map(entry).collect()
}

/// Each device with what will be known of it, and the rules that watch it.
fn watched(
    devices: &[Device],
    overrides: &[Override],
) -> Result<Vec<(DeviceId, Latest, OnDevice)>, RuleProblem> {
    // the loss of a whole line is such a line's own alarm
    let reporting: HashSet<&BusId> =
        devices.iter().filter(|device| device.is_own_line()).map(|device| &device.bus).collect();
    let mut book = RuleBook::new(overrides);
    let watched = devices.iter().map(|device| {
        let line_reports = !device.is_own_line() && reporting.contains(&device.bus);
        let latest = Latest::new(Arc::clone(&device.profile), line_reports);
        Ok((device.id.clone(), latest, book.of(&device.id, &device.profile)?.on))
    });
    watched.collect()
}

/// The site's flood, from where it was left off.
fn tide(devices: &[Device], customs: &Customs, recovered: &[AlarmMemory], boot_id: &str) -> Tide {
    let own = devices.iter().position(Device::is_own_alarms);
    let kept = own.map(|place| Tide::key(&devices[place]));
    let kept = recovered.iter().find(|memory| kept.as_ref() == Some(&memory.key));
    let memory = kept.and_then(|memory| memory.flood.as_deref().cloned());
    Tide::new(own.map(|place| DeviceIx(place as u32)), Flood::restored(customs.flood, memory, boot_id))
}

/// A door that cannot be opened (a disk that is full or cannot be written) is tried again: alarms do not need it.
async fn serve(dir: PathBuf, visits: mpsc::Sender<Visit>, stop: CancellationToken) -> Ended {
    let mut said = false;
    while !stop.is_cancelled() {
        match door::open(&dir) {
            Ok(listener) => {
                door::serve(listener, visits, stop).await;
                break;
            }
            Err(error) => {
                if !said {
                    error!(%error, dir = %dir.display(), "The door for commands cannot be opened; status and acknowledgements wait for it.");
                    said = true;
                }
                tokio::select! {
                    () = sleep(DOOR_AGAIN) => {}
                    () = stop.cancelled() => {}
                }
            }
        }
    }
    Ok("door")
}

async fn watch(progress: Arc<Progress>, stop: CancellationToken) -> Ended {
    watchdog::run(move || progress.rounds(), stop).await;
    Ok("watchdog")
}

fn disk_failed(first: Option<&Result<Ended, JoinError>>) -> bool {
    let Some(Ok(Err(error))) = first else { return false };
    matches!(error.downcast_ref(), Some(StoreError::Failed { .. }))
}

/// Why the first task that ended means the end of the gateway.
fn why(ended: Result<Ended, JoinError>) -> anyhow::Error {
    match ended {
        Ok(Ok(part)) => anyhow!("keep going: the {part} ended by itself"),
        Ok(Err(error)) => error,
        Err(broken) => anyhow!(broken).context("keep going: a part broke"),
    }
}
