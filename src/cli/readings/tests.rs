use std::sync::Arc;

use super::*;
use crate::{
    domain::*,
    store::{Access, CatalogueEntry, Kept, Row, Settings, TelemetryStore},
};

const NOW: &str = "2026-11-23T06:30:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn shanghai() -> TimeZone {
    TimeZone::fixed(jiff::tz::offset(8))
}

/// A store with an elevator's readings: two hours ago, now, and a little in the future.
async fn stored() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings::of_a_test(dir.path().join("store"));
    let points = [("floor", ""), ("speed", "m/s"), ("message", "")];
    let points = points.map(|(name, unit)| (name.into(), unit.to_owned())).to_vec();
    let entry = |device: &str| CatalogueEntry { device: device.into(), points: points.clone() };
    let catalogue: Arc<[_]> = [entry("lift-3-1"), entry("lift-3-2")].into();
    let store = TelemetryStore::open(&settings, catalogue).unwrap();
    let number = |n| Sample::good(Value::Number(n));
    let text = |text: &str| Sample::good(Value::Text(text.into()));
    for (moment, samples) in [
        ("2026-11-23T04:30:00Z", vec![(0, number(1.0))]),
        ("2026-11-23T06:03:11.482Z", vec![(0, number(7.0)), (1, number(-1.75)), (2, text("=cmd,\"x\""))]),
        (
            "2026-11-23T06:03:12Z",
            vec![
                (0, Sample::without_value(Quality::CommFail)),
                (1, Sample::stale(Value::Number(0.5))),
                (2, text("正\u{1b}[31m")),
            ],
        ),
        ("2026-11-23T06:31:00Z", vec![(0, number(9.0))]),
    ] {
        let samples = samples.into_iter().map(|(ix, sample)| (PointIx(ix), sample)).collect();
        let row = Row { device: DeviceIx(0), at: at(moment), samples, receipt: None };
        assert_eq!(store.keep(row), Kept::Queued);
    }
    store.close().await.unwrap();
    (dir, settings.dir)
}

fn args(words: &[&str]) -> Args {
    let command = <Args as clap::Args>::augment_args(clap::Command::new("readings").no_binary_name(true));
    <Args as clap::FromArgMatches>::from_arg_matches(&command.get_matches_from(words)).unwrap()
}

