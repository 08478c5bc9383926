//! Processes, their divergent threads, and their descriptors, from the kernel's own iterators: BPF, Linux 5.8. These
//! see what `/proc` denies, and cost a tenth of walking it.

use super::context::Context;
use super::errno::vanished;
use super::error::Unavailable;
use super::found::{Descriptors, DivergentThread, Found, NamespaceDescriptor, SocketNetns};
use super::gaps::Gaps;
use super::parse;
use super::records::{self, LeadsTo, RootFacts, Tables, TaskFacts};
use super::roots::Roots;
use super::threads::{PER_THREAD_SLOTS, has_no_namespaces};
use crate::kernel::bounded::{self, Stuck};
use crate::kernel::proc::Proc;
use crate::kernel::tasks::{self, Iterators};
use crate::model::{Arguments, GapKind, NsId, NsKind, Pid, Process, Root};
use std::io;
use std::thread::ScopedJoinHandle;

/// Returns `Ok` if the iterator would return what `/proc` shows, as far as can be known without loading it.
pub(super) fn available(context: &Context) -> Result<(), Unavailable> {
    if !context.own_pids {
        return Err(Unavailable::Mismatch);
    }
    Ok(tasks::permitted()?)
}

/// Reads every task, sorted by pid; without command lines.
pub(super) fn read(context: &Context, gaps: &mut Gaps) -> Result<Found, Unavailable> {
    available(context)?;
    let iterators = Iterators::open()?;
    // Each takes about as long as the other.
    let (tasks, files) = std::thread::scope(|scope| {
        let files = std::thread::Builder::new().spawn_scoped(scope, || iterators.files());
        let tasks = iterators.tasks();
        (tasks, files.map_or_else(|_| iterators.files(), joined))
    });
    let (bytes, files) = (tasks?, files?);
    let (mut leaders, mut threads) =
        (Vec::with_capacity(bytes.len() / size_of::<nsprobe_ebpf::Task>()), Vec::new());
    let unknown = records::tasks(&bytes, context.nsfs_dev, |facts| {
        if facts.leader { &mut leaders } else { &mut threads }.push(facts);
    });
    if !own_facts_agree(&context.proc, &leaders) {
        return Err(Unavailable::Mismatch);
    }
    let mut processes = processes(&context.proc, leaders, gaps);
    processes.sort_by_key(|process| process.pid);
    let divergent = divergent(&mut processes, threads);
    let mut descriptors = Descriptors::default();
    let mut tables = Tables::default();
    let unknown = unknown
        + records::descriptors(&files, context.nsfs_dev, |facts| {
            let records::DescriptorFacts { pid, tid, table, fd, leads_to } = facts;
            if !tables.is_first(pid, tid, table) {
                return;
            }
            match leads_to {
                LeadsTo::Namespace(id) => {
                    descriptors.namespaces.push(NamespaceDescriptor { pid, tid, fd, id });
                }
                LeadsTo::Socket(namespace) => {
                    descriptors.socket_netns.push(SocketNetns { pid, tid, fd, namespace });
                }
            }
        });
    for _ in 0..unknown {
        gaps.add(GapKind::ProcessStatus, "a record of the probe has an unexpected layout", None);
    }
    Ok(Found { processes, divergent, descriptors })
}

/// Reads the sockets whose network namespace differs from that of the process that has them open.
pub(super) fn sockets(context: &Context) -> Result<Vec<SocketNetns>, Unavailable> {
    available(context)?;
    let mut sockets = Vec::new();
    records::descriptors(&Iterators::open()?.files()?, context.nsfs_dev, |facts| {
        if let LeadsTo::Socket(namespace) = facts.leads_to {
            sockets.push(SocketNetns { pid: facts.pid, tid: facts.tid, fd: facts.fd, namespace });
        }
    });
    Ok(sockets)
}

