//! The filter keys: requested callers and namespaces, one per entry of the map [`crate::map::FILTER_KEYS`].

use crate::COMM_LEN;

/// The subject of a filter key; its first word.
pub mod about {
    /// A process, by its id in the initial pid namespace.
    pub const PID: u64 = 1;
    /// A real user id in the initial user namespace.
    pub const UID: u64 = 2;
    /// A command name, padded with zeroes.
    pub const COMM: u64 = 3;
    /// A namespace, by its inode: an inode belongs to one kind.
    pub const NAMESPACE: u64 = 4;
    /// A control group of hierarchy version 2 with all below it, by its id.
    pub const CGROUP: u64 = 5;
}

/// A key of the map: its subject, and the value.
pub type FilterKey = [u64; 3];

/// Returns the key for this number.
#[must_use]
pub const fn number(about: u64, number: u64) -> FilterKey {
    [about, number, 0]
}

/// Returns the key for this command name.
#[must_use]
#[inline(always)]
#[expect(clippy::inline_always, reason = "the probe keeps it on its stack")]
pub fn comm(name: &[u8; COMM_LEN]) -> FilterKey {
    let (mut first, mut second) = ([0; 8], [0; 8]);
    first.copy_from_slice(&name[..8]);
    second.copy_from_slice(&name[8..]);
    [about::COMM, u64::from_ne_bytes(first), u64::from_ne_bytes(second)]
}
