//! Records of perf_event_open(2): every new task, and every successful unshare and setns, with the namespaces of seven
//! kinds. Without BPF.

mod buffers;
pub mod record;
pub mod table;

use super::{AT_END, MOMENT, Source, no_proc};
use crate::discover::proc_reader::{ProcReader, Thread};
use crate::kernel::bounded::Reading;
use crate::kernel::clock::BootClock;
use crate::kernel::sideband::Sideband;
use crate::model::{Caller, CloneChild, Event, EventSource, Lost, Operation, Outcome, Stage};
use crate::trace::TraceError;
use crate::trace::decode;
use crate::trace::hooks::{Call, Plan};
use crate::trace::options::Options;
use crate::trace::record::SourceItem;
use record::{Record, Task, What};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::{Duration, Instant};
use table::{Seen, Table};

/// The time for which nobody is woken after records have arrived: a busy machine writes some thousands per second,
/// mostly of tasks that begin and end.
const PAUSE: Duration = Duration::from_millis(2);

/// The number of records taken at once.
const BATCH: usize = 256;

/// The maximum number of records taken from the buffers while `/proc` is being read.
const MOST_READY: usize = 1 << 16;

/// The read of `/proc` under way, by other threads: a process may block them.
enum Step {
    /// Nothing.
    Idle,
    /// All tasks.
    Filling(Reading<Vec<Thread>>),
    /// The callers and children of these events.
    Querying(Reading<io::Result<Caller>>, Vec<Event>),
}

/// The records of all CPUs, in the order of their times.
pub struct PerfSource {
    cpus: Vec<Sideband>,
    clock: BootClock,
    reader: ProcReader,
    table: Table,
    description: EventSource,
    /// The start: earlier events are not reported.
    begun: Duration,
    options: Options,
    /// True if `/proc` has the same pids as the records.
    own_pids: bool,
    /// Buffer for unparsed records.
    bytes: Vec<u8>,
    /// Records later than the time up to which all CPUs have been read.
    held: Vec<Record>,
    /// Records in order.
    ready: VecDeque<Record>,
    /// The read of `/proc` under way.
    step: Step,
    /// Complete events.
    complete: VecDeque<Event>,
    /// The deadline for `/proc`, at the end.
    limit: Option<Instant>,
    /// The time until which nobody waits for records, because some have just arrived.
    pause: Option<Instant>,
    undecoded: u64,
    lost: u64,
    /// True if records may have been lost: the table has to be read again.
    stale: bool,
    finished: bool,
}

impl PerfSource {
    /// Opens a buffer on every CPU, and closes all of them. Reads nothing from `/proc`, where processes may block
    /// readers.
    pub fn check(ring_bytes: u32) -> Result<(), TraceError> {
        buffers::open_all(ring_bytes).map(drop)
    }

    /// Opens a buffer on every CPU, and then reads the existing tasks from `/proc`.
    pub fn open(options: &Options, reason: String) -> Result<Self, TraceError> {
        let clock = BootClock::read()?;
        let reader = ProcReader::open().map_err(no_proc)?;
        let cpus = buffers::open_all(options.ring_bytes)?;
        let own_pids = reader.has_own_pids();
        let mut missing = Vec::new();
        if !own_pids || !reader.is_of_whole_machine() {
            missing.push("tasks outside of nsprobe's own pid namespace, whose pids these are".to_owned());
        }
        if !own_pids {
            missing.push("data from /proc, which is mounted for another pid namespace".to_owned());
        }
        let mut source = Self {
            cpus,
            clock,
            reader,
            table: Table::new((!options.command.is_empty()).then(std::process::id)),
            description: EventSource {
                name: Plan::Perf.name(),
                reason,
                attached: ["perf/namespaces", "perf/task", "perf/comm"].map(str::to_owned).into(),
                missing,
                unseen: unseen(options),
                cost: None,
            },
            begun: Duration::ZERO,
            options: options.clone(),
            own_pids,
            bytes: Vec::new(),
            held: Vec::new(),
            ready: VecDeque::new(),
            step: Step::Idle,
            complete: VecDeque::new(),
            limit: None,
            pause: None,
            undecoded: 0,
            lost: 0,
            stale: false,
            finished: false,
        };
        source.begin_to_fill()?;
        while matches!(source.step, Step::Filling(_)) {
            source.go_on()?;
        }
        source.begun = source.clock.since_boot()?;
        Ok(source)
    }

