//! The endpoints: a courier each, and what people at them ask.

use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{Notify, mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::{
    Ended,
    drills::{DrillStanding, Watch, unusable},
};
use crate::{
    config::{Endpoint, Receiver},
    domain::{
        ClassName, Clock, DeviceId, EndpointId, Hindrance, HindranceKind,
        status::{EndpointStatus, Failing},
    },
    pipeline::{Asked, Pipeline},
    profile::Device,
    store::privacy::Privacy,
    uplink::{
        self, Courier, DrillTurns, EndpointGauge, Wants, Word,
        http::{HttpEndpoint, Listening},
        mqtt::MqttEndpoint,
        opened::Opened,
        readings::{Origin, Visible},
        upload::Uploader,
    },
};

/// What people at one endpoint may have said and nobody has looked at yet.
const WORDS: usize = 4;

/// An endpoint as whoever looks at it sees it.
pub struct WayOut {
    pub id: EndpointId,
    /// Or why it cannot be set up: its letters wait.
    pub gauge: Result<EndpointGauge, Hindrance>,
    pub drills: watch::Receiver<DrillStanding>,
    /// Set while somebody else seems to use its client id.
    pub contested: Arc<AtomicBool>,
}

impl WayOut {
    pub fn read(&self) -> EndpointStatus {
        match &self.gauge {
            Ok(gauge) => gauge.read(),
            Err(why) => {
                let failing = Failing { since: None, why: why.clone(), alarms: 0, next_try: None };
                EndpointStatus { id: self.id.clone(), failing: Some(failing) }
            }
        }
    }
}

/// What every endpoint is spawned with.
pub struct Upward<'a> {
    /// Where all that is not the field runs.
    pub rest: &'a Handle,
    pub to_answer: &'a mpsc::Sender<Asked>,
    pub clock: &'a Arc<dyn Clock>,
    pub origin: Origin,
    /// Of the store.
    pub dir: &'a Path,
    pub privacy: Option<Arc<Privacy>>,
    pub polling: &'a CancellationToken,
    pub serving: &'a CancellationToken,
}

