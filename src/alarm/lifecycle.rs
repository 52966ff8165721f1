//! The table of ISA-18.2 states: every state, every input, in one match that the compiler checks.

use crate::domain::{AlarmState, TransitionKind};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The condition has held for the on-delay.
    Raise,
    /// The condition has been gone for the off-delay.
    Return,
    /// A named person took it on.
    Acknowledge,
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
        (Some(ActiveAcknowledged), Input::Return) | (Some(ReturnedUnacknowledged), Input::Acknowledge) => {
            Some((Closed, TransitionKind::Closed))
        }
        (Some(ActiveUnacknowledged | ActiveAcknowledged), Input::Raise)
        | (Some(ActiveAcknowledged), Input::Acknowledge)
        | (Some(ReturnedUnacknowledged), Input::Return)
        | (None | Some(Closed), Input::Return | Input::Acknowledge)
        | (Some(Closed), Input::Raise) => None,
    }
}

/// Whether the alarm's condition counts as present.
pub fn is_active(state: Option<AlarmState>) -> bool {
    match state {
        Some(AlarmState::ActiveUnacknowledged | AlarmState::ActiveAcknowledged) => true,
        None | Some(AlarmState::ReturnedUnacknowledged | AlarmState::Closed) => false,
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
        use Input::{Acknowledge, Raise, Return};
        use TransitionKind as T;
        let table = [
            // state, input, not latching, latching
            (None, Raise, Some((Unacked, T::Raised)), Some((Unacked, T::Raised))),
            (None, Return, None, None),
            (None, Acknowledge, None, None),
            (Some(Unacked), Raise, None, None),
            (Some(Unacked), Return, Some((Returned, T::Returned)), Some((Returned, T::Returned))),
            (Some(Unacked), Acknowledge, Some((Acked, T::Acknowledged)), Some((Acked, T::Acknowledged))),
            (Some(Acked), Raise, None, None),
            (Some(Acked), Return, Some((Closed, T::Closed)), Some((Returned, T::Returned))),
            (Some(Acked), Acknowledge, None, None),
            (Some(Returned), Raise, Some((Unacked, T::Raised)), Some((Unacked, T::Raised))),
            (Some(Returned), Return, None, None),
            (Some(Returned), Acknowledge, Some((Closed, T::Closed)), Some((Closed, T::Closed))),
        ];
        for (state, input, plain, latching) in table {
            assert_eq!(next(state, input, false), plain, "{state:?} + {input:?}");
            assert_eq!(next(state, input, true), latching, "{state:?} + {input:?}, latching");
        }
    }
}
