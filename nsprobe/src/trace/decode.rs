//! A record of the probe → [`Event`]: a pure function of its bytes.

use crate::model::{
    self, Arguments, Caller, Cgroup, CloneChild, Directory, Event, Mark, NsId, NsKind, Operation, Outcome,
    PathText, Pid, ResolvedPath, Seen, SetnsTarget, SlotMarks, Slots,
};
use crate::trace::record::{End, SourceItem};
use nsprobe_ebpf::{
    COMM_LEN, Child, Event as Record, Freed, Header, NamespaceIds, NamespaceInodes, PID_LEVELS, Pids,
    RECORD_VERSION, Target, Text, cause, event_flags, is_restart, text, text_flags,
};
use std::mem::offset_of;
use std::time::Duration;

/// The error of a record that cannot be decoded. It is counted, and decoding continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The length is not that of an event, or differs from the one in the record.
    #[error("a record of {0} bytes is not an event")]
    Length(usize),
    /// Written by the probe of another version.
    #[error("record version {0} is unknown")]
    Version(u16),
    /// An unknown event.
    #[error("cause {0} is unknown")]
    Cause(u16),
    /// More process ids than there can be pid namespaces.
    #[error("{0} process ids of one process")]
    Depth(u32),
}

/// Decodes `bytes`, which are one complete record. `nsfs_dev` is the device of every namespace's file.
pub fn record(bytes: &[u8], nsfs_dev: u64) -> Result<SourceItem, DecodeError> {
    match <&[u8; size_of::<Freed>()]>::try_from(bytes) {
        Ok(bytes) => freed(bytes),
        Err(_) => event(bytes, nsfs_dev).map(|event| SourceItem::Event(Box::new(event))),
    }
}

/// Decodes the end of a namespace. No event is as short.
fn freed(bytes: &[u8; size_of::<Freed>()]) -> Result<SourceItem, DecodeError> {
    const HEADER: usize = offset_of!(Freed, header);
    let version = u16::from_ne_bytes(part(bytes, HEADER + offset_of!(Header, version)));
    let size = u32::from_ne_bytes(part(bytes, HEADER + offset_of!(Header, size)));
    let cause = u16::from_ne_bytes(part(bytes, HEADER + offset_of!(Header, cause)));
    if version != RECORD_VERSION {
        return Err(DecodeError::Version(version));
    }
    if size as usize != bytes.len() {
        return Err(DecodeError::Length(bytes.len()));
    }
    if cause != cause::FREED {
        return Err(DecodeError::Cause(cause));
    }
    let ino = u32::from_ne_bytes(part(bytes, offset_of!(Freed, ino)));
    let time_ns = u64::from_ne_bytes(part(bytes, offset_of!(Freed, time_ns)));
    let mark = Mark::of_id(u64::from_ne_bytes(part(bytes, offset_of!(Freed, id))));
    Ok(SourceItem::Freed(End { ino: ino.into(), mark, since_boot: Duration::from_nanos(time_ns) }))
}

/// The `N` bytes at `at`; zeros beyond the end, where no field has its offset.
fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

/// Decodes the event in `bytes`, which are one complete record. `nsfs_dev` is the device of every namespace's file.
pub fn event(bytes: &[u8], nsfs_dev: u64) -> Result<Event, DecodeError> {
    let record = View::new(bytes)?;
    let flags = record.u32(offset_of!(Record, flags));
    let time_ns = record.u64(offset_of!(Record, time_ns));
    let duration_ns = record.u64(offset_of!(Record, duration_ns));
    let denied = flags & event_flags::DENIED != 0;
    let process = caller(record)?;
    let operation = operation(record, nsfs_dev)?;
    let outcome = match &operation {
        Operation::Clone { child: Some(child), .. } => returned(child, &process.pids),
        _ => outcome(record.i64(offset_of!(Record, result))),
    };
    Ok(Event {
        since_boot: Duration::from_nanos(time_ns),
        duration: (duration_ns != 0 && !denied).then(|| Duration::from_nanos(duration_ns)),
        process,
        operation,
        compat: Some(flags & event_flags::COMPAT != 0),
        outcome,
        seen: seen(record.cause(), flags),
        denied,
        before: namespaces(record, offset_of!(Record, before), nsfs_dev),
        after: namespaces(record, offset_of!(Record, after), nsfs_dev),
        marks: marks(record),
        root: directory(record, flags & event_flags::ROOT_MOVED != 0, text::ROOT_BEFORE, text::ROOT_AFTER),
        cwd: directory(record, flags & event_flags::CWD_MOVED != 0, text::CWD_BEFORE, text::CWD_AFTER),
    })
}

