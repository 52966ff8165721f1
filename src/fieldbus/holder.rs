//! Who has a serial port open: the processes that this user may look into.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::domain::Holder;

/// Another process than ourselves that has `port` open, if one can be found.
pub fn of(port: &Path) -> Option<Holder> {
    let wanted = fs::canonicalize(port).ok()?;
    let pids = fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let pid = pids.filter(|pid| *pid != std::process::id()).find(|pid| has_open(*pid, &wanted))?;
    let program = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(Holder { pid, program: program.trim_end().to_owned() })
}

fn has_open(pid: u32, wanted: &PathBuf) -> bool {
    let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    open.flatten().any(|entry| fs::read_link(entry.path()).is_ok_and(|path| path == *wanted))
}
