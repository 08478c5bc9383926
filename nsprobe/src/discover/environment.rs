//! Limits of the view itself: which pid namespace `/proc` shows, and whether it hides processes.

use super::Gaps;
use super::gaps::READ_OTHERS;
use crate::kernel::proc::Proc;
use crate::model::{GapKind, Process};
use std::path::Path;

/// Notes as gaps what bounds the whole view.
pub(super) fn note(proc: &Proc, processes: &[Process], gaps: &mut Gaps) {
    let mut mountinfo = Vec::new();
    let own = proc.this_process().and_then(|own| own.read("mountinfo", &mut mountinfo));
    let hidepid = own.is_ok() && ProcMount::parse(&mountinfo, proc.root()).is_some_and(|mount| mount.hidepid);
    if hidepid && !nix::unistd::geteuid().is_root() {
        gaps.add(GapKind::HiddenProcesses, "/proc is mounted with hidepid", Some(READ_OTHERS));
    }
    // kthreadd is pid 2 of the initial pid namespace; any user may read its stat, unless hidepid is set.
    let outermost =
        processes.iter().any(|process| process.pid == 2 && process.ppid == 0 && process.kernel_thread);
    if !outermost {
        gaps.add(
            GapKind::PidNamespace,
            "this /proc shows one pid namespace and those below it, not the whole machine",
            Some("run nsprobe on the host, or in the host's pid namespace (docker: --pid=host)"),
        );
    }
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
