//! Snapshots of a `/proc` made of plain files: for what a test cannot stage on the machine it runs on.

use nsprobe::discover::{Error, Options, snapshot};
use nsprobe::model::{GapKind, Initial, NsKind, NsSlot, Root, Snapshot};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use tempfile::TempDir;

/// A directory laid out like `/proc`.
struct Fixture(TempDir);

impl Fixture {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Adds a process. `namespaces` are links as in `/proc/PID/ns`: `("net", "net:[1]")`.
    fn process(&self, pid: u32, stat: &str, namespaces: &[(&str, &str)]) -> &Self {
        let dir = self.0.path().join(pid.to_string());
        fs::create_dir_all(dir.join("ns")).unwrap();
        fs::write(dir.join("stat"), stat).unwrap();
        fs::write(dir.join("cmdline"), "daemon\0--flag\0").unwrap();
        symlink("/", dir.join("root")).unwrap();
        for (name, target) in namespaces {
            symlink(target, dir.join("ns").join(name)).unwrap();
        }
        self
    }

    fn snapshot(&self) -> Snapshot {
        self.try_snapshot().unwrap()
    }

    fn try_snapshot(&self) -> Result<Snapshot, Error> {
        snapshot(&Options { proc_root: self.0.path().to_owned(), ..Options::default() })
    }
}

/// A line of `/proc/PID/stat`.
fn stat(pid: u32, comm: &str, ppid: u32, flags: u32, ticks: u64) -> String {
    format!(
        "{pid} ({comm}) S {ppid} 1 1 0 -1 {flags} 0 0 0 0 0 0 0 0 20 0 1 0 {ticks} 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
    )
}

/// `PF_KTHREAD`.
const KTHREAD: u32 = 0x0020_0000;

#[test]
fn a_kernel_without_time_namespaces_has_no_time_namespace() {
    let _limit = crate::support::time_limit();
    // Linux 5.5 and older: seven kinds, and pid_for_children.
    let fixture = Fixture::new();
    let links =
        [("net", "net:[10]"), ("mnt", "mnt:[11]"), ("pid", "pid:[12]"), ("pid_for_children", "pid:[12]")];
    fixture.process(1, &stat(1, "init", 0, 0, 1), &links);
    fixture.process(2, &stat(2, "kthreadd", 0, KTHREAD, 1), &links);
    let found = fixture.snapshot();
    let ids: Vec<_> =
        found.namespaces.iter().map(|ns| (ns.id.to_string(), ns.processes, ns.initial)).collect();
    let expected = [("mnt:[11]", 2), ("net:[10]", 2), ("pid:[12]", 2)];
    assert_eq!(ids, expected.map(|(id, count)| (id.to_owned(), count, Initial::Yes)));
    assert_eq!(found.process(1).unwrap().namespace(NsSlot::In(NsKind::Time)), None);
    assert_eq!(found.process(1).unwrap().command(), "daemon --flag");
}

#[test]
fn in_a_container_nothing_is_called_initial_and_the_view_is_said_to_be_partial() {
    let _limit = crate::support::time_limit();
    let fixture = Fixture::new();
    fixture.process(1, &stat(1, "sh", 0, 0, 1), &[("net", "net:[10]")]);
    // A process that merely has the pid and the name.
    fixture.process(2, &stat(2, "kthreadd", 1, 0, 2), &[("net", "net:[10]")]);
    let found = fixture.snapshot();
    assert_eq!(found.namespaces[0].initial, Initial::Unknown);
    let gap = found.gaps.iter().find(|gap| gap.kind == GapKind::PidNamespace).expect("a gap");
    assert!(gap.remedy.as_deref().is_some_and(|remedy| remedy.contains("--pid=host")), "{gap:?}");
}

