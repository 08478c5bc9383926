//! An event under construction.

use nsprobe_ebpf::share::ROWS;
use nsprobe_ebpf::{Event, PATH_LEN, PENDING_LEN, TEXT_LEN};

/// An event under construction.
#[repr(C)]
pub struct Pending {
    /// The known facts. Its cause is 0 if no call is in progress.
    pub event: Event,
    /// The text of the event, and room for one more path: at any byte of the text, that much space follows.
    pub text: [u8; TEXT_LEN + PATH_LEN],
    /// The addresses of mount (`struct vfsmount`) and dentry of the caller's root directory at entry; zero if not
    /// recorded.
    pub root: (u64, u64),
    /// The same for its working directory.
    pub cwd: (u64, u64),
    /// The address of the task that a clone created; 0 if none.
    pub child: u64,
    /// Nonzero: its memory is freed when the program ends.
    pub scratch: u64,
    /// The slots that its entry in the table of calls is charged to.
    pub shares: [u16; ROWS],
}

// Userspace allocates this size.
const _: () = assert!(size_of::<Pending>() == PENDING_LEN);
