//! Paths: those a process passed in, and those the kernel has.

use crate::maps::offset;
use crate::pending::Pending;
use crate::task::{embedded, read};
use aya_ebpf::helpers::generated::{bpf_probe_read_kernel_str, bpf_probe_read_user, bpf_probe_read_user_str};
use nsprobe_ebpf::{ABSENT, Field, PATH_LEN, TEXT_LEN, Text, event_flags, text, text_flags};

/// Returns the length of an event's text. It is kept in the record, whose content is unknown to the verifier. In a
/// register, every length so far would be a separate state: 16,000 instructions for a walk instead of 5,600.
#[inline(always)]
pub fn used(pending: &mut Pending) -> usize {
    // SAFETY: a field of the event; volatile, so that it is not kept in a register after all.
    let used = unsafe { (&raw const pending.event.text_len).read_volatile() };
    used as usize & (TEXT_LEN - 1)
}

/// Sets the length of an event's text; returns `false` if there is no room.
#[inline(always)]
pub fn keep(pending: &mut Pending, length: u64) -> bool {
    let fits = length < TEXT_LEN as u64;
    if fits {
        // SAFETY: a field of the event; volatile as in `used`.
        unsafe { (&raw mut pending.event.text_len).write_volatile(length as u32) };
    }
    fits
}

/// Returns the text in `pending` from byte `start` on.
#[inline(always)]
pub fn since(pending: &mut Pending, start: usize, flags: u16) -> Text {
    Text { at: start as u16, len: (used(pending) - start) as u16, flags, reserved: 0 }
}

/// Reads text `INDEX` of an event from the caller's memory, at `args[INDEX]`.
#[inline(always)]
pub fn read_user<const INDEX: usize>(pending: &mut Pending) {
    const { assert!(INDEX == text::FIRST || INDEX == text::SECOND) };
    let address = pending.event.args[INDEX];
    let start = used(pending);
    // SAFETY: at any byte of the text at least this much space follows. The helper checks the source.
    let length = unsafe {
        let to = (&raw mut pending.text).cast::<u8>().add(start);
        bpf_probe_read_user_str(to.cast(), PATH_LEN as u32, address as *const _)
    };
    let mut flags = 0;
    if length < 0 {
        flags = text_flags::FAULT;
    } else if !keep(pending, start as u64 + length as u64)
        // A path that fills its room to the last byte looks like one that was cut there.
        || length == PATH_LEN as i64 && user_byte(address + PATH_LEN as u64 - 1) != 0
    {
        flags = text_flags::CUT;
    }
    pending.event.texts[INDEX] = since(pending, start, flags);
}

/// Reads text `INDEX` again if it could not be read at entry: the call itself has paged it in by now.
#[inline(always)]
pub fn read_user_again<const INDEX: usize>(pending: &mut Pending) {
    if pending.event.texts[INDEX].flags & text_flags::FAULT != 0 {
        pending.event.flags |= event_flags::READ_AT_RETURN;
        read_user::<INDEX>(pending);
    }
}

/// Returns the byte at `address` in the caller's memory; 0 if it cannot be read.
#[inline(always)]
fn user_byte(address: u64) -> u8 {
    let mut byte = 0;
    // SAFETY: the destination is one byte long. The helper checks the source.
    unsafe { bpf_probe_read_user((&raw mut byte).cast(), 1, address as *const _) };
    byte
}

/// The most steps of a walk up: names and mounts.
const STEPS: usize = 32;

/// Records as the first text the path of the mount through which `file` was opened. Nothing if that mount has no path,
/// as for namespace files of /proc.
///
/// A mount at the top of a mount namespace, or mounted nowhere, is its own parent.
#[inline(always)]
pub fn walk_mount(pending: &mut Pending, file: u64) {
    let mount = Mount::of(read(embedded(file, Field::FilePath), Field::PathMnt));
    if let Some((mountpoint, parent)) = mount.up() {
        walk_up::<{ text::FIRST }>(pending, mountpoint, parent);
    }
}

/// Records as text `INDEX` the path of this `struct vfsmount` and dentry.
#[inline(always)]
pub fn walk<const INDEX: usize>(pending: &mut Pending, (vfsmount, dentry): (u64, u64)) {
    walk_up::<INDEX>(pending, dentry, Mount::of(vfsmount));
}

/// Records as text `INDEX` the names from `dentry` in `mount` up to the root of the mount namespace, or as far as there
/// are parents.
#[inline(always)]
fn walk_up<const INDEX: usize>(pending: &mut Pending, mut dentry: u64, mut mount: Mount) {
    let start = used(pending);
    let mut flags = text_flags::WALK | text_flags::CUT;
    let mut root = mount.root();
    let deleted = if is_deleted(dentry, root) { text_flags::DELETED } else { 0 };
    for _ in 0..STEPS {
        let parent: u64 = read(dentry, Field::DentryParent);
        if dentry == root {
            let Some((mountpoint, up)) = mount.up() else {
                flags = text_flags::WALK | mount.detached();
                // A detached mount has only its own name; the root of a file system has none.
                if flags & text_flags::DETACHED != 0
                    && parent != dentry
                    && !put_dentry(pending, start, dentry)
                {
                    flags |= text_flags::CUT;
                }
                break;
            };
            dentry = mountpoint;
            mount = up;
            root = mount.root();
            continue;
        }
        if !put_dentry(pending, start, dentry) {
            break;
        }
        if parent == dentry {
            flags = text_flags::WALK | text_flags::UNREACHABLE | mount.detached();
            break;
        }
        dentry = parent;
    }
    pending.event.texts[INDEX] = since(pending, start, flags | deleted);
}

