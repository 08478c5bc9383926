//! Records of perf_event_open(2): every new task, and every successful unshare and setns, with the namespaces of seven
//! kinds. Without BPF.

pub mod record;
pub mod table;

use super::{Source, Told};
use crate::discover::look::Look;
use crate::kernel::advice::{exhausted, how_to_get_them, remedy};
use crate::kernel::capabilities::Capability;
use crate::kernel::clock::BootClock;
use crate::kernel::sideband::{Sideband, online, page_size};
use crate::model::{Actor, CloneChild, Crossing, Event, Hooks, Lost, Outcome};
use crate::trace::TraceError;
use crate::trace::decode;
use crate::trace::hooks::{Call, Plan};
use crate::trace::session::Options;
use nix::errno::Errno;
use record::{Record, What};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::{Duration, Instant};
use table::{Seen, Table};

/// For so long nobody is woken after records have come: a busy machine makes some thousands a second, most of which
/// are of tasks that begin and end.
const PAUSE: Duration = Duration::from_millis(2);

/// The records of all CPUs, in the order of their times.
pub struct PerfSource {
    cpus: Vec<Sideband>,
    clock: BootClock,
    look: Look,
    table: Table,
    hooks: Hooks,
    /// What happened until then is not told.
    begun: Duration,
    options: Options,
    /// Whether `/proc` has the numbers that the records have.
    own_numbers: bool,
    /// Not read yet.
    bytes: Vec<u8>,
    /// Later than the moment up to which all CPUs have been read.
    held: Vec<Record>,
    /// In order.
    ready: VecDeque<Record>,
    /// Until when nobody waits for records, because there have just been some.
    pause: Option<Instant>,
    undecoded: u64,
    lost: u64,
    /// Records may have been lost: the table is to be filled anew.
    stale: bool,
    finished: bool,
}

impl PerfSource {
    /// Opens a buffer on every CPU, and then reads from `/proc` what there was before.
    pub fn open(options: &Options, reason: String) -> Result<Self, TraceError> {
        let clock = BootClock::read()?;
        let look = Look::open().map_err(|error| TraceError::Proc(io::Error::other(error)))?;
        let cpus = open_all(options.ring_bytes)?;
        let own_numbers = look.has_own_numbers();
        let mut missing = Vec::new();
        if !look.is_of_whole_machine() {
            missing
                .push("tasks outside of nsprobe's own pid namespace, whose process ids these are".to_owned());
        }
        if !own_numbers {
            missing.push("what is read from /proc, which is mounted for another pid namespace".to_owned());
        }
        let mut source = Self {
            cpus,
            clock,
            look,
            table: Table::new((!options.command.is_empty()).then(std::process::id)),
            hooks: Hooks {
                plan: Plan::Perf.name(),
                reason,
                attached: ["perf/namespaces", "perf/task", "perf/comm"].map(str::to_owned).into(),
                missing,
                unseen: unseen(options),
                cost: None,
            },
            begun: Duration::ZERO,
            options: options.clone(),
            own_numbers,
            bytes: Vec::new(),
            held: Vec::new(),
            ready: VecDeque::new(),
            pause: None,
            undecoded: 0,
            lost: 0,
            stale: false,
            finished: false,
        };
        source.fill()?;
        source.begun = source.clock.since_boot()?;
        Ok(source)
    }

    fn fill(&mut self) -> io::Result<()> {
        if self.own_numbers {
            let threads = self.look.threads()?;
            self.table.fill(threads, self.clock.since_boot()?);
        }
        Ok(())
    }

    /// Takes what the buffers have. All that one task did is in order then, and what it led others to do after it: each
    /// writes its own records before it goes on, so what is older than this reading has been read, and the rest waits.
    fn refill(&mut self) -> io::Result<()> {
        let now = self.clock.since_boot()?;
        let held = self.held.len();
        for cpu in &mut self.cpus {
            self.bytes.clear();
            if cpu.take(&mut self.bytes) {
                self.stale = true;
            }
            for record in record::records(&self.bytes) {
                match record {
                    Ok(Record { what: What::Lost(count), .. }) => {
                        self.lost += count;
                        self.stale = true;
                    }
                    Ok(record) => self.held.push(record),
                    Err(record::Broken) => {
                        self.undecoded += 1;
                        self.stale = true;
                    }
                }
            }
        }
        if self.held.len() > held {
            self.pause = Some(Instant::now() + PAUSE);
        }
        if self.stale {
            self.table.doubt();
        }
        self.held.sort_by_key(|record| record.time);
        let until = self.held.partition_point(|record| record.time <= now || self.finished);
        self.ready.extend(self.held.drain(..until));
        Ok(())
    }

    /// The event that is to be told of a record, if one is.
    fn event(&mut self, record: Record) -> Option<Event> {
        let time = record.time;
        let seen = self.table.take(record)?;
        if time <= self.begun || !self.options.command.is_empty() && !seen.followed {
            return None;
        }
        let Seen { task, comm, child, before, after, .. } = seen;
        let (crossing, outcome) = match child {
            Some(child) => {
                let (pid, tid) = (child.pid, child.tid);
                let made = self.actor(pid, tid, time).unwrap_or_else(|| Actor::new(pid, tid));
                let child = CloneChild { pid, tid, pids: made.pids, ppid: made.ppid, cgroup: None };
                // Both are numbered from nsprobe's own pid namespace inwards.
                let caller = self.actor(task.pid, task.tid, time).map(|actor| actor.pids).unwrap_or_default();
                let outcome = match caller[..] {
                    [_] => Outcome::Success(tid.into()),
                    _ => decode::returned(&child, &caller),
                };
                (Crossing::Clone { flags: None, child: Some(child) }, outcome)
            }
            None => (Crossing::Change { looks: None }, Outcome::Unseen),
        };
        let mut event = Event {
            since_boot: time,
            duration: None,
            process: Actor::new(task.pid, task.tid),
            crossing,
            compat: None,
            outcome,
            before,
            after,
            marks: None,
            seen: None,
            denied: false,
            root: None,
            cwd: None,
        };
        let all = if child.is_some() { self.options.every_clone } else { self.options.unchanged };
        // Where nothing is known of before, a call that succeeded is told.
        let is_known = before.iter().any(|(_, id)| id.is_some());
        if !all && event.changed().next().is_none() && (child.is_some() || is_known) {
            return None;
        }
        event.process = self.actor(task.pid, task.tid, time).unwrap_or(event.process);
        if !comm.is_empty() {
            event.process.comm = comm;
        }
        Some(event)
    }

