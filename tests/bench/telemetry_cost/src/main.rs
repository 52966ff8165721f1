//! What it costs to keep readings: bytes written to the flash, bytes that stay, CPU, and how long a point's last day takes to read.
//!
//! ```text
//! cargo run --release --manifest-path tests/bench/telemetry_cost/Cargo.toml --target-dir target -- [hours] [directory on a real disk] [seconds to a commit]
//! ```
//! A virtual clock labels the rows, 100 devices × 50 points each virtual second, in commits of so many seconds as the gateway makes them; it runs as
//! fast as the store takes them. `tests/bench/load.py` has the same in real time, of the whole gateway. Nothing is asserted: machines differ.

use std::{env, error::Error, fs, path::PathBuf, time::Instant};

use gatehouse::{
    domain::{DeviceIx, PointIx, Sample, Size, Suite, Value},
    store::{Catalogue, CatalogueEntry, Kept, Row, Settings, Span, TelemetryReader, TelemetryStore},
};
use jiff::{Timestamp, tz::TimeZone};
use rustix::time::{ClockId, clock_gettime};

const DEVICES: u32 = 100;
const POINTS: u16 = 50;
const COMMIT_SECONDS: i64 = 2; // src/store/telemetry.rs GROUP_WAIT
const START_MS: i64 = 1_790_000_000_000;

type Failure = Box<dyn Error + Send + Sync>;

/// How values behave, each with its own state.
#[derive(Clone, Copy)]
enum Nature {
    /// One of a hundred changes by ±1: set points, states, counters of a quiet night.
    Quiet,
    /// Every second one changes by ±1, as in tests/bench/modbus_field.py.
    Walk,
    /// The same in tenths, as a register times 0.1 gives them.
    Tenths,
    /// Each is new within ±8 of its level: nothing to be saved but the level.
    Noise,
    /// Floats from a meter: tenths, each new within ±0.8 of its level. Most meters' floats are decimals.
    Meter,
    /// Floats from the wire, of which some twelve bits are noise.
    Floats,
}

struct Field {
    nature: Nature,
    chance: u64,
    levels: Vec<i32>,
}

impl Field {
    fn new(nature: Nature) -> Self {
        let level = |n: u32| (n * 37 % 4000 + 500) as i32;
        Self {
            nature,
            chance: 0x9e37_79b9_7f4a_7c15,
            levels: (0..DEVICES * u32::from(POINTS)).map(level).collect(),
        }
    }

    fn bits(&mut self) -> u64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        self.chance >> 11
    }

    fn row(&mut self, device: u32, second: i64) -> Row {
        let jitter = (self.bits() % 4) as i64;
        let samples = (0..POINTS).map(|point| (PointIx(point), self.sample(device, point))).collect();
        let at = Timestamp::from_millisecond(START_MS + second * 1000 + i64::from(device) * 7 + jitter);
        Row { device: DeviceIx(device), at: at.expect("a time of this century"), samples, receipt: None }
    }

    fn sample(&mut self, device: u32, point: u16) -> Sample {
        let (bits, place) = (self.bits(), (device * u32::from(POINTS)) as usize + usize::from(point));
        let step = |of: u64| match bits % of {
            0 => 1,
            1 => -1,
            _ => 0,
        };
        self.levels[place] += match self.nature {
            Nature::Quiet => step(200),
            Nature::Walk | Nature::Tenths => step(4),
            Nature::Noise | Nature::Meter | Nature::Floats => 0,
        };
        let level = self.levels[place];
        Sample::good(Value::Number(match self.nature {
            Nature::Quiet | Nature::Walk => f64::from(level),
            Nature::Tenths => f64::from(level) * 0.1,
            Nature::Noise => f64::from(level + (bits % 17) as i32 - 8),
            Nature::Meter => f64::from((f64::from(level + (bits % 17) as i32 - 8) / 10.0) as f32),
            Nature::Floats => f64::from((level as f32).mul_add(0.1, (bits % 4096) as f32 * 0.000_37)),
        }))
    }
}

fn written() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap_or_default();
    io.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok()).unwrap_or(0)
}

fn cpu_ns() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

fn settings(dir: PathBuf) -> Settings {
    let period = |text: &str| text.parse().expect("a period");
    Settings {
        dir,
        events_max: Size(64 << 20),
        telemetry_max: Size(1 << 30),
        telemetry_keep: period("90d"),
        hourly_keep: period("400d"),
        daily_keep: period("3650d"),
        flash_per_day: None,
        flash_endurance: None,
        timezone: TimeZone::UTC,
        reserve: None,
        suite: Suite::default(),
    }
}

