//! A bundle as a file: it may come from anywhere, so everything is bounded and nothing is believed.

use std::{
    collections::BTreeMap,
    io::{self, Read},
    path::Path,
};

use serde::de::DeserializeOwned;

use super::{
    CAPTURES, CHAIN, CONFIGURATION, ChainLine, EVENTS, EventLine, HANDOVER, MANIFEST, Manifest, PAGE,
    PUBLIC_KEY, RECEIPTS, ReceiptLine, VERSIONS, WRITINGS,
};
use crate::{domain::Text, store::chain::Fact, text};

const MOST_FILES: usize = 4096;
const MOST_BYTES: u64 = 1 << 30;

#[derive(Debug)]
pub struct Bundle {
    pub manifest: Manifest,
    pub files: BTreeMap<String, Vec<u8>>,
    pub events: Vec<EventLine>,
    pub chain: Vec<ChainLine>,
    pub receipts: Vec<ReceiptLine>,
    /// Who signed before whom.
    pub handover: Vec<Fact>,
    /// As it stands in the bundle, base64.
    pub public_key: Option<String>,
}

/// It is no bundle, or a broken one: in which file, and what.
#[derive(Debug)]
pub struct Unreadable {
    pub file: String,
    pub what: Text,
}

fn unreadable(file: &str, what: Text) -> Unreadable {
    Unreadable { file: file.to_owned(), what }
}

/// # Errors
/// The outer one if the file itself cannot be read; the inner one if it is no bundle.
pub fn read(path: &Path) -> io::Result<Result<Bundle, Unreadable>> {
    let file = std::fs::File::open(path)?;
    Ok(unpack(file).and_then(parse))
}

fn unpack(file: impl Read) -> Result<BTreeMap<String, Vec<u8>>, Unreadable> {
    let whole = |error: io::Error| unreadable("", text!("不是 tar 包：{error}", "it is no tar: {error}"));
    let mut tar = tar::Archive::new(file);
    let (mut files, mut total) = (BTreeMap::new(), 0);
    for entry in tar.entries().map_err(whole)? {
        let mut entry = entry.map_err(whole)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        total += entry.size();
        if files.len() >= MOST_FILES || total > MOST_BYTES {
            return Err(unreadable(
                &name,
                text!("文件过多或过大", "there are too many files, or too large ones"),
            ));
        }
        let mut body = Vec::new();
        entry.read_to_end(&mut body).map_err(whole)?;
        if files.insert(name.clone(), body).is_some() {
            return Err(unreadable(&name, text!("出现两次", "it is there twice")));
        }
    }
    Ok(files)
}

fn parse(files: BTreeMap<String, Vec<u8>>) -> Result<Bundle, Unreadable> {
    let body = |name: &str| {
        files.get(name).ok_or_else(|| unreadable(name, text!("缺少这个文件", "it is not there")))
    };
    let manifest: Manifest = serde_json::from_slice(body(MANIFEST)?)
        .map_err(|error| unreadable(MANIFEST, text!("无法读懂：{error}", "it cannot be read: {error}")))?;
    if !VERSIONS.contains(&manifest.gatehouse_bundle) {
        let (version, known) = (manifest.gatehouse_bundle, VERSIONS.end());
        let what = text!(
            "证据包版本 {version}，这里只懂到 {known}",
            "a bundle of version {version}; this reads up to {known}"
        );
        return Err(unreadable(MANIFEST, what));
    }
    for name in files.keys() {
        let known = [MANIFEST, EVENTS, CHAIN, HANDOVER, RECEIPTS, CONFIGURATION, PUBLIC_KEY, PAGE]
            .contains(&name.as_str())
            || name.starts_with(CAPTURES)
            || name.starts_with(WRITINGS);
        if !known {
            return Err(unreadable(name, text!("不属于证据包", "it is no part of a bundle")));
        }
    }
    let public_key = files.get(PUBLIC_KEY).map(|key| String::from_utf8_lossy(key).trim().to_owned());
    Ok(Bundle {
        events: lines(EVENTS, body(EVENTS)?)?,
        chain: lines(CHAIN, body(CHAIN)?)?,
        receipts: lines(RECEIPTS, body(RECEIPTS)?)?,
        handover: lines(HANDOVER, files.get(HANDOVER).map_or(&[][..], Vec::as_slice))?,
        manifest,
        public_key,
        files,
    })
}

fn lines<T: DeserializeOwned>(name: &str, body: &[u8]) -> Result<Vec<T>, Unreadable> {
    let lines = body.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty());
    lines
        .map(|(at, line)| {
            let number = at + 1;
            serde_json::from_slice(line).map_err(|error| {
                unreadable(
                    name,
                    text!("第 {number} 行无法读懂：{error}", "line {number} cannot be read: {error}"),
                )
            })
        })
        .collect()
}
