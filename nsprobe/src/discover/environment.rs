//! Limits of the view itself: which pid namespace `/proc` shows, whether it hides processes, and nsprobe's root directory.

use super::gaps::Gaps;
use super::lines::{self, Line};
use super::sight::kthreadd;
use super::{parse, processes};
use crate::kernel::advice::{WITH_HOSTS_PIDS, remedy};
use crate::kernel::bounded;
use crate::kernel::capabilities::Capability;
use crate::kernel::mount_room::{self, Room};
use crate::kernel::proc::Proc;
use crate::kernel::statx;
use crate::model::{GapKind, NsKind, NsSlot, Pid, Process, Root};
use std::path::Path;

/// Notes as gaps what bounds the whole view. `listed` are the processes that `proc` shows, read or not.
pub(super) fn note(proc: &Proc, listed: &[Pid], processes: &[Process], gaps: &mut Gaps) {
    // Who sees kthreadd, which is root's, sees every process: `hidepid` or not.
    if kthreadd(processes).is_some() {
        return;
    }
    let hides = hides(proc).then(|| remedy(&[Capability::SysPtrace])).flatten();
    let unread = listed.contains(&2) && !processes.iter().any(|process| process.pid == 2);
    if let Some(remedy) = hides {
        let reason = "/proc is mounted with hidepid, which hides other users' processes";
        gaps.add(GapKind::HiddenProcesses, reason, Some(&remedy));
    } else if !unread {
        // Any user may read it, so this is another pid namespace than the initial one.
        gaps.add(
            GapKind::PidNamespace,
            "this /proc shows one pid namespace and those below it, not the whole machine",
            Some(WITH_HOSTS_PIDS),
        );
    }
}

/// Where nsprobe is chrooted, notes that as a gap, and forgets that processes in its mount namespace have the whole root:
/// `/proc/PID/root` is `/` for who has the root of the reader, and for who has one above it.
pub(super) fn note_chroot(proc: &Proc, nsfs_dev: u64, processes: &mut [Process], gaps: &mut Gaps) {
    if !is_chrooted(proc, nsfs_dev) {
        return;
    }
    gaps.add(
        GapKind::Chroot,
        "nsprobe is chrooted: in its mount namespace, mounts outside its root may be missing, and paths are relative to it",
        Some("run outside the chroot"),
    );
    let own = processes::own_namespace(proc, NsKind::Mnt, nsfs_dev);
    for process in processes {
        let elsewhere = process.namespace(MOUNTS).is_some_and(|id| own.is_some_and(|own| own != id));
        if process.root == Root::Whole && !process.kernel_thread && !elsewhere {
            process.root = Root::Unknown;
        }
    }
}

const MOUNTS: NsSlot = NsSlot::In(NsKind::Mnt);

/// Whether nsprobe's root is not that of its mount namespace. By identity: the link `/proc/self/root` is `/` for everyone who
/// reads their own.
fn is_chrooted(proc: &Proc, nsfs_dev: u64) -> bool {
    let Ok(own) = proc.this_process() else { return false };
    let proc = proc.clone();
    let first = bounded::one(move |_| {
        let first = processes::namespace(&proc.process(1).ok()?, MOUNTS, nsfs_dev).ok()??;
        let own = processes::own_namespace(&proc, NsKind::Mnt, nsfs_dev)?;
        (first == own).then(|| statx::place(c"/proc/1/root"))?
    });
    if let Some(first) = first.ok().flatten() {
        return statx::place(c"/").is_some_and(|own| own != first);
    }
    // With no other root at hand: in a chroot that is no mount of its own, nothing is mounted at `/`.
    let (mut turn, mut found) = (Room::for_mounts().turn(mount_room::ONE), false);
    let whole = lines::mounts(&own, 0, &mut turn, &mut |line| {
        found |= matches!(line, Line::Whole(line) if parse::is_root_mount(line));
        !found
    });
    // Where not all could be read the root mount may be among the rest.
    whole.is_ok_and(|whole| whole && !found)
}

/// Whether the proc file system is mounted with `hidepid`.
fn hides(proc: &Proc) -> bool {
    let mut topmost = None;
    let mut each = |line: Line<'_>| {
        if let Line::Whole(line) = line {
            topmost = ProcMount::parse(line, proc.root()).or(topmost);
        }
        true
    };
    let mut turn = Room::for_mounts().turn(mount_room::ONE);
    let read = proc.this_process().and_then(|own| lines::mounts(&own, 0, &mut turn, &mut each));
    read.is_ok() && topmost.is_some_and(|mount| mount.hidepid)
}

/// The options of a proc mount that hide something: proc(5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcMount {
    /// `hidepid` is in force: processes of other users are not listed or not readable (Linux 3.3).
    pub hidepid: bool,
    /// `subset=pid`: there is nothing but processes (Linux 5.8).
    pub subset_pid: bool,
}

impl ProcMount {
    /// The topmost mount at `root`, from the bytes of a `/proc/PID/mountinfo`; `None` when there is no proc
    /// file system at that place.
    #[must_use]
    pub fn parse(mountinfo: &[u8], root: &Path) -> Option<Self> {
        let text = String::from_utf8_lossy(mountinfo);
        let line = text.lines().rfind(|line| line.split(' ').nth(4).map(Path::new) == Some(root))?;
        let mut rest = line.split_once(" - ")?.1.split(' ');
        if rest.next()? != "proc" {
            return None;
        }
        let options: Vec<&str> = rest.nth(1)?.split(',').collect();
        let set = |name: &str| options.iter().find_map(|option| option.strip_prefix(name)?.strip_prefix('='));
        Some(Self {
            hidepid: set("hidepid").is_some_and(|mode| mode != "0" && mode != "off"),
            subset_pid: set("subset") == Some("pid"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topmost_proc_mount_counts() {
        let parse = |text: &str| ProcMount::parse(text.as_bytes(), Path::new("/proc"));
        let open = Some(ProcMount::default());
        let plain = "20 1 0:4 / /proc rw,relatime - proc proc rw\n";
        let hiding = "21 20 0:5 / /proc rw shared:3 - proc proc rw,gid=4,hidepid=invisible,subset=pid\n";
        assert_eq!(parse(plain), open);
        assert_eq!(parse(&format!("{plain}{hiding}")), Some(ProcMount { hidepid: true, subset_pid: true }));
        assert_eq!(parse(&format!("{hiding}{plain}")), open);
        assert_eq!(parse("20 1 0:4 / /proc rw - proc proc rw,hidepid=off"), open);
        assert_eq!(parse("20 1 0:4 / /proc rw - tmpfs tmpfs rw"), None);
        assert_eq!(parse("20 1 0:4 / /proc rw"), None);
        assert_eq!(parse(""), None);
    }
}
