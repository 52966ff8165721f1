//! `gatehouse credits DEVICE`: what was credited on a day, and whether the books balance with the device's own counter.

use std::{
    io::{self, Write},
    sync::Arc,
};

use comfy_table::{Table, presets::NOTHING};
use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};
use serde_json::{Value as Json, json};

use super::{
    alarms::{carry_out, local},
    exit, mask,
    run::runtime,
    site::{SiteArgs, if_stored},
};
use crate::{
    config::Site,
    document::nearest,
    domain::{
        Lang, Value,
        command::{Command, Outcome},
        credit::{Account, Kilograms, Points},
    },
    say,
    store::{CreditRow, Reader, privacy::Privacy},
};

#[derive(Debug, clap::Args)]
pub struct CreditsArgs {
    /// 设备编号 / the device's id
    device: String,
    /// 哪一天（小区时间） / which day, by the site's clock: 2026-11-23 [default: today]
    #[arg(long, value_name = "D")]
    day: Option<Date>,
    /// 每行一个 JSON 对象：先是积分，最后是账 / one JSON object a line: the credits, then the books
    #[arg(long)]
    json: bool,
    /// 显示单号和卡号，否则显示为 ***；需要能读密钥文件 / show transactions and cards, *** without it; takes the right to read the key
    #[arg(long)]
    private: bool,
    /// 差额已查明：从现在起重新对账，记入审计 / the difference was looked into: the books balance from now on, and the audit says so
    #[arg(long, requires = "by", requires = "note", conflicts_with_all = ["json", "day", "private"])]
    settle: bool,
    /// 操作人姓名 / who does it
    #[arg(long = "as", value_name = "NAME", requires = "settle")]
    by: Option<String>,
    /// 查明的原因 / what was found
    #[arg(short = 'm', long = "note", requires = "settle")]
    note: Option<String>,
    #[command(flatten)]
    site: SiteArgs,
}

/// What was found, and who looks at it.
struct Found {
    day: Date,
    rows: Vec<CreditRow>,
    account: Account,
    /// Some: somebody who may see what is of persons, with the keys where there are any.
    eyes: Option<Option<Arc<Privacy>>>,
}

impl CreditsArgs {
    /// # Errors
    /// If the store cannot be read or the answer cannot be printed.
    pub fn run(self, lang: Lang) -> anyhow::Result<u8> {
        let site = match self.site.look(lang) {
            Ok(site) => site,
            Err(code) => return Ok(code),
        };
        if let Some(why) = unfit(&site, &self.device, lang) {
            eprintln!("{why}");
            return Ok(exit::NOTHING_FOUND);
        }
        if self.settle {
            return self.settle(site, lang);
        }
        let eyes = match self.private.then(|| mask::keys(&site)).transpose() {
            Ok(eyes) => eyes,
            Err(why) => {
                eprintln!("{}", why.get(lang));
                return Ok(exit::NOT_PERMITTED);
            }
        };
        let day = self.day.unwrap_or_else(|| Timestamp::now().to_zoned(site.timezone.clone()).date());
        let (rows, account) = match if_stored(Reader::open(&site.store.dir), lang)? {
            Some(reader) => {
                let [from, before] = [day, day.checked_add(1.day())?].map(|day| begins(day, &site.timezone));
                (reader.credits(&self.device, from?, before?)?, reader.account(&self.device)?)
            }
            None => (Vec::new(), None),
        };
        let found = Found { day, rows, account: account.unwrap_or_default(), eyes };
        let mut out = io::stdout().lock();
        match self.json {
            true => self.lines(&found, &site.timezone, &mut out)?,
            false => print(&found, &site.timezone, lang, &mut out)?,
        }
        Ok(exit::OK)
    }

    fn settle(self, site: Site, lang: Lang) -> anyhow::Result<u8> {
        let command = Command::Settle {
            device: self.device.as_str().into(),
            by: self.by.unwrap_or_default().trim().to_owned(),
            note: self.note.unwrap_or_default(),
            from: "cli".to_owned(),
        };
        if let Some(fault) = command.fault() {
            eprintln!("{}", fault.get(lang));
            return Ok(exit::USAGE);
        }
        let outcome = runtime()?.block_on(carry_out(&self.site, site, command))?;
        let (told, code) = settled(&outcome, lang);
        if code == exit::OK {
            println!("{told}");
        } else {
            eprintln!("{told}");
        }
        Ok(code)
    }

