//! Reads the cells of a database file page by page, without trusting its root, its tree or its schema: what one damaged page
//! says is lost, what all the others say is found. (https://www.sqlite.org/fileformat2.html; sections 1.5, 1.6, 2.1 and 4.)
//!
//! Pages are taken as their last whole commit left them: from the log as far as its checksums hold, else from the file. Pages
//! on the free list are left out; they hold what was deleted.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::Path,
};

use super::quarantine::with;

const PAGE: usize = 4096;
const MAGIC: &[u8] = b"SQLite format 3\0";
/// A record longer than this is not one of ours.
const LONGEST: usize = 16 << 20;

const INDEX_INTERIOR: u8 = 0x02;
const INDEX_LEAF: u8 = 0x0a;
const TABLE_LEAF: u8 = 0x0d;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Column {
    Null,
    Integer(i64),
    Real,
    Text(String),
    Blob(Vec<u8>),
}

/// A row of a table, or an entry of an index or of a table WITHOUT ROWID.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cell {
    /// `None`: of an index.
    pub rowid: Option<i64>,
    pub columns: Vec<Column>,
}

/// The file's pages.
pub(super) struct Carver {
    file: File,
    log: Option<File>,
    /// Where in the log the latest of a page is.
    logged: HashMap<u32, u64>,
    free: HashSet<u32>,
    pages: u32,
}

impl Carver {
    /// # Errors
    /// If the file cannot be opened; what is in it is never an error.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let log = File::open(with(path, "-wal")).ok();
        let logged = log.as_ref().map(logged).unwrap_or_default();
        let on_disk = u32::try_from(file.metadata()?.len().div_ceil(PAGE as u64)).unwrap_or(u32::MAX);
        let pages = logged.keys().copied().max().unwrap_or(0).max(on_disk);
        let mut carver = Self { file, log, logged, free: HashSet::new(), pages };
        carver.free = carver.free_pages();
        Ok(carver)
    }

    /// Calls `found` for each cell that can be read; how many pages hold something that cannot.
    ///
    /// # Errors
    /// What `found` says.
    pub fn each<E>(&self, mut found: impl FnMut(Cell) -> Result<(), E>) -> Result<u64, E> {
        let mut unreadable = 0;
        for number in 1..=self.pages {
            if self.free.contains(&number) {
                continue;
            }
            let Some(page) = self.page(number) else {
                unreadable += 1;
                continue;
            };
            let mut whole = true;
            for cell in self.cells(number, &page) {
                match cell {
                    Some(cell) => found(cell)?,
                    None => whole = false,
                }
            }
            unreadable += u64::from(!whole);
        }
        Ok(unreadable)
    }

    /// How many pages the file has, with its log.
    pub fn pages(&self) -> u32 {
        self.pages
    }

    /// The cells of one page that can be read.
    pub fn on_page(&self, number: u32) -> Vec<Cell> {
        let page = if self.free.contains(&number) { None } else { self.page(number) };
        page.map(|page| self.cells(number, &page)).unwrap_or_default().into_iter().flatten().collect()
    }

    fn page(&self, number: u32) -> Option<Vec<u8>> {
        let mut page = vec![0; PAGE];
        let read = match (self.logged.get(&number), &self.log) {
            (Some(at), Some(log)) => log.read_exact_at(&mut page, *at),
            _ => self.file.read_exact_at(&mut page, u64::from(number.checked_sub(1)?) * PAGE as u64),
        };
        read.ok().map(|()| page)
    }

    /// If the file's header can be believed.
    fn free_pages(&self) -> HashSet<u32> {
        let mut free = HashSet::new();
        let Some(header) = self.page(1).filter(|page| page.starts_with(MAGIC)) else { return free };
        let mut trunk = word(&header, 32);
        while let Some(next) = trunk.filter(|next| *next > 0 && free.insert(*next)) {
            let Some(page) = self.page(next) else { break };
            let count = word(&page, 4).unwrap_or(0).min((PAGE as u32 - 8) / 4) as usize;
            free.extend((0..count).filter_map(|n| word(&page, 8 + 4 * n)));
            trunk = word(&page, 0);
        }
        free
    }

    /// `None` for one that makes no sense.
    fn cells(&self, number: u32, page: &[u8]) -> Vec<Option<Cell>> {
        let start = if number == 1 { 100 } else { 0 };
        let Some(kind @ (INDEX_INTERIOR | INDEX_LEAF | TABLE_LEAF)) = page.get(start).copied() else {
            return Vec::new();
        };
        let header = if kind == INDEX_INTERIOR { 12 } else { 8 };
        let count = half(page, start + 3).unwrap_or(0) as usize;
        let pointers = start + header;
        if count > (PAGE - pointers) / 2 {
            return vec![None];
        }
        let cells = (0..count).map(|n| self.cell(kind, page, half(page, pointers + 2 * n)? as usize));
        cells.collect()
    }

    fn cell(&self, kind: u8, page: &[u8], mut at: usize) -> Option<Cell> {
        if kind == INDEX_INTERIOR {
            at += 4;
        }
        let length = usize::try_from(varint(page, &mut at)?).ok().filter(|length| *length <= LONGEST)?;
        let rowid = if kind == TABLE_LEAF { Some(varint(page, &mut at)? as i64) } else { None };
        let most = if kind == TABLE_LEAF { PAGE - 35 } else { (PAGE - 12) * 64 / 255 - 23 };
        let payload = self.payload(page, at, length, most)?;
        Some(Cell { rowid, columns: record(&payload)? })
    }

    /// What does not fit the page goes on in a chain of others.
    fn payload(&self, page: &[u8], at: usize, length: usize, most: usize) -> Option<Vec<u8>> {
        if length <= most {
            return page.get(at..at + length).map(<[u8]>::to_vec);
        }
        let least = (PAGE - 12) * 32 / 255 - 23;
        let fitting = least + (length - least) % (PAGE - 4);
        let local = if fitting <= most { fitting } else { least };
        let mut payload = page.get(at..at + local)?.to_vec();
        let mut next = word(page, at + local)?;
        while payload.len() < length {
            let more = self.page(Some(next).filter(|next| (1..=self.pages).contains(next))?)?;
            let take = (length - payload.len()).min(PAGE - 4);
            payload.extend_from_slice(&more[4..4 + take]);
            next = word(&more, 0)?;
        }
        // Else the last of them is not what SQLite wrote.
        (next == 0).then_some(payload)
    }
}

