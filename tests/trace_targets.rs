//! The descriptor given to setns(2) in `nsprobe trace`, compared with `/proc` and ioctl_nsfs(2).

use crate::support::parts::{Part, each_plan_in_parts};
use crate::support::stage::{NamedNetns, Staged};
use crate::support::wire::{after, changed};
use crate::support::{proc, skipped};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// Perl, for system calls that no program makes: `fd` is open(2), `pidfd` pidfd_open(2).
const CALLS: &str = r"
    sub fd { my ($path) = @_; syscall(2, $path, 0) } sub pidfd { syscall(434, $_[0] + 0, 0) }
    sub setns { syscall(308, $_[0] + 0, $_[1] + 0) }
    my ($NEWUTS, $NEWIPC, $NEWNET) = (0x04000000, 0x08000000, 0x40000000);
";

fn has_perl() -> bool {
    let has = Command::new("perl").arg("-v").output().is_ok();
    if !has {
        skipped("no perl(1) to make system calls with");
    }
    has
}

/// A part that runs `script` in Perl, as a file in `dir`, and checks the events of setns and the report.
fn perl(
    dir: &Path,
    name: &'static str,
    script: &str,
    check: impl Fn(&[&Value], &str) + 'static,
) -> Part<'static> {
    let file = dir.join(name);
    std::fs::write(&file, format!("{CALLS}{script}")).expect("a script");
    Part::new(name, format!("perl {}", file.display()), move |stream, report| {
        assert_eq!(stream.code, Some(0), "{}", stream.stderr);
        check(&stream.of("setns"), report);
    })
}

#[test]
fn descriptors_given_to_setns_are_reported_as_proc_has_them() {
    let _limit = crate::support::time_limit();
    if !has_perl() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    each_plan_in_parts(|_| {
        let parts = [a_namespace_file, a_pidfd, a_pidfd_of_a_process_that_has_gone];
        parts.map(|part| part(dir.path())).into()
    });
}

fn a_namespace_file(dir: &Path) -> Part<'static> {
    let named = NamedNetns::add();
    // NS_GET_ID of linux/nsfs.h.
    let script = format!(
        r#"my $fd = fd("{}"); open(my $file, "<&=", $fd); my $id = pack("Q", 0);
               open(my $report, ">&=", 3);
               print $report ioctl($file, 0x8008b70d, $id) ? unpack("Q", $id) : "none";
               setns($fd, 0); setns($fd, $NEWUTS);"#,
        named.path()
    );
    perl(dir, "a_namespace_file", &script, move |setns, id| {
        let id = if id == "none" { Value::Null } else { id.into() };
        let target = json!({"kind": "net", "ino": named.ino(), "kernel_id": id, "path": named.path()});
        let [joined, refused] = setns else { panic!("two setns: {setns:?}") };
        assert_eq!((&joined["target"], &refused["target"]), (&target, &target));
        assert_eq!((after(joined, "net"), &refused["errno"]), (named.ino().into(), &"EINVAL".into()));
    })
}

fn a_pidfd(dir: &Path) -> Part<'static> {
    let mut staged = Staged::spawn(Command::new("unshare").args(["--uts", "--ipc", "sleep", "1000"]));
    let pid = staged.wait_for("sleep");
    let script = format!(
        r#"my $fd = pidfd({pid}); setns($fd, $NEWNET); setns($fd, $NEWUTS | $NEWIPC); setns($fd, 0);
               setns(fd("/proc/{pid}"), $NEWUTS); setns(fd("/proc/{pid}/task/{pid}"), $NEWUTS);
               setns(0, $NEWUTS); setns(999, 0);"#
    );
    perl(dir, "a_pidfd", &script, move |setns, _| {
        let target = |kinds: &[&str]| {
            let namespace = |kind: &&str| ((*kind).to_owned(), json!(proc::namespace(pid, kind)));
            let namespaces: Value = kinds.iter().map(namespace).collect();
            json!({"pid": pid, "tid": pid, "comm": "sleep", "namespaces": namespaces})
        };
        let [net, both, none, directory, task, input, closed] = setns else { panic!("seven: {setns:?}") };
        assert_eq!((&net["target"], &net["changed"]), (&target(&["net"]), &json!({})));
        assert_eq!((&both["target"], changed(both)), (&target(&["ipc", "uts"]), json!(["ipc", "uts"])));
        assert_eq!((&none["target"], &none["errno"]), (&target(&[]), &"EINVAL".into()));
        // Not descriptors that setns accepts; the event describes them all the same.
        for event in [directory, task] {
            assert_eq!((&event["target"], &event["errno"]), (&target(&["uts"]), &"EINVAL".into()));
        }
        // /dev/null, and none at all.
        assert_eq!((input.get("target"), &input["errno"]), (None, &"EINVAL".into()));
        assert_eq!((closed.get("target"), &closed["errno"]), (None, &"EBADF".into()));
    })
    .keeping(staged)
}

fn a_pidfd_of_a_process_that_has_gone(dir: &Path) -> Part<'static> {
    let script = r#"my $child = fork; exit if !$child; my $fd = pidfd($child); waitpid($child, 0);
            open(my $report, ">&=", 3); print $report $child; setns($fd, $NEWUTS);"#;
    perl(dir, "a_pidfd_of_a_process_that_has_gone", script, move |setns, child| {
        let child: u32 = child.parse().expect("a pid");
        let [event] = setns else { panic!("one setns: {setns:?}") };
        assert_eq!(event["target"], json!({"pid": child, "tid": child, "comm": null, "namespaces": {}}));
        assert_eq!(event["errno"], "ESRCH");
    })
}