/// Returns true if `dentry` has been deleted, or never was in a directory, like a memfd; `root` is the root of its
/// mount. The root of a file system is in no directory either, but does not count.
#[inline(always)]
fn is_deleted(dentry: u64, root: u64) -> bool {
    if offset(Field::DentryHash) == ABSENT || offset(Field::HashBack) == ABSENT {
        return false;
    }
    let is_hashed = read::<u64>(embedded(dentry, Field::DentryHash), Field::HashBack) != 0;
    !is_hashed && (dentry != root || read::<u64>(dentry, Field::DentryParent) != dentry)
}

/// Records the name of `dentry`, as [`put_name`] does.
#[inline(always)]
fn put_dentry(pending: &mut Pending, start: usize, dentry: u64) -> bool {
    put_name(pending, start, read(embedded(dentry, Field::DentryName), Field::QstrName))
}

/// Appends the `name` at this address in kernel memory to a text that began at `start`; returns `false` if there is no
/// room for it.
#[inline(always)]
pub fn put_name(pending: &mut Pending, start: usize, name: u64) -> bool {
    let at = used(pending);
    // SAFETY: at any byte of the text at least this much space follows. The helper checks the source.
    let length = unsafe {
        let to = (&raw mut pending.text).cast::<u8>().add(at);
        bpf_probe_read_kernel_str(to.cast(), PATH_LEN as u32, name as *const _)
    };
    let end = at as u64 + length as u64;
    length > 1 && end <= start as u64 + PATH_LEN as u64 && keep(pending, end)
}

/// Returns true if the mount of this `struct vfsmount` belongs to the `struct mnt_namespace` at this address, or that
/// cannot be read. One that was unmounted lazily belongs to none.
#[inline(always)]
pub fn is_mounted_in(vfsmount: u64, namespace: u64) -> bool {
    let known = offset(Field::MountNamespace) != ABSENT;
    !known || read::<u64>(Mount::of(vfsmount).0, Field::MountNamespace) == namespace
}

/// The most stacked mounts that [`is_top`] checks.
const STACKED: usize = 8;

/// Returns true if `dentry` in the mount of this `struct vfsmount` is the top of the mount namespace, like `/`: the
/// root of a mount that is mounted nowhere, or on such a root. Also `false` if that takes too many steps.
#[inline(always)]
pub fn is_top(vfsmount: u64, mut dentry: u64) -> bool {
    let mut mount = Mount::of(vfsmount);
    for _ in 0..STACKED {
        if dentry != mount.root() {
            return false;
        }
        let Some((mountpoint, parent)) = mount.up() else { return true };
        dentry = mountpoint;
        mount = parent;
    }
    false
}

/// `MNT_NS_ANON_INO`, the inode of every anonymous mount namespace since 6.18 (0 before), which no other has.
const ANONYMOUS: u32 = 0xefff_fff7;

/// A `struct mount`, by its address.
#[derive(Clone, Copy)]
struct Mount(u64);

impl Mount {
    /// Returns the one that contains the `struct vfsmount` at this address.
    #[inline(always)]
    fn of(vfsmount: u64) -> Self {
        Self(vfsmount.wrapping_sub(u64::from(offset(Field::MountVfsmount))))
    }

    /// Returns the directory or file it is mounted on, and that one's mount; `None` at the top.
    #[inline(always)]
    fn up(self) -> Option<(u64, Self)> {
        let parent: u64 = read(self.0, Field::MountParent);
        (parent != self.0).then(|| (read(self.0, Field::MountMountpoint), Self(parent)))
    }

    /// Returns [`text_flags::DETACHED`] if it is in no mount namespace: in none at all, in the kernel's mark for its
    /// own mounts, which is not an address, or in an anonymous one, which has no inode of its own.
    #[inline(always)]
    fn detached(self) -> u16 {
        let known = offset(Field::MountNamespace) != ABSENT && offset(Field::MntNsCommon) != ABSENT;
        let namespace: u64 = read(self.0, Field::MountNamespace);
        let number: u32 = read(embedded(namespace, Field::MntNsCommon), Field::NsCommonInum);
        if known && matches!(number, 0 | ANONYMOUS) { text_flags::DETACHED } else { 0 }
    }

    /// Returns the root of what is mounted.
    #[inline(always)]
    fn root(self) -> u64 {
        read(embedded(self.0, Field::MountVfsmount), Field::VfsmountRoot)
    }
}
