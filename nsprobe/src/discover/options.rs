//! Options of a snapshot: where it reads, and how much.

use crate::model::ProcessSource;
use std::path::PathBuf;

/// The options of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The proc file system to read.
    pub proc_root: PathBuf,
    /// The source of the processes; `None`: the cheaper one.
    pub processes_from: Option<ProcessSource>,
    /// True if BPF may be used for what `/proc` does not show: the kernel's lists of namespaces on Linux 6.18 (later
    /// kernels list them, older ones have none), and namespaces that only sockets hold.
    pub bpf: bool,
    /// The processes whose command lines are read.
    pub command_lines: CommandLines,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            proc_root: PathBuf::from("/proc"),
            processes_from: None,
            bpf: true,
            command_lines: CommandLines::All,
        }
    }
}

/// Selects the processes whose command lines are read; the others get an empty one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandLines {
    /// All.
    All,
    /// Those that lead a namespace.
    Leaders,
}
