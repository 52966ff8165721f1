//! `alarms show`: one alarm from its first step to its last, and how it stands.

use std::io::{self, Write};

use clap::Args;
use jiff::tz::TimeZone;

use super::{
    local, priority_word,
    words::{kind_word, overlay_words, rescue_word, shown_state},
};
use crate::{
    cli::{
        exit,
        site::{SiteArgs, if_stored},
    },
    console::shapes::{History, said, who},
    domain::{Event, Lang, Overlay, Period, RescueStep, TransitionKind},
    say,
    store::{Noted, Reader},
};

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The alarm's number, or device/alarm / 编号，或 设备/报警
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    site: SiteArgs,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn show(args: &ShowArgs, lang: Lang) -> anyhow::Result<u8> {
    let site = match args.site.look(lang) {
        Ok(site) => site,
        Err(code) => return Ok(code),
    };
    let Some(reader) = if_stored(Reader::open(&site.store.dir), lang)? else {
        return Ok(exit::NOTHING_FOUND);
    };
    let events = reader.history(&args.id)?;
    let Some(last) = events.last() else {
        let id = &args.id;
        eprintln!(
            "{}",
            say!(
                lang,
                "没有 {id} 的记录。请用 gatehouse alarms list --all 查看。",
                "nothing is on record of {id}; see gatehouse alarms list --all."
            )
        );
        return Ok(exit::NOTHING_FOUND);
    };
    // An alarm that closed has only what lies over the next one.
    let closed = last.kind == TransitionKind::Closed;
    let now = reader.overlay(&last.key())?.filter(|_| !closed);
    let overlay = now.unwrap_or_else(|| last.alarm.overlay.clone());
    let notes = reader.notes(&last.alarm.occurrence)?;
    let mut out = io::stdout().lock();
    match args.json {
        true => {
            let history = History::of(&events, &notes, &overlay, &site.timezone);
            writeln!(out, "{}", serde_json::to_string(&history)?)?;
        }
        false => {
            write(&mut out, &events, &overlay, &site.timezone, lang)?;
            for noted in &notes {
                writeln!(out, "  {}", note_line(noted, &site.timezone, lang))?;
            }
        }
    }
    Ok(exit::OK)
}

fn write(
    out: &mut impl Write,
    events: &[Event],
    overlay: &Overlay,
    zone: &TimeZone,
    lang: Lang,
) -> io::Result<()> {
    let Some(Event { device, alarm, .. }) = events.last() else { return Ok(()) };
    let (title, occurrence) = (alarm.title.get(lang), &alarm.occurrence);
    let (priority, state) = (priority_word(alarm.priority, lang), shown_state(alarm.state, overlay, lang));
    writeln!(out, "{priority} · {title} · {} {} · {state} · {occurrence}", device.id, device.name)?;
    for word in overlay_words(overlay, zone, lang) {
        writeln!(out, "  {word}")?;
    }
    for hold in [&overlay.shelf, &overlay.out_of_service].into_iter().flatten() {
        let reason = hold.order.note.as_deref().unwrap_or("–");
        writeln!(out, "  {}", say!(lang, "原因：{reason}", "reason: {reason}"))?;
    }
    if let Some(rescue) = &overlay.rescue {
        let limit = Period(rescue.limit);
        let step = |step| {
            rescue
                .step(step)
                .map_or_else(|| "–".to_owned(), |word| format!("{} {}", local(word.at, zone), word.by))
        };
        let [dispatched, arrived, released] = RescueStep::ALL.map(step);
        let told = say!(
            lang,
            "救援（限 {limit}）：派遣 {dispatched} · 到场 {arrived} · 解救 {released}",
            "rescue (limit {limit}): dispatched {dispatched} · arrived {arrived} · released {released}"
        );
        writeln!(out, "  {told}")?;
    }
    events.iter().try_for_each(|event| writeln!(out, "  {}", line(event, zone, lang)))
}

/// When, what, by whom, with what words.
fn line(event: &Event, zone: &TimeZone, lang: Lang) -> String {
    let mut line = format!("{}  {}", local(event.at, zone), kind_word(event.kind, lang));
    if let Some(said) = said(event) {
        line += &format!("（{}）", rescue_word(said, lang));
    }
    if let Some(by) = who(event) {
        line += &format!("  {}", by.by);
        line += &by.note.as_ref().map_or_else(String::new, |note| format!(": {note}"));
    }
    if event.kind == TransitionKind::Escalated
        && let Some(contact) = event.alarm.overlay.escalation.as_ref().and_then(|one| one.contact.as_ref())
    {
        line += &format!(" → {contact}");
    }
    if event.alarm.withheld {
        line += &say!(lang, "  （未通知）", "  (not announced)");
    }
    line
}

/// What people left word of, besides what changed the alarm.
fn note_line(noted: &Noted, zone: &TimeZone, lang: Lang) -> String {
    let (at, who, note) = (local(noted.at, zone), &noted.who, &noted.note);
    say!(lang, "{at}  备注  {who}: {note}", "{at}  note  {who}: {note}")
}
