//! The page to print: what happened, who was told, what it is worth, in Chinese and English side by side.

use jiff::Timestamp;

use super::ReceiptLine;
use crate::{
    cli::alarms::{kind_word, local, priority_word, state_word},
    config::Site,
    domain::{Acknowledgement, Event, Lang, Quality, Suite, Text, TimeQuality, TransitionKind, Value},
    store::{
        chain::{Broken, Capture, PublicKey, Verified},
        evidence::{Sealed, hex},
    },
};

/// What is put on it.
pub struct Said<'a> {
    pub site: &'a Site,
    pub events: &'a [Sealed],
    pub receipts: &'a [ReceiptLine],
    pub captures: &'a [Capture],
    pub key: Option<&'a PublicKey>,
    pub verdict: &'a Result<Verified, Broken>,
    pub lacks: &'a [Text],
    pub made_at: Timestamp,
}

const STYLE: &str = "body{font:15px/1.5 'Noto Sans SC','Microsoft YaHei',sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#111}\
table{border-collapse:collapse;width:100%;margin:.5em 0 1.5em}td,th{border:1px solid #999;padding:.25em .5em;text-align:left;vertical-align:top;overflow-wrap:anywhere}\
th{background:#eee}h1{font-size:1.5em}h2{font-size:1.1em;margin-top:1.5em}code{font-size:.85em;overflow-wrap:anywhere}.good{color:#060}.bad{color:#a00;font-weight:bold}\
@media print{body{margin:0}h2{break-after:avoid}tr{break-inside:avoid}}";

pub fn page(said: &Said) -> String {
    let mut out = String::new();
    let Some(last) = said.events.last().map(|sealed| &sealed.event) else { return out };
    let (zh, en) = (escape(&last.alarm.title.zh), escape(&last.alarm.title.en));
    out += &format!(
        "<!doctype html>\n<html lang=\"zh-CN\"><head><meta charset=\"utf-8\"><title>{zh} · {en} · {}</title><style>{STYLE}</style></head><body>\n<h1>报警证据 · Alarm evidence：{zh} · {en}</h1>\n",
        escape(&last.alarm.occurrence)
    );
    facts(&mut out, said, last);
    steps(&mut out, said);
    readings(&mut out, said);
    receipts(&mut out, said);
    captures(&mut out, said);
    worth(&mut out, said);
    out += "</body></html>\n";
    out
}

/// Of a table: what it is called in both languages, its columns, its rows (their cells escaped).
fn table(out: &mut String, title: &str, columns: &[&str], rows: &[Vec<String>]) {
    *out += &format!("<h2>{title}</h2>\n<table><tr>");
    columns.iter().for_each(|column| *out += &format!("<th>{column}</th>"));
    *out += "</tr>\n";
    for row in rows {
        *out += "<tr>";
        row.iter().for_each(|cell| *out += &format!("<td>{cell}</td>"));
        *out += "</tr>\n";
    }
    *out += "</table>\n";
}

fn facts(out: &mut String, said: &Said, last: &Event) {
    let words = |zh: String, en: String| if zh == en { zh } else { format!("{zh} · {en}") };
    let demo = if last.demo {
        "演示数据，非真实报警 · <b>demonstration, no real alarm</b>"
    } else {
        "真实 · real"
    };
    let rows = [
        ("站点 · site", format!("{}（{}）", escape(&last.site.name), escape(&last.site.id))),
        (
            "设备 · device",
            format!(
                "{}（{}）· {}",
                escape(&last.device.name),
                escape(&last.device.id),
                escape(&last.device.profile)
            ),
        ),
        (
            "标签 · tags",
            last.device
                .tags
                .iter()
                .map(|(k, v)| format!("{}={}", escape(k), escape(v)))
                .collect::<Vec<_>>()
                .join(" "),
        ),
        ("编号 · occurrence", escape(&last.alarm.occurrence)),
        (
            "级别 · priority",
            words(priority_word(last.alarm.priority, Lang::Zh), priority_word(last.alarm.priority, Lang::En)),
        ),
        (
            "状态 · state",
            words(state_word(last.alarm.state, Lang::Zh), state_word(last.alarm.state, Lang::En)),
        ),
        ("性质 · nature", demo.to_owned()),
        ("导出 · exported", local(said.made_at, &said.site.timezone)),
    ];
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(name, what)| vec![name.to_owned(), what]).collect();
    table(out, "概要 · Summary", &["", ""], &rows);
}