/// Where each page's latest committed frame is, as far as the log's checksums hold.
fn logged(log: &File) -> HashMap<u32, u64> {
    let mut committed = HashMap::new();
    let mut header = [0; 32];
    if log.read_exact_at(&mut header, 0).is_err() {
        return committed;
    }
    let big_endian = match word(&header, 0) {
        Some(0x377f_0682) => false,
        Some(0x377f_0683) => true,
        Some(_) | None => return committed,
    };
    let mut sum = checksum((0, 0), &header[..24], big_endian);
    if word(&header, 24) != Some(sum.0)
        || word(&header, 28) != Some(sum.1)
        || word(&header, 8) != Some(PAGE as u32)
    {
        return committed;
    }
    let mut open = HashMap::new();
    let mut frame = [0; 24 + PAGE];
    let mut at = 32;
    while log.read_exact_at(&mut frame, at).is_ok() {
        sum = checksum(sum, &frame[..8], big_endian);
        sum = checksum(sum, &frame[24..], big_endian);
        let sound = word(&frame, 16) == Some(sum.0) && word(&frame, 20) == Some(sum.1);
        if !sound || frame[8..16] != header[16..24] {
            break;
        }
        if let Some(page) = word(&frame, 0) {
            open.insert(page, at + 24);
        }
        if word(&frame, 4) != Some(0) {
            committed.extend(open.drain());
        }
        at += frame.len() as u64;
    }
    committed
}

fn checksum(sum: (u32, u32), bytes: &[u8], big_endian: bool) -> (u32, u32) {
    let word = |four: &[u8]| {
        let four = four.try_into().unwrap_or_default();
        if big_endian { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }
    };
    bytes.chunks_exact(8).fold(sum, |(one, two), eight| {
        let one = one.wrapping_add(word(&eight[..4])).wrapping_add(two);
        (one, two.wrapping_add(word(&eight[4..])).wrapping_add(one))
    })
}

