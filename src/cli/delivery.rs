//! `gatehouse delivery`: how letters stand, from the store, beside a running daemon; drills; what people do about those that do
//! not go.

mod act;
mod drill;
mod show;

use std::io::{self, Write};

use clap::{Args, Subcommand};
use comfy_table::{Table, presets::NOTHING};
use jiff::{Timestamp, fmt::temporal::DateTimePrinter, tz::TimeZone};
use serde::Serialize;

use super::{
    exit,
    site::{SiteArgs, if_stored},
};
use crate::{
    domain::{EndpointId, Lang},
    say,
    store::{Delivery, Reader},
};

#[derive(Debug, Args)]
pub struct DeliveryArgs {
    #[command(subcommand)]
    verb: DeliveryVerb,
}

#[derive(Debug, Subcommand)]
enum DeliveryVerb {
    /// How each endpoint's letters stand / 各上报目标的待发与送达情况
    List(ListArgs),
    /// Letters one by one: sent, receipt or why not, how often, when next / 逐条查看
    Show(show::ShowArgs),
    /// Send a drill and show the receipt, or why there is none / 发一条演练消息
    Test(drill::TestArgs),
    /// Offer letters again that were set aside / 重发被搁置的消息
    Retry(act::RetryArgs),
    /// Give up what was not delivered to an endpoint that the site names no more / 放弃已删除目标的消息
    Discard(act::DiscardArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    site: SiteArgs,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

impl DeliveryArgs {
    /// # Errors
    /// If the store cannot be read or the answer cannot be printed.
    pub fn run(self, lang: Lang) -> anyhow::Result<u8> {
        match self.verb {
            DeliveryVerb::List(args) => args.run(lang),
            DeliveryVerb::Show(args) => args.run(lang),
            DeliveryVerb::Test(args) => args.run(lang),
            DeliveryVerb::Retry(args) => args.run(lang),
            DeliveryVerb::Discard(args) => args.run(lang),
        }
    }
}

impl ListArgs {
    fn run(self, lang: Lang) -> anyhow::Result<u8> {
        let args = self;
        let site = match args.site.look(lang) {
            Ok(site) => site,
            Err(code) => return Ok(code),
        };
        let deliveries = match if_stored(Reader::open(&site.store.dir), lang)? {
            Some(reader) => reader.deliveries()?,
            None => Vec::new(),
        };
        let configured: Vec<EndpointId> = site.endpoints.iter().map(|endpoint| endpoint.id.clone()).collect();
        list(deliveries, &configured, args.json, lang, &site.timezone, &mut io::stdout().lock())?;
        Ok(exit::OK)
    }
}

/// One line of `--json`.
#[derive(Serialize)]
struct Line<'a> {
    endpoint: &'a str,
    queued: u64,
    oldest: Option<String>,
    delivered: u64,
    last_delivered: Option<String>,
    set_aside: u64,
    last_error: Option<&'a str>,
    next_at: Option<String>,
    critical: u64,
    trouble: Option<&'a str>,
}

/// An endpoint that is configured, or was and still has letters.
fn with_configured(mut deliveries: Vec<Delivery>, configured: &[EndpointId]) -> Vec<Delivery> {
    for id in configured {
        if !deliveries.iter().any(|delivery| delivery.endpoint == id.as_str()) {
            deliveries.push(Delivery {
                endpoint: id.to_string(),
                queued: 0,
                oldest: None,
                delivered: 0,
                last_delivered: None,
                set_aside: 0,
                critical: 0,
                hindrance: None,
                last_error: None,
                next_at: None,
            });
        }
    }
    deliveries.sort_by(|one, other| one.endpoint.cmp(&other.endpoint));
    deliveries
}

/// Writes `deliveries` (as `store::Reader` gives them) and the `configured` endpoints without a letter as yet.
/// Times are in the site's `timezone`.
///
/// # Errors
/// If `out` does not take it.
pub fn list(
    deliveries: Vec<Delivery>,
    configured: &[EndpointId],
    json: bool,
    lang: Lang,
    timezone: &TimeZone,
    out: &mut impl Write,
) -> io::Result<()> {
    let deliveries = with_configured(deliveries, configured);
    if json {
        return deliveries.iter().try_for_each(|delivery| write_line(delivery, timezone, out));
    }
    writeln!(out, "{}", table(&deliveries, lang, timezone))
}

fn write_line(delivery: &Delivery, timezone: &TimeZone, out: &mut impl Write) -> io::Result<()> {
    let moment = |at: Option<Timestamp>| at.map(|at| rfc_3339(at, timezone));
    let line = Line {
        endpoint: &delivery.endpoint,
        queued: delivery.queued,
        oldest: moment(delivery.oldest),
        delivered: delivery.delivered,
        last_delivered: moment(delivery.last_delivered),
        set_aside: delivery.set_aside,
        last_error: delivery.last_error.as_ref().map(|said| said.en.as_str()),
        next_at: moment(delivery.next_at),
        critical: delivery.critical,
        trouble: delivery.hindrance.as_deref(),
    };
    serde_json::to_writer(&mut *out, &line)?;
    writeln!(out)
}

fn table(deliveries: &[Delivery], lang: Lang, timezone: &TimeZone) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header([
        say!(lang, "上报目标", "ENDPOINT"),
        say!(lang, "待发", "QUEUED"),
        say!(lang, "最早一封", "OLDEST"),
        say!(lang, "已送达", "DELIVERED"),
        say!(lang, "最近送达", "LAST DELIVERED"),
        say!(lang, "搁置", "SET ASIDE"),
        say!(lang, "下次尝试", "NEXT TRY"),
        say!(lang, "未送达原因", "LAST ERROR"),
    ]);
    let moment = |at: Option<Timestamp>| at.map_or_else(|| "-".to_owned(), |at| plain(at, timezone));
    table.add_rows(deliveries.iter().map(|delivery| {
        [
            delivery.endpoint.clone(),
            delivery.queued.to_string(),
            moment(delivery.oldest),
            delivery.delivered.to_string(),
            moment(delivery.last_delivered),
            delivery.set_aside.to_string(),
            moment(delivery.next_at),
            delivery.last_error.as_ref().map_or_else(|| "-".to_owned(), |said| printable(said.get(lang))),
        ]
    }));
    table.trim_fmt()
}

