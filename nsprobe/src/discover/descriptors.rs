//! Namespaces that an open descriptor stands for, and the sockets, which belong to one.
//!
//! Every descriptor is looked at with one statx(2), and none by its link: the link of an nsfs file opened
//! through a mount is a path like any other, and after the mount has gone (`ip netns del`) it is `/`.
//! A thread that has left the table of its process (`CLONE_FILES`, unshare(2)) is found by comparing tables, with one
//! kcmp(2) a thread, and log N more for each of N threads that have left it.

use super::errno::{denied, vanished};
use super::found::{Descriptors, NamespaceDescriptor, SocketDescriptor};
use super::gaps::Gaps;
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

impl Descriptors {
    /// Looks at the descriptors of one process, and of those of its other threads `tids` that have a table of their
    /// own. `own_numbers`: whether processes are numbered here as nsprobe's pid namespace does it.
    pub(super) fn find(
        &mut self,
        process: &Process,
        dir: &ProcessDir,
        tids: &[Pid],
        own_numbers: bool,
        nsfs_dev: u64,
        gaps: &mut Gaps,
    ) {
        // The kernel's own threads have none.
        if process.kernel_thread {
            return;
        }
        let pid = process.pid;
        let mut looked = self.look(pid, None, dir, nsfs_dev);
        match own_tables(pid, tids, own_numbers) {
            Ok(tables) => {
                for tid in tables {
                    let thread =
                        dir.thread(tid).and_then(|thread| self.look(pid, Some(tid), &thread, nsfs_dev));
                    looked = and(looked, thread);
                }
            }
            Err(Incomparable::Numbers) => gaps.add(GapKind::Descriptors, OTHER_NUMBERS, None),
            Err(Incomparable::Error(error)) => looked = and(looked, Err(error)),
        }
        match looked {
            Ok(()) => {}
            Err(error) if vanished(&error) => {}
            Err(error) => gaps.add_error(GapKind::Descriptors, &error),
        }
    }

    fn look(&mut self, pid: Pid, tid: Option<Pid>, dir: &ProcessDir, nsfs_dev: u64) -> io::Result<()> {
        let (descriptors, numbers) = dir.descriptors()?;
        let mut refused = Ok(());
        for fd in numbers {
            let file = match descriptors.stat(fd) {
                Ok(file) => file,
                // What cannot be asked for another reason (closed, a dead file server) is no namespace.
                Err(error) => {
                    refused = if denied(&error) { Err(error) } else { refused };
                    continue;
                }
            };
            if file.dev == nsfs_dev {
                match id(dir, fd, descriptors.read_link(fd), nsfs_dev) {
                    Ok(Some(id)) => self.namespaces.push(NamespaceDescriptor { pid, tid, fd, id }),
                    Ok(None) => {}
                    Err(error) if vanished(&error) => {}
                    Err(error) => refused = Err(error),
                }
            } else if file.is_socket {
                self.sockets.push(SocketDescriptor { pid, tid, fd, ino: file.ino });
            }
        }
        refused
    }
}

/// Both results; of two errors the first that does not merely say that a task has ended.
fn and(one: io::Result<()>, other: io::Result<()>) -> io::Result<()> {
    match one {
        Err(error) if !vanished(&error) => Err(error),
        _ => other,
    }
}

/// What is not seen of processes with several threads when they cannot be compared.
const OTHER_NUMBERS: &str =
    "descriptors of threads with a table of their own: this /proc is of another pid namespace";

/// Why tables cannot be compared.
enum Incomparable {
    /// Tasks have other numbers in nsprobe's pid namespace than in this `/proc`.
    Numbers,
    /// The kernel says no.
    Error(io::Error),
}

/// Those threads `tids` of the process `pid` that have another table than it, one a table.
fn own_tables(pid: Pid, tids: &[Pid], own_numbers: bool) -> Result<Vec<Pid>, Incomparable> {
    if !tids.is_empty() && !own_numbers {
        return Err(Incomparable::Numbers);
    }
    let mut own = Vec::new();
    // Nearly all share the process's table; the few others are compared with one another.
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
        // One of them has ended: what is read of it will say so, and where it stands does not matter.
        Err(error) if vanished(&error) => Ok(Ordering::Less),
        order => order,
    })
    .map_err(Incomparable::Error)?;
    own.sort_unstable();
    Ok(own)
}

/// Of `tids` that are equal by `order` the first; in that order. With as many comparisons as sorting takes: a process may
/// have thousands of tables. (Sorting by the standard library may panic where an order contradicts itself, as that of
/// tasks that are ending does.)
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

/// The namespace that a descriptor stands for: by the text of its link, else by asking the namespace.
fn id(dir: &ProcessDir, fd: u32, link: io::Result<OsString>, nsfs_dev: u64) -> io::Result<Option<NsId>> {
    if let Some((kind, ino)) = parse::namespace_link(link?.as_bytes()) {
        return Ok(Some(NsId::new(kind, nsfs_dev, ino)));
    }
    let namespace = dir.open_namespace_descriptor(fd, nsfs_dev)?;
    nsfs::kind(namespace.as_fd())?.map(|kind| nsfs::id(namespace.as_fd(), kind)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_each_table_is_kept_with_few_comparisons() {
        let mut count = 0;
        // Threads 1 to 20,000, of which every eighth has the table of the thread before it.
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
    fn an_order_that_contradicts_itself_loses_no_thread_for_good() {
        let tids: Vec<Pid> = (0..100).collect();
        let kept = distinct(&tids, &mut |_, _| Ok(Ordering::Less)).unwrap();
        assert_eq!(kept, tids);
    }
}
