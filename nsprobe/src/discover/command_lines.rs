//! Command lines, of those processes that they are wanted of: each costs three or four system calls, and in
//! most answers few are printed.

use super::{blocks, parse};
use crate::kernel::proc::{Proc, ProcessDir};
use crate::model::{Arguments, Pid, Process};

/// Fills in the command lines of the processes `wanted`, as far as they are there. `processes` are in the order
/// of their pids.
pub(super) fn fill(proc: &Proc, processes: &mut [Process], wanted: &[Pid]) {
    let read: Vec<(usize, Arguments)> = {
        let processes = &*processes;
        let parts = blocks::each(wanted, |wanted| {
            let mut buffer = Vec::new();
            let lines = wanted.iter().filter_map(|pid| {
                let index = processes.binary_search_by_key(pid, |process| process.pid).ok()?;
                Some((index, read(proc, &processes[index], &mut buffer)?))
            });
            lines.collect::<Vec<_>>()
        });
        parts.into_iter().flatten().collect()
    };
    for (index, arguments) in read {
        processes[index].arguments = arguments;
    }
}

/// `None` also where there is none to be read.
fn read(proc: &Proc, process: &Process, buffer: &mut Vec<u8>) -> Option<Arguments> {
    // Only a kernel thread is certain to have none.
    if process.kernel_thread || !process.arguments.is_empty() {
        return None;
    }
    let dir = proc.process(process.pid).ok()?;
    // By now the number may have been given to another.
    dir.read("stat", buffer).ok()?;
    parse::stat(buffer).filter(|facts| proc.offset().start(facts.start_ticks) == process.start_ticks)?;
    of(&dir, buffer)
}

/// The arguments of the process in `dir`, where they can be read: not all of 6 MB, which any process may have.
pub(super) fn of(dir: &ProcessDir, buffer: &mut Vec<u8>) -> Option<Arguments> {
    // One more tells whether there are more.
    dir.read_start("cmdline", buffer, Arguments::MOST + 1).ok()?;
    Some(Arguments::new(buffer))
}
