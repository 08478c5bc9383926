//! Finds what holds a namespace without referring to it, in the kernel's own tables, with BPF programs that are loaded,
//! run to completion, and unloaded.

use super::bpf::set;
use super::tasks::{self, FILES, Prepared, TasksError};
use super::test_run::TestRun;
use aya_obj::Map;
use nsprobe_ebpf::{Field, map};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};

/// The fields that lead from a file to what it holds. A kernel without one of them is not searched.
pub const NEEDED: [Field; 36] = [
    Field::TaskThreadPid,
    Field::TaskGroupLeader,
    Field::TaskFiles,
    Field::TaskFs,
    Field::FsRoot,
    Field::PathMnt,
    Field::PathDentry,
    Field::PidLevel,
    Field::PidNumbers,
    Field::UpidNr,
    Field::UpidNs,
    Field::UpidSize,
    Field::CredUserNs,
    Field::FileCred,
    Field::FileInode,
    Field::FilePrivate,
    Field::InodeSb,
    Field::InodePrivate,
    Field::SuperBlockMagic,
    Field::SuperBlockInfo,
    Field::SuperBlockUserNs,
    Field::SocketSock,
    Field::SockCommon,
    Field::SockCommonNet,
    Field::SockCommonProt,
    Field::ProtoName,
    Field::SockPeerPid,
    Field::SockPeerCred,
    Field::NsCommonId,
    Field::NsCommonInum,
    Field::NsCommonType,
    Field::MntNsCommon,
    Field::NetNsCommon,
    Field::PidNsCommon,
    Field::UserNsCommon,
    Field::ProcInodePid,
];

/// Fields that a kernel may lack: then no file holds anything in that way, or not as far as can be known.
pub const OPTIONAL: [Field; 14] = [
    Field::SockCommonFamily,
    Field::SockReceiveQueue,
    Field::QueueNext,
    Field::SkbNext,
    Field::SkbControl,
    Field::UnixSkbFiles,
    Field::ScmFilesCount,
    Field::ScmFilesFile,
    Field::FileOwner,
    Field::FileOwnerPid,
    Field::ProcInodeInode,
    Field::ProcFsInfoPidNs,
    Field::SeqFilePrivate,
    Field::ProcMountsNs,
];

/// The fields that lead along the kernel's superblocks, and to their mounts. Without one of the first seven there is no
/// walk.
pub const OF_SUPERBLOCKS: [Field; 13] = [
    Field::SuperBlockList,
    Field::SuperBlockRoot,
    Field::SuperBlockDev,
    Field::DentrySb,
    Field::VfsmountSb,
    Field::ListNext,
    Field::ListPrev,
    Field::SuperBlockType,
    Field::FileSystemTypeName,
    Field::SuperBlockMounts,
    Field::MountNextForSb,
    Field::MountIdUnique,
    Field::MountNamespace,
];

/// The fields that lead along the table of TCP connections.
pub const OF_CONNECTIONS: [Field; 16] = [
    Field::TaskNsproxy,
    Field::NsproxyNet,
    Field::NetIpv4,
    Field::Ipv4DeathRow,
    Field::DeathRowHashinfo,
    Field::HashinfoTable,
    Field::HashinfoMask,
    Field::SockCommonNode,
    Field::SockCommonState,
    Field::SockCommonRemote,
    Field::SockCommonLocal,
    Field::SockCommonRemotePort,
    Field::SockCommonLocalPort,
    Field::SockSocket,
    Field::SockCommonRemote6,
    Field::SockCommonLocal6,
];

/// The programs that search.
const FIND_FILES: &str = "iterate_held";
const FIND_SUPERBLOCKS: &str = "list_superblocks";
const FIND_CONNECTIONS: &str = "list_connections";

/// A walk over the superblocks, with its position.
pub struct Superblocks(TestRun);

impl Superblocks {
    /// Goes some steps, from the start or from where the last ones stopped, and returns their record: a
    /// [`nsprobe_ebpf::Superblocks`].
    pub fn walk(&self, begin: bool) -> io::Result<Vec<u8>> {
        self.0.run(&[u64::from(begin)])
    }
}

/// A walk over the table of TCP connections.
pub struct Connections(TestRun);

impl Connections {
    /// Goes some steps, starting at this bucket, and returns their record: a [`nsprobe_ebpf::Connections`].
    pub fn walk(&self, bucket: u32) -> io::Result<Vec<u8>> {
        self.0.run(&[u64::from(bucket)])
    }
}

/// The programs that search, and the ids to find.
pub struct Search {
    prepared: Prepared,
    sought: OwnedFd,
}

impl Search {
    /// Prepares a search for what holds the namespaces with these ids.
    pub fn open(sought: &[u64]) -> Result<Self, TasksError> {
        let fields = [&NEEDED[..], &OPTIONAL, &OF_SUPERBLOCKS, &OF_CONNECTIONS].concat();
        let programs = [FIND_FILES, FIND_SUPERBLOCKS, FIND_CONNECTIONS];
        let prepared = Prepared::open(&programs, &[FILES], &fields, &NEEDED)?;
        Ok(Self { prepared, sought: set(sought)? })
    }

    /// Returns the records ([`nsprobe_ebpf::Held`]) of all open files that hold one of them, sorted by thread id.
    pub fn files(&self) -> Result<Vec<u8>, TasksError> {
        self.prepared.records(FIND_FILES, FILES, &[self.table()?])
    }

    /// Loads the program that finds the superblocks that hold one of them.
    pub fn superblocks(&self) -> Result<Superblocks, TasksError> {
        self.load(FIND_SUPERBLOCKS, map::SUPERBLOCKS, &OF_SUPERBLOCKS[..7]).map(Superblocks)
    }

    /// Loads the program that finds the TCP connections that hold one of them.
    pub fn connections(&self) -> Result<Connections, TasksError> {
        self.load(FIND_CONNECTIONS, map::CONNECTIONS, &OF_CONNECTIONS[..14]).map(Connections)
    }

    fn load(&self, program: &str, map: &str, needed: &[Field]) -> Result<TestRun, TasksError> {
        tasks::has(needed, &self.prepared.offsets)?;
        TestRun::load(&self.prepared.programs, program, map, &[self.table()?]).map_err(TasksError::Refused)
    }

    /// Returns the map of the ids to find.
    fn table(&self) -> Result<(&'static str, RawFd, &Map), TasksError> {
        let definition = self.prepared.programs.map(map::SOUGHT).map_err(TasksError::Refused)?;
        Ok((map::SOUGHT, self.sought.as_raw_fd(), definition))
    }
}
