//! What can go wrong with the two files, named by what happened.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use rusqlite::ErrorCode;

use crate::{
    domain::{Size, Text},
    text,
};

/// Which of the two files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum File {
    Events,
    Telemetry,
}

impl File {
    pub fn name(self) -> &'static str {
        match self {
            File::Events => "events.db",
            File::Telemetry => "telemetry.db",
        }
    }
}

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What was wanted of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// What the store's group may: read its files, knock at its door.
    Read,
    /// Only the gateway's own user may.
    Write,
}

impl Access {
    fn word(self) -> &'static str {
        match self {
            Access::Read => "read",
            Access::Write => "write",
        }
    }
}

/// Each message fits "failed to …".
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("open the store in {}: another gatehouse{} is using it", dir.display(), pid_words(*pid))]
    InUse { dir: PathBuf, pid: Option<u32> },
    #[error("trust SQLite {found}: versions before {needed} can corrupt a file in WAL mode")]
    SqliteTooOld { found: String, needed: &'static str },
    #[error("open {file}: its schema is version {found}, this program knows up to {known}")]
    Newer { file: File, found: i64, known: i64 },
    #[error("use {file}: it is damaged ({what})")]
    Damaged { file: File, what: String },
    #[error("write to {file}: no room is left for it")]
    Full { file: File },
    /// The disk failed under an earlier write: what the file holds is known again only after a restart.
    #[error("write to {file}: an earlier write failed ({why})")]
    Failed { file: File, why: String },
    /// The file cannot be used now. What is decided is kept in memory meanwhile and stored once it can be.
    #[error("write to {file}: {why}")]
    Away { file: File, why: String },
    #[error(
        "start: [store] may grow to {wanted} in {}, and that partition holds {holds} in all (events_max {events_max}, telemetry_max {telemetry_max}, \
         their logs, ballast and reserve)", dir.display()
    )]
    TooLarge { dir: PathBuf, wanted: Size, holds: Size, events_max: Size, telemetry_max: Size },
    #[error("{doing} {}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    /// Something may be there, but this user cannot see it.
    #[error("{} {}: this user may not", access.word(), path.display())]
    NotPermitted { path: PathBuf, access: Access },
    /// Nothing was ever stored there.
    #[error("find {}", path.display())]
    Missing { path: PathBuf },
    #[error("commit event {found}: the chain stands at {last}, so the next is {}", last + 1)]
    OutOfOrder { last: u64, found: u64 },
    #[error("find undelivered letter {row}")]
    NoSuchLetter { row: i64 },
    #[error("reach {file}: it is closed")]
    Closed { file: File },
    #[error("bring {file} to the present schema: {source}")]
    Migration { file: File, source: rusqlite_migration::Error },
    #[error("use {file}: {source}")]
    Sqlite { file: File, source: rusqlite::Error },
}

/// What kind of trouble a disk has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// No room.
    Room,
    /// Reading, writing or fsync failed: nobody knows what the file holds until it is opened anew. After a failed fsync a
    /// second one on the same handle "succeeds" without having written anything (wiki.postgresql.org/wiki/Fsync_Errors).
    Disk,
    /// The file is there, and not what SQLite wrote.
    Damage,
    /// Read-only, gone, or not for this user.
    Reach,
}

fn megabytes(size: Size) -> String {
    format!("{} MiB", size.0.div_ceil(1 << 20))
}

fn pid_words(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}

