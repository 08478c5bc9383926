//! The record of a walk along the kernel's own list of one kind of namespace.

use crate::Header;

/// Places in the list that one run of the program looks at: few, so that the verifier is soon done with it.
pub const WALK_STEPS: usize = 4;

/// How a run of the program ended; the value of [`Walk::outcome`].
pub mod outcome {
    /// The list goes on after [`super::Walk::at`]: run again.
    pub const MORE: u32 = 1;
    /// The whole list was seen: the walk came round to where it began.
    pub const END: u32 = 2;
    /// The namespace that the walk was to go on from is gone, or the list led to what is no part of it: begin again.
    pub const LOST: u32 = 3;
}

/// A namespace in the list.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Listed {
    /// `ns_common.ns_id`, which is never used again; 0 when it was just being removed.
    pub id: u64,
    /// `ns_common.inum`.
    pub ino: u32,
    /// `ns_common.__ns_ref`: how many hold it; 0 when it is about to be removed.
    pub references: u32,
}

/// What one run found, and where the next one goes on.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    /// Its cause is [`crate::cause::WALK`].
    pub header: Header,
    /// One of [`outcome`]; 0 before the first run.
    pub outcome: u32,
    /// How many of `found` are set.
    pub count: u32,
    /// How often the walk came by the head of the list.
    pub heads: u32,
    /// Keeps the record free of hidden padding; always 0.
    pub reserved: u32,
    /// The address of the `struct ns_common` to go on from.
    pub at: u64,
    /// Its number, to know it again by.
    pub at_id: u64,
    /// What is in the list.
    pub found: [Listed; WALK_STEPS],
}

// No hidden padding: the fields add up to the whole.
const _: () = assert!(size_of::<Walk>() == 40 + 16 * WALK_STEPS);
