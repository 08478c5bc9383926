//! Every open file that holds a namespace without referring to it, for a snapshot: `iter/task_file`, where namespaces
//! have ids (Linux 6.18).
//!
//! Only namespaces without another known holder are searched for; their ids are in a map. The end of a path through the
//! kernel's structs is taken for a namespace if its kind is the one that the path leads to, and its id, which is never
//! reused, is in the map.

use super::files::Context;
use super::tasks::write;
use crate::maps::{self, offset};
use crate::target;
use crate::task::{self, embedded, read, read_at};
use core::ffi::c_void;
use nsprobe_ebpf::{ABSENT, Field, Header, Held, cause, how};

const MNT: Kind = Kind { flag: 0x0002_0000, common: Field::MntNsCommon };
const USER: Kind = Kind { flag: 0x1000_0000, common: Field::UserNsCommon };
const PID: Kind = Kind { flag: 0x2000_0000, common: Field::PidNsCommon };
const NET: Kind = Kind { flag: 0x4000_0000, common: Field::NetNsCommon };

/// The protocol names of the two kinds of sockets behind character devices.
const TUN_NAME: u32 = u32::from_ne_bytes(*b"tun\0");
const TAP_NAME: u32 = u32::from_ne_bytes(*b"tap\0");

/// A kind of namespace: its `CLONE_NEW*` flag, and the position of its `struct ns_common`.
#[derive(Clone, Copy)]
struct Kind {
    flag: u32,
    common: Field,
}

/// A possible namespace that is searched for.
#[derive(Clone, Copy)]
struct Candidate {
    /// The address of its `struct ns_common`; 0: none.
    common: u64,
    flag: u32,
    how: u32,
}

/// The most that one file can lead to.
const MOST: usize = 8;

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
extern "C" fn iterate_held(context: *const Context) -> i32 {
    // SAFETY: the kernel's own.
    let Some((seq, task, fd, file)) = (unsafe { Context::file(context) }) else { return 0 };
    let mut found = [Candidate { common: 0, flag: 0, how: 0 }; MOST];
    let [credentials, signals, of_user, first, second, third, fourth, fifth] = &mut found;
    *credentials = candidate(how::CREDENTIALS, USER, read(read(file, Field::FileCred), Field::CredUserNs));
    *signals = of_pid(how::SIGNALS, read(read(file, Field::FileOwner), Field::FileOwnerPid));
    let inode: u64 = read(file, Field::FileInode);
    let super_block: u64 = read(inode, Field::InodeSb);
    *of_user = candidate(how::FILE_SYSTEM, USER, read(super_block, Field::SuperBlockUserNs));
    let private: u64 = read(file, Field::FilePrivate);
    let mut unix = (0, 0);
    match read::<u64>(super_block, Field::SuperBlockMagic) {
        target::SOCKFS => {
            let sock: u64 = read(private, Field::SocketSock);
            unix = (read::<u16>(embedded(sock, Field::SockCommon), Field::SockCommonFamily), sock);
            let peer: u64 = read(sock, Field::SockPeerCred);
            *first = candidate(how::PEER_CREDENTIALS, USER, read(peer, Field::CredUserNs));
            *second = of_pid(how::PEER_PROCESS, read(sock, Field::SockPeerPid));
        }
        target::PIDFS => *first = of_pid(how::PIDFD, read(inode, Field::InodePrivate)),
        target::PROC => {
            let info: u64 = read(super_block, Field::SuperBlockInfo);
            *first = candidate(how::FILE_SYSTEM, PID, read(info, Field::ProcFsInfoPidNs));
            if offset(Field::ProcInodeInode) != ABSENT {
                let proc_inode = inode - u64::from(offset(Field::ProcInodeInode));
                *second = of_pid(how::PROC_FILE, read(proc_inode, Field::ProcInodePid));
            }
            // Only files of these three sorts have these, and nothing distinguishes them from others but what they lead
            // to.
            let of_sequence: u64 = read(private, Field::SeqFilePrivate);
            *third = candidate(how::MOUNT_LIST, MNT, read(of_sequence, Field::ProcMountsNs));
            *fourth = candidate(how::PROC_NET, NET, of_sequence);
            // The first member of a `struct seq_net_private`.
            *fifth = candidate(how::PROC_NET, NET, read_at(of_sequence));
        }
        target::NSFS => {}
        // The private data of such an open device starts with a `struct sock`.
        _ => {
            let common = embedded(private, Field::SockCommon);
            let name = read_at::<u32>(embedded(read(common, Field::SockCommonProt), Field::ProtoName));
            if name == TUN_NAME || name == TAP_NAME {
                *first = candidate(how::TUN, NET, read(common, Field::SockCommonNet));
            }
        }
    }
    let (family, sock) = unix;
    if family == AF_UNIX {
        in_flight(sock, seq, (task, fd));
    }
    for candidate in found {
        let id: u64 = read(candidate.common, Field::NsCommonId);
        if candidate.common != 0
            && maps::is_sought(id)
            && read::<u32>(candidate.common, Field::NsCommonType) == candidate.flag
        {
            report(seq, (task, fd), id, candidate.how);
        }
    }
    0
}

