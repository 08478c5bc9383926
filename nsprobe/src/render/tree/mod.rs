//! A snapshot as a tree: of processes with the boundaries between their namespaces, or of pid or user namespaces with
//! their members.
//!
//! Nothing here recurses: a chain of processes may be as long as there are pids, but the stack is limited.

mod boundary;
mod draw;
mod fold;
mod forest;
mod hierarchy;
mod json;
mod namespaces;
mod orphans;
mod process;
#[cfg(test)]
mod sample;

pub use crate::document::tree::By;
pub use json::json;

use crate::model::{NsId, Pid, Snapshot};
use crate::render::style::TextStyle;
use std::collections::HashSet;
use std::io::{self, Write};

/// The parts of a snapshot to show.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// The nodes of the tree.
    pub by: By,
    /// Show every process instead of counting those that do not differ from their parents.
    pub all: bool,
    /// Show only this process, its ancestors and its descendants; with [`By::Process`] only.
    pub pid: Option<Pid>,
    /// Show only the processes in this namespace and their ancestors; with [`By::Process`] only.
    pub ns: Option<NsId>,
    /// Show only these and their ancestors.
    pub wanted: Option<Wanted<'a>>,
    /// Returns the name of a uid; `None` if it has none.
    pub user_name: &'a dyn Fn(u32) -> Option<String>,
}

/// The processes or namespaces that a filter admits.
#[derive(Clone, Copy, Debug)]
pub enum Wanted<'a> {
    /// Processes; with [`By::Process`].
    Processes(&'a HashSet<Pid>),
    /// Namespaces; with [`By::Pid`] and [`By::User`].
    Namespaces(&'a HashSet<NsId>),
}

/// The processes that the text of a process tree names, with their command lines.
#[must_use]
pub fn named(snapshot: &Snapshot, options: &Options<'_>) -> Vec<Pid> {
    process::named(snapshot, options)
}

/// Writes the tree as lines of text.
pub fn text(
    out: &mut dyn Write,
    snapshot: &Snapshot,
    options: &Options<'_>,
    text_style: TextStyle,
) -> io::Result<()> {
    match options.by {
        By::Process => process::text(out, snapshot, options, text_style),
        By::Pid => namespaces::by_pid(out, snapshot, options, text_style),
        By::User => namespaces::by_user(out, snapshot, options, text_style),
    }
}

/// `1 process`, `2 processes`.
fn processes(count: u64) -> String {
    if count == 1 { "1 process".to_owned() } else { format!("{count} processes") }
}
