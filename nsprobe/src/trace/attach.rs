//! From requested to attached hooks: tries them, asks [`plan`] for a verdict, and acts on it.

use super::TraceError;
use super::hooks::prototype::mismatch;
use super::hooks::{self, Call, Extras, Group, Plan, Purpose, unreadable, unseen};
use super::plan::{self, Choice, Trial, Tried, Verdict};
use crate::kernel::advice::exhausted_with_remedy;
use crate::kernel::capabilities::{Effective, has_all_users};
use crate::kernel::detach;
use crate::kernel::lockdown::Lockdown;
use crate::kernel::memory_limit::too_low;
use crate::kernel::mounts::can_make_namespaces;
use crate::kernel::preemption::is_preemptible;
use crate::kernel::probe::{Hook, Link, OpenError, Probe, Size};
use crate::kernel::refusal::{Refusal, errno_of};
use crate::kernel::task_storage::TaskStorage;
use crate::model::EventSource;
use nsprobe_ebpf::filter_key::FilterKey;
use nsprobe_ebpf::{Config, FIELDS, Field, config};
use std::time::Duration;

/// A probe that runs until it is dropped.
pub struct Attached {
    /// The probe.
    pub probe: Probe,
    /// The attached hooks, and the reason for them.
    pub source: EventSource,
    /// True if it follows descendants and can search for missing ones.
    pub follows: bool,
    /// The links that keep it attached.
    links: Vec<Link>,
}

impl Attached {
    /// Detaches it, and waits for that, but no longer than `limit`.
    pub fn detach(&mut self, limit: Duration) {
        detach::in_background(std::mem::take(&mut self.links)).wait(limit);
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        if !self.links.is_empty() {
            self.detach(Duration::ZERO);
        }
    }
}

/// What is to be attached.
#[derive(Clone, Copy, Debug)]
pub struct AttachRequest<'a> {
    /// The settings of the probe.
    pub config: Config,
    /// The keys by which it filters.
    pub keys: &'a [FilterKey],
    /// The plans that may be tried.
    pub choice: Choice,
    /// The calls to see, as far as they match `config` and `keys`.
    pub calls: &'a [Call],
    /// True to see 32-bit calls even if that costs other system calls time.
    pub compat: bool,
    /// True to see calls stopped by seccomp.
    pub denied: bool,
    /// The sizes of its buffer and tables.
    pub size: Size,
}

impl<'a> AttachRequest<'a> {
    /// All events of the `calls`, without what costs extra.
    pub fn new(choice: Choice, calls: &'a [Call], size: impl Into<Size>) -> Self {
        let size = size.into();
        Self { config: Config::default(), keys: &[], choice, calls, compat: false, denied: false, size }
    }

    fn has(&self, flag: u32) -> bool {
        self.config.flags & flag != 0
    }

    fn follow(&self) -> bool {
        self.has(config::FOLLOW)
    }

    fn lifecycle(&self) -> bool {
        self.has(config::LIFECYCLE)
    }

    /// Returns the hooks of a plan; `in_tables`: the probe keeps what it knows of tasks in tables, from which ended
    /// tasks are removed.
    fn groups(&self, plan: Plan, in_tables: bool) -> Vec<Group> {
        let mut groups = hooks::groups(plan, self.calls, self.follow());
        if self.compat || plan != Plan::Tracepoints {
            groups.extend(hooks::compat(plan, self.calls));
        }
        if self.lifecycle() {
            groups.extend(hooks::namespace_ends(plan));
        }
        if !self.follow() && (in_tables || self.denied) {
            groups.push(hooks::task_ends(plan));
        }
        groups
    }

    /// Returns the data that these hooks miss, in words.
    fn unseen(&self, plan: Plan, preemptible: bool) -> Vec<String> {
        let extras = Extras { compat: self.compat, lifecycle: self.lifecycle(), denied: self.denied };
        let mut unseen = unseen(plan, self.calls, extras, preemptible);
        if can_make_namespaces() {
            unseen.push(hooks::BY_MOUNT_CALLS.to_owned());
        }
        unseen
    }
}