fn steps(out: &mut String, said: &Said) {
    let rows: Vec<Vec<String>> = said.events.iter().map(|sealed| step(sealed, said)).collect();
    let columns = ["事件 · event", "时间 · time", "钟 · clock", "步骤 · step", "何人 · who", "哈希 · hash"];
    table(out, "经过 · What happened", &columns, &rows);
}

fn step(sealed: &Sealed, said: &Said) -> Vec<String> {
    let event = &sealed.event;
    let who =
        event.alarm.done.as_ref().or_else(|| {
            event.alarm.acknowledged.as_ref().filter(|_| event.kind == TransitionKind::Acknowledged)
        });
    let person = |one: &Acknowledgement| {
        let note = one.note.as_ref().map_or_else(String::new, |note| format!("：{}", escape(note)));
        format!("{}（{}）{note}", escape(&one.by), escape(&one.from))
    };
    vec![
        event.seq.to_string(),
        local(event.at, &said.site.timezone),
        clock(event.time_quality).to_owned(),
        format!("{} · {}", kind_word(event.kind, Lang::Zh), kind_word(event.kind, Lang::En)),
        who.map_or_else(String::new, person),
        format!("{} <code>{}</code>", event.alg.hash(), hex(&sealed.hash)),
    ]
}

fn clock(quality: TimeQuality) -> &'static str {
    match quality {
        TimeQuality::Unset => "未设定 · never set",
        TimeQuality::Restored => "恢复 · restored",
        TimeQuality::Synced => "已对时 · synced",
        TimeQuality::Holdover => "未对时 · not confirmed",
    }
}

fn readings(out: &mut String, said: &Said) {
    let Some(first) = said.events.first() else { return };
    let value = |value: &Option<Value>| match value {
        None => "–".to_owned(),
        Some(Value::Flag(flag)) => flag.to_string(),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Text(text)) if text.starts_with("sealed:") => "***".to_owned(),
        Some(Value::Text(text)) => escape(text),
    };
    let quality = |quality: Quality| match quality {
        Quality::Good => "good".to_owned(),
        other => format!("{other:?}"),
    };
    let rows: Vec<Vec<String>> = first
        .event
        .readings
        .iter()
        .map(|(point, fact)| {
            let at = local(fact.at, &said.site.timezone);
            vec![
                escape(point),
                format!("{} {}", value(&fact.value), escape(&fact.unit)),
                quality(fact.quality),
                at,
            ]
        })
        .collect();
    table(
        out,
        "触发时读数 · Readings when it was raised",
        &["点 · point", "值 · value", "质量 · quality", "时间 · time"],
        &rows,
    );
}

fn receipts(out: &mut String, said: &Said) {
    let rows: Vec<Vec<String>> = said
        .receipts
        .iter()
        .map(|line| {
            let state = match line.state.as_str() {
                "delivered" => "已送达 · delivered",
                "set_aside" => "被搁置 · set aside",
                _ => "待送 · waiting",
            };
            vec![
                line.seq.to_string(),
                escape(&line.endpoint),
                state.to_owned(),
                line.at.clone().unwrap_or_default(),
                line.attempts.to_string(),
                line.status.map_or_else(String::new, |status| status.to_string()),
                escape(line.said.as_deref().unwrap_or_default()),
            ]
        })
        .collect();
    let columns = [
        "事件 · event",
        "接收方 · endpoint",
        "状态 · state",
        "时间 · time",
        "次数 · tries",
        "回执 · receipt",
        "回复 · reply",
    ];
    table(out, "通知与回执 · Notifications and receipts", &columns, &rows);
}