/// Returns true if `/proc` and the record agree about nsprobe itself.
fn own_facts_agree(proc: &Proc, leaders: &[TaskFacts]) -> bool {
    let own = std::process::id();
    let Some(record) = leaders.iter().find(|facts| facts.pid == own) else { return false };
    let mut buffer = Vec::new();
    let Ok(dir) = proc.this_process() else { return false };
    dir.read("stat", &mut buffer).is_ok()
        && parse::stat(&buffer).is_some_and(|facts| {
            (proc.offset().start(facts.start_ticks), facts.ppid) == (record.start_ticks, record.ppid)
        })
        && dir.owner() == record.uid
}

/// Builds the processes, with the paths of unusual root directories, which only `/proc` shows.
fn processes(proc: &Proc, leaders: Vec<TaskFacts>, gaps: &mut Gaps) -> Vec<Process> {
    let elsewhere = leaders.iter().filter(|facts| facts.root == RootFacts::Elsewhere);
    let elsewhere: Vec<(Pid, u64, Option<NsId>)> =
        elsewhere.map(|facts| (facts.pid, facts.start_ticks, *facts.namespaces.of(NsKind::Mnt))).collect();
    let (proc, reader) = (proc.clone(), Roots::new(proc));
    let roots = bounded::each(elsewhere, move |&(pid, start_ticks, namespace), buffer| {
        let dir = proc.process(pid)?;
        dir.read("stat", buffer)?;
        // The pid may have been reused by now.
        let same =
            parse::stat(buffer).is_some_and(|stat| proc.offset().start(stat.start_ticks) == start_ticks);
        if same { reader.read(&dir, namespace) } else { Err(io::Error::from_raw_os_error(libc::ESRCH)) }
    });
    let mut roots = roots.into_iter();
    let process = |facts: TaskFacts| Process {
        root: match facts.root {
            RootFacts::None => Root::Unknown,
            RootFacts::Whole => Root::Whole,
            RootFacts::Elsewhere => root(roots.next(), gaps),
        },
        pid: facts.pid,
        ppid: facts.ppid,
        pids: facts.pids,
        start_ticks: facts.start_ticks,
        threads: facts.threads,
        kernel_thread: facts.kernel_thread,
        uid: facts.uid,
        comm: facts.comm,
        arguments: Arguments::default(),
        namespaces: Some(facts.namespaces),
    };
    leaders.into_iter().map(process).collect()
}

fn root(read: Option<Result<io::Result<Root>, Stuck>>, gaps: &mut Gaps) -> Root {
    match read.map(|read| read.map_err(io::Error::from).and_then(|root| root)) {
        Some(Ok(root)) => root,
        Some(Err(error)) if !vanished(&error) => {
            gaps.add_error(GapKind::ProcessRoot, &error);
            Root::Unknown
        }
        Some(Err(_)) | None => Root::Unknown,
    }
}

/// Returns the divergent ones of `threads`.
///
/// A process whose first thread has ended while others go on has lost its own namespaces; it then has those of the
/// first of the others.
fn divergent(processes: &mut [Process], threads: Vec<TaskFacts>) -> Vec<DivergentThread> {
    let mut divergent = Vec::new();
    for thread in threads {
        let Ok(index) = processes.binary_search_by_key(&thread.pid, |process| process.pid) else { continue };
        let Some(home) = &mut processes[index].namespaces else { continue };
        if has_no_namespaces(home) {
            if !has_no_namespaces(&thread.namespaces) {
                *home = thread.namespaces;
                divergent.push(DivergentThread::standing_for(thread.pid, thread.tid));
            }
            continue;
        }
        let elsewhere = PER_THREAD_SLOTS.into_iter().filter_map(|slot| {
            let id = (*thread.namespaces.get(slot))?;
            (*home.get(slot) != Some(id)).then_some((slot, id))
        });
        let namespaces: Vec<_> = elsewhere.collect();
        if !namespaces.is_empty() {
            let (pid, tid) = (thread.pid, thread.tid);
            divergent.push(DivergentThread { pid, tid, namespaces, stands_for_process: false });
        }
    }
    divergent
}

/// Joins a thread, and passes on its panic.
pub(super) fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
