//! Looks at `/proc`, again and again: what is another than in the look before. Needs no privileges.

pub mod compare;

use super::{Source, Told};
use crate::discover::look::Look;
use crate::kernel::clock::BootClock;
use crate::model::{Actor, Crossing, Event, Hooks, Looks, Lost, Outcome, Process};
use crate::trace::TraceError;
use crate::trace::hooks::Plan;
use crate::trace::session::Options;
use compare::{Change, Known};
use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

/// The processes, looked at at intervals.
pub struct PollSource {
    look: Look,
    clock: BootClock,
    hooks: Hooks,
    interval: Duration,
    next: Instant,
    known: Known,
    /// When the last look began, after boot.
    last: Duration,
    follow: Option<u32>,
    ready: VecDeque<Event>,
    finished: bool,
}

impl PollSource {
    /// Looks for the first time.
    pub fn open(options: &Options, reason: String) -> Result<Self, TraceError> {
        let look = Look::open().map_err(|error| TraceError::Proc(io::Error::other(error)))?;
        let follow = (!options.command.is_empty()).then(std::process::id);
        if follow.is_some() && !look.has_own_numbers() {
            let why =
                "a command's descendants cannot be followed: /proc is mounted for another pid namespace";
            return Err(TraceError::Refused(why.to_owned()));
        }
        if !options.conditions.pids.is_empty() && !look.has_own_numbers() {
            let why =
                "--pid: /proc is mounted for another pid namespace, and has other numbers than nsprobe's own";
            return Err(TraceError::Refused(why.to_owned()));
        }
        let clock = BootClock::read()?;
        let last = clock.since_boot()?;
        let (processes, gaps) = look.processes().map_err(TraceError::Proc)?;
        let mut known = Known::default();
        known.take(&processes, follow);
        let unreadable = processes.iter().filter(|process| process.namespaces.is_none()).count();
        let mut missing = Vec::new();
        if unreadable > 0 {
            let reason = gaps.first().map(|gap| format!(": {}", gap.reason)).unwrap_or_default();
            missing.push(format!("the namespaces of {unreadable} of {} processes{reason}", processes.len()));
        }
        if !look.is_of_whole_machine() {
            missing.push(super::NOT_WHOLE.to_owned());
        }
        Ok(Self {
            look,
            clock,
            hooks: Hooks {
                plan: Plan::Poll.name(),
                reason,
                attached: ["/proc/PID/ns", "/proc/PID/root"].map(str::to_owned).into(),
                missing,
                unseen: unseen(options),
                cost: None,
            },
            interval: options.interval,
            next: Instant::now() + options.interval,
            known,
            last,
            follow,
            ready: VecDeque::new(),
            finished: false,
        })
    }

    fn look(&mut self) -> io::Result<()> {
        let began = self.clock.since_boot()?;
        let (processes, _) = self.look.processes()?;
        let now = self.clock.since_boot()?;
        let within = now.saturating_sub(self.last);
        for change in self.known.take(&processes, self.follow) {
            if self.follow.is_none() || change.followed {
                let event = self.event(&change, &processes[change.index], now, within);
                self.ready.push_back(event);
            }
        }
        self.last = began;
        self.next = Instant::now() + self.interval;
        Ok(())
    }

    fn event(&self, change: &Change, process: &Process, now: Duration, within: Duration) -> Event {
        let pid = process.pid;
        let found = self.look.actor(pid, pid).ok();
        let actor = found.filter(|actor| actor.start_ticks == Some(process.start_ticks));
        let known = Actor {
            ppid: Some(process.ppid),
            pids: process.pids.clone(),
            euid: Some(process.uid),
            start_ticks: Some(process.start_ticks),
            ..Actor::new(pid, pid)
        };
        Event {
            since_boot: now,
            duration: None,
            process: Actor { comm: process.comm.clone(), ..actor.unwrap_or(known) },
            crossing: Crossing::Change { looks: Some(Looks { within, is_new: change.is_new }) },
            compat: None,
            outcome: Outcome::Unseen,
            before: change.before,
            after: change.after,
            marks: None,
            seen: None,
            denied: false,
            root: change.root.clone(),
            cwd: None,
        }
    }
}

impl Source for PollSource {
    fn hooks(&self) -> &Hooks {
        &self.hooks
    }

    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        Vec::new()
    }

    fn due(&self) -> Option<Instant> {
        Some(if self.ready.is_empty() { self.next } else { Instant::now() })
    }

    fn next(&mut self) -> io::Result<Option<Told>> {
        if self.ready.is_empty() && !self.finished && self.next <= Instant::now() {
            self.look()?;
        }
        Ok(self.ready.pop_front().map(|event| Told::Event(Box::new(event))))
    }

    fn losses(&mut self) -> io::Result<Vec<Lost>> {
        Ok(Vec::new())
    }

    fn finish(&mut self) -> io::Result<usize> {
        self.finished = true;
        self.look()?;
        Ok(self.ready.len())
    }
}

/// What no look tells, in words.
fn unseen(options: &Options) -> Vec<String> {
    let mut unseen = vec![
        format!("what begins and ends between two looks, {:?} apart", options.interval),
        "which calls they were, arguments, targets, how long they took, and whether they are 32-bit: they are `change`"
            .to_owned(),
        "calls that fail".to_owned(),
        "threads that are elsewhere than their process".to_owned(),
        "control groups, and working directories".to_owned(),
    ];
    if !options.command.is_empty() {
        unseen.push("descendants of the command whose parent ended before a look".to_owned());
    }
    if options.every_clone {
        unseen.push("new tasks that are where their parents are".to_owned());
    }
    if options.lives {
        unseen.push("which calls make namespaces, and when they end".to_owned());
    }
    unseen.extend(super::undecided(&options.conditions));
    unseen
}
