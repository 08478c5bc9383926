//! Things in one snapshot that the other could not see: they have neither come nor gone.

use super::document::Side;
use super::key::{NsKey, ProcessKey, key, process_key};
use crate::model::{GapKind, Holder, Namespace, NsKind, NsSlot, Pid, Process, Source};
use std::collections::{BTreeMap, HashMap, HashSet};

/// The things that the other snapshot may have missed, with the reasons.
#[derive(Debug, Default)]
pub(super) struct Unseen {
    /// The reason why not all processes were shown.
    processes: Option<&'static str>,
    namespaces: BTreeMap<NsKey, String>,
}

impl Unseen {
    /// Finds what `other` may have missed of what `side` shows.
    pub(super) fn find(side: &Side, other: &Side) -> Self {
        let hidden = hides_processes(side, other);
        let there: HashMap<ProcessKey, &Process> =
            other.taken.snapshot.processes.iter().map(|process| (process_key(process), process)).collect();
        let (mut by_member, mut by_pid) = (HashMap::<NsKey, String>::new(), HashMap::<Pid, String>::new());
        for process in &side.taken.snapshot.processes {
            let seen = there.get(&process_key(process));
            // A kernel thread may also be the only process in a namespace: kdevtmpfs is.
            let why = match seen {
                None => hidden.map(str::to_owned),
                Some(seen) if seen.namespaces.is_none() => {
                    Some(format!("process {} is not readable there", process.pid))
                }
                Some(_) => None,
            };
            for slot in NsSlot::ALL {
                let Some(id) = process.namespace(slot) else { continue };
                // One slot of a readable process may be unreadable, such as that for its children.
                let is_unknown = || seen.is_some_and(|seen| seen.namespace(slot).is_none());
                let slot_unknown = || format!("{slot} of process {} is not readable there", process.pid);
                if let Some(why) = why.clone().or_else(|| is_unknown().then(slot_unknown)) {
                    by_member.entry(key(id)).or_insert(why);
                }
            }
            by_pid.extend(why.map(|why| (process.pid, why)));
        }
        let seen: HashSet<NsKey> = other.taken.snapshot.namespaces.iter().map(|ns| key(ns.id)).collect();
        let lacks = |kind: GapKind| match kind {
            GapKind::Source => lacks_source(side, other),
            kind => count(other, kind) > count(side, kind),
        };
        let mut namespaces = BTreeMap::new();
        let mut left: Vec<&Namespace> =
            side.taken.snapshot.namespaces.iter().filter(|ns| !seen.contains(&key(ns.id))).collect();
        // Repeated while one is found: what is unseen hides what it holds.
        loop {
            let before = left.len();
            left.retain(|namespace| {
                let id = key(namespace.id);
                let holders = || namespace.holders.iter();
                let by_process = || holders().find_map(|holder| by_pid.get(&holder.pid()?)).cloned();
                let by_holder = || holders().find_map(|holder| through(holder, &namespaces, &lacks));
                let why = by_member.get(&id).cloned().or_else(by_process).or_else(by_holder);
                let why = why.or_else(|| unlisted(namespace, &lacks));
                let found = why.is_some();
                namespaces.extend(why.map(|why| (id, why)));
                !found
            });
            if left.len() == before {
                return Self { processes: hidden, namespaces };
            }
        }
    }

    /// The reason why a namespace that is not in the other snapshot may still exist.
    pub(super) fn namespace(&self, namespace: &Namespace) -> Option<&str> {
        self.namespaces.get(&key(namespace.id)).map(String::as_str)
    }

    /// The same for any process.
    pub(super) const fn process(&self) -> Option<&'static str> {
        self.processes
    }
}

/// The number of gaps of a kind.
fn count(side: &Side, kind: GapKind) -> u64 {
    side.gaps.iter().filter(|gap| gap.kind == kind.name()).map(|gap| gap.count).sum()
}

/// The reason why `other` may lack processes that `side` shows. If both show some of them, these are the same for the
/// same user.
fn hides_processes(side: &Side, other: &Side) -> Option<&'static str> {
    let user = |side: &Side| {
        let (_, process) = side.observer().zip(side.taken.snapshot.process(side.taken.origin.own_pid?))?;
        Some(process.uid)
    };
    let same_user = user(side).is_some_and(|uid| user(other) == Some(uid));
    [
        (GapKind::HiddenProcesses, "/proc hides processes there"),
        (GapKind::PidNamespace, "/proc shows one pid namespace there"),
        (GapKind::ProcessStatus, "not all processes are readable there"),
    ]
    .into_iter()
    .find(|&(kind, _)| count(other, kind) > 0 && !(same_user && count(side, kind) > 0))
    .map(|(_, why)| why)
}

/// The reason why a namespace held by something other than a process is not seen.
fn through(
    holder: &Holder,
    unseen: &BTreeMap<NsKey, String>,
    lacks: &dyn Fn(GapKind) -> bool,
) -> Option<String> {
    match holder {
        Holder::BindMount { mount_namespace, .. } | Holder::Mount { mount_namespace, .. }
            if unseen.contains_key(&key(*mount_namespace)) =>
        {
            Some(format!("{mount_namespace}, where it is mounted, is not seen there"))
        }
        Holder::BindMount { .. } if lacks(GapKind::Mounts) || lacks(GapKind::Chroot) => {
            Some("not all mounts are readable there".to_owned())
        }
        Holder::Ancestor { of } if unseen.contains_key(&key(*of)) => {
            Some(format!("{of}, which leads to it, is not seen there"))
        }
        Holder::Ancestor { .. } if lacks(GapKind::Relations) => {
            Some("not all parents and owners are readable there".to_owned())
        }
        _ => None,
    }
}

/// The reason why a namespace is not seen to which nothing in `/proc` leads: its holders are searched only if the
/// kernel's lists are read.
fn unlisted(namespace: &Namespace, lacks: &dyn Fn(GapKind) -> bool) -> Option<String> {
    if in_proc(namespace) {
        return None;
    }
    if lacks(GapKind::Source) {
        return Some("the kernel's lists are not read there".to_owned());
    }
    // The kernel also lists mount namespaces in another way, which has its own gap.
    let only_mounts = namespace.id.kind == NsKind::Mnt && lacks(GapKind::Mounts);
    only_mounts.then(|| "not all mount namespaces are listed there".to_owned())
}

/// True if something in `/proc` leads to a namespace. An ancestor counts: whether its descendant is seen decides.
fn in_proc(namespace: &Namespace) -> bool {
    let leads = |holder: &Holder| match holder {
        Holder::Thread { .. }
        | Holder::ForChildren { .. }
        | Holder::Descriptor { .. }
        | Holder::Socket { .. }
        | Holder::BindMount { .. }
        | Holder::Ancestor { .. } => true,
        Holder::File { .. }
        | Holder::Mount { .. }
        | Holder::DetachedMount { .. }
        | Holder::Connection { .. } => false,
    };
    namespace.sources.contains(&Source::Processes) || namespace.holders.iter().any(leads)
}

/// True if `other` lacks a source of namespaces that `side` had. Each has its own reason.
fn lacks_source(side: &Side, other: &Side) -> bool {
    let sources = |side: &Side| -> HashMap<String, u64> {
        let gaps = side.gaps.iter().filter(|gap| gap.kind == GapKind::Source.name());
        gaps.map(|gap| (gap.reason.clone(), gap.count)).collect()
    };
    let had = sources(side);
    sources(other).iter().any(|(reason, count)| had.get(reason).is_none_or(|had| had < count))
}
