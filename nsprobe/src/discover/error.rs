//! Why there is no snapshot.

use super::tasks::Unavailable;
use crate::model::text::shown_path;
use std::io;
use std::path::PathBuf;

/// Why there is no snapshot at all. What is merely missing from one is a [`crate::model::Gap`] of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The proc file system cannot be opened or listed.
    #[error("cannot read {} (is a proc file system mounted there?)", shown_path(path))]
    Proc {
        /// Its root.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is a directory, and neither is it a proc file system nor does it show a process.
    #[error("{path} shows no process: mount a proc file system there (mount -t proc proc {path})", path = shown_path(.0))]
    NotProc(PathBuf),
    /// It shows processes, and not one of them could be read.
    #[error("none of {count} processes could be read: {why}")]
    Unreadable {
        /// How many there are.
        count: usize,
        /// Why not the first.
        why: String,
    },
    /// The processes were to come from the kernel's own tasks, and cannot.
    #[error("the source bpf is not available")]
    Bpf(#[from] Unavailable),
}
