//! The hooks of each plan, and the kernel fields that they read.

use crate::kernel::probe::{Hook, Point};
use nsprobe_ebpf::Field;
use std::fmt;

mod denied;
mod details;
mod fprobes;
pub mod prototype;

pub use denied::{cost, denied};
use details::PLACE_FIELDS;
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
    /// All of them.
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
    /// fentry and fexit on the kernel functions behind the calls: other system calls pay nothing.
    Functions,
    /// The same functions by fprobes, whose programs no task is preempted in: a little dearer for traced calls, and a page
    /// of kernel memory for each task.
    Fprobes,
    /// Tracepoints at entry and return of the calls. With any of these attached the kernel takes its slow
    /// path into and out of every system call of the machine (+29 ns on one of 115 ns).
    Tracepoints,
    /// No BPF: the records of perf_event_open(2).
    Perf,
    /// No privileges: looking at `/proc` again and again.
    Poll,
}

impl Plan {
    /// Those that use the probe.
    pub const OF_PROBE: [Self; 3] = [Self::Functions, Self::Fprobes, Self::Tracepoints];

    /// Its name in every output, and for `--hooks`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Functions => "functions",
            Self::Fprobes => "fprobes",
            Self::Tracepoints => "tracepoints",
            Self::Perf => "perf",
            Self::Poll => "poll",
        }
    }
}

/// What a group of hooks is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Knowing who descends from the command.
    Descendants,
    /// Knowing which tasks have ended, whose state is in tables.
    Ends,
    /// New tasks.
    NewTasks,
    /// Clones that failed.
    FailedClones,
    /// Another call.
    Call(Call),
    /// What the kernel resolved the arguments of pivot_root to.
    Resolved,
    /// The ends of namespaces.
    Lives,
    /// Calls that never get to the kernel, because a filter of the process answers them.
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
            Self::Lives => "the ends of namespaces",
            Self::Denied => "calls that a seccomp filter stops",
            Self::Resolved => "what pivot_root's arguments are resolved to",
        })
    }
}

/// Hooks that are of use only together, in the order to attach them: a return hook before its entry hook,
/// so that no call is begun that nobody completes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// What for.
    pub purpose: Purpose,
    /// Which.
    pub hooks: Vec<Hook>,
    /// Kernel struct fields without which they see nothing.
    pub fields: &'static [Field],
}

/// The hooks with which `plan` shows `calls`, of the whole machine or (`follow`) of one process's descendants.
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
        Plan::Functions => {
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
                groups.push(group(Purpose::Resolved, &[entry], PLACE_FIELDS));
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
                // Together these show what the function behind them does.
                if points[0] == "sys_exit_clone" {
                    hooks.extend(forks());
                }
                if calls.contains(&call) {
                    groups.push(group(purpose, &hooks, &[]));
                }
            }
        }
        Plan::Fprobes => groups.extend(fprobes::groups(calls)),
        Plan::Perf | Plan::Poll => {}
    }
    groups
}

/// What tells that a task has ended.
fn end_of_task(plan: Plan) -> Hook {
    match plan {
        Plan::Fprobes => Hook { program: "enter_exit_fs", point: Point::Fprobe("exit_fs") },
        _ => Hook { program: "task_exit", point: Point::TpBtf("sched_process_exit") },
    }
}

/// The hooks with which the plan of tracepoints shows fork and vfork where they fail.
fn forks() -> [Hook; 4] {
    [
        ("exit_clone", "sys_exit_fork"),
        ("enter_fork", "sys_enter_fork"),
        ("exit_clone", "sys_exit_vfork"),
        ("enter_vfork", "sys_enter_vfork"),
    ]
    .map(|(program, point)| Hook { program, point: Point::Syscall(point) })
}

