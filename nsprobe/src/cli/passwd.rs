//! The user database.
//!
//! A statically linked program reads only `/etc/passwd`: if nsswitch.conf names another source, glibc loads a module
//! for it, and with it a second glibc, which crashes such a program (glibc 2.36: SIGSEGV for a uid that no file has).

use nix::unistd::User;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};

/// The maximum number of bytes read of the file.
const MAX_BYTES: u64 = 16 << 20;

/// Set if this program must not query glibc for users.
const FILE_ONLY: bool = cfg!(target_feature = "crt-static");

/// The name of a user, if there is one.
pub(super) fn name(uid: u32) -> Option<String> {
    if FILE_ONLY {
        return find(|_, id| id == uid).map(|(name, _)| name);
    }
    User::from_uid(uid.into()).ok().flatten().map(|user| user.name)
}

/// The uid of a name, or why there is none.
pub(super) fn uid(name: &str) -> Result<u32, String> {
    if FILE_ONLY {
        let found = find(|user, _| user == name);
        return found.map(|(_, uid)| uid).ok_or_else(|| "there is no such user in /etc/passwd".to_owned());
    }
    match User::from_name(name) {
        Ok(Some(user)) => Ok(user.uid.as_raw()),
        Ok(None) => Err("there is no such user".to_owned()),
        Err(error) => Err(format!("the user database: {}", error.desc())),
    }
}

/// The first user in the file for which `wanted` is true.
fn find(wanted: impl Fn(&str, u32) -> bool) -> Option<(String, u32)> {
    let lines = BufReader::new(File::open("/etc/passwd").ok()?.take(MAX_BYTES)).lines();
    lines.map_while(Result::ok).filter_map(|line| parse(&line)).find(|(name, uid)| wanted(name, *uid))
}

/// The name and uid in a line of passwd(5).
fn parse(line: &str) -> Option<(String, u32)> {
    let mut fields = line.split(':');
    let (name, uid) = (fields.next()?, fields.nth(1)?.parse().ok()?);
    (!name.is_empty() && !name.starts_with(['#', '+', '-'])).then(|| (name.to_owned(), uid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_read_from_the_file() {
        assert_eq!(parse("daemon:x:1:1::/usr/sbin:/bin/false"), Some(("daemon".to_owned(), 1)));
        for line in ["", "x", "x:y", "x:y:z", ":x:1:1", "#a:x:1", "+:x:1:", "a:x:4294967296:0"] {
            assert_eq!(parse(line), None, "{line}");
        }
        assert_eq!(find(|_, uid| uid == 0), Some(("root".to_owned(), 0)));
        assert_eq!(
            (find(|name, _| name == "root"), find(|_, uid| uid == u32::MAX)),
            (find(|_, uid| uid == 0), None)
        );
        assert_eq!((name(0).as_deref(), uid("root"), name(u32::MAX)), (Some("root"), Ok(0), None));
    }
}
