//! The target of the descriptor given to setns(2).

use crate::maps::offset;
use crate::task::{self, embedded, read, read_at};
use nsprobe_ebpf::{ABSENT, Field, Target};

/// `NSFS_MAGIC` of linux/magic.h.
pub const NSFS: u64 = 0x6e73_6673;

/// `SOCKFS_MAGIC`.
pub const SOCKFS: u64 = 0x534f_434b;

/// `PID_FS_MAGIC`: the file system of pidfds since 6.9.
pub const PIDFS: u64 = 0x5049_4446;

/// `ANON_INODE_FS_MAGIC`: their file system before, among others.
const ANON_INODE: u64 = 0x0904_1934;

/// `PROC_SUPER_MAGIC`.
pub const PROC: u64 = 0x9fa0;

/// The dentry name that distinguishes a pidfd from other anonymous files.
const PIDFD_NAME: u64 = u64::from_ne_bytes(*b"[pidfd]\0");

/// Fills in the namespace or the process that the open file at `file` refers to, if any.
///
/// setns does not accept a directory of /proc, but callers pass one: the event shows why it failed.
#[inline(always)]
pub fn fill(target: &mut Target, file: u64) {
    let inode: u64 = read(file, Field::FileInode);
    match file_system(inode) {
        NSFS => fill_namespace(target, read(inode, Field::InodePrivate)),
        PIDFS => fill_process(target, read(inode, Field::InodePrivate)),
        ANON_INODE if is_pidfd(file) => fill_process(target, read(file, Field::FilePrivate)),
        PROC if offset(Field::ProcInodeInode) != ABSENT => {
            let proc_inode = inode - u64::from(offset(Field::ProcInodeInode));
            fill_process(target, read(proc_inode, Field::ProcInodePid));
        }
        _ => {}
    }
}

/// Fills in the namespace whose `struct ns_common` is at `common`.
#[inline(always)]
fn fill_namespace(target: &mut Target, common: u64) {
    target.ino = read(common, Field::NsCommonInum);
    target.id = read(common, Field::NsCommonId);
    target.clone_flag = kind(common);
}

/// Returns the magic of the file system of the inode at `inode`.
#[inline(always)]
pub fn file_system(inode: u64) -> u64 {
    read(read(inode, Field::InodeSb), Field::SuperBlockMagic)
}

/// Returns the kind of the namespace whose `struct ns_common` is at `common`, as its `CLONE_NEW*` flag.
#[inline(always)]
pub fn kind(common: u64) -> u32 {
    if offset(Field::NsCommonType) == ABSENT {
        read(read(common, Field::NsCommonOps), Field::ProcNsOperationsType)
    } else {
        read(common, Field::NsCommonType)
    }
}

#[inline(always)]
fn is_pidfd(file: u64) -> bool {
    let dentry: u64 = read(embedded(file, Field::FilePath), Field::PathDentry);
    let name: u64 = read(embedded(dentry, Field::DentryName), Field::QstrName);
    read_at::<u64>(name) == PIDFD_NAME
}

/// Fills in the process, or the thread, with the `struct pid` at `pid`.
#[inline(always)]
fn fill_process(target: &mut Target, pid: u64) {
    if pid == 0 {
        return;
    }
    // The id in the initial pid namespace, which it keeps once the process is gone.
    let number: u32 = read(embedded(pid, Field::PidNumbers), Field::UpidNr);
    (target.tgid, target.tid) = (number, number);
    // The first of its lists is that of the task with this id (PIDTYPE_PID): of one task, by its first link.
    let link: u64 = read(pid, Field::PidTasks);
    if link != 0 && offset(Field::TaskPidLinks) != ABSENT {
        let task = link - u64::from(offset(Field::TaskPidLinks));
        target.tgid = read(task, Field::TaskTgid);
        target.comm = task::comm(task);
        task::fill_namespaces(&mut target.namespaces, None, task);
    }
}
