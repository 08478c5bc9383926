//! The sources of events: one file each.

pub mod perf;
pub mod probe;
pub mod proc;

use super::TraceError;
use super::conditions::Conditions;
use super::record::SourceItem;
use crate::discover::Error;
use crate::kernel::watches::Watches;
use crate::model::{EventSource, Lost};
use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

/// The maximum wait for `/proc` at a time, while other threads read it: a process may block them.
const MOMENT: Duration = Duration::from_millis(20);

/// The maximum wait for it at the end.
const AT_END: Duration = Duration::from_millis(300);

/// Converts the error that `/proc` cannot be read.
fn no_proc(error: Error) -> TraceError {
    TraceError::Proc(match error {
        Error::Proc { source, .. } => source,
        error => io::Error::other(error),
    })
}

/// A source of events. It runs from when it is opened until it is dropped.
pub trait Source {
    /// The hooks in use, and the reason for them.
    fn description(&self) -> &EventSource;

    /// Descriptors that are readable when there is something to take.
    fn descriptors(&self) -> Vec<BorrowedFd<'_>>;

    /// The time when there is something to take, whether a descriptor is readable or not.
    fn due(&self) -> Option<Instant> {
        None
    }

    /// The approximate number of items that it can hold until they are taken; 0 if unknown.
    fn room(&self) -> usize {
        0
    }

    /// The namespaces whose end it reports, if it does. Returned once.
    fn take_watches(&mut self) -> Option<Watches> {
        None
    }

    /// True if it reports only descendants of some tasks, and so has to know all of them.
    fn follows(&self) -> bool {
        false
    }

    /// Searches for descendants that it does not follow, follows them, and returns their number.
    fn follow_present(&mut self) -> io::Result<u64> {
        Ok(0)
    }

    /// Takes the next item; `None` if there is none now.
    fn next(&mut self) -> io::Result<Option<SourceItem>>;

    /// The losses since it began, by stage; stages without a loss may be included.
    fn losses(&mut self) -> io::Result<Vec<Lost>>;

    /// Makes everything that happened until now available; returns the maximum number of items to take. From now on,
    /// also counts losses that are expensive to read.
    fn finish(&mut self) -> io::Result<usize>;

    /// Detaches: nothing more is to be taken. Waits a moment for that; it may continue after the end.
    fn stop(&mut self) {}
}

/// The conditions that sources other than the probe cannot decide for some events, in words.
fn undecided(conditions: &Conditions) -> Vec<String> {
    let mut undecided = Vec::new();
    if !conditions.uids.is_empty() || !conditions.comms.is_empty() {
        let what =
            "whether --uid and --comm match callers that exited before /proc was read: they are reported";
        undecided.push(what.to_owned());
    }
    if !conditions.kinds.is_empty() || !conditions.namespaces.is_empty() {
        let what = "whether --kind and --ns match where the namespaces before are unknown: they are reported";
        undecided.push(what.to_owned());
    }
    undecided
}

/// The data missing from a `/proc` that does not show the whole machine.
const NOT_WHOLE: &str = "tasks that this /proc does not show: it belongs to one pid namespace and those below it, \
    whose pids these are, or hides others' processes (hidepid)";

#[cfg(test)]
pub(super) mod tests;
