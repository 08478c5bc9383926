//! The BPF probe.

use super::{Source, Told};
use crate::discover::look::Look;
use crate::kernel::ring::{Counters, Ring};
use crate::kernel::watches::Watches;
use crate::model::{Hooks, Lost};
use crate::trace::TraceError;
use crate::trace::account;
use crate::trace::attach::{Attached, attach};
use crate::trace::conditions::Conditions;
use crate::trace::decode;
use crate::trace::hooks::Call;
use crate::trace::session::Options;
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
    nsfs_dev: u64,
    /// Whether there is a hierarchy of version 2; when not, every task is at its root, which nobody can see.
    has_cgroups: bool,
    /// Records that were not understood.
    undecoded: u64,
    /// The namespaces that are watched, until somebody keeps account of them; where the probe sees ends.
    watches: Option<Watches>,
    /// When the programs that did not run when they should have were counted.
    recursion_counted: Instant,
    /// Something was taken since then.
    taken: bool,
    /// Most records that the ring buffer holds.
    capacity: usize,
    finished: bool,
    ring_bytes: usize,
}

/// The hook that tells the ends of namespaces.
const ENDS: &str = "fentry/proc_free_inum";

/// Bytes of a record in the ring buffer, about.
const RECORD: usize = 1200;

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
        let mut attached =
            attach(settings, &wishes, options.hooks, &calls, compat, options.denied, options.ring_bytes)?;
        let watches =
            (options.lives && sees_ends(&attached.hooks)).then(|| attached.probe.take_watches()).transpose();
        let has_cgroups = has_cgroups()?;
        if !has_cgroups {
            attached.hooks.missing.push("control groups: no hierarchy of version 2 is mounted".to_owned());
        }
        Ok(Self {
            ring: attached.probe.take_ring().map_err(TraceError::Open)?,
            counters: attached.probe.take_counters().map_err(TraceError::Open)?,
            watches: watches.map_err(TraceError::Open)?,
            recursion_counted: Instant::now(),
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
                    return Ok(Some(Told::Event(event)));
                }
                Ok(told) => return Ok(Some(told)),
                Err(_) => self.undecoded += 1,
            }
        }
        Ok(None)
    }

    fn losses(&mut self) -> io::Result<Vec<Lost>> {
        let mut losses = Vec::new();
        for counter in Counter::ALL {
            // Where nobody sees ends, what is watched only piles up.
            if counter != Counter::NamespacesFull || sees_ends(&self.attached.hooks) {
                losses.push(Lost { stage: stage(counter), count: self.counters.read(counter)? });
            }
        }
        if self.finished || self.taken && self.recursion_counted.elapsed() >= PERIOD {
            self.recursion_counted = Instant::now();
            self.taken = false;
            losses.push(Lost { stage: "recursion", count: self.attached.probe.recursion_misses() });
        }
        losses.push(Lost { stage: "decode", count: self.undecoded });
        Ok(losses)
    }

    fn finish(&mut self) -> io::Result<usize> {
        self.finished = true;
        // It is in the ring by now; what comes later is not waited for.
        Ok(self.capacity)
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
    hooks.attached.iter().any(|hook| hook == ENDS)
}

/// The counter's name in the output.
const fn stage(counter: Counter) -> &'static str {
    match counter {
        Counter::RingFull => "ring_full",
        Counter::PendingFull => "pending_full",
        Counter::FollowFull => "follow_full",
        Counter::NamespacesFull => account::UNWATCHED,
        Counter::DeniedFull => "denied_full",
        Counter::DeniedUnread => "denied_unread",
    }
}

/// Whether a hierarchy of control groups of version 2 has ever been mounted: cgroups(7).
fn has_cgroups() -> Result<bool, TraceError> {
    let text = std::fs::read("/proc/self/cgroup").map_err(TraceError::Proc)?;
    Ok(text.split(|&byte| byte == b'\n').any(|line| line.starts_with(b"0::")))
}
