//! The interface between the probe and the collector: records, kernel fields, options.
//!
//! `no_std` and without dependencies, because the same source is compiled for BPF and for the host. Every record is
//! `#[repr(C)]`, consists only of integers and byte arrays, and has no padding: every bit pattern is valid, so a record
//! may be read from any bytes of the right length.
#![no_std]

mod connections_record;
mod fields;
pub mod filter_key;
pub mod function;
mod held_record;
mod record;
mod settings;
pub mod share;
mod task_record;
mod walk_record;

pub use connections_record::{CONNECTION_STEPS, Connection, Connections, FOUND};
pub use fields::{ABSENT, FIELDS, Field, FieldSource};
pub use held_record::{Held, MOUNTS, Mount, SUPERBLOCK_STEPS, Superblocks, how};
pub use record::{
    Child, Event, Freed, Header, NamespaceIds, NamespaceInodes, Pids, Target, Text, Watched, cause,
    event_flags, slot, text, text_flags,
};
pub use settings::{Config, Counter, config, global, map};
pub use task_record::{Descriptor, Task, task_flags};
pub use walk_record::{Listed, WALK_STEPS, Walk, outcome};

/// The version of every record here. A record with a different version is counted and not read.
pub const RECORD_VERSION: u16 = 8;

/// Returns true if a call with this `result` in the kernel is restarted, because a signal interrupted it:
/// `-ERESTARTSYS`, `-ERESTARTNOINTR`, `-ERESTARTNOHAND`, `-ERESTART_RESTARTBLOCK`.
#[must_use]
pub const fn is_restart(result: i64) -> bool {
    matches!(result, -514..=-512 | -516)
}

/// Bytes of a command name, `TASK_COMM_LEN` of the kernel, with its terminating NUL.
pub const COMM_LEN: usize = 16;

/// Bytes kept of a path. A longer one is cut and marked [`text_flags::CUT`].
pub const PATH_LEN: usize = 256;

/// Bytes kept of all paths of an event.
pub const TEXT_LEN: usize = 2048;

/// Bytes of an event under construction: the event, its text with room for one more path, and seven words.
pub const PENDING_LEN: usize = size_of::<Event>() + TEXT_LEN + PATH_LEN + 7 * size_of::<u64>();

/// Bytes kept of a call without its text: four words, the caller's directories, and its namespaces.
pub const BRIEF_LEN: usize = 9 * size_of::<u64>() + size_of::<NamespaceInodes>();

/// Pids of one process: `MAX_PID_NS_LEVEL` (32) nested pid namespaces, and the initial one.
pub const PID_LEVELS: usize = 33;

/// The namespace slots of a task: eight kinds, and the two that apply to its future children.
pub const SLOTS: usize = 10;
