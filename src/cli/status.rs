//! `status`: one screen about alarms, devices, buses, endpoints and the clock.

mod messages;
mod screen;

use std::io::{self, ErrorKind, Write};

use clap::Args;
use serde_json::json;

use super::{
    alarms::local,
    exit,
    site::{SiteArgs, if_stored},
};
use crate::{
    config::Site,
    console::door::{self, Answer, Question},
    domain::{
        AlarmState, DeviceId, Lang, Overlay, Text,
        credit::Account,
        status::{Failing, Live},
    },
    say,
    store::{AlarmFilter, AlarmRow, Delivery, Reader, StoreError, chain::PublicKey},
    text,
};

#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    site: SiteArgs,
    /// One JSON object
    #[arg(long)]
    json: bool,
    /// Exit 6 if an alarm is unacknowledged, 7 if an endpoint is failing, 1 if no gateway watches / 用退出码表示状态
    #[arg(long)]
    exit_code: bool,
}

/// What can be known: the store's part always, the rest while the gateway runs.
struct Seen {
    /// All that are open, the most urgent first.
    alarms: Vec<AlarmRow>,
    deliveries: Vec<Delivery>,
    /// With which the evidence is signed.
    key: Option<PublicKey>,
    /// Of devices that give points.
    books: Vec<(DeviceId, Account)>,
    gateway: Gateway,
}

/// What came of asking at the door.
enum Gateway {
    Runs(Box<Live>),
    /// Nobody is there.
    Rests,
    /// Somebody may be there, but gave no answer.
    Mute(Text),
}

impl Seen {
    fn live(&self) -> Option<&Live> {
        match &self.gateway {
            Gateway::Runs(live) => Some(live),
            Gateway::Rests | Gateway::Mute(_) => None,
        }
    }
}

impl StatusArgs {
    /// # Errors
    /// If the store cannot be read or the answer cannot be printed.
    pub fn run(self, lang: Lang) -> anyhow::Result<u8> {
        let site = match self.site.look(lang) {
            Ok(site) => site,
            Err(code) => return Ok(code),
        };
        let seen = look(&site, lang)?;
        let mut out = io::stdout().lock();
        if self.json {
            writeln!(out, "{}", record(&site, &seen))?;
        } else {
            screen::print(&mut out, &site, &seen, lang)?;
        }
        Ok(if self.exit_code { code(&seen) } else { exit::OK })
    }
}

fn look(site: &Site, lang: Lang) -> anyhow::Result<Seen> {
    let every_open = AlarmFilter { limit: usize::MAX, ..AlarmFilter::default() };
    let (alarms, deliveries, key, books) = match if_stored(Reader::open(&site.store.dir), lang)? {
        Some(reader) => {
            let books = books(site, &reader)?;
            (reader.alarms(&every_open)?.rows, reader.deliveries()?, reader.public_key()?, books)
        }
        None => (Vec::new(), Vec::new(), None, Vec::new()),
    };
    let answer = super::run::runtime()?.block_on(door::visit(&site.store.dir, &Question::Status));
    Ok(Seen { alarms, deliveries, key, books, gateway: gateway(answer) })
}

/// Of every device that gives points and claimed some.
fn books(site: &Site, reader: &Reader) -> Result<Vec<(DeviceId, Account)>, StoreError> {
    let mut books = Vec::new();
    for device in site.devices.iter().filter(|device| device.profile.credit.is_some()) {
        books.extend(reader.account(&device.id)?.map(|account| (device.id.clone(), account)));
    }
    Ok(books)
}

/// Only where there is no door, or nobody behind it, does no gateway run; anything else is a gateway that does not answer.
fn gateway(answer: io::Result<Answer>) -> Gateway {
    match answer {
        Ok(Answer::Status(live)) => Gateway::Runs(live),
        Ok(Answer::Busy) => Gateway::Mute(text!("正忙，请稍后再问", "it is busy: ask again")),
        Ok(Answer::Stopping) => Gateway::Mute(text!("正在停止", "it is stopping")),
        Ok(Answer::NotUnderstood(why)) => {
            Gateway::Mute(text!("它不懂这个问题：{why}", "it does not understand the question: {why}"))
        }
        Ok(Answer::Outcome(_) | Answer::Inquired(_) | Answer::Tape(_) | Answer::Drilled(_)) => {
            Gateway::Mute(text!("它答的是别的问题", "it answered another question"))
        }
        Err(error) => match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => Gateway::Rests,
            ErrorKind::PermissionDenied => Gateway::Mute(text!(
                "当前用户无权询问，请用 gatehouse 组的用户运行",
                "this user may not ask: run as a member of group gatehouse"
            )),
            ErrorKind::TimedOut => Gateway::Mute(text!("等不到回答", "no answer came in time")),
            ErrorKind::UnexpectedEof => Gateway::Mute(text!("回答不完整", "its answer broke off")),
            _ => Gateway::Mute(text!("{error}", "{error}")),
        },
    }
}

fn unacknowledged(alarm: &AlarmRow) -> bool {
    // what is held back wants nobody now; the screen shows it
    alarm.state.is_unacknowledged() && !alarm.overlay.is_held()
}

/// Why letters for it wait: as the running gateway has it, else as the store has it.
fn failing(seen: &Seen, endpoint: &str, lang: Lang) -> Option<String> {
    let delivery = seen.deliveries.iter().find(|delivery| delivery.endpoint == endpoint);
    let live = seen.live().into_iter().flat_map(|live| &live.endpoints).find(|live| *live.id == *endpoint);
    match live {
        Some(live) => live.failing.as_ref().map(|failing| told(failing, lang)),
        None => {
            delivery.and_then(|delivery| delivery.last_error.as_ref()).map(|said| said.get(lang).to_owned())
        }
    }
}

