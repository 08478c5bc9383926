//! The state of calls in progress: from the entry of a call to its return.
//!
//! Nobody can exhaust it. If the kernel has task storage for tracing programs (Linux 5.13), each task has memory of its
//! own, allocated at its first traced call and freed by the kernel with the task. Otherwise a table holds some calls
//! with all their text ([`CALLS`]), of which each user and each control group has a share ([`Quota`]), and a second one
//! with room for every possible task holds those that the first has no room for, without text ([`BRIEFS`]). Userspace
//! finds out by trying, and sets [`config::TASK_STORAGE`]. Entries belong to a task, not to a thread id: a thread that
//! calls exec gets the pid of its process, and its own entries would stay behind.
//!
//! State belongs to one call: it is dropped when another one comes or returns.

use crate::maps::{NO_EXIST, count, flags};
use crate::pending::Pending;
use crate::quota::{self, Quota};
use crate::{admission, event, task};
use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_probe_read_kernel, bpf_task_storage_get};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap};
use core::mem::MaybeUninit;
use nsprobe_ebpf::share::ROWS;
use nsprobe_ebpf::{BRIEF_LEN, Counter, Event, NamespaceInodes, cause, config, text, text_flags};

/// The state of a call for which [`CALLS`] has no room.
#[repr(C)]
pub struct Brief {
    cause: u32,
    flags: u32,
    time_ns: u64,
    args: [u64; 2],
    cap_effective: u64,
    root: (u64, u64),
    cwd: (u64, u64),
    before: NamespaceInodes,
}

// Userspace sets the table's value size to this.
const _: () = assert!(size_of::<Brief>() == BRIEF_LEN);

/// The initial value of a new [`Pending`]: too large for the stack.
// Its plain name keeps the object free of a mangled one, which changes with the compiler.
// SAFETY: it is made of integers, for which zero is a value.
#[unsafe(no_mangle)]
static BLANK: Pending = unsafe { MaybeUninit::zeroed().assume_init() };

/// Calls in progress. With [`config::TASK_STORAGE`] userspace replaces it with task storage before the programs are
/// loaded. Otherwise a table by task; preallocated, because entries are added with preemption and locks in states
/// that allow no allocation. Userspace sets the size.
#[map]
static CALLS: HashMap<u64, Pending> = HashMap::with_max_entries(1, 0);

/// The number of entries in [`CALLS`].
#[map]
static CALLS_HELD: Array<u64> = Array::with_max_entries(quota::NUMBERS, 0);

/// Without [`config::TASK_STORAGE`]: calls in progress that [`CALLS`] has no room for, and clones, by task. Userspace
/// sets the size: room for every possible task.
#[map]
static BRIEFS: HashMap<u64, Brief> = HashMap::with_max_entries(1, 0);

/// Without [`config::TASK_STORAGE`]: events while a program builds them, by task. An entry lives no longer than a
/// program runs.
#[map]
static SCRATCH: HashMap<u64, Pending> = HashMap::with_max_entries(1, 0);

/// `BPF_LOCAL_STORAGE_GET_F_CREATE`
const CREATE: u64 = 1;

#[inline(always)]
fn in_tasks() -> bool {
    flags() & config::TASK_STORAGE != 0
}

/// Returns the address of as many zeroes as a pending event has bytes.
#[inline(always)]
pub fn zeroes() -> *const core::ffi::c_void {
    (&raw const BLANK).cast()
}

/// Returns the storage of the running task.
#[inline(always)]
fn of_task(how: u64) -> Option<&'static mut Pending> {
    // SAFETY: the map and the task are the kernel's own; without room the result is null, as checked. A task's storage is
    // used only by programs that run in that task, one at a time, and the kernel keeps it as long as the task.
    unsafe {
        let task = bpf_get_current_task_btf();
        let map = (&raw const CALLS).cast_mut().cast();
        bpf_task_storage_get(map, task, core::ptr::null_mut(), how).cast::<Pending>().as_mut()
    }
}

/// Returns the entry of the running task in one of the tables.
#[inline(always)]
fn entry(found: Option<*mut Pending>) -> Option<&'static mut Pending> {
    // SAFETY: an entry is used by the task that is its key only, and removed by it only; the kernel keeps
    // its memory for the length of this program.
    found.map(|pending| unsafe { &mut *pending })
}

/// Returns a blank event of the running task, whose call continues: [`keep`] must be called once it is filled in.
#[inline(always)]
pub fn begin() -> Option<&'static mut Pending> {
    if !in_tasks() {
        let id = task::current();
        // From another call, whose return the kernel did not report.
        release(id);
        if let Some(pending) = room_in_calls(id) {
            let _ = BRIEFS.remove(id);
            return Some(pending);
        }
        admission::lose(Counter::CallsFull, &admission::tenant());
    }
    begin_at_once()
}

#[inline(always)]
fn quota() -> Quota {
    Quota { held: &CALLS_HELD, room: admission::calls() }
}

/// Adds an entry to [`CALLS`] if the running task's user and control group may have one more.
#[inline(never)]
fn room_in_calls(id: u64) -> Option<&'static mut Pending> {
    let mut shares = [0; ROWS];
    if !quota().admit(&mut shares) {
        return None;
    }
    // By reference: by value it would be on the stack of 512 bytes.
    if CALLS.insert(id, &BLANK, NO_EXIST).is_err() {
        quota().give_back(shares);
        return None;
    }
    let pending = entry(CALLS.get_ptr_mut(id))?;
    pending.shares = shares;
    Some(pending)
}

