//! Modbus RTU frames through a modem that dials in to us (DTU): its connection is the line, for as long as it holds.

use std::{sync::Arc, time::Duration};

use tokio::{
    net::TcpStream,
    time::{Instant, sleep_until, timeout},
};

use super::{
    clothes::Dressed,
    config::DtuSettings,
    driver::{Opener, WireDriver},
    heartbeat::Heartbeats,
    reception::{Arrival, Berth, Receptions},
    wire::Wire,
};
use crate::{
    fieldbus::{
        bus::{Bus, BusParts},
        cost::LineCost,
        driver::LineFault,
        port::OpenPort,
    },
    text,
};

/// A modem that was cut off dials again within this time, as a rule: before it is over the line is not called down.
const DIALS_AGAIN_WITHIN: Duration = Duration::from_secs(10);

pub type DtuDriver = WireDriver<DialIn>;

/// A bus of the RTU units behind the modem that registers so at one of the `receptions`.
///
/// # Panics
/// If they were made for other modems.
pub fn dtu_bus(settings: DtuSettings, receptions: &Receptions, parts: BusParts) -> Bus<DtuDriver> {
    let berth = receptions.berth(&settings).expect("the receptions are made of the site's modems");
    Bus::new(DtuDriver::over(DialIn { settings, berth, silent_at: None }).recorded(&parts.tape), parts)
}

pub struct DialIn {
    settings: DtuSettings,
    berth: Arc<Berth>,
    /// When it will have been silent for too long, as far as is known.
    silent_at: Option<Instant>,
}

impl Opener for DialIn {
    type Port = Dressed<TcpStream, Heartbeats>;

    const CLOSED_WHEN_IDLE: bool = true;

    fn cost(&self) -> LineCost {
        self.settings.cost()
    }

    async fn open(&mut self) -> Result<Wire<Self::Port>, LineFault> {
        let DtuSettings { listen, registration, heartbeat, baud, framing, latency, .. } = &self.settings;
        let Ok(Arrival { stream, peer, said }) = timeout(DIALS_AGAIN_WITHIN, self.berth.next()).await else {
            let why = self.berth.trouble().unwrap_or_else(|| {
                text!(
                    "还没有注册为 \"{registration}\" 的 DTU 连到 {listen}",
                    "no modem that registers as \"{registration}\" has dialled in at {listen}"
                )
            });
            return Err(LineFault::down(why));
        };
        let heartbeat = heartbeat.as_ref().map(|heartbeat| heartbeat.0.clone()).unwrap_or_default();
        let port = Dressed::after(stream, Heartbeats::new(heartbeat, Instant::now()), &said);
        let port = OpenPort::new(port, format!("modem \"{registration}\" at {peer}").into());
        Ok(Wire::new(port, framing.character(*baud)).behind(latency.0))
    }

    /// Until another one has dialled in, or this one has not been heard for too long.
    fn keeps(&mut self, open: &Self::Port) -> bool {
        let heartbeat = self.settings.heartbeat.is_some();
        self.silent_at = heartbeat.then(|| open.clothes().heard + self.settings.silence.0);
        !self.berth.is_taken() && self.silent_at.is_none_or(|at| Instant::now() < at)
    }

    async fn changed(&mut self) {
        let silent = async {
            match self.silent_at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.berth.news() => {}
            () = silent => {}
        }
    }
}
