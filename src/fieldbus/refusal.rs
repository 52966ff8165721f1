//! Which requests a device refuses: told once when it begins and once when it ends, however often it is asked.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;
use tracing::{info, warn};

use super::{BusDevice, plan::Ask};
use crate::{
    domain::{BusId, DeviceIx, Failure, Lang, Medium, Table},
    profile::Link,
};

/// A request that is refused now and then is told no more often than this.
const TOLD_AGAIN_AFTER: Duration = Duration::from_secs(3600);

/// One entry for each question of the bus, or part of one, that was ever refused, no more.
#[derive(Default)]
pub(super) struct Refusals(HashMap<Refused, Told>);

type Refused = (DeviceIx, Ask);

struct Told {
    at: Instant,
    /// Nothing but refusals came since.
    stands: bool,
}

impl Refusals {
    pub fn refused(&mut self, bus: &BusId, device: &BusDevice, ask: &Ask, code: u16) {
        if self.is_news((device.ix, ask.clone()), Instant::now()) {
            let (device, exception, request) =
                (&device.id, words(&device.profile.link, code), shown(&device.profile.link, ask));
            warn!(%bus, %device, request, exception, "Device refuses a request.");
        }
    }

    pub fn answered(&mut self, bus: &BusId, device: &BusDevice, ask: &Ask) {
        if !self.0.is_empty() && self.is_over(&(device.ix, ask.clone())) {
            let (device, request) = (&device.id, shown(&device.profile.link, ask));
            info!(%bus, %device, request, "Device answers a request it refused.");
        }
    }

    fn is_news(&mut self, what: Refused, now: Instant) -> bool {
        let news = self.0.get(&what).is_none_or(|told| !told.stands && now - told.at >= TOLD_AGAIN_AFTER);
        if news {
            self.0.insert(what, Told { at: now, stands: true });
        }
        news
    }

    fn is_over(&mut self, what: &Refused) -> bool {
        self.0.get_mut(what).is_some_and(|told| std::mem::take(&mut told.stands))
    }
}

fn words(link: &Link, code: u16) -> String {
    link.diagnose(&Failure::Refused { code }, Medium::default())
        .map_or_else(String::new, |told| told.line(Lang::En))
}

/// The registers as they go over the wire: whoever reads this is about to ask how they are counted.
fn shown(link: &Link, ask: &Ask) -> String {
    let (table, first, count) = match (ask.clone(), link) {
        (Ask::Block { table, first, count }, _) => (table, first, count),
        (Ask::Frame { request }, Link::Dlt645(link)) => {
            let item = link.items.get(usize::from(request)).map_or(0, |item| item.id);
            return format!("item {item:08X}");
        }
        (Ask::Frame { .. }, Link::Modbus(_) | Link::Serial(_) | Link::Mqtt(_)) => return "frame".to_owned(),
    };
    let what = match table {
        Table::Holding => "holding registers",
        Table::Input => "input registers",
        Table::Coil => "coils",
        Table::Discrete => "discrete inputs",
    };
    let last = u32::from(first) + u32::from(count).max(1) - 1;
    format!("{what} {first} to {last}, counted from 0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_once_until_it_ends_and_not_too_often() {
        const MINUTE: Duration = Duration::from_secs(60);
        let (mut refusals, began) = (Refusals::default(), Instant::now());
        let what = |first| (DeviceIx(0), Ask::Block { table: Table::Holding, first, count: 1 });
        let refused =
            |refusals: &mut Refusals, first, minutes| refusals.is_news(what(first), began + minutes * MINUTE);
        assert!(!refusals.is_over(&what(3)), "never refused");
        assert!(refused(&mut refusals, 3, 0), "the first");
        assert!(!refused(&mut refusals, 3, 1), "told already");
        assert!(!refused(&mut refusals, 3, 600), "told already, long ago");
        assert!(refused(&mut refusals, 4, 1), "another request");
        assert!(refusals.is_over(&what(3)), "its end");
        assert!(!refusals.is_over(&what(3)), "its end is told once");
        assert!(refused(&mut refusals, 3, 601), "again, after long");
        assert!(refusals.is_over(&what(3)));
        assert!(!refused(&mut refusals, 3, 602), "now and then");
        assert!(!refusals.is_over(&what(3)), "what was not told does not end");
        assert!(refused(&mut refusals, 3, 661), "now and then, an hour later");
    }
}
