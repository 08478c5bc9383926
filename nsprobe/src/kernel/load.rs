//! The number of tasks of the machine.

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use std::io;
use std::os::fd::BorrowedFd;

/// Reads `loadavg` from the proc file system at `proc` itself, proc_loadavg(5): container managers mount a file of their
/// own over it, whose server may not answer.
pub fn average(proc: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_XDEV | ResolveFlag::RESOLVE_NO_SYMLINKS);
    let mut text = vec![0; 128];
    let length = nix::unistd::read(openat2(proc, "loadavg", how)?, &mut text)?;
    text.truncate(length);
    Ok(text)
}
