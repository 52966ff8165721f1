//! Whoever comes in by the network: known by a token, held to a pace, noted where turned away.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use super::{
    limit::Limiter,
    problem::Problem,
    token::{Role, Tokens},
};
use crate::{
    domain::{DataClass, Mono, ReadingFact, Stamp},
    store::{AuditEntry, privacy::is_sealed},
};

/// Requests by one token: this many at once, and so many a second in the long run.
const BURST: u32 = 40;
const PER_SECOND: f64 = 10.0;
/// Wrong tokens from one address. A right one is let in all the same: nobody shuts out others by guessing.
const WRONG_BURST: u32 = 10;
const WRONG_PER_SECOND: f64 = 1.0 / 6.0;
/// What one device is told by the network: so often at once, and in the long run. Relays and lamps wear.
const TOLD_BURST: u32 = 5;
const TOLD_PER_SECOND: f64 = 0.5;
/// Drills to one endpoint: each is a letter that somebody receives.
const DRILL_BURST: u32 = 2;
const DRILLS_PER_SECOND: f64 = 1.0 / 30.0;
/// Refusals of one kind from one address are one record in this time.
const RECORD_EVERY: Duration = Duration::from_secs(60);
/// So many are told apart; what more come are counted together.
const KNOWN: usize = 64;

/// Somebody who was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visitor {
    pub token: String,
    pub role: Role,
    pub address: IpAddr,
}

impl Visitor {
    /// Who vouches for what is done: the token, its role, and from where.
    pub fn from(&self) -> String {
        format!("api:{}({})@{}", self.token, self.role, self.address)
    }

    /// Values of persons only for who asked for them and may; what protects people not for those who only look.
    pub fn may_see(&self, fact: &ReadingFact, private: bool) -> bool {
        let sealed = fact.value.as_ref().is_some_and(is_sealed);
        !sealed
            && match fact.data {
                DataClass::Public | DataClass::Operational => true,
                DataClass::Security => self.role >= Role::Inspector,
                DataClass::Personal | DataClass::Health => private && self.role >= Role::Admin,
            }
    }
}

/// Why somebody was turned away.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Turned {
    WrongToken,
    TooOften { token: String },
    Role { token: String, has: Role, needs: Role },
}

/// Who may come in, and how often.
#[derive(Debug)]
pub struct Gate {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    requests: Limiter<String>,
    wrong: Limiter<IpAddr>,
    told: Limiter<String>,
    drills: Limiter<String>,
    records: HashMap<(IpAddr, Turned), Record>,
}

#[derive(Debug)]
struct Record {
    written: Mono,
    since: u64,
}

impl Default for Gate {
    fn default() -> Self {
        let state = State {
            requests: Limiter::new(BURST, PER_SECOND),
            wrong: Limiter::new(WRONG_BURST, WRONG_PER_SECOND),
            told: Limiter::new(TOLD_BURST, TOLD_PER_SECOND),
            drills: Limiter::new(DRILL_BURST, DRILLS_PER_SECOND),
            records: HashMap::new(),
        };
        Self { state: Mutex::new(state) }
    }
}

/// Turned away: what the caller hears, and why.
pub type Refused = (Problem, Option<Turned>);

impl Gate {
    /// `presented`: what was shown as a token, if anything was.
    ///
    /// # Errors
    /// If whoever it is may not.
    pub fn admit(
        &self,
        tokens: &Tokens,
        presented: Option<&str>,
        address: IpAddr,
        needs: Role,
        now: Mono,
    ) -> Result<Visitor, Refused> {
        let Some(presented) = presented else { return Err((Problem::no_token(), None)) };
        let mut state = self.state();
        let Some(token) = tokens.whose(presented) else {
            let problem = match state.wrong.take(network(address), now) {
                Ok(()) => Problem::no_token(),
                Err(wait) => Problem::too_many_requests(wait),
            };
            return Err((problem, Some(Turned::WrongToken)));
        };
        if let Err(wait) = state.requests.take(token.name.clone(), now) {
            let turned = Turned::TooOften { token: token.name.clone() };
            return Err((Problem::too_many_requests(wait), Some(turned)));
        }
        if token.role < needs {
            let turned = Turned::Role { token: token.name.clone(), has: token.role, needs };
            return Err((Problem::role(token.role, needs), Some(turned)));
        }
        Ok(Visitor { token: token.name.clone(), role: token.role, address })
    }

    /// Whether a device may be told something now, whoever asks.
    ///
    /// # Errors
    /// If it was told too often lately.
    pub fn may_tell(&self, device: &str, now: Mono) -> Result<(), Problem> {
        self.state().told.take(device.to_owned(), now).map_err(Problem::too_many_requests)
    }

    /// The same of a drill to an endpoint.
    ///
    /// # Errors
    /// As [`Self::may_tell`].
    pub fn may_drill(&self, endpoint: &str, now: Mono) -> Result<(), Problem> {
        self.state().drills.take(endpoint.to_owned(), now).map_err(Problem::too_many_requests)
    }