/// The time at which the arguments were read. Those of clone and unshare are values, which nobody can change.
fn seen(cause: u16, flags: u32) -> Option<Seen> {
    if flags & event_flags::ENTRY_MISSED != 0 {
        return Some(Seen::EntryMissed);
    }
    let changeable = matches!(cause, cause::SETNS | cause::CHROOT | cause::PIVOT_ROOT);
    let seen = if flags & event_flags::READ_AT_RETURN == 0 { Seen::Entry } else { Seen::Return };
    changeable.then_some(seen)
}

fn caller(record: View) -> Result<Caller, DecodeError> {
    Ok(Caller {
        pid: record.u32(offset_of!(Record, tgid)),
        tid: record.u32(offset_of!(Record, tid)),
        ppid: Some(record.u32(offset_of!(Record, ppid))),
        pids: pids(record, offset_of!(Record, pids))?,
        comm: comm(record, offset_of!(Record, comm)),
        uid: Some(record.u32(offset_of!(Record, uid))),
        gid: Some(record.u32(offset_of!(Record, gid))),
        euid: Some(record.u32(offset_of!(Record, euid))),
        cap_effective: Some(record.u64(offset_of!(Record, cap_effective))),
        start_ticks: Some(record.u64(offset_of!(Record, start_ns)) / TICK_NS),
        exe: resolved_path(record, text::EXE),
        arguments: arguments(record),
        cgroup: cgroup(record, offset_of!(Record, cgroup_id), text::CGROUP),
    })
}

/// A clock tick of `/proc`: USER_HZ is 100 on x86-64.
const TICK_NS: u64 = 10_000_000;

fn arguments(record: View) -> Option<Arguments> {
    let (bytes, flags) = record.text(text::COMMAND_LINE);
    let arguments = Arguments::new(bytes);
    let arguments = if flags & text_flags::CUT == 0 { arguments } else { arguments.and_more() };
    (!arguments.is_empty()).then_some(arguments)
}

fn cgroup(record: View, id: usize, names: usize) -> Option<Cgroup> {
    let id = record.u64(id);
    let ResolvedPath { path, cut, .. } = resolved_path(record, names)?;
    let is_requested = record.u32(offset_of!(Record, flags)) & event_flags::IN_CGROUP != 0;
    (id != 0).then_some(Cgroup { id, path, cut, is_requested })
}

fn comm(record: View, at: usize) -> model::Text {
    let comm: [u8; COMM_LEN] = record.bytes(at);
    until_nul(&comm).into()
}

fn operation(record: View, nsfs_dev: u64) -> Result<Operation, DecodeError> {
    let args = offset_of!(Record, args);
    let (first, second) = (record.u64(args), record.u64(args + size_of::<u64>()));
    Ok(match record.cause() {
        cause::CLONE => Operation::Clone { flags: Some(first), child: child(record)? },
        cause::UNSHARE => Operation::Unshare { flags: first },
        cause::SETNS => Operation::Setns {
            // An int in the kernel: the bits above 32 are not part of it.
            fd: ((first & 0xffff_ffff) as u32).cast_signed(),
            nstype: second & 0xffff_ffff,
            target: target(record, second, nsfs_dev),
        },
        cause::CHROOT => Operation::Chroot { path: path(record, text::FIRST) },
        cause::PIVOT_ROOT => {
            let at = |index, path: &PathText| {
                // The resolution of this one is known without a walk.
                let cwd = || (*path == PathText::Whole(".".into())).then_some(text::CWD_BEFORE);
                resolved_path(record, index).or_else(|| resolved_path(record, cwd()?))
            };
            let (new_root, put_old) = (path(record, text::FIRST), path(record, text::SECOND));
            Operation::PivotRoot {
                new_root_at: at(text::FIRST_RESOLVED, &new_root),
                put_old_at: at(text::SECOND_RESOLVED, &put_old),
                new_root,
                put_old,
            }
        }
        other => return Err(DecodeError::Cause(other)),
    })
}

