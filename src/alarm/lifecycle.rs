//! The table of ISA-18.2 / IEC 62682: every state, every input, in matches that the compiler checks. What holds an alarm back
//! (shelved, suppressed by design, out of service) lies over its state, which goes on being tracked.

use crate::domain::{AlarmState, TransitionKind};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The condition has held for the on-delay.
    Raise,
    /// The condition has been gone for the off-delay.
    Return,
    /// The same, of an occurrence that was held back from its beginning: nobody knows of it, so nobody has to take it on.
    ReturnUntold,
    /// A named person took it on.
    Acknowledge,
    /// A named person closes it and says why. Whether the condition is gone, or unknown, is asked before.
    Close,
}

/// The state after `input`, and what the step is called; `None` where the input changes nothing.
/// `state: None` is normal. A closed alarm is normal again: `Closed` appears only as a result.
///
/// A latching alarm never closes by itself: when it returns it wants a person (again), whose acknowledgement closes it.
pub fn next(state: Option<AlarmState>, input: Input, latching: bool) -> Option<(AlarmState, TransitionKind)> {
    use AlarmState::{ActiveAcknowledged, ActiveUnacknowledged, Closed, ReturnedUnacknowledged};
    match (state, input) {
        (None | Some(ReturnedUnacknowledged), Input::Raise) => {
            Some((ActiveUnacknowledged, TransitionKind::Raised))
        }
        (Some(ActiveUnacknowledged), Input::Acknowledge) => {
            Some((ActiveAcknowledged, TransitionKind::Acknowledged))
        }
        (Some(ActiveUnacknowledged), Input::Return) => {
            Some((ReturnedUnacknowledged, TransitionKind::Returned))
        }
        (Some(ActiveAcknowledged), Input::Return) if latching => {
            Some((ReturnedUnacknowledged, TransitionKind::Returned))
        }
        (Some(ActiveAcknowledged), Input::Return)
        | (Some(ReturnedUnacknowledged), Input::Acknowledge)
        | (Some(ActiveUnacknowledged | ActiveAcknowledged), Input::ReturnUntold)
        | (Some(ActiveUnacknowledged | ActiveAcknowledged | ReturnedUnacknowledged), Input::Close) => {
            Some((Closed, TransitionKind::Closed))
        }
        (Some(ActiveUnacknowledged | ActiveAcknowledged), Input::Raise)
        | (Some(ActiveAcknowledged), Input::Acknowledge)
        | (Some(ReturnedUnacknowledged), Input::Return | Input::ReturnUntold)
        | (None | Some(Closed), Input::Return | Input::ReturnUntold | Input::Acknowledge | Input::Close)
        | (Some(Closed), Input::Raise) => None,
    }
}

/// What keeps an alarm from being announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// By a person, for a while.
    Shelved,
    /// By design.
    Suppressed,
    /// By a person, for as long as something is taken out.
    OutOfService,
    /// By itself: it comes and goes too often to be told each time.
    Chattering,
}

/// What it is called when `held` begins or ends; `None` where that changes nothing, because it `is` so already.
pub fn turn(held: Held, is: bool, begins: bool) -> Option<TransitionKind> {
    match (held, is, begins) {
        (Held::Shelved, false, true) => Some(TransitionKind::Shelved),
        (Held::Shelved, true, false) => Some(TransitionKind::Unshelved),
        (Held::Suppressed, false, true) => Some(TransitionKind::Suppressed),
        (Held::Suppressed, true, false) => Some(TransitionKind::Unsuppressed),
        (Held::OutOfService, false, true) => Some(TransitionKind::OutOfService),
        (Held::OutOfService, true, false) => Some(TransitionKind::InService),
        (Held::Chattering, false, true) => Some(TransitionKind::Chattering),
        (Held::Chattering, true, false) => Some(TransitionKind::Calmed),
        (Held::Shelved | Held::Suppressed | Held::OutOfService | Held::Chattering, true, true)
        | (Held::Shelved | Held::Suppressed | Held::OutOfService | Held::Chattering, false, false) => None,
    }
}

/// Whether the alarm's condition counts as present.
pub fn is_active(state: Option<AlarmState>) -> bool {
    match state {
        Some(AlarmState::ActiveUnacknowledged | AlarmState::ActiveAcknowledged) => true,
        None | Some(AlarmState::ReturnedUnacknowledged | AlarmState::Closed) => false,
    }
}

/// Whether somebody is still to be found who takes it on: a latching one wants a person though its condition is gone.
pub fn wants_a_person(state: Option<AlarmState>, latching: bool) -> bool {
    match state {
        Some(AlarmState::ActiveUnacknowledged) => true,
        Some(AlarmState::ReturnedUnacknowledged) => latching,
        None | Some(AlarmState::ActiveAcknowledged | AlarmState::Closed) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_table_against_the_standard() {
        use AlarmState::{
            ActiveAcknowledged as Acked, ActiveUnacknowledged as Unacked, Closed,
            ReturnedUnacknowledged as Returned,
        };
        use Input::{Acknowledge, Close, Raise, Return, ReturnUntold};
        use TransitionKind as T;
        let (raised, returned) = (Some((Unacked, T::Raised)), Some((Returned, T::Returned)));
        let (acked, closed) = (Some((Acked, T::Acknowledged)), Some((Closed, T::Closed)));
        let states = [None, Some(Unacked), Some(Acked), Some(Returned), Some(Closed)];
        // by input: from normal, unacknowledged, acknowledged, returned, closed; then the one that latching changes
        let table = [
            (Raise, [raised, None, None, raised, None], None),
            (Return, [None, returned, closed, None, None], Some((2, returned))),
            (ReturnUntold, [None, closed, closed, None, None], None),
            (Acknowledge, [None, acked, None, closed, None], None),
            (Close, [None, closed, closed, closed, None], None),
        ];
        for (input, row, latched) in table {
            for (n, (state, plain)) in states.into_iter().zip(row).enumerate() {
                assert_eq!(next(state, input, false), plain, "{state:?} + {input:?}");
                let latching = latched.filter(|(at, _)| *at == n).map_or(plain, |(_, after)| after);
                assert_eq!(next(state, input, true), latching, "{state:?} + {input:?}, latching");
            }
        }
        for (n, state) in states.into_iter().enumerate() {
            assert_eq!(is_active(state), [1, 2].contains(&n), "{state:?}");
            assert_eq!(wants_a_person(state, false), n == 1, "{state:?}");
            assert_eq!(wants_a_person(state, true), [1, 3].contains(&n), "{state:?}, latching");
        }
    }

    #[test]
    fn what_holds_back_begins_once_and_ends_once() {
        use TransitionKind as T;
        let table = [
            (Held::Shelved, T::Shelved, T::Unshelved),
            (Held::Suppressed, T::Suppressed, T::Unsuppressed),
            (Held::OutOfService, T::OutOfService, T::InService),
            (Held::Chattering, T::Chattering, T::Calmed),
        ];
        for (held, begun, ended) in table {
            assert_eq!(turn(held, false, true), Some(begun));
            assert_eq!(turn(held, true, false), Some(ended));
            assert_eq!((turn(held, true, true), turn(held, false, false)), (None, None), "{held:?}");
        }
    }
}
