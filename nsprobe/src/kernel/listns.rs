//! The kernel's own list of namespaces: listns(2), Linux 6.19; and opening a namespace by its id.

use crate::model::{NsId, NsKind};
use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};

/// The syscall number on every architecture that nsprobe supports.
const SYS_LISTNS: libc::c_long = 470;

/// Stands for nsfs where open_by_handle_at(2) takes a descriptor of the file system (Linux 6.18).
const FD_NSFS_ROOT: libc::c_int = -10003;

/// The type of nsfs's file handles.
const FILEID_NSFS: libc::c_int = 0xf1;

/// `struct ns_id_req` of `<linux/nsfs.h>`, as first published.
#[repr(C)]
struct Request {
    size: u32,
    spare: u32,
    after: u64,
    kinds: u32,
    spare2: u32,
    owner: u64,
}

/// `struct file_handle` with a `struct nsfs_file_handle` in it.
#[repr(C)]
struct Handle {
    size: libc::c_uint,
    format: libc::c_int,
    id: u64,
    /// Kind and inode: both, or neither.
    kind: u32,
    ino: u32,
}

/// The handle of a namespace that nothing leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NsHandle {
    /// The kernel's id of it, as returned by `NS_GET_ID`.
    pub id: u64,
    /// Its kind and inode, which Linux 6.18 requires, and later kernels do not.
    pub file: Option<(NsKind, u32)>,
}

impl NsHandle {
    /// Returns the handle of `namespace`, whose id is `id`.
    #[must_use]
    pub fn of(namespace: NsId, id: u64) -> Self {
        Self { id, file: u32::try_from(namespace.ino).ok().map(|ino| (namespace.kind, ino)) }
    }
}

/// Returns the ids (`NS_GET_ID`) of all active namespaces: those with a task, descriptor or mount, or with an active
/// descendant. Those in whose owner the caller lacks `CAP_SYS_ADMIN` are omitted.
///
/// `Err(ENOSYS)`: the kernel is older than 6.19.
pub fn active() -> io::Result<Vec<u64>> {
    let mut all = Vec::new();
    let mut some = [0_u64; 1024];
    loop {
        let after = all.last().copied().unwrap_or(0);
        let request = Request { size: 32, spare: 0, after, kinds: 0, spare2: 0, owner: 0 };
        // SAFETY: the kernel reads one request of the stated size, and writes at most as many u64 as the
        // array has; both outlive the call.
        let count =
            unsafe { libc::syscall(SYS_LISTNS, &raw const request, some.as_mut_ptr(), some.len(), 0) };
        let Ok(count) = usize::try_from(count) else {
            let error = io::Error::last_os_error();
            // No namespace has a greater id.
            return if all.is_empty() || error.raw_os_error() != Some(libc::ENOENT) {
                Err(error)
            } else {
                Ok(all)
            };
        };
        all.extend_from_slice(&some[..count.min(some.len())]);
        if count < some.len() {
            return Ok(all);
        }
    }
}

/// Returns true if the kernel has listns(2).
#[must_use]
pub fn is_supported() -> bool {
    // SAFETY: the call is refused before it looks at what it is not given.
    let result =
        unsafe { libc::syscall(SYS_LISTNS, std::ptr::null::<Request>(), std::ptr::null::<u64>(), 0, 0) };
    result >= 0 || io::Error::last_os_error().raw_os_error() != Some(libc::ENOSYS)
}

/// Opens the namespace with this id. `Err(ESTALE)`: it is gone, or never existed. `Err(EPERM)`: its owner does not
/// grant the caller `CAP_SYS_ADMIN`.
pub fn open(namespace: NsHandle) -> io::Result<OwnedFd> {
    let (kind, ino) = namespace.file.map_or((0, 0), |(kind, ino)| (kind.clone_flag(), ino));
    let kind = u32::try_from(kind).map_err(io::Error::other)?;
    let handle = Handle { size: 16, format: FILEID_NSFS, id: namespace.id, kind, ino };
    let flags = libc::O_RDONLY | libc::O_CLOEXEC;
    // SAFETY: the kernel reads one handle of the stated size, which outlives the call.
    let fd = unsafe { libc::syscall(libc::SYS_open_by_handle_at, FD_NSFS_ROOT, &raw const handle, flags) };
    match i32::try_from(fd) {
        // SAFETY: the kernel has just created this descriptor for us, and nothing else owns it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}
