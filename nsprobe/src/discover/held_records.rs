//! Records of files and file systems that hold namespaces without referring to them, decoded from bytes; this file
//! makes no system call.

use super::records::{is_whole, long, records, word};
use super::walk::Outcome;
use crate::model::{HeldBy, Pid, TcpState, Text};
use nsprobe_ebpf::{COMM_LEN, Connection, Connections, FOUND, Held, MOUNTS, Mount, Superblocks, cause, how};
use std::mem::offset_of;
use std::net::{IpAddr, SocketAddr};

/// A file that holds a namespace, as decoded from its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HeldFacts {
    /// The kernel's id of the namespace.
    pub(super) kernel_id: u64,
    pub(super) by: HeldBy,
    pub(super) pid: Pid,
    /// The thread that owns the descriptor, if it has a table of its own.
    pub(super) tid: Option<Pid>,
    /// The identity of its descriptor table; `None` if the table is gone.
    pub(super) table: Option<u64>,
    pub(super) fd: u32,
}

/// A file system that holds a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SuperblockFacts {
    /// The kernel's id of the namespace.
    pub(super) kernel_id: u64,
    /// Its device: major and minor.
    pub(super) dev: (u32, u32),
    pub(super) fs_type: Text,
    /// Its mounts that are in a mount namespace.
    pub(super) mounts: Vec<MountFacts>,
    /// True if it has more mounts than were read.
    pub(super) more: bool,
}

/// A mount in a mount namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MountFacts {
    pub(super) id: u64,
    /// The kernel's id of the mount namespace.
    pub(super) namespace_id: u64,
    /// Its inode.
    pub(super) namespace_ino: u64,
}

/// Decodes the outcome of the steps in one record of the walk over superblocks, and the file system they reached;
/// `None` if the record does not have the layout of this nsprobe's probe.
pub(super) fn superblock(record: &[u8]) -> Option<(Outcome, Option<SuperblockFacts>)> {
    let count = word(record, offset_of!(Superblocks, count))? as usize;
    if !is_whole::<Superblocks>(record, cause::SUPERBLOCKS) || count > MOUNTS {
        return None;
    }
    let outcome = Outcome::of(word(record, offset_of!(Superblocks, outcome))?)?;
    let kernel_id = long(record, offset_of!(Superblocks, id))?;
    if kernel_id == 0 {
        return Some((outcome, None));
    }
    let mut mounts = Vec::new();
    for index in 0..count {
        let at = offset_of!(Superblocks, mounts) + index * size_of::<Mount>();
        let mount = MountFacts {
            id: long(record, at + offset_of!(Mount, id))?,
            namespace_id: long(record, at + offset_of!(Mount, namespace_id))?,
            namespace_ino: word(record, at + offset_of!(Mount, namespace_ino))?.into(),
        };
        if mount.namespace_id != 0 {
            mounts.push(mount);
        }
    }
    let dev = word(record, offset_of!(Superblocks, dev))?;
    let fs_type = record.get(offset_of!(Superblocks, fs_type)..)?.get(..COMM_LEN)?;
    let fs_type = fs_type.split(|&byte| byte == 0).next().unwrap_or_default();
    Some((
        outcome,
        Some(SuperblockFacts {
            kernel_id,
            dev: (dev >> 20, dev & 0x000f_ffff),
            fs_type: fs_type.into(),
            mounts,
            more: word(record, offset_of!(Superblocks, more))? != 0,
        }),
    ))
}

/// A TCP connection that no process has open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ConnectionFacts {
    /// The kernel's id of its network namespace.
    pub(super) kernel_id: u64,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) state: TcpState,
}

/// Decodes one record of the walk over the connection table: passes `each` the connections found, and returns the
/// bucket to continue at (`None` at the end). The outer `None`: the record does not have the layout of this nsprobe's
/// probe, or the table's layout is unknown.
#[expect(clippy::option_option, reason = "the end of a walk is not its failure")]
pub(super) fn connections(record: &[u8], each: &mut impl FnMut(ConnectionFacts)) -> Option<Option<u32>> {
    let count = word(record, offset_of!(Connections, count))? as usize;
    if !is_whole::<Connections>(record, cause::CONNECTIONS) || count > FOUND {
        return None;
    }
    for index in 0..count {
        let at = offset_of!(Connections, found) + index * size_of::<Connection>();
        let half = |at: usize| Some(u16::from_ne_bytes(*record.get(at..)?.first_chunk()?));
        let family = half(at + offset_of!(Connection, family))?;
        let address = |at: usize| {
            let bytes: [u8; 16] = *record.get(at..)?.first_chunk()?;
            Some(match i32::from(family) {
                libc::AF_INET6 => IpAddr::from(bytes),
                _ => IpAddr::from(*bytes.first_chunk::<4>()?),
            })
        };
        let local_port = half(at + offset_of!(Connection, local_port))?;
        let remote_port = u16::from_be(half(at + offset_of!(Connection, remote_port))?);
        each(ConnectionFacts {
            kernel_id: long(record, at + offset_of!(Connection, id))?,
            local: SocketAddr::new(address(at + offset_of!(Connection, local))?, local_port),
            remote: SocketAddr::new(address(at + offset_of!(Connection, remote))?, remote_port),
            state: match half(at + offset_of!(Connection, state))? {
                4 => TcpState::FinWait1,
                5 => TcpState::FinWait2,
                9 => TcpState::LastAck,
                11 => TcpState::Closing,
                _ => TcpState::Other,
            },
        });
    }
    match Outcome::of(word(record, offset_of!(Connections, outcome))?)? {
        Outcome::More => Some(Some(word(record, offset_of!(Connections, bucket))?)),
        Outcome::End => Some(None),
        Outcome::Lost => None,
    }
}

