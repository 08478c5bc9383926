//! Root directories of processes: deleted ones, and names that look like those of deleted ones.

use crate::schema::{admitted, closed};
use crate::support::stage::{Staged, wait};
use crate::support::trace::{lost, one_plan};
use crate::support::{self, json, run};
use nsprobe::document::schemas;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A process with this root.
fn chrooted(root: &Path) -> Staged {
    let script = "chroot $ARGV[0] or die; sleep 1000";
    let process = Staged::spawn(Command::new("perl").args(["-e", script]).arg(root));
    let link = PathBuf::from(format!("/proc/{}/root", process.pid()));
    assert!(wait(|| (fs::read_link(&link).ok()? == root).then_some(())).is_some(), "it is chrooted");
    process
}

/// The sources of processes that may be used here.
fn sources() -> impl Iterator<Item = &'static str> {
    ["proc"].into_iter().chain(support::bpf().then_some("bpf"))
}

#[test]
fn a_deleted_root_differs_from_one_whose_name_ends_like_that() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let [deleted, named] = ["jail", "jail (deleted)"].map(|name| dir.path().join(name));
    let [first, second] = [&deleted, &named].map(|root| {
        fs::create_dir(root).unwrap();
        chrooted(root)
    });
    let before = dir.path().join("before.json");
    fs::write(&before, run(&["list", "--json"]).stdout).unwrap();
    fs::remove_dir(&deleted).unwrap();
    for source in sources() {
        let list = json(&["list", "--json", "--source", source]);
        admitted(&closed(schemas::LIST), &list, "list");
        let of = |staged: &Staged| {
            let mut processes = list["processes"].as_array().unwrap().iter();
            let process = processes.find(|process| process["pid"] == staged.pid()).unwrap();
            assert_eq!(process["chrooted"], true, "{process}");
            (process["root"].clone(), process["root_deleted"].clone())
        };
        assert_eq!(of(&first), (deleted.to_str().unwrap().into(), true.into()), "{source}");
        assert_eq!(of(&second), (named.to_str().unwrap().into(), false.into()), "{source}");
    }
    let tree = |staged: &Staged| run(&["tree", &staged.pid().to_string()]).stdout;
    let [first_text, second_text] = [&first, &second].map(tree);
    assert!(first_text.contains(&format!("root {} (deleted)", deleted.display())), "{first_text}");
    assert!(second_text.contains(&format!("root \"{}\"", named.display())), "{second_text}");
    let filtered = run(&["tree", "--filter", &format!("root_deleted && pid == {}", first.pid())]).stdout;
    assert!(filtered.contains(&format!("root {} (deleted)", deleted.display())), "{filtered}");

    // Its root is the same as before.
    let after = dir.path().join("after.json");
    fs::write(&after, run(&["list", "--json"]).stdout).unwrap();
    let [before, after] = [&before, &after].map(|path| path.to_str().unwrap());
    let difference: Value = serde_json::from_str(&run(&["diff", "--json", before, after]).stdout).unwrap();
    let changed = difference["processes"]["changed"].as_array().unwrap();
    let is_ours =
        |moved: &&Value| [first.pid(), second.pid()].iter().any(|pid| moved["process"]["pid"] == *pid);
    assert_eq!(changed.iter().find(is_ours), None);
}

/// Programs that move to a root whose link is `/`, without a path to it: the top of a file system that is then unmounted
/// lazily, the root of the former mount namespace, the root of its own one, and a file system mounted over that.
const TOPS: [&str; 4] = [
    "chdir $dir or die; syscall(166, $dir, 2) and die; chroot '.' or die",
    "opendir D, '/' or die; syscall(272, 0x20000) and die; chdir D or die; chroot '.' or die",
    "chdir '/' or die; chroot '.' or die",
    "my ($name, $type, $top) = ('nsprobe', 'tmpfs', '/'); syscall(165, $name, $top, $type, 0, 0) and die;
     chroot '/..' or die",
];

#[test]
fn root_that_the_mount_namespace_does_not_have_is_a_chroot() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut staged = TOPS.map(|program| {
        let script = format!("our $dir = shift; {program}; $0 = 'at-its-root'; sleep 1000");
        let mount = "mount -t tmpfs nsprobe \"$1\" && exec perl -e \"$0\" \"$1\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", mount, &script]);
        Staged::spawn(command.arg(dir.path()))
    });
    let pids = staged.each_mut().map(|process| process.wait_for("at-its-root"));
    for source in sources() {
        let list = json(&["list", "--json", "--source", source]);
        let facts = pids.map(|pid| {
            let process = list["processes"].as_array().unwrap().iter().find(|process| process["pid"] == pid);
            let process = process.unwrap();
            assert_eq!(process["root"], "/", "{process}");
            process["chrooted"].as_bool()
        });
        assert_eq!(facts, [Some(true), Some(true), Some(false), Some(false)], "{source}");
        let roots = pids.map(|pid| {
            let text = run(&["tree", "--source", source, &pid.to_string()]).stdout;
            let root = text.lines().find_map(|line| line.trim_start().strip_prefix("┊ root "));
            root.map(str::to_owned)
        });
        let outside = Some("/ (outside its mount namespace)".to_owned());
        assert_eq!(roots, [outside.clone(), outside, None, None], "{source}");
    }
}

/// Moves to three roots whose path is `/`, like that of the root before: of a file system that was unmounted lazily, back,
/// and to a file system mounted over it.
const THREE_ROOTS: &str = r#"
    my ($point, $name, $type, $top) = (shift, "nsprobe", "tmpfs", "/");
    syscall(165, $name, $point, $type, 0, 0) and die "mount";
    opendir BEFORE, $top or die; chdir $point or die; syscall(166, $point, 2) and die "umount";
    chroot "." or die;
    chdir BEFORE or die; chroot "." or die;
    syscall(165, $name, $top, $type, 0, 0) and die "mount";
    chroot "/.." or die;
"#;

#[test]
fn root_of_the_same_path_is_shown_as_a_different_one() {
    let _limit = support::time_limit();
    let dir = tempfile::tempdir().unwrap();
    one_plan(|plan| {
        let trace = || {
            let mut command = support::nsprobe();
            command.args(["trace", "--source", plan, "--event", "chroot", "--", "unshare", "--mount"]);
            command.args(["--propagation", "private", "perl", "-e", THREE_ROOTS]).arg(dir.path());
            support::Ran::from(command.output().unwrap())
        };
        // The kernel may leave out calls while a task is preempted in a program.
        let mut runs = std::iter::repeat_with(trace).take(6);
        let ran = runs.find(|ran| lost(&ran.stderr).is_empty() && lost(&ran.stdout).is_empty()).unwrap();
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let calls = ran.stdout.lines().filter_map(|line| line.find("chroot(").map(|at| &line[at..]));
        let expected = [
            r#"chroot(".") = 0  root /→/ (detached)"#,
            r#"chroot(".") = 0  root / (detached)→/"#,
            r#"chroot("/..") = 0  root /→/ (different mount or directory)"#,
        ];
        assert_eq!(calls.collect::<Vec<_>>(), expected, "{}", ran.stdout);
    });
}
