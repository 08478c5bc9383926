//! Processes and threads that create namespaces, join them, leave them and end, and record which those were.

use super::ledger::{Ledger, Ns, Stay};
use anyhow::{Context as _, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use std::fs::{self, File};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::panic::resume_unwind;
use std::path::Path;
use std::path::PathBuf;
use std::process::{Command, Stdio, id};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, sleep};
use std::time::Duration;
use xtask::checkout;

/// Kinds that a thread may change for itself, and that another may join.
const OF_THREADS: [(&str, CloneFlags); 4] = [
    ("cgroup", CloneFlags::CLONE_NEWCGROUP),
    ("ipc", CloneFlags::CLONE_NEWIPC),
    ("net", CloneFlags::CLONE_NEWNET),
    ("uts", CloneFlags::CLONE_NEWUTS),
];
/// `CLONE_NEWTIME` of linux/sched.h, which nix does not know.
const NEWTIME: CloneFlags = CloneFlags::from_bits_retain(0x80);
/// Options of unshare(1), for namespaces of a new process.
const OF_PROCESSES: [&str; 8] =
    ["--cgroup", "--ipc", "--mount", "--net", "--pid", "--time", "--user", "--uts"];
/// The script by which a process reports its namespaces: the texts of its links.
const REPORT: &str = "readlink /proc/self/ns/*";
/// Open files of namespaces that are kept for others to join.
const KEPT: usize = 32;

/// The state that all workers share.
pub struct Churn<'ledger> {
    ledger: &'ledger Ledger,
    /// Set to end them.
    pub stop: AtomicBool,
    /// The number of actions.
    pub actions: AtomicU64,
    /// Namespaces that only a descriptor may hold; each closed before its stay ends.
    kept: Mutex<Vec<(&'static str, File, Stay<'ledger>)>>,
}

impl<'ledger> Churn<'ledger> {
    /// A churn without workers.
    pub fn new(ledger: &'ledger Ledger) -> Self {
        Self { ledger, stop: AtomicBool::new(false), actions: AtomicU64::new(0), kept: Mutex::default() }
    }

