//! Every task, for a snapshot: `iter/task` (Linux 5.8).
//!
//! The kernel calls the program for each task with a pid in the reader's pid namespace, including zombies, and once
//! more without one at the end. Reading the iterator's descriptor yields what the program writes.
//!
//! Fields are read by helper, though the verifier knows the type of the task: from 6.4 to 6.18 it goes through all
//! types of the kernel, several times, for each plain load of a pointer from a trusted object, which makes 27 ms of
//! verification out of 3.

use crate::task::{self, Reader};
use crate::{path, state};
use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_seq_write};
use core::ffi::c_void;
use core::mem::{MaybeUninit, offset_of};
use nsprobe_ebpf::{Field, Header, Pids, Task, cause, task_flags};

/// `struct bpf_iter__task` of the kernel.
#[repr(C)]
pub struct Context {
    pub meta: *const Meta,
    pub task: u64,
}

/// The start of `struct bpf_iter_meta`.
#[repr(C)]
pub struct Meta {
    pub seq: *mut c_void,
}

/// Writes the first `length` bytes of a record for the reader of the iterator. If they do not fit, the kernel drops all
/// output for this task or file, and calls again for it at the reader's next read.
#[inline(always)]
pub fn write<T>(seq: *mut c_void, record: &T, length: usize) {
    let length = length.min(size_of::<T>()) as u32;
    // SAFETY: the kernel's own seq_file, and no more bytes than the record has.
    unsafe { bpf_seq_write(seq.cast(), (&raw const *record).cast(), length) };
}

/// `PF_KTHREAD` of linux/sched.h.
const KERNEL_THREAD: u32 = 0x0020_0000;

/// The length of the record of a task with one pid, as most have.
const SHORT: usize = offset_of!(Task, pids) + offset_of!(Pids, nr) + size_of::<u32>();

/// aya-ebpf has no macro for iterators; the section's name is enough.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
extern "C" fn iterate_tasks(context: *const Context) -> i32 {
    // SAFETY: the kernel hands a context of this layout; the verifier checks the two loads.
    let (task, seq) = unsafe { ((*context).task, (*(*context).meta).seq) };
    if task == 0 {
        return 0;
    }
    let leader: u64 = task::read(task, Field::TaskGroupLeader);
    let nsproxy: u64 = task::read(task, Field::TaskNsproxy);
    // Only setns(2) and unshare(2) make a thread diverge, and both give it an nsproxy of its own.
    if task != leader && (nsproxy == 0 || nsproxy == task::read(leader, Field::TaskNsproxy)) {
        return 0;
    }
    let mut record = MaybeUninit::<Task>::uninit();
    // SAFETY: as long as stated, and there are as many zeroes; zero is a value for all its parts.
    let record = unsafe {
        bpf_probe_read_kernel(record.as_mut_ptr().cast(), size_of::<Task>() as u32, state::zeroes());
        record.assume_init_mut()
    };
    let reader = task::reader();
    fill(record, task, leader, reader);
    // A task that changes its namespaces frees the nsproxy that has just been read, without waiting for readers. If the
    // task has the same one as before, it had it all the time. If not, the kernel calls again for this task.
    if task::read::<u64>(task, Field::TaskNsproxy) != nsproxy {
        return 1;
    }
    // Pids come last: for each count of them the verifier follows all that comes after.
    if task::depth(task) == reader.level {
        record.pids.count = 1;
        record.pids.nr[0] = record.tid;
        send(record, seq, SHORT);
    } else {
        task::fill_pids_from(&mut record.pids, task, reader.level);
        send(record, seq, size_of::<Task>());
    }
    0
}

/// Writes the first `length` bytes of the record.
#[inline(always)]
fn send(record: &mut Task, seq: *mut c_void, length: usize) {
    record.header = Header { size: length as u32, ..Header::of::<Task>(cause::TASK) };
    write(seq, record, length);
}

#[inline(always)]
fn fill(record: &mut Task, task: u64, leader: u64, reader: &Reader) {
    record.start_ns = task::read(task, Field::TaskStartBoottime);
    (record.tgid, record.tid) = task::ids_for(task, leader, reader);
    let parent: u64 = task::read(task, Field::TaskRealParent);
    record.ppid = task::number_for(task::read(parent, Field::TaskGroupLeader), reader);
    record.euid = task::read(task::read(task, Field::TaskCred), Field::CredEuid);
    record.threads = task::read(task::read(task, Field::TaskSignal), Field::SignalNrThreads);
    record.comm = task::comm(task);
    task::fill_namespaces(&mut record.namespaces, None, task);
    if task == leader {
        record.flags |= task_flags::LEADER;
    }
    if task::read::<u32>(task, Field::TaskFlags) & KERNEL_THREAD != 0 {
        record.flags |= task_flags::KERNEL_THREAD;
    }
    let (mount, dentry) = task::root(task);
    if mount == 0 {
        record.flags |= task_flags::NO_ROOT;
    } else if path::is_mounted_in(mount, task::mount_namespace(task))
        && ((mount, dentry) == reader.root || path::is_top(mount, dentry))
    {
        record.flags |= task_flags::WHOLE_ROOT;
    }
}
