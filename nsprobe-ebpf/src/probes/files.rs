//! Every descriptor that leads to a namespace, for a snapshot: `iter/task_file` (Linux 5.8).
//!
//! The kernel calls the program for each open file of each process, and of each thread whose descriptor table differs
//! from that of its process's first thread, and once more without one at the end. Of the thousands it skips all but
//! namespaces' files, and sockets in a network namespace that differs from the process's own.

use super::tasks::{Meta, write};
use crate::{target, task};
use core::ffi::c_void;
use nsprobe_ebpf::{Descriptor, Field, Header, cause};

/// `struct bpf_iter__task_file` of the kernel.
#[repr(C)]
pub struct Context {
    pub meta: *const Meta,
    pub task: u64,
    pub fd: u32,
    pub file: u64,
}

impl Context {
    /// Returns the output, the task, the descriptor, and the file; `None` if the kernel provides none.
    ///
    /// # Safety
    ///
    /// It is the kernel's own.
    #[inline(always)]
    pub unsafe fn file(context: *const Self) -> Option<(*mut c_void, u64, u32, u64)> {
        // SAFETY: the kernel hands a context of this layout; the verifier checks the loads.
        let (seq, task, fd, file) =
            unsafe { ((*(*context).meta).seq, (*context).task, (*context).fd, (*context).file) };
        (task != 0 && file != 0).then_some((seq, task, fd, file))
    }
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
extern "C" fn iterate_files(context: *const Context) -> i32 {
    // SAFETY: the kernel's own.
    let Some((seq, task, fd, file)) = (unsafe { Context::file(context) }) else { return 0 };
    let leader: u64 = task::read(task, Field::TaskGroupLeader);
    let inode: u64 = task::read(file, Field::FileInode);
    let mut record = match target::file_system(inode) {
        target::NSFS => namespace(inode),
        target::SOCKFS => match socket(leader, file) {
            Some(record) => record,
            None => return 0,
        },
        _ => return 0,
    };
    record.table = task::read(task, Field::TaskFiles);
    record.fd = fd;
    (record.tgid, record.tid) = task::ids_for(task, leader, task::reader());
    write(seq, &record, size_of::<Descriptor>());
    0
}

/// Describes the namespace that the inode of an nsfs file refers to.
#[inline(always)]
fn namespace(inode: u64) -> Descriptor {
    let common: u64 = task::read(inode, Field::InodePrivate);
    Descriptor {
        clone_flag: target::kind(common),
        ino: task::read(common, Field::NsCommonInum),
        id: task::read(common, Field::NsCommonId),
        ..BLANK
    }
}

/// Describes the network namespace of a socket, unless the process, represented by its `leader`, is a member.
#[inline(always)]
fn socket(leader: u64, file: u64) -> Option<Descriptor> {
    let sock: u64 = task::read(task::read(file, Field::FilePrivate), Field::SocketSock);
    let net: u64 = task::read(task::embedded(sock, Field::SockCommon), Field::SockCommonNet);
    let nsproxy: u64 = task::read(leader, Field::TaskNsproxy);
    if net == 0 || net == task::read(nsproxy, Field::NsproxyNet) {
        return None;
    }
    let common = task::embedded(net, Field::NetNsCommon);
    let owner = task::embedded(task::read(net, Field::NetUserNs), Field::UserNsCommon);
    Some(Descriptor {
        ino: task::read(common, Field::NsCommonInum),
        id: task::read(common, Field::NsCommonId),
        owner_ino: task::read(owner, Field::NsCommonInum),
        owner_id: task::read(owner, Field::NsCommonId),
        ..BLANK
    })
}

const BLANK: Descriptor = Descriptor {
    header: Header::of::<Descriptor>(cause::DESCRIPTOR),
    id: 0,
    owner_id: 0,
    table: 0,
    tgid: 0,
    tid: 0,
    fd: 0,
    clone_flag: 0,
    ino: 0,
    owner_ino: 0,
};
