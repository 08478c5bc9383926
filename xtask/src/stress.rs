//! `cargo xtask stress`: snapshots in a loop, while namespaces and processes come and go.

mod churn;
mod ledger;
mod look;
mod rest;
mod whose;

use crate::checkout::{self, Profile};
use crate::ending;
use anyhow::{Context as _, Result, bail, ensure};
use churn::{Churn, scratch};
use ledger::{LINGERS, Ledger, Ns};
use look::{Look, Reported};
use rest::{Left, Rest};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::thread::{self, ScopedJoinHandle, sleep};
use std::time::{Duration, Instant};
use whose::Users;

/// How long what was seen may wait for who made it to note it.
const NOTED: Duration = Duration::from_secs(10);
/// How long the kernel may take to tear down what has ended.
const TORN_DOWN: Duration = Duration::from_secs(30);
/// Faults that are kept to be told; more are only counted.
const TOLD: usize = 20;
/// The ways in which nsprobe looks, in turn.
const LOOKS: [&[&str]; 4] = [
    &["list", "--json", "--source", "proc"],
    &["list", "--json", "--source", "bpf"],
    &["tree", "--source", "proc"],
    &["tree", "--source", "bpf"],
];

#[derive(clap::Args)]
#[command(
    long_about = "Takes snapshots in a loop, while processes and threads fork, make namespaces of every kind, join and leave them, \
keep them by descriptors, sockets and mounts, and end.\n\n\
Every snapshot must succeed, be valid JSON that refers to nothing it does not list, end with no descriptor open that it was not \
started with, and report no namespace but those that somebody was in at that time: each is noted by who made it, with the time \
from before it began to after it ended. At the end nothing may be left behind. Needs root, and a machine on which nobody else makes \
namespaces.",
    after_help = "\
Examples:
  cargo xtask stress                     ten minutes
  cargo xtask stress --duration 30s      as CI does"
)]
pub struct Args {
    /// How long, such as 30s or 10min
    #[arg(long, default_value = "10min", value_parser = crate::span::parse)]
    duration: Duration,
    /// How many make namespaces at a time
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    workers: u8,
    /// Others make namespaces on this machine, too: do not judge those that no process of ours is in or holds
    #[arg(long)]
    shared: bool,
}

/// Runs the task.
pub fn run(args: &Args) -> Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "makes namespaces of every kind: run as root");
    // So that what a command leaves behind is ours, and seen.
    nix::sys::prctl::set_child_subreaper(true)?;
    // With debug assertions and overflow checks.
    let nsprobe = checkout::nsprobe(Profile::Dev)?;
    let ledger = Ledger::new();
    let before = Rest::look()?;
    let _quiet = ledger.stay(Duration::ZERO, before.namespaces.iter().cloned().collect());
    let inherited = ending::look(&Command::new("true"), ending::descriptors)?.seen;
    let mut judge = Judge::new(&nsprobe, &ledger, inherited, args.shared);
    // What has no process, such as somebody else's mounts, was there before, too.
    let _held = judge.at_rest()?;

    let scratch = scratch();
    fs::create_dir(&scratch).with_context(|| scratch.display().to_string())?;
    let churned = churn(args, &ledger, &scratch, &mut judge);
    fs::remove_dir_all(&scratch)?;
    churned?;
    judge.settle(Duration::MAX);
    left_behind(&before, args.shared, &mut judge)?;
    judge.verdict()
}

/// Looks for as long as it is asked to, while the workers work.
fn churn(args: &Args, ledger: &Ledger, scratch: &Path, judge: &mut Judge) -> Result<()> {
    let churn = Churn::new(ledger);
    let files: Vec<PathBuf> = (0..args.workers).map(|worker| scratch.join(worker.to_string())).collect();
    for file in &files {
        File::create(file)?;
    }
    let looked = thread::scope(|scope| -> Result<()> {
        let mut workers = Vec::new();
        for (seed, file) in (1..).zip(&files) {
            let churn = &churn;
            workers.push(scope.spawn(move || churn.work(seed, file)));
        }
        let end = Instant::now() + args.duration;
        let mut looked = Ok(());
        while looked.is_ok() && Instant::now() < end && !workers.iter().any(ScopedJoinHandle::is_finished) {
            looked = judge.look();
        }
        churn.stop.store(true, Ordering::Relaxed);
        for worker in workers {
            let worked = worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            worked.context("a worker (this is no fault of nsprobe)")?;
        }
        looked
    });
    churn.end();
    looked?;
    println!("stress: {} acts of {} workers", churn.acts.load(Ordering::Relaxed), args.workers);
    Ok(())
}

/// Notes what the churn and nsprobe have left, when the kernel has had the time to tear it down.
fn left_behind(before: &Rest, shared: bool, judge: &mut Judge) -> Result<()> {
    let deadline = Instant::now() + TORN_DOWN;
    loop {
        let mut left = Rest::look()?.left(before);
        // It would not tell whose they are.
        left.retain(|left| !(shared && matches!(left, Left::Namespace(_) | Left::Mount(_))));
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            for left in left {
                judge.fault(format!("left behind: {left}"));
            }
            return Ok(());
        }
        sleep(Duration::from_millis(200));
    }
}

