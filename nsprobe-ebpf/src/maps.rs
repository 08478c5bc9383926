//! State shared with userspace: read-only globals, maps, counters.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, PerCpuArray};
use nsprobe_ebpf::{ABSENT, Config, Connections, Counter, FIELDS, Field, Superblocks, Walk, filter_key};

/// Byte offset of every [`Field`] on the running kernel.
#[unsafe(no_mangle)]
static OFFSETS: [u32; FIELDS.len()] = [ABSENT; FIELDS.len()];

/// The requested configuration.
#[unsafe(no_mangle)]
static CONFIG: Config = Config { flags: 0, follow_pid: 0, follow_pid_ns: 0, kinds: 0, namespace_kinds: 0 };

/// Tasks in a call that got past seccomp, by the address of their `task_struct`, with its syscall number, if stopped
/// calls are requested. By address as in [`FOLLOWED`]. Userspace sets the size.
#[map]
static NOTES: HashMap<u64, u32> = HashMap::with_max_entries(1, 0);

/// The meaning of a missing note: [`notes`](mod@notes).
#[map]
static NOTES_STATE: Array<u32> = Array::with_max_entries(1, 0);

/// With [`nsprobe_ebpf::config::FOLLOW`], the tasks to report, by the address of their `task_struct`: a thread that
/// calls exec takes over its process's ids, but remains the same task. Userspace sets the size.
#[map]
static FOLLOWED: HashMap<u64, u8> = HashMap::with_max_entries(1, 0);

/// The filter keys: requested callers and namespaces. Userspace sets the size.
#[map]
static FILTER_KEYS: HashMap<filter_key::FilterKey, u8> = HashMap::with_max_entries(1, 0);

/// The counts of what could not be done, by [`Counter`].
#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Counter::ALL.len() as u32, 0);

/// The walk over a list of namespaces.
#[map]
static WALK: Array<Walk> = Array::with_max_entries(1, 0);

/// The kernel's ids of the namespaces whose holders are searched for. Userspace sets the size.
#[map]
static SOUGHT: HashMap<u64, u8> = HashMap::with_max_entries(1, 0);

/// The walk over the list of superblocks.
#[map]
static SUPERBLOCKS: Array<Superblocks> = Array::with_max_entries(1, 0);

/// The walk over the table of TCP connections.
#[map]
static CONNECTIONS: Array<Connections> = Array::with_max_entries(1, 0);

/// Returns the offset of `field`, or [`ABSENT`]. Known to the verifier, which therefore drops what an absent field
/// guards.
#[inline(always)]
pub fn offset(field: Field) -> u32 {
    // SAFETY: in bounds, because there are as many fields as offsets. Volatile, because the value in this
    // object is not the one that the program will find.
    unsafe { (&raw const OFFSETS).cast::<u32>().add(field as usize).read_volatile() }
}

/// Returns the offset of the field with this index, unknown to the verifier; 0 if there is none.
#[inline(always)]
pub fn offset_at(index: u64) -> u64 {
    if index >= FIELDS.len() as u64 {
        return 0;
    }
    // SAFETY: in bounds, as just checked. Volatile, as in `offset`.
    u64::from(unsafe { (&raw const OFFSETS).cast::<u32>().add(index as usize).read_volatile() })
}

/// Returns the [`nsprobe_ebpf::config`] bits.
#[inline(always)]
pub fn flags() -> u32 {
    // SAFETY: a valid static; volatile as in `offset`.
    unsafe { (&raw const CONFIG.flags).read_volatile() }
}

/// Returns the configured process, and the inode of its pid namespace.
#[inline(always)]
pub fn named() -> (u32, u32) {
    // SAFETY: as in `flags`.
    unsafe {
        ((&raw const CONFIG.follow_pid).read_volatile(), (&raw const CONFIG.follow_pid_ns).read_volatile())
    }
}

/// Returns the requested kinds, as `CLONE_NEW*` flags.
#[inline(always)]
pub fn kinds() -> u32 {
    // SAFETY: as in `flags`.
    unsafe { (&raw const CONFIG.kinds).read_volatile() }
}

/// Returns the kinds of the requested namespaces, likewise.
#[inline(always)]
pub fn namespace_kinds() -> u32 {
    // SAFETY: as in `flags`.
    unsafe { (&raw const CONFIG.namespace_kinds).read_volatile() }
}

/// Adds one to a counter.
#[inline(always)]
pub fn count(counter: Counter) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: the kernel gave this CPU's slot, which is aligned and lives as long as the map.
        unsafe { add(value, 1) };
    }
}

