//! Options of a snapshot: where it reads, and how much.

use super::error::Error;
use crate::kernel::proc::Proc;
use crate::model::ProcessSource;
use std::path::{Path, PathBuf};

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

/// Opens the proc file system.
pub(super) fn open(options: &Options) -> Result<Proc, Error> {
    Proc::open(&options.proc_root).map_err(|source| Error::Proc { path: options.proc_root.clone(), source })
}

/// Returns the device of nsfs: one for the whole machine, so read once. 0 if the proc root is not a live one.
pub(super) fn nsfs_dev(proc: &Proc) -> u64 {
    // In a proc mount of another pid namespace there is no `self`; its namespaces are on the same nsfs.
    let own =
        proc.this_process().or_else(|_| Proc::open(Path::new("/proc")).and_then(|own| own.this_process()));
    own.and_then(|own| own.stat("ns/mnt")).map_or(0, |stat| stat.st_dev)
}
