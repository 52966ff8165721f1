//! Knocking at one unit after the other, and what is learnt of the line meanwhile.

use std::{collections::BTreeSet, time::Duration};

use super::{
    fits::Fit,
    plan::LISTEN,
    progress::{Counts, Progress},
};
use crate::{
    cli::live::{LiveLine, Why},
    domain::{Called, Diagnosis, Failure, Garble, Medium, Table},
    fieldbus::{
        driver::LineFault,
        modbus::knock::{IDENTIFY, Knocked, Knocker, Outcome, READ_ONE, REPORT_ID, Sort, identity},
        plan::Ask,
    },
    profile::{Address, Link, ModbusLink},
};

/// A unit that is there.
#[derive(Clone, Debug)]
pub struct Found {
    pub unit: u8,
    /// `9600 8N1`, `host:port`, or the bus.
    pub line: String,
    pub took: Duration,
    /// It refused the question; that proves it as well.
    pub exception: Option<u8>,
    pub identity: Option<String>,
    /// The device of the site that it is.
    pub device: Option<String>,
    /// Which products it could be.
    pub fits: Vec<Fit>,
}

impl Found {
    pub fn is_serial(&self) -> bool {
        self.line.contains(' ')
    }
}

/// What the line itself is like.
#[derive(Debug, Default)]
pub struct Line {
    /// Units that somebody else asked.
    pub masters: BTreeSet<u8>,
    pub echo: bool,
    pub noise: bool,
    pub medium: Medium,
}

/// One run of knocks with the same settings.
pub struct Round<'a> {
    pub name: String,
    pub units: &'a [u8],
    pub patience: Duration,
}

impl Line {
    /// Why nobody was found.
    pub fn diagnosis(&self, counts: Counts) -> Diagnosis {
        let garbled = |what| Failure::Garbled { what };
        let failure = match self {
            Line { masters, .. } if !masters.is_empty() => garbled(Garble::OtherMaster),
            Line { noise: true, .. } => garbled(Garble::Checksum),
            Line { echo: true, .. } => garbled(Garble::Echo),
            Line { .. } if counts.exceptions > 0 => Failure::Refused { code: 0 },
            Line { .. } => Failure::Silent,
        };
        failure.diagnosis(self.medium, Called::UnitId).unwrap_or_else(Diagnosis::unasked)
    }

    fn heard(&mut self, knocked: &Knocked) {
        self.masters.extend(&knocked.asked_by_others);
        self.noise |= knocked.outcome == Outcome::Noise;
        self.echo |= knocked.outcome == Outcome::Echo;
    }
}

impl Round<'_> {
    /// Knocks at every unit on a line of our own; where another master speaks, at none.
    pub async fn knock(
        &self,
        knocker: &mut Knocker,
        line: &mut Line,
        found: &mut Vec<Found>,
        progress: &mut Progress,
    ) -> Result<(), LineFault> {
        let (seen, stray) = knocker.listen(LISTEN).await?;
        line.noise |= stray > 0;
        line.masters.extend(seen.iter().filter(|seen| seen.sort == Sort::Request).map(|seen| seen.unit));
        if !line.masters.is_empty() {
            return Ok(());
        }
        for (nth, &unit) in self.units.iter().enumerate() {
            let knocked = knocker.knock(unit, &READ_ONE, self.patience).await?;
            progress.knocked(&self.name, nth + 1, self.units.len(), &knocked.outcome);
            line.heard(&knocked);
            for late in &knocked.late {
                self.add(found, Found { unit: *late, ..self.found(unit, &knocked) });
            }
            match knocked.outcome {
                Outcome::Answer(_) => {
                    let identity = self.identify(knocker, unit).await?;
                    self.add(found, Found { identity, ..self.found(unit, &knocked) });
                }
                Outcome::Exception(code) => {
                    let identity = self.identify(knocker, unit).await?;
                    self.add(found, Found { exception: Some(code), identity, ..self.found(unit, &knocked) });
                }
                Outcome::Silent | Outcome::Noise | Outcome::Echo => {}
            }
            if !line.masters.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// The same on a line that a running gateway owns, in the time that it leaves.
    pub async fn inquire(
        &self,
        through: &mut LiveLine,
        link: &ModbusLink,
        found: &mut Vec<Found>,
        progress: &mut Progress,
    ) -> Option<Diagnosis> {
        let link = Link::Modbus(link.clone());
        let ask = Ask::Block { table: Table::Holding, first: 0, count: 1 };
        for (nth, &unit) in self.units.iter().enumerate() {
            let (answer, took) = through.ask(&Address::Unit(unit), &link, &ask, None).await;
            let mut one = Found {
                unit,
                line: self.name.clone(),
                took,
                exception: None,
                identity: None,
                device: None,
                fits: Vec::new(),
            };
            let outcome = match answer {
                Ok(_) => Outcome::Answer(Vec::new()),
                Err(no) => match no.why {
                    Why::Refused(code) => Outcome::Exception(code as u8),
                    Why::Silent => Outcome::Silent,
                    Why::Garbled => Outcome::Noise,
                    Why::LineDown | Why::Busy => return Some(no.told),
                },
            };
            progress.knocked(&self.name, nth + 1, self.units.len(), &outcome);
            match outcome {
                Outcome::Answer(_) => self.add(found, one),
                Outcome::Exception(code) => {
                    one.exception = Some(code);
                    self.add(found, one);
                }
                Outcome::Silent | Outcome::Noise | Outcome::Echo => {}
            }
        }
        None
    }

    fn found(&self, unit: u8, knocked: &Knocked) -> Found {
        Found {
            unit,
            line: self.name.clone(),
            took: knocked.took,
            exception: None,
            identity: None,
            device: None,
            fits: Vec::new(),
        }
    }

    fn add(&self, found: &mut Vec<Found>, one: Found) {
        match found.iter_mut().find(|known| known.unit == one.unit && known.line == one.line) {
            Some(known) => *known = one,
            None => found.push(one),
        }
    }

    /// What the device says of itself, if it does.
    async fn identify(&self, knocker: &mut Knocker, unit: u8) -> Result<Option<String>, LineFault> {
        for question in [&IDENTIFY[..], &REPORT_ID] {
            if let Outcome::Answer(pdu) = knocker.knock(unit, question, self.patience).await?.outcome
                && let Some(words) = identity(&pdu)
            {
                return Ok(Some(words));
            }
        }
        Ok(None)
    }
}
