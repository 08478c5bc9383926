//! The hooks of the plan `fprobes`: one program at the entry and one at the return of each function.

use super::details::PATH_FIELDS;
use super::{Call, Group, Purpose};
use crate::kernel::probe::{Hook, Point};
use nsprobe_ebpf::Field;

/// The hooks that show `calls`.
pub(super) fn groups(calls: &[Call]) -> Vec<Group> {
    let functions: [(Call, &str, &[Field]); 6] = [
        (Call::Clone, "kernel_clone", &[Field::KernelCloneFlags]),
        (Call::Clone, "__x64_sys_clone3", REGISTERS),
        (Call::Unshare, "ksys_unshare", &[]),
        (Call::Setns, "__x64_sys_setns", REGISTERS),
        (Call::Chroot, "__x64_sys_chroot", REGISTERS),
        (Call::PivotRoot, "__x64_sys_pivot_root", REGISTERS),
    ];
    let wanted = functions.into_iter().filter(|(call, ..)| calls.contains(call));
    let mut groups: Vec<Group> = wanted
        .map(|(call, function, fields)| {
            let purpose = if call == Call::Clone { Purpose::FailedClones } else { Purpose::Call(call) };
            Group { purpose, hooks: both(function), fields }
        })
        .collect();
    if calls.contains(&Call::PivotRoot) {
        let entry = Hook { program: "enter_pivot_paths", point: Point::Fprobe("security_sb_pivotroot") };
        groups.push(Group { purpose: Purpose::Resolved, hooks: vec![entry], fields: PATH_FIELDS });
    }
    groups
}

/// The hooks that show 32-bit calls; clone, fork and vfork use `kernel_clone`, unshare uses `ksys_unshare`.
pub(super) fn compat(calls: &[Call]) -> Vec<Group> {
    let functions = [
        (Call::Clone, "__ia32_sys_clone3"),
        (Call::Setns, "__ia32_sys_setns"),
        (Call::Chroot, "__ia32_sys_chroot"),
        (Call::PivotRoot, "__ia32_sys_pivot_root"),
    ];
    let wanted = functions.into_iter().filter(|(call, _)| calls.contains(call));
    let group = |(_, function)| Group {
        purpose: Purpose::Compat,
        hooks: both(function),
        fields: super::COMPAT_FIELDS,
    };
    wanted.map(group).collect()
}

fn both(function: &'static str) -> Vec<Hook> {
    vec![
        Hook { program: "exit_function", point: Point::FprobeReturn(function) },
        Hook { program: "enter_function", point: Point::Fprobe(function) },
    ]
}

const REGISTERS: &[Field] = &[Field::PtRegsFirst, Field::PtRegsSecond];
