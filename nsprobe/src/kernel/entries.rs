//! Directories whose entries are numbers: getdents64(2), without the allocation of 32 KB and the two calls that
//! opendir(3) adds for each.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// Enough for the descriptors of nearly every process in one call.
const ROOM: usize = 8192;

/// Reads the numeric entries of an open directory of `/proc`, from its current position.
pub(super) fn numbers(dir: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    let mut buffer = [0_u8; ROOM];
    loop {
        // SAFETY: the kernel writes at most `ROOM` bytes to the buffer, which has as many and outlives the
        // call; the descriptor is open.
        let length =
            unsafe { libc::syscall(libc::SYS_getdents64, dir.as_raw_fd(), buffer.as_mut_ptr(), ROOM) };
        let Ok(length) = usize::try_from(length) else { return Err(io::Error::last_os_error()) };
        if length == 0 {
            return Ok(found);
        }
        parse(&buffer[..length.min(ROOM)], &mut found);
    }
}

/// Parses the numeric names in a sequence of `struct linux_dirent64`.
fn parse(mut entries: &[u8], found: &mut Vec<u32>) {
    // Inode and offset, 8 bytes each; the length of the entry, 2; the file type, 1; the name.
    while let Some(length) = entries.get(16..18).and_then(|bytes| bytes.try_into().ok()) {
        let length = usize::from(u16::from_ne_bytes(length));
        let Some(name) = entries.get(19..length) else { return };
        let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
        if let Some(number) = std::str::from_utf8(&name[..end]).ok().and_then(|name| name.parse().ok()) {
            found.push(number);
        }
        entries = &entries[length..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::fs::File;
    use std::os::fd::AsFd as _;

    fn entry(name: &str) -> Vec<u8> {
        let length = (19 + name.len() + 1).next_multiple_of(8);
        let mut bytes = vec![7; 16];
        bytes.extend(u16::try_from(length).unwrap().to_ne_bytes());
        bytes.push(libc::DT_LNK);
        bytes.extend(name.as_bytes());
        bytes.resize(length, 0);
        bytes
    }

    #[test]
    fn only_numeric_entries_are_kept() {
        let entries = [".", "..", "0", "17", "self", "4194304", "-1", "99999999999"].map(entry).concat();
        let mut found = Vec::new();
        parse(&entries, &mut found);
        assert_eq!(found, [0, 17, 4_194_304]);
        for end in 0..entries.len() {
            parse(&entries[..end], &mut Vec::new());
        }
        parse(&[0; 64], &mut found);
        assert_eq!(found.len(), 3, "an entry of no length ends it");
    }

    #[test]
    fn large_directory_is_read_whole() {
        // More entries than fit into one call.
        let dir = tempfile::tempdir().unwrap();
        for number in 0..1000 {
            File::create(dir.path().join(number.to_string())).unwrap();
        }
        let found = numbers(File::open(dir.path()).unwrap().as_fd()).unwrap();
        assert_eq!(found.iter().copied().collect::<BTreeSet<_>>(), (0..1000).collect());
        assert_eq!(found.len(), 1000);
        let tasks = numbers(File::open("/proc/self/task").unwrap().as_fd()).unwrap();
        assert!(tasks.contains(&std::process::id()), "{tasks:?}");
        let error = numbers(File::open("/proc/self/stat").unwrap().as_fd()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOTDIR));
    }
}
