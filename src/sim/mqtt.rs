//! Simulated devices that speak over MQTT: each message is what the profile says its device sends.

use std::{net::SocketAddr, time::Duration};

use jiff::Timestamp;
use rumqttc::{AsyncClient, EventLoop, MqttOptions, PublishOptions, QoS};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{SimDevice, SimError};

/// Messages on their way to the broker; when it is full the devices wait.
const WAITING: usize = 128;
const RECONNECT: Duration = Duration::from_millis(200);

/// What the simulated devices send with.
#[derive(Clone, Debug)]
pub struct Radio(AsyncClient);

/// The connection behind a [`Radio`]; nothing is sent unless [`RadioLink::keep`] runs.
pub struct RadioLink(EventLoop);

/// A radio for the broker at `broker`.
pub fn radio(broker: SocketAddr) -> (Radio, RadioLink) {
    let options = MqttOptions::new("simulated-compound", (broker.ip().to_string(), broker.port()));
    let (client, link) = AsyncClient::builder(options).capacity(WAITING).build();
    (Radio(client), RadioLink(link))
}

impl Radio {
    /// The device says what it has to say, QoS 1, not retained.
    ///
    /// # Errors
    /// If it speaks no MQTT, or the connection's keeper has ended.
    pub async fn send(&self, device: &SimDevice, at: Timestamp) -> Result<(), SimError> {
        let (topic, payload) = device.message(at)?;
        let sent = self.0.publish(topic, payload, PublishOptions::new(QoS::AtLeastOnce)).await;
        sent.map_err(|error| SimError::Off { why: error.to_string() })
    }
}

impl RadioLink {
    /// Keeps the connection until told to stop.
    pub async fn keep(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                event = self.0.poll() => if let Err(error) = event {
                    warn!(%error, "The simulated devices lost their broker.");
                    sleep(RECONNECT).await;
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rumqttc::{Event, Packet};

    use super::*;
    use crate::{
        domain::{PointIx, Raw, Value},
        profile::{Address, Library},
        sim::Broker,
    };

    /// Through the broker to somebody who listens, and back to the value that was set.
    #[tokio::test]
    async fn what_a_device_says_comes_out_of_the_broker() {
        let library = Library::shipped(&mut Default::default());
        let profile = library.profile("parking-sensor/bosch-tps110").unwrap();
        let space = SimDevice::new(Arc::clone(&profile), Address::Text("a1".to_owned()));
        let broker = Broker::start().await.unwrap();
        let address = broker.address();
        let options = MqttOptions::new("listener", (address.ip().to_string(), address.port()));
        let (listener, mut heard) = AsyncClient::builder(options).capacity(8).build();
        listener.subscribe("application/+/device/a1/event/up", QoS::AtLeastOnce).await.unwrap();
        while !matches!(heard.poll().await.unwrap(), Event::Incoming(Packet::SubAck(_))) {}

        let stop = CancellationToken::new();
        let (radio, link) = radio(address);
        let keeper = tokio::spawn(link.keep(stop.clone()));
        space.set("occupied", true).unwrap();
        radio.send(&space, "2026-11-23T06:00:00Z".parse().unwrap()).await.unwrap();
        let payload = loop {
            if let Event::Incoming(Packet::Publish(message)) = heard.poll().await.unwrap() {
                break message.payload;
            }
        };
        let decoded = profile.decode(&Raw::Payload { bytes: payload, retained: false }, &[PointIx(0)]);
        assert_eq!(decoded.samples[0].1.value(), Some(&Value::Flag(true)));
        assert_eq!((decoded.source_time.is_some(), decoded.sequence), (true, Some(1)), "its time and number");
        stop.cancel();
        keeper.await.unwrap();
    }
}
