//! Chooses where the processes are read from: `/proc`, or the kernel's own tasks.

use super::context::Context;
use super::error::{Error, Unavailable};
use super::found::Found;
use super::gaps::Gaps;
use super::options::Options;
use super::tasks::{self, joined};
use super::{parse, processes};
use crate::kernel::proc::Proc;
use crate::model::{Pid, ProcessSource};

/// With fewer tasks than this, walking `/proc` takes less time than loading two BPF programs: measured, 9 ms of
/// processor time for loading, 0.06 ms less per process, and 0.04 ms less per further thread.
const BREAK_EVEN: usize = 160;

/// The processes, and how they were read.
pub(super) struct ReadProcesses {
    /// The processes are sorted by pid.
    pub(super) found: Found,
    pub(super) source: ProcessSource,
    /// The processes that `/proc` lists, readable or not.
    pub(super) listed: Vec<Pid>,
    pub(super) gaps: Gaps,
}

/// Reads the processes, without their command lines, from the source that `options` name, or else from the cheaper one.
pub(super) fn read(context: &Context, options: &Options) -> Result<ReadProcesses, Error> {
    let proc = &context.proc;
    let mut gaps = Gaps::default();
    // Listing thousands of pids takes as long as a good part of the reading.
    let (listed, tasks) = std::thread::scope(|scope| {
        let pids = std::thread::Builder::new().spawn_scoped(scope, || proc.pids());
        let tasks = from_kernel(context, options.processes_from, &mut gaps);
        (pids.map_or_else(|_| proc.pids(), joined), tasks)
    });
    let listed = listed.map_err(|source| Error::Proc { path: options.proc_root.clone(), source })?;
    if listed.is_empty() && !proc.is_live() {
        return Err(Error::NotProc(options.proc_root.clone()));
    }
    let tasks = tasks?;
    let mut source = if tasks.is_some() { ProcessSource::Bpf } else { ProcessSource::Proc };
    let (mut found, mut of_processes) = gather(context, &listed, tasks);
    // A process that `/proc` denies may be in any namespace, which makes the member counts uncertain.
    let denied = found.processes.iter().any(|process| process.namespaces.is_none());
    let mut of_tasks = Gaps::default();
    if denied
        && options.processes_from.is_none()
        && let Ok(tasks) = tasks::read(context, &mut of_tasks)
    {
        log::info!("source: /proc denies some processes: the kernel's own tasks, by BPF");
        source = ProcessSource::Bpf;
        (found, of_processes) = gather(context, &listed, Some(tasks));
        gaps.merge(of_tasks);
    }
    gaps.merge(of_processes);
    if found.processes.is_empty() && proc.is_live() {
        return Err(Error::Unreadable { count: listed.len(), why: gaps.first_reason() });
    }
    found.processes.sort_by_key(|process| process.pid);
    Ok(ReadProcesses { found, source, listed, gaps })
}

/// Combines the kernel's `tasks`, if they were read, with those of `pids` that are not among them. Without tasks that
/// is all of them. With tasks it is those that a security module hides from the iterator but not from the listing; they
/// are part of the answer.
fn gather(context: &Context, pids: &[Pid], tasks: Option<Found>) -> (Found, Gaps) {
    let (mut found, mut gaps) = (tasks.unwrap_or_default(), Gaps::default());
    let known = |pid: &Pid| found.processes.binary_search_by_key(pid, |process| process.pid).is_ok();
    let others: Vec<Pid> = pids.iter().copied().filter(|pid| !known(pid)).collect();
    processes::read(context, &others, &mut found, &mut gaps);
    (found, gaps)
}

/// Reads the kernel's tasks, if requested, or if they are the cheaper source for this many processes.
fn from_kernel(
    context: &Context,
    from: Option<ProcessSource>,
    gaps: &mut Gaps,
) -> Result<Option<Found>, Unavailable> {
    match from {
        Some(ProcessSource::Proc) => Ok(None),
        Some(ProcessSource::Bpf) => tasks::read(context, gaps).map(Some),
        None => {
            let tasks = about_how_many_tasks(&context.proc);
            if tasks < BREAK_EVEN {
                log::info!("source: about {tasks} tasks, fewer than {BREAK_EVEN}: starts with /proc");
                return Ok(None);
            }
            // Not permitted, or refused: the other source is as good, and the snapshot records which one was used.
            let read = tasks::read(context, gaps);
            match &read {
                Ok(_) => log::info!("source: about {tasks} tasks: the kernel's own, by BPF"),
                Err(why) => log::info!("source: about {tasks} tasks, but BPF is not available: {why}: /proc"),
            }
            Ok(read.ok())
        }
    }
}

/// Estimates the number of tasks: a process may have tens of thousands of threads.
fn about_how_many_tasks(proc: &Proc) -> usize {
    let counted = proc.load_average().ok().and_then(|text| parse::tasks(&text));
    counted.unwrap_or_else(|| proc.about_how_many())
}
