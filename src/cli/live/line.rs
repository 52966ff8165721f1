//! One line that a tool asks: its own, through the same drivers as the gateway's, or one that a running gateway owns.

use std::{path::PathBuf, time::Duration};

use tokio::time::{Instant, sleep};

use super::{Member, Place, Told};
use crate::{
    cli::exit,
    console::door::{self, Answer, Question},
    domain::{
        BusId, Diagnosis, Failure, Lang, Medium, Raw, Text,
        inquiry::{Inquire, Inquired, Wanted, Whom},
    },
    fieldbus::{
        driver::{AskFault, Driver, LineFault},
        modbus::{RtuDriver, TcpDriver},
        plan::Ask,
    },
    profile::{Address, Dialect, Link},
    say, text,
};

/// A line whose gateway has no time is asked again so often.
const TRIES: u32 = 30;
const MOMENT: Duration = Duration::from_millis(200);

/// Why an exchange gave no values.
#[derive(Clone, Debug)]
pub struct NoAnswer {
    pub why: Why,
    pub told: Diagnosis,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    Silent,
    Garbled,
    /// It is there and said no.
    Refused(u16),
    LineDown,
    /// The gateway that owns the line had no time.
    Busy,
}

pub enum LiveLine {
    Rtu(Box<RtuDriver>),
    Tcp(Box<TcpDriver>),
    Through { dir: PathBuf, bus: BusId },
}

impl LiveLine {
    pub fn through(dir: PathBuf, bus: BusId) -> Self {
        LiveLine::Through { dir, bus }
    }

    pub async fn open(place: &Place, lang: Lang) -> Result<Self, Told> {
        let mut line = match place {
            Place::Serial(settings) => LiveLine::Rtu(Box::new(RtuDriver::new(settings.clone()))),
            Place::Tcp(settings) => LiveLine::Tcp(Box::new(TcpDriver::new(settings.clone()))),
            Place::Other => {
                let words = say!(
                    lang,
                    "这种总线只能通过运行中的网关询问：先运行 gatehouse run",
                    "a bus of this kind is asked through its running gateway only: start gatehouse run first"
                );
                return Err(Told::new(exit::NO_ANSWER, words));
            }
        };
        match line.connect().await {
            Ok(()) => Ok(line),
            Err(fault) => Err(refused(&fault, lang)),
        }
    }

    async fn connect(&mut self) -> Result<(), LineFault> {
        match self {
            LiveLine::Rtu(driver) => driver.connect().await.map(drop),
            LiveLine::Tcp(driver) => driver.connect().await.map(drop),
            LiveLine::Through { .. } => Ok(()),
        }
    }

    pub fn is_through_gateway(&self) -> bool {
        matches!(self, LiveLine::Through { .. })
    }

    /// One exchange, and how long it took. `member`: the device of the site that `unit` is.
    pub async fn ask(
        &mut self,
        unit: &Address,
        link: &Link,
        ask: &Ask,
        member: Option<&Member>,
    ) -> (Result<Raw, NoAnswer>, Duration) {
        let began = Instant::now();
        if let Err(fault) = self.connect().await {
            let medium = Medium::default();
            return (Err(NoAnswer::of(&AskFault::LineDown(fault), link, medium)), began.elapsed());
        }
        let began = Instant::now();
        let (answer, medium) = match self {
            LiveLine::Rtu(driver) => (driver.ask(unit, link, ask).await, Medium::Serial),
            LiveLine::Tcp(driver) => (driver.ask(unit, link, ask).await, Medium::Network),
            LiveLine::Through { dir, bus } => {
                let answer = inquire(dir, bus, unit, link, ask, member).await;
                return (answer, began.elapsed());
            }
        };
        (answer.map_err(|fault| NoAnswer::of(&fault, link, medium)), began.elapsed())
    }
}

async fn inquire(
    dir: &std::path::Path,
    bus: &BusId,
    unit: &Address,
    link: &Link,
    ask: &Ask,
    member: Option<&Member>,
) -> Result<Raw, NoAnswer> {
    let Some(inquire) = in_words(bus, unit, link, ask, member) else {
        let told = text!(
            "这种方言的设备要先写进配置，网关才能问",
            "a device of this dialect must be in the site file before the gateway can ask it"
        );
        return Err(NoAnswer::trouble(Why::Garbled, told));
    };
    let question = Question::Inquire(inquire);
    for _ in 0..TRIES {
        match door::visit(dir, &question).await {
            Ok(Answer::Inquired(Inquired::Busy) | Answer::Busy) => sleep(MOMENT).await,
            Ok(Answer::Inquired(answer)) => return understood(answer, ask),
            Ok(Answer::NotUnderstood(why)) => {
                let told = text!("网关不懂这个问题：{why}", "the gateway does not understand: {why}");
                return Err(NoAnswer::trouble(Why::LineDown, told));
            }
            Ok(
                Answer::Stopping
                | Answer::Outcome(_)
                | Answer::Status(_)
                | Answer::Tape(_)
                | Answer::Drilled(_),
            ) => {
                return Err(NoAnswer::trouble(
                    Why::LineDown,
                    text!("网关正在停止", "the gateway is stopping"),
                ));
            }
            Err(error) => {
                let told = text!("问不到网关：{error}", "the gateway cannot be asked: {error}");
                return Err(NoAnswer::trouble(Why::LineDown, told));
            }
        }
    }
    let told = text!("总线正忙：报警采集占满了时间", "the line is busy: alarm points take all its time");
    Err(NoAnswer::trouble(Why::Busy, told))
}

