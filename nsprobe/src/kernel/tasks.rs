//! The iterators over all tasks and over all open files: loaded, read to their ends, and gone.

use super::advice::how_to_get_them;
use super::bpf::Programs;
use super::btf;
use super::capabilities::lacking_to_trace;
use super::probe::{MemoryLimit, OpenError, Refusal};
use super::vmlinux::KernelTypes;
use nsprobe_ebpf::{FIELDS, Field};
use std::fs::File;
use std::io::{self, Read as _};

/// Why the kernel's tasks cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TasksError {
    /// The capabilities to load programs are missing.
    #[error("it needs {0}: {how}", how = how_to_get_them())]
    NotPermitted(String),
    /// There is no probe at all.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The kernel has no iterator over tasks.
    #[error("this kernel has no BPF iterators over tasks and files: Linux 5.8 has")]
    NoIterator,
    /// A field without which nothing can be said.
    #[error("this kernel's tasks have no {0}: this nsprobe does not know it yet")]
    NoField(String),
    /// The program was not loaded or attached.
    #[error("the kernel refuses the BPF iterators over tasks and files: {}", .0.reason)]
    Refused(Refusal),
    /// The records could not be read.
    #[error("reading a BPF iterator")]
    Read(#[from] io::Error),
}

/// What every kernel with iterators has under these names: without one of them a record would say what is not so.
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

/// What the iterators are called where the kernel's functions are.
const TASKS: &str = "bpf_iter_task";
const FILES: &str = "bpf_iter_task_file";

/// The programs that they run.
const READ_TASKS: &str = "iterate_tasks";
const READ_FILES: &str = "iterate_files";

/// Whether this process may load programs, as far as its capabilities tell; else what is missing.
pub fn permitted() -> Result<(), TasksError> {
    lacking_to_trace().map_or(Ok(()), |lacking| Err(TasksError::NotPermitted(lacking)))
}

/// The programs that read the kernel's own tables, ready to be loaded.
pub struct Iterators {
    programs: Programs,
    tasks: u32,
    files: u32,
    /// Kept for as long as programs are loaded.
    _memory: MemoryLimit,
}

impl Iterators {
    /// Finds the fields in this kernel.
    pub fn open() -> Result<Self, TasksError> {
        let kernel = KernelTypes::open().map_err(|error| OpenError::NoBtf { error })?;
        let wanted = btf::Wanted { fields: FIELDS, functions: &[TASKS, FILES], typedefs: &[] };
        let found = btf::find(&kernel, &wanted).map_err(OpenError::from)?;
        if let Some(field) = btf::absent(&NEEDED, &found.offsets) {
            return Err(TasksError::NoField(field));
        }
        let memory = MemoryLimit::raise();
        Ok(Self {
            programs: Programs::open(&[READ_TASKS, READ_FILES], &found.offsets)
                .map_err(TasksError::Refused)?,
            tasks: found.ids.number(TASKS).ok_or(TasksError::NoIterator)?,
            files: found.ids.number(FILES).ok_or(TasksError::NoIterator)?,
            _memory: memory,
        })
    }

    /// The records ([`nsprobe_ebpf::Task`]) of all processes that this process's pid namespace has a number for, and
    /// of those threads that are in other namespaces than their process; one after the other, in the order of their
    /// thread ids.
    pub fn tasks(&self) -> Result<Vec<u8>, TasksError> {
        self.read(READ_TASKS, self.tasks)
    }

    /// The records ([`nsprobe_ebpf::Descriptor`]) of all descriptors of namespaces, and of all sockets that belong
    /// to another network namespace than the task that has them; in the order of their thread ids.
    pub fn files(&self) -> Result<Vec<u8>, TasksError> {
        self.read(READ_FILES, self.files)
    }

    fn read(&self, program: &str, target: u32) -> Result<Vec<u8>, TasksError> {
        Ok(read_all(self.programs.iterator(program, target, &[]).map_err(TasksError::Refused)?)?)
    }
}

/// How much is asked for at once: more than the kernel hands out, which is 32 KB.
const CHUNK: usize = 1 << 16;

/// The iterator's descriptor, read to its end.
pub(super) fn read_all(mut file: File) -> io::Result<Vec<u8>> {
    let (mut bytes, mut end) = (Vec::new(), 0);
    loop {
        bytes.resize(end + CHUNK, 0);
        match file.read(&mut bytes[end..]) {
            Ok(0) => break,
            Ok(count) => end += count,
            // Interrupted; or the program wants to see a task again, or a million of them went by without a record:
            // the iterator goes on where it was.
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(end);
    Ok(bytes)
}
