//! The hooks of each plan, and the kernel fields that they read.

use super::calls::{Programs, Tracepoint, specs};
use crate::kernel::probe::{Hook, Point};
use nsprobe_ebpf::Field;
use std::fmt;

mod denied;
mod details;
pub mod prototype;

pub use super::calls::Call;
pub use denied::{cost, denied};
use details::PATH_FIELDS;
pub use details::unreadable;

/// A way to see the calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// fentry and fexit on the kernel functions behind the calls: no cost for other system calls.
    Fentry,
    /// The same functions with fprobes, whose programs cannot be preempted by another task: slightly higher cost for
    /// traced calls, and a page of kernel memory for each task.
    Fprobes,
    /// Tracepoints at entry and return of the calls. With any of these attached, every system call of the machine takes
    /// the kernel's slow path in and out (+29 ns on one of 115 ns).
    Tracepoints,
    /// No BPF: the records of perf_event_open(2).
    Perf,
    /// No privileges: repeated scans of `/proc`.
    Proc,
}

impl Plan {
    /// The plans that use the probe.
    pub const OF_PROBE: [Self; 3] = [Self::Fentry, Self::Fprobes, Self::Tracepoints];

    /// The name in every output, and the value of `--source`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fentry => "fentry",
            Self::Fprobes => "fprobes",
            Self::Tracepoints => "tracepoints",
            Self::Perf => "perf",
            Self::Proc => "proc",
        }
    }
}

/// The purpose of a group of hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The ends of the command's descendants.
    Descendants,
    /// The ends of tasks that have entries in tables.
    Ends,
    /// New tasks.
    NewTasks,
    /// Clones that failed.
    FailedClones,
    /// Calls of this kind.
    Call(Call),
    /// The paths to which the kernel resolves the arguments of pivot_root.
    Resolved,
    /// The ends of namespaces.
    NamespaceEnds,
    /// Calls that never reach the kernel, because a seccomp filter of the process answers them.
    Denied,
    /// 32-bit system calls. A kernel without a 32-bit entry has no hooks for them, and lacks nothing.
    Compat,
}

impl Purpose {
    /// The purpose of the hooks of a call. New tasks are shown by a hook of their own.
    const fn of(call: Call) -> Self {
        if matches!(call, Call::Clone) { Self::FailedClones } else { Self::Call(call) }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Descendants => "the ends of descendants",
            Self::Ends => "the ends of tasks",
            Self::NewTasks => "clone",
            Self::FailedClones => "clones that fail",
            Self::Call(call) => call.name(),
            Self::Compat => "32-bit system calls",
            Self::NamespaceEnds => "the ends of namespaces",
            Self::Denied => "calls that a seccomp filter stops",
            Self::Resolved => "the resolved arguments of pivot_root",
        })
    }
}

/// Hooks that are useful only together, in the order of attaching: a return hook before its entry hook, so that every
/// call seen at entry is completed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The purpose.
    pub purpose: Purpose,
    /// The hooks.
    pub hooks: Vec<Hook>,
    /// Kernel struct fields that they require.
    pub fields: &'static [Field],
}

