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
    if own.is_ok() && hides_processes(&mountinfo, proc.root()) {
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

/// Whether the topmost proc mount at `root` has the option `hidepid` in force: proc(5).
fn hides_processes(mountinfo: &[u8], root: &Path) -> bool {
    let text = String::from_utf8_lossy(mountinfo);
    let at_root = |line: &&str| line.split(' ').nth(4).map(Path::new) == Some(root);
    let Some(options) = text.lines().rfind(at_root).and_then(|line| line.split(" - ").nth(1)) else {
        return false;
    };
    options
        .split([' ', ','])
        .filter_map(|option| option.strip_prefix("hidepid="))
        .any(|mode| mode != "0" && mode != "off")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidepid_is_read_from_the_topmost_proc_mount() {
        let plain = "20 1 0:4 / /proc rw,relatime - proc proc rw\n";
        let hiding = "21 20 0:5 / /proc rw,relatime shared:3 - proc proc rw,gid=4,hidepid=invisible\n";
        let proc = Path::new("/proc");
        assert!(!hides_processes(plain.as_bytes(), proc));
        assert!(hides_processes(format!("{plain}{hiding}").as_bytes(), proc));
        assert!(!hides_processes(format!("{hiding}{plain}").as_bytes(), proc));
        assert!(!hides_processes(b"20 1 0:4 / /proc rw - proc proc rw,hidepid=off", proc));
        assert!(!hides_processes(b"", proc));
    }
}
