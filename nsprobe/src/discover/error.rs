//! Errors that prevent a snapshot.

use crate::kernel::advice::exhausted;
use crate::kernel::tasks::TasksError;
use crate::model::text::shown_path;
use std::io;
use std::path::PathBuf;

/// Returns a possible reason that the proc file system cannot be opened or listed, if the error does not tell.
fn hint(error: &io::Error) -> &'static str {
    if exhausted(error).is_some() { "" } else { " (is a proc file system mounted there?)" }
}

/// The reason that there is no snapshot at all. What is merely missing from one is a [`crate::model::Gap`] in it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The proc file system cannot be opened or listed.
    #[error("cannot read {}{}", shown_path(path), hint(source))]
    Proc {
        /// Its root.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The directory exists, but is not a proc file system and shows no process.
    #[error("{path} shows no process: mount a proc file system there (mount -t proc proc {path})", path = shown_path(.0))]
    NotProc(PathBuf),
    /// It shows processes, but none could be read.
    #[error("none of {count} processes could be read: {why}")]
    Unreadable {
        /// Number of processes.
        count: usize,
        /// The reason for the first.
        why: String,
    },
    /// The processes were requested from the kernel's task iterator, which is not available.
    #[error("the source bpf is not available")]
    Bpf(#[from] Unavailable),
}

/// The reason that the kernel's tasks cannot stand in for what `proc` shows.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// They cannot be read.
    #[error(transparent)]
    Tasks(#[from] TasksError),
    /// Their numbers differ from those of this proc file system: it belongs to another pid namespace, or a time or user
    /// namespace changes its values.
    #[error("pids, uids or times in this /proc differ from those that the kernel reports to nsprobe")]
    Mismatch,
}
