//! The addresses at which modems dial in: a task each.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Ended;
use crate::{
    config::Bus,
    fieldbus::modbus::{Reception, Receptions},
};

/// Opens all that the site's buses need.
pub(super) fn receptions(
    tasks: &mut JoinSet<Ended>,
    buses: &[Bus],
    polling: &CancellationToken,
) -> Arc<Receptions> {
    let receptions = Receptions::new(buses.iter().filter_map(|bus| bus.link.modem()));
    for reception in receptions.all() {
        tasks.spawn(receive(Arc::clone(reception), polling.clone()));
    }
    Arc::new(receptions)
}

async fn receive(reception: Arc<Reception>, stop: CancellationToken) -> Ended {
    reception.run(stop).await;
    Ok("reception")
}
