//! The BPF probe.

use super::Source;
use crate::discover::proc_reader::ProcReader;
use crate::kernel::cgroups::{self, Hierarchy};
use crate::kernel::probe::Size;
use crate::kernel::ring::{Counters, Ring};
use crate::kernel::shares::{Losers, has_losers};
use crate::kernel::watches::Watches;
use crate::model::{EventSource, Lost, Stage, Text};
use crate::trace::TraceError;
use crate::trace::attach::{AttachRequest, Attached, attach};
use crate::trace::conditions::Conditions;
use crate::trace::decode;
use crate::trace::hooks::Call;
use crate::trace::losers::Ledger;
use crate::trace::options::Options;
use crate::trace::record::SourceItem;
use nsprobe_ebpf::{Config, Counter, config};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

/// The probe, attached, with its ring buffer and its counters.
pub struct ProbeSource {
    attached: Attached,
    ring: Ring,
    counters: Counters,
    lost: LostByOwner,
    nsfs_dev: u64,
    /// The number of records that could not be decoded.
    undecoded: u64,
    /// The watched namespaces, until the tracker takes them; if the probe sees ends.
    watches: Option<Watches>,
    /// The time when missed program runs were last counted.
    recursion_counted: Instant,
    /// Calls for which it was unknown if seccomp had stopped them, for lack of room.
    unnoted: u64,
    /// True if a record was taken since then.
    taken: bool,
    /// The maximum number of records in the ring buffer.
    capacity: usize,
    finished: bool,
    ring_bytes: usize,
}

/// Losses for which the probe knows the owners.
struct LostByOwner {
    losers: Losers,
    ledger: Ledger,
    /// `None` without control groups to tell users apart by.
    groups: Option<Hierarchy>,
    has_groups: bool,
    /// The counts last reported, by [`Counter`].
    reported: [u64; Counter::ALL.len()],
    /// The time when the probe's table was read.
    read: Option<Instant>,
    /// The time to read it again, because of losses since.
    due: Option<Instant>,
}

impl LostByOwner {
    /// The minimum interval between reads of the probe's table: tenants decide how long it is.
    const PERIOD: Duration = Duration::from_millis(100);

    fn new(losers: Losers, has_groups: bool) -> Self {
        let groups = has_groups.then(Hierarchy::open).flatten();
        let reported = [0; Counter::ALL.len()];
        Self { losers, ledger: Ledger::default(), groups, has_groups, reported, read: None, due: None }
    }

    /// The losses since the trace began; empty if there are new ones to be reported later, unless `now`.
    fn news(&mut self, counters: &Counters, now: bool) -> io::Result<Vec<Lost>> {
        let counted = || Counter::ALL.into_iter().filter(|&counter| has_losers(counter));
        let mut is_new = false;
        for counter in counted() {
            is_new |= counters.read(counter)? != self.reported[counter as usize];
        }
        self.due = is_new.then(|| self.read.map_or_else(Instant::now, |read| read + Self::PERIOD));
        if !is_new {
            let unchanged = |counter| Lost::at(stage(counter), self.reported[counter as usize]);
            return Ok(counted().map(unchanged).collect());
        }
        if !now && self.due.is_some_and(|due| due > Instant::now()) {
            return Ok(Vec::new());
        }
        self.due = None;
        self.read = Some(Instant::now());
        for stale in self.ledger.take(&self.losers.all()?) {
            self.losers.remove(stale);
        }
        let mut losses = Vec::new();
        for counter in counted() {
            // Read after the table: the owners' losses are included in the count.
            let count = counters.read(counter)?;
            self.reported[counter as usize] = count;
            let path = |id| self.groups.as_ref()?.path(id).map(Text::from);
            let mut owners = self.ledger.owners(counter as u32, path);
            if !self.has_groups {
                for owner in &mut owners {
                    owner.cgroup = None;
                }
            }
            losses.push(Lost { stage: stage(counter), count, owners });
        }
        Ok(losses)
    }
}

