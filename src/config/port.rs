//! Whether a serial port is there and may be used: looked at, never opened, for a bus may be using it now.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::Path,
};

use rustix::fs::{Access, AtFlags, CWD, accessat};

use crate::{domain::Text, text};

/// What keeps `port` from being opened, and what to do about it. A box can be set up before its cables are in.
pub(super) fn flaw(port: &Path) -> Option<Text> {
    let shown = port.display();
    let found = match fs::metadata(port) {
        Ok(found) => found,
        Err(error) => return Some(unseen(port, &error)),
    };
    if !found.file_type().is_char_device() {
        return Some(text!(
            "{shown} 不是串口：请写设备文件，例如 /dev/ttyS3",
            "{shown} is no serial port: name its device, such as /dev/ttyS3"
        ));
    }
    let may = accessat(CWD, port, Access::READ_OK | Access::WRITE_OK, AtFlags::EACCESS);
    may.is_err().then(|| {
        let group = found.gid();
        text!(
            "当前用户没有串口 {shown} 的读写权限：把运行网关的用户加入该文件的组（gid {group}，一般是 dialout）",
            "this user may not read and write serial port {shown}: put the gateway's user into its group (gid {group}, mostly dialout)"
        )
    })
}

fn unseen(port: &Path, error: &io::Error) -> Text {
    let shown = port.display();
    match error.kind() {
        io::ErrorKind::NotFound => text!(
            "没有串口 {shown}：插好了吗？现有的：ls /dev/serial/by-id /dev/ttyS*",
            "there is no serial port {shown}: is it plugged in? ls /dev/serial/by-id /dev/ttyS* shows what there is"
        ),
        _ => text!("串口 {shown} 看不到：{error}", "serial port {shown} cannot be looked at: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn said(port: &Path) -> String {
        flaw(port).map(|told| told.en).unwrap_or_default()
    }

    #[test]
    fn a_port_is_looked_at_and_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("file"), "").unwrap();
        symlink("/dev/null", path("link")).unwrap();
        symlink(path("gone"), path("unplugged")).unwrap();
        for (fact, port, expected) in [
            ("there and open to us", "/dev/null".into(), None),
            ("by a link, as udev gives them", path("link"), None),
            ("absent", path("ttyS99"), Some("there is no serial port")),
            ("a link to what was unplugged", path("unplugged"), Some("there is no serial port")),
            ("a file", path("file"), Some("is no serial port")),
            ("a directory", dir.path().to_owned(), Some("is no serial port")),
            ("below a file", path("file").join("tty"), Some("cannot be looked at")),
        ] {
            let said = said(&port);
            assert!(expected.map_or(said.is_empty(), |expected| said.contains(expected)), "{fact}: {said}");
        }
    }

    #[test]
    fn a_port_of_others_is_named_with_the_group_to_join() {
        if rustix::process::geteuid().is_root() {
            // root may open everything: there is nothing to see
            return;
        }
        let pty =
            rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY).unwrap();
        rustix::pty::grantpt(&pty).unwrap();
        rustix::pty::unlockpt(&pty).unwrap();
        let name = rustix::pty::ptsname(&pty, Vec::new()).unwrap();
        let port = Path::new(name.to_str().unwrap());
        assert_eq!(said(port), "");
        fs::set_permissions(port, fs::Permissions::from_mode(0o000)).unwrap();
        assert!(said(port).contains("may not read and write"), "{}", said(port));
    }
}
