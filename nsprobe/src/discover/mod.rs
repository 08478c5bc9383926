//! Linux → [`Snapshot`]; one file per source.
//!
//! A snapshot is not a single instant: processes come and go while it is taken. Each process is read through a
//! descriptor that cannot come to refer to another process, and one that vanishes midway is left out.

mod caller;
mod command_lines;
mod descriptors;
mod environment;
mod errno;
mod error;
mod found;
mod gaps;
mod held;
mod held_records;
mod index;
mod limit;
mod lines;
mod listed;
mod mounts;
mod opener;
mod options;
mod origin;
mod parse;
pub mod proc_reader;
mod processes;
mod reach;
mod readers;
mod records;
mod relations;
mod roots;
mod sockets;
mod tasks;
mod threads;
mod visibility;
mod walk;
mod whereabouts;

pub use environment::ProcMount;
pub use error::Error;
pub use options::{CommandLines, Options};
pub use origin::origin;
pub use tasks::Unavailable;

use crate::kernel::bounded;
use crate::kernel::proc::Proc;
use crate::model::text::shown_path;
use crate::model::{Pid, ProcessSource, Snapshot};
use errno::vanished;
use found::Found;
use gaps::Gaps;
use index::NamespaceIndex;
use options::{nsfs_dev, open};
use relations::NsQuery;
use std::time::Instant;

/// With fewer tasks than this, walking `/proc` takes less time than loading two BPF programs: measured, 9 ms of
/// processor time for loading, 0.06 ms less per process, and 0.04 ms less per further thread.
const BREAK_EVEN: usize = 160;

