//! System calls: their numbers, flags, and results.

use nsprobe_ebpf::{SLOTS, slot};

/// Numbers of system calls: asm/unistd_64.h.
pub mod number {
    pub const CLONE: u32 = 56;
    pub const FORK: u32 = 57;
    pub const VFORK: u32 = 58;
    pub const PIVOT_ROOT: u32 = 155;
    pub const CHROOT: u32 = 161;
    pub const UNSHARE: u32 = 272;
    pub const SETNS: u32 = 308;
    pub const CLONE3: u32 = 435;
}

/// The result of a system call that has not returned yet: `-ENOSYS`, set at entry.
pub const UNDER_WAY: i64 = -38;

/// `CLONE_NEW*` of linux/sched.h, for the kind in each slot: the flag of clone and unshare that creates one.
pub const KINDS: [u32; SLOTS] = {
    let mut kinds = [0; SLOTS];
    kinds[slot::CGROUP] = 0x0200_0000;
    kinds[slot::IPC] = 0x0800_0000;
    kinds[slot::MNT] = 0x0002_0000;
    kinds[slot::NET] = 0x4000_0000;
    kinds[slot::PID] = 0x2000_0000;
    kinds[slot::TIME] = 0x0000_0080;
    kinds[slot::USER] = 0x1000_0000;
    kinds[slot::UTS] = 0x0400_0000;
    kinds[slot::PID_FOR_CHILDREN] = kinds[slot::PID];
    kinds[slot::TIME_FOR_CHILDREN] = kinds[slot::TIME];
    kinds
};

/// Every flag that creates a namespace.
pub const ANY_KIND: u64 = {
    let mut any = 0;
    let mut slot = 0;
    while slot < SLOTS {
        any |= KINDS[slot];
        slot += 1;
    }
    any as u64
};

/// `CLONE_NEWNS`: an unshare or setns with this may move root and working directory.
pub const NEW_MNT: u64 = KINDS[slot::MNT] as u64;

/// `UNSHARE_EMPTY_MNTNS` (Linux 7.1 or later), the bit of clone's `CLONE_PARENT_SETTID`: creates a mount namespace,
/// whether `CLONE_NEWNS` is set or not.
const UNSHARE_EMPTY_MNTNS: u64 = 0x0010_0000;

/// `CLONE_EMPTY_MNTNS`, the same for clone3. The kernel sets `CLONE_NEWNS` in its own copy of the flags.
const CLONE_EMPTY_MNTNS: u64 = 1 << 37;

/// Returns the kinds of namespaces that unshare creates with these flags (`CLONE_NEW*`; other flags stay).
#[inline(always)]
pub const fn kinds_of_unshare(flags: u64) -> u64 {
    if flags & UNSHARE_EMPTY_MNTNS == 0 { flags } else { flags | NEW_MNT }
}

/// Does the same for clone3, with the flags as the caller wrote them.
#[inline(always)]
pub const fn kinds_of_clone3(flags: u64) -> u64 {
    if flags & CLONE_EMPTY_MNTNS == 0 { flags } else { flags | NEW_MNT }
}