#[test]
fn an_unknown_kind_of_namespace_and_a_garbled_link_harm_nothing_else() {
    let _limit = crate::support::time_limit();
    let fixture = Fixture::new();
    let links = [("net", "net:[10]"), ("uts", "garbled"), ("ipc", "ipc:[]"), ("newkind", "newkind:[7]")];
    fixture.process(2, &stat(2, "kthreadd", 0, KTHREAD, 1), &links);
    let found = fixture.snapshot();
    assert_eq!(found.namespaces.len(), 1);
    assert_eq!(found.namespaces[0].id.to_string(), "net:[10]");
}

#[test]
fn a_stat_that_cannot_be_parsed_is_a_gap_and_the_others_are_read() {
    let _limit = crate::support::time_limit();
    let fixture = Fixture::new();
    fixture.process(2, &stat(2, "kthreadd", 0, KTHREAD, 1), &[("net", "net:[10]")]);
    fixture.process(7, "7 no parentheses", &[("net", "net:[10]")]);
    fixture.process(8, "", &[("net", "net:[10]")]);
    let found = fixture.snapshot();
    assert_eq!(found.processes.iter().map(|process| process.pid).collect::<Vec<_>>(), [2]);
    let gap = found.gaps.iter().find(|gap| gap.kind == GapKind::ProcessStatus).expect("a gap");
    assert_eq!(gap.count, 2);
}

#[test]
fn a_process_that_ends_while_it_is_read_is_left_out_without_a_gap() {
    let _limit = crate::support::time_limit();
    let fixture = Fixture::new();
    fixture.process(2, &stat(2, "kthreadd", 0, KTHREAD, 1), &[("net", "net:[10]")]);
    // As the kernel leaves it between the listing and the reading: an empty directory.
    fs::create_dir(fixture.0.path().join("99")).unwrap();
    let found = fixture.snapshot();
    assert_eq!(found.processes.len(), 1);
    assert!(found.gaps.is_empty(), "{:?}", found.gaps);
}

#[test]
fn the_leader_is_the_earliest_of_the_topmost_whatever_the_pids() {
    let _limit = crate::support::time_limit();
    // Pids have wrapped: 50 started before 40, and 30 is a child of 50.
    let fixture = Fixture::new();
    fixture.process(30, &stat(30, "child", 50, 0, 300), &[("net", "net:[10]")]);
    fixture.process(40, &stat(40, "late", 1, 0, 200), &[("net", "net:[10]")]);
    fixture.process(50, &stat(50, "first", 1, 0, 100), &[("net", "net:[10]")]);
    let found = fixture.snapshot();
    assert_eq!(found.namespaces[0].leader, Some(50));
}

#[test]
fn a_zombie_has_a_place_and_no_namespaces() {
    let _limit = crate::support::time_limit();
    let fixture = Fixture::new();
    fixture.process(5, &stat(5, "gone", 1, 0, 9), &[]);
    fs::remove_file(fixture.0.path().join("5/root")).unwrap();
    fs::write(fixture.0.path().join("5/cmdline"), "").unwrap();
    let found = fixture.snapshot();
    let zombie = found.process(5).unwrap();
    assert_eq!((zombie.command(), &zombie.root), ("(gone)".to_owned(), &Root::Unknown));
    assert_eq!(zombie.namespace(NsSlot::In(NsKind::User)), None);
}

#[test]
fn a_proc_that_is_not_there_is_an_error_that_says_so() {
    let _limit = crate::support::time_limit();
    let error =
        snapshot(&Options { proc_root: Path::new("/nonexistent/proc").to_owned(), ..Options::default() })
            .unwrap_err();
    let Error::Proc { path, .. } = &error else { panic!("{error}") };
    assert_eq!(path, Path::new("/nonexistent/proc"));
    assert!(error.to_string().contains("is a proc file system mounted there?"), "{error}");
}

#[test]
fn an_empty_directory_is_no_proc() {
    let _limit = crate::support::time_limit();
    let error = Fixture::new().try_snapshot().unwrap_err();
    assert!(matches!(error, Error::NotProc(_)), "{error}");
    assert!(error.to_string().contains("mount -t proc proc "), "{error}");
}
