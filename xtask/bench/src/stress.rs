//! `cargo xtask stress`: snapshots in a loop, while namespaces and processes are created and end.

mod churn;
mod ledger;
mod snapshot;
mod state;
mod users;

use crate::ending;
use anyhow::{Context as _, Result, bail, ensure};
use churn::{Churn, scratch};
use ledger::{LINGERS, Ledger, Ns};
use snapshot::{Reported, Snapshot};
use state::{Left, State};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::thread::{self, ScopedJoinHandle, sleep};
use std::time::{Duration, Instant};
use users::Users;
use xtask::checkout::{self, Profile};

/// The time that a creator may take to record a namespace that was seen.
const RECORD_TIMEOUT: Duration = Duration::from_secs(10);
/// The time that the kernel may take to tear down what has ended.
const TEARDOWN_TIMEOUT: Duration = Duration::from_secs(30);
/// Faults that are reported; more are only counted.
const MAX_REPORTED: usize = 20;
/// The variants of nsprobe's commands, in turn.
const VARIANTS: [&[&str]; 4] = [
    &["list", "--json", "--source", "proc"],
    &["list", "--json", "--source", "bpf"],
    &["tree", "--source", "proc"],
    &["tree", "--source", "bpf"],
];

#[derive(clap::Args)]
#[command(
    long_about = "Takes snapshots in a loop, while processes and threads fork, create namespaces of every kind, join and leave them, \
keep them by descriptors, sockets and mounts, and end.\n\n\
Every snapshot must succeed, be valid JSON that refers to nothing it does not list, end with no open descriptor that it was not \
started with, and report only namespaces that somebody was in at that time: each is recorded by its creator, with the time \
from before it began to after it ended. At the end nothing may be left behind. Needs root, and a machine on which nobody else creates \
namespaces.",
    after_help = "\
Examples:
  cargo xtask stress                     ten minutes
  cargo xtask stress --duration 30s      as CI does"
)]
pub struct Args {
    /// Duration, such as 30s or 10min
    #[arg(long, default_value = "10min", value_parser = crate::span::parse)]
    duration: Duration,
    /// Number of workers that create namespaces at a time
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    workers: u8,
    /// Others create namespaces on this machine, too: do not judge those that no process of ours is in or holds
    #[arg(long)]
    shared: bool,
}

/// Runs the task.
pub fn run(args: &Args) -> Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "creates namespaces of every kind: run as root");
    // So that processes that a command leaves behind become our children, and are seen.
    nix::sys::prctl::set_child_subreaper(true)?;
    // With debug assertions and overflow checks.
    let nsprobe = checkout::nsprobe(Profile::Dev)?;
    let ledger = Ledger::new();
    let before = State::read()?;
    let _quiet = ledger.stay(Duration::ZERO, before.namespaces.iter().cloned().collect());
    let inherited = ending::inspect(&Command::new("true"), ending::descriptors)?.seen;
    let mut judge = Judge::new(&nsprobe, &ledger, inherited, args.shared);
    // Namespaces without processes, such as those of somebody else's mounts, existed before, too.
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

/// Takes snapshots for the requested duration, while the workers work.
fn churn(args: &Args, ledger: &Ledger, scratch: &Path, judge: &mut Judge) -> Result<()> {
    let churn = Churn::new(ledger);
    let files: Vec<PathBuf> = (0..args.workers).map(|worker| scratch.join(worker.to_string())).collect();
    for file in &files {
        File::create(file)?;
    }
    let outcome = thread::scope(|scope| -> Result<()> {
        let mut workers = Vec::new();
        for (seed, file) in (1..).zip(&files) {
            let churn = &churn;
            workers.push(scope.spawn(move || churn.work(seed, file)));
        }
        let end = Instant::now() + args.duration;
        let mut outcome = Ok(());
        while outcome.is_ok() && Instant::now() < end && !workers.iter().any(ScopedJoinHandle::is_finished) {
            outcome = judge.take_snapshot();
        }
        churn.stop.store(true, Ordering::Relaxed);
        for worker in workers {
            let worked = worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            worked.context("a worker (not a fault of nsprobe)")?;
        }
        outcome
    });
    churn.end();
    outcome?;
    println!("stress: {} actions of {} workers", churn.actions.load(Ordering::Relaxed), args.workers);
    Ok(())
}

/// Reports what the churn and nsprobe have left, after the kernel has had the time to tear it down.
fn left_behind(before: &State, shared: bool, judge: &mut Judge) -> Result<()> {
    let deadline = Instant::now() + TEARDOWN_TIMEOUT;
    loop {
        let mut left = State::read()?.left(before);
        // Their owner would not be known.
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

/// Takes snapshots, and compares them with what existed.
struct Judge<'a> {
    nsprobe: &'a Path,
    ledger: &'a Ledger,
    inherited: Vec<(u32, String)>,
    /// The variants that work here.
    variants: Vec<&'static [&'static str]>,
    /// Set if others may create namespaces, which are not judged then.
    shared: bool,
    snapshots: usize,
    reported: usize,
    of_others: usize,
    /// The longest time that one took, and the index of its variant.
    slowest: (Duration, usize),
    /// Namespaces seen that nobody has recorded yet.
    unknown: VecDeque<Unknown>,
    /// The gaps on the quiet machine; and the gaps seen later.
    gaps: (BTreeSet<String>, BTreeMap<String, usize>),
    faults: Vec<String>,
    more_faults: usize,
}

