//! The hooks of the plan `fprobes`: one program at the entry and one at the return of each function.

use super::details::PATH_FIELDS;
use super::{Call, Group, Purpose};
use crate::kernel::probe::{Hook, Point};
use crate::trace::calls::specs;

/// The hooks that show `calls`.
pub(super) fn groups(calls: &[Call]) -> Vec<Group> {
    let mut groups = Vec::new();
    for spec in specs(calls) {
        for function in spec.functions {
            let (hooks, fields) = (both(function.name), function.fields);
            groups.push(Group { purpose: Purpose::of(spec.call), hooks, fields });
        }
    }
    if calls.contains(&Call::PivotRoot) {
        let entry = Hook { program: "enter_pivot_paths", point: Point::Fprobe("security_sb_pivotroot") };
        groups.push(Group { purpose: Purpose::Resolved, hooks: vec![entry], fields: PATH_FIELDS });
    }
    groups
}

/// The hooks that show 32-bit calls; clone, fork and vfork use `kernel_clone`, unshare uses `ksys_unshare`.
pub(super) fn compat(calls: &[Call]) -> Vec<Group> {
    let functions = specs(calls).flat_map(|spec| spec.functions).filter_map(|function| function.compat);
    let group = |(function, _)| Group {
        purpose: Purpose::Compat,
        hooks: both(function),
        fields: super::COMPAT_FIELDS,
    };
    functions.map(group).collect()
}

fn both(function: &'static str) -> Vec<Hook> {
    vec![
        Hook { program: "exit_function", point: Point::FprobeReturn(function) },
        Hook { program: "enter_function", point: Point::Fprobe(function) },
    ]
}