fn child(record: View) -> Result<Option<CloneChild>, DecodeError> {
    let at = offset_of!(Record, child);
    let tid = record.u32(at + offset_of!(Child, tid));
    if tid == 0 {
        return Ok(None);
    }
    let pid = record.u32(at + offset_of!(Child, tgid));
    Ok(Some(CloneChild {
        pid,
        tid,
        pids: pids(record, at + offset_of!(Child, pids))?,
        ppid: Some(record.u32(at + offset_of!(Child, ppid))),
        cgroup: cgroup(record, offset_of!(Record, child_cgroup_id), text::CHILD_CGROUP),
    }))
}

fn target(record: View, nstype: u64, nsfs_dev: u64) -> Option<SetnsTarget> {
    let at = offset_of!(Record, target);
    let ino = record.u32(at + offset_of!(Target, ino));
    if ino == 0 {
        return process(record, nstype, nsfs_dev);
    }
    let clone_flag = record.u32(at + offset_of!(Target, clone_flag));
    // If the kernel's own kind is unknown, use the caller's.
    let kind = NsKind::from_clone_flag(clone_flag.into())
        .or_else(|| NsKind::from_clone_flag(nstype & 0xffff_ffff))?;
    let (names, flags) = record.text(text::FIRST);
    let path = (flags & text_flags::WALK != 0 && flags & text_flags::CUT == 0 && !names.is_empty())
        .then(|| upwards(names, true).into());
    let kernel_id = record.u64(at + offset_of!(Target, id));
    let kernel_id = (kernel_id != 0).then_some(kernel_id);
    Some(SetnsTarget::Namespace { id: NsId::new(kind, nsfs_dev, ino.into()), kernel_id, path })
}

/// The process that is the target of setns, with its namespaces of the requested kinds.
fn process(record: View, nstype: u64, nsfs_dev: u64) -> Option<SetnsTarget> {
    let at = offset_of!(Record, target);
    let tid = record.u32(at + offset_of!(Target, tid));
    let comm = comm(record, at + offset_of!(Target, comm));
    let slots = namespaces(record, at + offset_of!(Target, namespaces), nsfs_dev);
    let wanted = NsKind::ALL.into_iter().filter(|kind| nstype & kind.clone_flag() != 0);
    (tid != 0).then(|| SetnsTarget::Process {
        pid: record.u32(at + offset_of!(Target, tgid)),
        tid,
        comm: (!comm.is_empty()).then_some(comm),
        namespaces: wanted.filter_map(|kind| *slots.of(kind)).collect(),
    })
}

/// Joins `names`, each terminated by a NUL, to the path that ends with the first and begins with the last.
fn upwards(names: &[u8], absolute: bool) -> Vec<u8> {
    // A dentry that is its own parent may have the name `/`.
    let is_name = |name: &&[u8]| !name.is_empty() && *name != b"/";
    let names: Vec<&[u8]> = names.split(|&byte| byte == 0).filter(is_name).collect();
    let mut path = Vec::new();
    for name in names.iter().rev() {
        if absolute || !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
    }
    if absolute && path.is_empty() { vec![b'/'] } else { path }
}

fn directory(record: View, moved: bool, before: usize, after: usize) -> Option<Directory> {
    Some(Directory { moved, before: resolved_path(record, before)?, after: resolved_path(record, after)? })
}

/// The path found by a walk; `None` if there was none.
fn resolved_path(record: View, index: usize) -> Option<ResolvedPath> {
    let (names, flags) = record.text(index);
    let cut = flags & text_flags::CUT != 0;
    (flags & text_flags::WALK != 0).then(|| ResolvedPath {
        path: upwards(names, !cut).into(),
        cut,
        detached: flags & text_flags::DETACHED != 0,
        deleted: flags & text_flags::DELETED != 0,
        unreachable: flags & text_flags::UNREACHABLE != 0,
    })
}

fn path(record: View, index: usize) -> PathText {
    let (bytes, flags) = record.text(index);
    if flags & text_flags::FAULT != 0 {
        return PathText::Unreadable;
    }
    let text = until_nul(bytes).into();
    if flags & text_flags::CUT != 0 { PathText::Cut(text) } else { PathText::Whole(text) }
}

/// The result of clone for a caller that is in as many pid namespaces as it has `ids`: the child's pid in the innermost
/// of those.
pub(super) fn returned(child: &CloneChild, ids: &[Pid]) -> Outcome {
    let number = ids.len().checked_sub(1).and_then(|depth| child.pids.get(depth));
    number.map_or(Outcome::Unseen, |&number| Outcome::Success(number.into()))
}