/// Passes `each` every file in `bytes`, a sequence of records, and returns the number of records that were not
/// understood.
pub(super) fn files(bytes: &[u8], mut each: impl FnMut(HeldFacts)) -> u64 {
    records(bytes, |record| {
        // Without a pid in the reader's pid namespace the process cannot be named.
        file(record).map(|facts| {
            if facts.pid != 0 {
                each(facts);
            }
        })
    })
}

/// Decodes the file in one whole record; `None` if it does not have the layout of this nsprobe's probe.
fn file(record: &[u8]) -> Option<HeldFacts> {
    if !is_whole::<Held>(record, cause::HELD) {
        return None;
    }
    let (pid, tid) = (word(record, offset_of!(Held, tgid))?, word(record, offset_of!(Held, tid))?);
    Some(HeldFacts {
        kernel_id: long(record, offset_of!(Held, id))?,
        by: match word(record, offset_of!(Held, how))? {
            how::TUN => HeldBy::Tun,
            how::PIDFD => HeldBy::Pidfd,
            how::PROC_FILE => HeldBy::ProcFile,
            how::FILE_SYSTEM => HeldBy::FileSystem,
            how::CREDENTIALS => HeldBy::Credentials,
            how::PEER_CREDENTIALS => HeldBy::PeerCredentials,
            how::PEER_PROCESS => HeldBy::PeerProcess,
            how::SIGNALS => HeldBy::Signals,
            how::MOUNT_LIST => HeldBy::MountList,
            how::PROC_NET => HeldBy::ProcNet,
            how::IN_FLIGHT => HeldBy::InFlight,
            _ => return None,
        },
        pid,
        tid: (tid != pid).then_some(tid),
        table: Some(long(record, offset_of!(Held, table))?).filter(|&table| table != 0),
        fd: word(record, offset_of!(Held, fd))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use nsprobe_ebpf::{RECORD_VERSION, outcome};

    /// A record as the probe writes it: the words in struct order.
    fn record(tgid: u32, tid: u32, how: u32) -> Vec<u8> {
        let head =
            (u64::from(RECORD_VERSION) | u64::from(cause::HELD) << 16) << 32 | size_of::<Held>() as u64;
        let mut bytes: Vec<u8> = [head, 77, 99].iter().flat_map(|word| word.to_ne_bytes()).collect();
        bytes.extend([tgid, tid, 5, how].iter().flat_map(|word| word.to_ne_bytes()));
        bytes
    }

    #[test]
    fn held_file_record_is_decoded() {
        let mut found = Vec::new();
        let whole = [record(7, 7, how::TUN), record(7, 9, how::PROC_NET), record(0, 0, how::TUN)].concat();
        assert_eq!(files(&whole, |facts| found.push(facts)), 0);
        let facts = |by, tid| HeldFacts { kernel_id: 77, by, pid: 7, tid, table: Some(99), fd: 5 };
        assert_eq!(found, [facts(HeldBy::Tun, None), facts(HeldBy::ProcNet, Some(9))]);
        for end in 1..size_of::<Held>() {
            assert_eq!(files(&whole[..end], |_| unreachable!()), 1, "{end} bytes");
        }
    }

    /// A record of a proc file system on device 0:45 that holds the namespace 77, with these mounts: id, and the id and
    /// inode of the mount namespace.
    fn superblock_record(id: u64, mounts: &[(u64, u64, u32)]) -> Vec<u8> {
        let size = size_of::<Superblocks>();
        let head = (u64::from(RECORD_VERSION) | u64::from(cause::SUPERBLOCKS) << 16) << 32 | size as u64;
        let mut bytes = head.to_ne_bytes().to_vec();
        bytes.extend(
            [outcome::MORE, u32::try_from(mounts.len()).unwrap()].iter().flat_map(|it| it.to_ne_bytes()),
        );
        bytes.extend([1, 2, id].iter().flat_map(|it: &u64| it.to_ne_bytes()));
        bytes.extend([45_u32, 0].iter().flat_map(|it| it.to_ne_bytes()));
        bytes.extend(*b"proc\0garbage\0\0\0\0");
        for &(id, namespace_id, ino) in mounts {
            bytes.extend([id, namespace_id].iter().flat_map(|it| it.to_ne_bytes()));
            bytes.extend([ino, 0].iter().flat_map(|it| it.to_ne_bytes()));
        }
        bytes.resize(size, 0);
        bytes
    }

    #[test]
    fn superblock_record_lists_mounts_in_namespaces() {
        let record = superblock_record(77, &[(5, 9, 4_026_531_832), (6, 0, 0)]);
        let mounts = vec![MountFacts { id: 5, namespace_id: 9, namespace_ino: 4_026_531_832 }];
        let fs_type = Text::from("proc");
        let facts = SuperblockFacts { kernel_id: 77, dev: (0, 45), fs_type, mounts, more: false };
        assert_eq!(superblock(&record), Some((Outcome::More, Some(facts))));
        assert_eq!(superblock(&superblock_record(0, &[])), Some((Outcome::More, None)));
        for end in 0..record.len() {
            assert_eq!(superblock(&record[..end]), None, "{end} bytes");
        }
        let mut too_many = record;
        too_many[offset_of!(Superblocks, count)] = 17;
        assert_eq!(superblock(&too_many), None);
    }

    #[test]
    fn every_way_of_holding_has_a_unique_code() {
        let mut ways = Vec::new();
        for how in 0..=64 {
            let before = ways.len();
            let unknown = files(&record(7, 7, how), |facts| ways.push(facts.by));
            assert_eq!(ways.len() - before + usize::try_from(unknown).unwrap(), 1, "{how}");
        }
        ways.sort();
        assert_eq!(ways, HeldBy::ALL);
    }
}
