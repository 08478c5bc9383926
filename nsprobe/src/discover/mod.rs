//! Linux → [`Snapshot`]; one file per source.
//!
//! A snapshot is not a single instant: processes come and go while it is taken. Each process is read through a
//! descriptor that cannot come to refer to another process, and one that vanishes midway is left out.

mod builder;
mod caller;
mod command_lines;
mod context;
mod descriptors;
mod directory_reader;
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
mod process_source;
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
pub use error::{Error, Unavailable};
pub use options::{CommandLines, Options};
pub use origin::origin;

use crate::kernel::bounded;
use crate::model::text::shown_path;
use crate::model::{Pid, Snapshot};
use builder::Builder;
use context::Context;
use errno::vanished;
use found::Found;
use process_source::ReadProcesses;
use std::time::Instant;

/// Takes a snapshot of the machine: first the processes, then what else leads to namespaces, from the cheapest source
/// to the dearest, and at last what the namespaces themselves say.
pub fn snapshot(options: &Options) -> Result<Snapshot, Error> {
    let start = Instant::now();
    let step =
        |what: &str| log::debug!("snapshot: {what} after {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    let context = Context::open(options)?;
    let proc = context.proc.clone();
    let lists = listed::read(&context);
    let ReadProcesses { found, source, listed, gaps } = process_source::read(&context, options)?;
    let Found { processes, divergent, descriptors } = found;
    step("processes read");

    let mut builder = Builder::new(context, processes, gaps);
    builder.note_limits(&listed);
    builder.note_chroot();
    builder.add_unreadable();
    builder.index.threads(&divergent, &builder.processes);
    builder.index.descriptors(&descriptors.namespaces);
    builder.add_mounts();
    builder.query_all();
    builder.find_paths();
    let lists = builder.add_listed(lists);
    builder.note_unqueried();
    builder.add_socket_namespaces(&descriptors.socket_netns);
    builder.query_sockets(&descriptors.sockets);
    builder.add_inactive(lists);
    builder.add_holders();
    let mut snapshot = builder.finish(source);
    step("namespaces found");

    let Snapshot { namespaces, processes, gaps, .. } = &mut snapshot;
    log::info!(
        "snapshot: {} processes from {} ({} listed in {}), {} namespaces, kinds of gaps: {}",
        processes.len(),
        source.name(),
        listed.len(),
        shown_path(&options.proc_root),
        namespaces.len(),
        gaps.len()
    );
    // Last, and apart from the rest: processes decide how long this takes, which must not delay anything else.
    let wanted: Vec<Pid> = match options.command_lines {
        CommandLines::All => processes.iter().map(|process| process.pid).collect(),
        CommandLines::Leaders => namespaces.iter().filter_map(|ns| ns.leader).collect(),
    };
    command_lines::fill(&proc, processes, &wanted, gaps);
    Ok(snapshot)
}

/// Reads the command lines of the processes `pids` that lack one in `snapshot`, as far as they still exist.
pub fn command_lines(options: &Options, snapshot: &mut Snapshot, pids: &[Pid]) -> Result<(), Error> {
    let proc = Context::open(options)?.proc;
    command_lines::fill(&proc, &mut snapshot.processes, pids, &mut snapshot.gaps);
    Ok(())
}

/// Returns the reason that the process `pid` is missing from a snapshot taken just now, although it exists; `None` if
/// it does not.
#[must_use]
pub fn why_unread(pid: Pid) -> Option<String> {
    let proc = Context::open(&Options::default()).ok()?.proc;
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
    let proc = Context::open(&Options::default()).ok()?.proc;
    // Not listed, but present: a thread has a directory like that of a process.
    let group = bounded::one(move |status| {
        proc.process(tid).and_then(|thread| thread.read("status", status)).ok()?;
        parse::thread_group(status)
    });
    group.ok().flatten().filter(|&pid| pid != tid)
}