    fn lines(&self, found: &Found, zone: &TimeZone, out: &mut impl Write) -> io::Result<()> {
        for row in &found.rows {
            writeln!(out, "{}", found.record(row, zone))?;
        }
        let Account { total_g, counted_g, credited_g, refused, why_refused, overflows, began_anew, .. } =
            found.account;
        let (weight_g, points) = found.sums();
        let books = json!({
            "kind": "balance", "device": self.device, "day": found.day.to_string(),
            "credits": found.rows.len(), "weight_g": weight_g, "points": number(points),
            "all": { "credits": found.account.credits, "weight_g": found.account.weight_g, "points": number(found.account.points) },
            "counter_g": total_g, "counted_g": counted_g, "credited_g": credited_g,
            "difference_g": found.account.difference_g(), "refused": refused,
            "last_refused": why_refused.map(|why| why.word()),
            "written_off_g": found.account.written_off_g, "counter_overflows": overflows, "counter_began_anew": began_anew,
        });
        writeln!(out, "{books}")
    }
}

fn settled(outcome: &Outcome, lang: Lang) -> (String, u8) {
    match outcome {
        Outcome::Settled { device, difference_g: 0 } => (
            say!(lang, "{device} 账实相符，没有差额。", "the books of {device} balance: nothing to settle."),
            exit::NOTHING_FOUND,
        ),
        Outcome::Settled { device, difference_g } => {
            let difference = Kilograms(*difference_g);
            let told = say!(
                lang,
                "✓ {device} 的差额 {difference} kg 已销账，已记入审计；设备下次上报时报警恢复。",
                "✓ the difference of {difference} kg of {device} is written off, the audit says by whom; its alarm ends when it speaks next."
            );
            (told, exit::OK)
        }
        Outcome::NoSuchDevice { device } => {
            (say!(lang, "{device} 还没有账。", "{device} has no books yet."), exit::NOTHING_FOUND)
        }
        Outcome::NotStored { why } => (
            say!(
                lang,
                "✕ 没有做成：未能保存（{why}）。请重试。",
                "✕ not done: it could not be stored ({why}). Try again."
            ),
            exit::UNEXPECTED,
        ),
        Outcome::Acknowledged { .. }
        | Outcome::Ordered { .. }
        | Outcome::TurnedDown { .. }
        | Outcome::AlreadyAcknowledged { .. }
        | Outcome::NoSuchAlarm { .. }
        | Outcome::Noted { .. }
        | Outcome::NoSuchCommand { .. }
        | Outcome::Retried { .. }
        | Outcome::Discarded { .. }
        | Outcome::Operated { .. } => (
            say!(lang, "✕ 答非所问，请重试。", "✕ this answers another question; try again."),
            exit::UNEXPECTED,
        ),
    }
}

/// Why nothing can be shown of `device`.
fn unfit(site: &Site, device: &str, lang: Lang) -> Option<String> {
    let earns = |known: &&crate::profile::Device| known.profile.credit.is_some();
    match site.devices.iter().find(|known| known.id.as_str() == device) {
        Some(known) if earns(&known) => None,
        Some(known) => {
            let profile = &known.profile.id;
            Some(say!(
                lang,
                "设备 {device}（{profile}）不记积分：型号没有投递单号、净重和称重状态",
                "{device} ({profile}) gives no credits: its profile has no transaction, weight and scale"
            ))
        }
        None => {
            let ids: Vec<&str> = site.devices.iter().filter(earns).map(|known| known.id.as_str()).collect();
            let hint = nearest(device, ids.iter().copied()).unwrap_or_default();
            Some(match hint.is_empty() {
                true => say!(lang, "没有设备 {device}", "there is no device {device}"),
                false => say!(
                    lang,
                    "没有设备 {device}，是不是 {hint}？",
                    "there is no device {device}; did you mean {hint}?"
                ),
            })
        }
    }
}

fn begins(day: Date, zone: &TimeZone) -> Result<Timestamp, jiff::Error> {
    Ok(day.to_zoned(zone.clone())?.timestamp())
}

fn number(points: i64) -> Json {
    if points % 100 == 0 { json!(points / 100) } else { json!(points as f64 / 100.0) }
}

impl Found {
    fn sums(&self) -> (i64, i64) {
        let sum = |of: fn(&CreditRow) -> i64| self.rows.iter().map(of).fold(0, i64::saturating_add);
        (sum(|row| row.credit.weight_g), sum(|row| row.credit.points.unwrap_or(0)))
    }