/// The question as the door takes it; `None` for a stranger that does not speak plain Modbus.
fn in_words(bus: &BusId, unit: &Address, link: &Link, ask: &Ask, member: Option<&Member>) -> Option<Inquire> {
    let wanted = match *ask {
        Ask::Block { table, first, count } => Wanted::Block { table, first, count },
        Ask::Frame { request } => Wanted::Frame { request },
    };
    let whom = match (member, unit, link) {
        (Some(member), ..) => Whom::Device(member.id.clone()),
        (None, Address::Unit(unit), Link::Modbus(link)) if link.dialect == Dialect::Standard => {
            Whom::Unit { bus: bus.clone(), unit: *unit, timeout_ms: link.timeout.as_millis() as u64 }
        }
        (None, ..) => return None,
    };
    Some(Inquire { whom, wanted })
}

fn understood(answer: Inquired, ask: &Ask) -> Result<Raw, NoAnswer> {
    let no = |why, told| Err(NoAnswer { why, told });
    match (answer, ask) {
        (Inquired::Words(words), &Ask::Block { table, first, .. }) => {
            Ok(Raw::Registers { table, first, words })
        }
        (Inquired::Bits(bits), &Ask::Block { table, first, .. }) => Ok(Raw::Bits { table, first, bits }),
        (Inquired::Frame(bytes), &Ask::Frame { request }) => {
            Ok(Raw::Frame { frame: request, bytes: bytes.into() })
        }
        (Inquired::Silent { told, .. }, _) => no(Why::Silent, told),
        (Inquired::Refused { code, told }, _) => no(Why::Refused(code), told),
        (Inquired::Garbled(told), _) => no(Why::Garbled, told),
        (Inquired::LineDown(told), _) => no(Why::LineDown, told),
        (Inquired::Busy, _) => Err(NoAnswer::trouble(Why::Busy, text!("总线正忙", "the line is busy"))),
        (Inquired::Unknown, _) => {
            let told =
                text!("运行中的网关没有这条总线或设备", "the running gateway has no such bus or device");
            Err(NoAnswer::trouble(Why::LineDown, told))
        }
        (Inquired::Words(_) | Inquired::Bits(_) | Inquired::Frame(_), _) => {
            let told = text!("网关答的是别的问题", "the gateway answered another question");
            Err(NoAnswer::trouble(Why::Garbled, told))
        }
    }
}

impl NoAnswer {
    fn of(fault: &AskFault, link: &Link, medium: Medium) -> Self {
        let why = match fault {
            AskFault::Silent { .. } => Why::Silent,
            AskFault::Garbled { .. } => Why::Garbled,
            AskFault::Refused { code } => Why::Refused(*code),
            AskFault::LineDown(_) => Why::LineDown,
        };
        let told = link.diagnose(&Failure::from(fault), medium);
        Self { why, told: told.unwrap_or_else(Diagnosis::unasked) }
    }

    fn trouble(why: Why, what: Text) -> Self {
        Self { why, told: Diagnosis { kind: "tool".to_owned(), what, checks: Vec::new() } }
    }

    /// Whether the device itself said this.
    pub fn is_from_device(&self) -> bool {
        matches!(self.why, Why::Refused(_))
    }
}

/// A line that does not open, in words: a port that a gateway has is asked through that gateway.
pub fn refused(fault: &LineFault, lang: Lang) -> Told {
    let told = fault.diagnosis().line(lang);
    match fault {
        LineFault::Denied { .. } => Told::new(exit::NOT_PERMITTED, told),
        LineFault::Busy { .. } => {
            let told = say!(
                lang,
                "{told}\n如果是网关在用：加上 --config 配置文件，就通过网关询问",
                "{told}\nif it is the gateway: with --config FILE it is asked through the gateway"
            );
            Told::new(exit::NO_ANSWER, told)
        }
        LineFault::Missing { .. }
        | LineFault::NoDirection { .. }
        | LineFault::Gone { .. }
        | LineFault::Babble { .. } => Told::new(exit::NO_ANSWER, told),
    }
}
