//! What gives events: one file a way.

pub mod perf;
pub mod poll;
pub mod probe;

use super::conditions::Conditions;
use super::record::SourceItem;
use crate::kernel::watches::Watches;
use crate::model::{Hooks, Lost};
use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

/// For so long `/proc` is waited for at once, where other threads read it: a process may keep them waiting.
const MOMENT: Duration = Duration::from_millis(20);

/// For so long it is waited for at the end.
const AT_END: Duration = Duration::from_millis(300);

/// A way to learn what happens. It is at work from when it is opened until it is dropped.
pub trait Source {
    /// How the events are obtained, and why that way.
    fn hooks(&self) -> &Hooks;

    /// Each is readable when there is something to take.
    fn descriptors(&self) -> Vec<BorrowedFd<'_>>;

    /// When there is something to take, whether a descriptor says so or not.
    fn due(&self) -> Option<Instant> {
        None
    }

    /// About how many things it holds for as long as nobody takes them; 0 when that is not known.
    fn room(&self) -> usize {
        0
    }

    /// The namespaces whose end it tells, where it does. Once.
    fn take_watches(&mut self) -> Option<Watches> {
        None
    }

    /// Whether it tells only of tasks that descend from others, and so has to know them all.
    fn follows(&self) -> bool {
        false
    }

    /// Looks for descendants that it does not follow, follows them, and gives how many there were.
    fn follow_present(&mut self) -> io::Result<u64> {
        Ok(0)
    }

    /// Takes the next thing; `None` when there is none now.
    fn next(&mut self) -> io::Result<Option<SourceItem>>;

    /// What was lost since it began, by stage; stages without a loss may be among them.
    fn losses(&mut self) -> io::Result<Vec<Lost>>;

    /// Everything that happened until now can be taken from now on; gives how many times at most there is something
    /// to take. Losses that are dear to count are counted from now on.
    fn finish(&mut self) -> io::Result<usize>;

    /// Detaches: nothing more is to be taken. Waits for that a moment; it may go on after the end.
    fn stop(&mut self) {}
}

/// The conditions that other sources than the probe cannot decide of some events, in words.
fn undecided(conditions: &Conditions) -> Vec<String> {
    let mut undecided = Vec::new();
    if !conditions.uids.is_empty() || !conditions.comms.is_empty() {
        let what = "whether --uid and --comm hold of callers that had gone before /proc was read: these events are told";
        undecided.push(what.to_owned());
    }
    if !conditions.kinds.is_empty() || !conditions.namespaces.is_empty() {
        let what =
            "whether --kind and --ns hold where it is not known what was before: these events are told";
        undecided.push(what.to_owned());
    }
    undecided
}

/// What a `/proc` does not show that is not the machine's.
const NOT_WHOLE: &str = "tasks that this /proc does not show: it is of one pid namespace and those below it, \
    whose process ids these are, or hides others' processes (hidepid)";
