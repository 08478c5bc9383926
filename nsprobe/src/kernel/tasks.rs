//! The iterators over all tasks and over all open files: loaded, read to their ends, and unloaded.

use super::advice::how_to_get_them;
use super::bpf::Programs;
use super::btf;
use super::capabilities::lacking_to_trace;
use super::iterator::read_all;
use super::memory_limit::MemoryLimit;
use super::probe::OpenError;
use super::refusal::Refusal;
use super::vmlinux::KernelTypes;
use aya_obj::Map;
use nsprobe_ebpf::{ABSENT, FIELDS, Field, FieldSource};
use std::io;
use std::os::fd::RawFd;

/// The reason that the kernel's tasks cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TasksError {
    /// The capabilities to load programs are missing.
    #[error("it needs {0}: {how}", how = how_to_get_them())]
    NotPermitted(String),
    /// The probe is not available.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The kernel has no iterator over tasks.
    #[error("this kernel has no BPF iterators over tasks and files (Linux 5.8)")]
    NoIterator,
    /// An essential field is missing.
    #[error("this kernel's tasks have no {0}: this version of nsprobe does not support it")]
    NoField(String),
    /// The program was not loaded or attached.
    #[error("the kernel refuses the BPF iterators over tasks and files: {}", .0.reason)]
    Refused(Refusal),
    /// The records could not be read.
    #[error("reading a BPF iterator")]
    Read(#[from] io::Error),
}

/// The fields that have these names in every kernel with iterators: without one of them a record would be wrong.
pub const NEEDED: [Field; 30] = [
    Field::TaskNsproxy,
    Field::NsproxySize,
    Field::TaskCred,
    Field::TaskThreadPid,
    Field::TaskRealParent,
    Field::TaskGroupLeader,
    Field::TaskFlags,
    Field::TaskComm,
    Field::TaskStartBoottime,
    Field::TaskSignal,
    Field::SignalNrThreads,
    Field::TaskFs,
    Field::FsRoot,
    Field::PathDentry,
    Field::PidLevel,
    Field::PidNumbers,
    Field::UpidNr,
    Field::UpidNs,
    Field::UpidSize,
    Field::NsCommonInum,
    Field::TaskFiles,
    Field::FileInode,
    Field::FilePrivate,
    Field::InodeSb,
    Field::InodePrivate,
    Field::SuperBlockMagic,
    Field::SocketSock,
    Field::SockCommon,
    Field::SockCommonNet,
    Field::NetUserNs,
];

/// The iterators' names among the kernel's functions.
const TASKS: &str = "bpf_iter_task";
pub(super) const FILES: &str = "bpf_iter_task_file";

/// The programs that they run.
const READ_TASKS: &str = "iterate_tasks";
const READ_FILES: &str = "iterate_files";

/// Returns `Ok` if this process may load programs, as far as its capabilities show; otherwise what is missing.
pub fn permitted() -> Result<(), TasksError> {
    lacking_to_trace().map_or(Ok(()), |lacking| Err(TasksError::NotPermitted(lacking)))
}

/// Programs that read the kernel's own tables, ready to be loaded.
pub(super) struct Prepared {
    pub(super) programs: Programs,
    functions: btf::Ids,
    pub(super) offsets: Vec<u32>,
    /// Kept for as long as programs are loaded.
    _memory: MemoryLimit,
}

impl Prepared {
    /// Finds the `fields` in this kernel, of which these `programs` require the `needed`, and its iterators.
    pub(super) fn open(
        programs: &[&str],
        iterators: &[&str],
        fields: &[Field],
        needed: &[Field],
    ) -> Result<Self, TasksError> {
        let kernel = KernelTypes::open().map_err(|error| OpenError::NoBtf { error })?;
        let sources: Vec<FieldSource> = fields.iter().map(|&field| FIELDS[field as usize]).collect();
        let wanted = btf::Wanted { fields: &sources, functions: iterators, typedefs: &[] };
        let found = btf::find(&kernel, &wanted).map_err(OpenError::from)?;
        let mut offsets = vec![ABSENT; FIELDS.len()];
        fields.iter().zip(&found.offsets).for_each(|(&field, &offset)| offsets[field as usize] = offset);
        has(needed, &offsets)?;
        Ok(Self {
            _memory: MemoryLimit::raise(),
            programs: Programs::open(programs, &offsets).map_err(TasksError::Refused)?,
            functions: found.ids,
            offsets,
        })
    }

    /// Returns all that `program` writes, run by the iterator whose kernel function is called `iterator`. `maps`: those
    /// that it uses.
    pub(super) fn records(
        &self,
        program: &str,
        iterator: &str,
        maps: &[(&str, RawFd, &Map)],
    ) -> Result<Vec<u8>, TasksError> {
        let target = self.functions.id_of(iterator).ok_or(TasksError::NoIterator)?;
        let mut file = self.programs.iterator(program, target, maps).map_err(TasksError::Refused)?;
        Ok(read_all(&mut file)?)
    }
}

/// Returns `Ok` if a kernel with these `offsets` has all `needed` fields.
pub(super) fn has(needed: &[Field], offsets: &[u32]) -> Result<(), TasksError> {
    btf::absent(needed, offsets).map_or(Ok(()), |field| Err(TasksError::NoField(field)))
}

/// The iterators over all tasks and over all open files.
pub struct Iterators(Prepared);

impl Iterators {
    /// Finds the fields in this kernel.
    pub fn open() -> Result<Self, TasksError> {
        Prepared::open(&[READ_TASKS, READ_FILES], &[TASKS, FILES], Field::ALL, &NEEDED).map(Self)
    }

    /// Returns the records ([`nsprobe_ebpf::Task`]) of all processes that have a pid in this process's pid namespace,
    /// and of those threads whose namespaces differ from their process's; one after the other, sorted by thread id.
    pub fn tasks(&self) -> Result<Vec<u8>, TasksError> {
        self.0.records(READ_TASKS, TASKS, &[])
    }

    /// Returns the records ([`nsprobe_ebpf::Descriptor`]) of all descriptors of namespaces, and of all sockets whose
    /// network namespace differs from that of the task that has them open; sorted by thread id.
    pub fn files(&self) -> Result<Vec<u8>, TasksError> {
        self.0.records(READ_FILES, FILES, &[])
    }
}
