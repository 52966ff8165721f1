//! Facts about site files.

use std::{
    fs, io,
    os::unix::fs::{PermissionsExt, symlink},
    sync::LazyLock,
    time::{Duration, Instant},
};

use secrecy::ExposeSecret;
use tempfile::TempDir;

use super::*;
use crate::{
    config::{BusLink, EXAMPLE, Receiver, secret::unreadable},
    document::Severity,
    domain::Lang,
    profile::Address,
    uplink::http::Login,
};

const SITE: &str = "[site]\nid = 'yard'\n";

fn keep(dir: &TempDir, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.path().join(name);
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

fn fifo(path: &Path) {
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600));
    rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, 0).unwrap();
}

fn check_text(dir: &TempDir, text: &str) -> Checked {
    check_quickly(&keep(dir, "gatehouse.toml", text))
}

fn check_quickly(path: &Path) -> Checked {
    check_over_shipped(path, Secrets::Read)
}

/// Over the shipped profiles, compiled once for all facts.
fn check_over_shipped(path: &Path, secrets: Secrets) -> Checked {
    static SHIPPED: LazyLock<Library> = LazyLock::new(|| Library::shipped(&mut Problems::default()));
    check_over(path, secrets, |_, _| &*SHIPPED)
}

/// One line each, without notes and without the folder.
fn told(dir: &TempDir, checked: &Checked) -> Vec<String> {
    let folder = format!("{}/", dir.path().display());
    let lines = checked.problems.lines(Lang::En).replace(&folder, "");
    lines.lines().filter(|line| !line.contains(": note: ")).map(str::to_owned).collect()
}

/// An endpoint for this purpose that wants credits and `data`.
fn credits_to(purpose: &str, data: &str) -> String {
    format!(
        "[[endpoint]]\nid = 'points'\npurpose = '{purpose}'\n[endpoint.http]\nurl = 'https://points.example/'\n\
         [endpoint.wants]\nclasses = ['recycling-kiosk']\ncredits = true\ndata = [{data}]\n"
    )
}

fn codes_by(table: &str, keys: &str) -> String {
    let more = if table == "mqtt" { "client_id = 'c'\n" } else { "" };
    let scheme = if table == "mqtt" { "mqtts" } else { "https" };
    format!(
        "[[endpoint]]\nid = 'c'\npurpose = 'city-platform'\nwants = {{ classes = ['elevator'], priorities = ['critical'] }}\n\
         [endpoint.{table}]\nurl = '{scheme}://c.example/'\n{more}{keys}"
    )
}