    /// What is of a person, as it may be seen.
    fn shown(&self, text: &str) -> String {
        const MASKED: &str = "***";
        let Some(keys) = &self.eyes else { return MASKED.to_owned() };
        let value = Value::from(text);
        if !crate::store::privacy::is_sealed(&value) {
            return text.to_owned();
        }
        match keys.as_ref().and_then(|keys| keys.open(&value)) {
            Some(Value::Text(opened)) => opened.to_string(),
            Some(Value::Flag(_) | Value::Number(_)) | None => MASKED.to_owned(),
        }
    }

    fn record(&self, row: &CreditRow, zone: &TimeZone) -> Json {
        let credit = &row.credit;
        json!({
            "kind": "credit", "device": row.device, "at": crate::console::shapes::Moment::of(credit.at, zone),
            "event": row.id.to_string(), "seq": row.seq,
            "transaction": self.shown(&credit.transaction), "category": credit.category,
            "weight_g": credit.weight_g, "points": credit.points.map(number),
            "card": credit.card.as_ref().map(|card| self.shown(card)), "card_pseudonym": credit.card_pseudonym,
            "counter_g": credit.total_g,
        })
    }
}

fn print(found: &Found, zone: &TimeZone, lang: Lang, out: &mut impl Write) -> io::Result<()> {
    let none = || "–".to_owned();
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(match lang {
        Lang::Zh => ["时间", "投递单号", "品类", "净重 kg", "积分", "卡号", "设备计数 kg"],
        Lang::En => ["time", "transaction", "category", "net kg", "points", "card", "counter kg"],
    });
    for row in &found.rows {
        let credit = &row.credit;
        table.add_row([
            local(credit.at, zone),
            found.shown(&credit.transaction),
            credit.category.clone().unwrap_or_else(none),
            Kilograms(credit.weight_g).to_string(),
            credit.points.map_or_else(none, |points| Points(points).to_string()),
            credit.card.as_ref().map_or_else(none, |card| found.shown(card)),
            credit.total_g.map_or_else(none, |total| Kilograms(total).to_string()),
        ]);
    }
    if !found.rows.is_empty() {
        writeln!(out, "{}", table.trim_fmt())?;
    }
    let (weight, points) = found.sums();
    let (day, count, weight, points) = (found.day, found.rows.len(), Kilograms(weight), Points(points));
    let told = say!(
        lang,
        "{day}：{count} 次投递，{weight} kg，{points} 分",
        "{day}: {count} deliveries, {weight} kg, {points} points"
    );
    writeln!(out, "{told}")?;
    books(&found.account, lang).iter().try_for_each(|line| writeln!(out, "{line}"))
}

/// How the books of a device stand, in words.
pub(super) fn books(account: &Account, lang: Lang) -> Vec<String> {
    let mut lines = Vec::new();
    let [counted, credited] = [account.counted_g, account.credited_g].map(Kilograms);
    match account.difference_g() {
        None => lines.push(say!(
            lang,
            "○ 设备没有报来累计重量，无法对账",
            "○ the device tells no counter of its own: nothing to balance against"
        )),
        Some(0) => lines.push(say!(
            lang,
            "● 账实相符：设备计数增加 {counted} kg，已记积分 {credited} kg",
            "● the books balance: the counter went {counted} kg, {credited} kg were credited"
        )),
        Some(difference) => {
            let difference = Kilograms(difference);
            lines.push(say!(
                lang,
                "⚠ 账实不符，差 {difference} kg：设备计数增加 {counted} kg，已记积分 {credited} kg",
                "⚠ the books differ by {difference} kg: the counter went {counted} kg, {credited} kg were credited"
            ));
        }
    }
    if let Some(why) = account.why_refused.filter(|_| account.refused > 0) {
        let (refused, why) = (account.refused, why.title());
        let why = why.get(lang);
        lines.push(say!(
            lang,
            "⚠ 未记积分的投递 {refused} 次，最近一次：{why}",
            "⚠ {refused} deliveries earned nothing, the last because {why}"
        ));
    }
    if account.began_anew + account.overflows > 0 {
        let (anew, over) = (account.began_anew, account.overflows);
        lines.push(say!(
            lang,
            "○ 设备计数归零 {anew} 次，溢出 {over} 次（不算差额）",
            "○ the counter began anew {anew} times and overflowed {over} times (no difference)"
        ));
    }
    lines
}
