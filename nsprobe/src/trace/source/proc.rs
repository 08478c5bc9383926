//! Repeated scans of `/proc`: reports what changed since the previous scan. Needs no privileges.

pub mod compare;

use super::{AT_END, MOMENT, Source, no_proc};
use crate::discover::proc_reader::{ProcReader, Processes, ReadProcesses};
use crate::kernel::bounded::Reading;
use crate::kernel::clock::BootClock;
use crate::model::{Caller, Event, EventSource, Gap, GapKind, Lost, Operation, Outcome, Process, Scans};
use crate::trace::TraceError;
use crate::trace::hooks::Plan;
use crate::trace::options::Options;
use crate::trace::record::SourceItem;
use compare::{Change, Known};
use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

/// The read of `/proc` under way, by other threads: a process may block them.
enum Step {
    /// Nothing.
    Idle,
    /// All processes; with the start time, after boot.
    Scanning(Processes, Duration),
    /// The other data of these processes.
    Querying(Reading<io::Result<Caller>>, Vec<Changed>),
}

/// The processes, scanned at intervals.
pub struct ProcSource {
    reader: ProcReader,
    clock: BootClock,
    description: EventSource,
    interval: Duration,
    /// The time of the next scan; `None` if there is no other.
    next: Option<Instant>,
    /// The read under way.
    step: Step,
    /// The deadline for it, at the end.
    limit: Option<Instant>,
    known: Known,
    /// The start of the last scan, after boot.
    last: Duration,
    follow: Option<u32>,
    ready: VecDeque<Event>,
    /// True if the events of a scan have been taken, and the caller has had no pause since.
    gave: bool,
    finished: bool,
}

impl ProcSource {
    /// Makes the first scan.
    pub fn open(options: &Options, reason: String) -> Result<Self, TraceError> {
        let reader = ProcReader::open().map_err(no_proc)?;
        let follow = (!options.command.is_empty()).then(std::process::id);
        if follow.is_some() && !reader.has_own_pids() {
            let why =
                "a command's descendants cannot be followed: /proc is mounted for another pid namespace";
            return Err(TraceError::Refused(why.to_owned()));
        }
        if !options.conditions.pids.is_empty() && !reader.has_own_pids() {
            let why = "--pid: /proc is mounted for another pid namespace, and its pids differ from nsprobe's";
            return Err(TraceError::Refused(why.to_owned()));
        }
        let clock = BootClock::read()?;
        let last = clock.since_boot()?;
        let mut reading = reader.processes().map_err(TraceError::Proc)?;
        while !reading.wait(Duration::MAX) {}
        let ReadProcesses { processes, unread, gaps } = reading.take();
        let mut known = Known::default();
        known.take(&processes, &[], follow);
        let unreadable = processes.iter().filter(|process| process.namespaces.is_none()).count();
        let mut missing = Vec::new();
        if unreadable > 0 {
            let why = because(&gaps, GapKind::ProcessNamespaces);
            missing.push(format!("the namespaces of {unreadable} of {} processes{why}", processes.len()));
        }
        if !unread.is_empty() {
            let why = because(&gaps, GapKind::ProcessStatus);
            missing.push(format!("{} processes that could not be read{why}", unread.len()));
        }
        let without_ids = processes.iter().filter(|process| process.pids.is_empty()).count();
        if without_ids > 0 {
            let (why, es) = (because(&gaps, GapKind::ProcessIds), if without_ids == 1 { "" } else { "es" });
            missing.push(format!("the ids of {without_ids} process{es} in pid namespaces{why}"));
        }
        if !reader.is_of_whole_machine() {
            missing.push(super::NOT_WHOLE.to_owned());
        }
        Ok(Self {
            reader,
            clock,
            description: EventSource {
                name: Plan::Proc.name(),
                reason,
                attached: ["/proc/PID/ns", "/proc/PID/root"].map(str::to_owned).into(),
                missing,
                unseen: unseen(options),
                cost: None,
            },
            interval: options.interval,
            next: Some(Instant::now() + options.interval),
            step: Step::Idle,
            limit: None,
            known,
            last,
            follow,
            ready: VecDeque::new(),
            gave: false,
            finished: false,
        })
    }

    /// Continues the read under way, or starts the next scan when it is due: until that scan has ended, or is waited for.
    ///
    /// The next one is left to the next call: where scans take longer than the interval, one is always due, and signals and
    /// the end of the trace would wait for ever.
    fn go_on(&mut self) -> io::Result<()> {
        loop {
            match std::mem::replace(&mut self.step, Step::Idle) {
                Step::Idle => {
                    if self.next.is_none_or(|next| Instant::now() < next) {
                        return Ok(());
                    }
                    self.next = (!self.finished).then(|| Instant::now() + self.interval);
                    self.step = Step::Scanning(self.reader.processes()?, self.clock.since_boot()?);
                }
                Step::Scanning(mut reading, began) => {
                    if !reading.wait(MOMENT) && !self.is_late() {
                        self.step = Step::Scanning(reading, began);
                        return Ok(());
                    }
                    self.compare(&reading.take(), began)?;
                }
                Step::Querying(mut reading, changed) => {
                    if !reading.wait(MOMENT) && !self.is_late() {
                        self.step = Step::Querying(reading, changed);
                        return Ok(());
                    }
                    let events = std::iter::zip(changed, reading.take());
                    self.ready.extend(
                        events.map(|(changed, caller)| changed.event(caller.ok().and_then(Result::ok))),
                    );
                    return Ok(());
                }
            }
        }
    }

