//! Determines whether all processes that may be members of a namespace were seen: only then are their number and "no
//! process is in it" certain.
//!
//! A process is seen if `/proc`, or the kernel's iterator, shows it and its namespaces could be read. Both show the
//! processes of one pid namespace and of its descendants.

use super::whereabouts::Whereabouts;
use crate::model::{Gap, GapKind, Namespace, NsId, NsKind, Pid, Process};
use std::collections::BTreeMap;

/// The extent of what was visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Visibility {
    /// Every process of the machine.
    Machine,
    /// Every process of one pid namespace and of its descendants.
    PidNamespace,
    /// Some process was not visible.
    Part,
}

/// Returns kthreadd: pid 2 of the initial pid namespace, visible to any user unless `hidepid` is in effect.
pub(super) fn kthreadd(processes: &[Process]) -> Option<&Process> {
    let at = processes.binary_search_by_key(&(2 as Pid), |process| process.pid).ok()?;
    Some(&processes[at]).filter(|process| process.ppid == 0 && process.kernel_thread)
}

/// Marks whether all processes of each of `namespaces` were seen.
pub(super) fn mark(namespaces: &mut [Namespace], gaps: &[Gap], whereabouts: &Whereabouts) {
    let visibility = visibility(gaps, whereabouts);
    let pid_namespaces: BTreeMap<NsId, (bool, Option<NsId>)> = namespaces
        .iter()
        .filter(|namespace| namespace.id.kind == NsKind::Pid)
        .map(|namespace| (namespace.id, (namespace.processes > 0, namespace.parent)))
        .collect();
    for namespace in namespaces {
        namespace.all_seen = !whereabouts.unknown.contains(&namespace.id.kind)
            && match visibility {
                Visibility::Machine => true,
                Visibility::PidNamespace => is_below(namespace.id, &pid_namespaces),
                Visibility::Part => false,
            };
    }
}

fn visibility(gaps: &[Gap], whereabouts: &Whereabouts) -> Visibility {
    let has = |kinds: &[GapKind]| gaps.iter().any(|gap| kinds.contains(&gap.kind));
    let denied: u64 =
        gaps.iter().filter(|gap| gap.kind == GapKind::ProcessNamespaces).map(|gap| gap.count).sum();
    if has(&[GapKind::ProcessStatus, GapKind::HiddenProcesses]) || denied > whereabouts.processes {
        Visibility::Part
    } else if has(&[GapKind::PidNamespace]) {
        Visibility::PidNamespace
    } else {
        Visibility::Machine
    }
}

/// Returns true if a namespace is a pid namespace with a visible member, or a descendant of one. Every process in such
/// a namespace has a pid in its ancestors, so it is visible as well.
fn is_below(id: NsId, pid_namespaces: &BTreeMap<NsId, (bool, Option<NsId>)>) -> bool {
    let mut at = Some(id);
    // Bounded: facts read at different times may form a cycle.
    for _ in 0..=pid_namespaces.len() {
        match at.and_then(|id| pid_namespaces.get(&id)) {
            Some((true, _)) => return true,
            Some((false, parent)) => at = *parent,
            None => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn pid(ino: u64) -> NsId {
        NsId::new(NsKind::Pid, 4, ino)
    }

    /// Two nested pid namespaces, of which only the outer one has a process; an unrelated one; a network namespace.
    fn seen(kinds: &[GapKind], whereabouts: &Whereabouts) -> Vec<bool> {
        let net = NsId::new(NsKind::Net, 4, 9);
        let mut namespaces = [
            Namespace { processes: 1, ..Namespace::new(pid(1)) },
            Namespace { parent: Some(pid(1)), ..Namespace::new(pid(2)) },
            Namespace { parent: Some(pid(3)), ..Namespace::new(pid(3)) },
            Namespace { processes: 1, ..Namespace::new(net) },
        ];
        let gap = |&kind| Gap { kind, count: 1, reason: String::new(), remedy: None };
        mark(&mut namespaces, &kinds.iter().map(gap).collect::<Vec<_>>(), whereabouts);
        namespaces.iter().map(|namespace| namespace.all_seen).collect()
    }

    #[test]
    fn member_count_is_known_if_all_were_seen() {
        let none = Whereabouts::default();
        assert_eq!(seen(&[], &none), [true; 4]);
        assert_eq!(seen(&[GapKind::Mounts, GapKind::Source, GapKind::Descriptors], &none), [true; 4]);
        assert_eq!(seen(&[GapKind::PidNamespace], &none), [true, true, false, false]);
        let one = |kind| Whereabouts { unknown: BTreeSet::from([kind]), processes: 1, inside: Vec::new() };
        assert_eq!(seen(&[GapKind::ProcessNamespaces], &one(NsKind::Net)), [true, true, true, false]);
        assert_eq!(seen(&[GapKind::ProcessNamespaces], &one(NsKind::Pid)), [false, false, false, true]);
        for kind in [GapKind::ProcessNamespaces, GapKind::ProcessStatus, GapKind::HiddenProcesses] {
            assert_eq!(seen(&[GapKind::PidNamespace, kind], &none), [false; 4], "{kind:?}");
        }
    }
}
