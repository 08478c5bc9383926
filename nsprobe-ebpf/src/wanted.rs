//! Which events are asked for: decided at entry wherever that can be known, before any work is spent on a call.
//!
//! Each condition has its bit in the configuration, which the verifier knows: of one that is not set no instruction is
//! left. `nsprobe/src/trace/conditions.rs` has the same conditions for events.

use crate::{maps, place, program, task};
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use nsprobe_ebpf::{
    Event, Field, NamespaceInodes, SLOTS, cause, config, event_flags, is_restart, slot, wish,
};

/// `CLONE_NEW*` of linux/sched.h, of the kind in each slot: the flag of clone and unshare that makes one.
pub const KINDS: [u32; SLOTS] = {
    let mut kinds = [0; SLOTS];
    kinds[slot::CGROUP] = 0x0200_0000;
    kinds[slot::IPC] = 0x0800_0000;
    kinds[slot::MNT] = 0x0002_0000;
    kinds[slot::NET] = 0x4000_0000;
    kinds[slot::PID] = 0x2000_0000;
    kinds[slot::TIME] = 0x0000_0080;
    kinds[slot::USER] = 0x1000_0000;
    kinds[slot::UTS] = 0x0400_0000;
    kinds[slot::PID_FOR_CHILDREN] = kinds[slot::PID];
    kinds[slot::TIME_FOR_CHILDREN] = kinds[slot::TIME];
    kinds
};

/// Every flag that makes a namespace.
pub const ANY_KIND: u64 = {
    let mut any = 0;
    let mut slot = 0;
    while slot < SLOTS {
        any |= KINDS[slot];
        slot += 1;
    }
    any as u64
};

/// `UNSHARE_EMPTY_MNTNS` (Linux 7.1 or later), where clone has `CLONE_PARENT_SETTID`: makes a mount namespace, whether
/// `CLONE_NEWNS` is set or not.
const UNSHARE_EMPTY_MNTNS: u64 = 0x0010_0000;

/// `CLONE_EMPTY_MNTNS`, the same of clone3. The kernel sets `CLONE_NEWNS` in its own copy of the flags.
const CLONE_EMPTY_MNTNS: u64 = 1 << 37;

/// The kinds of namespaces that unshare makes with these flags (`CLONE_NEW*`; other flags stay).
#[inline(always)]
pub const fn kinds_of_unshare(flags: u64) -> u64 {
    if flags & UNSHARE_EMPTY_MNTNS == 0 { flags } else { flags | place::NEW_MNT }
}

/// The same of clone3, whose flags the caller wrote.
#[inline(always)]
pub const fn kinds_of_clone3(flags: u64) -> u64 {
    if flags & CLONE_EMPTY_MNTNS == 0 { flags } else { flags | place::NEW_MNT }
}

#[inline(always)]
fn asked(condition: u32) -> bool {
    maps::flags() & condition != 0
}

/// Whether the calls of `task`, which is the running one, are asked for.
#[inline(always)]
pub fn caller(task: u64) -> bool {
    (!asked(config::FOLLOW) || maps::is_followed(task)) && traits(task)
}

/// The same, but for whether it is one of the followed.
#[inline(always)]
pub fn traits(task: u64) -> bool {
    if asked(config::PID)
        && !maps::is_wished(&wish::number(wish::about::PID, bpf_get_current_pid_tgid() >> 32))
    {
        return false;
    }
    if asked(config::UID) {
        let uid: u32 = task::read(task::read(task, Field::TaskCred), Field::CredUid);
        if !maps::is_wished(&wish::number(wish::about::UID, uid.into())) {
            return false;
        }
    }
    if asked(config::COMM) && !maps::is_wished(&wish::comm(&task::current_comm())) {
        return false;
    }
    !asked(config::CGROUP) || asked(config::LIVES) || is_in_cgroup(task)
}

