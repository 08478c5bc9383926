//! The kernel function that a program runs at, if one program is attached to several: the cookie of each attachment.

/// The function that every way to create a task leads to.
pub const KERNEL_CLONE: u64 = 1;
/// The 64-bit entry of clone3(2).
pub const CLONE3: u64 = 2;
/// The 32-bit entry of clone3(2).
pub const CLONE3_32: u64 = 3;
/// The function that every entry of unshare(2) leads to.
pub const UNSHARE: u64 = 4;
/// The 64-bit entry of setns(2).
pub const SETNS: u64 = 5;
/// The 32-bit entry of setns(2).
pub const SETNS_32: u64 = 6;
/// The 64-bit entry of chroot(2).
pub const CHROOT: u64 = 7;
/// The 32-bit entry of chroot(2).
pub const CHROOT_32: u64 = 8;
/// The 64-bit entry of pivot_root(2).
pub const PIVOT_ROOT: u64 = 9;
/// The 32-bit entry of pivot_root(2).
pub const PIVOT_ROOT_32: u64 = 10;

/// The functions by their names in the kernel.
const NAMES: [(&str, u64); 10] = [
    ("kernel_clone", KERNEL_CLONE),
    ("__x64_sys_clone3", CLONE3),
    ("__ia32_sys_clone3", CLONE3_32),
    ("ksys_unshare", UNSHARE),
    ("__x64_sys_setns", SETNS),
    ("__ia32_sys_setns", SETNS_32),
    ("__x64_sys_chroot", CHROOT),
    ("__ia32_sys_chroot", CHROOT_32),
    ("__x64_sys_pivot_root", PIVOT_ROOT),
    ("__ia32_sys_pivot_root", PIVOT_ROOT_32),
];

/// Returns the cookie of a function; 0 if its program is attached nowhere else.
#[must_use]
pub fn cookie(name: &str) -> u64 {
    NAMES.iter().find(|(function, _)| *function == name).map_or(0, |&(_, cookie)| cookie)
}
