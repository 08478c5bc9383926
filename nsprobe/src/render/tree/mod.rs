//! A snapshot as a tree: of processes with the boundaries between their namespaces, or of pid or user
//! namespaces with what lives in each.
//!
//! Nothing here recurses: a chain of processes may be as long as pids go, and the stack is not.

mod boundary;
mod draw;
mod fold;
mod forest;
mod hierarchy;
mod json;
mod namespaces;
mod process;
#[cfg(test)]
mod sample;
mod vacant;

pub use json::json;

use crate::model::{NsId, Pid, Snapshot};
use crate::render::style::TextStyle;
use std::collections::HashSet;
use std::io::{self, Write};

/// What the tree is a tree of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Processes, a child below its parent.
    Process,
    /// Pid namespaces, each below the one it is nested in.
    Pid,
    /// User namespaces, each below its parent, with the namespaces it owns.
    User,
}

impl By {
    /// Its name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Pid => "pid",
            Self::User => "user",
        }
    }
}

/// What to show of a snapshot.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// What the tree is a tree of.
    pub by: By,
    /// Show every process instead of counting those that are like their parents.
    pub all: bool,
    /// Show only the ancestors and descendants of this process, and it; with [`By::Process`] only.
    pub pid: Option<Pid>,
    /// Show only the processes in this namespace and their ancestors; with [`By::Process`] only.
    pub ns: Option<NsId>,
    /// Show only these, and what they are below.
    pub wanted: Option<Wanted<'a>>,
    /// The name of a user id; `None` where it has none.
    pub user_name: &'a dyn Fn(u32) -> Option<String>,
}

/// What a filter admits.
#[derive(Clone, Copy, Debug)]
pub enum Wanted<'a> {
    /// Processes; with [`By::Process`].
    Processes(&'a HashSet<Pid>),
    /// Namespaces; with [`By::Pid`] and [`By::User`].
    Namespaces(&'a HashSet<NsId>),
}

/// The processes that the text of a tree of processes names: whose command lines it shows.
#[must_use]
pub fn named(snapshot: &Snapshot, options: &Options<'_>) -> Vec<Pid> {
    process::named(snapshot, options)
}

/// Writes the tree as lines of text.
pub fn text(out: &mut dyn Write, snapshot: &Snapshot, options: &Options<'_>, look: TextStyle) -> io::Result<()> {
    match options.by {
        By::Process => process::text(out, snapshot, options, look),
        By::Pid => namespaces::by_pid(out, snapshot, options, look),
        By::User => namespaces::by_user(out, snapshot, options, look),
    }
}

/// `1 process`, `2 processes`.
fn processes(count: u64) -> String {
    if count == 1 { "1 process".to_owned() } else { format!("{count} processes") }
}
