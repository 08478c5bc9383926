//! The tracing file system, mounted or not.

use super::lockdown::Lockdown;
use super::pseudo::{PseudoFs, mounted};
use nix::sys::statfs::FsType;
use std::io;

/// `<linux/magic.h>`: `TRACEFS_MAGIC`.
const MAGIC: FsType = FsType(0x7472_6163);

/// The usual mount points.
const MOUNT_POINTS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// Opens the tracing file system.
///
/// `EPERM` under lockdown for confidentiality, where its files cannot be opened anyway, and where the kernel has none in
/// it: then its first mount is its last one too, and Debian's Linux 6.12 fails when that ends (`kernel BUG` in
/// `tracefs_destroy_inode`).
pub fn open() -> io::Result<PseudoFs> {
    if !is_mounted_here() && Lockdown::read() == Lockdown::Confidentiality {
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    PseudoFs::open(c"tracefs", MAGIC, &MOUNT_POINTS)
}

/// Returns true if it is mounted where this process can see it.
#[must_use]
pub fn is_mounted_here() -> bool {
    MOUNT_POINTS.iter().any(|mount_point| mounted(mount_point, MAGIC).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tracefs_is_readable_unmounted_and_leaves_no_mount() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("SKIPPED tracefs: needs root");
            return;
        }
        if Lockdown::read() == Lockdown::Confidentiality {
            eprintln!("SKIPPED tracefs: lockdown");
            return;
        }
        let before = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let id = PseudoFs::open(c"tracefs", MAGIC, &[])
            .and_then(|tracefs| tracefs.read("events/syscalls/sys_enter_setns/id"))
            .unwrap();
        assert!(id.trim().parse::<u32>().is_ok(), "{id}");
        assert_eq!(std::fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
    }
}
