//! Command lines, of those processes that they are wanted of: each costs three or four system calls, and in
//! most answers few are printed.

use super::parse;
use crate::kernel::proc::Proc;
use crate::model::{Pid, Process};

/// Fills in the command lines of the processes `wanted`, as far as they are there. `processes` are in the order
/// of their pids.
pub(super) fn fill(proc: &Proc, processes: &mut [Process], wanted: impl Iterator<Item = Pid>) {
    let mut buffer = Vec::new();
    for pid in wanted {
        let Ok(index) = processes.binary_search_by_key(&pid, |process| process.pid) else { continue };
        let process = &mut processes[index];
        // Only a kernel thread is certain to have none.
        if process.kernel_thread || !process.command_line.is_empty() {
            continue;
        }
        let Ok(dir) = proc.process(pid) else { continue };
        // By now the number may have been given to another.
        let same = dir.read("stat", &mut buffer).is_ok()
            && parse::stat(&buffer).is_some_and(|facts| facts.start_ticks == process.start_ticks);
        if same && dir.read("cmdline", &mut buffer).is_ok() {
            process.command_line = parse::command_line(&buffer);
        }
    }
}