impl Upward<'_> {
    /// One courier an endpoint. One that cannot be set up keeps its letters and costs nobody else.
    pub fn spawn(
        self,
        tasks: &mut JoinSet<Ended>,
        endpoints: Vec<Endpoint>,
        pipeline: &mut Pipeline,
    ) -> Vec<WayOut> {
        let mut ways = Vec::new();
        for Endpoint { id, receiver, drill, wants, upload_every, .. } in endpoints {
            let upload = wants.readings.then(|| (visible(pipeline, &wants), upload_every));
            let mut contested = Arc::default();
            let own_id = id.clone();
            let gauge = match receiver {
                Receiver::Http(http) => {
                    let listening = http.ack_reply.clone().map(|pointer| {
                        let (people, words) = mpsc::channel(WORDS);
                        let relayed = relay(words, self.to_answer.clone(), self.serving.clone());
                        tasks.spawn_on(relayed, self.rest);
                        Listening { endpoint: id.clone(), pointer, people }
                    });
                    match HttpEndpoint::new(*http, Arc::clone(self.clock)) {
                        Ok(http) => {
                            let http = http.listening(listening);
                            Ok(self.courier(tasks, (id, http), upload, pipeline))
                        }
                        Err(error) => Err(nothing_goes(&id, &error)),
                    }
                }
                Receiver::Mqtt(mqtt) => {
                    let (people, words) = mpsc::channel(WORDS);
                    let classes = classes(&pipeline.devices);
                    match MqttEndpoint::new(id.clone(), *mqtt, &pipeline.site.id, classes, people, self.clock)
                    {
                        Ok(mqtt) => {
                            contested = mqtt.contested();
                            let relayed = relay(words, self.to_answer.clone(), self.serving.clone());
                            tasks.spawn_on(relayed, self.rest);
                            Ok(self.courier(tasks, (id, mqtt), upload, pipeline))
                        }
                        Err(error) => Err(nothing_goes(&id, &error)),
                    }
                }
            };
            let (standing, drills) = watch::channel(DrillStanding::NONE);
            if let Some(turns) = drill {
                self.watch(tasks, (own_id.clone(), turns), standing, pipeline);
            }
            ways.push(WayOut { id: own_id, gauge, drills, contested });
        }
        ways
    }

    fn watch(
        &self,
        tasks: &mut JoinSet<Ended>,
        (endpoint, turns): (EndpointId, DrillTurns),
        standing: watch::Sender<DrillStanding>,
        pipeline: &Pipeline,
    ) {
        let watch = Watch {
            endpoint,
            turns,
            standing,
            store: pipeline.events.clone(),
            to_answer: self.to_answer.clone(),
            clock: Arc::clone(self.clock),
            zone: self.origin.zone.clone(),
        };
        tasks.spawn_on(watch.run(self.polling.clone()), self.rest);
    }

    fn courier<E: uplink::Endpoint>(
        &self,
        tasks: &mut JoinSet<Ended>,
        (id, endpoint): (EndpointId, E),
        upload: Option<(Vec<Visible>, Duration)>,
        pipeline: &mut Pipeline,
    ) -> EndpointGauge {
        let (wake, inner) = (Arc::new(Notify::new()), Arc::new(endpoint));
        let (store, clock) = (pipeline.events.clone(), Arc::clone(self.clock));
        let opened = Opened { inner: Arc::clone(&inner), privacy: self.privacy.clone() };
        let (courier, gauge) =
            Courier::new(id.clone(), opened, store, clock, uplink::chance, Arc::clone(&wake));
        pipeline.wake.push(wake);
        let stop = self.serving.clone();
        tasks.spawn_on(async move { Ok(courier.run(stop).await.map(|()| "courier")?) }, self.rest);
        if let Some((devices, every)) = upload {
            let uploader = Uploader {
                id,
                endpoint: inner,
                store: pipeline.events.clone(),
                dir: self.dir.to_owned(),
                devices: devices.into(),
                every,
                origin: self.origin.clone(),
                privacy: self.privacy.clone(),
                clock: Arc::clone(self.clock),
                chance: uplink::chance,
                state: gauge.state.clone(),
            };
            let stop = self.serving.clone();
            let upload = async move {
                uploader.run(stop.clone()).await;
                stop.cancelled().await;
                Ok("uploader")
            };
            tasks.spawn_on(upload, self.rest);
        }
        gauge
    }
}

/// What of the site's readings an endpoint with these `wants` may have, by device.
fn visible(pipeline: &Pipeline, wants: &Wants) -> Vec<Visible> {
    let wanted = pipeline.devices.iter().filter(|device| wants.classes.contains(&device.profile.class.name));
    let mut visible: Vec<Visible> = wanted
        .map(|device| {
            let class = &device.profile.class;
            let points = class.points.iter().filter(|point| match point.card {
                true => wants.may_see_card(),
                false => wants.may_see(point.data),
            });
            let points: BTreeSet<_> = points.map(|point| point.name.clone()).collect();
            Visible { device: device.id.clone(), class: class.name.clone(), points }
        })
        .collect();
    visible.sort_by(|one, other| one.device.cmp(&other.device));
    visible
}

fn nothing_goes(id: &EndpointId, error: &dyn std::error::Error) -> Hindrance {
    error!(endpoint = %id, %error, "Nothing can be delivered to this endpoint; its letters wait.");
    Hindrance::new(HindranceKind::Unusable, unusable(error))
}

pub(super) fn classes(devices: &[Device]) -> HashMap<DeviceId, ClassName> {
    devices.iter().map(|device| (device.id.clone(), device.profile.class.name.clone())).collect()
}

/// What people at an endpoint ask goes in by the door that everybody uses.
async fn relay(
    mut words: mpsc::Receiver<Word>,
    to_answer: mpsc::Sender<Asked>,
    stop: CancellationToken,
) -> Ended {
    loop {
        let word = tokio::select! {
            () = stop.cancelled() => break,
            word = words.recv() => word,
        };
        let Some((command, reply)) = word else {
            stop.cancelled().await;
            break;
        };
        if to_answer.send(Asked::Command(command, reply)).await.is_err() {
            break;
        }
    }
    Ok("words")
}
