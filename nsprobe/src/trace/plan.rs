//! Choice of the hooks: facts → policy. The facts are the results of trying ([`Trial`]); attaching happens elsewhere.

use super::hooks::{Plan, Purpose};
use crate::kernel::lockdown::Lockdown;
use crate::kernel::refusal::Refusal;

/// The requested plans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The cheapest plan that shows everything.
    Auto,
    /// This plan.
    Only(Plan),
    /// The first of these that works, and no other.
    Among(Plans),
}

/// A set of plans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plans(u8);

impl Plans {
    /// True if it contains this plan.
    const fn has(self, plan: Plan) -> bool {
        self.0 & 1 << plan as u8 != 0
    }
}

impl FromIterator<Plan> for Plans {
    fn from_iter<I: IntoIterator<Item = Plan>>(plans: I) -> Self {
        Self(plans.into_iter().fold(0, |set, plan| set | 1 << plan as u8))
    }
}

impl Choice {
    /// True if this plan may be chosen.
    #[must_use]
    pub fn has(self, plan: Plan) -> bool {
        match self {
            Self::Auto => true,
            Self::Only(only) => only == plan,
            Self::Among(plans) => plans.has(plan),
        }
    }

    /// The plans of the probe among these, in the order of increasing cost for other system calls.
    #[must_use]
    pub fn in_probe(self) -> Vec<Plan> {
        Plan::OF_PROBE.into_iter().filter(|&plan| self.has(plan)).collect()
    }

    /// The same plans, in the order of trying.
    fn order(self, preemptible: bool) -> Vec<Plan> {
        let mut plans = self.in_probe();
        if preemptible {
            // Other tasks can keep its programs from running.
            plans.sort_by_key(|&plan| plan == Plan::Fentry);
        } else if self == Self::Auto {
            plans.retain(|&plan| plan != Plan::Fprobes);
        }
        plans
    }
}

/// Properties of the kernel that affect the choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kernel {
    /// Its lockdown mode, the reason for a forbidden trial; not used without one.
    pub lockdown: Lockdown,
    /// True if it preempts its own tasks, or may.
    pub preemptible: bool,
}

/// The result of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// Its purpose.
    pub purpose: Purpose,
    /// The hook that was refused, in display form, and the refusal; `Ok` if all are attached.
    pub result: Result<(), (String, Refusal)>,
}

/// The result of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// The plan.
    pub plan: Plan,
    /// The results of its groups.
    pub groups: Vec<Tried>,
}

impl Trial {
    /// The groups that were refused.
    fn refused(&self) -> impl Iterator<Item = (&Purpose, &(String, Refusal))> {
        self.groups.iter().filter_map(|tried| Some((&tried.purpose, tried.result.as_ref().err()?)))
    }

    /// True if a group counts for its plan: groups common to all plans and groups for details do not.
    fn is_own(purpose: Purpose) -> bool {
        !matches!(
            purpose,
            Purpose::Descendants
                | Purpose::Ends
                | Purpose::NewTasks
                | Purpose::Resolved
                | Purpose::Compat
                | Purpose::NamespaceEnds
                | Purpose::Denied
        )
    }

    /// True if all its own hooks are attached.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.refused().any(|(&purpose, _)| Self::is_own(purpose))
    }

    /// True if it has hooks of its own and none is attached. If only clone is requested, successful clones make it
    /// worthwhile, although their hook is not any plan's own.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        let own = || self.groups.iter().filter(|tried| Self::is_own(tried.purpose));
        let mut new_tasks = self.groups.iter().filter(|tried| tried.purpose == Purpose::NewTasks);
        let shows_clones = own().all(|tried| tried.purpose == Purpose::FailedClones)
            && new_tasks.any(|tried| tried.result.is_ok());
        own().count() > 0 && own().all(|tried| tried.result.is_err()) && !shows_clones
    }

    /// The data that it cannot show, and why, in words.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let lacks = |(purpose, (_, refusal)): &(&Purpose, &(String, Refusal))| {
            // A kernel without a 32-bit entry lacks nothing.
            **purpose != Purpose::Compat || !refusal.absent
        };
        self.refused()
            .filter(lacks)
            .map(|(purpose, (hook, refusal))| format!("{purpose}: {hook}: {}", refusal.reason))
            .collect()
    }

    /// The first refusal of its own hooks, in words.
    fn first_refusal(&self) -> Option<String> {
        let mut own = self.refused().filter(|(purpose, _)| Self::is_own(**purpose));
        own.next().map(|(_, (hook, refusal))| format!("{hook}: {}", refusal.reason))
    }

    /// Returns the reason, in words, if a hook was refused because no more files can be opened.
    #[must_use]
    pub fn exhausted(&self) -> Option<String> {
        self.refused().find_map(|(_, (_, refusal))| refusal.exhausted())
    }

    /// True if the kernel denied permission for any of its hooks.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        self.refused().any(|(_, (_, refusal))| matches!(refusal.errno, Some(libc::EPERM | libc::EACCES)))
    }
}

