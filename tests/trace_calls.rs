//! The reports of calls by `nsprobe trace`, compared with strace(1) on the same calls and with what the processes
//! themselves read in `/proc/self/ns`.

use crate::support::parts::{Part, each_plan_in_parts};
use crate::support::stage::NamedNetns;
use crate::support::trace::{Stream, each_plan, one_plan};
use crate::support::wire::{after, all_after, all_before, before, changed};
use crate::support::{proc, skipped, stage};
use serde_json::{Value, json};
use std::process::Command;

/// The namespaces in a report line `WORD:…`: `net:[4026531833]` → 4026531833, one for each link.
fn inodes(report: &str, word: &str) -> Vec<u64> {
    let line = report.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(':'));
    let line = line.unwrap_or_else(|| panic!("no {word} in {report}"));
    let number = |link: &str| link.split_once(":[")?.1.strip_suffix(']')?.parse().ok();
    line.split_whitespace().map(|link| number(link).unwrap_or_else(|| panic!("{link}"))).collect()
}

/// Shell text that writes `WORD:` and these links of `/proc/self/ns` to the report.
fn report_links(word: &str, links: &str) -> String {
    let files: Vec<String> = links.split(' ').map(|link| format!("/proc/self/ns/{link}")).collect();
    format!("echo {word}: $(readlink {}) >&3", files.join(" "))
}

/// Checks a namespace before and after the call.
fn assert_moved(event: &Value, kind: &str, from: u64, to: u64) {
    assert_eq!((before(event, kind), after(event, kind)), (from.into(), to.into()), "{event}");
}

#[test]
fn calls_are_seen_as_strace_and_the_callers_see_them() {
    let _limit = crate::support::time_limit();
    each_plan_in_parts(|_| {
        let mut parts = vec![unshare_and_ip_netns(), every_namespace(), failures(), chroots(), joined()];
        if Command::new("bwrap").arg("--version").output().is_ok() {
            parts.extend([a_clone(), a_failed_clone()]);
        } else {
            skipped("no bwrap(1), which clones into namespaces");
        }
        parts
    });
}

fn unshare_and_ip_netns<'a>() -> Part<'a> {
    let name = format!("nsprobe-trace-{}", std::process::id());
    let script = format!(
        "{before}
             unshare -n sh -c '{unshared}'
             ip netns add {name}
             echo named: net:[$(stat -c %i /run/netns/{name})] >&3
             ip netns exec {name} sh -c '{inside}'
             ip netns del {name}",
        before = report_links("before", "net mnt"),
        unshared = report_links("unshared", "net"),
        inside = report_links("inside", "net mnt"),
    );
    Part::new("unshare_and_ip_netns", script, move |stream, report| {
        assert_eq!((stream.code, stream.end_reason()), (Some(0), "command ended"), "{}", stream.stderr);
        let [net, mnt] = inodes(report, "before")[..] else { panic!("{report}") };
        let [named] = inodes(report, "named")[..] else { panic!("{report}") };

        let [unshared, added, entered] = stream.of("unshare")[..] else { panic!("three unshares") };
        assert_moved(unshared, "net", net, inodes(report, "unshared")[0]);
        assert_eq!(changed(unshared), json!(["net"]));
        assert_moved(added, "net", net, named);

        let setns = stream.of("setns");
        let into = setns.last().expect("a setns");
        assert_moved(into, "net", net, named);
        let target = &into["target"];
        assert_eq!(
            (&target["kind"], &target["ino"], &target["path"]),
            (&"net".into(), &named.into(), &format!("/run/netns/{name}").into())
        );
        assert_eq!(inodes(report, "inside"), [named, after(entered, "mnt").as_u64().expect("an inode")]);
        assert_eq!(before(entered, "mnt"), mnt);
    })
}

fn every_namespace<'a>() -> Part<'a> {
    let links = "cgroup ipc mnt net pid time user uts pid_for_children time_for_children";
    let script = format!("{}\nexec unshare -u true", report_links("self", links));
    Part::new("every_namespace", script, move |stream, report| {
        let [event] = stream.of("unshare")[..] else { panic!("one unshare") };
        let slots = all_before(event);
        let reported: Vec<u64> =
            links.split(' ').map(|link| slots[link].as_u64().expect("an inode")).collect();
        assert_eq!(reported, inodes(report, "self"));
        assert_eq!(changed(event), json!(["uts"]));
        let process = &event["process"];
        assert_eq!(
            (&process["comm"], &process["uid"], &process["gid"], &process["euid"]),
            (&"unshare".into(), &0.into(), &0.into(), &0.into())
        );
        assert!(event["duration_ns"].as_u64().is_some_and(|ns| ns > 0), "{event}");
    })
}