/// A receiver's words must not move the cursor.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn rfc_3339(at: Timestamp, timezone: &TimeZone) -> String {
    const MILLISECONDS: DateTimePrinter = DateTimePrinter::new().precision(Some(3));
    MILLISECONDS.timestamp_with_offset_to_string(&at, timezone.to_offset(at))
}

fn plain(at: Timestamp, timezone: &TimeZone) -> String {
    at.to_zoned(timezone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Text;

    fn printed(json: bool, lang: Lang) -> String {
        let failing = Delivery {
            endpoint: "safety-inspection".into(),
            queued: 2,
            oldest: Some("2026-11-23T06:03:11.4Z".parse().unwrap()),
            delivered: 40,
            last_delivered: Some("2026-11-23T05:00:00Z".parse().unwrap()),
            set_aside: 0,
            critical: 1,
            hindrance: Some("busy".into()),
            last_error: Some(Text::new("应答 503：\u{1b}[2Jbusy", "answered 503: \u{1b}[2Jbusy")),
            next_at: Some("2026-11-23T06:04:00Z".parse().unwrap()),
        };
        let timezone = TimeZone::fixed(jiff::tz::offset(8));
        let mut out = Vec::new();
        list(vec![failing], &["property".into()], json, lang, &timezone, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn json_is_one_object_a_line() {
        let expected = [
            r#"{"endpoint":"property","queued":0,"oldest":null,"delivered":0,"last_delivered":null,"#,
            r#""set_aside":0,"last_error":null,"next_at":null,"critical":0,"trouble":null}"#,
            "\n",
            r#"{"endpoint":"safety-inspection","queued":2,"oldest":"2026-11-23T14:03:11.400+08:00","#,
            r#""delivered":40,"last_delivered":"2026-11-23T13:00:00.000+08:00","set_aside":0,"#,
            r#""last_error":"answered 503: \u001b[2Jbusy","next_at":"2026-11-23T14:04:00.000+08:00","critical":1,"trouble":"busy"}"#,
            "\n",
        ];
        assert_eq!(printed(true, Lang::En), expected.concat());
    }

    #[test]
    fn the_table_speaks_both_languages_and_moves_no_cursor() {
        for (lang, header) in [(Lang::Zh, "上报目标"), (Lang::En, "ENDPOINT")] {
            let text = printed(false, lang);
            let lines = text.lines().collect::<Vec<_>>();
            assert!(lines[0].contains(header), "{text}");
            assert!(lines[1].contains("property") && lines[2].contains("2026-11-23 14:04:00"), "{text}");
            assert!(!text.contains('\u{1b}'), "{text}");
        }
    }
}