/// What an event of `task` says of that ([`event_flags`]).
#[inline(always)]
pub fn marks(task: u64) -> u32 {
    // Where nothing is reported but what is in one, it was looked for before.
    let is_in = asked(config::CGROUP) && (!asked(config::LIVES) || is_in_cgroup(task));
    if is_in { event_flags::IN_CGROUP } else { 0 }
}

/// How many groups are looked at, from the caller's upwards: one that may be below is taken for one that is.
const DEPTH: usize = 32;

/// Whether `task` is in one of the control groups asked for, or below one.
#[inline(never)]
fn is_in_cgroup(task: u64) -> bool {
    let mut node = program::cgroup_node(task);
    for _ in 0..DEPTH {
        if node == 0 {
            return false;
        }
        if maps::is_wished(&wish::number(wish::about::CGROUP, task::read(node, Field::KernfsId))) {
            return true;
        }
        node = program::cgroup_parent(node);
    }
    node != 0
}

/// Whether a call that names namespaces of these kinds (`CLONE_NEW*`) is asked for.
#[inline(always)]
pub fn kinds(named: u64) -> bool {
    !asked(config::KIND) || named as u32 & maps::kinds() != 0
}

/// Whether a clone is asked for that named these kinds: a child may be in a pid or time namespace that its parent only
/// had ready for it.
#[inline(always)]
pub fn kinds_of_clone(named: u64, event: &Event) -> bool {
    if !asked(config::KIND) {
        return true;
    }
    let mut kinds = named as u32;
    for (slot, &kind) in KINDS.iter().enumerate() {
        if event.before.ino[slot] != event.after.ino[slot] {
            kinds |= kind;
        }
    }
    kinds & maps::kinds() != 0
}

/// Whether a call with this result is asked for. One that is to be made again has neither failed nor succeeded.
#[inline(always)]
pub fn result(result: i64) -> bool {
    !(asked(config::FAILED) && (result >= 0 || is_restart(result)) || asked(config::SUCCEEDED) && result < 0)
}

/// Whether an event is asked for by the namespaces in it, as far as they are known: at entry of a call that makes some,
/// those before. A new namespace is none that could have been named before.
#[inline(always)]
pub fn namespaces(event: &Event) -> bool {
    if !asked(config::NAMESPACE) {
        return true;
    }
    let mut found = is_among(&event.before, u32::MAX);
    if event.header.cause == cause::CLONE {
        found |= is_among(&event.after, u32::MAX);
    }
    found
}

/// Whether an event is asked for that is known to its end. What setns did is what has changed, whatever its descriptor
/// seemed to be at entry: other threads may have put another in its place.
#[inline(always)]
pub fn at_return(event: &Event) -> bool {
    if event.header.cause != cause::SETNS {
        return true;
    }
    let target = &event.target;
    if asked(config::KIND) {
        let mut kinds = event.args[1] as u32 | target.clone_flag;
        for (slot, &kind) in KINDS.iter().enumerate() {
            if event.before.ino[slot] != event.after.ino[slot] {
                kinds |= kind;
            }
        }
        if event.flags & place::MOVED != 0 {
            kinds |= place::NEW_MNT as u32;
        }
        if kinds & maps::kinds() == 0 {
            return false;
        }
    }
    if !asked(config::NAMESPACE) {
        return true;
    }
    is_among(&event.before, u32::MAX)
        | is_among(&event.after, u32::MAX)
        | is_asked_for(target.ino)
        | is_among(&target.namespaces, event.args[1] as u32)
}

/// Whether one of those asked for is among `namespaces`, by slots of these `kinds`.
#[inline(always)]
fn is_among(namespaces: &NamespaceInodes, kinds: u32) -> bool {
    let asked = maps::namespace_kinds();
    let mut found = false;
    for (slot, &kind) in KINDS.iter().enumerate() {
        if asked & kind != 0 && kinds & kind != 0 {
            found |= is_asked_for(namespaces.ino[slot]);
        }
    }
    found
}

#[inline(always)]
fn is_asked_for(ino: u32) -> bool {
    maps::is_wished(&wish::number(wish::about::NAMESPACE, ino.into()))
}
