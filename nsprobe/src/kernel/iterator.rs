//! Reads BPF iterators to their ends.

use std::fs::File;
use std::io::{self, Read as _};

/// The size of a read: more than the kernel returns at once, which is 32 KB.
const CHUNK: usize = 1 << 16;

/// Reads all that an iterator writes.
pub(super) fn read_all(file: &mut File) -> io::Result<Vec<u8>> {
    let (mut bytes, mut end) = (Vec::new(), 0);
    loop {
        bytes.resize(end + CHUNK, 0);
        match file.read(&mut bytes[end..]) {
            Ok(0) => break,
            Ok(count) => end += count,
            // Interrupted; or the program wants to see a task again, or a million of them passed without a record: the
            // iterator continues where it was.
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(end);
    Ok(bytes)
}
