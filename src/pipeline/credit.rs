//! Points for what people bring. A claim is entered into the device's books, and the credit stored, before anybody is told of it or the
//! device's message is confirmed; what cannot be stored waits here and is claimed again.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use tracing::{error, info, warn};

use super::{BATCH, Ledger, Pipeline, Reading, drill::OwnWord, trouble::is_news};
use crate::{
    domain::{
        DeviceId, DeviceIx, Event, EventId, Mono, PointIx, Priority, Sample, TransitionKind,
        command::Outcome,
        credit::{self, Account, Claim, Counter, Credit, Delivery, Kilograms, Points, Tariff, Verdict},
    },
    store::{Commit, CreditRow, Pseudonyms, StoreError},
    text,
};

/// Claims that wait for the store. When there are more the oldest is given up: a broker that was not told it is safe says it again, of
/// a serial line only the counter tells that it is missing.
const MOST_WAITING: usize = 4096;

/// What is reckoned for whom, and what was not entered yet.
#[derive(Debug, Default)]
pub struct Credits {
    tariff: Tariff,
    pseudonyms: Option<Pseudonyms>,
    /// None: not read yet.
    accounts: Option<BTreeMap<DeviceId, Account>>,
    waiting: VecDeque<(DeviceIx, Claim)>,
    /// Whose books the alarms are to look at.
    spoke: BTreeMap<DeviceIx, Spoke>,
    /// When it was told last that something of a device was refused.
    told: BTreeMap<DeviceIx, Mono>,
    given_up: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Spoke {
    /// Just now, and not some time ago.
    now: bool,
    changed: bool,
}

impl Credits {
    /// Without `pseudonyms` nobody but the service can tell one card from another.
    pub fn new(tariff: Tariff, pseudonyms: Option<Pseudonyms>) -> Self {
        Self { tariff, pseudonyms, ..Self::default() }
    }

    /// Whether something was claimed that is not on disk.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn wait(&mut self, device: DeviceIx, claim: Claim) {
        if self.waiting.len() >= MOST_WAITING {
            self.waiting.pop_front();
            if self.given_up == 0 {
                error!(
                    "More deliveries wait for the store than memory holds: the oldest are not credited unless they are said again."
                );
            }
            self.given_up += 1;
        }
        self.waiting.push_back((device, claim));
    }
}

/// What one round comes to, before it is true.
struct Entries {
    ledger: Ledger,
    commit: Commit,
    accounts: BTreeMap<DeviceId, Account>,
    entered: Vec<Entered>,
}

/// One claim, and what came of it.
struct Entered {
    device: DeviceIx,
    late: bool,
    verdict: Verdict,
    counter: Counter,
    before: Account,
    after: Account,
}

impl Pipeline {
    /// What these readings of one message say of a delivery waits to be entered.
    pub(super) fn claim(
        &mut self,
        device: DeviceIx,
        samples: &[(PointIx, Sample)],
        at: Timestamp,
        late: bool,
    ) {
        let from = &self.devices[device.0 as usize];
        let Some(plan) = &from.profile.credit else { return };
        let claim = plan.claim((&self.site.id, from), samples, at, late);
        match (&claim.delivery, claim.total_g) {
            (None, None) => self.credits.spoke.entry(device).or_default().now |= !late,
            (Some(_), _) | (None, Some(_)) => self.credits.wait(device, claim),
        }
    }

    /// Whether all that was claimed is on the disk.
    ///
    /// # Errors
    /// What ends the gateway anyway.
    pub(super) async fn enter_claims(&mut self) -> Result<bool, StoreError> {
        if self.credits.waiting.is_empty() {
            return Ok(true);
        }
        if self.resting() {
            return Ok(false);
        }
        match self.enter_all().await {
            Ok(all) => Ok(all),
            Err(error) => {
                self.note_storage(Some(&error));
                self.survive(error).map(|()| false)
            }
        }
    }

    async fn enter_all(&mut self) -> Result<bool, StoreError> {
        if self.credits.accounts.is_none() {
            self.credits.accounts = Some(self.events.accounts().await?);
        }
        while !self.credits.waiting.is_empty() {
            let round: Vec<_> = self.credits.waiting.iter().take(BATCH).cloned().collect();
            let ids = round.iter().filter_map(|(_, claim)| Some(claim.delivery.as_ref()?.id));
            let known = self.events.credited(ids.collect()).await?;
            // without a key to seal it under, whose it is may not be stored; without that it would be nobody's
            let Some(entries) = self.entries(&round, known) else { return Ok(false) };
            self.store_entries(entries).await?;
            self.credits.waiting.drain(..round.len());
        }
        self.credits.given_up = 0;
        Ok(true)
    }

