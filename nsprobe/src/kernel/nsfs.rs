//! Queries of a namespace through a descriptor of its nsfs file: ioctl_nsfs(2).

use crate::model::{NsId, NsKind};
use nix::errno::Errno;
use nix::sys::stat::fstat;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::time::{Duration, SystemTime};

mod request {
    //! `<linux/nsfs.h>`: the magic number is 0xb7.
    nix::ioctl_none!(userns, 0xb7, 0x1);
    nix::ioctl_none!(parent, 0xb7, 0x2);
    nix::ioctl_none!(kind, 0xb7, 0x3);
    nix::ioctl_read_bad!(owner_uid, nix::request_code_none!(0xb7, 0x4), libc::uid_t);
    nix::ioctl_read!(mount_namespace_id, 0xb7, 5, u64);
    nix::ioctl_read!(mount_namespace_next, 0xb7, 11, super::MountNamespaceInfo);
    nix::ioctl_read!(mount_namespace_previous, 0xb7, 12, super::MountNamespaceInfo);
    nix::ioctl_read!(id, 0xb7, 13, u64);
}

/// `struct mnt_ns_info` of `<linux/nsfs.h>`, as first published.
#[repr(C)]
#[derive(Debug, Default)]
struct MountNamespaceInfo {
    size: u32,
    mounts: u32,
    id: u64,
}

/// Returns the device and inode of the file behind a descriptor.
pub fn identity(fd: BorrowedFd<'_>) -> io::Result<(u64, u64)> {
    let stat = fstat(fd)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// Returns since when the kernel has had the file's inode in memory: its status change time, which nothing changes. The
/// inode is dropped when nobody has the file open or mounted.
pub fn file_since(fd: BorrowedFd<'_>) -> io::Result<SystemTime> {
    let stat = fstat(fd)?;
    let seconds = u64::try_from(stat.st_ctime).map_err(io::Error::other)?;
    let nanoseconds = u32::try_from(stat.st_ctime_nsec).map_err(io::Error::other)?;
    Ok(SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds))
}

/// Returns the kind of the namespace: `NS_GET_NSTYPE` (Linux 4.11). `None` for a kind that nsprobe does not know.
pub fn kind(fd: BorrowedFd<'_>) -> io::Result<Option<NsKind>> {
    // SAFETY: the request takes no argument, and the descriptor is open for the whole call.
    let flag = unsafe { request::kind(fd.as_raw_fd()) }?;
    Ok(u64::try_from(flag).ok().and_then(NsKind::from_clone_flag))
}

/// Opens the user namespace that owns the namespace; for a user namespace, its parent: `NS_GET_USERNS` (Linux 4.9).
/// `None`: it is the top, or outside the caller's own user namespace (EPERM does not tell these apart).
pub fn owner(fd: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    // SAFETY: the request takes no argument, and the descriptor is open for the whole call.
    related(unsafe { request::userns(fd.as_raw_fd()) })
}

/// Opens the parent of a pid or user namespace: `NS_GET_PARENT` (Linux 4.9). `None`: it is the top, or the parent is
/// outside the caller's own namespace.
pub fn parent(fd: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    // SAFETY: the request takes no argument, and the descriptor is open for the whole call.
    related(unsafe { request::parent(fd.as_raw_fd()) })
}

/// Returns the creator of a user namespace, as a uid in the caller's user namespace: `NS_GET_OWNER_UID` (Linux 4.11).
pub fn owner_uid(fd: BorrowedFd<'_>) -> io::Result<u32> {
    let mut uid = 0;
    // SAFETY: the request writes one uid_t, to `uid`, which outlives the call.
    unsafe { request::owner_uid(fd.as_raw_fd(), &raw mut uid) }?;
    Ok(uid)
}

/// Returns the kernel's own id of the namespace: `NS_GET_ID` (Linux 6.18), otherwise for a mount namespace
/// `NS_GET_MNTNS_ID` (Linux 6.11). `None` if the kernel has neither.
#[must_use]
pub fn kernel_id(fd: BorrowedFd<'_>, kind: NsKind) -> Option<u64> {
    let mut id = 0;
    // SAFETY: the request writes one u64, to `id`, which outlives the call; the descriptor is open.
    if unsafe { request::id(fd.as_raw_fd(), &raw mut id) }.is_ok() {
        return Some(id);
    }
    if kind != NsKind::Mnt {
        return None;
    }
    // SAFETY: as above.
    unsafe { request::mount_namespace_id(fd.as_raw_fd(), &raw mut id) }.ok().map(|_| id)
}

/// A direction in the kernel's list of mount namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbour {
    /// The next one: `NS_MNT_GET_NEXT`.
    Next,
    /// The previous one: `NS_MNT_GET_PREV`.
    Previous,
}

/// Opens a neighbour of a mount namespace in the kernel's list of all mount namespaces, skipping those in whose owner
/// the caller lacks `CAP_SYS_ADMIN` (Linux 6.12). `None`: the end of the list. `Err(ENOTTY)`: the kernel does not
/// support the request.
pub fn mount_namespace(fd: BorrowedFd<'_>, which: Neighbour) -> io::Result<Option<OwnedFd>> {
    let mut info = MountNamespaceInfo::default();
    let fd = fd.as_raw_fd();
    // SAFETY: both requests write one `struct mnt_ns_info` of the size encoded in the request number,
    // to `info`, which outlives the call; the descriptor is open.
    let opened = unsafe {
        match which {
            Neighbour::Next => request::mount_namespace_next(fd, &raw mut info),
            Neighbour::Previous => request::mount_namespace_previous(fd, &raw mut info),
        }
    };
    match opened {
        // SAFETY: the kernel has just created this descriptor for us, and nothing else owns it.
        Ok(fd) => Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) })),
        Err(Errno::ENOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Returns the identity of a namespace of a known kind.
pub fn id(fd: BorrowedFd<'_>, kind: NsKind) -> io::Result<NsId> {
    let (dev, ino) = identity(fd)?;
    Ok(NsId::new(kind, dev, ino))
}

fn related(result: nix::Result<libc::c_int>) -> io::Result<Option<OwnedFd>> {
    match result {
        // SAFETY: the kernel has just created this descriptor for us, and nothing else owns it.
        Ok(fd) => Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) })),
        Err(Errno::EPERM) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd as _;

    #[test]
    fn inode_of_an_open_namespace_is_stable() {
        let open = || File::open("/proc/self/ns/net").unwrap();
        let first = open();
        let since = file_since(first.as_fd()).unwrap();
        assert!(since <= SystemTime::now());
        assert_eq!(file_since(open().as_fd()).unwrap(), since, "the same inode, as long as `first` is open");
    }
}
