//! What must hold of an event: the same that the probe decides by, wherever events come from.

use crate::model::kinds_of_unshare;
use crate::model::{Operation, Event, NsId, NsKind, NsSlot, Outcome, Pid, SetnsTarget, Text};
use nsprobe_ebpf::COMM_LEN;

/// What must hold of an event, apart from its call. Of a list that is empty, anything does; of one that is not, one
/// entry must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Kinds of namespaces that the call names or changes: by the flags of clone and unshare, the target of setns or
    /// what it is said to be. chroot and pivot_root are about `mnt`.
    pub kinds: Vec<NsKind>,
    /// The caller's process, as the initial pid namespace numbers it.
    pub pids: Vec<Pid>,
    /// Also what descends from these processes. Events do not tell: where they come from, it is known.
    pub follow: bool,
    /// The caller's real user id.
    pub uids: Vec<u32>,
    /// Its command name; of a longer one the first 15 bytes, as the kernel keeps them.
    pub comms: Vec<Text>,
    /// Namespaces that the caller is in before or after (or its children will be), a clone's child is in, or setns is
    /// pointed at.
    pub namespaces: Vec<NsId>,
    /// Control groups, by their ids, that the caller is in, or below. The probe alone can tell: paths may be cut, and
    /// in a cgroup namespace nobody knows the way from the root.
    pub cgroups: Vec<u64>,
    /// What came of the call.
    pub outcome: Option<Wanted>,
}

/// Calls by what they returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Those that failed.
    Failed,
    /// Those that succeeded.
    Succeeded,
}

impl Conditions {
    /// Whether they hold of this event, or may: what other sources than the probe do not know of it does not keep it back.
    #[must_use]
    pub fn admit(&self, event: &Event) -> bool {
        let caller = &event.process;
        let any = |list: &[Text], admits: &dyn Fn(&[u8]) -> bool| {
            list.is_empty() || list.iter().any(|entry| admits(entry.as_bytes()))
        };
        (self.kinds.is_empty() || self.kinds.iter().any(|&kind| is_about(event, kind)))
            && (self.pids.is_empty() || self.follow || self.pids.contains(&caller.pid))
            && (self.uids.is_empty() || caller.uid.is_none_or(|uid| self.uids.contains(&uid)))
            && (!is_whole(event) && caller.comm.is_empty()
                || any(&self.comms, &|name| caller.comm.as_bytes() == &comm(name)[..comm_len(name)]))
            && (self.namespaces.is_empty() || self.namespaces.iter().any(|&id| is_in(event, id)))
            && (self.cgroups.is_empty() || caller.cgroup.as_ref().is_some_and(|group| group.is_asked_for))
            && match self.outcome {
                None => true,
                Some(Wanted::Failed) => matches!(event.outcome, Outcome::Failure(_)),
                Some(Wanted::Succeeded) => {
                    !matches!(event.outcome, Outcome::Failure(_) | Outcome::Restarted(_))
                }
            }
    }
}

/// A command name as the kernel keeps it: at most 15 bytes, filled up with zeroes.
pub(super) fn comm(name: &[u8]) -> [u8; COMM_LEN] {
    let mut comm = [0; COMM_LEN];
    let length = comm_len(name);
    comm[..length].copy_from_slice(&name[..length]);
    comm
}

fn comm_len(name: &[u8]) -> usize {
    name.len().min(COMM_LEN - 1)
}

/// Whether the call names or changes a namespace of this kind.
fn is_about(event: &Event, kind: NsKind) -> bool {
    let named = match &event.crossing {
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
        || is_open(event, kind)
        || event.changed_slots().any(|(slot, ..)| slot.kind() == kind)
}

/// Whether a clone failed whose child would have begun in another namespace of this kind than its parent.
fn is_for_child(event: &Event, kind: NsKind) -> bool {
    let slot = match kind {
        NsKind::Pid => NsSlot::PidForChildren,
        NsKind::Time => NsSlot::TimeForChildren,
        _ => return false,
    };
    let (own, next) = (event.before.of(kind), event.before.get(slot));
    matches!(event.crossing, Operation::Clone { child: None, .. })
        && own.is_some()
        && next.is_some()
        && own != next
}

/// Whether the event is one of the probe's, which knows all of it.
const fn is_whole(event: &Event) -> bool {
    event.compat.is_some()
}

/// Whether it is not known what there was before in a slot of this kind.
fn is_open(event: &Event, kind: NsKind) -> bool {
    let is_open = |(slot, after): (NsSlot, &Option<NsId>)| {
        slot.kind() == kind && after.is_some() && event.before.get(slot).is_none()
    };
    !is_whole(event) && event.after.iter().any(is_open)
}

/// Whether the namespace is one of the event's.
fn is_in(event: &Event, id: NsId) -> bool {
    let is_target = match &event.crossing {
        Operation::Setns { target: Some(SetnsTarget::Namespace { id: target, .. }), .. } => *target == id,
        Operation::Setns { target: Some(SetnsTarget::Process { namespaces, .. }), .. } => {
            namespaces.contains(&id)
        }
        _ => false,
    };
    is_target
        || is_open(event, id.kind)
        || event.before.iter().chain(event.after.iter()).any(|(_, other)| *other == Some(id))
}

#[cfg(test)]
mod tests;
