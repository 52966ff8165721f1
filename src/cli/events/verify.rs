//! `events verify`: a store, beside a running gateway too, or a bundle, by the public key alone.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::Args;
use serde_json::{Value as Json, json};

use crate::{
    app::capture::folder,
    cli::{
        bundle::{self, Checked},
        exit,
        site::{SiteArgs, if_stored},
    },
    domain::{HeadStatement, Lang, Suite, Text},
    say,
    store::{
        Reader, Verified,
        chain::{Keys, key_id, suite_of_key},
    },
    text,
};

#[derive(Debug, Args)]
#[command(before_help = EXAMPLES)]
pub(super) struct VerifyArgs {
    /// A bundle of `alarms export`; else the store of the site / 证据包
    #[arg(value_name = "BUNDLE", conflicts_with = "store")]
    bundle: Option<PathBuf>,
    /// The store in this directory / 存储目录
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Only signatures of this public key count: base64, or a file that has it / 只认这把公钥
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    #[command(flatten)]
    site: SiteArgs,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples / 示例:
  gatehouse events verify                                this box / 本机
  gatehouse events verify 9c1e-12.tar --key box.pub      a bundle, anywhere / 任意机器上核对证据包
  gatehouse events key > box.pub                         whose signature it is / 导出公钥
Exit 0: all holds. 9: it does not, and where. / 0 通过，9 不通过并指出位置。";

/// What came of it.
struct Verdict {
    what: Text,
    holds: Result<Holds, (Text, Text)>,
}

struct Holds {
    events: u64,
    rows: u64,
    unsigned: u64,
    hidden: u64,
    receipts: u64,
    captures: u64,
    keys: Keys,
    algs: BTreeSet<Suite>,
    head: Option<HeadStatement>,
    lacks: Vec<Text>,
}

impl From<Verified> for Holds {
    fn from(verified: Verified) -> Self {
        let Verified { events, links, unsigned, keys, algs, head, receipts, .. } = verified;
        Self {
            events,
            rows: links,
            unsigned,
            hidden: 0,
            receipts,
            captures: 0,
            keys,
            algs,
            head,
            lacks: Vec::new(),
        }
    }
}

impl From<Checked> for Holds {
    fn from(checked: Checked) -> Self {
        let Checked { events, rows, hidden, unsigned, keys, algs, head, receipts, captures, lacks } = checked;
        let [events, receipts, captures] = [events, receipts, captures].map(|count| count as u64);
        Self { events, rows, unsigned, hidden, receipts, captures, keys, algs, head, lacks }
    }
}

impl VerifyArgs {
    pub(super) fn run(self, lang: Lang) -> anyhow::Result<u8> {
        let Ok(key) = self.key.as_deref().map(key_of).transpose() else {
            let key = self.key.unwrap_or_default();
            eprintln!(
                "{}",
                say!(
                    lang,
                    "{key} 不是公钥（base64：Ed25519 为 32 字节，SM2 为 65 字节），也不是含公钥的文件。用 gatehouse events key 导出。",
                    "{key} is no public key (base64: 32 bytes of Ed25519, 65 of SM2), nor a file that has one; gatehouse events key prints it."
                )
            );
            return Ok(exit::USAGE);
        };
        let verdict = match (&self.bundle, &self.store) {
            (Some(bundle), _) => bundled(bundle, key)?,
            (None, Some(dir)) => match stored(dir, key, lang)? {
                Some(verdict) => verdict,
                None => return Ok(exit::NOTHING_FOUND),
            },
            (None, None) => {
                let dir = match self.site.look(lang) {
                    Ok(site) => site.store.dir,
                    Err(code) => return Ok(code),
                };
                match stored(&dir, key, lang)? {
                    Some(verdict) => verdict,
                    None => return Ok(exit::NOTHING_FOUND),
                }
            }
        };
        let mut out = io::stdout().lock();
        match self.json {
            true => writeln!(out, "{}", record(&verdict))?,
            false => tell(&mut out, &verdict, lang)?,
        }
        Ok(if verdict.holds.is_ok() { exit::OK } else { exit::NOT_VERIFIED })
    }
}

/// # Errors
/// If it is none.
fn key_of(text: &str) -> Result<String, ()> {
    let is_key = |text: &str| key_id(text).map(|_| text.trim().to_owned());
    let read = || fs::read_to_string(text).ok();
    is_key(text).or_else(|| is_key(&read()?)).ok_or(())
}

fn bundled(path: &Path, key: Option<String>) -> anyhow::Result<Verdict> {
    let shown = path.display().to_string();
    let read = bundle::read(path).with_context(|| format!("read {shown}"))?;
    let what = Text::new(format!("证据包 {shown}"), format!("the bundle {shown}"));
    let holds = match read {
        Err(unreadable) => Err((Text::new(unreadable.file.clone(), unreadable.file), unreadable.what)),
        Ok(bundle) => {
            bundle::check(&bundle, key).map(Holds::from).map_err(|faulty| (faulty.place, faulty.why))
        }
    };
    Ok(Verdict { what, holds })
}

fn stored(dir: &Path, key: Option<String>, lang: Lang) -> anyhow::Result<Option<Verdict>> {
    let Some(reader) = if_stored(Reader::open(dir), lang)? else { return Ok(None) };
    if !reader.has_chain()? {
        let told = say!(
            lang,
            "这个存储是旧版本写的，还没有证据链：新版本启动一次后才有。",
            "this store was written by an older version and has no chain yet: it gets one when this version starts."
        );
        eprintln!("{told}");
        return Ok(None);
    }
    let shown = dir.display().to_string();
    let holds = match reader.verify(key)? {
        Ok(verified) => captures(dir, &reader)?.map(|captures| Holds { captures, ..Holds::from(verified) }),
        Err(broken) => Err((broken.place.text(), broken.why)),
    };
    Ok(Some(Verdict { what: Text::new(format!("存储 {shown}"), format!("the store in {shown}")), holds }))
}

/// How many captures there are; or the first that is not what the chain says.
fn captures(dir: &Path, reader: &Reader) -> anyhow::Result<Result<u64, (Text, Text)>> {
    let mut count = 0;
    for capture in reader.kept_captures(None)? {
        let name = Text::new(format!("captures/{}", capture.file), format!("captures/{}", capture.file));
        match fs::read(folder(dir).join(&capture.file)) {
            Ok(body) if capture.digest.is_of(&body) => count += 1,
            Ok(_) => return Ok(Err((name, text!("内容被改动过", "it was changed")))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Err((name, text!("缺失", "it is missing"))));
            }
            Err(error) => return Err(error).with_context(|| format!("read {}", name.en)),
        }
    }
    Ok(Ok(count))
}

