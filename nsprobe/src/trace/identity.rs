//! The identity of one trace, and of one machine.

use crate::discover::proc_reader::ProcReader;
use crate::kernel::{nsfs, random};
use crate::model::{Host, Mark, NsKey, NsKind, Text};
use nix::sys::utsname::uname;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;

/// A new id for a stream, unique: a random UUID (version 4 of RFC 9562).
pub fn stream() -> io::Result<String> {
    let mut bytes: [u8; 16] = random::bytes()?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = format!("{:032x}", u128::from_be_bytes(bytes));
    Ok(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}

/// The machine on which this runs.
#[must_use]
pub fn host() -> Host {
    let name = uname().ok().map(|uname| Text::from(uname.nodename().as_bytes().to_vec()));
    Host {
        name: name.filter(|name| !name.is_empty()),
        machine_id: start_of("/etc/machine-id").as_deref().and_then(machine_id),
        boot_id: start_of("/proc/sys/kernel/random/boot_id").as_deref().and_then(boot_id),
    }
}

/// The initial namespace of each kind: those of the kernel thread with pid 2; `None` if unknown.
#[must_use]
pub fn initial_namespaces() -> Vec<(NsKind, Option<NsKey>)> {
    let is_whole = ProcReader::open().is_ok_and(|reader| reader.is_of_whole_machine());
    let namespace = |kind: NsKind| {
        let file = File::open(format!("/proc/2/ns/{}", kind.name())).ok()?;
        let id = nsfs::id(file.as_fd(), kind).ok()?;
        Some(NsKey { id, mark: nsfs::kernel_id(file.as_fd(), kind).map_or(Mark::Unknown, Mark::of_id) })
    };
    let all = NsKind::ALL.into_iter().map(|kind| (kind, is_whole.then(|| namespace(kind)).flatten()));
    let mut all: Vec<(NsKind, Option<NsKey>)> = all.collect();
    // Before 6.18 only mount namespaces have ids, which are not used as marks: no event has them.
    let has_id = |&(kind, key): &(NsKind, Option<NsKey>)| {
        kind != NsKind::Mnt && key.is_some_and(|key| key.mark != Mark::Unknown)
    };
    if !all.iter().any(has_id) {
        all.iter_mut().filter_map(|(_, key)| key.as_mut()).for_each(|key| key.mark = Mark::Unknown);
    }
    all
}

/// The first bytes of a short file.
fn start_of(path: &str) -> Option<Vec<u8>> {
    const MOST: u64 = 64;
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(MOST).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// 32 hexadecimal digits: machine-id(5).
fn machine_id(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?.trim_end();
    (text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| text.to_owned())
}

/// A UUID.
fn boot_id(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?.trim_end();
    let is_one = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    (text.len() == 36 && text.bytes().all(is_one)).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_streams_are_uuids_and_differ() {
        let (one, other) = (stream().unwrap(), stream().unwrap());
        assert_ne!(one, other);
        assert_eq!(boot_id(one.as_bytes()).as_ref(), Some(&one));
        assert_eq!(&one[14..15], "4");
    }

    #[test]
    fn invalid_ids_are_none() {
        let id = b"0123456789abcdef0123456789abcdef\n";
        assert_eq!(machine_id(id).as_deref(), Some("0123456789abcdef0123456789abcdef"));
        // The content that systemd writes before the first boot is complete.
        assert_eq!(machine_id(b"uninitialized\n"), None);
        assert_eq!(machine_id(b""), None);
        assert_eq!(boot_id(b"0123456789abcdef\n"), None);
    }
}
