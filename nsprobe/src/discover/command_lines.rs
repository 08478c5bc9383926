//! Command lines, of those processes that they are wanted of: each costs three or four system calls, and in
//! most answers few are printed.

use super::gaps::Gaps;
use super::parse;
use crate::kernel::bounded;
use crate::kernel::proc::{Proc, ProcessDir};
use crate::model::{Arguments, Gap, GapKind, Pid, Process};

/// Fills in the command lines of the processes `wanted`, as far as they are there, and adds to the `gaps` which cannot be read
/// in time. `processes` are in the order of their pids.
pub(super) fn fill(proc: &Proc, processes: &mut [Process], wanted: &[Pid], gaps: &mut Vec<Gap>) {
    let mut asked = Vec::new();
    for pid in wanted {
        let Ok(index) = processes.binary_search_by_key(pid, |process| process.pid) else { continue };
        let process = &processes[index];
        // Only a kernel thread is certain to have none.
        if !process.kernel_thread && process.arguments.is_empty() {
            asked.push((index, process.pid, process.start_ticks));
        }
    }
    let indices: Vec<usize> = asked.iter().map(|&(index, ..)| index).collect();
    let proc = proc.clone();
    let lines = bounded::each(asked, move |&(_, pid, start_ticks), buffer| {
        let dir = proc.process(pid).ok()?;
        // By now the number may have been given to another.
        dir.read("stat", buffer).ok()?;
        parse::stat(buffer).filter(|facts| proc.offset().start(facts.start_ticks) == start_ticks)?;
        of(&dir, buffer)
    });
    let mut unread = Gaps::default();
    for (index, arguments) in std::iter::zip(indices, lines) {
        match arguments {
            Ok(Some(arguments)) => processes[index].arguments = arguments,
            // Where there are none to be read, they are unknown.
            Ok(None) => {}
            Err(stuck) => unread.add_stuck(GapKind::ProcessArguments, stuck),
        }
    }
    gaps.extend(unread.finish());
    gaps.sort_by_key(|gap| gap.kind);
}

/// The arguments of the process in `dir`, where they can be read: not all of 6 MB, which any process may have.
pub(super) fn of(dir: &ProcessDir, buffer: &mut Vec<u8>) -> Option<Arguments> {
    // One more tells whether there are more.
    dir.read_start("cmdline", buffer, Arguments::MOST + 1).ok()?;
    Some(Arguments::new(buffer))
}
