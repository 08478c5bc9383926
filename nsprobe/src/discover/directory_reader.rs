//! Reads the directories of processes, and keeps what it found and what it could not read. What is read there is in a
//! file each: processes, threads, descriptors.

use super::context::Context;
use super::errno::vanished;
use super::found::Found;
use super::gaps::Gaps;
use super::roots::Roots;
use crate::model::{GapKind, NsId};
use std::io;

/// The viewpoint that the readers of all directories share.
pub(super) struct View {
    pub(super) context: Context,
    /// nsprobe's own pid namespace, if the proc file system shows that one.
    pub(super) own_pid_ns: Option<NsId>,
    pub(super) roots: Roots,
}

impl View {
    pub(super) fn new(context: &Context) -> Self {
        let roots = Roots::new(&context.proc);
        Self { context: context.clone(), own_pid_ns: context.own_pid_namespace(), roots }
    }
}

/// Reads one directory, in a watched thread.
pub(super) struct DirectoryReader<'a> {
    pub(super) view: &'a View,
    pub(super) buffer: &'a mut Vec<u8>,
    pub(super) found: Found,
    pub(super) gaps: Gaps,
}

impl<'a> DirectoryReader<'a> {
    pub(super) fn new(view: &'a View, buffer: &'a mut Vec<u8>) -> Self {
        Self { view, buffer, found: Found::default(), gaps: Gaps::default() }
    }

    /// Counts an error, unless the process or thread has vanished.
    pub(super) fn note(&mut self, kind: GapKind, error: &io::Error) {
        if !vanished(error) {
            self.gaps.add_error(kind, error);
        }
    }
}
