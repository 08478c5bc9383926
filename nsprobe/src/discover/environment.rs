//! Limits of the view itself: the pid namespace that `/proc` shows, hidden processes, and nsprobe's root directory.

use super::builder::Builder;
use super::context::Context;
use super::lines::{self, Line};
use super::parse;
use super::visibility::kthreadd;
use crate::kernel::advice::{WITH_HOSTS_PIDS, remedy};
use crate::kernel::bounded;
use crate::kernel::capabilities::Capability;
use crate::kernel::mount_room::{self, Room};
use crate::kernel::proc::Proc;
use crate::kernel::statx;
use crate::model::{GapKind, NsKind, NsSlot, Pid, Root};
use std::path::Path;

impl Builder {
    /// Adds gaps for whatever limits the whole view. `listed` are the processes that `/proc` shows, readable or not.
    pub(super) fn note_limits(&mut self, listed: &[Pid]) {
        // Whoever sees kthreadd, which root owns, sees every process, with `hidepid` or without.
        if kthreadd(&self.processes).is_some() {
            return;
        }
        let hides = hides(&self.context.proc).then(|| remedy(&[Capability::SysPtrace])).flatten();
        let unread = listed.contains(&2) && !self.processes.iter().any(|process| process.pid == 2);
        if let Some(remedy) = hides {
            let reason = "/proc is mounted with hidepid, which hides other users' processes";
            self.gaps.add(GapKind::HiddenProcesses, reason, Some(&remedy));
        } else if !unread {
            // Any user may read pid 2, so this is not the initial pid namespace.
            self.gaps.add(
                GapKind::PidNamespace,
                "this /proc shows one pid namespace and those below it, not the whole machine",
                Some(WITH_HOSTS_PIDS),
            );
        }
    }

    /// If nsprobe is chrooted, adds a gap, and marks the roots of processes in its mount namespace as unknown:
    /// `/proc/PID/root` reads as `/` both for processes with the reader's root and for those with one above it.
    pub(super) fn note_chroot(&mut self) {
        if !is_chrooted(&self.context) {
            return;
        }
        self.gaps.add(
            GapKind::Chroot,
            "nsprobe is chrooted: in its mount namespace, mounts outside its root may be missing, and paths are relative to it",
            Some("run outside the chroot"),
        );
        let own = self.context.own_namespace(NsKind::Mnt);
        for process in &mut self.processes {
            let elsewhere = process.namespace(MOUNTS).is_some_and(|id| own.is_some_and(|own| own != id));
            if process.root == Root::Whole && !process.kernel_thread && !elsewhere {
                process.root = Root::Unknown;
            }
        }
    }
}

const MOUNTS: NsSlot = NsSlot::In(NsKind::Mnt);

/// Returns true if nsprobe's root is not that of its mount namespace. Compared by identity: `/proc/self/root` always
/// reads as `/`.
fn is_chrooted(context: &Context) -> bool {
    let Ok(own) = context.proc.this_process() else { return false };
    let context = context.clone();
    let first = bounded::one(move |_| {
        let first = context.namespace(&context.proc.process(1).ok()?, MOUNTS).ok()??;
        let own = context.own_namespace(NsKind::Mnt)?;
        (first == own).then(|| statx::directory_identity(c"/proc/1/root"))?
    });
    if let Some(first) = first.ok().flatten() {
        return statx::directory_identity(c"/").is_some_and(|own| own != first);
    }
    // Without another root to compare with: in a chroot that is not itself a mount point, nothing is mounted at `/`.
    let (mut turn, mut found) = (Room::for_mounts().turn(mount_room::ONE), false);
    let whole = lines::mounts(&own, 0, &mut turn, &mut |line| {
        found |= matches!(line, Line::Whole(line) if parse::is_root_mount(line));
        !found
    });
    // If not all could be read, the root mount may be in the rest.
    whole.is_ok_and(|whole| whole && !found)
}

/// Returns true if the proc file system is mounted with `hidepid`.
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
    /// `hidepid` is in effect: processes of other users are not listed or not readable (Linux 3.3).
    pub hidepid: bool,
    /// `subset=pid`: only processes are shown (Linux 5.8).
    pub subset_pid: bool,
}

impl ProcMount {
    /// Parses the topmost mount at `root` from the bytes of a `/proc/PID/mountinfo`; `None` if no proc file system is
    /// mounted there.
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
    fn topmost_proc_mount_is_used() {
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
