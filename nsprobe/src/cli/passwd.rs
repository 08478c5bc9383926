//! The user database of a program that is linked statically: `/etc/passwd` alone.
//!
//! Where nsswitch.conf names another source, glibc loads a module for that, and with it a second glibc, of which a
//! statically linked program dies (glibc 2.36: SIGSEGV for a user id that no file has).

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};

/// No more of the file is read.
const MOST: u64 = 16 << 20;

/// Whether this program is one that must not ask glibc for users.
pub(super) const ALONE: bool = cfg!(target_feature = "crt-static");

/// The name of a user, if the file has it.
pub(super) fn name(uid: u32) -> Option<String> {
    find(|_, id| id == uid).map(|(name, _)| name)
}

/// The user of a name, if the file has it.
pub(super) fn uid(name: &str) -> Option<u32> {
    find(|user, _| user == name).map(|(_, uid)| uid)
}

fn find(wanted: impl Fn(&str, u32) -> bool) -> Option<(String, u32)> {
    let lines = BufReader::new(File::open("/etc/passwd").ok()?.take(MOST)).lines();
    let users = lines.map_while(Result::ok).filter_map(|line| parse(&line));
    let mut users = users.filter(|(name, uid)| wanted(name, *uid));
    users.next()
}

/// The name and the id in a line of passwd(5).
fn parse(line: &str) -> Option<(String, u32)> {
    let mut fields = line.split(':');
    let (name, uid) = (fields.next()?, fields.nth(1)?.parse().ok()?);
    (!name.is_empty() && !name.starts_with(['#', '+', '-'])).then(|| (name.to_owned(), uid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_those_of_the_file() {
        assert_eq!(parse("daemon:x:1:1::/usr/sbin:/bin/false"), Some(("daemon".to_owned(), 1)));
        for line in ["", "x", "x:y", "x:y:z", ":x:1:1", "#a:x:1", "+:x:1:", "a:x:4294967296:0"] {
            assert_eq!(parse(line), None, "{line}");
        }
        assert_eq!((name(0).as_deref(), uid("root"), name(u32::MAX)), (Some("root"), Some(0), None));
    }
}