/// The next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Keep the attached hooks, for this reason.
    Keep(String),
    /// Detach them and try this plan.
    Try(Plan),
    /// Give up, for this reason.
    GiveUp(String),
}

/// Judges the plans tried so far, the last of which is attached.
#[must_use]
pub fn judge(choice: Choice, trials: &[Trial], kernel: Kernel) -> Verdict {
    let order = choice.order(kernel.preemptible);
    let Some(last) = trials.last() else {
        return order.first().map_or_else(|| Verdict::GiveUp(String::new()), |&plan| Verdict::Try(plan));
    };
    let because = |trial: &Trial| {
        let refusal = trial.first_refusal().unwrap_or_default();
        match kernel.lockdown {
            // The level `integrity` forbids nothing that a plan needs.
            Lockdown::Confidentiality if trial.is_forbidden() => {
                format!("{refusal} (kernel lockdown=confidentiality)")
            }
            _ => refusal,
        }
    };
    // Without this one there are no descendants to report.
    let needed = last.groups.iter().find(|tried| {
        tried.purpose == Purpose::NewTasks && last.groups.iter().any(|t| t.purpose == Purpose::Descendants)
            || tried.purpose == Purpose::Descendants
    });
    if let Some((hook, refusal)) = needed.and_then(|tried| tried.result.as_ref().err()) {
        // Its hooks are its own; the other plans share theirs.
        if let (Plan::Fprobes, Some(&next)) = (last.plan, order.get(trials.len())) {
            return Verdict::Try(next);
        }
        return Verdict::GiveUp(format!(
            "a command's descendants cannot be followed: {hook}: {}",
            refusal.reason
        ));
    }
    let refused = |trials: &[Trial], prefix: &str| {
        let each = trials.iter().map(|trial| format!("{prefix}{}: {}", trial.plan.name(), because(trial)));
        each.collect::<Vec<_>>().join("; ")
    };
    if let [only] = order[..] {
        return if last.is_refused() {
            Verdict::GiveUp(format!("this kernel refuses the source `{}`: {}", only.name(), because(last)))
        } else {
            Verdict::Keep("requested".to_owned())
        };
    }
    if trials.len() > order.len() {
        let less = &trials[order.len() - 1];
        return if last.is_refused() {
            Verdict::GiveUp(format!(
                "this kernel refuses every BPF source: {}",
                refused(&trials[order.len()..], "")
            ))
        } else {
            Verdict::Keep(format!("{} would show less: {}", less.plan.name(), because(less)))
        };
    }
    let keep = || {
        let before = &trials[..trials.len() - 1];
        Verdict::Keep(match (last.plan, before) {
            (Plan::Fentry, []) => WORK.to_owned(),
            (_, []) => NOT_PREEMPTED.to_owned(),
            _ => refused(before, "no "),
        })
    };
    if last.is_complete() {
        return keep();
    }
    if let Some(&next) = order.get(trials.len()) {
        return Verdict::Try(next);
    }
    // None is complete: take the one that shows most, and among equals the one that other tasks blind least.
    let rank = |trial: &&Trial| {
        let index = [Plan::Tracepoints, Plan::Fprobes].iter().position(|&plan| plan == trial.plan);
        (trial.missing().len(), index.unwrap_or(2))
    };
    match trials.iter().filter(|trial| !trial.is_refused()).min_by_key(rank) {
        None => Verdict::GiveUp(format!("this kernel refuses every BPF source: {}", refused(trials, ""))),
        Some(best) if best.plan == last.plan => keep(),
        Some(best) => Verdict::Try(best.plan),
    }
}

/// The reason for keeping fentry.
const WORK: &str = "fentry and fexit work here, and cost other system calls nothing";

