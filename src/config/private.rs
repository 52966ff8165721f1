//! `[store] key`: where the key lies that values of persons are sealed under, and for how long they can be read.

use std::path::Path;

use super::{PrivateStore, desk::Desk, file::StoreTable, secret::Secrets};
use crate::{at, store::privacy::OuterKey, text};

/// A key is made each day: a shorter time could not be kept.
const SHORTEST_SECONDS: u64 = 86_400;

/// `dir`: of the databases.
pub(super) fn private(desk: &mut Desk<'_>, table: &StoreTable, dir: &Path) -> Option<PrivateStore> {
    let path = at!["store", "key"];
    if table.private_keep.0.as_secs() < SHORTEST_SECONDS {
        desk.error(
            at!["store", "private_keep"],
            text!("个人信息至少保留 1d", "values of persons are kept for 1d at least"),
        );
    }
    let file = &table.key.as_ref()?.file;
    let key_file = desk.vault.find(file);
    if key_file.starts_with(dir) {
        let told = text!(
            "密钥不能放在数据目录里：谁拿走数据库，就连密钥一起拿走了",
            "the key may not lie in the directory of the databases: whoever takes them takes it along"
        );
        desk.error(path, told);
        return None;
    }
    // the first start makes it
    if desk.vault.secrets == Secrets::Read && key_file.exists() {
        desk.secret(path, table.key.as_ref()?)?;
        if let Err(why) = OuterKey::load(&key_file) {
            let told = text!("密钥文件不能用：应为 32 字节的 base64（{why}）", "failed to {why}");
            desk.error(path, told);
            return None;
        }
    }
    Some(PrivateStore { key_file, keep: table.private_keep, may_be_made: true })
}
