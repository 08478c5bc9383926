use super::*;
use crate::kernel::{held, lists, tasks};

#[test]
fn clone_alone_needs_no_other_call() {
    let programs = |plan, calls: &[Call], follow| -> Vec<&str> {
        groups(plan, calls, follow).iter().flat_map(|group| &group.hooks).map(|hook| hook.program).collect()
    };
    assert_eq!(
        programs(Plan::Fentry, &[Call::Clone], false),
        ["task_newtask", "fexit_clone", "fexit_clone3", "fentry_clone3"]
    );
    assert_eq!(
        programs(Plan::Tracepoints, &[Call::Setns], true),
        ["task_exit", "task_newtask", "exit_call", "enter_setns"]
    );
    // Every return hook before its entry hook.
    for plan in [Plan::Fentry, Plan::Fprobes, Plan::Tracepoints] {
        for group in [groups(plan, &Call::ALL, true), compat(plan, &Call::ALL), denied(&Call::ALL)].concat() {
            if let [first, second] = group.hooks.as_slice() {
                assert!(first.program.contains("exit") && second.program.contains("ent"), "{group:?}");
            }
        }
    }
}

#[test]
fn every_absent_field_is_reported() {
    assert_eq!(unreadable(|_| true), Vec::<String>::new());
    // Linux before 6.18 has the kind in one field, since 6.18 in the other.
    assert_eq!(unreadable(|field| field != Field::NsCommonType), Vec::<String>::new());
    assert_eq!(unreadable(|field| field != Field::ProcNsOperationsType), Vec::<String>::new());
    let both = [Field::NsCommonType, Field::ProcNsOperationsType];
    assert_eq!(unreadable(|field| !both.contains(&field)).len(), 1);
    let parents = [Field::KernfsParent, Field::KernfsParentRcu];
    assert_eq!(unreadable(|field| !parents.contains(&field)).len(), 1);
    let time = ["time namespaces: this kernel has no nsproxy.time_ns"];
    assert_eq!(unreadable(|field| field != Field::NsproxyTime), time);
    let of_groups: Vec<Field> = [Plan::Fentry, Plan::Tracepoints]
        .into_iter()
        .flat_map(|plan| [groups(plan, &Call::ALL, true), compat(plan, &Call::ALL)].concat())
        .chain(denied(&Call::ALL))
        .flat_map(|group| group.fields)
        .copied()
        .collect();
    for &field in Field::ALL {
        let missed = !unreadable(|other| other != field).is_empty();
        let of_kind = both.contains(&field) || field == Field::NsCommonOps;
        let of_parents = parents.contains(&field);
        // The snapshot's programs, which are not part of tracing, refuse to load without their own fields.
        let of_snapshots = [
            &tasks::NEEDED[..],
            &lists::NEEDED,
            &lists::OF_618,
            &held::NEEDED,
            &held::OPTIONAL,
            &held::OF_SUPERBLOCKS,
            &held::OF_CONNECTIONS,
        ]
        .concat();
        assert!(
            missed || of_kind || of_parents || of_groups.contains(&field) || of_snapshots.contains(&field),
            "{field:?}"
        );
    }
}

#[test]
fn plans_list_what_they_never_show() {
    let named = |plan, calls: &[Call], word: &str| {
        unseen(plan, calls, Extras { lifecycle: true, ..Extras::default() }, false)
            .iter()
            .any(|unseen| unseen.starts_with(word))
    };
    let preempted = |plan| {
        let on = |preemptible| unseen(plan, &Call::ALL, Extras::default(), preemptible).len();
        on(true) - on(false)
    };
    assert_eq!([Plan::Fentry, Plan::Fprobes, Plan::Tracepoints].map(preempted), [1, 0, 1]);
    for (plan, calls, word, is_named) in [
        (Plan::Tracepoints, &Call::ALL[..], "the ends of namespaces", true),
        (Plan::Fentry, &Call::ALL, "the ends of namespaces", false),
        (Plan::Tracepoints, &[Call::Clone], "the resolved arguments", false),
    ] {
        assert_eq!(named(plan, calls, word), is_named, "{plan:?} {calls:?} {word}");
    }
}