/// The function that shows the ends of namespaces.
const END_FUNCTION: &str = "/proc_free_inum";

/// The approximate size of a record in the ring buffer, in bytes.
const RECORD: usize = 1200;

/// The maximum wait at the end of a trace for the hooks to be detached, which continues after it.
const TO_DETACH: Duration = Duration::from_millis(300);

/// The minimum interval between counts of missed program runs: a count reads a file per program.
const PERIOD: Duration = Duration::from_secs(1);

impl ProbeSource {
    /// Attaches the hooks for the `options`.
    pub fn open(options: &Options) -> Result<Self, TraceError> {
        if !options.conditions.pids.is_empty() && !is_in_initial_pid_namespace() {
            return Err(TraceError::Refused(FOREIGN_PIDS.to_owned()));
        }
        let own_pid_ns = std::fs::metadata("/proc/self/ns/pid").map_err(TraceError::Proc)?;
        // Without a command no process is named: not even the idle task, which has pid 0.
        let named = (!options.command.is_empty()).then(|| own_pid_ns.ino());
        let calls = with_lifecycle_calls(options);
        let flags = [
            (options.every_clone, config::EVERY_CLONE),
            (options.lifecycle, config::LIFECYCLE),
            (options.unchanged, config::UNCHANGED),
            (!options.command.is_empty(), config::FOLLOW),
            (!calls.contains(&Call::Clone), config::NO_CLONE),
        ];
        let mut settings = Config {
            flags: flags.into_iter().filter_map(|(wanted, flag)| wanted.then_some(flag)).sum(),
            follow_pid: named.map_or(0, |_| std::process::id()),
            follow_pid_ns: u32::try_from(named.unwrap_or(0)).map_err(io::Error::other)?,
            ..Config::default()
        };
        let keys = probe_conditions(options).configure(&mut settings);
        let mut attached = attach(&AttachRequest {
            config: settings,
            keys: &keys,
            choice: options.source,
            calls: &calls,
            compat: options.compat,
            denied: options.denied,
            size: Size { ring_bytes: options.ring_bytes, room: options.room },
        })?;
        let watches = (options.lifecycle && sees_ends(&attached.source))
            .then(|| attached.probe.take_watches())
            .transpose();
        let has_cgroups = cgroups::is_hierarchy_mounted().map_err(TraceError::Proc)?;
        if !has_cgroups {
            attached.source.missing.push("control groups: no hierarchy of version 2 is mounted".to_owned());
        }
        Ok(Self {
            ring: attached.probe.take_ring().map_err(TraceError::Open)?,
            counters: attached.probe.take_counters().map_err(TraceError::Open)?,
            lost: LostByOwner::new(attached.probe.take_losers().map_err(TraceError::Open)?, has_cgroups),
            watches: watches.map_err(TraceError::Open)?,
            recursion_counted: Instant::now(),
            unnoted: 0,
            taken: false,
            ring_bytes: options.ring_bytes.next_power_of_two() as usize,
            attached,
            nsfs_dev: own_pid_ns.dev(),
            undecoded: 0,
            capacity: options.ring_bytes.next_power_of_two() as usize / size_of::<nsprobe_ebpf::Freed>() + 1,
            finished: false,
        })
    }
}

