//! Decides whether a reader that sleeps may be waiting for somebody who waits for a processor, not for a file server.

use super::threads;
use std::fs;
use std::num::NonZeroUsize;
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
    static PROCESSORS: LazyLock<usize> =
        LazyLock::new(|| available_parallelism().map_or(1, NonZeroUsize::get));
    let text = fs::read("/proc/loadavg").unwrap_or_default();
    runnable(&text).is_some_and(|tasks| tasks > *PROCESSORS)
}

/// Returns true if a thread of the process has a processor or waits for one. A process whose processor time is limited,
/// or that may use few processors, waits although others are idle.
///
/// For `status` Linux 6.18 takes no lock that a task may hold while it sleeps, but it does for `stat`.
fn is_runnable(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads.take(THREADS).any(|thread| {
        let status = fs::read(thread.path().join("status")).unwrap_or_default();
        state(&status) == Some(b'R')
    })
}

/// Returns the number of runnable tasks in the text of `/proc/loadavg`: `0.10 0.20 0.30 3/250 1234`.
fn runnable(loadavg: &[u8]) -> Option<usize> {
    let field = loadavg.split(|&byte| byte == b' ').nth(3)?;
    let tasks = field.split(|&byte| byte == b'/').next()?;
    std::str::from_utf8(tasks).ok()?.parse().ok()
}

/// Returns the state in the text of a `/proc/PID/status`, where a name has no line breaks.
fn state(status: &[u8]) -> Option<u8> {
    let state = status.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"State:\t"))?;
    state.first().copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;
    use std::time::{Duration, Instant};

    #[test]
    fn the_texts_are_parsed_whatever_names_there_are() {
        assert_eq!(runnable(b"3.65 3.13 2.80 5/311 9918\n"), Some(5));
        assert_eq!(runnable(b"3.65 3.13\n"), None);
        assert_eq!(state(b"Name:\tState:\tS\nUmask:\t0022\nState:\tR (running)\n"), Some(b'R'));
        assert_eq!(state(b"Name:\tsh\nState:\t"), None);
        assert_eq!(state(b""), None);
    }

    #[test]
    fn runnable_tasks_are_distinguished_from_sleeping_ones() {
        let [mut busy, mut idle] = ["while :; do :; done", "read x"].map(|script| {
            Command::new("sh").args(["-c", script]).stdin(std::process::Stdio::piped()).spawn().unwrap()
        });
        let end = Instant::now() + Duration::from_secs(10);
        let mut is_told = false;
        while !is_told && Instant::now() < end {
            is_told = is_runnable(busy.id()) && !is_runnable(idle.id());
        }
        for child in [&mut busy, &mut idle] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert!(is_told);
        assert!(!is_runnable(u32::MAX));
    }
}
