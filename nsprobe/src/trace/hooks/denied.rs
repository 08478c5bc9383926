//! The hooks for calls stopped by a seccomp filter, in addition to those of any plan.

use super::{Call, Group, Plan, Purpose, at};
use crate::trace::calls::{Programs, specs};
use nsprobe_ebpf::Field;

/// The hooks that show such calls among `calls`.
#[must_use]
pub fn denied(calls: &[Call]) -> Vec<Group> {
    specs(calls)
        .flat_map(|spec| spec.tracepoints.iter().copied().flatten())
        .map(|tracepoint| {
            let hooks = at(tracepoint, Programs { exit: "exit_denied", entry: Some("enter_denied") });
            Group { purpose: Purpose::Denied, hooks, fields: FIELDS }
        })
        .collect()
}

/// The fields that show that a call was stopped, and its arguments.
const FIELDS: &[Field] = &[
    Field::TaskSeccomp,
    Field::SeccompMode,
    Field::TaskStack,
    Field::PtRegsSize,
    Field::PtRegsNumber,
    Field::PtRegsResult,
    Field::PtRegsFirst,
    Field::PtRegsSecond,
];

/// The data about calls stopped by a filter that is not shown, in words; with or without `--denied`.
pub(super) fn unseen(requested: bool) -> Vec<String> {
    if !requested {
        return vec![format!("{}: --denied watches for them", Purpose::Denied)];
    }
    ["of those that end the process or send it a signal", "of those answered with success", "of 32-bit ones"]
        .map(|which| format!("{}, {which}", Purpose::Denied))
        .into()
}

/// The cost to other system calls, in words; `None` if there is none.
#[must_use]
pub fn cost(plan: Plan, compat: bool, denied: bool) -> Option<&'static str> {
    match plan {
        Plan::Tracepoints if compat => Some(COST_OF_ALL),
        Plan::Fentry | Plan::Fprobes if !denied => None,
        _ => Some(COST),
    }
}

const COST: &str = "every system call of the machine takes some tens of nanoseconds longer";

const COST_OF_ALL: &str = "every system call of the machine runs two programs, for some hundred nanoseconds";
