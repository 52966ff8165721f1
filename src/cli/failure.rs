//! How a verb that failed ends: one sentence in the reader's language, and the exit code.

use std::io::{self, ErrorKind};

use super::exit;
use crate::{domain::Lang, say, store::StoreError};

/// The sentence for standard error and the exit code: 8 if this user may not, else 1.
pub fn told(error: &anyhow::Error, lang: Lang) -> (String, u8) {
    if let Some(store) = error.chain().find_map(|cause| cause.downcast_ref::<StoreError>()) {
        let (text, code) = (store.text(), code_of(store));
        let told = text.get(lang);
        return (say!(lang, "错误：{told}", "error: {told}"), code);
    }
    let chain = error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ");
    match is_denied(error) {
        true => {
            let told = say!(lang, "错误：当前用户没有权限（{chain}）", "error: failed to {chain}");
            (told, exit::NOT_PERMITTED)
        }
        false => (say!(lang, "错误：没有完成（{chain}）", "error: failed to {chain}"), exit::UNEXPECTED),
    }
}

/// Exit codes of the store's troubles, for every verb.
pub fn code_of(error: &StoreError) -> u8 {
    match error {
        StoreError::NotPermitted { .. } => exit::NOT_PERMITTED,
        StoreError::Missing { .. } => exit::NOTHING_FOUND,
        StoreError::TooLarge { .. } => exit::INVALID,
        StoreError::Newer { .. } => exit::TOO_OLD,
        StoreError::Failed { .. } => exit::DISK_FAILED,
        StoreError::InUse { .. }
        | StoreError::SqliteTooOld { .. }
        | StoreError::Damaged { .. }
        | StoreError::Full { .. }
        | StoreError::Away { .. }
        | StoreError::Io { .. }
        | StoreError::OutOfOrder { .. }
        | StoreError::NoSuchLetter { .. }
        | StoreError::Closed { .. }
        | StoreError::Migration { .. }
        | StoreError::Sqlite { .. } => exit::UNEXPECTED,
    }
}

/// Whoever read our output has seen enough: that is no failure. A unix socket that breaks is one.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let bare = error.downcast_ref::<io::Error>().filter(|_| error.chain().count() == 1);
    bare.is_some_and(|cause| cause.kind() == ErrorKind::BrokenPipe)
}

fn is_denied(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.any(|cause| cause.kind() == ErrorKind::PermissionDenied)
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;
    use crate::store::{Access, File};

    #[test]
    fn a_failure_is_one_sentence_in_one_language() {
        let stored = |error: StoreError| Err::<(), _>(error).context("open the event store").unwrap_err();
        let denied = || StoreError::NotPermitted { path: "/s/events.db".into(), access: Access::Read };
        for (fact, error, code, zh, en) in [
            (
                "the store, in its own words",
                stored(StoreError::Full { file: File::Events }),
                1,
                "错误：events.db 没有剩余空间",
                "error: failed to write to events.db: no room is left for it",
            ),
            (
                "not permitted",
                stored(denied()),
                8,
                "错误：当前用户无权读取 /s/events.db：请用 gatehouse 组的用户运行",
                "error: this user may not read /s/events.db: run as a member of group gatehouse",
            ),
            (
                "the door is not for us",
                anyhow::Error::from(io::Error::from(ErrorKind::PermissionDenied))
                    .context("reach the gateway"),
                8,
                "错误：当前用户没有权限（reach the gateway: permission denied）",
                "error: failed to reach the gateway: permission denied",
            ),
            (
                "anything else",
                anyhow!("no threads").context("start the runtime"),
                1,
                "错误：没有完成（start the runtime: no threads）",
                "error: failed to start the runtime: no threads",
            ),
        ] {
            assert_eq!(told(&error, Lang::Zh), (zh.to_owned(), code), "{fact}");
            assert_eq!(told(&error, Lang::En), (en.to_owned(), code), "{fact}");
        }
        let broken = || anyhow::Error::from(io::Error::from(ErrorKind::BrokenPipe));
        assert!(is_broken_pipe(&broken()) && !is_broken_pipe(&broken().context("reach the gateway")));
    }
}
