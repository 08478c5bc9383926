//! The BPF probe.

use super::Source;
use crate::discover::look::Look;
use crate::kernel::cgroups::Hierarchy;
use crate::kernel::probe::Size;
use crate::kernel::ring::{Counters, Ring};
use crate::kernel::shares::{Losers, has_losers};
use crate::kernel::watches::Watches;
use crate::model::{Crossing, Hooks, Lost, Text};
use crate::trace::TraceError;
use crate::trace::attach::{Attached, attach};
use crate::trace::conditions::Conditions;
use crate::trace::decode;
use crate::trace::hooks::Call;
use crate::trace::losers::Ledger;
use crate::trace::losses::UNWATCHED;
use crate::trace::options::Options;
use crate::trace::record::Told;
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
    /// Whether there is a hierarchy of version 2; when not, every task is at its root, which nobody can see.
    has_cgroups: bool,
    /// Records that were not understood.
    undecoded: u64,
    /// The namespaces that are watched, until somebody keeps account of them; where the probe sees ends.
    watches: Option<Watches>,
    /// When the programs that did not run when they should have were counted.
    recursion_counted: Instant,
    /// Calls of which it was not known whether seccomp had stopped them, for want of room.
    unnoted: u64,
    /// Something was taken since then.
    taken: bool,
    /// Most records that the ring buffer holds.
    capacity: usize,
    finished: bool,
    ring_bytes: usize,
}

/// What is lost of which the probe knows whose it was.
struct LostByOwner {
    losers: Losers,
    ledger: Ledger,
    /// `None` where there are no control groups to tell users apart by.
    groups: Option<Hierarchy>,
    has_groups: bool,
    /// What was counted when it was told last, by [`Counter`].
    told: [u64; Counter::ALL.len()],
    /// When the probe's table was read.
    read: Option<Instant>,
    /// When it is to be read again, because something was lost since.
    due: Option<Instant>,
}

impl LostByOwner {
    /// How often the probe's table is read at most: tenants decide how long it is.
    const PERIOD: Duration = Duration::from_millis(100);

    fn new(losers: Losers, has_groups: bool) -> Self {
        let groups = has_groups.then(Hierarchy::open).flatten();
        let told = [0; Counter::ALL.len()];
        Self { losers, ledger: Ledger::default(), groups, has_groups, told, read: None, due: None }
    }

