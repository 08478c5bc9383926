//! Decides whether a reader that sleeps may be waiting for somebody who waits for a processor, not for a file server.

use super::threads;
use crate::kernel::load;
use crate::kernel::status::state;
use procfs_core::{FromRead as _, LoadAverage};
use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::sync::{Arc, LazyLock, OnceLock};
use std::thread::available_parallelism;

/// A question whether a process is runnable, asked repeatedly and answered by threads that nobody waits for.
#[derive(Debug, Default)]
pub(super) struct Question(Option<Arc<OnceLock<bool>>>);

impl Question {
    /// Returns the last answer about the process `pid`, false if there is none, and asks again.
    pub(super) fn ask(&mut self, pid: u32) -> bool {
        let last = self.0.as_ref().map(|answer| answer.get().copied());
        if last == Some(None) {
            return false;
        }
        let answer = Arc::new(OnceLock::new());
        let of_thread = Arc::clone(&answer);
        let asked = threads::run(Box::new(move || {
            let _ = of_thread.set(is_runnable(pid));
        }));
        self.0 = asked.then_some(answer);
        last.flatten().unwrap_or(false)
    }
}

/// The most threads of a process that are checked.
const THREADS: usize = 8;

/// Returns true if more tasks are runnable than there are processors.
pub(super) fn is_machine_busy() -> bool {
    static PROCESSORS: LazyLock<u32> = LazyLock::new(|| {
        available_parallelism().map_or(1, |number| number.get().try_into().unwrap_or(u32::MAX))
    });
    let proc = File::open("/proc");
    let text = proc.and_then(|proc| load::average(proc.as_fd())).unwrap_or_default();
    LoadAverage::from_read(&*text).is_ok_and(|load| load.cur > *PROCESSORS)
}

/// Returns true if a thread of the process has a processor or waits for one. A process whose processor time is limited,
/// or that may use few processors, waits although others are idle.
///
/// For `status` Linux 6.18 takes no lock that a task may hold while it sleeps, but it does for `stat`.
fn is_runnable(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads.take(THREADS).any(|thread| {
        let status = fs::read(thread.path().join("status")).unwrap_or_default();
        state(&status) == Some('R')
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;
    use std::time::{Duration, Instant};

    #[test]
    fn runnable_tasks_are_distinguished_from_sleeping_ones() {
        let [mut busy, mut idle] = ["while :; do :; done", "read x"].map(|script| {
            Command::new("sh").args(["-c", script]).stdin(std::process::Stdio::piped()).spawn().unwrap()
        });
        let end = Instant::now() + Duration::from_secs(10);
        let mut is_distinguished = false;
        while !is_distinguished && Instant::now() < end {
            is_distinguished = is_runnable(busy.id()) && !is_runnable(idle.id());
        }
        for child in [&mut busy, &mut idle] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert!(is_distinguished);
        assert!(!is_runnable(u32::MAX));
    }
}