    fn is_late(&self) -> bool {
        self.limit.is_some_and(|limit| limit <= Instant::now())
    }

    fn compare(&mut self, scan: &ReadProcesses, began: Duration) -> io::Result<()> {
        let now = self.clock.since_boot()?;
        let within = now.saturating_sub(self.last);
        self.last = began;
        let changes = self.known.take(&scan.processes, &scan.unread, self.follow);
        let followed = changes.into_iter().filter(|change| self.follow.is_none() || change.followed);
        let changed: Vec<Changed> = followed
            .map(|change| Changed { process: scan.processes[change.index].clone(), change, now, within })
            .collect();
        let wanted = changed.iter().map(|Changed { process, .. }| (process.pid, process.pid)).collect();
        self.step = Step::Querying(self.reader.callers(wanted), changed);
        Ok(())
    }
}

/// A process whose namespaces or root changed.
struct Changed {
    change: Change,
    process: Process,
    now: Duration,
    within: Duration,
}

impl Changed {
    /// Makes the event, with the data about the process found since.
    fn event(self, found: Option<Caller>) -> Event {
        let Self { change, process, now, within } = self;
        let pid = process.pid;
        let caller = found.filter(|caller| caller.start_ticks == Some(process.start_ticks));
        let known = Caller {
            ppid: Some(process.ppid),
            pids: process.pids.clone(),
            euid: Some(process.uid),
            start_ticks: Some(process.start_ticks),
            ..Caller::new(pid, pid)
        };
        Event {
            since_boot: now,
            duration: None,
            process: Caller { comm: process.comm, ..caller.unwrap_or(known) },
            operation: Operation::Change { scans: Some(Scans { within, is_new: change.is_new }) },
            compat: None,
            outcome: Outcome::Unseen,
            before: change.before,
            after: change.after,
            marks: None,
            seen: None,
            denied: false,
            root: change.root,
            cwd: None,
        }
    }
}

impl Source for ProcSource {
    fn description(&self) -> &EventSource {
        &self.description
    }

    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        Vec::new()
    }

    fn due(&self) -> Option<Instant> {
        let is_busy = !self.ready.is_empty() || !matches!(self.step, Step::Idle);
        if is_busy { Some(Instant::now()) } else { self.next }
    }

    fn next(&mut self) -> io::Result<Option<SourceItem>> {
        if self.ready.is_empty() {
            // See above: between two scans there is a pause.
            if std::mem::take(&mut self.gave) {
                return Ok(None);
            }
            self.go_on()?;
        }
        self.gave = !self.ready.is_empty();
        Ok(self.ready.pop_front().map(|event| SourceItem::Event(Box::new(event))))
    }

    fn losses(&mut self) -> io::Result<Vec<Lost>> {
        Ok(Vec::new())
    }

    fn finish(&mut self) -> io::Result<usize> {
        self.finished = true;
        self.limit = Some(Instant::now() + AT_END);
        let mut events = VecDeque::new();
        // The scan under way may miss the last events: scan once more.
        self.next = Some(Instant::now());
        while self.next.is_some() || !matches!(self.step, Step::Idle) {
            self.go_on()?;
            events.append(&mut self.ready);
        }
        self.ready = events;
        Ok(self.ready.len())
    }
}

/// The reason why data of a kind is missing, as a suffix.
fn because(gaps: &[Gap], kind: GapKind) -> String {
    let of_kind: Vec<&str> = gaps.iter().filter(|gap| gap.kind == kind).map(|gap| &*gap.reason).collect();
    if of_kind.is_empty() { String::new() } else { format!(": {}", of_kind.join("; ")) }
}

/// The data that no scan shows, in words.
fn unseen(options: &Options) -> Vec<String> {
    let mut unseen = vec![
        format!("changes that begin and end between two scans, {:?} apart", options.interval),
        "calls, arguments, targets, durations, and whether calls are 32-bit: all are reported as `change`"
            .to_owned(),
        "calls that fail".to_owned(),
        "changes by processes while reads of their /proc files block, as during execve, or reads of another process of \
         their user"
            .to_owned(),
        "threads in other namespaces than their process".to_owned(),
        "control groups, and working directories".to_owned(),
    ];
    if !options.command.is_empty() {
        unseen.push("descendants of the command whose parent ended before a scan".to_owned());
    }
    if options.every_clone {
        unseen.push("new tasks in the namespaces of their parents".to_owned());
    }
    if options.lifecycle {
        unseen.push("which calls create namespaces, and when these end".to_owned());
    }
    unseen.extend(super::undecided(&options.conditions));
    unseen
}