/// Who looks, and holds what was seen against what there was.
struct Judge<'a> {
    nsprobe: &'a Path,
    ledger: &'a Ledger,
    inherited: Vec<(u32, String)>,
    /// The ways to look that work here.
    ways: Vec<&'static [&'static str]>,
    /// Whether others may make namespaces, which are not judged then.
    shared: bool,
    looks: usize,
    reported: usize,
    of_others: usize,
    /// The longest time that one took, and its way.
    slowest: (Duration, usize),
    /// Namespaces seen that nobody has noted yet.
    unknown: VecDeque<Unknown>,
    /// What could not be seen on the quiet machine; and what could not be seen later.
    gaps: (BTreeSet<String>, BTreeMap<String, usize>),
    faults: Vec<String>,
    more_faults: usize,
}

/// A namespace that was seen.
struct Unknown {
    ns: Ns,
    /// From when to when it was looked for.
    during: (Duration, Duration),
    /// Whether somebody used it.
    used: bool,
    /// What was said of it.
    said: String,
}

impl Unknown {
    fn existed(&self, ledger: &Ledger) -> bool {
        ledger.existed(&self.ns, self.during, self.used)
    }
}

impl<'a> Judge<'a> {
    fn new(nsprobe: &'a Path, ledger: &'a Ledger, inherited: Vec<(u32, String)>, shared: bool) -> Self {
        Self {
            nsprobe,
            ledger,
            inherited,
            ways: Vec::new(),
            shared,
            looks: 0,
            reported: 0,
            of_others: 0,
            slowest: (Duration::ZERO, 0),
            unknown: VecDeque::new(),
            gaps: Default::default(),
            faults: Vec::new(),
            more_faults: 0,
        }
    }

    /// Looks at the machine before anything happens, in each way: one that does not work then is left out. Gives
    /// what was there.
    fn at_rest(&mut self) -> Result<ledger::Stay<'a>> {
        let mut there = Vec::new();
        for way in LOOKS {
            let look = look::look(self.nsprobe, way, &self.inherited, || self.ledger.now())?;
            if look.wrong.is_empty() {
                self.ways.push(way);
                there.extend(look.reported.into_keys());
                self.gaps.0.extend(look.gaps);
            } else if way.contains(&"bpf") {
                println!("stress: NOT TESTED: nsprobe {}: {}", way.join(" "), look.wrong.join("; "));
            } else {
                bail!("nsprobe {} fails on a quiet machine: {}", way.join(" "), look.wrong.join("; "));
            }
        }
        Ok(self.ledger.stay(Duration::ZERO, there))
    }

    /// Looks once, in the way whose turn it is.
    fn look(&mut self) -> Result<()> {
        let way = self.ways[self.looks % self.ways.len()];
        let Look { wrong, reported, gaps, during } =
            look::look(self.nsprobe, way, &self.inherited, || self.ledger.now())?;
        self.slowest = self.slowest.max((during.1.saturating_sub(during.0), self.looks % self.ways.len()));
        self.looks += 1;
        self.reported += reported.len();
        for wrong in wrong {
            self.fault(format!("nsprobe {}: {wrong}", way.join(" ")));
        }
        for gap in gaps.into_iter().filter(|gap| !self.gaps.0.contains(gap)).collect::<Vec<_>>() {
            // What vanishes midway is no gap (ENOENT, ESRCH); EINVAL comes of asking the wrong thing.
            if ["os error 2)", "os error 3)", "os error 22)"].iter().any(|error| gap.contains(error)) {
                self.fault(format!("nsprobe {}: {gap}", way.join(" ")));
            }
            *self.gaps.1.entry(gap).or_default() += 1;
        }
        for (ns, Reported { said, used_by }) in reported {
            let unknown = Unknown {
                ns,
                during,
                used: used_by != Users::Nobody,
                said: format!("nsprobe {}: {said}", way.join(" ")),
            };
            if unknown.existed(self.ledger) {
                continue;
            }
            if self.shared && used_by != Users::Ours {
                self.of_others += 1;
            } else {
                self.unknown.push_back(unknown);
            }
        }
        self.settle(self.ledger.now().saturating_sub(NOTED));
        self.ledger.forget(self.ledger.now().saturating_sub(2 * NOTED + LINGERS));
        Ok(())
    }

    /// Judges what was seen before `time`: whoever made it has noted it by now.
    fn settle(&mut self, time: Duration) {
        while let Some(unknown) = self.unknown.pop_front_if(|unknown| unknown.during.1 < time) {
            if !unknown.existed(self.ledger) {
                let Unknown { ns, during, said, .. } = unknown;
                let known = self.ledger.tell(&ns, during);
                self.fault(format!("{ns} did not exist then ({known}): {said}"));
            }
        }
    }

    fn fault(&mut self, fault: String) {
        if self.faults.len() < TOLD {
            eprintln!("stress: FAULT: {fault}");
            self.faults.push(fault);
        } else {
            self.more_faults += 1;
        }
    }

    fn verdict(&self) -> Result<()> {
        println!("stress: {} snapshots, {} namespaces reported in them", self.looks, self.reported);
        println!("stress: the slowest took {:.1?}: {}", self.slowest.0, self.ways[self.slowest.1].join(" "));
        if self.shared {
            println!("stress: NOT JUDGED: {} that are of others, or nobody's", self.of_others);
        }
        for (gap, times) in &self.gaps.1 {
            println!("stress: {times} snapshots had a gap that the quiet machine has not: {gap}");
        }
        ensure!(self.looks >= self.ways.len(), "not even one snapshot of each way");
        let faults = self.faults.len() + self.more_faults;
        ensure!(faults == 0, "{faults} faults");
        println!("stress: no fault");
        Ok(())
    }
}