fn tell(out: &mut impl Write, verdict: &Verdict, lang: Lang) -> io::Result<()> {
    let what = verdict.what.get(lang);
    let holds = match &verdict.holds {
        Ok(holds) => holds,
        Err((place, why)) => {
            let (place, why) = (place.get(lang), why.get(lang));
            return writeln!(
                out,
                "{}",
                say!(
                    lang,
                    "✕ {what} 不可信：{place}：{why}。\n  在此之前的内容仍然成立。请保留原件，并与接收方手中的签名比对。",
                    "✕ {what} does not hold: {place}: {why}.\n  What lies before it stands. Keep the original, and compare it with the signatures that the receivers hold."
                )
            );
        }
    };
    let Holds { events, rows, unsigned, hidden, receipts, captures, keys, algs, head, lacks } = holds;
    writeln!(
        out,
        "{}",
        say!(
            lang,
            "✓ {what}：全部成立。事件 {events}，回执 {receipts}，报文文件 {captures}，证据链 {rows} 行。",
            "✓ {what} holds: {events} events, {receipts} receipts, {captures} files of raw frames, {rows} rows of the chain."
        )
    )?;
    let hashes: Vec<&str> = algs.iter().map(|alg| alg.hash()).collect();
    let hashes = hashes.join(say!(lang, "、", " and ").as_ref());
    writeln!(out, "{}", say!(lang, "  摘要算法 {hashes}", "  hashed with {hashes}"))?;
    if *hidden > 0 {
        writeln!(
            out,
            "{}",
            say!(
                lang,
                "  其中 {hidden} 行属于别的报警，只有摘要。",
                "  {hidden} of them are about others and shown by their digest alone."
            )
        )?;
    }
    match head {
        Some(head) => {
            let (at, seq) = (&head.at, head.seq);
            writeln!(
                out,
                "{}",
                say!(
                    lang,
                    "  最近签名 {at}，到事件 {seq} 为止；其后 {unsigned} 行尚未签名。",
                    "  signed at {at}, up to event {seq}; {unsigned} rows after that are not signed yet."
                )
            )?;
        }
        None => writeln!(
            out,
            "{}",
            say!(
                lang,
                "  没有签名：有存储写权限的人可以整体重写它。",
                "  nothing is signed: whoever can write the store could rewrite all of it."
            )
        )?,
    }
    let trusted = keys.trusted.is_some();
    for (id, (public, count)) in &keys.seen {
        let name = suite_of_key(public).map_or("?", Suite::signature);
        writeln!(
            out,
            "{}",
            say!(
                lang,
                "  {name} 公钥 {id}（{public}）：{count} 个签名",
                "  {name} key {id} ({public}): {count} signatures"
            )
        )?;
    }
    if !trusted && !keys.seen.is_empty() {
        writeln!(
            out,
            "{}",
            say!(
                lang,
                "  公钥取自被校验的内容本身：请与事先登记的核对，或用 --key。",
                "  the key is the one that it names itself: compare it with the one on record, or give --key."
            )
        )?;
    }
    lacks.iter().try_for_each(|lack| {
        let lack = lack.get(lang);
        writeln!(out, "{}", say!(lang, "  缺少：{lack}", "  not in it: {lack}"))
    })
}

fn record(verdict: &Verdict) -> Json {
    match &verdict.holds {
        Ok(Holds { events, rows, unsigned, hidden, receipts, captures, keys, algs, head, lacks }) => json!({
            "verified": true, "events": events, "rows": rows, "unsigned": unsigned, "hidden": hidden, "receipts": receipts, "captures": captures,
            "keys": keys.seen.iter().map(|(id, (public, count))| json!({
                "id": id, "public": public, "signatures": count, "algorithm": suite_of_key(public).map(|suite| suite.signature().to_lowercase()),
            })).collect::<Vec<_>>(),
            "algorithms": algs, "signed_at": head.as_ref().map(|head| &head.at), "signed_seq": head.as_ref().map(|head| head.seq), "lacks": lacks,
        }),
        Err((place, why)) => json!({ "verified": false, "place": place, "why": why }),
    }
}