/// A namespace that was seen.
struct Unknown {
    ns: Ns,
    /// The begin and end of the snapshot.
    during: (Duration, Duration),
    /// Set if somebody used it.
    used: bool,
    /// The report of it.
    report: String,
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
            variants: Vec::new(),
            shared,
            snapshots: 0,
            reported: 0,
            of_others: 0,
            slowest: (Duration::ZERO, 0),
            unknown: VecDeque::new(),
            gaps: Default::default(),
            faults: Vec::new(),
            more_faults: 0,
        }
    }

    /// Takes a snapshot before anything happens, with each variant: one that does not work then is left out. Returns
    /// what was found.
    fn at_rest(&mut self) -> Result<ledger::Stay<'a>> {
        let mut there = Vec::new();
        for variant in VARIANTS {
            let snapshot = snapshot::take(self.nsprobe, variant, &self.inherited, || self.ledger.now())?;
            if snapshot.wrong.is_empty() {
                self.variants.push(variant);
                there.extend(snapshot.reported.into_keys());
                self.gaps.0.extend(snapshot.gaps);
            } else if variant.contains(&"bpf") {
                println!("stress: NOT TESTED: nsprobe {}: {}", variant.join(" "), snapshot.wrong.join("; "));
            } else {
                bail!(
                    "nsprobe {} fails on a quiet machine: {}",
                    variant.join(" "),
                    snapshot.wrong.join("; ")
                );
            }
        }
        Ok(self.ledger.stay(Duration::ZERO, there))
    }

    /// Takes one snapshot, with the variant users turn it is.
    fn take_snapshot(&mut self) -> Result<()> {
        let variant = self.variants[self.snapshots % self.variants.len()];
        let Snapshot { wrong, reported, gaps, during } =
            snapshot::take(self.nsprobe, variant, &self.inherited, || self.ledger.now())?;
        self.slowest =
            self.slowest.max((during.1.saturating_sub(during.0), self.snapshots % self.variants.len()));
        self.snapshots += 1;
        self.reported += reported.len();
        for wrong in wrong {
            self.fault(format!("nsprobe {}: {wrong}", variant.join(" ")));
        }
        for gap in gaps.into_iter().filter(|gap| !self.gaps.0.contains(gap)).collect::<Vec<_>>() {
            // Something that vanishes midway is not a gap (ENOENT, ESRCH); EINVAL comes from a wrong query.
            if ["os error 2)", "os error 3)", "os error 22)"].iter().any(|error| gap.contains(error)) {
                self.fault(format!("nsprobe {}: {gap}", variant.join(" ")));
            }
            *self.gaps.1.entry(gap).or_default() += 1;
        }
        for (ns, Reported { report, used_by }) in reported {
            let unknown = Unknown {
                ns,
                during,
                used: used_by != Users::Nobody,
                report: format!("nsprobe {}: {report}", variant.join(" ")),
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
        self.settle(self.ledger.now().saturating_sub(RECORD_TIMEOUT));
        self.ledger.forget(self.ledger.now().saturating_sub(2 * RECORD_TIMEOUT + LINGERS));
        Ok(())
    }

    /// Judges what was seen before `time`: its creator has recorded it by now.
    fn settle(&mut self, time: Duration) {
        while let Some(unknown) = self.unknown.pop_front_if(|unknown| unknown.during.1 < time) {
            if !unknown.existed(self.ledger) {
                let Unknown { ns, during, report, .. } = unknown;
                let known = self.ledger.describe(&ns, during);
                self.fault(format!("{ns} did not exist then ({known}): {report}"));
            }
        }
    }

    fn fault(&mut self, fault: String) {
        if self.faults.len() < MAX_REPORTED {
            eprintln!("stress: FAULT: {fault}");
            self.faults.push(fault);
        } else {
            self.more_faults += 1;
        }
    }

    fn verdict(&self) -> Result<()> {
        println!("stress: {} snapshots, {} namespaces reported in them", self.snapshots, self.reported);
        println!(
            "stress: the slowest took {:.1?}: {}",
            self.slowest.0,
            self.variants[self.slowest.1].join(" ")
        );
        if self.shared {
            println!("stress: NOT JUDGED: {} of others, or of nobody", self.of_others);
        }
        for (gap, times) in &self.gaps.1 {
            println!("stress: {times} snapshots had a gap that the quiet machine did not have: {gap}");
        }
        ensure!(self.snapshots >= self.variants.len(), "fewer snapshots than variants");
        let faults = self.faults.len() + self.more_faults;
        ensure!(faults == 0, "{faults} faults");
        println!("stress: no fault");
        Ok(())
    }
}