fn catalogue() -> Catalogue {
    let points: Vec<_> =
        (0..POINTS).map(|n| (format!("point_{n}").as_str().into(), "V".to_owned())).collect();
    let entry = |n| CatalogueEntry { device: format!("device-{n}").as_str().into(), points: points.clone() };
    (0..DEVICES).map(entry).collect()
}

async fn keep(
    nature: Nature,
    name: &str,
    (seconds, commit): (i64, i64),
    dir: PathBuf,
) -> Result<(), Failure> {
    let readings = (seconds * i64::from(DEVICES) * i64::from(POINTS)) as f64;
    let (mut field, begun) = (Field::new(nature), cpu_ns());
    for second in 0..seconds.min(600) {
        (0..DEVICES).for_each(|device| drop(field.row(device, second)));
    }
    let making = (cpu_ns() - begun) / readings * seconds as f64 / seconds.min(600) as f64;

    let settings = settings(dir);
    let store = TelemetryStore::open(&settings, catalogue())?;
    let (mut field, begun, before) = (Field::new(nature), cpu_ns(), written());
    for second in 0..seconds {
        for device in 0..DEVICES {
            if store.keep(field.row(device, second)) == Kept::Full {
                return Err("the store takes no more".into());
            }
        }
        if second % commit == commit - 1 {
            store.flush().await?;
        }
    }
    store.close().await?;
    let cpu = (cpu_ns() - begun) / readings - making;
    let bytes = (written() - before) as f64 / readings;
    let file = fs::metadata(settings.dir.join("telemetry.db"))?.len() as f64 / readings;
    println!("{name:<8} {bytes:>6.2} bytes written a reading, {file:.3} stay, {cpu:.0} ns of CPU");
    look(&settings, name, seconds)
}

fn look(settings: &Settings, name: &str, seconds: i64) -> Result<(), Failure> {
    let reader = TelemetryReader::open(&settings.dir)?;
    let end = Timestamp::from_millisecond(START_MS + seconds * 1000 + 999)?;
    let begin = Timestamp::from_millisecond((START_MS + seconds * 1000 - 86_400_000).max(START_MS))?;
    let (mut fastest, mut cpu) = (f64::INFINITY, f64::INFINITY);
    let mut found = 0;
    for _ in 0..5 {
        let (start, busy) = (Instant::now(), cpu_ns());
        found = 0;
        for reading in reader.readings("device-42", Some("point_7"), begin, end)? {
            reading?;
            found += 1;
        }
        fastest = fastest.min(start.elapsed().as_secs_f64() * 1e3);
        cpu = cpu.min((cpu_ns() - busy) / 1e6);
    }
    let start = Instant::now();
    let hours = reader.rollups("device-42", Some("point_7"), Span::Hour, (begin, end), &TimeZone::UTC)?.len();
    let by_hour = start.elapsed().as_secs_f64() * 1e3;
    println!(
        "{name:<8} one point's last day: {found} readings in {fastest:.1} ms ({cpu:.1} of CPU; bar: 50); {hours} hours in {by_hour:.1} ms"
    );
    Ok(())
}

fn main() -> Result<(), Failure> {
    let mut words = env::args().skip(1);
    let hours: f64 = words.next().map_or(Ok(1.0), |word| word.parse())?;
    let place = words.next().map_or_else(env::temp_dir, PathBuf::from);
    let commit: i64 = words.next().map_or(Ok(COMMIT_SECONDS), |word| word.parse())?;
    let seconds = (hours * 3600.0) as i64;
    println!("{DEVICES} devices × {POINTS} points each second, {hours} h, {commit} s to a commit");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for (nature, name) in [
        (Nature::Quiet, "quiet"),
        (Nature::Walk, "walk"),
        (Nature::Tenths, "tenths"),
        (Nature::Noise, "noise"),
        (Nature::Meter, "meter"),
        (Nature::Floats, "floats"),
    ] {
        let dir = place.join(format!("gatehouse-telemetry-cost-{}", std::process::id()));
        let outcome = runtime.block_on(keep(nature, name, (seconds, commit), dir.clone()));
        fs::remove_dir_all(&dir)?;
        outcome?;
    }
    Ok(())
}
