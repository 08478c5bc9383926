//! A time limit for each test, so that one that hangs fails by name instead of blocking all others.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

/// The maximum duration of a test. The slowest takes some 20 s, and up to ten times as long on an emulated processor.
/// Waits inside a test are shorter, and report more when they give up.
const LIMIT: Duration = Duration::from_mins(8);

/// The running tests: an id for each, its name, and its deadline.
static RUNNING: LazyLock<Mutex<HashMap<u64, (String, Instant)>>> = LazyLock::new(|| {
    thread::spawn(watch);
    Mutex::default()
});

/// A running test; its time no longer counts once this is dropped.
pub struct Limit {
    number: u64,
}

/// Starts the time of the calling test. A test begins with `let _limit = support::time_limit();`, which
/// `tests/docs.rs` checks. When the time is over, everything ends: a thread that hangs cannot be stopped by itself.
pub fn time_limit() -> Limit {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = thread::current().name().unwrap_or("a test").to_owned();
    let running = (name, Instant::now() + LIMIT);
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner).insert(number, running);
    Limit { number }
}

impl Limit {
    /// Starts its time anew, for a test of many parts that each have this time.
    pub fn renew(&self) {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        running.entry(self.number).and_modify(|(_, end)| *end = Instant::now() + LIMIT);
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

/// Ends the process, and all processes that it started, when a test has taken too long.
fn watch() {
    loop {
        sleep(Duration::from_secs(1));
        let late = {
            let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            running.values().find(|(_, end)| *end < now).map(|(name, _)| name.clone())
        };
        if let Some(name) = late {
            // Not eprintln!: the harness captures that. `FAILED` is the word that logs are searched for.
            let _ = writeln!(std::io::stderr(), "test {name} ... FAILED: not done after {LIMIT:?}");
            for pid in super::stage::family(std::process::id()) {
                let _ = writeln!(std::io::stderr(), "{}", standing(pid));
            }
            super::stage::end_descendants();
            std::process::exit(101);
        }
    }
}

/// What a process is waiting for, in a line.
fn standing(pid: u32) -> String {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let (comm, stat) = (read("comm"), read("stat"));
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()).unwrap_or('?');
    format!("process {pid} {} {state} {}: {}", comm.trim(), read("wchan"), read("syscall").trim())
}
