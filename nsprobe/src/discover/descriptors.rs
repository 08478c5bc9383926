//! Namespaces that open descriptors refer to, and sockets, each of which belongs to one.
//!
//! Every descriptor is checked with one statx(2), not by its link: the link of an nsfs file opened through a mount is
//! an ordinary path, and becomes `/` once the mount is gone (`ip netns del`). A thread that has unshared the table of
//! its process (`CLONE_FILES`, unshare(2)) is found by comparing tables, with one kcmp(2) per thread, and log N more
//! for each of N such threads.

use super::context::Context;
use super::directory_reader::DirectoryReader;
use super::errno::{denied, vanished};
use super::found::{NamespaceDescriptor, SocketDescriptor};
use super::parse;
use crate::kernel::kcmp::compare_descriptors;
use crate::kernel::nsfs;
use crate::kernel::proc::ProcessDir;
use crate::model::{GapKind, NsId, Pid, Process};
use std::cmp::Ordering;
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;

impl DirectoryReader<'_> {
    /// Finds the descriptors of one process, and of those of its other threads `tids` that have a table of their own.
    pub(super) fn find_descriptors(&mut self, process: &Process, dir: &ProcessDir, tids: &[Pid]) {
        // Kernel threads have none.
        if process.kernel_thread {
            return;
        }
        let pid = process.pid;
        let mut result = self.scan(pid, None, dir);
        match own_tables(pid, tids, self.view.context.own_pids) {
            Ok(tables) => {
                for tid in tables {
                    let thread = dir.thread(tid).and_then(|thread| self.scan(pid, Some(tid), &thread));
                    result = and(result, thread);
                }
            }
            Err(Incomparable::Pids) => self.gaps.add(GapKind::Descriptors, OTHER_PIDS, None),
            Err(Incomparable::Error(error)) => result = and(result, Err(error)),
        }
        if let Err(error) = result {
            self.note(GapKind::Descriptors, &error);
        }
    }

    fn scan(&mut self, pid: Pid, tid: Option<Pid>, dir: &ProcessDir) -> io::Result<()> {
        let (descriptors, fds) = dir.descriptors()?;
        let found = &mut self.found.descriptors;
        let mut refused = Ok(());
        for fd in fds {
            let file = match descriptors.stat(fd) {
                Ok(file) => file,
                // A descriptor that fails for any other reason (closed, a dead file server) is not a namespace.
                Err(error) => {
                    refused = if denied(&error) { Err(error) } else { refused };
                    continue;
                }
            };
            if file.dev == self.view.context.nsfs_dev {
                match id(&self.view.context, dir, fd, descriptors.read_link(fd)) {
                    Ok(Some(id)) => found.namespaces.push(NamespaceDescriptor { pid, tid, fd, id }),
                    Ok(None) => {}
                    Err(error) if vanished(&error) => {}
                    Err(error) => refused = Err(error),
                }
            } else if file.is_socket {
                found.sockets.push(SocketDescriptor { pid, tid, fd, ino: file.ino });
            }
        }
        refused
    }
}

/// Combines both results; of two errors, the first that does not merely mean that a task has ended.
fn and(one: io::Result<()>, other: io::Result<()>) -> io::Result<()> {
    match one {
        Err(error) if !vanished(&error) => Err(error),
        _ => other,
    }
}

/// The gap for multithreaded processes whose tables cannot be compared.
const OTHER_PIDS: &str =
    "descriptors of threads with a table of their own: this /proc belongs to a different pid namespace";

/// The reason that tables cannot be compared.
enum Incomparable {
    /// Pids in nsprobe's pid namespace differ from those in this `/proc`.
    Pids,
    /// The kernel refuses.
    Error(io::Error),
}

/// Returns those threads `tids` of the process `pid` whose table differs from its own, one per table.
fn own_tables(pid: Pid, tids: &[Pid], own_pids: bool) -> Result<Vec<Pid>, Incomparable> {
    if !tids.is_empty() && !own_pids {
        return Err(Incomparable::Pids);
    }
    let mut own = Vec::new();
    // Nearly all share the process's table; only the others are compared with one another.
    for &tid in tids {
        match compare_descriptors(pid, tid) {
            Ok(Ordering::Equal) => {}
            Ok(_) => own.push(tid),
            Err(error) if vanished(&error) => {}
            Err(error) => return Err(Incomparable::Error(error)),
        }
    }
    own.sort_unstable();
    let mut own = distinct(&own, &mut |one, other| match compare_descriptors(one, other) {
        // One of them has ended: reading it will fail, and its order does not matter.
        Err(error) if vanished(&error) => Ok(Ordering::Less),
        order => order,
    })
    .map_err(Incomparable::Error)?;
    own.sort_unstable();
    Ok(own)
}

/// Returns the first of each run of `tids` that are equal by `order`, sorted by it. It takes no more comparisons than
/// sorting does: a process may have thousands of tables. (The standard library's sort may panic on an inconsistent
/// order, such as that of tasks that are ending.)
fn distinct(tids: &[Pid], order: &mut impl FnMut(Pid, Pid) -> io::Result<Ordering>) -> io::Result<Vec<Pid>> {
    if tids.len() < 2 {
        return Ok(tids.to_vec());
    }
    let (left, right) = tids.split_at(tids.len() / 2);
    let (left, right) = (distinct(left, order)?, distinct(right, order)?);
    let mut merged = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    while let (Some(&one), Some(&other)) = (left.peek(), right.peek()) {
        match order(one, other)? {
            Ordering::Less => merged.extend(left.next()),
            Ordering::Greater => merged.extend(right.next()),
            // The earlier of the two goes on to be compared.
            Ordering::Equal => drop(right.next()),
        }
    }
    merged.extend(left);
    merged.extend(right);
    Ok(merged)
}

/// Returns the namespace that a descriptor refers to: from the text of its link, otherwise by querying the namespace.
fn id(context: &Context, dir: &ProcessDir, fd: u32, link: io::Result<OsString>) -> io::Result<Option<NsId>> {
    if let Some((kind, ino)) = parse::namespace_link(link?.as_bytes()) {
        return Ok(Some(context.id(kind, ino)));
    }
    let namespace = dir.open_namespace_descriptor(fd, context.nsfs_dev)?;
    nsfs::kind(namespace.as_fd())?.map(|kind| nsfs::id(namespace.as_fd(), kind)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_per_table_is_kept() {
        let mut count = 0;
        // Threads 1 to 20,000; every eighth shares the table of the thread before it.
        let table = |tid: Pid| {
            u64::from(if tid.is_multiple_of(8) { tid - 1 } else { tid }).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        };
        let tids: Vec<Pid> = (1..=20_000).collect();
        let mut kept = distinct(&tids, &mut |one, other| {
            count += 1;
            Ok(table(one).cmp(&table(other)))
        })
        .unwrap();
        kept.sort_unstable();
        let expected: Vec<Pid> = tids.into_iter().filter(|tid| !tid.is_multiple_of(8)).collect();
        assert_eq!(kept, expected);
        assert!(count < 300_000, "{count} comparisons");
    }

    #[test]
    fn inconsistent_order_loses_no_thread() {
        let tids: Vec<Pid> = (0..100).collect();
        let kept = distinct(&tids, &mut |_, _| Ok(Ordering::Less)).unwrap();
        assert_eq!(kept, tids);
    }
}
