//! The record of a walk over the kernel's own list of one kind of namespace.

use crate::Header;

/// Steps of one run of the program: few, so that the verifier is done quickly.
pub const WALK_STEPS: usize = 4;

/// The outcome of a run of the program; the value of [`Walk::outcome`].
pub mod outcome {
    /// The list continues after [`super::Walk::at`]: run again.
    pub const MORE: u32 = 1;
    /// The whole list was seen: the walk came round to its start.
    pub const END: u32 = 2;
    /// The namespace to continue at is gone, or the list led outside itself: start again.
    pub const LOST: u32 = 3;
}

/// A namespace in the list.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Listed {
    /// `ns_common.ns_id`, which is never reused; 0 if it was just being removed.
    pub id: u64,
    /// `ns_common.inum`.
    pub ino: u32,
    /// `ns_common.__ns_ref`: the reference count; 0 if it is about to be removed.
    pub references: u32,
}

/// The findings of one run, and the position of the next.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    /// Its cause is [`crate::cause::WALK`].
    pub header: Header,
    /// One of [`outcome`]; 0 before the first run.
    pub outcome: u32,
    /// The number of valid entries in `found`.
    pub count: u32,
    /// How often the walk passed the head of the list.
    pub heads: u32,
    /// Keeps the record free of hidden padding; always 0.
    pub reserved: u32,
    /// The address of the `struct ns_common` to continue at.
    pub at: u64,
    /// Its id, to recognise it.
    pub at_id: u64,
    /// The namespaces in the list.
    pub found: [Listed; WALK_STEPS],
}

// No hidden padding: the fields add up to the whole.
const _: () = assert!(size_of::<Walk>() == 40 + 16 * WALK_STEPS);
