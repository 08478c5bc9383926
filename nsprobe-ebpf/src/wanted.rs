//! The filter on events: decided at entry if possible, before any work is spent on a call.
//!
//! Each condition has its bit in the configuration, which the verifier knows: an unset one leaves no instruction.
//! `nsprobe/src/trace/conditions.rs` has the same conditions for events.

use crate::syscall::{KINDS, NEW_MNT};
use crate::{cgroup, maps, task};
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use nsprobe_ebpf::filter_key::{self, about};
use nsprobe_ebpf::{Event, Field, NamespaceInodes, cause, config, event_flags, is_restart};

#[inline(always)]
fn requested(condition: u32) -> bool {
    maps::flags() & condition != 0
}

/// Returns true if the calls of `task`, which is the running one, match.
#[inline(always)]
pub fn caller(task: u64) -> bool {
    (!requested(config::FOLLOW) || maps::is_followed(task)) && traits(task)
}

/// Returns the same, without checking that it is followed.
#[inline(always)]
pub fn traits(task: u64) -> bool {
    if requested(config::PID)
        && !maps::is_requested(&filter_key::number(about::PID, bpf_get_current_pid_tgid() >> 32))
    {
        return false;
    }
    if requested(config::UID) {
        let uid: u32 = task::read(task::read(task, Field::TaskCred), Field::CredUid);
        if !maps::is_requested(&filter_key::number(about::UID, uid.into())) {
            return false;
        }
    }
    if requested(config::COMM) && !maps::is_requested(&filter_key::comm(&task::current_comm())) {
        return false;
    }
    !requested(config::CGROUP) || requested(config::LIFECYCLE) || is_in_cgroup(task)
}

/// Returns the marks in an event of `task` ([`event_flags`]).
#[inline(always)]
pub fn marks(task: u64) -> u32 {
    // If only members are reported, this was checked before.
    let is_in = requested(config::CGROUP) && (!requested(config::LIFECYCLE) || is_in_cgroup(task));
    if is_in { event_flags::IN_CGROUP } else { 0 }
}

/// The most groups that are checked, from the caller's upwards: beyond that, a match is assumed.
const DEPTH: usize = 32;

/// Returns true if `task` is in one of the requested control groups, or below one.
#[inline(never)]
fn is_in_cgroup(task: u64) -> bool {
    let mut node = cgroup::node(task);
    for _ in 0..DEPTH {
        if node == 0 {
            return false;
        }
        if maps::is_requested(&filter_key::number(about::CGROUP, task::read(node, Field::KernfsId))) {
            return true;
        }
        node = cgroup::parent(node);
    }
    node != 0
}

/// Returns true if a call that names namespaces of these kinds (`CLONE_NEW*`) matches.
#[inline(always)]
pub fn kinds(named: u64) -> bool {
    !requested(config::KIND) || named as u32 & maps::kinds() != 0
}

/// Returns true if a clone that named these kinds matches: a child may start in a pid or time namespace that its parent
/// had only set for its children.
#[inline(always)]
pub fn kinds_of_clone(named: u64, event: &Event) -> bool {
    if !requested(config::KIND) {
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

/// Returns true if a call with this result matches. One that is restarted has neither failed nor succeeded.
#[inline(always)]
pub fn result(result: i64) -> bool {
    !(requested(config::FAILED) && (result >= 0 || is_restart(result))
        || requested(config::SUCCEEDED) && result < 0)
}

/// Returns true if an event matches by its namespaces, as far as they are known: at the entry of a call that creates
/// some, the former ones. A new namespace cannot have been named before.
#[inline(always)]
pub fn namespaces(event: &Event) -> bool {
    if !requested(config::NAMESPACE) {
        return true;
    }
    let mut found = is_among(&event.before, u32::MAX);
    if event.header.cause == cause::CLONE {
        found |= is_among(&event.after, u32::MAX);
    }
    found
}

/// Returns true if a completed event matches. The effect of setns is what has changed, whatever its descriptor seemed
/// to be at entry: other threads may have replaced it.
#[inline(always)]
pub fn at_return(event: &Event) -> bool {
    if event.header.cause != cause::SETNS {
        return true;
    }
    let target = &event.target;
    if requested(config::KIND) {
        let mut kinds = event.args[1] as u32 | target.clone_flag;
        for (slot, &kind) in KINDS.iter().enumerate() {
            if event.before.ino[slot] != event.after.ino[slot] {
                kinds |= kind;
            }
        }
        if event.flags & event_flags::MOVED != 0 {
            kinds |= NEW_MNT as u32;
        }
        if kinds & maps::kinds() == 0 {
            return false;
        }
    }
    if !requested(config::NAMESPACE) {
        return true;
    }
    is_among(&event.before, u32::MAX)
        | is_among(&event.after, u32::MAX)
        | is_requested_namespace(target.ino)
        | is_among(&target.namespaces, event.args[1] as u32)
}

/// Returns true if a requested one is among `namespaces`, in slots of these `kinds`.
#[inline(always)]
fn is_among(namespaces: &NamespaceInodes, kinds: u32) -> bool {
    let requested = maps::namespace_kinds();
    let mut found = false;
    for (slot, &kind) in KINDS.iter().enumerate() {
        if requested & kind != 0 && kinds & kind != 0 {
            found |= is_requested_namespace(namespaces.ino[slot]);
        }
    }
    found
}

#[inline(always)]
fn is_requested_namespace(ino: u32) -> bool {
    maps::is_requested(&filter_key::number(about::NAMESPACE, ino.into()))
}
