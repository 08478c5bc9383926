//! Command lines, of those processes that they are wanted of: each costs three or four system calls, and in
//! most answers few are printed.

use super::{blocks, parse};
use crate::kernel::proc::Proc;
use crate::model::{Pid, Process};

/// How much of the arguments of a process is read: a process may have 6 MB of them, and any number of processes may.
pub(super) const MOST_ARGUMENTS: usize = 4096;

/// Fills in the command lines of the processes `wanted`, as far as they are there. `processes` are in the order
/// of their pids.
pub(super) fn fill(proc: &Proc, processes: &mut [Process], wanted: &[Pid]) {
    let read: Vec<(usize, String)> = {
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
    for (index, line) in read {
        processes[index].command_line = line;
    }
}

/// `None` also where there is none to be read.
fn read(proc: &Proc, process: &Process, buffer: &mut Vec<u8>) -> Option<String> {
    // Only a kernel thread is certain to have none.
    if process.kernel_thread || !process.command_line.is_empty() {
        return None;
    }
    let dir = proc.process(process.pid).ok()?;
    // By now the number may have been given to another.
    dir.read("stat", buffer).ok()?;
    parse::stat(buffer).filter(|facts| facts.start_ticks == process.start_ticks)?;
    dir.read_start("cmdline", buffer, MOST_ARGUMENTS).ok()?;
    Some(parse::command_line(buffer))
}
