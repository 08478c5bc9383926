//! The only code that walks `task_struct` and what it points to.
//!
//! Every read is `bpf_probe_read_kernel`: it is allowed in every program type since 5.5, and zeroes what it cannot
//! read, so that a null pointer on the path, like an absent field, yields a zero at the end.

use crate::maps::offset;
use crate::syscall::KINDS;
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_get_current_task, generated};
use nsprobe_ebpf::{ABSENT, COMM_LEN, Event, Field, PID_LEVELS, Pids, config, slot};

mod namespaces;

pub use namespaces::fill_namespaces;

/// A type for which any bytes are valid, so that the kernel may write it.
pub trait Plain: Copy + Default {}
impl Plain for u8 {}
impl Plain for u16 {}
impl Plain for u32 {}
impl Plain for u64 {}

/// Returns the value at `address` in kernel memory; 0 if it cannot be read.
#[inline(always)]
pub fn read_at<T: Plain>(address: u64) -> T {
    let mut value = T::default();
    // SAFETY: the destination is as long as stated. The helper checks the source.
    unsafe {
        generated::bpf_probe_read_kernel((&raw mut value).cast(), size_of::<T>() as u32, address as *const _)
    };
    value
}

/// Returns the `field` of the object at `base`; 0 if the kernel lacks the field or it cannot be read.
#[inline(always)]
pub fn read<T: Plain>(base: u64, field: Field) -> T {
    match offset(field) {
        ABSENT => T::default(),
        offset => read_at(base + u64::from(offset)),
    }
}

/// Returns the address of the object embedded as `field` in the object at `base`; 0 if the kernel lacks the field.
#[inline(always)]
pub fn embedded(base: u64, field: Field) -> u64 {
    match offset(field) {
        ABSENT => 0,
        offset => base + u64::from(offset),
    }
}

/// Returns the running task.
#[inline(always)]
pub fn current() -> u64 {
    // SAFETY: no argument, nothing to get wrong.
    unsafe { bpf_get_current_task() }
}

/// `TS_COMPAT`: the task is in a 32-bit system call.
const COMPAT: u32 = 2;

/// Returns true if `task` is in a 32-bit system call: by int 0x80, or of a 32-bit process.
#[inline(always)]
pub fn is_compat(task: u64) -> bool {
    read::<u32>(embedded(task, Field::TaskThreadInfo), Field::ThreadInfoStatus) & COMPAT != 0
}

/// Returns true if seccomp filters the system calls of `task`.
#[inline(always)]
pub fn is_judged(task: u64) -> bool {
    read::<u32>(embedded(task, Field::TaskSeccomp), Field::SeccompMode) != 0
}

/// The possible sizes of a task's stack: `THREAD_SIZE` of x86-64 without and with KASAN.
const STACKS: [u64; 2] = [16 << 10, 32 << 10];

/// `TOP_OF_KERNEL_STACK_PADDING`: without and with `CONFIG_X86_FRED` (6.9).
const PADDINGS: [u64; 2] = [0, 16];

/// Returns the registers (`struct pt_regs`) with which `task` entered the kernel, for the system call with this
/// `number` and this `result`, which they contain too. They are at the top of its stack, at an address that no type
/// shows: the values found must match the call. The number is an `int`: callers may leave anything in the upper half.
/// (`bpf_task_pt_regs` knows, since 5.15.)
#[inline(always)]
pub fn registers(task: u64, number: u32, result: i64) -> Option<u64> {
    let stack: u64 = read(task, Field::TaskStack);
    let size = u64::from(offset(Field::PtRegsSize));
    for end in STACKS {
        for padding in PADDINGS {
            let registers = stack + end - padding - size;
            if read::<u32>(registers, Field::PtRegsNumber) == number
                && read::<u64>(registers, Field::PtRegsResult) == result as u64
            {
                return Some(registers);
            }
        }
    }
    None
}

/// Fills in the caller.
#[inline(always)]
pub fn fill_actor(event: &mut Event, task: u64) {
    let id = bpf_get_current_pid_tgid();
    event.tgid = (id >> 32) as u32;
    event.tid = id as u32;
    event.ppid = read(read(task, Field::TaskRealParent), Field::TaskTgid);
    let cred: u64 = read(task, Field::TaskCred);
    event.uid = read(cred, Field::CredUid);
    event.gid = read(cred, Field::CredGid);
    event.euid = read(cred, Field::CredEuid);
    // 64 bits on every kernel, in two halves before 6.3: x86-64 has the lower one first.
    event.cap_effective = read(cred, Field::CredCapEffective);
    event.start_ns = read(read(task, Field::TaskGroupLeader), Field::TaskStartBoottime);
    event.comm = current_comm();
    fill_pids(&mut event.pids, read(task, Field::TaskGroupLeader));
}