impl StoreError {
    /// What the system says of `path`.
    pub(super) fn io(doing: &'static str, path: &Path, access: Access, source: io::Error) -> StoreError {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::PermissionDenied => StoreError::NotPermitted { path, access },
            _ => StoreError::Io { doing, path, source },
        }
    }

    /// Sorts what SQLite says into what callers branch on.
    pub(super) fn sql(file: File) -> impl Fn(rusqlite::Error) -> StoreError + Copy {
        move |source| match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => StoreError::Full { file },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                StoreError::Damaged { file, what: source.to_string() }
            }
            _ => StoreError::Sqlite { file, source },
        }
    }

    /// It passes by itself or with somebody's help, and the gateway goes on meanwhile; after any other failure it starts anew.
    pub fn passes(&self) -> bool {
        matches!(self, StoreError::Full { .. } | StoreError::Away { .. })
    }

    /// What kind of trouble the disk has, if it is the disk's.
    pub(super) fn fault(&self) -> Option<Fault> {
        match self {
            StoreError::Full { .. } => Some(Fault::Room),
            StoreError::Damaged { .. } => Some(Fault::Damage),
            StoreError::Sqlite { source, .. } => match source.sqlite_error_code() {
                Some(ErrorCode::SystemIoFailure) => Some(Fault::Disk),
                Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                    Some(Fault::Reach)
                }
                _ => None,
            },
            StoreError::Io { .. } | StoreError::NotPermitted { .. } => Some(Fault::Reach),
            StoreError::Migration {
                source: rusqlite_migration::Error::RusqliteError { err, .. }, ..
            } => match err.sqlite_error_code() {
                Some(ErrorCode::DiskFull) => Some(Fault::Room),
                Some(ErrorCode::SystemIoFailure) => Some(Fault::Disk),
                Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen) => Some(Fault::Reach),
                _ => None,
            },
            StoreError::InUse { .. }
            | StoreError::SqliteTooOld { .. }
            | StoreError::Newer { .. }
            | StoreError::Failed { .. }
            | StoreError::Away { .. }
            | StoreError::TooLarge { .. }
            | StoreError::Missing { .. }
            | StoreError::OutOfOrder { .. }
            | StoreError::NoSuchLetter { .. }
            | StoreError::Closed { .. }
            | StoreError::Migration { .. } => None,
        }
    }

    /// The same in both languages, for a person.
    pub fn text(&self) -> Text {
        match self {
            StoreError::InUse { dir, pid } => {
                let (dir, zh) = (dir.display(), pid.map(|pid| format!("（进程 {pid}）")).unwrap_or_default());
                text!("另一个 gatehouse{zh}正在使用存储目录 {dir}", "failed to {self}")
            }
            StoreError::SqliteTooOld { found, needed } => {
                text!("SQLite {found} 过旧：{needed} 之前的版本在 WAL 模式下可能损坏文件", "failed to {self}")
            }
            StoreError::Newer { file, found, known } => {
                text!("{file} 的结构版本为 {found}，本程序最高支持 {known}，请升级程序", "failed to {self}")
            }
            StoreError::Damaged { file, what } => text!("{file} 已损坏（{what}）", "failed to {self}"),
            StoreError::Full { file } => text!("{file} 没有剩余空间", "failed to {self}"),
            StoreError::Failed { file, why } => {
                text!("{file} 此前写入失败（{why}），需要重新启动", "failed to {self}")
            }
            StoreError::Away { file, why } => {
                text!("{file} 现在无法写入（{why}）", "failed to {self}")
            }
            StoreError::TooLarge { dir, wanted, holds, events_max, telemetry_max } => {
                let (dir, wanted, holds) = (dir.display(), megabytes(*wanted), megabytes(*holds));
                text!(
                    "[store] 的上限放不进 {dir} 所在的分区：events_max {events_max} + telemetry_max {telemetry_max} + 日志、压舱文件和预留共 {wanted}，\
                     分区总共只有 {holds}。请调小 events_max 或 telemetry_max，或把 dir 换到更大的分区",
                    "the limits of [store] do not fit the partition of {dir}: events_max {events_max} + telemetry_max {telemetry_max} + logs, ballast \
                     and reserve make {wanted}, and it holds {holds} in all. Lower events_max or telemetry_max, or put `dir` on a larger partition"
                )
            }
            StoreError::Io { path, source, .. } => {
                let path = path.display();
                text!("{path}：{source}", "failed to {self}")
            }
            StoreError::NotPermitted { path, access: Access::Read } => {
                let path = path.display();
                text!(
                    "当前用户无权读取 {path}：请用 gatehouse 组的用户运行",
                    "this user may not read {path}: run as a member of group gatehouse"
                )
            }
            StoreError::NotPermitted { path, access: Access::Write } => {
                let path = path.display();
                text!(
                    "当前用户无权写入 {path}：请用 gatehouse 用户运行（sudo -u gatehouse）",
                    "this user may not write {path}: run as user gatehouse (sudo -u gatehouse)"
                )
            }
            StoreError::Missing { path } => {
                let dir = path.parent().unwrap_or(path).display();
                text!("{dir} 中从未存储过任何内容", "nothing was ever stored in {dir}")
            }
            StoreError::OutOfOrder { last, found } => {
                text!("事件 {found} 顺序不符：当前末尾是 {last}", "failed to {self}")
            }
            StoreError::NoSuchLetter { row } => text!("没有待发的第 {row} 封信", "failed to {self}"),
            StoreError::Closed { file } => text!("{file} 已关闭", "failed to {self}"),
            StoreError::Migration { file, source } => {
                text!("{file} 结构升级失败：{source}", "failed to {self}")
            }
            StoreError::Sqlite { file, source } => text!("{file}：{source}", "failed to {self}"),
        }
    }
}