/// The kind of trouble, as a word.
fn trouble(seen: &Seen, endpoint: &str) -> Option<String> {
    let live = seen.live().into_iter().flat_map(|live| &live.endpoints).find(|live| *live.id == *endpoint);
    let delivery = || seen.deliveries.iter().find(|delivery| delivery.endpoint == endpoint);
    match live {
        Some(live) => live.failing.as_ref().map(|failing| failing.why.kind.word().to_owned()),
        None => delivery().and_then(|delivery| delivery.hindrance.clone()),
    }
}

fn told(failing: &Failing, lang: Lang) -> String {
    let (alarms, said) = (failing.alarms, failing.why.said.get(lang));
    match alarms {
        0 => said.to_owned(),
        _ => say!(lang, "{alarms} 个报警的消息被拒收：{said}", "{alarms} alarms refused: {said}"),
    }
}

fn code(seen: &Seen) -> u8 {
    if seen.alarms.iter().any(unacknowledged) {
        return exit::UNACKNOWLEDGED;
    }
    let failing =
        seen.live().into_iter().flat_map(|live| &live.endpoints).any(|endpoint| endpoint.failing.is_some())
            || seen.deliveries.iter().any(|delivery| failing(seen, &delivery.endpoint, Lang::En).is_some());
    // All may be well on disk, but nobody is watching.
    let watched = seen.live().is_some_and(|live| live.storage.is_none());
    match (watched, failing) {
        (false, _) => exit::UNEXPECTED,
        (true, true) => exit::ENDPOINT_FAILING,
        (true, false) => exit::OK,
    }
}

fn count(seen: &Seen, is: impl Fn(&Overlay) -> bool) -> usize {
    seen.alarms.iter().filter(|alarm| is(&alarm.overlay)).count()
}

fn record(site: &Site, seen: &Seen) -> serde_json::Value {
    let zone = &site.timezone;
    let queued = |id: &str| seen.deliveries.iter().find(|delivery| delivery.endpoint == id);
    json!({
        "site": { "id": site.id, "name": site.name },
        "running": seen.live().is_some(),
        "does_not_answer": match &seen.gateway {
            Gateway::Mute(why) => Some(&why.en),
            Gateway::Runs(_) | Gateway::Rests => None,
        },
        "alarms": {
            "open": seen.alarms.iter().filter(|alarm| alarm.state != AlarmState::Closed).count(),
            "shelved": count(seen, |over| over.shelf.is_some()),
            "suppressed": count(seen, |over| over.suppressed),
            "out_of_service": count(seen, |over| over.out_of_service.is_some()),
            "unacknowledged": seen.alarms.iter().filter(|alarm| unacknowledged(alarm)).count(),
        },
        "credits": seen.books.iter().map(|(device, account)| json!({
            "device": device,
            "credits": account.credits,
            "refused": account.refused,
            "difference_g": account.difference_g(),
        })).collect::<Vec<_>>(),
        "endpoints": site.endpoints.iter().map(|endpoint| {
            let delivery = queued(&endpoint.id);
            json!({
                "id": endpoint.id,
                "queued": delivery.map_or(0, |delivery| delivery.queued),
                "delivered": delivery.map_or(0, |delivery| delivery.delivered),
                "set_aside": delivery.map_or(0, |delivery| delivery.set_aside),
                "oldest": delivery.and_then(|delivery| delivery.oldest).map(|at| local(at, zone)),
                "last_delivered": delivery.and_then(|delivery| delivery.last_delivered).map(|at| local(at, zone)),
                "critical": delivery.map_or(0, |delivery| delivery.critical),
                "failing": failing(seen, &endpoint.id, Lang::En),
                "trouble": trouble(seen, &endpoint.id),
            })
        }).collect::<Vec<_>>(),
        "devices": seen.live().map(|live| &live.devices),
        "buses": seen.live().map(|live| &live.buses),
        "time_quality": seen.live().map(|live| live.time_quality),
        "clock_step": seen.live().and_then(|live| live.clock_step),
        "readings_lost": seen.live().map(|live| live.readings_lost),
        "flash": seen.live().and_then(|live| live.flash),
        "storage": seen.live().map(|live| &live.storage),
        "evidence_key": seen.key.as_ref().map(|key| json!({
            "id": key.id, "public": key.public, "algorithm": key.suite.signature().to_lowercase(),
        })),
        "version": env!("CARGO_PKG_VERSION"),
        "demo": site.demo,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_empty_doorway_means_that_no_gateway_runs() {
        for (kind, rests) in [
            (ErrorKind::NotFound, true),
            (ErrorKind::ConnectionRefused, true),
            (ErrorKind::PermissionDenied, false),
            (ErrorKind::TimedOut, false),
            (ErrorKind::UnexpectedEof, false),
            (ErrorKind::ConnectionReset, false),
            (ErrorKind::Other, false),
        ] {
            assert_eq!(matches!(gateway(Err(kind.into())), Gateway::Rests), rests, "{kind}");
        }
        for answer in [Answer::Busy, Answer::Stopping, Answer::NotUnderstood("?".to_owned())] {
            assert!(matches!(gateway(Ok(answer.clone())), Gateway::Mute(_)), "{answer:?}");
        }
    }
}
