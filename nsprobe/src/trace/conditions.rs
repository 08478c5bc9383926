//! The conditions on an event: the same that the probe uses, for events of any source.

use crate::model::kinds_of_unshare;
use crate::model::{Event, NsId, NsKind, NsSlot, Operation, Outcome, Pid, SetnsTarget, Text};
use nsprobe_ebpf::COMM_LEN;

/// The conditions on an event, apart from its call. An empty list matches anything; any other needs one matching entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Kinds of namespaces that the call names or changes: by the flags of clone and unshare, and the target or second
    /// argument of setns. chroot and pivot_root count as `mnt`.
    pub kinds: Vec<NsKind>,
    /// The caller's pid in the initial pid namespace.
    pub pids: Vec<Pid>,
    /// Include the descendants of these processes. This is not in the event: its source knows.
    pub follow: bool,
    /// The caller's real user id.
    pub uids: Vec<u32>,
    /// The caller's command name; of a longer one the first 15 bytes, as the kernel keeps them.
    pub comms: Vec<Text>,
    /// Namespaces that the caller (or its children) is in before or after, that a clone's child is in, or that are the
    /// target of setns.
    pub namespaces: Vec<NsId>,
    /// Control groups, by id, that the caller is in, or below. Only the probe can decide this: paths may be cut, and in
    /// a cgroup namespace the path from the root is unknown.
    pub cgroups: Vec<u64>,
    /// The result of the call.
    pub outcome: Option<OutcomeFilter>,
}

/// Calls by their result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutcomeFilter {
    /// Those that failed.
    Failed,
    /// Those that succeeded.
    Succeeded,
}

impl Conditions {
    /// True if they match this event, or may: unknown data of sources other than the probe does not reject it.
    #[must_use]
    pub fn admit(&self, event: &Event) -> bool {
        let caller = &event.process;
        let any = |list: &[Text], admits: &dyn Fn(&[u8]) -> bool| {
            list.is_empty() || list.iter().any(|entry| admits(entry.as_bytes()))
        };
        (self.kinds.is_empty() || self.kinds.iter().any(|&kind| concerns(event, kind)))
            && (self.pids.is_empty() || self.follow || self.pids.contains(&caller.pid))
            && (self.uids.is_empty() || caller.uid.is_none_or(|uid| self.uids.contains(&uid)))
            && (!is_from_probe(event) && caller.comm.is_empty()
                || any(&self.comms, &|name| caller.comm.as_bytes() == &comm(name)[..comm_len(name)]))
            && (self.namespaces.is_empty() || self.namespaces.iter().any(|&id| involves(event, id)))
            && (self.cgroups.is_empty() || caller.cgroup.as_ref().is_some_and(|group| group.is_requested))
            && match self.outcome {
                None => true,
                Some(OutcomeFilter::Failed) => matches!(event.outcome, Outcome::Failure(_)),
                Some(OutcomeFilter::Succeeded) => {
                    !matches!(event.outcome, Outcome::Failure(_) | Outcome::Restarted(_))
                }
            }
    }
}

/// A command name in the kernel's form: at most 15 bytes, padded with zeros.
pub(super) fn comm(name: &[u8]) -> [u8; COMM_LEN] {
    let mut comm = [0; COMM_LEN];
    let length = comm_len(name);
    comm[..length].copy_from_slice(&name[..length]);
    comm
}

fn comm_len(name: &[u8]) -> usize {
    name.len().min(COMM_LEN - 1)
}

/// True if the call names or changes a namespace of this kind.
fn concerns(event: &Event, kind: NsKind) -> bool {
    let named = match &event.operation {
        Operation::Clone { flags, .. } => flags.unwrap_or(0),
        Operation::Unshare { flags } => kinds_of_unshare(*flags),
        Operation::Setns { nstype, target, .. } => match target {
            Some(SetnsTarget::Namespace { id, .. }) => *nstype | id.kind.clone_flag(),
            _ => *nstype,
        },
        Operation::Chroot { .. } | Operation::PivotRoot { .. } => NsKind::Mnt.clone_flag(),
        Operation::Change { .. } if event.root.is_some() => NsKind::Mnt.clone_flag(),
        Operation::Change { .. } => 0,
    };
    let moved = [&event.root, &event.cwd].into_iter().flatten().any(|directory| directory.moved);
    named & kind.clone_flag() != 0
        || is_for_child(event, kind)
        || kind == NsKind::Mnt && moved
        || is_unknown_before(event, kind)
        || event.changed_slots().any(|(slot, ..)| slot.kind() == kind)
}

/// True if a clone failed whose child would have begun in a different namespace of this kind than its parent.
fn is_for_child(event: &Event, kind: NsKind) -> bool {
    let slot = match kind {
        NsKind::Pid => NsSlot::PidForChildren,
        NsKind::Time => NsSlot::TimeForChildren,
        _ => return false,
    };
    let (own, next) = (event.before.of(kind), event.before.get(slot));
    matches!(event.operation, Operation::Clone { child: None, .. })
        && own.is_some()
        && next.is_some()
        && own != next
}

/// True if the event is from the probe, which knows all of it.
const fn is_from_probe(event: &Event) -> bool {
    event.compat.is_some()
}

/// True if the namespace before is unknown in a slot of this kind.
fn is_unknown_before(event: &Event, kind: NsKind) -> bool {
    let is_unknown = |(slot, after): (NsSlot, &Option<NsId>)| {
        slot.kind() == kind && after.is_some() && event.before.get(slot).is_none()
    };
    !is_from_probe(event) && event.after.iter().any(is_unknown)
}

/// True if the namespace is one of the event's.
fn involves(event: &Event, id: NsId) -> bool {
    let is_target = match &event.operation {
        Operation::Setns { target: Some(SetnsTarget::Namespace { id: target, .. }), .. } => *target == id,
        Operation::Setns { target: Some(SetnsTarget::Process { namespaces, .. }), .. } => {
            namespaces.contains(&id)
        }
        _ => false,
    };
    is_target
        || is_unknown_before(event, id.kind)
        || event.before.iter().chain(event.after.iter()).any(|(_, other)| *other == Some(id))
}

#[cfg(test)]
mod tests;
