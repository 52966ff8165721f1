//! `read TARGET hr:0x12..0x1F --as i16,f32`: registers as they are, beside what they mean.

mod show;
mod spec;

use std::{
    io::{self, Write},
    time::Duration,
};

use clap::Args;
use tokio::time::{Instant, sleep_until};

use self::{
    show::{Row, Tally},
    spec::{Kind, Manner, ORDERS, Spec, Stretch},
};
use super::{
    exit,
    live::{Aim, LineArgs, LiveLine, Member, Told, Why, site_if_any},
};
use crate::{
    app::lines::plain_modbus,
    domain::{Lang, Period, PointIx, Raw},
    fieldbus::plan::Ask,
    ops::signals,
    profile::{Address, Link, Read},
    say,
};

#[derive(Debug, Args)]
#[command(before_help = EXAMPLES)]
pub struct ReadArgs {
    /// A serial port, host[:port], or a device or bus of the site / 串口、主机，或配置里的设备、总线
    #[arg(value_name = "TARGET")]
    target: String,
    /// What to read: hr: ir: co: di: counted from 0, or 4xxxx / 读什么
    #[arg(value_name = "REGISTERS", required = true)]
    wanted: Vec<Stretch>,
    /// Modbus unit id / 站号
    #[arg(short = 'u', long, value_name = "N")]
    unit: Option<u8>,
    #[command(flatten)]
    line: LineArgs,
    /// Types, laid end to end: bool u8 i8 u16 i16 u32 i32 u64 i64 f32 f64 bcd16 bcd32 string[:LENGTH] / 类型
    #[arg(long = "as", value_name = "TYPE,…", value_delimiter = ',', default_value = "u16")]
    kinds: Vec<Kind>,
    /// The bytes of a 32-bit value as they come / 字节序
    #[arg(long, value_name = "ORDER", default_value = "ABCD", value_parser = ORDERS)]
    order: String,
    /// Read again and again / 反复读
    #[arg(long, value_name = "1s")]
    watch: Option<Period>,
    /// With --watch: so many times / 读几次
    #[arg(long, value_name = "N", requires = "watch")]
    count: Option<u64>,
    /// How long an answer may take / 超时
    #[arg(long, value_name = "500ms")]
    timeout: Option<Period>,
    /// Most registers in one request / 一次最多读几个寄存器
    #[arg(long, value_name = "N", default_value_t = 125, value_parser = clap::value_parser!(u16).range(1..=125))]
    max_registers: u16,
    /// One JSON object a value
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples / 示例:
  gatehouse read /dev/ttyS3 -u 3 -b 9600 hr:0x12..0x13 --as i16,u16
  gatehouse read 192.168.1.20 -u 1 40019..40022 --as f32 --order CDAB --watch 1s
  gatehouse read lift-3-1 hr:0x10..0x13 --config gatehouse.toml     a device of the site / 配置里的设备";

const TIMEOUT: Duration = Duration::from_millis(500);
/// As in a profile: no device answers sooner.
const SHORTEST: Duration = Duration::from_millis(10);
/// A block that is refused is asked value by value, so that each says for itself; no more of them than this.
const ASKED_ALONE: usize = 64;

/// Whom to ask what, and how.
struct Reader<'a> {
    line: LiveLine,
    unit: Address,
    link: Link,
    member: Option<&'a Member>,
    spec: &'a Spec,
    tally: &'a mut Tally,
}

impl ReadArgs {
    /// # Errors
    /// If the runtime cannot be started or the answer cannot be printed.
    pub fn run(self, lang: Lang) -> anyhow::Result<u8> {
        let runtime = super::run::runtime()?;
        let mut tally = Tally::default();
        let ended = runtime.block_on(async {
            tokio::select! {
                ended = self.read(&mut tally, lang) => ended,
                told = signals::told_to_stop() => told.map(|_| exit::INTERRUPTED).map_err(anyhow::Error::from),
            }
        });
        tally.tell(lang);
        ended
    }

    async fn read(&self, tally: &mut Tally, lang: Lang) -> anyhow::Result<u8> {
        let (aim, spec) = match self.reader_parts(lang) {
            Ok(parts) => parts,
            Err(told) => return Ok(told.tell()),
        };
        match self.open(&aim, &spec, tally, lang).await {
            Ok(reader) => self.rounds(reader, lang).await,
            Err(told) => Ok(told.tell()),
        }
    }

