//! Where a snapshot looks, and how much of it is read.

use super::error::Error;
use crate::kernel::proc::Proc;
use crate::model::ProcessSource;
use std::path::{Path, PathBuf};

/// Where and how to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The proc file system to read.
    pub proc_root: PathBuf,
    /// Where the processes come from; `None`: from where they come cheaper.
    pub processes_from: Option<ProcessSource>,
    /// Whether BPF may be used for what `/proc` does not tell: the kernel's lists of namespaces, on Linux 6.18 (later
    /// kernels tell them, older ones have none), and a namespace that only sockets hold.
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

/// The processes whose command lines are read: the others have an empty one.
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

/// The device of nsfs: one for the whole machine, so asked once. 0 where the proc root is no live one.
pub(super) fn nsfs_dev(proc: &Proc) -> u64 {
    // A child of another pid namespace's proc mount has no `self`; its namespaces are on the same nsfs.
    let own =
        proc.this_process().or_else(|_| Proc::open(Path::new("/proc")).and_then(|own| own.this_process()));
    own.and_then(|own| own.stat("ns/mnt")).map_or(0, |stat| stat.st_dev)
}