/// The hooks with which `plan` shows `calls` made by int 0x80 and in 32-bit processes. Without them both show clones
/// that succeed, and functions also those that fail and unshare.
#[must_use]
pub fn compat(plan: Plan, calls: &[Call]) -> Vec<Group> {
    let hook = |program, point| Hook { program, point };
    let group =
        |hooks: [Hook; 2]| Group { purpose: Purpose::Compat, hooks: hooks.to_vec(), fields: COMPAT_FIELDS };
    match plan {
        Plan::Functions => [
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
        Plan::Perf | Plan::Poll => Vec::new(),
    }
}

/// The hook by which tables of tasks have room again when tasks end; with any plan.
#[must_use]
pub fn ends(plan: Plan) -> Group {
    Group { purpose: Purpose::Ends, hooks: vec![end_of_task(plan)], fields: &[] }
}

/// The hooks with which `plan` shows the ends of namespaces.
#[must_use]
pub fn lives(plan: Plan) -> Vec<Group> {
    let free = match plan {
        Plan::Functions => Hook { program: "fentry_free_inum", point: Point::Fentry("proc_free_inum") },
        Plan::Fprobes => Hook { program: "enter_free_inum", point: Point::Fprobe("proc_free_inum") },
        _ => return Vec::new(),
    };
    vec![Group { purpose: Purpose::Lives, hooks: vec![free], fields: &[] }]
}

/// What is asked for beside the calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// 32-bit system calls, though other system calls pay for it.
    pub compat: bool,
    /// The lives of namespaces.
    pub lives: bool,
    /// Calls that seccomp stops.
    pub denied: bool,
}

/// What `plan` cannot tell of `calls`, in words: on any kernel, or because this one is `preemptible`.
#[must_use]
pub fn unseen(plan: Plan, calls: &[Call], extras: Extras, preemptible: bool) -> Vec<String> {
    let Extras { compat, lives, denied } = extras;
    let mut unseen = denied::unseen(denied);
    match plan {
        Plan::Functions if preemptible => unseen.push(WHILE_PREEMPTED.to_owned()),
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
    if plan == Plan::Tracepoints && lives {
        unseen.push(format!("{}: no tracepoint tells", Purpose::Lives));
    }
    if plan == Plan::Tracepoints && !compat {
        unseen.push(format!(
            "{}: no tracepoint of a single one tells; --compat watches them all",
            Purpose::Compat
        ));
    }
    if plan == Plan::Tracepoints && calls.contains(&Call::PivotRoot) {
        unseen.push(format!("{}, unless they are `.`: no tracepoint tells", Purpose::Resolved));
    }
    unseen
}

/// What others can keep a program from being run for.
const WHILE_PREEMPTED: &str = "calls on a CPU on which another task was preempted in the program of the same call: this \
    kernel preempts its own tasks; counted as lost, `recursion`";

/// The same where only new tasks are seen by a program that can be preempted.
const CLONES_WHILE_PREEMPTED: &str = "clones that succeed on a CPU on which another task was preempted in the same program, \
    from Linux 7.0 on: this kernel preempts its own tasks; counted as lost, `recursion`";

/// What a probe has no state of.
const BEGUN: &str = "calls that began before the trace";

/// What happens to a call after all that a probe sees of it.
const INTERRUPTED: &str = "whether a call that a signal interrupted (`restarted`, but for ERESTARTNOINTR) is made again or \
    gives EINTR: that is decided after its return";

/// What is no call of those that are traced.
const BY_EXEC: &str =
    "the time namespace that a process which unshared it enters by executing a program (Linux 6.3)";

/// What makes mount namespaces and is no call of those that are traced.
pub const BY_MOUNT_CALLS: &str = "mount namespaces that open_tree(2) and fsmount(2) make (OPEN_TREE_NAMESPACE, FSMOUNT_NAMESPACE), \
    until somebody joins them";

/// What a call does to others than its caller.
const OF_OTHERS: &str = "other processes whose root or working directory a pivot_root moves";

/// What it takes to tell what a 32-bit system call is.
const COMPAT_FIELDS: &[Field] =
    &[Field::TaskThreadInfo, Field::ThreadInfoStatus, Field::PtRegsFirst32, Field::PtRegsSecond32];

/// What it takes to tell whether a task is the one whose descendants are followed.
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
