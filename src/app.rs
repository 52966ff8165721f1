//! The only wiring: opens the stores, builds the channels, spawns each task, waits, and drains in order.
//!
//! Stop polling → the pipeline empties its inbox and commits → couriers finish the request in hand → close the stores.

mod porter;

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, anyhow};
use tokio::{
    net::UnixListener,
    sync::{Notify, mpsc, oneshot},
    task::{JoinError, JoinSet},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::porter::Porter;
use crate::{
    alarm::{Engine, Latest, Override, Rule, Rules},
    config::{Bus, BusLink, Site},
    console::door::{self, Visit},
    domain::{
        BusId, Clock, DeviceId, DeviceIx, Heard, SiteFacts,
        command::{Command, Outcome},
    },
    fieldbus::{self, BusDevice, BusGauge, BusParts},
    ops::watchdog,
    pipeline::{Asked, Ledger, Pipeline, Progress, Trouble},
    profile::Device,
    store::{CatalogueEntry, EventStore, TelemetryStore},
    uplink::{self, Courier, EndpointGauge, Router, http::HttpEndpoint},
};

/// What the pipeline's inbox holds; when it is full the buses wait, so they poll slower and nothing grows.
const INBOX: usize = 1024;
/// People ask one thing at a time.
const QUESTIONS: usize = 16;
/// How long each stage of the drain may take; together they stay under the 10 s that a stop may last.
const EMPTY_INBOX: Duration = Duration::from_secs(2);
const END_OF_TASKS: Duration = Duration::from_secs(6);

/// What a task was, when it ends.
type Ended = anyhow::Result<&'static str>;

/// Runs the gateway of `site` until `stop`, or until a part of it ends by itself, which is an error.
///
/// # Errors
/// If the stores cannot be opened, a rule is not valid, or a task ended.
pub async fn run(site: Site, clock: Arc<dyn Clock>, stop: CancellationToken) -> anyhow::Result<()> {
    let (to_pipeline, heard) = mpsc::channel(INBOX);
    let (to_answer, asked) = mpsc::channel(QUESTIONS);
    let opened = Opened::open(site, &clock, heard, asked)?;
    let Opened { pipeline, couriers, endpoints, buses, dir } = opened;
    let (events, telemetry) = (pipeline.events.clone(), pipeline.telemetry.clone());
    let progress = Arc::clone(&pipeline.progress);
    let polling = CancellationToken::new();
    let serving = CancellationToken::new();
    let mut tasks = JoinSet::new();

    let gauges = spawn_buses(&mut tasks, buses, &pipeline.devices, &to_pipeline, &clock, &polling);
    drop(to_pipeline);
    let porter = Porter {
        started_at: clock.now().wall,
        demo: pipeline.demo,
        clock,
        pipeline: to_answer,
        telemetry: telemetry.clone(),
        buses: gauges,
        endpoints,
    };
    for courier in couriers {
        let stop = serving.clone();
        tasks.spawn(async move { Ok(courier.run(stop).await.map(|()| "courier")?) });
    }
    let (emptied, inbox_empty) = oneshot::channel::<()>();
    tasks.spawn(async move {
        pipeline.run().await;
        drop(emptied);
        Ok("pipeline")
    });
    let (to_porter, visits) = mpsc::channel(QUESTIONS);
    let listener = door::open(&dir).context("open the door for commands")?;
    tasks.spawn(serve(listener, to_porter, serving.clone()));
    tasks.spawn(porter.run(visits, serving.clone()));
    tasks.spawn(watch(progress, serving.clone()));

    let first = tokio::select! {
        () = stop.cancelled() => None,
        first = tasks.join_next() => first,
    };
    info!("Gatehouse stops.");
    polling.cancel();
    // The sender is dropped when the inbox is empty: that, or silence, is all there is to hear.
    let emptied = timeout(EMPTY_INBOX, inbox_empty).await.is_ok();
    serving.cancel();
    let rest = async { while tasks.join_next().await.is_some() {} };
    let ended = timeout(END_OF_TASKS, rest).await.is_ok();
    if !(emptied && ended) {
        warn!(emptied, ended, "Not every part ended in time; what was committed is safe.");
        tasks.abort_all();
    }
    close(telemetry, events).await?;
    first.map_or(Ok(()), |first| Err(why(first)))
}

/// Carries out one command on the store of a gateway that does not run.
///
/// # Errors
/// If the stores cannot be opened: in use, if a gateway runs after all.
pub async fn ask_at_rest(site: Site, clock: Arc<dyn Clock>, command: Command) -> anyhow::Result<Outcome> {
    let (nothing_more, heard) = mpsc::channel(1);
    let (ask, asked) = mpsc::channel(1);
    let (reply, outcome) = oneshot::channel();
    let Opened { pipeline, .. } = Opened::open(site, &clock, heard, asked)?;
    let (events, telemetry) = (pipeline.events.clone(), pipeline.telemetry.clone());
    let carried = tokio::spawn(pipeline.run());
    ask.send(Asked::Command(command, reply)).await.context("ask the pipeline")?;
    let outcome = outcome.await.context("get the pipeline's answer");
    drop(nothing_more);
    carried.await.context("end the pipeline")?;
    close(telemetry, events).await?;
    outcome
}

/// A site with its stores open and its parts made, nothing running yet.
struct Opened {
    pipeline: Pipeline,
    couriers: Vec<Courier<HttpEndpoint>>,
    endpoints: Vec<EndpointGauge>,
    buses: Vec<Bus>,
    /// Where the store is, and the door beside it.
    dir: PathBuf,
}

impl Opened {
    fn open(
        site: Site,
        clock: &Arc<dyn Clock>,
        heard: mpsc::Receiver<Heard>,
        asked: mpsc::Receiver<Asked>,
    ) -> anyhow::Result<Self> {
        let devices: Arc<[Device]> = site.devices.into();
        let (events, recovered) = EventStore::open(&site.store).context("open the event store")?;
        let telemetry =
            TelemetryStore::open(&site.store, catalogue(&devices)).context("open the telemetry store")?;
        info!(site = %site.id, devices = devices.len(), buses = site.buses.len(), seq = recovered.last_seq, "Gatehouse starts.");

        let ledger = Ledger::new(&recovered);
        let watched =
            devices.iter().map(|device| watched(device, &site.overrides)).collect::<Result<_, _>>()?;
        let (engine, orphans) = Engine::new(watched, recovered.alarms, clock.boot_id());
        for orphan in orphans {
            warn!(alarm = %orphan.key, state = ?orphan.state, "No rule watches this alarm any more; it stays as it is.");
        }

        let (mut couriers, mut gauges) = (Vec::new(), Vec::new());
        let mut routes = Vec::new();
        let mut wake = Vec::new();
        for endpoint in site.endpoints {
            let notify = Arc::new(Notify::new());
            let http = HttpEndpoint::new(endpoint.http, Arc::clone(clock))
                .with_context(|| format!("set up endpoint {}", endpoint.id))?;
            let id = endpoint.id.clone();
            let (store, clock, woken) = (events.clone(), Arc::clone(clock), Arc::clone(&notify));
            let (courier, gauge) = Courier::new(id, http, store, clock, uplink::chance, woken);
            couriers.push(courier);
            gauges.push(gauge);
            wake.push(notify);
            routes.push((endpoint.id, endpoint.wants));
        }
        let router = Router::new(site.timezone, routes);
        let pipeline = Pipeline {
            site: SiteFacts { id: site.id, name: site.name },
            demo: site.demo,
            devices,
            engine,
            ledger,
            events,
            telemetry,
            address: Box::new(move |sealed| router.address(sealed)),
            wake,
            clock: Arc::clone(clock),
            heard,
            asked,
            progress: Arc::new(Progress::default()),
            trouble: Trouble::default(),
        };
        Ok(Self { pipeline, couriers, endpoints: gauges, buses: site.buses, dir: site.store.dir })
    }
}

async fn close(telemetry: TelemetryStore, events: EventStore) -> anyhow::Result<()> {
    telemetry.close().await.context("close the telemetry store")?;
    events.close().await.context("close the event store")
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

fn watched(device: &Device, overrides: &[Override]) -> anyhow::Result<(DeviceId, Latest, Vec<Rule>)> {
    let rules = Rules::compile(&device.id, &device.profile, overrides)?;
    Ok((device.id.clone(), Latest::new(Arc::clone(&device.profile)), rules.on))
}

/// One task a bus; gives back their gauges.
fn spawn_buses(
    tasks: &mut JoinSet<Ended>,
    buses: Vec<Bus>,
    devices: &[Device],
    sender: &mpsc::Sender<Heard>,
    clock: &Arc<dyn Clock>,
    polling: &CancellationToken,
) -> Vec<BusGauge> {
    let spawn = |(seed, bus): (usize, Bus)| {
        let parts = BusParts {
            id: bus.id.clone(),
            devices: devices_of(&bus.id, devices),
            sender: sender.clone(),
            clock: Arc::clone(clock),
            counters: Arc::default(),
            seed: seed as u64,
        };
        let gauge = BusGauge { bus: bus.id, counters: Arc::clone(&parts.counters) };
        tasks.spawn(poll(bus.link, parts, polling.clone()));
        gauge
    };
    buses.into_iter().enumerate().map(spawn).collect()
}

async fn poll(link: BusLink, parts: BusParts, stop: CancellationToken) -> Ended {
    match link {
        BusLink::ModbusTcp(settings) => fieldbus::modbus::tcp_bus(settings, parts).run(stop).await?,
        BusLink::ModbusRtu(settings) => fieldbus::modbus::rtu_bus(settings, parts).run(stop).await?,
        BusLink::Serial(settings) => fieldbus::serial::bus(parts, &settings)?.run(stop).await?,
        BusLink::Mqtt(settings) => fieldbus::mqtt::bus(parts, &settings)?.run(stop).await?,
    }
    Ok("bus")
}

fn devices_of(bus: &BusId, devices: &[Device]) -> Vec<BusDevice> {
    let numbered = devices.iter().enumerate().filter(|(_, device)| device.bus == *bus);
    let known = numbered.map(|(ix, device)| BusDevice {
        ix: DeviceIx(ix as u32),
        id: device.id.clone(),
        address: device.address.clone(),
        profile: Arc::clone(&device.profile),
    });
    known.collect()
}

async fn serve(listener: UnixListener, visits: mpsc::Sender<Visit>, stop: CancellationToken) -> Ended {
    door::serve(listener, visits, stop).await;
    Ok("door")
}

async fn watch(progress: Arc<Progress>, stop: CancellationToken) -> Ended {
    watchdog::run(move || progress.rounds(), stop).await;
    Ok("watchdog")
}

/// Why the first task that ended means the end of the gateway.
fn why(ended: Result<Ended, JoinError>) -> anyhow::Error {
    match ended {
        Ok(Ok(part)) => anyhow!("keep going: the {part} ended by itself"),
        Ok(Err(error)) => error,
        Err(broken) => anyhow!(broken).context("keep going: a part broke"),
    }
}