/// Negative results are minus errno.
fn outcome(result: i64) -> Outcome {
    match i32::try_from(result.unsigned_abs()) {
        Ok(errno) if is_restart(result) => Outcome::Restarted(errno),
        Ok(errno) if result < 0 => Outcome::Failure(errno),
        _ => Outcome::Success(result),
    }
}

fn pids(record: View, at: usize) -> Result<Vec<Pid>, DecodeError> {
    let count = record.u32(at + offset_of!(Pids, count));
    if count as usize > PID_LEVELS {
        return Err(DecodeError::Depth(count));
    }
    let nr = at + offset_of!(Pids, nr);
    Ok((0..count as usize).map(|level| record.u32(nr + level * size_of::<u32>())).collect())
}

fn namespaces(record: View, at: usize, nsfs_dev: u64) -> Slots<Option<NsId>> {
    let inodes = at + offset_of!(NamespaceInodes, ino);
    Slots::from_fn(|slot| match record.u32(inodes + slot.index() * size_of::<u32>()) {
        0 => None,
        ino => Some(NsId::new(slot.kind(), nsfs_dev, ino.into())),
    })
}

/// The kernel's ids of the namespaces, if it has any.
fn marks(record: View) -> Option<Box<SlotMarks>> {
    let ids = |at: usize| {
        let ids = at + offset_of!(NamespaceIds, id);
        Slots::from_fn(|slot| Mark::of_id(record.u64(ids + slot.index() * size_of::<u64>())))
    };
    let (before, after) = (ids(offset_of!(Record, before_ids)), ids(offset_of!(Record, after_ids)));
    let has_ids = before.iter().any(|(_, mark)| mark.kernel_id().is_some());
    has_ids.then(|| Box::new(SlotMarks { before, after }))
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|&byte| byte == 0).next().unwrap_or(bytes)
}

/// The bytes of one record of the right version and of the length it declares. Offsets are those of [`Record`]'s
/// fields.
#[derive(Clone, Copy)]
struct View<'a> {
    event: &'a [u8; size_of::<Record>()],
    /// The data after the event.
    text: &'a [u8],
}

impl<'a> View<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let wrong = DecodeError::Length(bytes.len());
        let (event, text) = bytes.split_first_chunk().ok_or(wrong)?;
        let record = Self { event, text };
        let header = offset_of!(Record, header);
        let version = u16::from_ne_bytes(record.bytes(header + offset_of!(Header, version)));
        if version != RECORD_VERSION {
            return Err(DecodeError::Version(version));
        }
        let size = record.u32(header + offset_of!(Header, size)) as usize;
        if size != bytes.len() {
            return Err(DecodeError::Length(size));
        }
        let length = record.u32(offset_of!(Record, text_len)) as usize;
        if length.next_multiple_of(8) != text.len() {
            return Err(wrong);
        }
        // Checked once, so that a missing text is never mistaken for an empty one.
        let inside = |index| {
            let (at, len, _) = record.piece(index);
            usize::from(at) + usize::from(len) <= length
        };
        if (0..text::COUNT).all(inside) { Ok(record) } else { Err(wrong) }
    }

    fn bytes<const N: usize>(self, at: usize) -> [u8; N] {
        part(self.event, at)
    }

    fn u16(self, at: usize) -> u16 {
        u16::from_ne_bytes(self.bytes(at))
    }

    fn u32(self, at: usize) -> u32 {
        u32::from_ne_bytes(self.bytes(at))
    }

    fn u64(self, at: usize) -> u64 {
        u64::from_ne_bytes(self.bytes(at))
    }

    fn i64(self, at: usize) -> i64 {
        i64::from_ne_bytes(self.bytes(at))
    }

    fn cause(self) -> u16 {
        self.u16(offset_of!(Record, header) + offset_of!(Header, cause))
    }

    /// The start of text `index`, its length, and its flags.
    fn piece(self, index: usize) -> (u16, u16, u16) {
        let piece = offset_of!(Record, texts) + index * size_of::<Text>();
        let field = |offset| self.u16(piece + offset);
        (field(offset_of!(Text, at)), field(offset_of!(Text, len)), field(offset_of!(Text, flags)))
    }

    /// The bytes of text `index`, and its flags.
    fn text(self, index: usize) -> (&'a [u8], u16) {
        let (at, len, flags) = self.piece(index);
        let from = self.text.get(at.into()..).unwrap_or_default();
        (from.get(..len.into()).unwrap_or_default(), flags)
    }
}

#[cfg(test)]
mod tests;