/// The hooks with which `plan` shows `calls`, for the whole machine or (`follow`) for the descendants of one process.
#[must_use]
pub fn groups(plan: Plan, calls: &[Call], follow: bool) -> Vec<Group> {
    let hook = |program, point| Hook { program, point };
    let group = |purpose, hooks: &[Hook], fields| Group { purpose, hooks: hooks.to_vec(), fields };
    let mut groups = Vec::new();
    if follow {
        groups.push(group(Purpose::Descendants, &[end_of_task(plan)], FOLLOW_FIELDS));
    }
    let clones = calls.contains(&Call::Clone);
    if clones || follow {
        let newtask = match plan {
            Plan::Fprobes => hook("enter_new_task", Point::Fprobe("uprobe_copy_process")),
            _ => hook("task_newtask", Point::TpBtf("task_newtask")),
        };
        groups.push(group(Purpose::NewTasks, &[newtask], if follow { FOLLOW_FIELDS } else { &[] }));
    }
    match plan {
        Plan::Fentry | Plan::Fprobes => {
            for spec in specs(calls) {
                for function in spec.functions {
                    let hooks = at_function(plan, function.name, function.programs);
                    groups.push(Group { purpose: Purpose::of(spec.call), hooks, fields: function.fields });
                }
            }
            if calls.contains(&Call::PivotRoot) {
                let entry = match plan {
                    Plan::Fprobes => hook("enter_pivot_paths", Point::Fprobe("security_sb_pivotroot")),
                    _ => hook("fentry_pivot_paths", Point::Fentry("security_sb_pivotroot")),
                };
                groups.push(group(Purpose::Resolved, &[entry], PATH_FIELDS));
            }
        }
        Plan::Tracepoints => {
            for spec in specs(calls) {
                for together in spec.tracepoints {
                    let hooks =
                        together.iter().flat_map(|tracepoint| at(tracepoint, tracepoint.programs)).collect();
                    groups.push(Group { purpose: Purpose::of(spec.call), hooks, fields: &[] });
                }
            }
        }
        Plan::Perf | Plan::Proc => {}
    }
    groups
}

/// The hook at the end of a task.
fn end_of_task(plan: Plan) -> Hook {
    match plan {
        Plan::Fprobes => Hook { program: "enter_exit_fs", point: Point::Fprobe("exit_fs") },
        _ => Hook { program: "task_exit", point: Point::TpBtf("sched_process_exit") },
    }
}

/// The hooks at the return and entry of a system call.
fn at(tracepoint: &Tracepoint, programs: Programs) -> Vec<Hook> {
    let [exit, entry] = tracepoint.points.map(Point::Syscall);
    hooks(programs, exit, entry)
}

/// The hooks at the return and entry of a kernel function.
fn at_function(plan: Plan, function: &'static str, programs: Programs) -> Vec<Hook> {
    match plan {
        Plan::Fprobes => {
            let for_all = Programs { exit: "exit_function", entry: Some("enter_function") };
            hooks(for_all, Point::FprobeReturn(function), Point::Fprobe(function))
        }
        _ => hooks(programs, Point::Fexit(function), Point::Fentry(function)),
    }
}

fn hooks(Programs { exit, entry }: Programs, at_exit: Point, at_entry: Point) -> Vec<Hook> {
    let exit = Hook { program: exit, point: at_exit };
    let entry = entry.map(|program| Hook { program, point: at_entry });
    [exit].into_iter().chain(entry).collect()
}

/// The hooks with which `plan` shows `calls` made by int 0x80 and in 32-bit processes. Without them, every plan shows
/// successful clones; and those of functions show the failed ones and unshare, which have one function for both.
#[must_use]
pub fn compat(plan: Plan, calls: &[Call]) -> Vec<Group> {
    let group = |hooks| Group { purpose: Purpose::Compat, hooks, fields: COMPAT_FIELDS };
    match plan {
        Plan::Fentry | Plan::Fprobes => specs(calls)
            .flat_map(|spec| spec.functions)
            .filter_map(|function| function.compat)
            .map(|compat| group(at_function(plan, compat.name, compat.programs)))
            .collect(),
        Plan::Tracepoints => {
            let programs = Programs { exit: "exit_compat", entry: Some("enter_compat") };
            let [exit, entry] = ["sys_exit", "sys_enter"].map(Point::EverySyscall);
            vec![group(hooks(programs, exit, entry))]
        }
        Plan::Perf | Plan::Proc => Vec::new(),
    }
}

/// The hook that frees table entries when tasks end; with any plan.
#[must_use]
pub fn task_ends(plan: Plan) -> Group {
    Group { purpose: Purpose::Ends, hooks: vec![end_of_task(plan)], fields: &[] }
}

/// The hooks with which `plan` shows the ends of namespaces.
#[must_use]
pub fn namespace_ends(plan: Plan) -> Vec<Group> {
    let free = match plan {
        Plan::Fentry => Hook { program: "fentry_free_inum", point: Point::Fentry("proc_free_inum") },
        Plan::Fprobes => Hook { program: "enter_free_inum", point: Point::Fprobe("proc_free_inum") },
        _ => return Vec::new(),
    };
    vec![Group { purpose: Purpose::NamespaceEnds, hooks: vec![free], fields: &[] }]
}

