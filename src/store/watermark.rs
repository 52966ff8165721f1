//! `events.mark`: how far the chain went, in a small file of its own. A store that is older than its mark, or gone, is
//! known to be so: it is never taken for a new one.
//!
//! It is written over in place after each event, without an fsync: a killed process loses nothing of it, and after a power
//! cut it may be behind the store, never ahead of what was sent.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tracing::debug;

/// A line of this many bytes, filled up with blanks: a write never changes the length of the file.
const LINE: usize = 160;

/// How far the chain went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    pub epoch: String,
    pub seq: u64,
    /// The epoch before, while the store may still stand in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<String>,
}

pub(super) struct Watermark {
    path: PathBuf,
    file: Option<File>,
    mark: Option<Mark>,
}

impl Watermark {
    pub fn open(dir: &Path) -> Self {
        let path = dir.join("events.mark");
        let read = fs::read(&path).ok();
        let mark = read.and_then(|bytes| serde_json::from_slice(bytes.trim_ascii()).ok());
        Self { path, file: None, mark }
    }

    /// `None`: there is none, or it cannot be read.
    pub fn mark(&self) -> Option<&Mark> {
        self.mark.as_ref()
    }

    /// On the disk itself: rarely, and before a store changes its epoch.
    pub fn set(&mut self, mark: Mark) {
        self.mark = Some(mark);
        if let Err(error) = self.write().and_then(|file| file.sync_all()) {
            debug!(%error, "The mark of the event chain cannot be written.");
            self.file = None;
        }
    }

    /// After each event.
    pub fn reach(&mut self, epoch: &str, seq: u64) {
        let same = self.mark.as_ref().is_some_and(|mark| mark.epoch == epoch && mark.was.is_none());
        if !same {
            return self.set(Mark { epoch: epoch.to_owned(), seq, was: None });
        }
        if let Some(mark) = &mut self.mark {
            mark.seq = mark.seq.max(seq);
        }
        if let Err(error) = self.write() {
            debug!(%error, "The mark of the event chain cannot be written.");
            self.file = None;
        }
    }

    /// The file was taken away: the next write makes it anew.
    pub fn reopen(&mut self) {
        self.file = None;
    }

    fn write(&mut self) -> io::Result<&File> {
        let Some(mark) = &self.mark else { return Err(io::ErrorKind::NotFound.into()) };
        let line = serde_json::to_string(mark)?;
        let line = format!("{line:<width$}\n", width = LINE - 1);
        let file = match self.file.take() {
            Some(file) => file,
            None => OpenOptions::new().write(true).create(true).truncate(false).open(&self.path)?,
        };
        file.write_all_at(line.as_bytes(), 0)?;
        Ok(self.file.insert(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_found_again_and_never_goes_back_within_an_epoch() {
        let dir = tempfile::tempdir().unwrap();
        let mut mark = Watermark::open(dir.path());
        assert_eq!(mark.mark(), None);
        for seq in [5, 99_999, 7] {
            mark.reach("e1", seq);
        }
        assert_eq!(Watermark::open(dir.path()).mark().map(|mark| mark.seq), Some(99_999));
        mark.reach("e2", 3);
        let found = Watermark::open(dir.path());
        assert_eq!(found.mark().map(|mark| (mark.epoch.as_str(), mark.seq)), Some(("e2", 3)));
        assert_eq!(fs::metadata(dir.path().join("events.mark")).unwrap().len(), LINE as u64);
        fs::write(dir.path().join("events.mark"), "not a mark").unwrap();
        assert_eq!(Watermark::open(dir.path()).mark(), None);
    }
}
