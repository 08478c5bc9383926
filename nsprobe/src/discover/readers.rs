//! Selects a process per mount namespace to read its mounts through, and reads them.

use super::limit::MOST_OF_ONE;
use super::lines::{self, Line};
use super::parse::{self, NamespaceMount};
use crate::kernel::bounded;
use crate::kernel::mount_room::Turn;
use crate::kernel::mounts::LONGEST_PATH;
use crate::kernel::proc::{Proc, ProcessDir};
use crate::model::{NsId, NsKind, NsSlot, Pid, Process, Root, Text};
use std::collections::{BTreeMap, HashMap};
use std::io;

/// Selects a process for every mount namespace, preferably with a whole root, because mountinfo omits what lies outside
/// the reader's root. Only readable processes: the kernel's task iterator also returns those whose files are closed.
pub(super) fn find(proc: &Proc, processes: &[Process]) -> BTreeMap<NsId, Pid> {
    let mut candidates: BTreeMap<NsId, Vec<(bool, Pid)>> = BTreeMap::new();
    for process in processes {
        if let Some(id) = process.namespace(NsSlot::In(NsKind::Mnt)) {
            candidates.entry(id).or_default().push((process.root != Root::Whole, process.pid));
        }
    }
    for candidates in candidates.values_mut() {
        // The best is last.
        candidates.sort_unstable_by(|one, other| other.cmp(one));
    }
    let mut readers = BTreeMap::new();
    // Nearly always the first is readable. Each round tries one process of every namespace.
    while !candidates.is_empty() {
        let tried: Vec<(NsId, Pid)> =
            candidates.iter_mut().filter_map(|(&id, left)| Some((id, left.pop()?.1))).collect();
        let proc = proc.clone();
        let readable = bounded::each(tried.clone(), move |&(_, pid), _| {
            proc.process(pid).and_then(|dir| dir.read_link("root")).is_ok()
        });
        readers.extend(
            std::iter::zip(tried, readable)
                .filter(|(_, readable)| *readable == Ok(true))
                .map(|(tried, _)| tried),
        );
        candidates.retain(|id, left| !left.is_empty() && !readers.contains_key(id));
    }
    readers
}

/// The mount point of a namespace, as far as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Point {
    Kept(Text),
    /// At a path of more than 4,096 bytes.
    TooLong,
    /// The namespace already has as many mounts as are kept.
    Further,
}

impl Point {
    pub(super) fn of(path: Text) -> Self {
        if path.as_bytes().len() > LONGEST_PATH { Self::TooLong } else { Self::Kept(path) }
    }
}

/// The mounts of namespaces in a mountinfo.
#[derive(Debug, Default)]
pub(super) struct Mountinfo {
    /// Kind and inode of each, the mount's id, and its mount point.
    pub(super) mounts: Vec<(NsKind, u64, u64, Point)>,
    /// Number of lines longer than the limit.
    pub(super) too_long: usize,
    /// Number of lines read.
    pub(super) lines: usize,
    /// True if those were all.
    pub(super) whole: bool,
}

/// Reads the mounts of namespaces in the lines after the first `read`.
pub(super) fn read(dir: &ProcessDir, read: usize, turn: &mut Turn) -> io::Result<Mountinfo> {
    let mut found = Mountinfo { lines: read, ..Mountinfo::default() };
    let mut kept: HashMap<(NsKind, u64), usize> = HashMap::new();
    found.whole = lines::mounts(dir, read, turn, &mut |line| {
        found.lines += 1;
        let Line::Whole(line) = line else {
            found.too_long += 1;
            return true;
        };
        if let Some(NamespaceMount { kind, ino, path, mount_id }) = parse::namespace_mount(line) {
            let kept = kept.entry((kind, ino)).or_default();
            *kept += 1;
            let point = if *kept > MOST_OF_ONE { Point::Further } else { Point::of(path) };
            found.mounts.push((kind, ino, mount_id, point));
        }
        true
    })?;
    Ok(found)
}