/// Adds to a number in a map, without losing concurrent additions: those of other processors, and on preemptible
/// kernels also those on this processor while a program is preempted.
///
/// # Safety
///
/// `value` is aligned and in a map.
#[inline(always)]
pub unsafe fn add(value: *mut u64, more: u64) {
    #[cfg(target_arch = "bpf")]
    // By instruction: the language has only atomic additions that return the former value, which BPF has from 5.12 on
    // and not on every processor.
    // SAFETY: as the caller says.
    unsafe {
        core::arch::asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) value, in(reg) more, options(nostack));
    }
    #[cfg(not(target_arch = "bpf"))]
    let _ = (value, more);
}

/// Returns true if this filter key is set.
#[inline(always)]
pub fn is_requested(key: &filter_key::FilterKey) -> bool {
    FILTER_KEYS.get_ptr(key).is_some()
}

/// Returns true if the holders of the namespace with this id are searched for.
#[inline(always)]
pub fn is_sought(id: u64) -> bool {
    id != 0 && SOUGHT.get_ptr(id).is_some()
}

/// Returns true if `task` is followed.
#[inline(always)]
pub fn is_followed(task: u64) -> bool {
    FOLLOWED.get_ptr(task).is_some()
}

/// Follows `task` from now on.
#[inline(always)]
pub fn follow(task: u64) {
    if FOLLOWED.insert(task, 1, 0).is_err() {
        count(Counter::FollowFull);
    }
}

/// Stops following `task`, whose address may soon be reused.
#[inline(always)]
pub fn unfollow(task: u64) {
    // Most tasks that end were never followed.
    let _ = FOLLOWED.remove(task);
}

/// `BPF_NOEXIST`: an existing entry is not changed.
pub const NO_EXIST: u64 = 1;

/// The meaning of a missing note.
pub mod notes {
    /// None yet: the call may have started before notes were kept.
    pub const BEGINNING: u32 = 0;
    /// The call did not get past seccomp.
    pub const WHOLE: u32 = 1;
    /// None any more: there may have been no room for it.
    pub const FULL: u32 = 2;
}

/// Returns the current meaning of a missing note.
#[inline(always)]
pub fn notes() -> u32 {
    // SAFETY: the entry lives as long as the map.
    NOTES_STATE.get_ptr(0).map_or(notes::BEGINNING, |state| unsafe { state.read_volatile() })
}

fn set_notes(value: u32) {
    if let Some(state) = NOTES_STATE.get_ptr_mut(0) {
        // SAFETY: as above.
        unsafe { state.write_volatile(value) };
    }
}

/// Declares that every call in progress has a note, unless there was no room for one.
#[inline(always)]
pub fn trust_notes() {
    if notes() == notes::BEGINNING {
        set_notes(notes::WHOLE);
    }
}

/// Records that `task` is in the call with this syscall `number`.
#[inline(always)]
pub fn note(task: u64, number: u32) {
    if NOTES.insert(task, number, 0).is_err() {
        set_notes(notes::FULL);
    }
}

/// Removes the note, whichever call it is for.
#[inline(always)]
pub fn unnote_any(task: u64) {
    // Most tasks that end have none.
    let _ = NOTES.remove(task);
}

/// Removes the note; returns true if it was for this call.
#[inline(always)]
pub fn unnote(task: u64, number: u32) -> bool {
    // SAFETY: the task that removes the entry is the one that runs here, or is not running.
    let noted = unsafe { NOTES.get(task) }.is_some_and(|&noted| noted == number);
    NOTES.remove(task).is_ok() && noted
}

/// Returns the walk over a list of namespaces, as the last run left it.
#[inline(always)]
pub fn walk() -> Option<&'static mut Walk> {
    // SAFETY: only nsprobe runs the program that uses it, one run at a time; the kernel keeps the map as long as
    // the program.
    WALK.get_ptr_mut(0).map(|walk| unsafe { &mut *walk })
}

/// Returns the walk over the list of superblocks, as the last run left it.
#[inline(always)]
pub fn superblocks() -> Option<&'static mut Superblocks> {
    // SAFETY: as in `walk`.
    SUPERBLOCKS.get_ptr_mut(0).map(|walk| unsafe { &mut *walk })
}

/// Returns the walk over the table of TCP connections, as the last run left it.
#[inline(always)]
pub fn connections() -> Option<&'static mut Connections> {
    // SAFETY: as in `walk`.
    CONNECTIONS.get_ptr_mut(0).map(|walk| unsafe { &mut *walk })
}