fn record(payload: &[u8]) -> Option<Vec<Column>> {
    let mut at = 0;
    let header = usize::try_from(varint(payload, &mut at)?).ok()?;
    let mut kinds = Vec::new();
    while at < header {
        kinds.push(varint(payload, &mut at)?);
    }
    let mut at = header;
    let columns = kinds.into_iter().map(|kind| column(payload, &mut at, kind)).collect::<Option<Vec<_>>>()?;
    (at == payload.len()).then_some(columns)
}

fn column(payload: &[u8], at: &mut usize, kind: u64) -> Option<Column> {
    let length = match kind {
        0 | 8 | 9 => 0,
        1..=4 => kind as usize,
        5 => 6,
        6 | 7 => 8,
        10 | 11 => return None,
        long => usize::try_from((long - 12) / 2).ok()?,
    };
    let bytes = payload.get(*at..at.checked_add(length)?)?;
    *at += length;
    let integer =
        || bytes.iter().fold(if bytes[0] < 0x80 { 0 } else { -1 }, |n: i64, byte| n << 8 | i64::from(*byte));
    Some(match kind {
        0 => Column::Null,
        8 => Column::Integer(0),
        9 => Column::Integer(1),
        7 => Column::Real,
        1..=6 => Column::Integer(integer()),
        long if long % 2 == 0 => Column::Blob(bytes.to_vec()),
        _ => Column::Text(std::str::from_utf8(bytes).ok()?.to_owned()),
    })
}

/// One to nine bytes, the most significant first.
fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0;
    for n in 0..9 {
        let byte = *bytes.get(*at)?;
        *at += 1;
        if n == 8 {
            return Some(value << 8 | u64::from(byte));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte < 0x80 {
            break;
        }
    }
    Some(value)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use rusqlite::{Connection, params};

    use super::*;

    fn rows(path: &Path) -> Vec<(i64, Vec<Column>)> {
        let mut rows = Vec::new();
        let carver = Carver::open(path).unwrap();
        let unreadable = carver.each(|cell| {
            let is_row = matches!(&cell.columns[..], [Column::Null, Column::Text(_), Column::Blob(_), _, _]);
            if let Some(rowid) = cell.rowid.filter(|_| is_row) {
                rows.push((rowid, cell.columns));
            }
            Ok::<_, Infallible>(())
        });
        assert_eq!(unreadable, Ok(0));
        rows.sort_by_key(|row| row.0);
        rows
    }

    /// As SQLite wrote it: long values, all widths of integers, deleted rows, a log that is not in the file yet.
    #[test]
    fn every_row_is_found_as_sqlite_has_it_and_no_deleted_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let conn = Connection::open(&path).unwrap();
        conn.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;
             CREATE TABLE t (n INTEGER PRIMARY KEY, text TEXT, blob BLOB, number INTEGER, more INTEGER);
             CREATE INDEX i ON t (text, n);",
        )
        .unwrap();
        let wanted = |n: i64| {
            let number = (1i64 << (n % 63)) * if n % 2 == 0 { 1 } else { -1 };
            (format!("楼{n}"), vec![n as u8; (n * 37 % 9000) as usize], number)
        };
        for n in 1..=900 {
            let (text, blob, number) = wanted(n);
            conn.execute("INSERT INTO t VALUES (?1, ?2, ?3, ?4, ?5)", params![n, text, blob, number, n % 2])
                .unwrap();
            if n == 600 {
                conn.execute_batch("DELETE FROM t WHERE n <= 200; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
            }
        }
        let rows = rows(&path);
        let numbers: Vec<i64> = rows.iter().map(|row| row.0).collect();
        assert_eq!(numbers, (201..=900).collect::<Vec<_>>());
        for (n, columns) in rows {
            let (text, blob, number) = wanted(n);
            let more = Column::Integer(n % 2);
            let row = [Column::Null, Column::Text(text), Column::Blob(blob), Column::Integer(number), more];
            assert_eq!(columns, row);
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
        #[test]
        fn no_bytes_panic_or_loop(mut page in proptest::collection::vec(proptest::prelude::any::<u8>(), 2 * PAGE), kind in 0..4usize) {
            page[PAGE] = [INDEX_INTERIOR, INDEX_LEAF, TABLE_LEAF, page[PAGE]][kind];
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("a.db");
            std::fs::write(&path, &page).unwrap();
            std::fs::write(with(&path, "-wal"), &page).unwrap();
            Carver::open(&path).unwrap().each(|_| Ok::<_, Infallible>(())).unwrap();
        }
    }
}