    fn entries(&self, round: &[(DeviceIx, Claim)], mut known: BTreeMap<EventId, i64>) -> Option<Entries> {
        let (mut ledger, mut commit) = (self.ledger.clone(), Commit::default());
        let (mut accounts, mut entered) = (BTreeMap::new(), Vec::new());
        for (device, claim) in round {
            let of = &self.devices[device.0 as usize];
            let stored = self.credits.accounts.as_ref().and_then(|accounts| accounts.get(&of.id));
            let before: Account = accounts.get(&of.id).or(stored).cloned().unwrap_or_default();
            let mut after = before.clone();
            let id = claim.delivery.as_ref().map(|delivery| delivery.id);
            let before_it = id.and_then(|id| known.get(&id)).copied();
            let highest_g = of.profile.credit.as_ref().and_then(|plan| plan.highest_g);
            let (verdict, counter) = after.enter(claim, before_it, highest_g);
            if let (Verdict::Credited { weight_g }, Some(delivery)) = (verdict, &claim.delivery) {
                let credit = self.credit(delivery, weight_g, claim);
                after.points = after.points.saturating_add(credit.points.unwrap_or(0));
                known.insert(delivery.id, weight_g);
                self.give(*device, (delivery.id, credit), &mut ledger, &mut commit)?;
            }
            if after != before {
                accounts.insert(of.id.clone(), after.clone());
            }
            entered.push(Entered { device: *device, late: claim.late, verdict, counter, before, after });
        }
        commit.accounts =
            accounts.iter().map(|(device, account)| (device.clone(), account.clone())).collect();
        Some(Entries { ledger, commit, accounts, entered })
    }

    fn credit(&self, delivery: &Delivery, weight_g: i64, claim: &Claim) -> Credit {
        let Delivery { transaction, category, points, card, .. } = delivery;
        let reckoned = || self.credits.tariff.points(category.as_deref(), weight_g);
        let pseudonyms = self.credits.pseudonyms.as_ref();
        Credit {
            transaction: transaction.clone(),
            category: category.clone(),
            weight_g,
            points: points.or_else(reckoned),
            card: card.clone(),
            card_pseudonym: pseudonyms.zip(card.as_ref()).map(|(pseudonyms, card)| pseudonyms.of(card)),
            total_g: claim.total_g,
            at: claim.at,
        }
    }

    /// An event of its own, with a letter to each who may hear of it. `None`: what is of a person cannot be sealed.
    fn give(
        &self,
        device: DeviceIx,
        (id, credit): (EventId, Credit),
        ledger: &mut Ledger,
        commit: &mut Commit,
    ) -> Option<()> {
        let stored = self.private.sealed_credit(&credit)?;
        let (of, seq) = (&self.devices[device.0 as usize], ledger.next_seq());
        let word = OwnWord {
            kind: TransitionKind::Credit,
            name: credit::EVENT,
            occurrence: format!("credit-{}-{seq}", ledger.epoch().get(..4).unwrap_or("0")).into(),
            // no alarm waits behind it
            priority: Priority::Low,
            title: text!("投递积分", "points for a delivery"),
        };
        let event =
            Event { id: id.to_string(), seq, credit: Some(Box::new(credit)), ..self.own_event(of, word) };
        let sealed = ledger.seal(event, &self.private);
        ledger.advance(&sealed);
        commit.letters.extend((self.address)(&sealed));
        commit.events.push(sealed);
        commit.credits.push(CreditRow { id, device: of.id.clone(), seq, credit: stored });
        Some(())
    }

    async fn store_entries(&mut self, entries: Entries) -> Result<(), StoreError> {
        let Entries { ledger, commit, accounts, entered } = entries;
        if !commit.accounts.is_empty() {
            let gives = !commit.events.is_empty();
            crash_point!("credit.entered");
            self.events.commit(commit).await?;
            crash_point!("credit.stored");
            self.note_storage(None);
            self.ledger = ledger;
            if gives {
                self.wake.iter().for_each(|courier| courier.notify_one());
            }
        }
        self.credits.accounts.get_or_insert_default().extend(accounts);
        for one in entered {
            let spoke = self.credits.spoke.entry(one.device).or_default();
            spoke.now |= !one.late;
            spoke.changed |= one.before != one.after;
            self.tell_entered(&one);
        }
        Ok(())
    }