/// Requests besides the calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// 32-bit system calls, although other system calls pay for it.
    pub compat: bool,
    /// The lifecycle of namespaces.
    pub lifecycle: bool,
    /// Calls stopped by seccomp.
    pub denied: bool,
}

/// The data about `calls` that `plan` cannot show, in words: on any kernel, or because this one is `preemptible`.
#[must_use]
pub fn unseen(plan: Plan, calls: &[Call], extras: Extras, preemptible: bool) -> Vec<String> {
    let Extras { compat, lifecycle, denied } = extras;
    let mut unseen = denied::unseen(denied);
    match plan {
        Plan::Fentry if preemptible => unseen.push(WHILE_PREEMPTED.to_owned()),
        Plan::Tracepoints if preemptible && calls.contains(&Call::Clone) => {
            unseen.push(CLONES_WHILE_PREEMPTED.to_owned());
        }
        _ => {}
    }
    unseen.push(BEGUN.to_owned());
    unseen.push(INTERRUPTED.to_owned());
    unseen.push(BY_EXEC.to_owned());
    if calls.contains(&Call::PivotRoot) {
        unseen.push(OF_OTHERS.to_owned());
    }
    if plan == Plan::Tracepoints && lifecycle {
        unseen.push(format!("{}: no tracepoint shows them", Purpose::NamespaceEnds));
    }
    if plan == Plan::Tracepoints && !compat {
        unseen.push(format!(
            "{}: there is no tracepoint for single ones; --compat watches them all",
            Purpose::Compat
        ));
    }
    if plan == Plan::Tracepoints && calls.contains(&Call::PivotRoot) {
        unseen.push(format!("{}, unless they are `.`: no tracepoint shows them", Purpose::Resolved));
    }
    unseen
}

/// Calls missed while other tasks keep a program from running.
const WHILE_PREEMPTED: &str = "calls on a CPU on which another task was preempted in the program of the same call: \
    this kernel preempts its own tasks, or may; counted as lost, `recursion`";

/// The same if only new tasks are seen by a program that can be preempted.
const CLONES_WHILE_PREEMPTED: &str = "clones that succeed on a CPU on which another task was preempted in the same \
    program, from Linux 7.0 on, if the kernel preempts its own tasks; counted as lost, `recursion`";

/// Calls that a probe has no state of.
const BEGUN: &str = "calls that began before the trace";

/// The end of a call, after everything that a probe sees.
const INTERRUPTED: &str = "whether a call interrupted by a signal (`restarted`, except ERESTARTNOINTR) is restarted or \
    returns EINTR: that is decided after it returns";

/// A change by a call that is not traced.
const BY_EXEC: &str = "the time namespace that a process enters by execve after unsharing it (Linux 6.3)";

/// Mount namespaces created by calls that are not traced.
pub const BY_MOUNT_CALLS: &str = "mount namespaces created by open_tree(2) and fsmount(2) (OPEN_TREE_NAMESPACE, \
    FSMOUNT_NAMESPACE), until a task joins them";

/// The effect of a call on processes other than its caller.
const OF_OTHERS: &str = "other processes whose root or working directory a pivot_root moves";

/// The fields that identify a 32-bit system call.
const COMPAT_FIELDS: &[Field] =
    &[Field::TaskThreadInfo, Field::ThreadInfoStatus, Field::PtRegsFirst32, Field::PtRegsSecond32];

/// The fields that identify the task whose descendants are followed.
const FOLLOW_FIELDS: &[Field] = &[
    Field::TaskGroupLeader,
    Field::TaskThreadPid,
    Field::PidLevel,
    Field::PidNumbers,
    Field::UpidSize,
    Field::UpidNr,
    Field::UpidNs,
    Field::PidNsCommon,
    Field::NsCommonInum,
];

#[cfg(test)]
mod tests;