/// The reason for keeping fprobes.
const NOT_PREEMPTED: &str =
    "this kernel preempts its own tasks, but not in fprobes, which cost other system calls nothing";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::probe::{Hook, Point};
    use crate::trace::hooks::{Call, Group, groups};

    const STAYS: Kernel = Kernel { lockdown: Lockdown::None, preemptible: false };
    const LOCKED: Kernel = Kernel { lockdown: Lockdown::Confidentiality, ..STAYS };
    const PREEMPTS: Kernel = Kernel { preemptible: true, ..STAYS };

    /// A trial of `plan` for every call, with the kernel's results from `answer`.
    fn trial(plan: Plan, follow: bool, answer: impl Fn(&Hook) -> Option<i32>) -> Trial {
        let groups = groups(plan, &Call::ALL, follow).into_iter().map(|group| tried(group, &answer));
        Trial { plan, groups: groups.collect() }
    }

    #[expect(clippy::needless_pass_by_value, reason = "a group is tried once")]
    fn tried(group: Group, answer: impl Fn(&Hook) -> Option<i32>) -> Tried {
        let refused = group.hooks.iter().find_map(|hook| Some((hook, answer(hook)?)));
        let result = refused.map_or(Ok(()), |(hook, errno)| {
            let reason = format!("{:?}", nix::errno::Errno::from_raw(errno));
            Err((hook.point.to_string(), Refusal { errno: Some(errno), ..Refusal::new(reason) }))
        });
        Tried { purpose: group.purpose, result }
    }

    fn no_fentry(hook: &Hook) -> Option<i32> {
        matches!(hook.point, Point::Fentry(_) | Point::Fexit(_)).then_some(libc::EPERM)
    }

    #[test]
    fn fentry_is_kept_where_it_works() {
        assert_eq!(judge(Choice::Auto, &[], STAYS), Verdict::Try(Plan::Fentry));
        let works = trial(Plan::Fentry, true, |_| None);
        assert!(matches!(judge(Choice::Auto, &[works], STAYS), Verdict::Keep(_)));
    }

    #[test]
    fn preemptible_kernel_avoids_plans_that_other_tasks_blind() {
        assert_eq!(judge(Choice::Auto, &[], PREEMPTS), Verdict::Try(Plan::Fprobes));
        let works = |plan| trial(plan, true, |_| None);
        assert_eq!(
            judge(Choice::Auto, &[works(Plan::Fprobes)], PREEMPTS),
            Verdict::Keep(NOT_PREEMPTED.to_owned())
        );
        let old = trial(Plan::Fprobes, true, |hook| {
            matches!(hook.point, Point::Fprobe(_) | Point::FprobeReturn(_)).then_some(libc::EOPNOTSUPP)
        });
        assert_eq!(
            judge(Choice::Auto, std::slice::from_ref(&old), PREEMPTS),
            Verdict::Try(Plan::Tracepoints)
        );
        let why = "no fprobes: kretprobe.multi/kernel_clone: EOPNOTSUPP";
        let trials = [old.clone(), works(Plan::Tracepoints)];
        assert_eq!(judge(Choice::Auto, &trials, PREEMPTS), Verdict::Keep(why.to_owned()));
        let no_tracefs = trial(Plan::Tracepoints, true, |hook| {
            matches!(hook.point, Point::Syscall(_)).then_some(libc::EPERM)
        });
        let trials = [old, no_tracefs];
        assert_eq!(judge(Choice::Auto, &trials, PREEMPTS), Verdict::Try(Plan::Fentry));
        let choice = Choice::Among([Plan::Fentry, Plan::Fprobes].into_iter().collect());
        assert_eq!(judge(choice, &[], PREEMPTS), Verdict::Try(Plan::Fprobes));
        assert_eq!(judge(Choice::Only(Plan::Fentry), &[], PREEMPTS), Verdict::Try(Plan::Fentry));
    }

    #[test]
    fn tracepoints_follow_with_the_reason_where_fentry_is_refused() {
        let fentry = trial(Plan::Fentry, true, no_fentry);
        assert_eq!(
            judge(Choice::Auto, std::slice::from_ref(&fentry), LOCKED),
            Verdict::Try(Plan::Tracepoints)
        );
        let tracepoints = trial(Plan::Tracepoints, true, |_| None);
        let why = "no fentry: fexit/kernel_clone: EPERM (kernel lockdown=confidentiality)";
        assert_eq!(judge(Choice::Auto, &[fentry, tracepoints], LOCKED), Verdict::Keep(why.to_owned()));
    }

    /// Linux 5.10 without BPF trampolines for one function, and a tracefs that lacks one event.
    #[test]
    fn the_plan_that_shows_more_wins() {
        let fentry = trial(Plan::Fentry, false, |hook| {
            (hook.point == Point::Fentry("__x64_sys_pivot_root")).then_some(libc::ENOENT)
        });
        assert_eq!(
            judge(Choice::Auto, std::slice::from_ref(&fentry), STAYS),
            Verdict::Try(Plan::Tracepoints)
        );
        let worse = trial(Plan::Tracepoints, false, |hook| {
            let name = hook.point.to_string();
            (name.ends_with("unshare") || name.ends_with("setns")).then_some(libc::ENOENT)
        });
        let trials = [fentry.clone(), worse];
        assert_eq!(judge(Choice::Auto, &trials, STAYS), Verdict::Try(Plan::Fentry));
        let again = [trials[0].clone(), trials[1].clone(), fentry];
        let why = "tracepoints would show less: tracepoint/syscalls/sys_exit_unshare: ENOENT";
        assert_eq!(judge(Choice::Auto, &again, STAYS), Verdict::Keep(why.to_owned()));
        assert_eq!(again[2].missing(), ["pivot_root: fentry/__x64_sys_pivot_root: ENOENT"]);
    }

    #[test]
    fn a_forced_plan_is_kept_or_nothing() {
        let choice = Choice::Only(Plan::Fentry);
        assert_eq!(judge(choice, &[], STAYS), Verdict::Try(Plan::Fentry));
        let refused = trial(Plan::Fentry, false, no_fentry);
        let why = "this kernel refuses the source `fentry`: fexit/kernel_clone: EPERM (kernel lockdown=confidentiality)";
        assert_eq!(judge(choice, &[refused], LOCKED), Verdict::GiveUp(why.to_owned()));
        let partial = trial(Plan::Fentry, false, |hook| {
            (hook.point == Point::Fexit("kernel_clone")).then_some(libc::EINVAL)
        });
        assert_eq!(judge(choice, &[partial], STAYS), Verdict::Keep("requested".to_owned()));
    }

    /// `CAP_BPF` and `CAP_PERFMON` alone, with an unreadable tracefs: neither plan has a group left.
    #[test]
    fn plan_without_attached_hooks_is_not_kept() {
        let of = |plan, calls: &[Call], answer: fn(&Hook) -> Option<i32>| {
            let groups = groups(plan, calls, false).into_iter().map(|group| tried(group, answer)).collect();
            Trial { plan, groups }
        };
        let no_tracefs = |hook: &Hook| matches!(hook.point, Point::Syscall(_)).then_some(libc::EPERM);
        let trials =
            |calls: &[Call]| [of(Plan::Fentry, calls, no_fentry), of(Plan::Tracepoints, calls, no_tracefs)];
        let two = trials(&[Call::Clone, Call::Unshare]);
        assert_eq!([two[0].missing().len(), two[1].missing().len()], [3, 3]);
        assert!(matches!(judge(Choice::Auto, &two, STAYS), Verdict::GiveUp(_)));
        // Clones that succeed are seen all the same, by either plan; with fentry also some that fail.
        let clones = trials(&[Call::Clone]);
        assert!(matches!(judge(Choice::Auto, &clones, STAYS), Verdict::Keep(_)));
        let some = |hook: &Hook| (hook.point == Point::Fexit("kernel_clone")).then_some(libc::EPERM);
        let [_, tracepoints] = clones;
        let clones = [of(Plan::Fentry, &[Call::Clone], some), tracepoints];
        assert_eq!(judge(Choice::Auto, &clones, STAYS), Verdict::Try(Plan::Fentry));
        // The plan kept before is refused this time.
        let again = [&two[..], &two[..1]].concat();
        assert!(matches!(judge(Choice::Auto, &again, STAYS), Verdict::GiveUp(_)));
    }

    #[test]
    fn a_kernel_without_32_bit_entries_lacks_nothing_and_one_without_a_field_lacks_it() {
        let refused = |purpose, refusal| Trial {
            plan: Plan::Tracepoints,
            groups: vec![Tried { purpose, result: Err(("hook".to_owned(), refusal)) }],
        };
        let entry = refused(Purpose::Compat, Refusal::absent("__ia32_sys_setns"));
        assert_eq!(entry.missing(), Vec::<String>::new());
        let field = refused(Purpose::Compat, Refusal::new("this kernel has no pt_regs.bx"));
        assert_eq!(field.missing(), ["32-bit system calls: hook: this kernel has no pt_regs.bx"]);
        let unshare = refused(Purpose::Call(Call::Unshare), Refusal::absent("ksys_unshare"));
        assert_eq!(unshare.missing(), ["unshare: hook: this kernel has no function ksys_unshare"]);
    }

    #[test]
    fn a_command_needs_its_descendants() {
        let refuse = |hook: &Hook| matches!(hook.point, Point::TpBtf(_)).then_some(libc::EINVAL);
        let why = "a command's descendants cannot be followed: tp_btf/sched_process_exit: EINVAL";
        let verdict = judge(Choice::Auto, &[trial(Plan::Fentry, true, refuse)], STAYS);
        assert_eq!(verdict, Verdict::GiveUp(why.to_owned()));
        let whole = trial(Plan::Fentry, false, refuse);
        assert_eq!(whole.missing(), ["clone: tp_btf/task_newtask: EINVAL"]);
        assert!(matches!(judge(Choice::Auto, &[whole], STAYS), Verdict::Keep(_)));
    }
}
