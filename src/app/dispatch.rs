//! The way from the pipeline to the buses' counters: what a device is told goes out once, or never.

use std::{collections::HashMap, future::ready, sync::Arc, time::Duration};

use tokio::{
    sync::{
        mpsc::error::TrySendError,
        oneshot::{self, Receiver},
    },
    time::timeout,
};

use crate::{
    domain::{BusId, DeviceIx, Garble, Instruction, Reply},
    fieldbus::{Begun, Counter, Order, driver::AskFault},
    pipeline::{Tell, Telling},
    profile::{Device, Dialect, Link},
    text,
};

/// How long a bus may take to come to an order, and again as long to carry it out. A line that is down takes none.
const PATIENCE: Duration = Duration::from_secs(10);
/// Modbus Application Protocol V1.1b3, section 7: the device has begun and is not done; and the device behind a serial server is
/// silent. Neither says that nothing was done.
const ACKNOWLEDGE: u16 = 5;
const NO_ANSWER_BEHIND: u16 = 11;

/// Tells devices, by the counters of their buses. Elevators are never told anything.
pub fn dispatcher(devices: &Arc<[Device]>, counters: HashMap<BusId, Counter>) -> Tell {
    let devices = Arc::clone(devices);
    Box::new(move |ix, instruction| -> Telling {
        let device = &devices[ix.0 as usize];
        let dialect = match &device.profile.link {
            Link::Modbus(link) => link.dialect,
            Link::Serial(_) | Link::Dlt645(_) | Link::Mqtt(_) => Dialect::Standard,
        };
        match counters.get(&device.bus) {
            Some(counter) if !device.profile.class.is_never_told() => {
                Box::pin(tell(counter.clone(), ix, instruction, dialect))
            }
            Some(_) | None => {
                let why = text!("这台设备不接受命令", "this device is never told anything");
                Box::pin(ready(Reply::NotSent { why }))
            }
        }
    })
}

async fn tell(counter: Counter, device: DeviceIx, instruction: Instruction, dialect: Dialect) -> Reply {
    let (reply, answer) = oneshot::channel();
    let begun = Begun::default();
    let order = Order { device, instruction, reply, begun: begun.clone() };
    match counter.orders.try_send(order) {
        Ok(()) => heard(answer, &begun, dialect).await,
        Err(TrySendError::Full(_)) => {
            Reply::NotSent { why: text!("总线正忙", "the line has too much to do") }
        }
        Err(TrySendError::Closed(_)) => {
            Reply::NotSent { why: text!("总线没有运行", "the bus does not run") }
        }
    }
}

/// What the bus has to say, if it says anything in time.
async fn heard(mut answer: Receiver<Result<(), AskFault>>, begun: &Begun, dialect: Dialect) -> Reply {
    let mut said = timeout(PATIENCE, &mut answer).await;
    if said.is_err() && begun.is() {
        said = timeout(PATIENCE, &mut answer).await;
    }
    // Once this is closed nothing goes out any more that had not begun.
    answer.close();
    let last = answer.try_recv().ok();
    match said.ok().and_then(Result::ok).or(last) {
        // Not even begun: the line could not be opened.
        Some(Err(AskFault::LineDown(fault))) if !begun.is() => Reply::NotSent { why: fault.diagnosis().what },
        Some(outcome) => meant(outcome, dialect),
        None if begun.is() => Reply::Unknown { why: text!("总线没有答复", "the bus did not say") },
        None => Reply::NotSent { why: text!("总线不通", "the line to the device does not work") },
    }
}

fn meant(outcome: Result<(), AskFault>, dialect: Dialect) -> Reply {
    match outcome {
        Ok(()) => Reply::Accepted,
        Err(AskFault::Refused { code: code @ (ACKNOWLEDGE | NO_ANSWER_BEHIND) })
            if dialect == Dialect::Standard =>
        {
            Reply::Unknown { why: dialect.refusal(code).what }
        }
        Err(AskFault::Refused { code }) => Reply::Refused { why: dialect.refusal(code).what },
        Err(AskFault::Silent { waited }) => {
            let seconds = waited.as_secs_f64();
            Reply::Unknown {
                why: text!("设备 {seconds:.1} 秒内没有应答", "the device was silent for {seconds:.1} s"),
            }
        }
        Err(AskFault::Garbled { what: what @ Garble::Unaskable }) => {
            Reply::NotSent { why: what.diagnosis().what }
        }
        Err(AskFault::Garbled { what }) => Reply::Unknown { why: what.diagnosis().what },
        Err(AskFault::LineDown(fault)) => Reply::Unknown { why: fault.diagnosis().what },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fieldbus::{Inbox, counter, driver::LineFault};

    fn on() -> Instruction {
        Instruction::Coils { first: 0, bits: vec![true], multiple: false }
    }

    /// What comes of one order whose bus does `bus`.
    async fn told(bus: impl AsyncFnOnce(Inbox)) -> Reply {
        let (counter, inbox) = counter();
        let telling = tell(counter, DeviceIx(0), on(), Dialect::Standard);
        tokio::join!(telling, bus(inbox)).0
    }

    fn word(reply: &Reply) -> &'static str {
        match reply {
            Reply::Accepted => "accepted",
            Reply::Refused { .. } => "refused",
            Reply::NotSent { .. } => "not sent",
            Reply::Unknown { .. } => "unknown",
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_bus_says_and_what_it_means() {
        let silent = AskFault::Silent { waited: Duration::from_millis(500) };
        let gone = AskFault::LineDown(LineFault::down(text!("拔了", "unplugged")));
        for (outcome, expected) in [
            (Ok(()), "accepted"),
            (Err(AskFault::Refused { code: 2 }), "refused"),
            (Err(AskFault::Refused { code: 6 }), "refused"),
            (Err(AskFault::Refused { code: 5 }), "unknown"),
            (Err(AskFault::Refused { code: 11 }), "unknown"),
            (Err(silent), "unknown"),
            (Err(AskFault::Garbled { what: Garble::Checksum }), "unknown"),
            (Err(AskFault::Garbled { what: Garble::Unaskable }), "not sent"),
            (Err(gone), "unknown"),
        ] {
            let reply = told(async |mut inbox: Inbox| {
                inbox.take_order(outcome.clone()).await;
            });
            assert_eq!(word(&reply.await), expected, "{outcome:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_gave_up_does_not_find_it_done_later() {
        // the line is down: the order waits in the inbox until nobody waits for it
        let late = told(async |inbox: Inbox| {
            tokio::time::sleep(PATIENCE * 3).await;
            assert!(!inbox.would_begin(), "it is not sent any more");
        });
        assert_eq!(word(&late.await), "not sent");
        // the bus ends with the order in its inbox
        assert_eq!(word(&told(async |inbox: Inbox| drop(inbox)).await), "not sent");
        // it went out, and the bus was stopped in the midst of it
        let cut = told(async |mut inbox: Inbox| inbox.begin_and_stop().await);
        assert_eq!(word(&cut.await), "unknown");
    }

    #[tokio::test]
    async fn a_full_counter_is_told_at_once() {
        let (counter, _inbox) = counter();
        let mut waiting = Vec::new();
        while let Ok(place) = counter.orders.clone().try_reserve_owned() {
            waiting.push(place);
        }
        assert_eq!(word(&tell(counter, DeviceIx(0), on(), Dialect::Standard).await), "not sent");
    }
}
