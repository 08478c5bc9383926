//! What `nsprobe trace` says of the descriptor given to setns(2), compared with `/proc` and ioctl_nsfs(2).

use crate::support::stage::{NamedNetns, Staged};
use crate::support::trace::{beside_strace, each_plan};
use crate::support::{proc, skipped};
use serde_json::{Value, json};
use std::process::Command;

/// Perl, for the system calls that no program makes: `fd` is open(2), `pidfd` pidfd_open(2).
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

/// Runs `script` in Perl, in a directory that has it as a file, beside strace; gives the setns and the report.
fn perl(plan: &str, script: &str) -> (Vec<Value>, String) {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("calls.pl");
    std::fs::write(&file, format!("{CALLS}{script}")).expect("a script");
    let (stream, report) = beside_strace(plan, &format!("perl {}", file.display()));
    assert_eq!(stream.code, Some(0), "{}", stream.stderr);
    (stream.of("setns").into_iter().cloned().collect(), report)
}

#[test]
fn a_namespace_file_tells_its_kind_and_its_id() {
    let _limit = crate::support::time_limit();
    if !has_perl() {
        return;
    }
    each_plan(|plan| {
        let named = NamedNetns::add();
        // NS_GET_ID of linux/nsfs.h.
        let script = format!(
            r#"my $fd = fd("{}"); open(my $file, "<&=", $fd); my $id = pack("Q", 0);
               open(my $report, ">&=", 3);
               print $report ioctl($file, 0x8008b70d, $id) ? unpack("Q", $id) : "none";
               setns($fd, 0); setns($fd, $NEWUTS);"#,
            named.path()
        );
        let (setns, id) = perl(plan, &script);
        let id = if id == "none" { Value::Null } else { id.into() };
        let target = json!({"kind": "net", "ino": named.ino(), "kernel_id": id, "path": named.path()});
        let [joined, refused] = &setns[..] else { panic!("two setns: {setns:?}") };
        assert_eq!((&joined["target"], &refused["target"]), (&target, &target));
        assert_eq!((&joined["after"]["net"], &refused["errno"]), (&named.ino().into(), &"EINVAL".into()));
    });
}

#[test]
fn a_pidfd_tells_its_process_and_the_namespaces_asked_for() {
    let _limit = crate::support::time_limit();
    if !has_perl() {
        return;
    }
    each_plan(|plan| {
        let mut staged = Staged::spawn(Command::new("unshare").args(["--uts", "--ipc", "sleep", "60"]));
        let pid = staged.wait_for("sleep");
        let script = format!(
            r#"my $fd = pidfd({pid}); setns($fd, $NEWNET); setns($fd, $NEWUTS | $NEWIPC); setns($fd, 0);
               setns(fd("/proc/{pid}"), $NEWUTS); setns(fd("/proc/{pid}/task/{pid}"), $NEWUTS);
               setns(0, $NEWUTS); setns(999, 0);"#
        );
        let (setns, _) = perl(plan, &script);
        let namespace = |kind: &str| json!({"kind": kind, "ino": proc::namespace(pid, kind)});
        let target = |kinds: &[&str]| {
            let namespaces: Vec<Value> = kinds.iter().map(|kind| namespace(kind)).collect();
            json!({"pid": pid, "tid": pid, "comm": "sleep", "namespaces": namespaces})
        };
        let [net, both, none, directory, task, input, closed] = &setns[..] else {
            panic!("seven: {setns:?}")
        };
        assert_eq!((&net["target"], &net["changed"]), (&target(&["net"]), &json!([])));
        assert_eq!((&both["target"], &both["changed"]), (&target(&["ipc", "uts"]), &json!(["ipc", "uts"])));
        assert_eq!((&none["target"], &none["errno"]), (&target(&[]), &"EINVAL".into()));
        // No descriptor that setns takes; the event says what it is all the same.
        for event in [directory, task] {
            assert_eq!((&event["target"], &event["errno"]), (&target(&["uts"]), &"EINVAL".into()));
        }
        // /dev/null, and none at all.
        assert_eq!((input.get("target"), &input["errno"]), (None, &"EINVAL".into()));
        assert_eq!((closed.get("target"), &closed["errno"]), (None, &"EBADF".into()));
    });
}

#[test]
fn a_pidfd_of_a_process_that_has_gone_tells_its_number() {
    let _limit = crate::support::time_limit();
    if !has_perl() {
        return;
    }
    each_plan(|plan| {
        let script = r#"my $child = fork; exit if !$child; my $fd = pidfd($child); waitpid($child, 0);
            open(my $report, ">&=", 3); print $report $child; setns($fd, $NEWUTS);"#;
        let (setns, child) = perl(plan, script);
        let child: u32 = child.parse().expect("a pid");
        let [event] = &setns[..] else { panic!("one setns: {setns:?}") };
        assert_eq!(event["target"], json!({"pid": child, "tid": child, "comm": null, "namespaces": []}));
        assert_eq!(event["errno"], "ESRCH");
    });
}