#[test]
fn what_people_may_and_who_is_told_next_is_checked() {
    let dir = TempDir::new().unwrap();
    let facts = [
        ("", None),
        ("[shelving]\nhigh = '2h'\n[escalation]\n[[escalation.step]]\ncontact = '值班'\n", None),
        ("[shelving]\nhigh = '8d'\n", Some("a shelf lasts 7d at most")),
        ("[escalation]\n[[escalation.step]]\nendpoints = ['duti']\n", Some("there is no endpoint \"duti\"")),
        ("[escalation]\n[[escalation.step]]\nafter = '0s'\n", Some("it is 1s at least")),
        ("[escalation]\nagain = '10ms'\n", Some("it is 1s at least")),
        (
            "[[endpoint]]\nid = 'c'\npurpose = 'city-platform'\nwants = { classes = ['elevator'], priorities = ['critical'] }\n\
             [endpoint.http]\nurl = 'https://c.example/'\ncodes = { passenger_traped = '93' }\n",
            Some("\"passenger_traped\" is no alarm of the classes that this endpoint wants"),
        ),
        (
            &codes_by("mqtt", "codes = { passenger_traped = '93' }\n"),
            Some("\"passenger_traped\" is no alarm of the classes"),
        ),
        (
            &codes_by("http", "code_table = 'elevator/chongqing'\n"),
            Some("code_table needs template beside it"),
        ),
        (&codes_by("mqtt", "content_type = 'text/plain'\n"), Some("content_type needs template beside it")),
        ("[chattering]\nmore_than = 3\n[flood]\nmore_than = 20\nsummary_every = '30s'\n", None),
        ("[chattering]\nmore_than = 0\n", Some("must be from 1 to 1000")),
        ("[chattering]\ncalm = '2h'\n", Some("it is 1s to 1h")),
        ("[flood]\nmore_than = 1\n", Some("must be from 2 to 1000000")),
        ("[flood]\nsumary_every = '1m'\n", Some("summary_every")),
        ("[escalation]\n", Some("warning: nothing escalates by this")),
        (
            "[[alarm]]\nclass = 'elevator'\nname = 'e_bike'\nrescue_within = '5m'\n",
            Some("has no rescue clock"),
        ),
        (
            "[[alarm]]\nclass = 'elevator'\nname = 'passenger_trapped'\nrescue_within = '0s'\n",
            Some("1d at most"),
        ),
        ("[[alarm]]\nclass = 'elevator'\nname = 'door_restless'\ncount = { times = 8 }\n", None),
        (
            "[[alarm]]\nclass = 'elevator'\nname = 'car_heating'\nrate = { rise = 12.0, within = '1m' }\n",
            None,
        ),
        (
            "[[alarm]]\nclass = 'elevator'\nname = 'position_stuck'\nstuck = { for = '30s', deadband = 0.1 }\n",
            None,
        ),
        (
            "[[alarm]]\nclass = 'elevator'\nname = 'position_stuck'\ncount = { times = 3 }\n",
            Some("\"position_stuck\" is no such rule: its class has no `count` for it"),
        ),
        (
            "[[alarm]]\nclass = 'elevator'\nname = 'car_heating'\nrate = { rise = -1.0 }\n",
            Some("it is more than 0"),
        ),
        (
            "[[alarm]]\nclass = 'elevator'\nname = 'car_heating'\nrate = { point = 'load' }\n",
            Some("unknown key \"point\""),
        ),
        (
            "[[alarm]]\nclass = 'elevator'\nname = 'door_restless'\ncount = { times = 1 }\n",
            Some("must be from 2 to 1000"),
        ),
        (
            "[[alarm]]\nclass = 'elevator'\nname = 'position_stuck'\nstuck = { for = '31d' }\n",
            Some("it is 1s to 30d"),
        ),
        ("[console]\ntrusted_proxies = ['127.0.0.1', '::1']\n", None),
        ("[console]\ntrusted_proxies = ['proxy']\n", Some("\"proxy\" is no IP address")),
        ("[credit]\npoints_per_kg = { paper = 2.25, '塑料' = 0.0 }\n", None),
        ("[credit]\npoints_per_kg = { paper = -1.0 }\n", Some("points per kg are from 0 to 1000000")),
        ("[credit]\npoints_per_kg = { paper = 0.125 }\n", Some("two decimals at most")),
        (&credits_to("service", "'personal'"), None),
        (&credits_to("property", ""), None),
        (&credits_to("service", "'operational'"), Some("warning: `data` has no personal")),
        (&credits_to("medical", ""), Some("an endpoint whose purpose is medical gets no credits")),
    ];
    for (text, expected) in facts {
        let told = told(&dir, &check_text(&dir, &format!("{SITE}{text}")));
        match expected {
            None => assert_eq!(told, Vec::<String>::new(), "{text}"),
            Some(expected) => {
                assert!(told.len() == 1 && told[0].contains(expected), "{text}: {told:?}");
            }
        }
    }
    let unknown = format!("{SITE}{}", codes_by("mqtt", "code_table = 'elevator/gbt24476'\n"));
    let unknown = told(&dir, &check_text(&dir, &unknown)).join("\n");
    assert!(unknown.contains("did you mean \"elevator/gbt24476-2017\"?"), "{unknown}");
    assert!(unknown.contains("code_table needs template beside it"), "{unknown}");
    let site = check_text(&dir, &format!("{SITE}[shelving]\nhigh = '2h'\n[escalation]\nagain = '5m'\n")).site;
    let customs = site.expect("it is right").customs;
    assert_eq!(customs.shelving.of(crate::domain::Priority::High), Duration::from_secs(7200));
    assert_eq!(customs.escalation.wait_after(0), Some(Duration::from_secs(300)));
}