impl Source for ProbeSource {
    fn description(&self) -> &EventSource {
        &self.attached.source
    }

    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.ring.as_fd()]
    }

    fn due(&self) -> Option<Instant> {
        self.lost.due
    }

    fn room(&self) -> usize {
        self.ring_bytes / RECORD
    }

    fn follows(&self) -> bool {
        self.attached.follows
    }

    fn follow_present(&mut self) -> io::Result<u64> {
        self.attached.probe.follow_present().map_err(|refusal| io::Error::other(refusal.reason))
    }

    fn take_watches(&mut self) -> Option<Watches> {
        self.watches.take()
    }

    fn next(&mut self) -> io::Result<Option<SourceItem>> {
        while let Some(record) = self.ring.next(|record| decode::record(record, self.nsfs_dev)) {
            self.taken = true;
            match record {
                Ok(item) => return Ok(Some(item)),
                Err(_) => self.undecoded += 1,
            }
        }
        Ok(None)
    }

    fn losses(&mut self) -> io::Result<Vec<Lost>> {
        let mut losses = self.lost.news(&self.counters, self.finished)?;
        for counter in Counter::ALL {
            // If nobody sees ends, watched namespaces only pile up.
            let is_reported = counter != Counter::NamespacesFull || sees_ends(&self.attached.source);
            if is_reported && !has_losers(counter) {
                losses.push(Lost::at(stage(counter), self.counters.read(counter)?));
            }
        }
        let unnoted = self.counters.read(Counter::DeniedFull)?;
        if unnoted > self.unnoted {
            self.unnoted = unnoted;
            // There may be room again; if not, this is repeated.
            self.attached.probe.note_again().map_err(|refusal| io::Error::other(refusal.reason))?;
        }
        if self.finished || self.taken && self.recursion_counted.elapsed() >= PERIOD {
            self.recursion_counted = Instant::now();
            self.taken = false;
            losses.push(Lost::at(Stage::Recursion, self.attached.probe.recursion_misses()));
        }
        losses.push(Lost::at(Stage::Decode, self.undecoded));
        Ok(losses)
    }

    fn finish(&mut self) -> io::Result<usize> {
        self.finished = true;
        // Everything until now is in the ring by now; later records are ignored.
        Ok(self.capacity)
    }

    fn stop(&mut self) {
        self.attached.detach(TO_DETACH);
    }
}

/// The error if processes are named but nsprobe does not run in the initial pid namespace: its pids there are those of
/// other processes.
const FOREIGN_PIDS: &str = "--pid: the probe needs pids of the initial pid namespace, and nsprobe is not in it, \
    as far as its /proc shows: run on the host, or with --source perf, which takes pids of nsprobe's own";

fn is_in_initial_pid_namespace() -> bool {
    ProcReader::open().is_ok_and(|reader| reader.has_own_pids() && reader.is_of_whole_machine())
}

/// The requested calls, and those that create or join namespaces if their lifecycle is requested.
fn with_lifecycle_calls(options: &Options) -> Vec<Call> {
    let mut calls = options.calls.clone();
    for call in [Call::Clone, Call::Unshare, Call::Setns] {
        if options.lifecycle && !calls.contains(&call) {
            calls.push(call);
        }
    }
    calls
}

/// The conditions for the probe. The namespace tracker needs all events, requested or not; the probe then marks the
/// callers in the requested control groups.
fn probe_conditions(options: &Options) -> Conditions {
    let all = &options.conditions;
    if options.lifecycle {
        let pids = if all.follow { all.pids.clone() } else { Vec::new() };
        let cgroups = all.cgroups.clone();
        return Conditions { pids, follow: all.follow, cgroups, ..Conditions::default() };
    }
    all.clone()
}

/// True if the probe sees the ends of namespaces.
fn sees_ends(source: &EventSource) -> bool {
    source.attached.iter().any(|hook| hook.ends_with(END_FUNCTION))
}

/// The stage that the counter is for.
const fn stage(counter: Counter) -> Stage {
    match counter {
        Counter::RingFull => Stage::RingFull,
        Counter::PendingFull => Stage::PendingFull,
        Counter::FollowFull => Stage::FollowFull,
        Counter::NamespacesFull => Stage::NamespacesFull,
        Counter::DeniedFull => Stage::DeniedFull,
        Counter::DeniedUnread => Stage::DeniedUnread,
        Counter::Share => Stage::Share,
        Counter::CallsFull => Stage::CallsFull,
    }
}
