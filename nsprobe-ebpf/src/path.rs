//! Paths: those a process handed over, and those the kernel has.

use crate::maps::{self, offset};
use crate::task::{embedded, read};
use aya_ebpf::helpers::generated::{
    bpf_probe_read_kernel, bpf_probe_read_kernel_str, bpf_probe_read_user, bpf_probe_read_user_str,
};
use nsprobe_ebpf::{Event, Field, PATH_LEN, event_flags};

/// Which flags a path of an event has, by its index.
const FLAGS: [(u32, u32); 2] = [
    (event_flags::PATH_CUT, event_flags::PATH_FAULT),
    (event_flags::SECOND_PATH_CUT, event_flags::SECOND_PATH_FAULT),
];

/// Reads path `INDEX` of the event from the caller's memory, where `args[INDEX]` points.
#[inline(always)]
pub fn read_user<const INDEX: usize>(event: &mut Event) {
    let (cut, fault) = FLAGS[INDEX];
    let address = event.args[INDEX];
    let path = &mut event.paths[INDEX];
    // SAFETY: the destination is as long as told. The helper checks the source.
    let length =
        unsafe { bpf_probe_read_user_str(path.as_mut_ptr().cast(), PATH_LEN as u32, address as *const _) };
    if length < 0 {
        event.flags |= fault;
    } else {
        event.flags &= !fault;
        // A path that fills the buffer to the last byte looks the same as one that was cut there.
        if length == PATH_LEN as i64 && user_byte(address + PATH_LEN as u64 - 1) != 0 {
            event.flags |= cut;
        }
    }
}

/// Reads path `INDEX` again when it could not be read at entry: the call itself has paged it in by now.
#[inline(always)]
pub fn read_user_again<const INDEX: usize>(event: &mut Event) {
    if event.flags & FLAGS[INDEX].1 != 0 {
        read_user::<INDEX>(event);
    }
}

/// The byte at `address` in the caller's memory; 0 when it cannot be read.
#[inline(always)]
fn user_byte(address: u64) -> u8 {
    let mut byte = 0;
    // SAFETY: the destination is one byte long. The helper checks the source.
    unsafe { bpf_probe_read_user((&raw mut byte).cast(), 1, address as *const _) };
    byte
}

/// How far up a walk goes, in names and mounts.
const STEPS: usize = 32;

/// Puts down in `paths[0]` where the mount lies through which `file` was opened: the names from its mount point
/// up to the root of the mount namespace, leaf first, each ended by a NUL. Nothing when it was opened through no
/// mount that has a place, as namespace files of /proc are.
///
/// A mount's parent is itself at the top of a mount namespace, and where it is mounted nowhere.
#[inline(always)]
pub fn walk_mount(event: &mut Event, file: u64) {
    let mount = Mount::of(read(embedded(file, Field::FilePath), Field::PathMnt));
    if let Some((mountpoint, parent)) = mount.up() {
        event.flags |= event_flags::PATH_IS_WALK;
        if !walk(event, mountpoint, parent) {
            event.flags |= event_flags::PATH_CUT;
        }
        event.reserved = 0;
    }
}

/// Puts down the names from `dentry` in `mount` upwards, and says whether it came to the top.
#[inline(always)]
fn walk(event: &mut Event, mut dentry: u64, mut mount: Mount) -> bool {
    // How much is put down is kept in the record, of whose content the verifier knows nothing. In a register,
    // every length so far is a state of its own to it: 16,000 instructions instead of 5,600.
    let used = &raw mut event.reserved;
    let mut root = mount.root();
    for _ in 0..STEPS {
        if dentry == root {
            let Some((mountpoint, parent)) = mount.up() else { return true };
            dentry = mountpoint;
            mount = parent;
            root = mount.root();
            continue;
        }
        // SAFETY: a field of the event; volatile, so that it is not kept in a register after all.
        let at = unsafe { used.read_volatile() } as usize & (PATH_LEN - 1);
        let name: u64 = read(embedded(dentry, Field::DentryName), Field::QstrName);
        // SAFETY: from any byte of the first path there are as many as told to the end of the second, which a
        // setns does not use. The helper checks the source.
        let length = unsafe {
            let to = (&raw mut event.paths).cast::<u8>().add(at);
            bpf_probe_read_kernel_str(to.cast(), PATH_LEN as u32, name as *const _)
        };
        let end = at as u64 + length as u64;
        if length <= 1 || end == PATH_LEN as u64 {
            return false;
        }
        if end > PATH_LEN as u64 {
            // SAFETY: as above; the source is as long.
            unsafe {
                let to = (&raw mut event.paths).cast::<u8>().add(at);
                bpf_probe_read_kernel(to.cast(), PATH_LEN as u32, maps::zeroes());
            }
            return false;
        }
        // SAFETY: as for the read.
        unsafe { used.write_volatile(end as u32) };
        dentry = read(dentry, Field::DentryParent);
    }
    false
}

/// How many mounts one above the other [`is_top`] looks through.
const STACKED: usize = 8;

/// Whether `dentry` in the mount of this `struct vfsmount` is where the mount namespace begins, as `/` is: the root
/// of what is mounted nowhere, or on such a root. `false` also when that takes more steps than there are.
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

/// A `struct mount`, by its address.
#[derive(Clone, Copy)]
struct Mount(u64);

impl Mount {
    /// The one that the `struct vfsmount` at this address is part of.
    #[inline(always)]
    fn of(vfsmount: u64) -> Self {
        Self(vfsmount.wrapping_sub(u64::from(offset(Field::MountVfsmount))))
    }

    /// The directory or file it is mounted on, and the mount that has that; `None` at the top.
    #[inline(always)]
    fn up(self) -> Option<(u64, Self)> {
        let parent: u64 = read(self.0, Field::MountParent);
        (parent != self.0).then(|| (read(self.0, Field::MountMountpoint), Self(parent)))
    }

    /// What lies at its mount point: the top of what is mounted.
    #[inline(always)]
    fn root(self) -> u64 {
        read(embedded(self.0, Field::MountVfsmount), Field::VfsmountRoot)
    }
}
