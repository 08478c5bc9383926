//! Reads command lines, only of the processes that need one: each costs three or four system calls, and most answers
//! print few.

use super::gaps::Gaps;
use super::parse;
use crate::kernel::bounded;
use crate::kernel::proc::{Proc, ProcessDir};
use crate::model::{Arguments, Gap, GapKind, Pid, Process};

/// Fills in the command lines of the processes `wanted` that still exist, and adds to `gaps` those that cannot be read
/// in time. `processes` are sorted by pid.
pub(super) fn fill(proc: &Proc, processes: &mut [Process], wanted: &[Pid], gaps: &mut Vec<Gap>) {
    let mut selected = Vec::new();
    for pid in wanted {
        let Ok(index) = processes.binary_search_by_key(pid, |process| process.pid) else { continue };
        let process = &processes[index];
        // Only a kernel thread certainly has none.
        if !process.kernel_thread && process.arguments.is_empty() {
            selected.push((index, process.pid, process.start_ticks));
        }
    }
    let indices: Vec<usize> = selected.iter().map(|&(index, ..)| index).collect();
    let proc = proc.clone();
    let lines = bounded::each(selected, move |&(_, pid, start_ticks), buffer| {
        let dir = proc.process(pid).ok()?;
        // The pid may have been reused by now.
        dir.read("stat", buffer).ok()?;
        parse::stat(buffer).filter(|facts| proc.offset().start(facts.start_ticks) == start_ticks)?;
        of(&dir, buffer)
    });
    let mut unread = Gaps::default();
    for (index, arguments) in std::iter::zip(indices, lines) {
        match arguments {
            Ok(Some(arguments)) => processes[index].arguments = arguments,
            // They cannot be read: unknown.
            Ok(None) => {}
            Err(stuck) => unread.add_stuck(GapKind::ProcessArguments, stuck),
        }
    }
    gaps.extend(unread.finish());
    gaps.sort_by_key(|gap| gap.kind);
}

/// Reads the arguments of the process in `dir`. They are bounded, because any process may have 6 MB of them.
pub(super) fn of(dir: &ProcessDir, buffer: &mut Vec<u8>) -> Option<Arguments> {
    // One byte more shows that there are more.
    dir.read_start("cmdline", buffer, Arguments::MOST + 1).ok()?;
    Some(Arguments::new(buffer))
}
