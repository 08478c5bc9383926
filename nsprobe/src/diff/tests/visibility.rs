//! Differences between what the two snapshots could see.

use super::*;
use crate::model::{GapKind, HeldBy, Source, TcpState};

#[test]
fn differences_in_gaps_are_reported() {
    let gap = |count| SideGap { kind: "mounts".to_owned(), reason: "no".to_owned(), count };
    let (mut old, mut new) = (side(1_000, vec![], vec![]), side(2_000, vec![], vec![]));
    (old.gaps, new.gaps) = (vec![gap(1)], vec![gap(1)]);
    assert_eq!(compare(&old, &new).visibility, []);
    new.gaps = vec![];
    let change = VisibilityChange { kind: "mounts".to_owned(), reason: "no".to_owned(), old: 1, new: 0 };
    assert_eq!(compare(&old, &new).visibility, [change]);
}

/// The second snapshot, with a gap.
fn with_gap(mut side: Side, kind: GapKind) -> Side {
    side.gaps.push(SideGap { kind: kind.name().to_owned(), reason: "no".to_owned(), count: 1 });
    side
}

#[test]
fn what_one_snapshot_could_not_see_has_neither_come_nor_gone() {
    let mounted = |ns: &mut Namespace| {
        ns.holders = vec![Holder::BindMount {
            mount_namespace: id(NsKind::Mnt, 8),
            path: "/run/netns/a".into(),
            here: false,
        }];
    };
    let full = || {
        let namespaces = vec![
            namespace(NsKind::Mnt, 8, |ns| ns.sources = vec![Source::Processes]),
            namespace(NsKind::Net, 9, mounted),
            namespace(NsKind::Net, 10, |ns| ns.sources = vec![Source::Processes]),
        ];
        side(1_000, namespaces, vec![process(30, NsKind::Mnt, 8), process(31, NsKind::Net, 10)])
    };
    let closed = |pid| Process { namespaces: None, ..process(pid, NsKind::Mnt, 8) };
    let summary = |difference: &Difference<'_>| {
        let ids = |namespaces: &[&Namespace]| namespaces.iter().map(|ns| ns.id.ino).collect::<Vec<_>>();
        let unseen: Vec<_> = difference.unseen.iter().map(|it| (it.what.id.ino, it.by)).collect();
        let gone = difference.processes_went.len();
        (ids(&difference.came), ids(&difference.went), unseen, gone, difference.processes_unseen.len())
    };
    let (old, new) = (model::Side::Old, model::Side::New);
    // A process that exists and is not readable may still be in its namespace, in which something is mounted; one
    // that has ended is not.
    let less = side(2_000, vec![], vec![closed(30)]);
    let (whole, empty) = (full(), side(2_000, vec![], vec![]));
    assert_eq!(summary(&compare(&whole, &less)), (vec![], vec![10], vec![(8, new), (9, new)], 1, 0));
    assert_eq!(summary(&compare(&less, &whole)), (vec![10], vec![], vec![(8, old), (9, old)], 0, 0));
    assert_eq!(summary(&compare(&whole, &empty)), (vec![], vec![8, 9, 10], vec![], 2, 0));
    // If processes are hidden, none of them is known to have ended.
    let hidden = with_gap(side(2_000, vec![], vec![]), GapKind::HiddenProcesses);
    let all = vec![(8, new), (9, new), (10, new)];
    assert_eq!(summary(&compare(&whole, &hidden)), (vec![], vec![], all, 0, 2));
    // If mounts are not readable, a mount may still exist.
    for kind in [GapKind::Mounts, GapKind::Chroot] {
        let mounts = with_gap(side(2_000, vec![], vec![]), kind);
        assert_eq!(summary(&compare(&whole, &mounts)), (vec![], vec![8, 10], vec![(9, new)], 2, 0));
    }
    assert!(!compare(&whole, &hidden).is_empty());
}

