//! The iterator over all tasks: loaded, read to its end, and gone.

use super::btf;
use super::capabilities::Effective;
use super::probe::{MemoryLimit, OBJECT, OpenError, Refusal, refusal};
use aya::programs::Iter;
use aya::{Btf, EbpfError, EbpfLoader, Endianness};
use nsprobe_ebpf::{ABSENT, FIELDS, Field, global, map};
use std::fs::File;
use std::io::{self, Read as _};

/// Why the kernel's tasks cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TasksError {
    /// The capabilities to load programs are missing.
    #[error("it needs {0}: run with sudo")]
    NotPermitted(String),
    /// There is no probe at all.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The kernel has no iterator over tasks.
    #[error("this kernel has no BPF iterator over tasks: Linux 5.8 has")]
    NoIterator,
    /// A field without which nothing can be said.
    #[error("this kernel's tasks have no {0}: this nsprobe does not know it yet")]
    NoField(String),
    /// The program was not loaded or attached.
    #[error("the kernel refuses the BPF iterator over tasks: {}", .0.reason)]
    Refused(Refusal),
    /// The records could not be read.
    #[error("reading the BPF iterator over tasks: {0}")]
    Read(#[from] io::Error),
}

/// What every kernel with iterators has under these names: without one of them a record would say what is not so.
pub const NEEDED: [Field; 19] = [
    Field::TaskNsproxy,
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
];

/// What the iterator is called where the kernel's functions are.
const ITERATOR: &str = "bpf_iter_task";

/// Whether this process may load programs, as far as its capabilities tell; else what is missing.
pub fn permitted() -> Result<(), TasksError> {
    // Without a /proc to ask the kernel is asked, by trying.
    let missing = Effective::read().map(Effective::missing_to_trace).unwrap_or_default();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|capability| capability.name()).collect();
    Err(TasksError::NotPermitted(names.join(" and ")))
}

/// The records ([`nsprobe_ebpf::Task`]) of all processes that this process's pid namespace has a number for, and
/// of those threads that are in other namespaces than their process; one after the other, in the order of their
/// thread ids.
pub fn read() -> Result<Vec<u8>, TasksError> {
    permitted()?;
    let kernel = std::fs::read(btf::PATH).map_err(|error| OpenError::NoBtf { error })?;
    let wanted = btf::Wanted { fields: FIELDS, functions: &[ITERATOR], typedefs: &[] };
    let found = btf::find(&kernel, &wanted).map_err(OpenError::from)?;
    drop(kernel);
    if let Some(&field) = NEEDED.iter().find(|&&field| found.offsets[field as usize] == ABSENT) {
        let source = FIELDS[field as usize];
        return Err(TasksError::NoField(format!("{}.{}", source.type_name, source.member)));
    }
    let ids = Btf::parse(&found.ids.to_btf(), Endianness::default()).map_err(EbpfError::from);
    let ids = ids.map_err(OpenError::from)?;
    let _memory = MemoryLimit::raise();
    // The iterator uses no map. Those of the tracer come with the object, as small as they can be.
    let mut ebpf = EbpfLoader::new()
        .btf(None)
        .override_global(global::OFFSETS, found.offsets.as_slice(), true)
        .map_max_entries(map::EVENTS, 1)
        .map_max_entries(map::PENDING, 1)
        .map_max_entries(map::FOLLOWED, 1)
        .load(OBJECT)
        .map_err(OpenError::from)?;
    let program = ebpf.program_mut("iterate_tasks").ok_or(OpenError::NoMap("iterate_tasks"))?;
    let program: &mut Iter = program.try_into().map_err(refused)?;
    program.load("task", &ids).map_err(|error| match error {
        aya::programs::ProgramError::Btf(_) => TasksError::NoIterator,
        error => refused(error),
    })?;
    let id = program.attach().map_err(refused)?;
    let link = program.take_link(id).map_err(refused)?;
    let file = link.into_file().map_err(|error| TasksError::Refused(Refusal::error(&error)))?;
    Ok(read_all(file)?)
}

fn refused(error: aya::programs::ProgramError) -> TasksError {
    TasksError::Refused(refusal(error))
}

/// How much is asked for at once: more than the kernel hands out, which is 32 KB.
const CHUNK: usize = 1 << 16;

/// The iterator's descriptor, read to its end.
fn read_all(mut file: File) -> io::Result<Vec<u8>> {
    let (mut bytes, mut end) = (Vec::new(), 0);
    loop {
        bytes.resize(end + CHUNK, 0);
        match file.read(&mut bytes[end..]) {
            Ok(0) => break,
            Ok(count) => end += count,
            // Interrupted; or a million tasks went by without a record, and the iterator goes on where it was.
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(end);
    Ok(bytes)
}