    /// One worker, until it has to stop. `file` is one that it may mount things on, in separate mount namespaces.
    pub fn work(&self, seed: u64, file: &Path) -> Result<()> {
        let mut dice = Dice(seed);
        while !self.stop.load(Ordering::Relaxed) {
            match dice.below(8) {
                0 => self.thread(|diary| wander(diary, self, &mut dice)),
                1 => self.thread(|diary| hold_by_mount(diary, file, &mut dice)),
                2 => self.thread(|diary| hold_by_socket(diary, &mut dice)),
                3 => self.thread(|diary| for_children(diary, &mut dice)),
                4 => self.unshare_process(&mut dice),
                5 => self.nested_processes(),
                6 => self.join_process(&mut dice),
                _ => forks(),
            }?;
            self.actions.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Closes the kept files.
    pub fn end(&self) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Runs `act` in a separate thread, whose namespaces end with it.
    fn thread(&self, act: impl FnOnce(&mut Diary<'ledger>) -> Result<()> + Send) -> Result<()> {
        let mut diary = Diary { ledger: self.ledger, from: self.ledger.now(), stays: Vec::new() };
        thread::scope(|scope| {
            let thread = scope.spawn(|| act(&mut diary));
            thread.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// Runs a command whose output is links of namespaces, which exist at most as long as it runs.
    fn process(&self, command: &mut Command) -> Result<()> {
        let mut diary = Diary { ledger: self.ledger, from: self.ledger.now(), stays: Vec::new() };
        diary.run(command)
    }

    /// A process with some new namespaces.
    fn unshare_process(&self, dice: &mut Dice) -> Result<()> {
        let kinds: Vec<_> = OF_PROCESSES.iter().filter(|_| dice.below(3) == 0).collect();
        let linger = format!("{REPORT}; sleep 0.0{}", dice.below(3));
        self.process(Command::new("unshare").args(kinds).args(["--fork", "sh", "-c", &linger]))
    }

    /// Nested namespaces, the outer ones soon without a process.
    fn nested_processes(&self) -> Result<()> {
        let inner = format!("unshare --user --map-root-user --pid --net --fork sh -c '{REPORT}'");
        let script = format!("set -e; {REPORT}; {inner}; {REPORT}");
        let outer = ["--user", "--map-root-user", "--pid", "--uts", "--fork", "sh", "-c"];
        self.process(Command::new("unshare").args(outer).arg(script))
    }

    /// A process that joins a kept namespace.
    fn join_process(&self, dice: &mut Dice) -> Result<()> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((kind, file)) =
            dice.of(&kept).and_then(|(kind, file, _)| Some((*kind, file.try_clone().ok()?)))
        else {
            return Ok(());
        };
        drop(kept);
        let target = format!("--{kind}=/proc/{}/fd/{}", id(), file.as_raw_fd());
        let mut diary = Diary { ledger: self.ledger, from: self.ledger.now(), stays: Vec::new() };
        // The clone of the descriptor holds it too, and this stay ends after it.
        let result = diary.run(Command::new("nsenter").args([&target, "sh", "-c", REPORT]));
        drop(file);
        result
    }

    /// Keeps a namespace of the calling thread, in exchange for another one.
    fn keep(&self, diary: &Diary<'ledger>, dice: &mut Dice) -> Result<()> {
        let (kind, _) = OF_THREADS[dice.below(OF_THREADS.len())];
        let link = format!("/proc/thread-self/ns/{kind}");
        let file = File::open(&link)?;
        let stay = self.ledger.stay(diary.from, read(&link).into_iter().collect());
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            let (_, file, stay) = kept.swap_remove(dice.below(KEPT));
            drop(kept);
            drop(file);
            drop(stay);
            kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        }
        kept.push((kind, file, stay));
        Ok(())
    }
}

/// The record of an actor's namespaces. It outlives the actor.
struct Diary<'ledger> {
    ledger: &'ledger Ledger,
    /// The time at which the actor began: none of its namespaces is older.
    from: Duration,
    stays: Vec<Stay<'ledger>>,
}

impl Diary<'_> {
    /// Records the namespaces that the calling thread is in, and has for its children. Must be called after each
    /// change.
    fn note(&mut self) -> Result<()> {
        let mut there = Vec::new();
        for link in fs::read_dir("/proc/thread-self/ns")? {
            there.extend(read(link?.path()));
        }
        self.stays.push(self.ledger.stay(self.from, there));
        Ok(())
    }

    /// Runs a command, and records the namespaces it reports.
    fn run(&mut self, command: &mut Command) -> Result<()> {
        let output = checkout::output(command)?;
        let links = String::from_utf8(output.stdout)?;
        self.stays.push(self.ledger.stay(self.from, links.lines().filter_map(Ns::parse).collect()));
        Ok(())
    }
}

/// The namespace that a link stands for. A pid namespace for children has none before the first child.
fn read(link: impl AsRef<Path>) -> Option<Ns> {
    Ns::parse(fs::read_link(link).ok()?.to_str()?)
}

/// A thread that creates namespaces, leaves them for others to join, and joins those of others.
fn wander<'ledger>(diary: &mut Diary<'ledger>, churn: &Churn<'ledger>, dice: &mut Dice) -> Result<()> {
    // Required for a thread that changes its mount namespace.
    unshare(CloneFlags::CLONE_FS)?;
    for _ in 0..=dice.below(3) {
        let mut flags = CloneFlags::empty();
        for (_, flag) in OF_THREADS.iter().filter(|_| dice.below(2) == 0) {
            flags |= *flag;
        }
        if dice.below(4) == 0 {
            flags |= CloneFlags::CLONE_NEWNS;
        }
        unshare(flags)?;
        diary.note()?;
        churn.keep(diary, dice)?;
        dice.pause();
        let kept = churn.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let target = dice.of(&kept).and_then(|(_, file, _)| file.try_clone().ok());
        drop(kept);
        if let Some(target) = target {
            setns(&target, CloneFlags::empty())?;
            // Recorded before the descriptor is closed: from here on the thread holds it.
            diary.note()?;
            drop(target);
            dice.pause();
        }
    }
    Ok(())
}

/// A namespace that only a mount in a mount namespace of a thread holds.
fn hold_by_mount(diary: &mut Diary, file: &Path, dice: &mut Dice) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS)?;
    diary.note()?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context("private mounts")?;
    mount(Some("/proc/thread-self/ns/uts"), file, none, MsFlags::MS_BIND, none).context("a bind mount")?;
    unshare(CloneFlags::CLONE_NEWUTS)?;
    diary.note()?;
    dice.pause();
    Ok(())
}

/// A network namespace that only a socket holds.
fn hold_by_socket(diary: &mut Diary, dice: &mut Dice) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    diary.note()?;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    unshare(CloneFlags::CLONE_NEWNET)?;
    diary.note()?;
    dice.pause();
    drop(socket);
    Ok(())
}

/// Namespaces that a thread has for its children only; the pid namespace gets a child, which reports it.
fn for_children(diary: &mut Diary, dice: &mut Dice) -> Result<()> {
    if dice.below(2) == 0 {
        unshare(NEWTIME)?;
        diary.note()?;
        dice.pause();
    } else {
        unshare(CloneFlags::CLONE_NEWPID)?;
        diary.run(Command::new("sh").args(["-c", REPORT]))?;
        dice.pause();
    }
    Ok(())
}

/// Processes that end before anybody has seen them.
fn forks() -> Result<()> {
    let script = "for i in 1 2 3 4 5 6 7 8 9 10; do (:) & done; wait";
    let status = Command::new("sh").args(["-c", script]).stdin(Stdio::null()).status()?;
    anyhow::ensure!(status.success(), "sh: {status}");
    Ok(())
}

/// A pseudo-random number generator: splitmix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 33) as usize % limit.max(1)
    }

    fn of<'a, T>(&mut self, among: &'a [T]) -> Option<&'a T> {
        among.get(self.below(among.len()))
    }

    /// Sleeps up to 20 ms.
    fn pause(&mut self) {
        sleep(Duration::from_micros(self.below(20_000) as u64));
    }
}

/// The directory of the files that the churn mounts namespaces on.
pub fn scratch() -> PathBuf {
    std::env::temp_dir().join(format!("nsprobe-stress-{}", id()))
}
