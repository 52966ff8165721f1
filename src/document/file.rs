//! One TOML file: read, parsed, turned into a type, asked where something stands.

use std::{
    fs::{self, File},
    io::{self, Read},
    ops::Range,
    path::Path,
    sync::Arc,
    thread,
};

use rustix::io::Errno;
use schemars::{JsonSchema, generate::SchemaSettings};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use toml::de::DeTable;

use super::{
    Place, Problems, Source,
    shape::Walk,
    syntax,
    tree::{Node, TooDeep, grow},
};
use crate::{domain::Text, text};

/// No file that a person wrote for us is longer.
const MAX_BYTES: u64 = 4 << 20;
/// Above this a file that cannot be parsed is told by its first mistake only: the parser keeps each in memory.
const RECOVER_BYTES: usize = 256 << 10;

/// With more syntax errors than this the rest of a file is not judged.
const MOST_SLIPS: usize = 100;

/// One parsed TOML file with its spans.
#[derive(Clone, Debug)]
pub struct Document {
    source: Arc<Source>,
    root: Node,
    /// Lines with a syntax error that the parser got over: what came of them is not to be judged.
    slips: Vec<Range<usize>>,
}

/// One step from a table or list into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    Key(&'a str),
    At(usize),
}

impl<'a> From<&'a str> for Step<'a> {
    fn from(key: &'a str) -> Self {
        Step::Key(key)
    }
}

impl From<usize> for Step<'_> {
    fn from(at: usize) -> Self {
        Step::At(at)
    }
}

/// `at!["point", 3, "read"]`: a path into a document, as a slice of [`Step`]s.
#[macro_export]
macro_rules! at {
    ($($step:expr),* $(,)?) => { &[$($crate::document::Step::from($step)),*] };
}