/// `AF_UNIX`.
const AF_UNIX: u16 = 1;

/// The most messages, and descriptors in them, that are read. Each is a separate path to the verifier, which takes 0.4
/// s for 24 of them with a record written at each.
const PLACES: usize = 8;

/// Writes the namespace held by a descriptor queued in a message to a Unix socket: the first that is searched for,
/// within the limit.
///
/// The queue changes meanwhile, and what is read of a message that is gone may be anything: so it counts only if it is
/// a namespace that is searched for.
#[inline(always)]
fn in_flight(sock: u64, seq: *mut c_void, whose: (u64, u32)) {
    if offset(Field::UnixSkbFiles) == ABSENT || offset(Field::SockReceiveQueue) == ABSENT {
        return;
    }
    let queue = embedded(sock, Field::SockReceiveQueue);
    let mut message: u64 = read(queue, Field::QueueNext);
    let mut index = 0_u64;
    let mut held = 0;
    for _ in 0..PLACES {
        if message == 0 || message == queue {
            break;
        }
        let files: u64 = read(embedded(message, Field::SkbControl), Field::UnixSkbFiles);
        if files == 0 || index >= u64::from(read::<u16>(files, Field::ScmFilesCount)) {
            message = read(message, Field::SkbNext);
            index = 0;
            continue;
        }
        let file: u64 = read_at(embedded(files, Field::ScmFilesFile) + index * 8);
        index += 1;
        let inode: u64 = read(file, Field::FileInode);
        let mut common: u64 = read(inode, Field::InodePrivate);
        if target::file_system(inode) == target::SOCKFS {
            let other: u64 = read(read(file, Field::FilePrivate), Field::SocketSock);
            let net: u64 = read(embedded(other, Field::SockCommon), Field::SockCommonNet);
            common = embedded(net, Field::NetNsCommon);
        }
        let id: u64 = read(common, Field::NsCommonId);
        if maps::is_sought(id) {
            held = id;
            break;
        }
    }
    if held != 0 {
        report(seq, whose, held, how::IN_FLIGHT);
    }
}

/// Returns the candidate for a namespace of this kind at this address.
#[inline(always)]
fn candidate(how: u32, kind: Kind, namespace: u64) -> Candidate {
    let common = if namespace == 0 { 0 } else { embedded(namespace, kind.common) };
    Candidate { common, flag: kind.flag, how }
}

/// Returns the pid namespace of the `struct pid` at this address.
#[inline(always)]
fn of_pid(how: u32, pid: u64) -> Candidate {
    candidate(how, PID, if pid == 0 { 0 } else { task::namespace_of_pid(pid) })
}

/// Writes that the file `fd` of `task` holds a namespace.
#[inline(always)]
fn report(seq: *mut c_void, (task, fd): (u64, u32), id: u64, how: u32) {
    let leader: u64 = read(task, Field::TaskGroupLeader);
    let (tgid, tid) = task::ids_for(task, leader, task::reader());
    let header = Header::of::<Held>(cause::HELD);
    let record = Held { header, id, table: read(task, Field::TaskFiles), tgid, tid, fd, how };
    write(seq, &record, size_of::<Held>());
}
