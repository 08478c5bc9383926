//! Kernel file systems such as securityfs, mounted or not; tracefs is in `tracefs.rs`.

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::sys::statfs::{FsType, fstatfs};
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

/// A kernel file system, open at its root.
#[derive(Debug)]
pub struct PseudoFs {
    root: OwnedFd,
    /// True if it was found mounted; otherwise the mount belongs to this descriptor and ends with it.
    pub mounted: bool,
}

/// `<linux/magic.h>`: `SECURITYFS_MAGIC`.
const SECURITYFS_MAGIC: FsType = FsType(0x7363_6673);
/// `<linux/magic.h>`: `DEBUGFS_MAGIC`.
const DEBUGFS_MAGIC: FsType = FsType(0x6462_6720);

impl PseudoFs {
    /// Opens the file system of the security modules.
    pub fn securityfs() -> io::Result<Self> {
        Self::open(c"securityfs", SECURITYFS_MAGIC, &["/sys/kernel/security"])
    }

    /// Opens the file system for debugging.
    pub fn debugfs() -> io::Result<Self> {
        Self::open(c"debugfs", DEBUGFS_MAGIC, &["/sys/kernel/debug"])
    }

    /// Opens the first of the `mount_points` where it is mounted, otherwise a detached mount of our own: nobody
    /// sees it, and nothing needs to be undone.
    pub(super) fn open(name: &CStr, magic: FsType, mount_points: &[&str]) -> io::Result<Self> {
        for mount_point in mount_points {
            if let Some(root) = mounted(mount_point, magic) {
                return Ok(Self { root, mounted: true });
            }
        }
        Ok(Self { root: detached(name)?, mounted: false })
    }

    /// Reads the text of one of its files.
    pub fn read(&self, path: &str) -> io::Result<String> {
        let fd = openat(&self.root, path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
        let mut text = String::new();
        File::from(fd).read_to_string(&mut text)?;
        Ok(text)
    }
}

/// Opens the root of a file system that is mounted there; `None` if it is not. By O_PATH, which mounts nothing where the
/// kernel would mount it on demand (tracefs in debugfs); statfs(2) would.
pub(super) fn mounted(mount_point: &str, magic: FsType) -> Option<OwnedFd> {
    let root = nix::fcntl::open(mount_point, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).ok()?;
    fstatfs(&root).is_ok_and(|found| found.filesystem_type() == magic).then_some(root)
}

/// Mounts a file system without attaching it anywhere: fsopen(2), fsconfig(2), fsmount(2), Linux 5.2. Needs
/// CAP_SYS_ADMIN.
fn detached(name: &CStr) -> io::Result<OwnedFd> {
    // SAFETY: fsopen reads the NUL-ended `name`, which outlives the call.
    let context = owned(unsafe { libc::syscall(libc::SYS_fsopen, name.as_ptr(), FSOPEN_CLOEXEC) })?;
    let null = std::ptr::null::<libc::c_char>();
    // SAFETY: FSCONFIG_CMD_CREATE takes neither key nor value, and both are null.
    let created =
        unsafe { libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), FSCONFIG_CMD_CREATE, null, null, 0) };
    if created < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: fsmount takes three integers.
    owned(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), FSMOUNT_CLOEXEC, 0) })
}

/// `<linux/mount.h>`.
const FSOPEN_CLOEXEC: libc::c_uint = 1;
/// `<linux/mount.h>`.
const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
/// `<linux/mount.h>`.
const FSMOUNT_CLOEXEC: libc::c_uint = 1;

fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = libc::c_int::try_from(result).map_err(io::Error::other)?;
    // SAFETY: the kernel has just created this descriptor for us, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