    /// What `/proc` says of a task now; `None` when that is another by then.
    fn actor(&self, pid: u32, tid: u32, time: Duration) -> Option<Actor> {
        let actor = self.own_numbers.then(|| self.look.actor(pid, tid).ok())??;
        let started = Duration::from_millis(actor.start_ticks?.saturating_mul(10));
        (started <= time).then_some(actor)
    }
}

impl Source for PerfSource {
    fn hooks(&self) -> &Hooks {
        &self.hooks
    }

    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let is_pausing = self.pause.is_some_and(|until| Instant::now() < until);
        if is_pausing { Vec::new() } else { self.cpus.iter().map(|cpu| cpu.as_fd()).collect() }
    }

    fn due(&self) -> Option<Instant> {
        let is_waiting = !self.ready.is_empty() || !self.held.is_empty();
        if is_waiting { Some(Instant::now()) } else { self.pause.filter(|&until| Instant::now() < until) }
    }

    fn room(&self) -> usize {
        self.cpus.iter().map(Sideband::room).sum()
    }

    fn next(&mut self) -> io::Result<Option<Told>> {
        if self.ready.is_empty() && !self.finished {
            if std::mem::take(&mut self.stale) {
                self.fill()?;
            }
            self.refill()?;
        }
        while let Some(record) = self.ready.pop_front() {
            if let Some(event) = self.event(record) {
                return Ok(Some(Told::Event(Box::new(event))));
            }
        }
        Ok(None)
    }

    fn losses(&mut self) -> io::Result<Vec<Lost>> {
        if self.finished {
            // Records say it with the next that finds room; there may be none any more.
            let counted: u64 = self.cpus.iter().filter_map(Sideband::lost).sum();
            self.lost = self.lost.max(counted);
        }
        Ok(vec![Lost::at("perf_ring_full", self.lost), Lost::at("decode", self.undecoded)])
    }

    fn finish(&mut self) -> io::Result<usize> {
        self.finished = true;
        self.refill()?;
        Ok(self.ready.len())
    }
}

/// Opens all CPUs, with `bytes` for all of them together; less where so much may not be locked in memory.
fn open_all(bytes: u32) -> Result<Vec<Sideband>, TraceError> {
    let refused =
        |error: io::Error| TraceError::Refused(format!("this kernel refuses the plan `perf`: {error}"));
    let online = online().map_err(refused)?;
    let mut each = (bytes as usize / online.len().max(1)).next_power_of_two().max(page_size());
    loop {
        let mut cpus = Vec::with_capacity(online.len());
        let opened = online.iter().try_for_each(|&cpu| match Sideband::open(cpu, each) {
            Ok(sideband) => {
                cpus.push(sideband);
                Ok(())
            }
            // It went offline just now.
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
            Err(error) => Err(error),
        });
        match opened {
            Ok(()) => return Ok(cpus),
            Err(error) if error.raw_os_error() == Some(libc::EPERM) && each > page_size() => each /= 2,
            Err(error) => {
                if let Some(exhausted) = exhausted(&error) {
                    return Err(TraceError::Refused(exhausted));
                }
                let errno = error.raw_os_error().map(Errno::from_raw);
                return Err(TraceError::Refused(match errno {
                    Some(errno @ (Errno::EACCES | Errno::EPERM)) => format!(
                        "this kernel refuses the plan `perf`: {errno:?}: {}",
                        match remedy(&[Capability::SysAdmin]) {
                            Some(_) => format!(
                                "it needs CAP_PERFMON, or CAP_SYS_ADMIN (before Linux 5.8, and of some kernels where \
                                 kernel.perf_event_paranoid is 3): {}",
                                how_to_get_them()
                            ),
                            None => "a seccomp filter or a security module forbids it".to_owned(),
                        }
                    ),
                    _ => format!("this kernel refuses the plan `perf`: {error}"),
                }));
            }
        }
    }
}

/// What no record tells, in words.
fn unseen(options: &Options) -> Vec<String> {
    let mut unseen = vec![
        "whether a change is by unshare or setns, arguments, targets, how long calls took, and whether they are 32-bit: \
         they are `change`"
            .to_owned(),
        "calls that fail".to_owned(),
        "time namespaces, and those for children".to_owned(),
        "what callers are, but for their names, when they have gone before /proc is read".to_owned(),
        "control groups".to_owned(),
        "what happens on processors that come online later".to_owned(),
    ];
    if options.calls.contains(&Call::Chroot) || options.calls.contains(&Call::PivotRoot) {
        unseen.push("chroot and pivot_root, and root and working directories".to_owned());
    }
    if options.lives {
        unseen.push("which calls make namespaces, and when they end".to_owned());
    }
    unseen.extend(super::undecided(&options.conditions));
    unseen
}
