//! An event in the making.

use nsprobe_ebpf::share::ROWS;
use nsprobe_ebpf::{Event, PATH_LEN, PENDING_LEN, TEXT_LEN};

/// An event in the making.
#[repr(C)]
pub struct Pending {
    /// What is known of it. Its cause is 0 where no call is under way.
    pub event: Event,
    /// The text of the event, and room for one path more: from any byte of the text on there is as much.
    pub text: [u8; TEXT_LEN + PATH_LEN],
    /// Mount (`struct vfsmount`) and dentry of the caller's root directory at entry, by their addresses; zeroes
    /// where they are not recorded.
    pub root: (u64, u64),
    /// The same of its working directory.
    pub cwd: (u64, u64),
    /// The task that a clone made, by its address; 0 where there is none.
    pub child: u64,
    /// Not 0: its room is gone when the program ends.
    pub scratch: u64,
    /// The slots that its entry in the table of calls is charged to.
    pub shares: [u16; ROWS],
}

// Userspace makes room of this size.
const _: () = assert!(size_of::<Pending>() == PENDING_LEN);