/// Fills in the pids of `task` in every pid namespace it is in.
#[inline(always)]
pub fn fill_pids(pids: &mut Pids, task: u64) {
    fill_pids_from(pids, task, 0);
}

/// Fills in the pids of `task` in the pid namespaces it is in, from the one at depth `outermost` inwards.
#[inline(always)]
pub fn fill_pids_from(pids: &mut Pids, task: u64, outermost: u32) {
    let pid: u64 = read(task, Field::TaskThreadPid);
    if pid == 0 {
        return;
    }
    let level: u32 = read(pid, Field::PidLevel);
    let mut upid = upid_at(pid, outermost);
    for index in 0..PID_LEVELS {
        if index as u32 + outermost > level {
            break;
        }
        pids.nr[index] = read(upid, Field::UpidNr);
        pids.count = index as u32 + 1;
        upid += u64::from(offset(Field::UpidSize));
    }
}

/// Returns the innermost pid and pid namespace inode of the process that `task` belongs to.
#[inline(always)]
pub fn innermost(task: u64) -> (u32, u32) {
    let upid = innermost_upid(read(task, Field::TaskGroupLeader));
    let namespace: u64 = read(upid, Field::UpidNs);
    (read(upid, Field::UpidNr), inum(namespace, Field::PidNsCommon))
}

/// Returns the `struct upid` of `task` in its own pid namespace.
#[inline(always)]
fn innermost_upid(task: u64) -> u64 {
    let pid: u64 = read(task, Field::TaskThreadPid);
    upid_at(pid, read(pid, Field::PidLevel))
}

/// Returns the depth of the pid namespace of `task`: 0 is the initial one.
#[inline(always)]
pub fn depth(task: u64) -> u32 {
    read(read(task, Field::TaskThreadPid), Field::PidLevel)
}

/// Returns true if the pid or time namespace of `child`, which its `parent` has just created, differs from the
/// parent's. A pid namespace for children is always a deeper one; and except for a time namespace, only flags of clone
/// give a child an nsproxy of its own.
#[inline(always)]
pub fn begins_elsewhere(child: u64, parent: u64) -> bool {
    depth(child) != depth(parent)
        || read::<u64>(child, Field::TaskNsproxy) != read::<u64>(parent, Field::TaskNsproxy)
}

/// Returns `CLONE_NEWPID` and `CLONE_NEWTIME`, as far as the namespace of that kind for the next child of `task`
/// differs from its own.
#[inline(always)]
pub fn kinds_for_children(task: u64) -> u64 {
    let proxy: u64 = read(task, Field::TaskNsproxy);
    let differ = |own: u64, next: u64| own != next && own != 0 && next != 0;
    let pid = differ(read(innermost_upid(task), Field::UpidNs), read(proxy, Field::NsproxyPidForChildren));
    let time = differ(read(proxy, Field::NsproxyTime), read(proxy, Field::NsproxyTimeForChildren));
    let kind = |differs, slot: usize| if differs { u64::from(KINDS[slot]) } else { 0 };
    kind(pid, slot::PID) | kind(time, slot::TIME)
}

/// Returns the namespace of the `struct pid` at `pid`: its innermost one, which it holds.
#[inline(always)]
pub fn namespace_of_pid(pid: u64) -> u64 {
    read(upid_at(pid, read(pid, Field::PidLevel)), Field::UpidNs)
}

/// Returns the `struct upid` at depth `level` of the `struct pid` at `pid`.
#[inline(always)]
fn upid_at(pid: u64, level: u32) -> u64 {
    embedded(pid, Field::PidNumbers) + u64::from(level) * u64::from(offset(Field::UpidSize))
}

/// The facts that the iterators need of the task that reads them.
#[repr(C)]
pub struct Reader {
    /// The depth of its pid namespace.
    pub level: u32,
    /// True if the rest is known.
    known: u32,
    /// The address of its pid namespace.
    namespace: u64,
    /// Its root directory: see [`root`].
    pub root: (u64, u64),
}

// It is the same for every task of an iterator's run.
#[unsafe(no_mangle)]
static mut READER: Reader = Reader { level: 0, known: 0, namespace: 0, root: (0, 0) };