    /// What was lost since the trace began; nothing, if something is new that is to be told later, unless it is `now` or
    /// never.
    fn news(&mut self, counters: &Counters, now: bool) -> io::Result<Vec<Lost>> {
        let counted = || Counter::ALL.into_iter().filter(|&counter| has_losers(counter));
        let mut is_new = false;
        for counter in counted() {
            is_new |= counters.read(counter)? != self.told[counter as usize];
        }
        self.due = is_new.then(|| self.read.map_or_else(Instant::now, |read| read + Self::PERIOD));
        if !is_new {
            let unchanged = |counter| Lost::at(stage(counter), self.told[counter as usize]);
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
            // After the table: whose are lost are among those that are lost.
            let count = counters.read(counter)?;
            self.told[counter as usize] = count;
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

/// The function that tells the ends of namespaces.
const ENDS: &str = "/proc_free_inum";

/// Bytes of a record in the ring buffer, about.
const RECORD: usize = 1200;

/// For so long the end of a trace waits until the hooks are detached, which goes on after it.
const TO_DETACH: Duration = Duration::from_millis(300);

/// How often the programs that did not run are counted while others do: it costs a file a program.
const PERIOD: Duration = Duration::from_secs(1);

impl ProbeSource {
    /// Attaches what the `options` ask for.
    pub fn open(options: &Options) -> Result<Self, TraceError> {
        if !options.conditions.pids.is_empty() && !is_in_initial_pid_namespace() {
            return Err(TraceError::Refused(OTHER_NUMBERS.to_owned()));
        }
        let own_pid_ns = std::fs::metadata("/proc/self/ns/pid").map_err(TraceError::Proc)?;
        // Without a command none is named: not even the idle task, which has the number 0.
        let named = (!options.command.is_empty()).then(|| own_pid_ns.ino());
        let calls = with_lives(options);
        let flags = [
            (options.every_clone, config::EVERY_CLONE),
            (options.lives, config::LIVES),
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
        let wishes = in_probe(options).ask(&mut settings);
        let compat = options.compat;
        let size = Size { ring_bytes: options.ring_bytes, room: options.room };
        let mut attached = attach(settings, &wishes, options.hooks, &calls, compat, options.denied, size)?;
        let watches =
            (options.lives && sees_ends(&attached.hooks)).then(|| attached.probe.take_watches()).transpose();
        let has_cgroups = has_cgroups()?;
        if !has_cgroups {
            attached.hooks.missing.push("control groups: no hierarchy of version 2 is mounted".to_owned());
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
            has_cgroups,
            undecoded: 0,
            capacity: options.ring_bytes.next_power_of_two() as usize / size_of::<nsprobe_ebpf::Freed>() + 1,
            finished: false,
        })
    }
}

impl Source for ProbeSource {
    fn hooks(&self) -> &Hooks {
        &self.attached.hooks
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

    fn next(&mut self) -> io::Result<Option<Told>> {
        while let Some(record) = self.ring.next(|record| decode::record(record, self.nsfs_dev)) {
            self.taken = true;
            match record {
                Ok(Told::Event(mut event)) if !self.has_cgroups => {
                    event.process.cgroup = None;
                    if let Crossing::Clone { child: Some(child), .. } = &mut event.crossing {
                        child.cgroup = None;
                    }
                    return Ok(Some(Told::Event(event)));
                }
                Ok(told) => return Ok(Some(told)),
                Err(_) => self.undecoded += 1,
            }
        }
        Ok(None)
    }

    fn losses(&mut self) -> io::Result<Vec<Lost>> {
        let mut losses = self.lost.news(&self.counters, self.finished)?;
        for counter in Counter::ALL {
            // Where nobody sees ends, what is watched only piles up.
            let is_told = counter != Counter::NamespacesFull || sees_ends(&self.attached.hooks);
            if is_told && !has_losers(counter) {
                losses.push(Lost::at(stage(counter), self.counters.read(counter)?));
            }
        }
        let unnoted = self.counters.read(Counter::DeniedFull)?;
        if unnoted > self.unnoted {
            self.unnoted = unnoted;
            // There may be room again; if not, this comes again.
            self.attached.probe.note_again().map_err(|refusal| io::Error::other(refusal.reason))?;
        }
        if self.finished || self.taken && self.recursion_counted.elapsed() >= PERIOD {
            self.recursion_counted = Instant::now();
            self.taken = false;
            losses.push(Lost::at("recursion", self.attached.probe.recursion_misses()));
        }
        losses.push(Lost::at("decode", self.undecoded));
        Ok(losses)
    }

    fn finish(&mut self) -> io::Result<usize> {
        self.finished = true;
        // It is in the ring by now; what comes later is not waited for.
        Ok(self.capacity)
    }

    fn stop(&mut self) {
        self.attached.detach(TO_DETACH);
    }
}

/// Why processes cannot be named where nsprobe does not run in the initial pid namespace: the numbers there are those of
/// others here.
const OTHER_NUMBERS: &str = "--pid: the probe knows processes by their numbers in the initial pid namespace, and nsprobe \
    is not in it, as far as its /proc shows: run on the host, or with --hooks perf, which takes the numbers of its own";

fn is_in_initial_pid_namespace() -> bool {
    Look::open().is_ok_and(|look| look.has_own_numbers() && look.is_of_whole_machine())
}

/// The calls that are asked for, and those that make or join namespaces where their lives are.
fn with_lives(options: &Options) -> Vec<Call> {
    let mut calls = options.calls.clone();
    for call in [Call::Clone, Call::Unshare, Call::Setns] {
        if options.lives && !calls.contains(&call) {
            calls.push(call);
        }
    }
    calls
}

/// What the probe is to decide by. The account of lives needs events whether they are asked for or not; of control groups
/// the probe says then which callers are in those asked for.
fn in_probe(options: &Options) -> Conditions {
    let all = &options.conditions;
    if options.lives {
        let pids = if all.follow { all.pids.clone() } else { Vec::new() };
        let cgroups = all.cgroups.clone();
        return Conditions { pids, follow: all.follow, cgroups, ..Conditions::default() };
    }
    all.clone()
}

/// Whether it sees when namespaces end.
fn sees_ends(hooks: &Hooks) -> bool {
    hooks.attached.iter().any(|hook| hook.ends_with(ENDS))
}

/// The counter's name in the output.
const fn stage(counter: Counter) -> &'static str {
    match counter {
        Counter::RingFull => "ring_full",
        Counter::PendingFull => "pending_full",
        Counter::FollowFull => "follow_full",
        Counter::NamespacesFull => UNWATCHED,
        Counter::DeniedFull => "denied_full",
        Counter::DeniedUnread => "denied_unread",
        Counter::Share => "share",
        Counter::CallsFull => "calls_full",
    }
}

/// Whether a hierarchy of control groups of version 2 has ever been mounted: cgroups(7).
fn has_cgroups() -> Result<bool, TraceError> {
    let text = std::fs::read("/proc/self/cgroup").map_err(TraceError::Proc)?;
    Ok(text.split(|&byte| byte == b'\n').any(|line| line.starts_with(b"0::")))
}