    fn tell_entered(&mut self, entered: &Entered) {
        let Entered { device, verdict, counter, before, after, .. } = entered;
        let id = self.devices[device.0 as usize].id.clone();
        match verdict {
            Verdict::Credited { weight_g } => {
                let points = Points(after.points.saturating_sub(before.points));
                info!(device = %id, weight_kg = %Kilograms(*weight_g), %points, "Points are given for a delivery.");
            }
            Verdict::Refused(why) if is_news(&mut self.credits.told, *device, self.clock.now().mono) => {
                let (why, refused) = (why.title().en, after.refused);
                warn!(device = %id, why, refused, "A delivery earns no points.");
            }
            Verdict::Refused(_) | Verdict::Nothing | Verdict::Again => {}
        }
        let [was, is] = [before, after].map(|account| Kilograms(account.total_g.unwrap_or(0)));
        match counter {
            Counter::BeganAnew => {
                warn!(device = %id, %was, %is, "The device's counter counts from zero again: what it took in just before nobody can balance.");
            }
            Counter::Overflowed => {
                info!(device = %id, %was, %is, "The device's counter went past its highest number.")
            }
            Counter::Unheard | Counter::First | Counter::Went => {}
        }
        let [was, is] = [before, after].map(|account| account.difference_g().unwrap_or(0));
        let (counted, credited) = (Kilograms(after.counted_g), Kilograms(after.credited_g));
        match (was == is, is) {
            (true, _) => {}
            (false, 0) => {
                info!(device = %id, %counted, %credited, "The device's counter and what was credited are the same again.")
            }
            (false, _) => {
                let missing = Kilograms(is);
                warn!(device = %id, %counted, %credited, %missing, "The device's counter and what was credited differ.");
            }
        }
    }

    /// A person found out why the books of `device` differ; they balance from now on, and the audit says who and why. The alarm ends
    /// when the device speaks next.
    ///
    /// # Errors
    /// What the store says.
    pub(super) async fn settle_books(
        &mut self,
        device: DeviceId,
        by: String,
        note: String,
        from: String,
    ) -> Result<Outcome, StoreError> {
        self.enter_claims().await?;
        let known = self.credits.accounts.as_ref().and_then(|accounts| accounts.get(&device)).cloned();
        let stored = match known {
            Some(account) => Some(account),
            None => self.events.accounts().await?.remove(&device),
        };
        let Some(mut account) = stored else { return Ok(Outcome::NoSuchDevice { device }) };
        let difference_g = account.write_off();
        if difference_g == 0 {
            return Ok(Outcome::Settled { device, difference_g });
        }
        let said = format!("{} kg written off: {note}", Kilograms(difference_g));
        let audit = vec![self.decision("credits settle", device.to_string(), by, from, said)];
        let accounts = vec![(device.clone(), account.clone())];
        self.events.commit(Commit { audit, accounts, ..Commit::default() }).await?;
        if let Some(accounts) = &mut self.credits.accounts {
            accounts.insert(device.clone(), account);
        }
        Ok(Outcome::Settled { device, difference_g })
    }

    /// Enters what waits, and has the alarms look at the books of those who spoke.
    ///
    /// # Errors
    /// What ends the gateway anyway.
    pub(super) async fn look_after_the_credits(&mut self) -> Result<(), StoreError> {
        self.enter_claims().await?;
        let now = self.clock.now();
        let (mut changes, mut readings) = (Vec::new(), Vec::<Reading>::new());
        for (device, spoke) in std::mem::take(&mut self.credits.spoke) {
            let of = &self.devices[device.0 as usize];
            let account = self.credits.accounts.as_ref().and_then(|accounts| accounts.get(&of.id));
            let Some((plan, account)) = of.profile.credit.as_ref().zip(account) else { continue };
            let samples = plan.reckoned(account);
            match spoke.now {
                true => self.engine.heard(device, &samples, now),
                false => self.engine.recalled(device, &samples, now),
            }
            changes.extend(self.engine.decide(device, now));
            if spoke.changed {
                readings.push((device, now.wall, samples, None));
            }
        }
        if changes.is_empty() && readings.is_empty() {
            return Ok(());
        }
        self.settle(changes, readings).await
    }
}