/// Loads the probe and attaches it as requested.
pub fn attach(request: &AttachRequest<'_>) -> Result<Attached, TraceError> {
    permitted()?;
    // If it is refused, tables are used.
    let storage = TaskStorage::create();
    if let Some(reason) = storage.as_ref().err().and_then(exhausted_with_remedy) {
        return Err(TraceError::Descriptors(reason));
    }
    let storage = storage.ok();
    let in_tables = storage.is_none();
    let of_denied = if request.denied { hooks::denied(request.calls) } else { Vec::new() };
    let of_plans = Plan::OF_PROBE.into_iter().flat_map(|plan| request.groups(plan, in_tables));
    let hooks: Vec<Hook> = of_plans.chain(of_denied.clone()).flat_map(|group| group.hooks).collect();
    let mut probe = Probe::open(request.config, request.keys, request.size, &hooks, storage)
        .map_err(|error| forbidden(error, in_tables))?;
    let preemptible = is_preemptible();
    let mut trials: Vec<Trial> = Vec::new();
    let mut links = Vec::new();
    let reason = loop {
        // Reading it takes up to 40 ms where securityfs is not mounted.
        let is_forbidden = trials.iter().any(Trial::is_forbidden);
        let lockdown = if is_forbidden { Lockdown::read() } else { Lockdown::None };
        let kernel = plan::Kernel { lockdown, preemptible };
        match plan::judge(request.choice, &trials, kernel) {
            Verdict::Keep(reason) => break reason,
            Verdict::GiveUp(reason) => return Err(TraceError::Refused(reason)),
            Verdict::Try(plan) => {
                links.clear();
                let groups = request.groups(plan, in_tables);
                let tried = groups.iter().map(|group| Tried {
                    purpose: group.purpose,
                    result: attach_group(&mut probe, group, &mut links),
                });
                let trial = Trial { plan, groups: tried.collect() };
                if let Some(reason) = trial.exhausted() {
                    return Err(TraceError::Descriptors(reason));
                }
                trials.push(trial);
            }
        }
    };
    let trial = trials.last().ok_or_else(|| TraceError::Refused("no source was tried".to_owned()))?;
    let follows = request.follow() && follow(&mut probe, request.config)?;
    let mut missing = trial.missing();
    let planned = links.len();
    missing.extend(attach_denied(&mut probe, &of_denied, &mut links)?);
    missing.extend(unreadable(|field| probe.has(field)));
    let source = EventSource {
        name: trial.plan.name(),
        reason,
        attached: links.iter().map(|(hook, _)| hook.point.to_string()).collect(),
        missing,
        unseen: request.unseen(trial.plan, preemptible),
        cost: hooks::cost(trial.plan, request.compat, links.len() > planned),
    };
    probe.settle();
    Ok(Attached { probe, source, follows, links: links.into_iter().map(|(_, link)| link).collect() })
}

/// Returns an error if this process may not load the probe.
fn permitted() -> Result<(), TraceError> {
    let capabilities = Effective::read().map_err(TraceError::Proc)?;
    let missing = capabilities.missing_to_trace();
    if !missing.is_empty() {
        return Err(TraceError::Capabilities(missing.iter().map(|capability| capability.name()).collect()));
    }
    if has_all_users() { Ok(()) } else { Err(TraceError::UserNamespace) }
}

/// Prepares to follow descendants; returns true if it can search for missing ones.
fn follow(probe: &mut Probe, config: Config) -> Result<bool, TraceError> {
    // A command's descendants are followed from its first task on, and searched for only after a loss.
    if config.follow_pid != 0 {
        return Ok(probe.load_follow().is_ok());
    }
    let refused = |refusal: Refusal| {
        TraceError::Refused(format!("descendants cannot be followed: iter/task: {}", refusal.reason))
    };
    probe.load_follow().and_then(|()| probe.follow_present()).map_err(refused)?;
    Ok(true)
}

/// Attaches the hooks for calls stopped by seccomp, with any plan, and returns the missing data, in words.
fn attach_denied(
    probe: &mut Probe,
    groups: &[Group],
    links: &mut Vec<(Hook, Link)>,
) -> Result<Vec<String>, TraceError> {
    let before = links.len();
    let mut refused: Vec<(String, Refusal)> =
        groups.iter().filter_map(|group| attach_group(probe, group, links).err()).collect();
    if links.len() > before
        && let Err(refusal) = probe.note_present()
    {
        // Without it, calls under way would be mistaken for others.
        links.truncate(before);
        refused.push(("iter/task".to_owned(), refusal));
    }
    if let Some(reason) = refused.iter().find_map(|(_, refusal)| refusal.exhausted()) {
        return Err(TraceError::Descriptors(reason));
    }
    let describe =
        |(hook, refusal): (String, Refusal)| format!("{}: {hook}: {}", Purpose::Denied, refusal.reason);
    Ok(refused.into_iter().map(describe).collect())
}

/// Attaches all hooks of a group, or none.
fn attach_group(
    probe: &mut Probe,
    group: &Group,
    links: &mut Vec<(Hook, Link)>,
) -> Result<(), (String, Refusal)> {
    let before = links.len();
    for hook in &group.hooks {
        match attach_hook(probe, hook, group.fields) {
            Ok(link) => links.push((*hook, link)),
            Err(refusal) => {
                links.truncate(before);
                return Err((hook.point.to_string(), refusal));
            }
        }
    }
    Ok(())
}

/// Attaches a hook whose program requires these `fields`.
fn attach_hook(probe: &mut Probe, hook: &Hook, fields: &[Field]) -> Result<Link, Refusal> {
    let prototype = probe.prototype(hook.point);
    if let (Some(name), None) = (hook.point.function(), prototype) {
        return Err(Refusal::absent(name));
    }
    if let Some(&absent) = fields.iter().find(|&&field| !probe.has(field)) {
        return Err(Refusal::new(format!("this kernel has no {}", FIELDS[absent as usize])));
    }
    if let Some(mismatch) = prototype.and_then(|found| mismatch(hook.point, found)) {
        return Err(Refusal::new(mismatch));
    }
    probe.attach(hook)
}

/// Explains EPERM for a process that has the capabilities.
fn forbidden(error: OpenError, in_tables: bool) -> TraceError {
    match errno_of(&error) {
        // Before 5.11 maps are locked memory of the process.
        Some(libc::EPERM) => match too_low().filter(|_| in_tables) {
            Some(reason) => TraceError::Refused(reason),
            None => TraceError::Forbidden,
        },
        _ => TraceError::Open(error),
    }
}
