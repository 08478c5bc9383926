//! What callers and namespaces are asked for, one wish an entry of a map: [`crate::map::WISHES`].

use crate::COMM_LEN;

/// What a wish is about; the first word of its key.
pub mod about {
    /// A process, by its id in the initial pid namespace.
    pub const PID: u64 = 1;
    /// A real user id, as the initial user namespace numbers it.
    pub const UID: u64 = 2;
    /// A command name, filled up with zeroes.
    pub const COMM: u64 = 3;
    /// A namespace, by its inode: these are of one kind each.
    pub const NAMESPACE: u64 = 4;
    /// A control group of the hierarchy of version 2 with all below it, by its id.
    pub const CGROUP: u64 = 5;
}

/// A key of the map: what it is about, and which.
pub type Wish = [u64; 3];

/// The wish for what has this number.
#[must_use]
pub const fn number(about: u64, number: u64) -> Wish {
    [about, number, 0]
}

/// The wish for this command name.
#[must_use]
#[inline(always)]
#[expect(clippy::inline_always, reason = "the probe has it on its stack")]
pub fn comm(name: &[u8; COMM_LEN]) -> Wish {
    let (mut first, mut second) = ([0; 8], [0; 8]);
    first.copy_from_slice(&name[..8]);
    second.copy_from_slice(&name[8..]);
    [about::COMM, u64::from_ne_bytes(first), u64::from_ne_bytes(second)]
}
