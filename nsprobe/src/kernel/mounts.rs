//! Mounts of any mount namespace, without entering it: listmount(2) and statmount(2), which take the id of a mount
//! namespace from Linux 6.11 on (without it they exist from 6.8).

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt as _;

/// The syscall number on every architecture that nsprobe supports.
const SYS_STATMOUNT: libc::c_long = 457;
const SYS_LISTMOUNT: libc::c_long = 458;

/// Stands for the root mount of the namespace, below which all its mounts are.
const LSMT_ROOT: u64 = u64::MAX;

const STATMOUNT_SB_BASIC: u64 = 0x1;
const STATMOUNT_MNT_BASIC: u64 = 0x2;
const STATMOUNT_MNT_ROOT: u64 = 0x8;
const STATMOUNT_MNT_POINT: u64 = 0x10;

/// `NSFS_MAGIC` of `<linux/magic.h>`.
const NSFS_MAGIC: u64 = 0x6e73_6673;

/// `struct mnt_id_req` of `<linux/mount.h>`, as of Linux 6.11.
#[repr(C)]
struct Request {
    size: u32,
    spare: u32,
    mount_id: u64,
    param: u64,
    namespace_id: u64,
}

impl Request {
    const fn new(mount_id: u64, param: u64, namespace_id: u64) -> Self {
        Self { size: 32, spare: 0, mount_id, param, namespace_id }
    }
}

/// The start of `struct statmount`; the strings follow all 512 bytes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    mask: u64,
    magic: u64,
    mount_id: u32,
    root: u32,
    point: u32,
}

/// Size of `struct statmount` without the strings.
const HEAD: usize = 512;

/// The longest mount path that is read, in bytes: that of a path in one system call (`PATH_MAX`).
pub const LONGEST_PATH: usize = 4096;

/// A mount of nsfs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NsfsMount {
    /// The part of nsfs that is mounted: `net:[4026531833]`.
    pub root: OsString,
    /// The mount point, from the root of the mount namespace; in the caller's own, from the caller's root. `None`: the
    /// path is longer than [`LONGEST_PATH`].
    pub point: Option<OsString>,
    /// Its id in mountinfo.
    pub mount_id: u64,
}

/// The number of mounts listed per call. Each costs the kernel as many steps as there are mounts above it.
const AT_ONCE: usize = 256;

/// Space for the mounted part of nsfs, and the terminating zeros of both texts.
const ROOT: usize = 64;

/// Reads lists of mounts, with reused buffers.
#[derive(Debug, Default)]
pub struct MountTable {
    ids: Vec<u64>,
    buffer: Vec<u8>,
}

impl MountTable {
    /// Passes `each` the mounts of the mount namespace `namespace_id` that follow the one with the id `after` (0: all),
    /// one by one: an nsfs mount, or `None` for any other. Stops when `each` returns false. Returns the id of the mount
    /// it stopped after, or `None` at the end.
    ///
    /// `Err(ENOSYS)`, `Err(E2BIG)`, `Err(EINVAL)`: the kernel is older than 6.11. `Err(ENOENT)`: the namespace is gone,
    /// or its owner does not grant the caller `CAP_SYS_ADMIN`.
    pub fn each(
        &mut self,
        namespace_id: u64,
        after: u64,
        each: &mut dyn FnMut(Option<NsfsMount>) -> bool,
    ) -> io::Result<Option<u64>> {
        let mut last = after;
        self.ids.resize(AT_ONCE, 0);
        loop {
            let request = Request::new(LSMT_ROOT, last, namespace_id);
            // SAFETY: the kernel reads one request of the stated size, and writes at most as many u64 as
            // the slice has; both outlive the call.
            let count = unsafe {
                libc::syscall(SYS_LISTMOUNT, &raw const request, self.ids.as_mut_ptr(), self.ids.len(), 0)
            };
            let Ok(count) = usize::try_from(count) else { return Err(io::Error::last_os_error()) };
            for i in 0..count {
                last = self.ids[i];
                let go_on = match self.nsfs_mount(last, namespace_id) {
                    Ok(mount) => each(mount),
                    // Unmounted since.
                    Err(error) if error.raw_os_error() == Some(libc::ENOENT) => each(None),
                    Err(error) => return Err(error),
                };
                if !go_on {
                    return Ok(Some(last));
                }
            }
            if count < self.ids.len() {
                return Ok(None);
            }
        }
    }