    fn reader_parts(&self, lang: Lang) -> Result<(Aim, Spec), Told> {
        if self.timeout.is_some_and(|timeout| timeout.0 < SHORTEST) {
            return Err(Told::new(
                exit::USAGE,
                say!(lang, "--timeout 至少 10ms", "--timeout is 10ms at least"),
            ));
        }
        let site = site_if_any(self.line.config.as_deref(), lang)?;
        let aim = Aim::find(&self.target, &self.line, site.as_ref(), lang)?;
        let manner = Manner {
            order: &self.order,
            timeout: self.timeout.map_or(TIMEOUT, Duration::from),
            max_registers: self.max_registers,
        };
        let spec = Spec::compile(&self.wanted, &self.kinds, &manner, lang);
        Ok((aim, spec.map_err(|words| Told::new(exit::USAGE, words))?))
    }

    async fn open<'a>(
        &self,
        aim: &'a Aim,
        spec: &'a Spec,
        tally: &'a mut Tally,
        lang: Lang,
    ) -> Result<Reader<'a>, Told> {
        let timeout = self.timeout.map_or(TIMEOUT, Duration::from);
        let of_member =
            aim.member.as_ref().map(|member| (member.address.clone(), member.profile.link.clone()));
        let (unit, link) = match (self.unit, of_member) {
            // another unit of the device's line is nobody that the site knows
            (Some(unit), _) => (Address::Unit(unit), Link::Modbus(plain_modbus(timeout))),
            (None, Some((unit @ Address::Unit(_), link @ Link::Modbus(_)))) => (unit, link),
            (None, Some(_)) => {
                let target = &self.target;
                let words = say!(
                    lang,
                    "{target} 不是 Modbus 设备；读它的测点：gatehouse profile test {target}",
                    "{target} is no Modbus device; its points: gatehouse profile test {target}"
                );
                return Err(Told::new(exit::USAGE, words));
            }
            (None, None) => {
                let words = say!(lang, "读哪个站？请加 -u 站号", "which unit? add -u N");
                return Err(Told::new(exit::USAGE, words));
            }
        };
        let member = aim.member.as_ref().filter(|_| self.unit.is_none());
        let line = aim.open(lang).await?;
        Ok(Reader { line, unit, link, member, spec, tally })
    }

    async fn rounds(&self, mut reader: Reader<'_>, lang: Lang) -> anyhow::Result<u8> {
        let asks = reader.spec.asks(self.max_registers);
        let began = Instant::now();
        let mut rounds = 0u32;
        loop {
            let mut out = io::stdout().lock();
            for (ask, points) in &asks {
                for row in reader.rows(ask, points).await {
                    row.print(self.json, lang, &mut out)?;
                }
            }
            out.flush()?;
            drop(out);
            rounds += 1;
            let more = self.count.is_none_or(|count| u64::from(rounds) < count);
            let Some(every) = self.watch.filter(|_| more) else { return Ok(reader.tally.code()) };
            sleep_until(began + every.0 * rounds).await;
        }
    }
}

impl Reader<'_> {
    /// What one question gave; a block that is refused is asked value by value.
    async fn rows(&mut self, ask: &Ask, points: &[PointIx]) -> Vec<Row> {
        let (answer, took) = self.line.ask(&self.unit, &self.link, ask, self.member).await;
        self.tally.count(&answer, took);
        match answer {
            Err(no) if matches!(no.why, Why::Refused(2 | 3)) && (2..=ASKED_ALONE).contains(&points.len()) => {
                let mut rows = Vec::new();
                for &point in points {
                    let Some(alone) = self.alone(point) else { continue };
                    let (answer, took) = self.line.ask(&self.unit, &self.link, &alone, self.member).await;
                    self.tally.count(&answer, took);
                    rows.push(self.row(point, answer.as_ref()));
                }
                rows
            }
            answer => points.iter().map(|point| self.row(*point, answer.as_ref())).collect(),
        }
    }

    fn alone(&self, point: PointIx) -> Option<Ask> {
        match self.spec.profile.points[usize::from(point.0)].read {
            Read::Modbus { table, address, span } => Some(Ask::Block { table, first: address, count: span }),
            Read::Serial { .. } | Read::Mqtt | Read::Reckoned => None,
        }
    }

    fn row(&self, point: PointIx, answer: Result<&Raw, &super::live::NoAnswer>) -> Row {
        Row::of(self.spec, point, answer)
    }
}
