//! Finds the type of file that a descriptor of another process refers to: statx(2), Linux 4.11.

use std::ffi::CStr;
use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// The facts used of statx(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileFacts {
    /// The device of its file system.
    pub dev: u64,
    /// Its inode there.
    pub ino: u64,
    /// True if it is a socket (`S_IFSOCK`).
    pub is_socket: bool,
}

/// Returns the file behind `/proc/PID/fd/NUMBER`, where `dir` is `/proc/PID/fd`.
///
/// Requests only what every file system fills in anyway, and only cached facts (`AT_STATX_DONT_SYNC`): a file server
/// that does not answer must not delay the survey of descriptors, and a FUSE file of another user gives its device
/// instead of EACCES.
pub(super) fn facts(dir: BorrowedFd<'_>, fd: u32) -> io::Result<FileFacts> {
    let mut name = ArrayName::default();
    let _ = write!(name, "{fd}");
    // Its last byte is never written.
    let name = CStr::from_bytes_until_nul(&name.bytes).map_err(io::Error::other)?;
    Ok(FileFacts::from(stat(dir, name)?))
}

/// Returns the file behind an open descriptor, in the same way.
pub(super) fn facts_of(file: BorrowedFd<'_>) -> io::Result<FileFacts> {
    Ok(FileFacts::from(stat(file, c"")?))
}

impl From<libc::statx> for FileFacts {
    fn from(found: libc::statx) -> Self {
        Self {
            dev: libc::makedev(found.stx_dev_major, found.stx_dev_minor),
            ino: found.stx_ino,
            is_socket: libc::mode_t::from(found.stx_mode) & libc::S_IFMT == libc::S_IFSOCK,
        }
    }
}

/// Returns true if the target of the link `name` in `dir` has been removed from its directory. Involves no file server,
/// as above.
pub(super) fn is_deleted(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<bool> {
    Ok(stat(dir, name)?.stx_nlink == 0)
}

/// The id of a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MountId {
    /// The one in mountinfo, which the kernel reuses.
    Reused(u64),
    /// The one that statmount(2) takes, never reused (Linux 6.8).
    Unique(u64),
}

/// Returns the id of the mount that the target of the link `name` in `dir` is in: if the kernel has one, and `unique`
/// is set, the unique one. Queries no file server, as above.
pub(super) fn mount_id(dir: BorrowedFd<'_>, name: &CStr, unique: bool) -> io::Result<MountId> {
    // An older kernel ignores the flag that it does not know.
    let mask = if unique { libc::STATX_MNT_ID_UNIQUE } else { 0 } | libc::STATX_MNT_ID;
    let found = stat_at(dir.as_raw_fd(), name, mask)?;
    if found.stx_mask & libc::STATX_MNT_ID_UNIQUE != 0 {
        Ok(MountId::Unique(found.stx_mnt_id))
    } else if found.stx_mask & libc::STATX_MNT_ID != 0 {
        Ok(MountId::Reused(found.stx_mnt_id))
    } else {
        Err(io::Error::other("this kernel does not show mounts of directories (Linux 5.8)"))
    }
}

/// Returns the identity of a directory: its mount id, device, and inode. Involves no file server.
#[must_use]
pub fn directory_identity(path: &CStr) -> Option<(u64, u64, u64)> {
    let found = stat_at(libc::AT_FDCWD, path, libc::STATX_MNT_ID).ok()?;
    Some((found.stx_mnt_id, libc::makedev(found.stx_dev_major, found.stx_dev_minor), found.stx_ino))
}

fn stat(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<libc::statx> {
    stat_at(dir.as_raw_fd(), name, 0)
}

fn stat_at(dir: libc::c_int, name: &CStr, mask: u32) -> io::Result<libc::statx> {
    let mut found = std::mem::MaybeUninit::<libc::statx>::zeroed();
    let flags = libc::AT_STATX_DONT_SYNC | libc::AT_NO_AUTOMOUNT | libc::AT_EMPTY_PATH;
    // SAFETY: `name` is NUL-terminated for the whole call, `dir` is only a descriptor, and the kernel writes one
    // `struct statx` to `found`, which outlives the call.
    let result = unsafe { libc::statx(dir, name.as_ptr(), flags, mask, found.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all bytes were zero before, which is a valid `statx`, and the call has succeeded.
    Ok(unsafe { found.assume_init() })
}

/// The decimal text of a number, NUL-terminated, without an allocation per descriptor.
#[derive(Default)]
struct ArrayName {
    bytes: [u8; 12],
    len: usize,
}

impl std::fmt::Write for ArrayName {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.len + text.len();
        let room = self.bytes.get_mut(self.len..end).filter(|_| end < 12).ok_or(std::fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{File, metadata};
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn file_types_are_distinguished() {
        let dir = File::open("/proc/self/fd").unwrap();
        let stat = |fd: i32| facts(dir.as_fd(), u32::try_from(fd).unwrap()).unwrap();
        let namespace = File::open("/proc/self/ns/net").unwrap();
        let expected = metadata("/proc/self/ns/net").unwrap();
        assert_eq!(
            stat(namespace.as_raw_fd()),
            FileFacts { dev: expected.dev(), ino: expected.ino(), is_socket: false }
        );
        let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(stat(socket.as_raw_fd()).is_socket);
        assert!(!stat(dir.as_raw_fd()).is_socket);
        assert_eq!(facts_of(namespace.as_fd()).unwrap(), stat(namespace.as_raw_fd()));
        assert_eq!(facts(dir.as_fd(), u32::MAX).unwrap_err().raw_os_error(), Some(libc::ENOENT));
    }
}
