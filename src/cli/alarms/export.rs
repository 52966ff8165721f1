//! `alarms export`: one alarm with everything that proves it, as a file that can be checked anywhere.

use std::{fs::OpenOptions, io::Write, os::unix::fs::OpenOptionsExt, path::PathBuf};

use anyhow::Context;
use clap::Args;

use crate::{
    cli::{
        bundle::{self, Made},
        exit,
        site::{SiteArgs, if_stored},
    },
    domain::Lang,
    say,
    store::Reader,
};

#[derive(Debug, Args)]
#[command(before_help = EXAMPLES)]
pub(super) struct ExportArgs {
    /// The alarm's number, or device/alarm of one that is open / 编号，或 设备/报警
    #[arg(value_name = "ID")]
    id: String,
    /// The file to write; named after the alarm if left out / 输出文件
    #[arg(short = 'o', long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    site: SiteArgs,
}

const EXAMPLES: &str = "\
Examples / 示例:
  gatehouse alarms export 9c1e-12 -o trapped.tar     events, frames, receipts, signatures, a page to print / 导出证据包
  gatehouse events verify trapped.tar --key box.pub  checked on another machine / 在另一台机器上核对
It may hold personal data: the file is made readable for its owner only. / 可能含个人信息，文件仅本人可读。";

pub(super) fn export(args: &ExportArgs, lang: Lang) -> anyhow::Result<u8> {
    let site = match args.site.look(lang) {
        Ok(site) => site,
        Err(code) => return Ok(code),
    };
    let Some(reader) = if_stored(Reader::open(&site.store.dir), lang)? else {
        return Ok(exit::NOTHING_FOUND);
    };
    let made = if reader.has_chain()? { bundle::make(&site, &reader, &args.id)? } else { None };
    let Some(Made { tar, occurrence, lacks, verdict }) = made else {
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
    let path = args
        .output
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("{}.tar", occurrence.replace(['/', ':'], "_"))));
    let shown = path.display();
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
    let mut file = file.with_context(|| format!("write {shown}"))?;
    file.write_all(&tar).and_then(|()| file.sync_all()).with_context(|| format!("write {shown}"))?;
    let bytes = tar.len();
    eprintln!(
        "{}",
        say!(lang, "{occurrence} → {shown}，{bytes} 字节", "{occurrence} → {shown}, {bytes} bytes")
    );
    for lack in &lacks {
        let lack = lack.get(lang);
        eprintln!("{}", say!(lang, "  缺少：{lack}", "  not in it: {lack}"));
    }
    match verdict {
        Ok(_) => Ok(exit::OK),
        Err(broken) => {
            let (place, why) = (broken.place.text(), broken.why);
            let (place, why) = (place.get(lang), why.get(lang));
            eprintln!(
                "{}",
                say!(
                    lang,
                    "✕ 本机的证据链不成立：{place}：{why}。包已写出，其中注明了这一点。",
                    "✕ the chain of this store does not hold: {place}: {why}. The bundle is written and says so."
                )
            );
            Ok(exit::NOT_VERIFIED)
        }
    }
}