#[test]
fn namespaces_found_only_in_the_kernels_lists_are_unseen_without_them() {
    let mount = Holder::Mount {
        fs_type: "proc".into(),
        mount_namespace: id(NsKind::Mnt, 8),
        path: None,
        here: false,
    };
    let file = |by| Holder::File { by, pid: 30, tid: None, fd: 3 };
    let hidden = HeldBy::ALL.map(file).into_iter().chain([
        mount,
        Holder::DetachedMount { fs_type: "proc".into(), dev: (0, 45) },
        Holder::Connection {
            local: "127.0.0.1:80".parse().unwrap(),
            remote: "127.0.0.1:81".parse().unwrap(),
            state: TcpState::FinWait1,
        },
    ]);
    let held = |holders: Vec<Holder>| {
        namespace(NsKind::Net, 9, |ns| {
            (ns.holders, ns.sources) = (holders, vec![Source::Relations, Source::KernelLists]);
        })
    };
    let unseen = |old: &Side, new: &Side| {
        let difference = compare(old, new);
        let reasons: Vec<_> = difference.unseen.iter().map(|it| it.reason.clone()).collect();
        (difference.came.len() + difference.went.len(), reasons)
    };
    let empty = || side(2_000, vec![], vec![process(30, NsKind::Mnt, 8)]);
    let without_lists = with_gap(empty(), GapKind::Source);
    let expected = || (0, vec!["the kernel's lists are not read there".to_owned()]);
    for holders in hidden.map(|holder| vec![holder]).chain([vec![]]) {
        let whole = side(1_000, vec![held(holders.clone())], vec![process(30, NsKind::Mnt, 8)]);
        assert_eq!(unseen(&whole, &without_lists), expected(), "{holders:?}");
        assert_eq!(unseen(&without_lists, &whole), expected(), "{holders:?}");
        // Both had them, or neither.
        assert_eq!(unseen(&whole, &empty()), (1, vec![]), "{holders:?}");
        let neither = with_gap(whole, GapKind::Source);
        assert_eq!(unseen(&neither, &without_lists), (1, vec![]), "{holders:?}");
    }
    // What /proc leads to would have been found.
    let open = vec![Holder::Descriptor { pid: 30, tid: None, fd: 4 }, file(HeldBy::Tun)];
    let whole = side(1_000, vec![held(open)], vec![process(30, NsKind::Mnt, 8)]);
    assert_eq!(unseen(&whole, &without_lists), (1, vec![]));
}

#[test]
fn unreadable_slots_of_a_process_that_stayed_are_unseen() {
    let kernel = |namespaces: bool| {
        let mut kernel = process(25, NsKind::Mnt, 8);
        kernel.kernel_thread = true;
        kernel.namespaces = kernel.namespaces.filter(|_| namespaces);
        kernel
    };
    let mounts = || vec![namespace(NsKind::Mnt, 8, |ns| ns.sources = vec![Source::Processes])];
    let (old, new) = (side(1_000, mounts(), vec![kernel(true)]), side(2_000, vec![], vec![kernel(false)]));
    let reasons = |old: &Side, new: &Side| {
        let difference = compare(old, new);
        assert!(difference.came.is_empty() && difference.went.is_empty(), "{difference:?}");
        difference.unseen.iter().map(|it| it.reason.clone()).collect::<Vec<_>>()
    };
    assert_eq!(reasons(&old, &new), ["process 25 is not readable there"]);
    assert_eq!(reasons(&new, &old), ["process 25 is not readable there"]);

    // Older kernels show the pid namespace for a process's children only when its first process exists.
    let parent = |ino: Option<u64>| {
        let mut parent = process(40, NsKind::Mnt, 8);
        let slots = parent.namespaces.as_mut().unwrap();
        *slots.get_mut(NsSlot::PidForChildren) = ino.map(|ino| id(NsKind::Pid, ino));
        parent
    };
    let children = namespace(NsKind::Pid, 9, |ns| {
        (ns.holders, ns.sources) =
            (vec![Holder::ForChildren { pid: 40, tid: None }], vec![Source::ForChildren]);
    });
    let (old, new) =
        (side(1_000, vec![children], vec![parent(Some(9))]), side(2_000, vec![], vec![parent(None)]));
    assert_eq!(reasons(&old, &new), ["pid_for_children of process 40 is not readable there"]);
}