    /// Returns the device of the mount with the id `id`, and its mount point; `None`: the path is longer than
    /// [`LONGEST_PATH`].
    ///
    /// The errors are those of [`Self::each`]; `Err(ENOENT)` also if it is not in that mount namespace.
    pub fn device_and_point(
        &mut self,
        id: u64,
        namespace_id: u64,
    ) -> io::Result<((u32, u32), Option<OsString>)> {
        let mask = STATMOUNT_SB_BASIC | STATMOUNT_MNT_POINT;
        let size = HEAD + ROOT + LONGEST_PATH;
        match self.statmount(&Request::new(id, mask, namespace_id), size) {
            Err(error) if error.raw_os_error() == Some(libc::EOVERFLOW) => {
                self.statmount(&Request::new(id, STATMOUNT_SB_BASIC, namespace_id), HEAD)?;
            }
            result => result?,
        }
        device_and_point(&self.buffer).ok_or_else(|| io::Error::from_raw_os_error(libc::EIO))
    }

    /// Returns true if the mount with the unique id `id` belongs to the mount namespace `namespace_id`. It takes the
    /// kernel few steps, however many mounts there are.
    ///
    /// The errors are those of [`Self::each`].
    pub fn has(&mut self, id: u64, namespace_id: u64) -> io::Result<bool> {
        match self.statmount(&Request::new(id, STATMOUNT_SB_BASIC, namespace_id), HEAD) {
            Ok(()) => Ok(true),
            // Also if the caller may read none of its mounts.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                self.each(namespace_id, 0, &mut |_| false).map(|_| false)
            }
            Err(error) => Err(error),
        }
    }

    /// Reads one mount; `None` if it is not an nsfs mount.
    fn nsfs_mount(&mut self, id: u64, namespace_id: u64) -> io::Result<Option<NsfsMount>> {
        self.statmount(&Request::new(id, STATMOUNT_SB_BASIC, namespace_id), HEAD)?;
        // The strings are requested only where they matter: most mounts end here.
        if head(&self.buffer).is_none_or(|head| head.magic != NSFS_MAGIC) {
            return Ok(None);
        }
        let without_path = STATMOUNT_SB_BASIC | STATMOUNT_MNT_BASIC | STATMOUNT_MNT_ROOT;
        for size in [HEAD + 512, HEAD + ROOT + LONGEST_PATH] {
            match self.statmount(&Request::new(id, without_path | STATMOUNT_MNT_POINT, namespace_id), size) {
                Ok(()) => return Ok(nsfs_mount(&self.buffer)),
                Err(error) if error.raw_os_error() == Some(libc::EOVERFLOW) => {}
                Err(error) => return Err(error),
            }
        }
        self.statmount(&Request::new(id, without_path, namespace_id), HEAD + ROOT)?;
        Ok(nsfs_mount(&self.buffer))
    }

    fn statmount(&mut self, request: &Request, size: usize) -> io::Result<()> {
        self.buffer.clear();
        self.buffer.resize(size, 0);
        // SAFETY: the kernel reads one request of the stated size, and writes at most `size` bytes to the
        // buffer, which has as many; both outlive the call.
        let result = unsafe {
            libc::syscall(
                SYS_STATMOUNT,
                std::ptr::from_ref(request),
                self.buffer.as_mut_ptr(),
                self.buffer.len(),
                0,
            )
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

fn head(statmount: &[u8]) -> Option<Head> {
    let u64_at = |at: usize| Some(u64::from_ne_bytes(statmount.get(at..at + 8)?.try_into().ok()?));
    let u32_at = |at: usize| Some(u32::from_ne_bytes(statmount.get(at..at + 4)?.try_into().ok()?));
    Some(Head {
        mask: u64_at(8)?,
        magic: u64_at(24)?,
        mount_id: u32_at(56)?,
        root: u32_at(104)?,
        point: u32_at(108)?,
    })
}

/// Returns the text at this offset in the strings of a `struct statmount`.
fn string(statmount: &[u8], offset: u32) -> Option<OsString> {
    let rest = statmount.get(HEAD.checked_add(offset as usize)?..)?;
    let end = rest.iter().position(|&byte| byte == 0)?;
    Some(OsString::from_vec(rest[..end].to_vec()))
}

/// Decodes the device in a `struct statmount` with its strings, and its mount point if present.
fn device_and_point(statmount: &[u8]) -> Option<((u32, u32), Option<OsString>)> {
    let u32_at = |at: usize| Some(u32::from_ne_bytes(*statmount.get(at..)?.first_chunk()?));
    let head = head(statmount)?;
    if head.mask & STATMOUNT_SB_BASIC == 0 {
        return None;
    }
    let has_point = head.mask & STATMOUNT_MNT_POINT != 0;
    let point = if has_point { Some(string(statmount, head.point)?) } else { None };
    Some(((u32_at(16)?, u32_at(20)?), point))
}

/// Decodes the nsfs mount in a `struct statmount` with its strings; `None` for any other mount.
fn nsfs_mount(statmount: &[u8]) -> Option<NsfsMount> {
    let head = head(statmount)?;
    let wanted = STATMOUNT_MNT_BASIC | STATMOUNT_MNT_ROOT;
    if head.magic != NSFS_MAGIC || head.mask & wanted != wanted {
        return None;
    }
    let string = |offset: u32| string(statmount, offset);
    let point = if head.mask & STATMOUNT_MNT_POINT == 0 { None } else { Some(string(head.point)?) };
    Some(NsfsMount { root: string(head.root)?, point, mount_id: head.mount_id.into() })
}

/// Returns true if open_tree(2) and fsmount(2) can create mount namespaces here: `OPEN_TREE_NAMESPACE`. Nothing is
/// opened: an empty path leads nowhere, and an unknown flag is refused before the path is checked.
#[must_use]
pub fn can_make_namespaces() -> bool {
    const OPEN_TREE_NAMESPACE: libc::c_uint = 2;
    // SAFETY: reads the NUL-ended path, which outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_open_tree, -1, c"".as_ptr(), OPEN_TREE_NAMESPACE) };
    let refused = [libc::EINVAL, libc::ENOSYS];
    result < 0 && io::Error::last_os_error().raw_os_error().is_some_and(|errno| !refused.contains(&errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statmount(magic: u64, mask: u64, strings: &[u8], point: u32) -> Vec<u8> {
        let mut bytes = vec![0; HEAD];
        bytes[8..16].copy_from_slice(&mask.to_ne_bytes());
        bytes[24..32].copy_from_slice(&magic.to_ne_bytes());
        bytes[56..60].copy_from_slice(&77_u32.to_ne_bytes());
        bytes[108..112].copy_from_slice(&point.to_ne_bytes());
        bytes.extend_from_slice(strings);
        bytes
    }

    #[test]
    fn truncated_statmount_is_none() {
        let strings = b"net:[7]\0/run/netns/a b\0";
        let whole = statmount(NSFS_MAGIC, 0x1b, strings, 8);
        let expected =
            NsfsMount { root: "net:[7]".into(), point: Some("/run/netns/a b".into()), mount_id: 77 };
        assert_eq!(nsfs_mount(&whole), Some(expected.clone()));
        for end in 0..whole.len() {
            assert_eq!(nsfs_mount(&whole[..end]), None, "{end}");
        }
        assert_eq!(nsfs_mount(&statmount(0xef53, 0x1b, strings, 8)), None, "ext4");
        let without = NsfsMount { point: None, ..expected };
        assert_eq!(
            nsfs_mount(&statmount(NSFS_MAGIC, 0xb, strings, 8)),
            Some(without),
            "no mount point given"
        );
        assert_eq!(nsfs_mount(&statmount(NSFS_MAGIC, 0x13, strings, 8)), None, "no root given");
        assert_eq!(nsfs_mount(&statmount(NSFS_MAGIC, 0x1b, strings, u32::MAX)), None);
    }

    #[test]
    fn own_mount_namespace_has_its_own_mounts_only() {
        use crate::kernel::statx::{self, MountId};
        use std::os::fd::AsFd as _;
        let own = std::fs::File::open("/proc/self").unwrap();
        let MountId::Unique(root) = statx::mount_id(own.as_fd(), c"root", true).unwrap() else { return };
        let namespace = std::fs::File::open("/proc/self/ns/mnt").unwrap();
        let id = crate::kernel::nsfs::kernel_id(namespace.as_fd(), crate::model::NsKind::Mnt);
        let Some(id) = id else { return };
        let mut table = MountTable::default();
        assert!(table.has(root, id).unwrap());
        assert!(!table.has(u64::MAX - 1, id).unwrap(), "no such mount");
        let error = table.has(root, u64::MAX - 1).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "no such mount namespace");
    }
}