/// Takes a snapshot of the machine.
pub fn snapshot(options: &Options) -> Result<Snapshot, Error> {
    let start = Instant::now();
    let step =
        |what: &str| log::debug!("snapshot: {what} after {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    let proc = open(options)?;
    let mut gaps = Gaps::default();
    let nsfs_dev = nsfs_dev(&proc);
    let listed = proc.is_live().then(|| listed::read(&proc, nsfs_dev, options.bpf));
    // Listing thousands of pids takes as long as a good part of the reading.
    let (pids, tasks) = std::thread::scope(|scope| {
        let pids = std::thread::Builder::new().spawn_scoped(scope, || proc.pids());
        let tasks = from_kernel(&proc, nsfs_dev, options.processes_from, &mut gaps);
        (pids.map_or_else(|_| proc.pids(), tasks::joined), tasks)
    });
    let pids = pids.map_err(|source| Error::Proc { path: options.proc_root.clone(), source })?;
    if pids.is_empty() && !proc.is_live() {
        return Err(Error::NotProc(options.proc_root.clone()));
    }
    let tasks = tasks?;
    let mut processes_from = if tasks.is_some() { ProcessSource::Bpf } else { ProcessSource::Proc };
    let gather = |tasks| gather(&proc, nsfs_dev, &pids, tasks);
    let (mut found, mut of_processes) = gather(tasks);
    // A process that `/proc` denies may be in any namespace, which makes the member counts uncertain.
    let denied = found.processes.iter().any(|process| process.namespaces.is_none());
    let mut of_tasks = Gaps::default();
    if denied
        && options.processes_from.is_none()
        && let Ok(tasks) = tasks::read(&proc, nsfs_dev, &mut of_tasks)
    {
        log::info!("source: /proc denies some processes: the kernel's own tasks, by BPF");
        processes_from = ProcessSource::Bpf;
        (found, of_processes) = gather(Some(tasks));
        gaps.merge(of_tasks);
    }
    gaps.merge(of_processes);
    let Found { mut processes, divergent, descriptors } = found;
    processes.sort_by_key(|process| process.pid);
    step("processes read");
    if processes.is_empty() && proc.is_live() {
        return Err(Error::Unreadable { count: pids.len(), why: gaps.first_reason() });
    }
    environment::note(&proc, &pids, &processes, &mut gaps);
    environment::note_chroot(&proc, nsfs_dev, &mut processes, &mut gaps);
    let mut index = NamespaceIndex::take(&processes);
    let own = processes::own_pid_namespace(&proc, nsfs_dev);
    let whereabouts = whereabouts::Whereabouts::find(&proc, &processes, own);
    index.count(&whereabouts.inside);
    index.threads(&divergent, &processes);
    index.descriptors(&descriptors.namespaces);
    let mut query = NsQuery::new(&proc, nsfs_dev);
    mounts::find(&proc, nsfs_dev, &processes, &mut query, &mut index, &mut gaps);
    query.ask_all(&mut index, &mut gaps);
    query.find_paths(&mut index);
    let listed = listed.and_then(|listed| listed.map_err(|why| why.gap(&mut gaps)).ok());
    if let Some(listed) = &listed {
        listed::add(listed, &mut query, &mut index, &mut gaps);
        listed::query_latest(listed, nsfs_dev, &mut query, &mut index, &mut gaps);
    }
    query.note_unqueried(&mut index, &mut gaps);
    sockets::add(&descriptors.socket_netns, &mut query, &mut index, &mut gaps);
    sockets::find(&proc, nsfs_dev, &descriptors.sockets, options.bpf, &mut query, &mut index, &mut gaps);
    if let Some(listed) = listed {
        listed::add_inactive(listed, nsfs_dev, &mut index, &mut gaps);
    }
    if options.bpf {
        held::find(&proc, nsfs_dev, &mut index);
    }
    let mut namespaces = index.finish();
    step("namespaces found");
    let mut gaps = gaps.finish();
    visibility::mark(&mut namespaces, &gaps, &whereabouts);
    log::info!(
        "snapshot: {} processes from {} ({} listed in {}), {} namespaces, kinds of gaps: {}",
        processes.len(),
        processes_from.name(),
        pids.len(),
        shown_path(&options.proc_root),
        namespaces.len(),
        gaps.len()
    );
    // Last, and apart from the rest: processes decide how long this takes, which must not delay anything else.
    let wanted: Vec<Pid> = match options.command_lines {
        CommandLines::All => processes.iter().map(|process| process.pid).collect(),
        CommandLines::Leaders => namespaces.iter().filter_map(|ns| ns.leader).collect(),
    };
    command_lines::fill(&proc, &mut processes, &wanted, &mut gaps);
    Ok(Snapshot { namespaces, processes, gaps, processes_from })
}

/// Combines the kernel's `tasks`, if they were read, with those of `pids` that are not among them. Without tasks that
/// is all of them. With tasks it is those that a security module hides from the iterator but not from the listing; they
/// are part of the answer.
fn gather(proc: &Proc, nsfs_dev: u64, pids: &[Pid], tasks: Option<Found>) -> (Found, Gaps) {
    let (mut found, mut gaps) = (tasks.unwrap_or_default(), Gaps::default());
    let known = |pid: &Pid| found.processes.binary_search_by_key(pid, |process| process.pid).is_ok();
    let others: Vec<Pid> = pids.iter().copied().filter(|pid| !known(pid)).collect();
    processes::read(proc, &others, nsfs_dev, &mut found, &mut gaps);
    (found, gaps)
}

/// Reads the command lines of the processes `pids` that lack one in `snapshot`, as far as they still exist.
pub fn command_lines(options: &Options, snapshot: &mut Snapshot, pids: &[Pid]) -> Result<(), Error> {
    let proc = open(options)?;
    command_lines::fill(&proc, &mut snapshot.processes, pids, &mut snapshot.gaps);
    Ok(())
}

/// Returns the reason that the process `pid` is missing from a snapshot taken just now, although it exists; `None` if
/// it does not.
#[must_use]
pub fn why_unread(pid: Pid) -> Option<String> {
    let proc = open(&Options::default()).ok()?;
    let read = bounded::one(move |buffer| proc.process(pid)?.read("stat", buffer));
    match read.unwrap_or_else(|stuck| Err(stuck.into())) {
        Ok(()) => Some("it did not exist, or could not be read, a moment ago".to_owned()),
        Err(error) if vanished(&error) => None,
        Err(error) => Some(error.to_string()),
    }
}

/// Returns the process that the thread `tid` belongs to; `None` if there is no such thread, or it is a process's first.
#[must_use]
pub fn process_of_thread(tid: Pid) -> Option<Pid> {
    let proc = open(&Options::default()).ok()?;
    // Not listed, but present: a thread has a directory like that of a process.
    let group = bounded::one(move |status| {
        proc.process(tid).and_then(|thread| thread.read("status", status)).ok()?;
        parse::thread_group(status)
    });
    group.ok().flatten().filter(|&pid| pid != tid)
}

/// Reads the kernel's tasks, if requested, or if they are the cheaper source for this many processes.
fn from_kernel(
    proc: &Proc,
    nsfs_dev: u64,
    from: Option<ProcessSource>,
    gaps: &mut Gaps,
) -> Result<Option<Found>, Unavailable> {
    match from {
        Some(ProcessSource::Proc) => Ok(None),
        Some(ProcessSource::Bpf) => tasks::read(proc, nsfs_dev, gaps).map(Some),
        None => {
            let tasks = about_how_many_tasks(proc);
            if tasks < BREAK_EVEN {
                log::info!("source: about {tasks} tasks, fewer than {BREAK_EVEN}: starts with /proc");
                return Ok(None);
            }
            // Not permitted, or refused: the other source is as good, and the snapshot records which one was used.
            let read = tasks::read(proc, nsfs_dev, gaps);
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
