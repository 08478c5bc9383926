//! How much of the ring buffer each user and each control group holds, counted once it is more than half full.
//!
//! The probe adds to what was sent, userspace to what was taken; what is between the two is in the buffer. A user and a
//! control group are charged in two slots each, by hashes that nobody outside knows: whoever shares one slot with a
//! stranger has the other to itself, and the lesser of the two values counts.

/// Slots in a row. Two hashes, so that one in a million pairs of users or control groups meets in both rows.
pub const SLOTS: usize = 1024;

/// Rows: users by either hash, then control groups by either.
pub const ROWS: usize = 4;

/// What one slot holds: an entry of [`crate::map::SHARES`], whose index is [`index`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Bytes that were sent: the probe adds to it.
    pub sent: u64,
    /// Bytes that were taken: userspace adds to it.
    pub taken: u64,
}

/// The place of a slot in the map, as [`crate::Event::shares`] has it for this row: 0, where nothing was charged, has none.
#[must_use]
#[inline(always)]
#[expect(clippy::inline_always, reason = "the verifier must see that it is within the map")]
pub const fn index(row: usize, slot: u16) -> Option<usize> {
    match slot {
        0 => None,
        slot => Some(row * SLOTS + (slot as usize - 1) % SLOTS),
    }
}

/// What the probe must know beforehand: a read-only global, set before loading.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Bytes that the ring buffer has room for.
    pub ring: u64,
    /// Two numbers that nobody can guess, new with each trace.
    pub seeds: [u64; 2],
    /// Namespaces that the table has room for of those that calls were seen to make or join.
    pub watches: u64,
    /// Calls that the table of calls under way has room for.
    pub calls: u64,
}

impl Settings {
    /// Its words, in their order.
    #[must_use]
    pub const fn words(self) -> [u64; 5] {
        [self.ring, self.seeds[0], self.seeds[1], self.watches, self.calls]
    }
}

const _: () = assert!(size_of::<Settings>() == 5 * size_of::<u64>());

/// Users and control groups that lost events, as many as there is room for at a time.
pub const LOSERS: usize = 512;

/// Whose event was lost, and where: a key of [`crate::map::LOSERS`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loser {
    /// A [`crate::Counter`].
    pub stage: u32,
    /// The user who is charged: the owner of the outermost user namespace below the initial one; for a caller in none, or
    /// in one that root made, its real user id. As the initial user namespace numbers it.
    pub uid: u32,
    /// The id of the control group that is charged: the caller's, or the topmost above it that is not root's either.
    pub cgroup: u64,
}
