//! Linux → [`Snapshot`]; one file a source.
//!
//! A snapshot is no instant: processes come and go while it is taken. Each process is read through a
//! descriptor that cannot turn into another process, and one that vanishes midway is left out.

mod census;
mod descriptors;
mod environment;
mod gaps;
mod listed;
mod mounts;
mod origin;
mod parse;
mod processes;
mod relations;
mod sockets;
mod threads;

pub use origin::origin;

use crate::kernel::proc::Proc;
use crate::model::Snapshot;
use census::Census;
use descriptors::Descriptors;
pub use environment::ProcMount;
use gaps::Gaps;
use relations::Inquiry;
use std::io;
use std::path::{Path, PathBuf};

/// Where to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The proc file system to read.
    pub proc_root: PathBuf,
}

impl Default for Options {
    fn default() -> Self {
        Self { proc_root: PathBuf::from("/proc") }
    }
}

/// Why there is no snapshot at all. What is merely missing from one is a [`crate::model::Gap`] of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The proc file system cannot be opened or listed.
    #[error("cannot read {path}: {source} (is a proc file system mounted there?)")]
    Proc {
        /// Its root.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Looks at the machine and says what is there.
pub fn snapshot(options: &Options) -> Result<Snapshot, Error> {
    let error = |source| Error::Proc { path: options.proc_root.clone(), source };
    let proc = Proc::open(&options.proc_root).map_err(error)?;
    let mut gaps = Gaps::default();
    let nsfs_dev = nsfs_dev(&proc);
    let mut strays = Vec::new();
    let mut descriptors = Descriptors::default();
    let processes = processes::read(&proc, nsfs_dev, &mut gaps, |process, dir, gaps| {
        threads::find(process, dir, nsfs_dev, &mut strays, gaps);
        descriptors.find(process, dir, nsfs_dev, gaps);
    });
    let processes = processes.map_err(error)?;
    environment::note(&proc, &processes, &mut gaps);
    let mut census = Census::take(&processes);
    census.threads(&strays, &processes);
    census.descriptors(&descriptors.namespaces);
    let mut inquiry = Inquiry::new(&proc, nsfs_dev);
    mounts::find(&proc, nsfs_dev, &processes, &mut inquiry, &mut census, &mut gaps);
    inquiry.ask_all(&mut census, &mut gaps);
    if proc.is_live() {
        listed::find(&mut inquiry, &mut census, &mut gaps);
    }
    Inquiry::note_unasked(&mut census, &mut gaps);
    sockets::find(&proc, &descriptors.sockets, &mut inquiry, &mut census, &mut gaps);
    let namespaces = census.finish();
    Ok(Snapshot { namespaces, processes, gaps: gaps.finish() })
}

/// The device of nsfs: one for the whole machine, so asked once. 0 where the proc root is no live one.
fn nsfs_dev(proc: &Proc) -> u64 {
    // A child of another pid namespace's proc mount has no `self`; its namespaces are on the same nsfs.
    let own =
        proc.this_process().or_else(|_| Proc::open(Path::new("/proc")).and_then(|own| own.this_process()));
    own.and_then(|own| own.stat("ns/mnt")).map_or(0, |stat| stat.st_dev)
}

/// Whether an error says that the process is gone.
fn vanished(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ESRCH | libc::ENOENT))
}

/// Whether an error says that the reader is not allowed.
fn denied(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}