fn failures<'a>() -> Part<'a> {
    let script = "chroot /nonexistent true
             nsenter --net=/etc/passwd true
             nsenter --net=/proc/self/ns/uts true
             unshare --user --map-root-user sh -c 'echo 0 > /proc/sys/user/max_uts_namespaces; unshare --uts true'
             true";
    Part::new("failures", script, move |stream, _| {
        // nsenter tries each twice, the second time after a user namespace would have been entered.
        let mut errnos: Vec<&str> = stream.events().filter_map(|event| event["errno"].as_str()).collect();
        errnos.dedup();
        assert_eq!(errnos, ["ENOENT", "EINVAL", "ENOSPC"]);
        for event in stream.events().filter(|event| event["result"] == -1) {
            assert_eq!(all_before(event), all_after(event), "{event}");
            assert_eq!((changed(event), event.get("unsure")), (json!([]), None));
        }
        let [text, .., uts] = stream.of("setns")[..] else { panic!("two setns") };
        assert_eq!(text.get("target"), None);
        assert_eq!((&uts["target"]["kind"], &uts["target"]["path"]), (&"uts".into(), &Value::Null));
    })
}

fn chroots<'a>() -> Part<'a> {
    let [empty, furnished] = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    stage::furnish(furnished.path(), "/bin/sh");
    let long = format!("/tmp/{}", "x/".repeat(200));
    let script = format!(
        "chroot {} /bin/sh -c true; echo $? >&3; chroot {long} true; chroot {} /bin/sh -c 'exit 5'",
        empty.path().display(),
        furnished.path().display()
    );
    Part::new("chroots", script, move |stream, report| {
        // In an empty directory the chroot succeeds, but the program to run does not exist.
        assert_eq!((report.trim(), stream.code), ("127", Some(5)));
        let [without, cut, with] = stream.of("chroot")[..] else { panic!("three chroots") };
        for (event, root) in [(without, &empty), (with, &furnished)] {
            assert_eq!(event["args"], json!({"path": root.path()}));
            assert_eq!((&event["result"], event.get("errno")), (&0.into(), None));
        }
        // Longer than the probe keeps.
        let reported = cut["args"]["path"].as_str().expect("a path");
        assert!(reported.len() >= 200 && long.starts_with(reported), "{reported}");
        assert_eq!((&cut["args"]["path_cut"], &cut["errno"]), (&true.into(), &"ENOENT".into()));
    })
}

fn a_clone<'a>() -> Part<'a> {
    let inside = report_links("inside", "mnt net pid");
    let script = format!(
        "{}\nbwrap --unshare-pid --unshare-net --dev-bind / / sh -c '{inside}; echo child: $$ >&3'",
        report_links("outside", "mnt net pid")
    );
    Part::new("a_clone", script, move |stream, report| {
        let [clone] = stream.of("clone")[..] else { panic!("one clone") };
        let (outside, inside) = (inodes(report, "outside"), inodes(report, "inside"));
        assert_moved(clone, "net", outside[1], inside[1]);
        assert_moved(clone, "pid", outside[2], inside[2]);
        let child = &clone["child"];
        assert_eq!((&child["pids"][1], child["pids"].get(2)), (&1.into(), None), "{child}");
        assert_eq!((&child["pids"][0], &clone["result"]), (&child["pid"], &child["pid"]));
        // bwrap's pivot_root, in the child, which is process 1 inside.
        let pivots = stream.of("pivot_root");
        assert!(!pivots.is_empty());
        for pivot in pivots {
            assert_eq!(pivot["process"]["pid"], child["pid"], "{pivot}");
            assert_eq!(
                (&pivot["process"]["pids"][1], &pivot["process"]["ppid"]),
                (&1.into(), &clone["process"]["pid"])
            );
        }
        // A second pivot leaves the child in another root of the same mount namespace, not in another namespace.
        assert_eq!(after(clone, "mnt"), before(stream.of("pivot_root")[0], "mnt"));
    })
}

