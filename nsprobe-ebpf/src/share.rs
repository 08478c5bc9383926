//! The space in the ring buffer that each user and each control group holds, counted once it is more than half full.
//!
//! The probe adds to the bytes sent, userspace to the bytes taken; the difference is in the buffer. A user and a
//! control group are charged in two slots each, by hashes unknown outside: one that shares one slot with a stranger has
//! the other to itself, and the smaller of the two values counts.

/// Slots in a row. With two hashes, one in a million pairs of users or control groups collides in both rows.
pub const SLOTS: usize = 1024;

/// Rows: users by either hash, then control groups by either.
pub const ROWS: usize = 4;

/// The content of one slot: an entry of [`crate::map::SHARES`], whose index is [`index`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Bytes sent: the probe adds to it.
    pub sent: u64,
    /// Bytes taken: userspace adds to it.
    pub taken: u64,
}

/// Returns the index in the map of a slot of [`crate::Event::shares`] in this row: 0, where nothing was charged, has
/// none.
#[must_use]
#[inline(always)]
#[expect(clippy::inline_always, reason = "the verifier must see that it is within the map")]
pub const fn index(row: usize, slot: u16) -> Option<usize> {
    match slot {
        0 => None,
        slot => Some(row * SLOTS + (slot as usize - 1) % SLOTS),
    }
}

/// The settings that the probe needs in advance: a read-only global, set before loading.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Size of the ring buffer in bytes.
    pub ring: u64,
    /// Two unpredictable numbers, new for each trace.
    pub seeds: [u64; 2],
    /// The number of namespaces that the table has room for, of those that calls were seen to create or join.
    pub watches: u64,
    /// Calls that the table of calls under way has room for.
    pub calls: u64,
}

impl Settings {
    /// Returns its words, in order.
    #[must_use]
    pub const fn words(self) -> [u64; 5] {
        [self.ring, self.seeds[0], self.seeds[1], self.watches, self.calls]
    }
}

const _: () = assert!(size_of::<Settings>() == 5 * size_of::<u64>());

/// The most users and control groups with lost events that are kept at a time.
pub const LOSERS: usize = 512;

/// The owner of a lost event, and the stage: a key of [`crate::map::LOSERS`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loser {
    /// A [`crate::Counter`].
    pub stage: u32,
    /// The user who is charged: the owner of the outermost user namespace below the initial one; for a caller in none,
    /// or in one that root created, its real user id. As in the initial user namespace.
    pub uid: u32,
    /// The id of the control group that is charged: the caller's, or the topmost ancestor that root does not own
    /// either.
    pub cgroup: u64,
}