#[test]
fn the_example_is_right_once_its_secrets_exist() {
    let dir = TempDir::new().unwrap();
    let without = check_text(&dir, EXAMPLE);
    assert_eq!(without.problems.count(Severity::Error), 2, "{}", without.problems.lines(Lang::En));
    keep(&dir, "mqtt-password", "geheim\n");
    keep(&dir, "inspection-secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let checked = check_text(&dir, EXAMPLE);
    let (ports, others): (Vec<_>, Vec<_>) = told(&dir, &checked)
        .into_iter()
        .partition(|line| line.contains(": warning: there is no serial port /dev/"));
    assert_eq!((ports.len(), others), (2, vec![]), "{ports:?}");
    let site = checked.site.expect("there are no errors");
    assert_eq!(checked.counts, Counts { buses: 4, devices: 44, endpoints: 1 });
    assert_eq!((site.id.as_str(), site.name.as_str()), ("yekuang-road", "冶矿路社区"));
    let space = site.devices.iter().find(|device| &*device.id == "space-40").expect("both ends are in");
    assert_eq!((space.name.as_str(), &space.address), ("地库车位 40", &Address::Text("40".to_owned())));
    let BusLink::Mqtt { broker, .. } = &site.buses[2].link else { panic!("the third bus is MQTT") };
    assert_eq!(broker.password.as_ref().unwrap().expose_secret(), "geheim");
    assert_eq!(site.overrides[0].on_delay, Some(Duration::from_secs(45)));
    assert!(!format!("{site:?}").contains("geheim"), "secrets are never printed");
}

#[test]
fn a_bare_site_gets_its_defaults() {
    let dir = TempDir::new().unwrap();
    let site = check_text(&dir, SITE).site.unwrap();
    assert_eq!(site.name, "yard");
    assert_eq!(site.timezone.iana_name(), Some("Asia/Shanghai"));
    assert_eq!(site.store.dir, PathBuf::from("/var/lib/gatehouse"));
    assert_eq!(site.console.listen.to_string(), "127.0.0.1:8480");
    assert!(!site.demo);
}

#[test]
fn every_mistake_of_a_site_is_told_at_once() {
    let dir = TempDir::new().unwrap();
    let checked = check_text(&dir, include_str!("tests/many_mistakes.toml"));
    let expected: Vec<&str> = include_str!("tests/many_mistakes.txt").lines().collect();
    let told = told(&dir, &checked);
    for (told, expected) in told.iter().zip(&expected) {
        // what the CEL parser says is its own
        assert!(
            told == expected || expected.ends_with("CEL expression: ") && told.starts_with(expected),
            "{told}"
        );
    }
    assert_eq!(told.len(), expected.len());
    assert!(checked.site.is_none());
}

/// Each with its one complaint (`line:column: severity: message`), on top of a site that is otherwise right.
#[test]
fn mistakes_one_by_one() {
    let dir = TempDir::new().unwrap();
    keep(&dir, "token", "t0ken");
    keep(&dir, "empty", "\n");
    keep(&dir, "binary", b"\xff\xfe");
    keep(&dir, "blank", "  \n");
    keep(&dir, "short", "whsec_c2hvcnQ=");
    keep(&dir, "bad-base64", "whsec_!!");
    let open = keep(&dir, "open", "a secret that everybody on the box can read");
    fs::set_permissions(open, fs::Permissions::from_mode(0o644)).unwrap();
    for (fact, text, expected) in include_str!("tests/one_mistake.txt")
        .split("\n=== ")
        .filter_map(|case| case.split_once('\n'))
        .filter_map(|(fact, case)| case.split_once("\n--- ").map(|(text, told)| (fact, text, told)))
    {
        let checked = check_text(&dir, &format!("{SITE}{text}\n"));
        let told = told(&dir, &checked).join("\n");
        let told = told.trim_start_matches("gatehouse.toml:").replace("\ngatehouse.toml:", "\n");
        assert_eq!(told.trim_end(), expected.trim_end(), "{fact}");
    }
}

#[test]
fn secrets_come_from_the_credentials_directory_first() {
    let (dir, credentials) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    keep(&dir, "one", "beside");
    keep(&dir, "two", "beside\r\n");
    keep(&credentials, "one", "credential");
    let vault = Vault {
        credentials: Some(credentials.path().to_owned()),
        dir: dir.path().to_owned(),
        secrets: Secrets::Read,
    };
    for (name, expected) in [("one", "credential"), ("two", "beside")] {
        let secret = vault.read(Path::new(name)).ok().unwrap().secret().unwrap();
        assert_eq!(secret.expose_secret(), expected, "{name}");
    }
}

#[test]
fn whoever_only_looks_needs_no_secret() {
    let dir = TempDir::new().unwrap();
    let endpoint =
        "[[endpoint]]\nid='e'\npurpose='service'\nwants={classes=['elevator'],priorities=['high']}\n";
    let bus = "[[bus]]\nid='b'\nmqtt={url='mqtts://b.example',client_id='c',username='u',password={file='pw'},ca_file='ca.pem',\
               cert_file='cert.pem',key_file='key.pem'}\n";
    let site = |http: &str| keep(&dir, "gatehouse.toml", format!("{SITE}{bus}{endpoint}http={{{http}}}\n"));
    let path = site(
        "url='https://e.example/',secret={file='s'},bearer={file='token'},ca_file='ca.pem',cert_file='cert.pem',key_file='key.pem'",
    );
    let errors = |secrets| check_over_shipped(&path, secrets).problems.count(Severity::Error);
    assert_eq!((errors(Secrets::Read), errors(Secrets::Named)), (9, 0), "of them none is there");
    let Receiver::Http(http) = look(&path).unwrap().endpoints.remove(0).receiver else {
        panic!("it is HTTP")
    };
    assert!(
        http.credentials.secret.is_none()
            && http.credentials.login.is_none()
            && http.credentials.identity.is_none()
    );
    assert_eq!(http.credentials.authorities, Some(Vec::new()), "it trusts nobody");

    let path = site("url='https://e.example/',secret={file=''},cert_file='..'");
    let told = told(&dir, &check_over_shipped(&path, Secrets::Named)).join("\n");
    for expected in ["\"\" names no file", "cert_file needs key_file beside it"] {
        assert!(told.contains(expected), "{expected}: {told}");
    }
}

/// Those who test may well be root, who may read everything; so the words are held, not the reading.
#[test]
fn a_secret_that_may_not_be_read_is_told_as_that() {
    let denied = unreadable(Path::new("/etc/gatehouse/pw"), &io::ErrorKind::PermissionDenied.into());
    assert!(denied.en.contains("may not read /etc/gatehouse/pw: run as"), "{denied:?}");
    let other = unreadable(Path::new("pw"), &io::ErrorKind::NotFound.into());
    assert!(other.en.starts_with("pw cannot be read"), "{other:?}");
}

#[test]
fn logins_and_certificates_are_read() {
    let dir = TempDir::new().unwrap();
    keep(&dir, "pw", "pw");
    keep(&dir, "cert.pem", "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n");
    keep(&dir, "key.pem", "-----BEGIN EC PRIVATE KEY-----\nAA==\n-----END EC PRIVATE KEY-----\n");
    let text = format!(
        "{SITE}[[endpoint]]\nid='e'\npurpose='service'\nwants={{classes=['elevator'],priorities=['high']}}\n\
         http={{url='https://e.example/',basic={{username='u',password={{file='pw'}}}},\
         cert_file='cert.pem',key_file='key.pem',ca_file='cert.pem'}}\n"
    );
    let checked = check_text(&dir, &text);
    assert_eq!(told(&dir, &checked), Vec::<String>::new());
    let Receiver::Http(http) = &checked.site.as_ref().unwrap().endpoints[0].receiver else {
        panic!("it is HTTP")
    };
    let identity = http.credentials.identity.as_ref().unwrap().expose_secret();
    assert!(String::from_utf8_lossy(identity).contains("EC PRIVATE KEY"));
    assert!(matches!(&http.credentials.login, Some(Login::Basic { username, .. }) if username == "u"));

    let reread = http.reread.clone().unwrap();
    assert_eq!(reread.read().unwrap().version(), http.credentials.version(), "nothing changed");
    keep(&dir, "pw", "other");
    assert_ne!(reread.read().unwrap().version(), http.credentials.version());
    fs::remove_file(dir.path().join("pw")).unwrap();
    assert!(reread.read().unwrap_err().en.contains("pw cannot be read"));
}

#[test]
fn a_template_is_tried_on_every_alarm_before_anything_is_sent_by_it() {
    let dir = TempDir::new().unwrap();
    let text = |more: &str, devices: &str| {
        format!(
            "{SITE}[[bus]]\nid='b'\nmodbus_tcp={{host='127.0.0.1'}}\n[[device]]\nid='lift-1'\nprofile='elevator/monarch-nice3000'\n\
             bus='b'\nunit=1\n{devices}\n[[endpoint]]\nid='e'\npurpose='city-platform'\n\
             wants={{classes=['elevator'],priorities=['high'],data=['operational']}}\n\
             http={{url='https://e.example/',template='body.j2'{more}}}\n"
        )
    };
    let facts = [
        (r#"{"n": {{ data.device.name }}, "t": {{ type }}}"#, "", "", "no `delivery test`"),
        (r#"{"n": {{ data.site.name }}}"#, "", "", ""),
        (r#"{"n": {{ data.device.tags.code }}}"#, "", "tags={code='3110'}", "no `delivery test`"),
        (
            r#"{"n": {{ data.device.tags.code }}}"#,
            "",
            "",
            "error: the template body.j2 cannot be used: it cannot tell of ",
        ),
        (r#"{"n": {{ data.readings.last_card.value }}}"#, "", "", "of lift-1: line 1 uses what is not there"),
        (r#"{"n": "{{ data.site.name }}"}"#, "", "", "is not JSON"),
        ("{{ data.site.name }}", ",content_type='text/plain'", "", ""),
        ("{{ data.site.name }}", ",content_type='text'", "", "\"text\" is no media type"),
        (
            r#"{"t": {{ {"gatehouse.alarm.raised": 1, "gatehouse.alarm.acknowledged": 2, "gatehouse.alarm.returned": 3,
                 "gatehouse.alarm.closed": 4, "gatehouse.drill": 5}[type] }}}"#,
            "",
            "",
            "warning: the template cannot tell of shelving, service, escalation or rescue",
        ),
        ("{% if %}", "", "", "error: the template body.j2 cannot be used: line 1: "),
    ];
    for (template, more, devices, expected) in facts {
        keep(&dir, "body.j2", template);
        let told = told(&dir, &check_text(&dir, &text(more, devices))).join("\n");
        assert!(told.contains(expected) && (told.is_empty() == expected.is_empty()), "{template}: {told}");
    }
    let bare = text("", "").replace("template='body.j2'", "content_type='text/plain'");
    assert!(
        told(&dir, &check_text(&dir, &bare)).join("\n").contains("content_type needs template beside it")
    );
}

#[test]
fn no_file_makes_it_panic_or_wait() {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name);
    let deep = 100_000;
    keep(&dir, "empty", "");
    keep(&dir, "not-utf8", b"[site]\nid = '\xff'\n");
    keep(&dir, "nul", "\0\0\0\0");
    keep(&dir, "brackets", "a = ".to_owned() + &"[".repeat(deep));
    keep(&dir, "braces", "a = ".to_owned() + &"{a=".repeat(deep));
    keep(&dir, "dots", "a.".repeat(deep) + "a = 1");
    keep(&dir, "header", format!("[{}a]", "a.".repeat(deep)));
    keep(&dir, "nested-dots", "a=".to_owned() + &format!("{{{}=", ["a"; 79].join(".")).repeat(79));
    keep(&dir, "five-mb", "#".repeat(5 << 20));
    keep(&dir, "half-a-million-errors", "=\n".repeat(1 << 19));
    keep(&dir, "unknown-keys", (0..100_000).map(|n| format!("key{n} = 1\n")).collect::<String>());
    keep(&dir, "one-long-line", format!("{SITE}x = [{}]", "0,".repeat(1 << 18)));
    keep(&dir, "many-buses", format!("{SITE}{}", "[[bus]]\nid='a'\n".repeat(20_000)));
    keep(&dir, "many-devices", {
        let device =
            "[[device]]\nrepeat='1..10000'\nid='a-{n}'\nprofile='elevator/monarch-nice3000'\nbus='a'\n";
        format!("{SITE}{}", device.repeat(10_000))
    });
    symlink(path("loop"), path("loop")).unwrap();
    fifo(&path("pipe"));
    symlink(path("pipe"), path("pipe-link")).unwrap();
    symlink(path("empty"), path("empty-link")).unwrap();
    fs::create_dir(path("directory")).unwrap();
    for (file, expected) in [
        ("missing", "1:1: error: there is no such file"),
        ("directory", "1:1: error: this is a directory, not a file"),
        ("loop", "1:1: error: the symbolic links go in a circle"),
        ("pipe", "1:1: error: this is no regular file"),
        ("pipe-link", "1:1: error: this is no regular file"),
        ("/dev/null", "1:1: error: this is no regular file"),
        ("empty-link", "1:1: error: \"site\" is missing"),
        ("empty", "1:1: error: \"site\" is missing"),
        ("not-utf8", "1:1: error: the file is not UTF-8 (from byte 13 on)"),
        ("nul", "error: TOML syntax"),
        ("brackets", "error: TOML syntax"),
        ("braces", "error: TOML syntax"),
        ("dots", "error: TOML syntax"),
        ("header", "error: TOML syntax"),
        ("nested-dots", "error: "),
        ("five-mb", "1:1: error: the file is over 4 MiB"),
        ("half-a-million-errors", "1:1: error: TOML syntax"),
        ("unknown-keys", "unknown key \"key0\""),
        ("one-long-line", "3:1: error: unknown key \"x\""),
        ("many-buses", "there are more, not listed"),
        ("many-devices", "more than 20000 devices"),
    ] {
        let began = Instant::now();
        let checked = check_quickly(&path(file));
        let told = checked.problems.lines(Lang::En) + &checked.problems.drawn(Lang::Zh, true);
        assert!(told.contains(expected), "{file}: {}", &told[..told.len().min(600)]);
        assert!(checked.site.is_none(), "{file}");
        let took = began.elapsed();
        assert!(took < Duration::from_secs(20), "{file} took {took:?}");
    }
}

/// Lifts on one line, each asked 3 requests a second or so: what `check` says of the line, and whether it can be run.
fn lifts_on_one_line(lifts: u8, baud: u32, more: &str) -> (Vec<String>, bool) {
    let dir = TempDir::new().unwrap();
    let text = format!(
        "{SITE}[[bus]]\nid = 'lifts'\nmodbus_rtu = {{ port = '/dev/null', baud = {baud} }}\n[[device]]\nrepeat = '1..{lifts}'\nid = 'lift-{{n}}'\n\
         profile = 'elevator/monarch-nice3000'\nbus = 'lifts'\nunit = '{{n}}'\n{more}"
    );
    let checked = check_text(&dir, &text);
    (told(&dir, &checked), checked.site.is_some())
}

#[test]
fn a_line_that_is_asked_for_too_much_is_told_and_the_gateway_runs() {
    let (told, runs) = lifts_on_one_line(2, 9600, "");
    assert_eq!((told, runs), (vec![], true));
    let (told, runs) = lifts_on_one_line(12, 9600, "");
    assert!(runs && told.len() == 1, "{told:?}");
    for part in [
        "gatehouse.toml:4:6: warning: bus \"lifts\" is asked for ",
        "every 1s becomes about every 1.",
        " s. ",
    ] {
        assert!(told[0].contains(part), "{part}: {told:?}");
    }
}

#[test]
fn an_alarm_that_its_line_is_too_slow_for_is_an_error_but_the_gateway_runs() {
    let (told, runs) = lifts_on_one_line(40, 9600, "");
    assert!(runs && told.len() == 2, "{told:?}");
    let error = &told[0];
    assert!(
        error.starts_with("gatehouse.toml:4:6: error: bus \"lifts\" is too slow for these alarms to work: "),
        "{error}"
    );
    assert!(error.contains("on_delay") && error.contains("devices: 40"), "{error}");
}

#[test]
fn limits_that_the_partition_does_not_hold_are_told_where_they_are_written_and_what_would_fit() {
    let dir = TempDir::new().unwrap();
    let text = format!("{SITE}[store]\ndir = 'store'\nevents_max = '16MiB'\ntelemetry_max = '1048576GiB'\n");
    let checked = check_text(&dir, &text);
    let warned = told(&dir, &checked);
    let warned = warned.iter().find(|line| line.contains("do not fit the partition")).expect("it is told");
    assert!(warned.starts_with("gatehouse.toml:6:17: warning: "), "{warned}");
    for part in [
        "events_max 16MiB + telemetry_max 1048576GiB",
        "reserve 64 MiB",
        "such as events_max = \"16MiB\", telemetry_max = \"",
    ] {
        assert!(warned.contains(part), "{part}: {warned}");
    }
    assert!(checked.problems.lines(Lang::Zh).contains("存储上限放不进"));
    assert!(!checked.problems.has_errors(), "the site may be meant for another box");
    let only_looks = check_over_shipped(&dir.path().join("gatehouse.toml"), Secrets::Named);
    assert!(!only_looks.problems.lines(Lang::En).contains("partition"));
}