/// Returns the task that reads the iterator: it runs the program.
#[inline(always)]
pub fn reader() -> &'static Reader {
    #[expect(clippy::deref_addrof, reason = "the language refuses a plain reference to what may change")]
    // SAFETY: a descriptor is read by one thread at a time, which the kernel sees to by a lock.
    let reader = unsafe { &mut *(&raw mut READER) };
    if reader.known == 0 {
        let task = current();
        reader.level = depth(task);
        reader.namespace = read(innermost_upid(task), Field::UpidNs);
        reader.root = root(task);
        reader.known = 1;
    }
    reader
}

/// Returns the pid of `task` in the reader's pid namespace; 0 if it has none.
#[inline(always)]
pub fn number_for(task: u64, reader: &Reader) -> u32 {
    let pid: u64 = read(task, Field::TaskThreadPid);
    let upid = upid_at(pid, reader.level);
    // The initial pid namespace has a pid for every task.
    let has_one = reader.level == 0
        || reader.level <= read(pid, Field::PidLevel) && read::<u64>(upid, Field::UpidNs) == reader.namespace;
    if has_one { read(upid, Field::UpidNr) } else { 0 }
}

/// Returns the pids of the process and of the thread of `task` likewise, given the `leader` of its thread group.
#[inline(always)]
pub fn ids_for(task: u64, leader: u64, reader: &Reader) -> (u32, u32) {
    let tid = number_for(task, reader);
    (if task == leader { tid } else { number_for(leader, reader) }, tid)
}

/// Returns the command name of the running task, padded with zeroes.
#[inline(always)]
pub fn current_comm() -> [u8; COMM_LEN] {
    let mut comm = [0; COMM_LEN];
    // SAFETY: the destination is as long as stated.
    unsafe { generated::bpf_get_current_comm(comm.as_mut_ptr().cast(), COMM_LEN as u32) };
    comm
}

/// Returns the command name of `task`, NUL-terminated: older kernels (5.10) leave the rest of a longer earlier name
/// after it.
#[inline(always)]
pub fn comm(task: u64) -> [u8; COMM_LEN] {
    let words = embedded(task, Field::TaskComm);
    let (first, second): (u64, u64) = (read_at(words), read_at(words + 8));
    let mut comm = [0; COMM_LEN];
    comm[..8].copy_from_slice(&first.to_ne_bytes());
    comm[8..].copy_from_slice(&second.to_ne_bytes());
    comm
}

/// Returns the addresses of mount (`struct vfsmount`) and dentry of the root directory of `task`; zero if it has none.
#[inline(always)]
pub fn root(task: u64) -> (u64, u64) {
    directory(task, Field::FsRoot)
}

/// Returns the same for its working directory.
#[inline(always)]
pub fn cwd(task: u64) -> (u64, u64) {
    directory(task, Field::FsPwd)
}

/// Returns the address of the mount namespace of `task`; 0 if it has none.
#[inline(always)]
pub fn mount_namespace(task: u64) -> u64 {
    read(read(task, Field::TaskNsproxy), Field::NsproxyMnt)
}

#[inline(always)]
fn directory(task: u64, field: Field) -> (u64, u64) {
    let fs: u64 = read(task, Field::TaskFs);
    if fs == 0 {
        return (0, 0);
    }
    path(embedded(fs, field))
}

/// Returns mount (`struct vfsmount`) and dentry in the `struct path` at `path`.
#[inline(always)]
pub fn path(path: u64) -> (u64, u64) {
    (read(path, Field::PathMnt), read(path, Field::PathDentry))
}

/// Returns the inode number of the namespace at `namespace`, whose `struct ns_common` is at `common`.
#[inline(always)]
fn inum(namespace: u64, common: Field) -> u32 {
    read(embedded(namespace, common), Field::NsCommonInum)
}

/// Returns true if `task` belongs to the configured process.
#[inline(always)]
pub fn is_named(task: u64) -> bool {
    crate::maps::flags() & config::FOLLOW != 0 && innermost(task) == crate::maps::named()
}

/// Returns the open file behind descriptor `fd` of `task`; 0 if there is none.
#[inline(always)]
pub fn file(task: u64, fd: u32) -> u64 {
    let table: u64 = read(read(task, Field::TaskFiles), Field::FilesFdt);
    let slots: u32 = read(table, Field::FdtableMaxFds);
    if fd >= slots {
        return 0;
    }
    let files: u64 = read(table, Field::FdtableFd);
    read_at(files + u64::from(fd) * 8)
}
