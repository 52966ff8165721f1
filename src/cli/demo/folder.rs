//! Where the demo's site file and store lie: a directory of its own that goes when the demo ends, or one to keep.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use tracing::warn;

use crate::{
    domain::{EventId, Text},
    text,
};

/// Below a longer one the name of the gateway's door would not fit a unix socket's address (108 bytes).
const LONGEST: usize = 56;

#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Nothing of it is to be removed (any more).
    kept: bool,
}

impl Folder {
    /// A directory that nobody else can look into, removed with all that is in it when this is dropped.
    ///
    /// # Errors
    /// If the system's temporary directory takes no more.
    pub fn passing() -> io::Result<Self> {
        let random = EventId::random().to_string();
        let name = format!("gatehouse-demo-{}", random.get(..8).unwrap_or(&random));
        let temporary = std::env::temp_dir();
        let roomy = temporary.as_os_str().len() <= LONGEST;
        let path = if roomy { temporary } else { PathBuf::from("/tmp") }.join(name);
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self { path, kept: false })
    }

    /// `dir`, made if it is not there.
    ///
    /// # Errors
    /// If there is something in it already: an older demo's alarms would mix with this one's.
    pub fn keep(dir: &Path) -> io::Result<Self> {
        let path = std::path::absolute(dir)?;
        DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        if fs::read_dir(&path)?.next().is_some() {
            return Err(io::Error::new(io::ErrorKind::DirectoryNotEmpty, "the directory is not empty"));
        }
        Ok(Self { path, kept: true })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it, unless it is to be kept; gives what to say of it.
    ///
    /// # Errors
    /// If something in it cannot be removed.
    pub fn leave(mut self) -> io::Result<Text> {
        let path = self.path.display();
        if self.kept {
            return Ok(text!(
                "已停止；配置和数据留在 {path}",
                "stopped; site file and store are left in {path}"
            ));
        }
        fs::remove_dir_all(&self.path)?;
        self.kept = true;
        Ok(text!("已停止；临时目录已删除", "stopped; the temporary directory is gone"))
    }
}

impl Drop for Folder {
    /// For ends that do not come by [`Folder::leave`].
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            warn!(path = %self.path.display(), %error, "The demo's directory could not be removed.");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passing_folder_goes_a_kept_one_stays_and_must_be_empty() {
        let passing = Folder::passing().unwrap();
        let path = passing.path().to_owned();
        fs::write(path.join("x"), "x").unwrap();
        drop(passing);
        assert!(!path.exists(), "dropped");

        let passing = Folder::passing().unwrap();
        let path = passing.path().to_owned();
        passing.leave().unwrap();
        assert!(!path.exists(), "left");

        let somewhere = tempfile::tempdir().unwrap();
        let dir = somewhere.path().join("a/b");
        let kept = Folder::keep(&dir).unwrap();
        fs::write(kept.path().join("x"), "x").unwrap();
        kept.leave().unwrap();
        assert!(dir.join("x").exists(), "kept");
        assert_eq!(Folder::keep(&dir).unwrap_err().kind(), io::ErrorKind::DirectoryNotEmpty);
        assert!(dir.join("x").exists(), "refused, untouched");
    }
}