    /// The record that a refusal is worth: the first of its kind at once, then one a minute that counts the others.
    pub fn record(&self, turned: Turned, address: IpAddr, asked: &str, at: Stamp) -> Option<AuditEntry> {
        let mut state = self.state();
        let known = network(address);
        if state.records.len() >= KNOWN && !state.records.contains_key(&(known, turned.clone())) {
            state.records.retain(|_, record| at.mono.since(record.written) < RECORD_EVERY);
            if state.records.len() >= KNOWN {
                return None;
            }
        }
        let mut others = 0;
        if let Some(record) = state.records.get_mut(&(known, turned.clone())) {
            if at.mono.since(record.written) < RECORD_EVERY {
                record.since += 1;
                return None;
            }
            others = record.since;
        }
        state.records.insert((known, turned.clone()), Record { written: at.mono, since: 0 });
        let (who, mut outcome) = match turned {
            Turned::WrongToken => ("?".to_owned(), "turned away: wrong token".to_owned()),
            Turned::TooOften { token } => (token, "turned away: too many requests".to_owned()),
            Turned::Role { token, has, needs } => (token, format!("turned away: role {has}, needs {needs}")),
        };
        if others > 0 {
            outcome += &format!(" ({others} more since the last record)");
        }
        let (from, object) = (format!("api:@{address}"), asked.to_owned());
        Some(AuditEntry { at: at.wall, who, from, action: "api", object, outcome })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // a map that was left half changed only counts wrongly
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Who has one IPv6 address has 2^64 of them.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::domain::{Quality, Value};

    const HERE: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

    fn at(seconds: u64) -> Stamp {
        Stamp { mono: Mono(Duration::from_secs(seconds)), wall: Timestamp::UNIX_EPOCH }
    }

    fn site() -> (Tokens, Vec<(Role, String)>) {
        let mut tokens = Tokens::default();
        let made = Role::ALL.map(|role| {
            (role, tokens.add(role.word(), role, "root".to_owned(), Timestamp::UNIX_EPOCH).unwrap())
        });
        (tokens, made.into())
    }

    #[test]
    fn each_token_may_what_its_role_may_and_nobody_else_anything() {
        let (tokens, made) = site();
        for needs in Role::ALL {
            for (role, token) in &made {
                let gate = Gate::default();
                let admitted = gate.admit(&tokens, Some(token), HERE, needs, at(0).mono);
                assert_eq!(admitted.is_ok(), *role >= needs, "{role} where it takes {needs}");
            }
            for nobody in [None, Some(""), Some("gth_x")] {
                let (problem, turned) =
                    Gate::default().admit(&tokens, nobody, HERE, needs, at(0).mono).unwrap_err();
                assert_eq!(problem, Problem::no_token());
                assert_eq!(turned, nobody.map(|_| Turned::WrongToken));
            }
        }
    }

    #[test]
    fn guessing_is_slowed_down_and_shuts_nobody_out() {
        let (tokens, made) = site();
        let gate = Gate::default();
        let guess =
            |now| gate.admit(&tokens, Some("gth_guess"), HERE, Role::Viewer, at(now).mono).unwrap_err().0;
        for _ in 0..WRONG_BURST {
            assert_eq!(guess(0), Problem::no_token());
        }
        assert_ne!(guess(0), Problem::no_token(), "too many");
        let right = gate.admit(&tokens, Some(&made[0].1), HERE, Role::Viewer, at(0).mono);
        assert!(right.is_ok(), "a right token is let in all the same");
        assert_eq!(guess(6), Problem::no_token());
        for _ in 1..BURST {
            gate.admit(&tokens, Some(&made[0].1), HERE, Role::Viewer, at(6).mono).ok();
        }
        let often = (0..BURST)
            .find_map(|_| gate.admit(&tokens, Some(&made[0].1), HERE, Role::Viewer, at(6).mono).err());
        assert_eq!(often.unwrap().1, Some(Turned::TooOften { token: "viewer".to_owned() }));
        assert!(
            gate.admit(&tokens, Some(&made[1].1), HERE, Role::Viewer, at(6).mono).is_ok(),
            "others go on"
        );
    }

    #[test]
    fn refusals_are_on_record_once_a_minute_with_their_count() {
        let gate = Gate::default();
        let refuse = |seconds| gate.record(Turned::WrongToken, HERE, "GET /api/v1/alarms", at(seconds));
        assert_eq!(refuse(0).unwrap().outcome, "turned away: wrong token");
        assert_eq!([refuse(1), refuse(30), refuse(59)], [None, None, None]);
        assert_eq!(refuse(61).unwrap().outcome, "turned away: wrong token (3 more since the last record)");
        let many = (0..1000u32).filter(|n| {
            let address = IpAddr::V4((n << 8).into());
            gate.record(Turned::WrongToken, address, "GET /", at(62)).is_some()
        });
        assert!(many.count() < KNOWN, "a crowd does not fill the audit");
    }

    #[test]
    fn what_is_of_persons_is_for_an_administrator_who_asks_for_it() {
        let fact = |data| ReadingFact {
            value: Some(Value::from("A1B2")),
            unit: String::new(),
            quality: Quality::Good,
            at: Timestamp::UNIX_EPOCH,
            data,
            card: false,
        };
        for role in Role::ALL {
            let visitor = Visitor { token: "x".to_owned(), role, address: HERE };
            for data in DataClass::ALL {
                for private in [false, true] {
                    let expected = match data {
                        DataClass::Public | DataClass::Operational => true,
                        DataClass::Security => role != Role::Viewer,
                        DataClass::Personal | DataClass::Health => private && role == Role::Admin,
                    };
                    assert_eq!(visitor.may_see(&fact(data), private), expected, "{role} {data:?} {private}");
                }
            }
        }
    }
}
