//! The hooks of each plan, and the kernel fields that they read.

use crate::kernel::probe::{Hook, Point};
use nsprobe_ebpf::Field;
use std::fmt;

mod denied;
mod details;
mod fprobes;
pub mod prototype;

pub use denied::{cost, denied};
use details::PATH_FIELDS;
pub use details::unreadable;

/// A traced call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// clone(2), clone3(2), fork(2), vfork(2).
    Clone,
    /// unshare(2).
    Unshare,
    /// setns(2).
    Setns,
    /// chroot(2).
    Chroot,
    /// pivot_root(2).
    PivotRoot,
}

impl Call {
    /// All calls.
    pub const ALL: [Self; 5] = [Self::Clone, Self::Unshare, Self::Setns, Self::Chroot, Self::PivotRoot];

    /// The name of its events in every output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Clone => "clone",
            Self::Unshare => "unshare",
            Self::Setns => "setns",
            Self::Chroot => "chroot",
            Self::PivotRoot => "pivot_root",
        }
    }
}

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
        Plan::Fentry => {
            if clones {
                let exit = hook("fexit_clone", Point::Fexit("kernel_clone"));
                groups.push(group(Purpose::FailedClones, &[exit], &[Field::KernelCloneFlags]));
            }
            let registers: &[Field] = &[Field::PtRegsFirst, Field::PtRegsSecond];
            for (call, exit, entry, function, fields) in [
                (Call::Clone, "fexit_clone3", "fentry_clone3", "__x64_sys_clone3", registers),
                (Call::Unshare, "fexit_unshare", "fentry_unshare", "ksys_unshare", &[][..]),
                (Call::Setns, "fexit_setns", "fentry_setns", "__x64_sys_setns", registers),
                (Call::Chroot, "fexit_chroot", "fentry_chroot", "__x64_sys_chroot", registers),
                (Call::PivotRoot, "fexit_pivot_root", "fentry_pivot_root", "__x64_sys_pivot_root", registers),
            ] {
                let purpose = if call == Call::Clone { Purpose::FailedClones } else { Purpose::Call(call) };
                let hooks = [hook(exit, Point::Fexit(function)), hook(entry, Point::Fentry(function))];
                if calls.contains(&call) {
                    groups.push(group(purpose, &hooks, fields));
                }
            }
            if calls.contains(&Call::PivotRoot) {
                let entry = hook("fentry_pivot_paths", Point::Fentry("security_sb_pivotroot"));
                groups.push(group(Purpose::Resolved, &[entry], PATH_FIELDS));
            }
        }
        Plan::Tracepoints => {
            for (call, programs, points) in [
                (Call::Clone, ["exit_clone", "enter_clone"], ["sys_exit_clone", "sys_enter_clone"]),
                (Call::Clone, ["exit_clone", "enter_clone3"], ["sys_exit_clone3", "sys_enter_clone3"]),
                (Call::Unshare, ["exit_call", "enter_unshare"], ["sys_exit_unshare", "sys_enter_unshare"]),
                (Call::Setns, ["exit_call", "enter_setns"], ["sys_exit_setns", "sys_enter_setns"]),
                (Call::Chroot, ["exit_call", "enter_chroot"], ["sys_exit_chroot", "sys_enter_chroot"]),
                (
                    Call::PivotRoot,
                    ["exit_call", "enter_pivot_root"],
                    ["sys_exit_pivot_root", "sys_enter_pivot_root"],
                ),
            ] {
                let purpose = if call == Call::Clone { Purpose::FailedClones } else { Purpose::Call(call) };
                let mut hooks = vec![
                    hook(programs[0], Point::Syscall(points[0])),
                    hook(programs[1], Point::Syscall(points[1])),
                ];
                // Only together do these show what the function behind them does.
                if points[0] == "sys_exit_clone" {
                    hooks.extend(forks());
                }
                if calls.contains(&call) {
                    groups.push(group(purpose, &hooks, &[]));
                }
            }
        }
        Plan::Fprobes => groups.extend(fprobes::groups(calls)),
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

/// The hooks with which the tracepoint plan shows failed fork and vfork.
fn forks() -> [Hook; 4] {
    [
        ("exit_clone", "sys_exit_fork"),
        ("enter_fork", "sys_enter_fork"),
        ("exit_clone", "sys_exit_vfork"),
        ("enter_vfork", "sys_enter_vfork"),
    ]
    .map(|(program, point)| Hook { program, point: Point::Syscall(point) })
}

/// The hooks with which `plan` shows `calls` made by int 0x80 and in 32-bit processes. Without them, both plans show
/// successful clones, and functions also failed ones and unshare.
#[must_use]
pub fn compat(plan: Plan, calls: &[Call]) -> Vec<Group> {
    let hook = |program, point| Hook { program, point };
    let group =
        |hooks: [Hook; 2]| Group { purpose: Purpose::Compat, hooks: hooks.to_vec(), fields: COMPAT_FIELDS };
    match plan {
        Plan::Fentry => [
            (Call::Clone, "fexit_clone3_32", "fentry_clone3_32", "__ia32_sys_clone3"),
            (Call::Setns, "fexit_setns32", "fentry_setns32", "__ia32_sys_setns"),
            (Call::Chroot, "fexit_chroot32", "fentry_chroot32", "__ia32_sys_chroot"),
            (Call::PivotRoot, "fexit_pivot_root32", "fentry_pivot_root32", "__ia32_sys_pivot_root"),
        ]
        .into_iter()
        .filter(|(call, ..)| calls.contains(call))
        .map(|(_, exit, entry, function)| {
            group([hook(exit, Point::Fexit(function)), hook(entry, Point::Fentry(function))])
        })
        .collect(),
        Plan::Tracepoints => vec![group([
            hook("exit_compat", Point::EverySyscall("sys_exit")),
            hook("enter_compat", Point::EverySyscall("sys_enter")),
        ])],
        Plan::Fprobes => fprobes::compat(calls),
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
    this kernel preempts its own tasks; counted as lost, `recursion`";

/// The same if only new tasks are seen by a program that can be preempted.
const CLONES_WHILE_PREEMPTED: &str = "clones that succeed on a CPU on which another task was preempted in the same \
    program, from Linux 7.0 on: this kernel preempts its own tasks; counted as lost, `recursion`";

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