    fn begin_to_fill(&mut self) -> io::Result<()> {
        if self.own_pids {
            self.step = Step::Filling(self.reader.threads()?);
        }
        Ok(())
    }

    /// Continues the read under way, or takes the next records: until there are events, or nothing to do. Empties the
    /// buffers meanwhile.
    fn go_on(&mut self) -> io::Result<()> {
        while self.complete.is_empty() {
            let is_late = self.limit.is_some_and(|limit| limit <= Instant::now());
            match std::mem::replace(&mut self.step, Step::Idle) {
                Step::Filling(mut reading) => {
                    if !reading.wait(MOMENT) && !is_late {
                        self.step = Step::Filling(reading);
                        return self.refill();
                    }
                    // Those of a process that does not answer are unknown.
                    let threads = reading.take().into_iter().flatten().flatten().collect();
                    self.table.fill(threads, self.clock.since_boot()?);
                }
                Step::Querying(mut reading, drafts) => {
                    if !reading.wait(MOMENT) && !is_late {
                        self.step = Step::Querying(reading, drafts);
                        return self.refill();
                    }
                    let callers = reading.take().into_iter().map(|caller| caller.ok()?.ok()).collect();
                    self.complete_events(drafts, callers);
                }
                Step::Idle => {
                    if self.ready.is_empty() && !self.finished {
                        if std::mem::take(&mut self.stale) {
                            self.begin_to_fill()?;
                            continue;
                        }
                        self.refill()?;
                    }
                    let records: Vec<Record> = self.ready.drain(..self.ready.len().min(BATCH)).collect();
                    if records.is_empty() {
                        return Ok(());
                    }
                    let drafts: Vec<Event> =
                        records.into_iter().filter_map(|record| self.draft(record)).collect();
                    if self.own_pids {
                        let wanted = drafts.iter().flat_map(tasks).collect();
                        self.step = Step::Querying(self.reader.callers(wanted), drafts);
                    } else {
                        self.complete_events(drafts, Vec::new());
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes the contents of the buffers. Records of a task, and of tasks that acted because of it, are in order then:
    /// each writes its records before it continues, so all older than this read are there; the rest is held back.
    fn refill(&mut self) -> io::Result<()> {
        // The buffers count the records without room.
        if self.ready.len() + self.held.len() >= MOST_READY {
            return Ok(());
        }
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
            self.table.invalidate();
        }
        self.held.sort_by_key(|record| record.time);
        let until = self.held.partition_point(|record| record.time <= now || self.finished);
        self.ready.extend(self.held.drain(..until));
        Ok(())
    }

    /// Returns the event to report for a record, if there is one, without the data from `/proc`.
    fn draft(&mut self, record: Record) -> Option<Event> {
        let time = record.time;
        let seen = self.table.take(record)?;
        if time <= self.begun || !self.options.command.is_empty() && !seen.followed {
            return None;
        }
        let Seen { task, comm, child, before, after, .. } = seen;
        let (operation, outcome) = match child {
            Some(Task { pid, tid }) => {
                let child = CloneChild { pid, tid, pids: Vec::new(), ppid: None, cgroup: None };
                (Operation::Clone { flags: None, child: Some(child) }, Outcome::Success(tid.into()))
            }
            None => (Operation::Change { scans: None }, Outcome::Unseen),
        };
        let event = Event {
            since_boot: time,
            duration: None,
            process: Caller { comm, ..Caller::new(task.pid, task.tid) },
            operation,
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
        // If nothing is known of the state before, a successful call is reported.
        let is_known = before.iter().any(|(_, id)| id.is_some());
        let is_reported = all || event.changed().next().is_some() || child.is_none() && !is_known;
        is_reported.then_some(event)
    }

    /// Completes events with the data from `/proc` about their tasks, in this order, and queues them.
    fn complete_events(&mut self, drafts: Vec<Event>, callers: Vec<Option<Caller>>) {
        let mut callers = callers.into_iter();
        for mut event in drafts {
            let time = event.since_boot;
            // The pid may have been reused by then.
            let mut next = || callers.next().flatten().filter(|caller| has_begun(caller, time));
            let caller = next();
            if let Operation::Clone { child: Some(child), .. } = &mut event.operation {
                if let Some(made) = next() {
                    (child.pids, child.ppid) = (made.pids, made.ppid);
                }
                // Both lists of pids begin with nsprobe's own pid namespace.
                let pids = caller.as_ref().map(|caller| caller.pids.as_slice()).unwrap_or_default();
                if !matches!(pids, [_]) {
                    event.outcome = decode::returned(child, pids);
                }
            }
            if let Some(caller) = caller {
                let comm = std::mem::take(&mut event.process.comm);
                event.process = Caller { comm, ..caller };
            }
            self.complete.push_back(event);
        }
    }
}

/// The tasks of an event: its caller, and its child if it has one.
fn tasks(event: &Event) -> Vec<(u32, u32)> {
    let mut tasks = vec![(event.process.pid, event.process.tid)];
    if let Operation::Clone { child: Some(child), .. } = &event.operation {
        tasks.push((child.pid, child.tid));
    }
    tasks
}

/// True if the task existed at that time.
fn has_begun(caller: &Caller, time: Duration) -> bool {
    caller.start_ticks.is_some_and(|ticks| Duration::from_millis(ticks.saturating_mul(10)) <= time)
}

impl Source for PerfSource {
    fn description(&self) -> &EventSource {
        &self.description
    }

    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let is_pausing = self.pause.is_some_and(|until| Instant::now() < until);
        if is_pausing { Vec::new() } else { self.cpus.iter().map(|cpu| cpu.as_fd()).collect() }
    }

    fn due(&self) -> Option<Instant> {
        let is_reading = !matches!(self.step, Step::Idle) || !self.complete.is_empty();
        let is_waiting = is_reading || !self.ready.is_empty() || !self.held.is_empty();
        if is_waiting { Some(Instant::now()) } else { self.pause.filter(|&until| Instant::now() < until) }
    }

    fn room(&self) -> usize {
        self.cpus.iter().map(Sideband::room).sum()
    }

    fn next(&mut self) -> io::Result<Option<SourceItem>> {
        self.go_on()?;
        // At the end there is nothing else to do.
        while self.limit.is_some() && self.complete.is_empty() && !matches!(self.step, Step::Idle) {
            self.go_on()?;
        }
        Ok(self.complete.pop_front().map(|event| SourceItem::Event(Box::new(event))))
    }

    fn losses(&mut self) -> io::Result<Vec<Lost>> {
        if self.finished {
            // A record of lost records is written with the next that finds room; there may be none any more.
            let counted: u64 = self.cpus.iter().filter_map(Sideband::lost).sum();
            self.lost = self.lost.max(counted);
        }
        Ok(vec![Lost::at(Stage::PerfRingFull, self.lost), Lost::at(Stage::Decode, self.undecoded)])
    }

    fn finish(&mut self) -> io::Result<usize> {
        self.finished = true;
        self.limit = Some(Instant::now() + AT_END);
        self.refill()?;
        let queried = if let Step::Querying(_, drafts) = &self.step { drafts.len() } else { 0 };
        Ok(self.complete.len() + queried + self.ready.len() + self.held.len())
    }
}

/// The data that no record has, in words.
fn unseen(options: &Options) -> Vec<String> {
    let mut unseen = vec![
        "whether a change is by unshare or setns, arguments, targets, durations, and whether calls are 32-bit: all are \
         reported as `change`"
            .to_owned(),
        "calls that fail".to_owned(),
        "time namespaces, and those for children".to_owned(),
        "callers that exit before /proc is read, except their names".to_owned(),
        "control groups".to_owned(),
        "events on processors that come online later".to_owned(),
    ];
    if options.calls.contains(&Call::Chroot) || options.calls.contains(&Call::PivotRoot) {
        unseen.push("chroot and pivot_root, and root and working directories".to_owned());
    }
    if options.lifecycle {
        unseen.push("which calls create namespaces, and when these end".to_owned());
    }
    unseen.extend(super::undecided(&options.conditions));
    unseen
}