/// Removes a task's entry from [`CALLS`].
#[inline(never)]
fn release(id: u64) {
    // SAFETY: as in `entry`.
    let shares = CALLS.get_ptr(id).map(|pending| unsafe { (*pending).shares });
    if let Some(shares) = shares
        && CALLS.remove(id).is_ok()
    {
        quota().give_back(shares);
    }
}

/// Returns a blank event of the running task, to be completed before the program ends, or kept without its text.
#[inline(always)]
pub fn begin_at_once() -> Option<&'static mut Pending> {
    let pending = if in_tasks() {
        let mut room = of_task(CREATE);
        if let Some(pending) = &mut room {
            let to = (&raw mut pending.event).cast();
            // SAFETY: as long as stated, and there are as many zeroes. Its text is unused while it has no length.
            unsafe { bpf_probe_read_kernel(to, size_of::<Event>() as u32, zeroes()) };
        }
        room
    } else {
        let id = task::current();
        match SCRATCH.insert(id, &BLANK, 0) {
            Ok(()) => entry(SCRATCH.get_ptr_mut(id)),
            Err(_) => None,
        }
    };
    let Some(pending) = pending else {
        count(Counter::PendingFull);
        return None;
    };
    pending.root = (0, 0);
    pending.cwd = (0, 0);
    pending.child = 0;
    pending.scratch = 1;
    Some(pending)
}

/// Keeps an event until its call returns.
#[inline(always)]
pub fn keep(pending: &mut Pending) {
    if in_tasks() || pending.scratch == 0 {
        return;
    }
    let id = task::current();
    let event = &pending.event;
    let brief = Brief {
        cause: event.header.cause.into(),
        flags: event.flags,
        time_ns: event.time_ns,
        args: event.args,
        cap_effective: event.cap_effective,
        root: pending.root,
        cwd: pending.cwd,
        before: event.before,
    };
    if BRIEFS.insert(id, &brief, 0).is_err() {
        count(Counter::PendingFull);
    }
    let _ = SCRATCH.remove(id);
}

/// Returns the event of this cause that the running task has begun, if any; an event of another cause is dropped.
#[inline(always)]
pub fn resume(cause: u16) -> Option<&'static mut Pending> {
    let id = task::current();
    let pending = if in_tasks() { of_task(0) } else { entry(CALLS.get_ptr_mut(id)) };
    if let Some(pending) = pending {
        if pending.event.header.cause == cause {
            return Some(pending);
        }
        forget(pending);
        return None;
    }
    if in_tasks() { None } else { resume_brief(id, cause) }
}

/// Does the same, unless it is kept without its text; an event of another cause stays.
#[inline(always)]
pub fn resume_whole(cause: u16) -> Option<&'static mut Pending> {
    let pending = if in_tasks() { of_task(0) } else { entry(CALLS.get_ptr_mut(task::current())) };
    pending.filter(|pending| pending.event.header.cause == cause)
}

/// Sets the flags of the clone that the running task has begun, if any.
#[inline(always)]
pub fn amend_clone(flags: u64) -> bool {
    if in_tasks() {
        let pending = resume_whole(cause::CLONE);
        return pending.map(|pending| pending.event.args[0] = flags).is_some();
    }
    let Some(brief) = BRIEFS.get_ptr_mut(task::current()) else { return false };
    // SAFETY: as in `entry`.
    let brief = unsafe { &mut *brief };
    let is_clone = brief.cause == u32::from(cause::CLONE);
    if is_clone {
        brief.args[0] = flags;
    }
    is_clone
}

/// Does the same for an event kept without its text. The caller's facts are filled in now.
#[inline(always)]
fn resume_brief(id: u64, cause: u16) -> Option<&'static mut Pending> {
    let brief = BRIEFS.get_ptr(id)?;
    // SAFETY: as in `entry`.
    let brief = unsafe { &*brief };
    let is_it = brief.cause == u32::from(cause);
    let pending = if is_it { begin_at_once() } else { None };
    if let Some(pending) = pending {
        event::fill(&mut pending.event, cause, task::current());
        pending.event.flags = brief.flags;
        pending.event.time_ns = brief.time_ns;
        pending.event.args = brief.args;
        pending.event.cap_effective = brief.cap_effective;
        pending.event.before = brief.before;
        pending.root = brief.root;
        pending.cwd = brief.cwd;
        if cause == cause::CHROOT || cause == cause::PIVOT_ROOT {
            // Its paths are read at its return.
            pending.event.texts[text::FIRST].flags = text_flags::FAULT;
        }
        if cause == cause::PIVOT_ROOT {
            pending.event.texts[text::SECOND].flags = text_flags::FAULT;
        }
        return Some(pending);
    }
    let _ = BRIEFS.remove(id);
    None
}

/// Drops an event.
#[inline(always)]
pub fn forget(pending: &mut Pending) {
    if in_tasks() {
        pending.event.header.cause = 0;
        return;
    }
    let id = task::current();
    if pending.scratch == 0 {
        release(id);
    } else {
        let _ = SCRATCH.remove(id);
        // If the call had been kept.
        let _ = BRIEFS.remove(id);
    }
}

/// Drops what the ending `task` leaves behind.
#[inline(always)]
pub fn ended(task: u64) {
    if !in_tasks() {
        release(task);
        let _ = BRIEFS.remove(task);
    }
}

/// Drops whatever the running task has begun.
#[inline(always)]
pub fn clear() {
    if in_tasks() {
        if let Some(pending) = of_task(0) {
            pending.event.header.cause = 0;
        }
        return;
    }
    ended(task::current());
}