fn printed(words: &[&str], dir: &Path, lang: Lang) -> Result<String, ReadingsError> {
    let mut out = Vec::new();
    let zone = shanghai();
    print(&args(words), dir, &Site { zone: &zone, lang, now: at(NOW) }, &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

#[tokio::test]
async fn json_lines_are_as_the_contract_has_them() {
    let (_keep, dir) = stored().await;
    assert_eq!(
        printed(&["lift-3-1", "--json"], &dir, Lang::Zh).unwrap(),
        r#"{"device":"lift-3-1","point":"floor","at":"2026-11-23T14:03:11.482+08:00","value":7.0,"unit":"","quality":"good"}
{"device":"lift-3-1","point":"speed","at":"2026-11-23T14:03:11.482+08:00","value":-1.75,"unit":"m/s","quality":"good"}
{"device":"lift-3-1","point":"message","at":"2026-11-23T14:03:11.482+08:00","value":"=cmd,\"x\"","unit":"","quality":"good"}
{"device":"lift-3-1","point":"floor","at":"2026-11-23T14:03:12.000+08:00","value":null,"unit":"","quality":"comm_fail"}
{"device":"lift-3-1","point":"speed","at":"2026-11-23T14:03:12.000+08:00","value":0.5,"unit":"m/s","quality":"stale"}
{"device":"lift-3-1","point":"message","at":"2026-11-23T14:03:12.000+08:00","value":"正\u001b[31m","unit":"","quality":"good"}
{"device":"lift-3-1","point":"floor","at":"2026-11-23T14:31:00.000+08:00","value":9.0,"unit":"","quality":"good"}
"#
    );
}

#[tokio::test]
async fn tables_are_for_people_and_csv_for_spreadsheets() {
    let (_keep, dir) = stored().await;
    assert_eq!(
        printed(&["lift-3-1", "--to", "2026-11-23 14:03:12"], &dir, Lang::Zh).unwrap(),
        "\
时间                           测点     质量          数值
2026-11-23T14:03:11.482+08:00  floor    good          7
2026-11-23T14:03:11.482+08:00  speed    good          -1.75 m/s
2026-11-23T14:03:11.482+08:00  message  good          =cmd,\"x\"
2026-11-23T14:03:12.000+08:00  floor    comm_fail     —
2026-11-23T14:03:12.000+08:00  speed    stale         0.5 m/s
2026-11-23T14:03:12.000+08:00  message  good          正\u{fffd}[31m
"
    );
    assert_eq!(
        printed(&["lift-3-1", "--point", "floor", "--from", "-3h"], &dir, Lang::En).unwrap(),
        "\
time                           point  quality       value
2026-11-23T12:30:00.000+08:00  floor  good          1
2026-11-23T14:03:11.482+08:00  floor  good          7
2026-11-23T14:03:12.000+08:00  floor  comm_fail     —
2026-11-23T14:31:00.000+08:00  floor  good          9
"
    );
    let csv = printed(&["lift-3-1", "--csv", "--to", "2026-11-23T06:03:11.999Z"], &dir, Lang::En).unwrap();
    let times = "2026-11-23T14:03:11.482+08:00,2026-11-23T06:03:11.482Z";
    let lines: Vec<_> = csv.split_terminator("\r\n").collect();
    assert_eq!(
        lines,
        [
            "device,point,time_local,time_utc,value,unit,quality".to_owned(),
            format!("lift-3-1,floor,{times},7,,good"),
            format!("lift-3-1,speed,{times},-1.75,m/s,good"),
            format!("lift-3-1,message,{times},\"'=cmd,\"\"x\"\"\",,good"),
        ]
    );
}

#[tokio::test]
async fn what_is_not_there_is_said_with_what_is_near() {
    let (_keep, dir) = stored().await;
    for (fact, words, code, zh) in [
        (
            "a device misspelt",
            &["lift-3-11"][..],
            4,
            "没有存储过设备 \"lift-3-11\" 的读数，是不是 \"lift-3-1\"？",
        ),
        ("no such device", &["zzz"], 4, "没有存储过设备 \"zzz\" 的读数"),
        (
            "a point misspelt",
            &["lift-3-1", "--point", "flor"],
            4,
            "设备 lift-3-1 没有测点 \"flor\"，是不是 \"floor\"？",
        ),
        ("a silent device", &["lift-3-2"], 4, "设备 lift-3-2 自 2026-11-23T13:30:00.000+08:00 起没有读数"),
        (
            "backwards",
            &["lift-3-1", "--from", "-1h", "--to", "-2h"],
            2,
            "截止时间 2026-11-23T12:30:00.000+08:00 早于起始时间 2026-11-23T13:30:00.000+08:00",
        ),
    ] {
        let error = printed(words, &dir, Lang::Zh).unwrap_err();
        assert_eq!((error.exit_code(), &error.text().zh[..]), (code, zh), "{fact}");
    }
    let nowhere = printed(&["lift-3-1"], &dir.join("elsewhere"), Lang::Zh).unwrap_err();
    assert_eq!(nowhere.exit_code(), 4);
    assert_eq!(nowhere.text().zh, format!("{} 中从未存储过任何内容", dir.join("elsewhere").display()));
    let path = dir.join("telemetry.db");
    let denied = ReadingsError::Store(StoreError::NotPermitted { path, access: Access::Read });
    assert_eq!(denied.exit_code(), 8);
}

#[test]
fn times_are_taken_as_people_write_them() {
    for (text, want) in [
        ("2026-11-23T14:00:00+08:00", Some("2026-11-23T06:00:00Z")),
        ("2026-11-23T06:00:00.5Z", Some("2026-11-23T06:00:00.5Z")),
        ("2026-11-23 14:00", Some("2026-11-23T06:00:00Z")),
        ("2026-11-23T14:00:01", Some("2026-11-23T06:00:01Z")),
        ("2026-11-23", Some("2026-11-22T16:00:00Z")),
        ("-30m", Some("2026-11-23T06:00:00Z")),
        ("-90d", Some("2026-08-25T06:30:00Z")),
        ("-0s", Some(NOW)),
        ("30m", None),
        ("-30", None),
        ("2026-11-31", None),
        ("", None),
    ] {
        let moment = text.parse::<Moment>().ok();
        let place = moment.and_then(|moment| moment.place(at(NOW), &shanghai()).ok());
        assert_eq!(place, want.map(at), "{text:?}");
    }
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_error() {
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (_keep, dir) = stored().await;
    for form in [&["--json"][..], &["--csv"], &[]] {
        let words = [&["lift-3-1", "--from", "2026-11-23", "--to", "2026-11-24"], form].concat();
        run(&args(&words), &dir, &shanghai(), Lang::En, Gone)
            .unwrap_or_else(|error| panic!("{form:?}: {error}"));
    }
}

#[tokio::test]
async fn by_hour_and_day_good_readings_are_summed_up() {
    let (_keep, dir) = stored().await;
    assert_eq!(
        printed(&["lift-3-1", "--by", "hour", "--json"], &dir, Lang::Zh).unwrap(),
        r#"{"device":"lift-3-1","point":"floor","by":"hour","from":"2026-11-23T12:00:00.000+08:00","count":1,"min":1.0,"max":1.0,"mean":1.0,"last":1.0,"unit":""}
{"device":"lift-3-1","point":"floor","by":"hour","from":"2026-11-23T14:00:00.000+08:00","count":2,"min":7.0,"max":9.0,"mean":8.0,"last":9.0,"unit":""}
{"device":"lift-3-1","point":"message","by":"hour","from":"2026-11-23T14:00:00.000+08:00","count":2,"min":null,"max":null,"mean":null,"last":"正\u001b[31m","unit":""}
{"device":"lift-3-1","point":"speed","by":"hour","from":"2026-11-23T14:00:00.000+08:00","count":1,"min":-1.75,"max":-1.75,"mean":-1.75,"last":-1.75,"unit":"m/s"}
"#
    );
    let table = printed(&["lift-3-1", "--by", "day", "--point", "floor"], &dir, Lang::En).unwrap();
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        rows,
        [
            vec!["from", "point", "good", "min", "max", "mean", "last", "unit"],
            vec!["2026-11-23T00:00:00.000+08:00", "floor", "3", "1", "9", "5.667", "9"],
        ]
    );
    let csv = printed(&["lift-3-1", "--by", "day", "--point", "message", "--csv"], &dir, Lang::En).unwrap();
    let lines: Vec<_> = csv.split_terminator("\r\n").collect();
    let times = "2026-11-23T00:00:00.000+08:00,2026-11-22T16:00:00.000Z";
    assert_eq!(
        lines,
        [
            "device,point,from_local,from_utc,count,min,max,mean,share,last,unit".to_owned(),
            format!("lift-3-1,message,{times},2,,,,,正\u{1b}[31m,"),
        ]
    );
    let none = printed(&["lift-3-1", "--by", "hour", "--to", "2026-11-22T00:00:00Z"], &dir, Lang::En);
    assert_eq!(none.unwrap_err().exit_code(), exit::NOTHING_FOUND);
}