fn captures(out: &mut String, said: &Said) {
    let rows: Vec<Vec<String>> = said
        .captures
        .iter()
        .map(|one| {
            let lacks: Vec<String> =
                one.lacks.iter().map(|gap| format!("{}: {}", both(&gap.what), both(&gap.why))).collect();
            vec![
                format!("<code>captures/{}</code>", escape(&one.file)),
                format!("{} – {}", escape(&one.from), escape(&one.to)),
                one.frames.to_string(),
                one.readings.to_string(),
                lacks.join("<br>"),
            ]
        })
        .collect();
    let columns = ["文件 · file", "时段 · time", "报文 · frames", "读数 · readings", "缺少 · lacks"];
    table(out, "原始报文 · Raw frames", &columns, &rows);
}

fn worth(out: &mut String, said: &Said) {
    *out += "<h2>校验 · Verification</h2>\n";
    match said.verdict {
        Ok(verified) => {
            *out += &format!(
                "<p class=\"good\">本记录由网关自动生成，链校验：通过（事件 {}，证据链 {} 行，其中 {} 行尚未签名）<br>\
                 Made by the gateway; the whole chain holds ({} events, {} rows, {} of them not signed yet)</p>\n",
                verified.events,
                verified.links,
                verified.unsigned,
                verified.events,
                verified.links,
                verified.unsigned
            );
            algorithms(out, verified);
            if let Some(head) = &verified.head {
                *out += &format!(
                    "<p>最近签名 · latest signature：{}，{}</p>\n",
                    escape(&head.at),
                    clock(head.time_quality)
                );
            }
        }
        Err(broken) => {
            let place = broken.place.text();
            *out += &format!(
                "<p class=\"bad\">链校验：不通过，{}：{}<br>The chain does not hold, at {}: {}</p>\n",
                escape(&place.zh),
                escape(&broken.why.zh),
                escape(&place.en),
                escape(&broken.why.en)
            );
        }
    }
    if let Some(key) = said.key {
        *out += &format!(
            "<p>公钥 · public key {} <code>{}</code>（{}）。请与事先登记的公钥核对 · compare it with the one on record.</p>\n",
            key.suite.signature(),
            escape(&key.public),
            escape(&key.id)
        );
    }
    if !said.lacks.is_empty() {
        *out += "<p>缺少 · what is not here:</p><ul>";
        said.lacks.iter().for_each(|lack| *out += &format!("<li>{}</li>", both(lack)));
        *out += "</ul>\n";
    }
    *out += "<p>在任何机器上核对 · to check it on any machine: <code>gatehouse events verify BUNDLE --key PUBLIC-KEY</code>。\
             作数的是包里的 chain.jsonl 与 events.jsonl，本页只是其呈现 · what counts is chain.jsonl and events.jsonl; this page only shows it.</p>\n";
}

/// What the chain was made with; two, if the site went over from one to the other.
fn algorithms(out: &mut String, verified: &Verified) {
    let names = |alg: &Suite| {
        let (hash, signature) = (alg.hash(), alg.signature());
        match alg {
            Suite::International => format!("{hash} · {signature}"),
            Suite::Guomi => format!("{hash} · {signature}（国密 GM/T 0003、0004）"),
        }
    };
    let names: Vec<String> = verified.algs.iter().map(names).collect();
    *out += &format!("<p>摘要与签名算法 · hash and signature：{}</p>\n", names.join("；"));
}

fn both(text: &Text) -> String {
    format!("{} · {}", escape(&text.zh), escape(&text.en))
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_wrote_is_no_markup() {
        assert_eq!(escape("<b a='1'>&\"岗\""), "&lt;b a=&#39;1&#39;&gt;&amp;&quot;岗&quot;");
    }
}
