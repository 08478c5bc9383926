//! Control groups by id, which is a file handle: open_by_handle_at(2). This walks no tree, which tenants could make
//! arbitrarily large.

use crate::kernel::own_mounts;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The id of the root of the hierarchy.
const ROOT: u64 = 1;

/// `FILEID_KERNFS` of the kernel's exportfs.h (Linux 5.5).
const FILEID_KERNFS: i32 = 0xfe;

/// A `struct file_handle` with its bytes.
#[repr(C)]
struct Handle {
    size: u32,
    format: i32,
    id: u64,
}

/// The whole hierarchy, at one of its mount points.
#[derive(Debug)]
pub struct Hierarchy {
    root: File,
    point: PathBuf,
}

impl Hierarchy {
    /// Opens it; `None` if no mount of its root is available.
    #[must_use]
    pub fn open() -> Option<Self> {
        let text = own_mounts::text().ok()?;
        super::parse(&text).into_iter().filter(|mount| mount.root == Path::new("/")).find_map(|mount| {
            let root = File::open(&mount.point).ok()?;
            // In its own cgroup namespace a process sees another group as the root.
            let is_root = root.metadata().is_ok_and(|found| found.ino() == ROOT);
            is_root.then_some(Self { root, point: mount.point })
        })
    }

    /// Returns the path from the root of the control group with this id; `None` if it is gone, or access is denied.
    #[must_use]
    pub fn path(&self, id: u64) -> Option<OsString> {
        let group = self.by_id(id).ok()?;
        let path = std::fs::read_link(format!("/proc/self/fd/{}", group.as_raw_fd())).ok()?;
        let below = path.strip_prefix(&self.point).ok()?;
        // A removed group still exists for those who have it open. An existing name may end like this as well.
        let is_there = !path.as_os_str().as_bytes().ends_with(b" (deleted)")
            || path.symlink_metadata().is_ok_and(|found| found.ino() == id);
        is_there.then(|| Path::new("/").join(below).into_os_string())
    }

    fn by_id(&self, id: u64) -> io::Result<OwnedFd> {
        let handle = Handle { size: 8, format: FILEID_KERNFS, id };
        let flags = libc::O_PATH | libc::O_CLOEXEC;
        let root = self.root.as_raw_fd();
        // SAFETY: the kernel reads one handle of the stated size, which outlives the call, as the descriptor does.
        let fd = unsafe { libc::syscall(libc::SYS_open_by_handle_at, root, &raw const handle, flags) };
        match i32::try_from(fd) {
            // SAFETY: the kernel has just created this descriptor for us, and nothing else owns it.
            Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_is_found_by_id() {
        let Some(all) = Hierarchy::open().filter(|all| all.by_id(ROOT).is_ok()) else {
            return eprintln!(
                "SKIPPED: no hierarchy of version 2 is mounted, or its groups may not be opened by handle"
            );
        };
        assert_eq!(all.path(ROOT).unwrap(), "/");
        assert_eq!(all.path(u64::MAX), None);
    }

    #[test]
    fn a_group_whose_name_ends_like_that_of_a_removed_one_is_found() {
        let Some(all) = Hierarchy::open().filter(|all| all.by_id(ROOT).is_ok()) else {
            return eprintln!("SKIPPED: no hierarchy of version 2 is mounted");
        };
        let name = format!("nsprobe-{} (deleted)", std::process::id());
        let group = all.point.join(&name);
        if let Err(error) = std::fs::create_dir(&group) {
            return eprintln!("SKIPPED: no control group can be made: {error}");
        }
        let id = group.metadata().unwrap().ino();
        let (found, held) = (all.path(id), all.by_id(id));
        std::fs::remove_dir(&group).unwrap();
        assert_eq!(found.unwrap(), *format!("/{name}"));
        assert_eq!((all.path(id), held.is_ok()), (None, true));
    }
}
