//! Attempts that are under way, each of another alarm.

use std::{collections::HashMap, future::pending, sync::Arc};

use tokio::{
    task::{Id, JoinSet},
    time::{Instant, timeout_at},
};
use tracing::error;

use crate::{
    domain::{AlarmKey, Hindrance, HindranceKind, Letter, Text},
    text,
    uplink::{Endpoint, Verdict},
};

/// An attempt that is over.
#[derive(Debug)]
pub struct Landed {
    pub letter: Letter,
    pub begun: Instant,
    pub verdict: Verdict,
}

/// Dropped, all of them are given up.
#[derive(Debug)]
pub struct Flights {
    window: usize,
    tasks: JoinSet<Verdict>,
    letters: HashMap<Id, (Letter, Instant)>,
}

impl Flights {
    /// At most `window` at once.
    pub fn of(window: usize) -> Self {
        Self { window: window.max(1), tasks: JoinSet::new(), letters: HashMap::new() }
    }

    /// `one_by_one`: a single one fills it.
    pub fn is_full(&self, one_by_one: bool) -> bool {
        self.letters.len() >= if one_by_one { 1 } else { self.window }
    }

    pub fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    /// Of which letters are on their way.
    pub fn alarms(&self) -> impl Iterator<Item = &AlarmKey> {
        self.letters.values().map(|(letter, _)| &letter.key)
    }

    pub fn begin<E: Endpoint>(&mut self, endpoint: &Arc<E>, letter: Letter, now: Instant) {
        let (endpoint, given) = (Arc::clone(endpoint), letter.clone());
        let task = self.tasks.spawn(async move { endpoint.deliver(&given).await });
        self.letters.insert(task.id(), (letter, now));
    }

    /// The next that is over; waits for ever while none is on its way.
    pub async fn next(&mut self) -> Landed {
        loop {
            let (id, verdict) = match self.tasks.join_next_with_id().await {
                Some(Ok(ended)) => ended,
                Some(Err(broken)) => {
                    error!(%broken, "An attempt to deliver broke off by a mistake in gatehouse; it is made again.");
                    (broken.id(), cut_short(text!("发送程序出错", "a mistake in gatehouse")))
                }
                None => pending().await,
            };
            // one that was given up may still come home
            if let Some((letter, begun)) = self.letters.remove(&id) {
                return Landed { letter, begun, verdict };
            }
        }
    }

    /// The same, and after `until` those that are not over, given up; `None` when none is left.
    pub async fn next_before(&mut self, until: Instant) -> Option<Landed> {
        if self.is_empty() {
            return None;
        }
        if let Ok(landed) = timeout_at(until, self.next()).await {
            return Some(landed);
        }
        let id = *self.letters.keys().next()?;
        let (letter, begun) = self.letters.remove(&id)?;
        let said = text!("gatehouse 停止时还没有应答", "gatehouse stopped before an answer came");
        Some(Landed { letter, begun, verdict: cut_short(said) })
    }
}

fn cut_short(said: Text) -> Verdict {
    Verdict::TryAgain { why: Hindrance::new(HindranceKind::CutShort, said), after: None }
}