impl Document {
    /// Of the file as it was read, in hexadecimal.
    pub fn sha256(&self) -> String {
        Sha256::digest(&self.source.text).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Parses `source`; all syntax errors that the parser recovers from are reported. `None` if one of them makes the
    /// rest doubtful; a slip within a line does not.
    pub fn parse(source: Arc<Source>, problems: &mut Problems) -> Option<Document> {
        let Parsed { root, mistakes } = with_deep_stack(|| parse_text(&source.text));
        let slips = mistakes.iter().map(|(span, _)| line_around(&source.text, span)).collect();
        for (span, message) in mistakes {
            problems.error(Place { source: source.clone(), span }, message);
        }
        root.map(|root| Document { source, root, slips })
    }

    /// Reads and parses the file at `path`. Missing, a directory, not UTF-8, over 4 MiB: problems, all of them.
    pub fn load(path: &Path, problems: &mut Problems) -> Option<Document> {
        match read_text(path) {
            Ok(text) => Document::parse(Arc::new(Source { path: path.to_owned(), text }), problems),
            Err(message) => {
                let source = Arc::new(Source { path: path.to_owned(), text: String::new() });
                problems.error(Place { source, span: 0..0 }, message);
                None
            }
        }
    }

    /// The file as a `T`.
    ///
    /// Every mistake against the shape of `T` is reported. Then reading goes on where it can: without unknown keys and
    /// with a stand-in for what is wrong or missing, so that the checks which follow find their mistakes too. What they say
    /// of a stand-in's place is not kept. So `Some` does not mean that all is well: ask [`Problems::has_errors`].
    pub fn read<T: DeserializeOwned + JsonSchema>(&self, problems: &mut Problems) -> Option<T> {
        let schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>();
        let mut found = Problems::default();
        let mut walk =
            Walk { root: schema.as_value(), source: &self.source, slips: &self.slips, problems: &mut found };
        let mended = walk.value(schema.as_value(), &self.root, "");
        let as_written = found.is_empty() && self.slips.is_empty();
        problems.extend(found);
        if !as_written {
            return mended.and_then(|value| value.try_into().ok());
        }
        match toml::from_str(&self.source.text) {
            Ok(read) => Some(read),
            Err(error) => {
                let place = self.spot(error.span().unwrap_or(0..0));
                let message = error.message();
                problems.error(place, text!("读不懂：{message}", "cannot be read: {message}"));
                None
            }
        }
    }

    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// Where the value at `path` stands; if there is none, the nearest parent that is there.
    pub fn place(&self, path: &[Step<'_>]) -> Place {
        self.spot(self.follow(path).0)
    }

    /// Where the key at the end of `path` stands; without it, what [`Document::place`] gives.
    pub fn key_place(&self, path: &[Step<'_>]) -> Place {
        let (value, key) = self.follow(path);
        self.spot(key.unwrap_or(value))
    }

    /// True if there is a value at `path`.
    pub fn has(&self, path: &[Step<'_>]) -> bool {
        path.iter()
            .try_fold(&self.root, |node, step| match step {
                Step::Key(key) => node.entry(key).map(|entry| &entry.node),
                Step::At(at) => node.item(*at),
            })
            .is_some()
    }

    /// The span of the value at `path` or of its nearest parent, and of its key if the last step is one that is there.
    fn follow(&self, path: &[Step<'_>]) -> (Range<usize>, Option<Range<usize>>) {
        let mut node = &self.root;
        let mut key_span = None;
        for step in path {
            match step {
                Step::Key(key) => match node.entry(key) {
                    Some(entry) => {
                        key_span = Some(entry.key_span.clone());
                        node = &entry.node;
                    }
                    None => return (node.span.clone(), None),
                },
                Step::At(at) => match node.item(*at) {
                    Some(item) => {
                        key_span = None;
                        node = item;
                    }
                    None => return (node.span.clone(), None),
                },
            }
        }
        (node.span.clone(), key_span)
    }

    fn spot(&self, span: Range<usize>) -> Place {
        Place { source: self.source.clone(), span }
    }
}

struct Parsed {
    root: Option<Node>,
    mistakes: Vec<(Range<usize>, Text)>,
}

impl Parsed {
    fn failed(span: Range<usize>, why: Text) -> Self {
        Self { root: None, mistakes: vec![(span, why)] }
    }
}

fn parse_text(text: &str) -> Parsed {
    let (table, errors) = match DeTable::parse(text) {
        Ok(table) => (Some(table), Vec::new()),
        Err(first) if text.len() > RECOVER_BYTES => (None, vec![first]),
        Err(_found_again) => {
            let (table, errors) = DeTable::parse_recoverable(text);
            let slips = errors.len() <= MOST_SLIPS
                && errors.iter().all(|error| syntax::stays_in_line(error.message()));
            (slips.then_some(table), syntax::without_aftermath(errors))
        }
    };
    let told = |error: toml::de::Error| (error.span().unwrap_or(0..0), syntax::sentence(error.message()));
    let mut mistakes: Vec<_> = errors.into_iter().map(told).collect();
    let mut unreadable = Vec::new();
    let root = match table.map(|table| grow(table.get_ref(), 0..0, 0, &mut unreadable)).transpose() {
        Ok(root) => root,
        Err(TooDeep(span)) => return Parsed::failed(span, text!("嵌套太深", "nested too deep")),
    };
    if mistakes.is_empty() {
        let told = |span| (span, text!("这个数超出 64 位", "no 64-bit number holds this"));
        mistakes.extend(unreadable.into_iter().take(MOST_SLIPS).map(told));
    }
    Parsed { root, mistakes }
}

/// The parser bounds nesting and dotted keys each, not both together: a hostile file is some 6 000 tables deep.
fn with_deep_stack(parse: impl FnOnce() -> Parsed + Send) -> Parsed {
    const STACK: usize = 64 << 20;
    let failed = |why: &str| Parsed::failed(0..0, text!("解析不了：{why}", "cannot be parsed: {why}"));
    thread::scope(|scope| {
        let parser = thread::Builder::new().name("toml".to_owned()).stack_size(STACK);
        match parser.spawn_scoped(scope, parse) {
            Ok(running) => running.join().unwrap_or_else(|_panic| failed("the parser gave up")),
            Err(error) => failed(&error.to_string()),
        }
    })
}

/// The whole line, or lines, that `span` touches.
fn line_around(text: &str, span: &Range<usize>) -> Range<usize> {
    let start = text.as_bytes()[..span.start].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let end = text.as_bytes()[span.end..].iter().position(|byte| *byte == b'\n');
    start..end.map_or(text.len(), |at| span.end + at)
}

/// The text of a file, or why there is none.
fn read_text(path: &Path) -> Result<String, Text> {
    let mut bytes = Vec::new();
    // asked before it is opened: a pipe without a writer would be waited for, and opening some devices does something
    let kind = fs::metadata(path).map_err(|error| cannot_open(&error))?.file_type();
    if kind.is_dir() {
        return Err(text!("这是目录，不是文件", "this is a directory, not a file"));
    }
    if !kind.is_file() {
        return Err(text!(
            "这不是普通文件（是管道、设备或套接字），请先存成文件",
            "this is no regular file but a pipe, device or socket: keep it as a file first"
        ));
    }
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| cannot_open(&error))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(text!("文件超过 4 MiB", "the file is over 4 MiB"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        text!("文件不是 UTF-8（从第 {at} 字节起）", "the file is not UTF-8 (from byte {at} on)")
    })
}

fn cannot_open(error: &io::Error) -> Text {
    match error.kind() {
        io::ErrorKind::NotFound => text!("没有这个文件", "there is no such file"),
        io::ErrorKind::PermissionDenied => text!("没有读取权限", "may not be read by this user"),
        _ if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
            text!("符号链接绕成了圈", "the symbolic links go in a circle")
        }
        _ => text!("读不出来：{error}", "cannot be read: {error}"),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