fn a_failed_clone<'a>() -> Part<'a> {
    let limited = "echo 0 > /proc/sys/user/max_net_namespaces; bwrap --unshare-net --dev-bind / / true";
    Part::new(
        "a_failed_clone",
        format!("unshare --user --map-root-user sh -c '{limited}'"),
        move |stream, _| {
            let [clone] = stream.of("clone")[..] else { panic!("one clone") };
            assert_eq!((&clone["result"], &clone["errno"]), (&(-1).into(), &"ENOSPC".into()));
            assert_eq!((clone.get("child"), all_before(clone)), (None, all_after(clone)));
            assert_eq!(clone["args"]["flags"], json!(["CLONE_NEWNS", "CLONE_NEWNET"]));
        },
    )
}

#[test]
fn clone_all_reports_every_task() {
    let _limit = crate::support::time_limit();
    each_plan(|plan| {
        let script = "sh -c 'true & wait; (exit 3); : $(true)'";
        // `beside_strace` checks that without `--clone all` only those with a new namespace are reported.
        let args = ["--source", plan, "--event", "clone", "--clone", "all", "--", "sh", "-c", script];
        let stream = Stream::record(&args);
        let clones = stream.of("clone");
        for clone in &clones {
            assert_eq!(changed(clone), json!([]));
            assert_eq!((&clone["child"]["tid"], clone.get("errno")), (&clone["result"], None));
        }
        // Each has a parent in the family, and the first is the command's own child.
        let mut family: Vec<&Value> = clones.iter().map(|clone| &clone["child"]["pid"]).collect();
        family.extend(clones.first().map(|clone| &clone["process"]["pid"]));
        assert!(clones.iter().all(|clone| family.contains(&&clone["process"]["pid"])), "{clones:?}");
        // `true &`, `(exit 3)`, `$(true)`; the outer shell may exec the inner one.
        assert!((3..=4).contains(&clones.len()), "{clones:?}");
    });
}

fn joined<'a>() -> Part<'a> {
    let netns = NamedNetns::add();
    let mut staged = stage::Staged::spawn(Command::new("unshare").args(["--uts", "--ipc", "sleep", "1000"]));
    let pid = staged.wait_for("sleep");
    let (uts, ipc) = (proc::namespace(pid, "uts"), proc::namespace(pid, "ipc"));
    let script = format!("nsenter --net={} true; nsenter --uts --ipc --target {pid} true", netns.path());
    Part::new("joined", script, move |stream, _| {
        let [net, ref others @ ..] = stream.of("setns")[..] else { panic!("a setns") };
        let target = &net["target"];
        assert_eq!(
            (&target["kind"], &target["ino"], &target["path"]),
            (&"net".into(), &netns.ino().into(), &netns.path().into())
        );
        assert_eq!(after(net, "net"), netns.ino());
        // Depending on nsenter's version one call for each, or one with a pidfd, which is not a namespace file.
        let last = others.last().expect("a setns");
        assert_eq!((after(last, "uts").as_u64(), after(last, "ipc").as_u64()), (uts, ipc));
        for target in others.iter().filter_map(|event| event.get("target")) {
            if target.get("pid").is_some() {
                assert_eq!(target["pid"], pid, "{target}");
                continue;
            }
            assert_eq!(target["path"], Value::Null);
            let ino = if target["kind"] == "uts" { uts } else { ipc };
            assert_eq!(target["ino"].as_u64(), ino, "{target}");
        }
    })
    .keeping(staged)
}

#[test]
fn an_empty_mount_namespace_is_of_kind_mnt() {
    let _limit = crate::support::time_limit();
    one_plan(|plan| {
        let program = "exit(syscall(272, 0x100000) == 0 ? 0 : 3)";
        let stream = Stream::record(&["--source", plan, "--kind", "mnt", "--", "perl", "-e", program]);
        let [event] = stream.of("unshare")[..] else { panic!("one unshare: {:?}", stream.lines) };
        assert_eq!(event["args"]["flags"], json!(["UNSHARE_EMPTY_MNTNS"]));
        if stream.code == Some(3) {
            return skipped("this kernel has no UNSHARE_EMPTY_MNTNS (Linux 7.1)");
        }
        // Its root and working directory are in it too.
        assert!(stream.code == Some(0) && event["changed"].get("mnt").is_some(), "{event}");
    });
}
