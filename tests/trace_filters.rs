//! The conditions of `nsprobe trace`. The probe drops events that do not match: while nsprobe is stopped, many calls
//! that do not match and one or two that do fit into a buffer for three, so that none is lost. Conditions at the
//! entry of a call are decided by the same code in each plan, so one plan will do.

use crate::support::cgroup::Cgroup;
use crate::support::stage::{self, NamedNetns};
use crate::support::trace::{Stream, each_plan, one_plan};
use crate::support::tracing::Tracing;
use crate::support::{Ran, root, run, skipped};
use nix::sys::signal::{Signal, kill};
use serde_json::Value;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A script that has not begun yet; killed when dropped.
struct Script {
    child: Child,
    dir: tempfile::TempDir,
}

impl Script {
    fn new(script: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let script = format!("{}; {script}", stage::until(&dir.path().join("go")));
        let mut command = Command::new("sh");
        command.args(["-c", &script]).current_dir(dir.path()).stdin(Stdio::null()).stderr(Stdio::null());
        Self { child: command.spawn().expect("sh starts"), dir }
    }

    fn pid(&self) -> String {
        self.child.id().to_string()
    }

    /// Lets it go on, and waits for its end.
    fn finish(&mut self) {
        std::fs::write(self.dir.path().join("go"), "").expect("a file");
        self.child.wait().expect("it ends");
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The output with `args` while `scripts` run one after the other and nsprobe does not read.
fn reported(plan: &str, args: &[&str], scripts: &mut [&mut Script]) -> Ran {
    let tracing = Tracing::start(&[&["--source", plan, "--buffer", "4K"], args].concat());
    kill(tracing.pid(), Signal::SIGSTOP).expect("nsprobe runs");
    for script in scripts {
        script.finish();
    }
    kill(tracing.pid(), Signal::SIGCONT).expect("nsprobe runs");
    kill(tracing.pid(), Signal::SIGINT).expect("nsprobe runs");
    tracing.end()
}

/// The output with `args` for one script and its descendants. Checks that nothing was lost.
fn record_family(plan: &str, args: &[&str], script: &str) -> Stream {
    Stream::retry(|| {
        let mut script = Script::new(script);
        let pid = script.pid();
        reported(plan, &[&["--pid", &pid, "--follow"], args].concat(), &mut [&mut script])
    })
}

/// The events in short: the call and its flags or path.
fn short(stream: &Stream) -> Vec<String> {
    let argument = |args: &Value| match &args["flags"] {
        Value::Array(flags) => flags.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("|"),
        _ => args["path"].as_str().unwrap_or_default().to_owned(),
    };
    let name = |event: &Value| event["event"].as_str().expect("a name").to_owned();
    stream.events().map(|event| format!("{} {}", name(event), argument(&event["args"]))).collect()
}

/// Repeats a command that does not match ten times.
fn ten(command: &str) -> String {
    format!("for i in 1 2 3 4 5 6 7 8 9 10; do {command}; done;")
}

#[test]
fn kinds_that_calls_name() {
    let _limit = crate::support::time_limit();
    each_plan(|plan| {
        let script = ten("unshare --uts true") + "unshare --net true; unshare --uts --ipc true";
        let stream = record_family(plan, &["--kind", "net,ipc"], &script);
        assert_eq!(short(&stream), ["unshare CLONE_NEWNET", "unshare CLONE_NEWUTS|CLONE_NEWIPC"]);
        // By the target, whatever the arguments of setns are; and by its second argument, whatever the descriptor is.
        let netns = NamedNetns::add();
        let join =
            format!("perl -e 'open my $file, \"<\", \"{}\"; syscall(308, fileno $file, 0)'", netns.path());
        let fail = "perl -e 'syscall(308, -1, 0x40000000)'";
        let script = ten("unshare --uts true; chroot / true; nsenter --uts=/proc/2/ns/uts true");
        let stream = record_family(plan, &["--kind", "net", "--all"], &format!("{script} {join}; {fail}"));
        assert_eq!(short(&stream), ["setns ", "setns CLONE_NEWNET"]);
        // The root directory belongs to the mount tree.
        let stream = record_family(plan, &["--kind", "mnt"], &(ten("unshare --uts true") + "chroot / true"));
        assert_eq!(short(&stream), ["chroot /"]);
    });
}

#[test]
fn a_child_that_is_in_another_namespace_is_of_its_kind() {
    let _limit = crate::support::time_limit();
    one_plan(|plan| {
        let script = ten("unshare --uts true") + "unshare --pid --fork true";
        let stream = record_family(plan, &["--kind", "pid", "--clone", "all"], &script);
        let events = short(&stream);
        assert!(events[0] == "unshare CLONE_NEWPID" && events[1].starts_with("clone "), "{events:?}");
        assert_eq!(events.len(), 2);
    });
}

#[test]
fn processes_by_their_ids() {
    let _limit = crate::support::time_limit();
    one_plan(|plan| {
        let stream = Stream::retry(|| {
            let mut others = Script::new(&ten("unshare --uts true"));
            // Its children's calls are not its own.
            let mut meant = Script::new(&(ten("unshare --net true") + "exec unshare --ipc true"));
            let mut second = Script::new("exec unshare --user true");
            let pids = format!("{},{}", meant.pid(), second.pid());
            reported(plan, &["--pid", &pids], &mut [&mut others, &mut meant, &mut second])
        });
        assert_eq!(short(&stream), ["unshare CLONE_NEWIPC", "unshare CLONE_NEWUSER"]);
    });
}

#[test]
fn descendants_that_were_there_and_that_come() {
    let _limit = crate::support::time_limit();
    one_plan(|plan| {
        let stream = Stream::retry(|| {
            let mut others = Script::new(&ten("unshare --uts true"));
            let dir = tempfile::tempdir().expect("a directory");
            let path = dir.path().display();
            // Two generations that exist before the trace begins, of which the younger makes a third and a fourth.
            let script = format!(
                "({}
                  unshare --net true; sh -c 'unshare --ipc true; true'; touch {path}/done; true) & wait",
                stage::until(&dir.path().join("go"))
            );
            let mut family = stage::Staged::sh(&script);
            family.wait_for("sleep");
            let mut go = Script::new(&format!("touch {path}/go; {}", stage::until(&dir.path().join("done"))));
            let pid = family.pid().to_string();
            reported(plan, &["--pid", &pid, "--follow"], &mut [&mut others, &mut go])
        });
        assert_eq!(short(&stream), ["unshare CLONE_NEWNET", "unshare CLONE_NEWIPC"]);
    });
}

#[test]
fn users_by_name_and_number() {
    let _limit = crate::support::time_limit();
    one_plan(|plan| {
        let as_user = |uid: u32| format!("setpriv --reuid={uid} --clear-groups unshare --user true;");
        let script = ten("unshare --uts true") + &as_user(65534) + &as_user(1000);
        for (user, uid) in [("nobody", 65534), ("1000", 1000)] {
            let stream = record_family(plan, &["--uid", user], &script);
            assert_eq!(short(&stream), ["unshare CLONE_NEWUSER"]);
            assert!(stream.events().all(|event| event["process"]["uid"] == uid));
        }
        assert_eq!(short(&record_family(plan, &["--uid", "1000,nobody"], &script)).len(), 2);
    });
}

#[test]
fn command_names_of_which_the_kernel_keeps_fifteen_bytes() {
    let _limit = crate::support::time_limit();
    one_plan(|plan| {
        let dir = tempfile::tempdir().expect("a directory");
        let program = Command::new("sh").args(["-c", "command -v unshare"]).output().expect("sh");
        let program = String::from_utf8(program.stdout).expect("a path");
        for name in ["nsprobe-has-a-name", "ns"] {
            symlink(program.trim(), dir.path().join(name)).expect("a link");
        }
        let path = dir.path().display();
        let script =
            ten("unshare --uts true") + &format!("{path}/nsprobe-has-a-name -i true; {path}/ns -n true");
        let stream = record_family(plan, &["--comm", "nsprobe-has-a-name,ns"], &script);
        assert_eq!(short(&stream), ["unshare CLONE_NEWIPC", "unshare CLONE_NEWNET"]);
        assert_eq!(short(&record_family(plan, &["--comm", "nsp"], &script)), [""; 0]);
    });
}

#[test]
fn namespaces_that_one_is_in_or_goes_to() {
    let _limit = crate::support::time_limit();
    one_plan(|plan| {
        let netns = NamedNetns::add();
        let script =
            ten("unshare --uts true") + &format!("nsenter --net={} unshare --ipc true", netns.path());
        let number = netns.ino().to_string();
        for name in [netns.path(), format!("net:[{number}]"), number] {
            let stream = record_family(plan, &["--ns", &name], &script);
            assert_eq!(short(&stream), ["setns CLONE_NEWNET", "unshare CLONE_NEWIPC"]);
        }
        // One that is named and not entered, and a process in it.
        let join = format!("open my $file, \"<\", \"{}\"; syscall(308, fileno $file, 0)", netns.path());
        let enter = format!("setpriv --reuid=65534 --clear-groups perl -e '{join}'");
        let stream = record_family(plan, &["--ns", &netns.path()], &(ten("unshare --uts true") + &enter));
        assert_eq!(short(&stream), ["setns "]);
        assert_eq!(stream.of("setns")[0]["errno"], "EPERM");
        let mut inside = Command::new("nsenter");
        let inside = inside.args([&format!("--net={}", netns.path()), "sleep", "60"]);
        let mut inside = stage::Staged::spawn(inside);
        let pid = inside.wait_for("sleep");
        let by_pidfd = |flags: u64| format!("perl -e 'syscall(308, syscall(434, {pid}, 0), {flags})';");
        // In its network and its (nobody else's) ipc namespace, of which only one is requested.
        let calls = by_pidfd(0x0800_0000) + &by_pidfd(0x4000_0000);
        let stream =
            record_family(plan, &["--all", "--ns", &netns.path()], &(ten("unshare --uts true") + &calls));
        assert_eq!(short(&stream), ["setns CLONE_NEWNET"]);
    });
}

#[test]
fn control_groups_with_those_below() {
    let _limit = crate::support::time_limit();
    one_plan(|plan| {
        let Some(group) = Cgroup::make("filters") else {
            return skipped("no hierarchy of control groups of version 2 is mounted");
        };
        let inner = group.0.join("inner");
        std::fs::create_dir(&inner).expect("a control group");
        let enter =
            |flag: &str| format!("(echo 0 > {}/cgroup.procs; exec unshare {flag} true);", inner.display());
        let script = ten("unshare --uts true") + &enter("--ipc") + &enter("--net");
        let outer = group.0.to_str().expect("UTF-8");
        let both = ["unshare CLONE_NEWIPC", "unshare CLONE_NEWNET"];
        let stream = record_family(plan, &["--cgroup", outer], &script);
        assert_eq!(short(&stream), both);
        // As events have it.
        let event = stream.events().next().expect("an event");
        let path = event["process"]["cgroup"].as_str().expect("a path").to_owned();
        assert_eq!(short(&record_family(plan, &["--cgroup", &path], &script)), both);
        let aside = inner.join("aside");
        std::fs::create_dir(&aside).expect("a control group");
        let none = record_family(plan, &["--cgroup", aside.to_str().expect("UTF-8")], &script);
        assert_eq!(short(&none), [""; 0]);
        // So deep that the path is cut, and seen from a cgroup namespace, where none is known: the kernel decides for
        // the probe.
        let deep = (0..20).fold(inner.clone(), |above, depth| above.join(depth.to_string()));
        std::fs::create_dir_all(&deep).expect("control groups");
        let enter = |group: &Path| format!("echo 0 > {}/cgroup.procs; unshare --uts true;", group.display());
        let script = format!("{} {} echo 0 > {outer}/../cgroup.procs", enter(&group.0), enter(&deep));
        let by = |requested: &Path| {
            let requested = requested.to_str().expect("UTF-8");
            let mut nsprobe = Command::new("unshare");
            nsprobe.args([
                "--cgroup",
                env!("CARGO_BIN_EXE_nsprobe"),
                "trace",
                "--json",
                "--quiet",
                "--lifecycle",
            ]);
            nsprobe.args(["--source", plan, "--cgroup", requested, "--", "sh", "-c", &script]);
            nsprobe
        };
        for (requested, reported) in [(&aside, 0), (&inner, 1), (&group.0, 2)] {
            let stream = Stream::retry(|| by(requested).output().expect("unshare starts").into());
            assert_eq!(stream.of("unshare").len(), reported, "{}: {:#?}", requested.display(), stream.lines);
        }
    });
}

#[test]
fn failures_and_successes() {
    let _limit = crate::support::time_limit();
    each_plan(|plan| {
        let fail = "chroot /nonexistent true";
        let stream = record_family(plan, &["--failed"], &(ten("unshare --uts true") + fail));
        assert_eq!(short(&stream), ["chroot /nonexistent"]);
        let stream = record_family(plan, &["--ok"], &(ten(fail) + "unshare --uts true"));
        assert_eq!(short(&stream), ["unshare CLONE_NEWUTS"]);
        // clone fails in one place and succeeds in another.
        let fails = "perl -e 'syscall(56, 0x10000200, 0, 0, 0, 0)'";
        let clones = "bwrap --unshare-uts --bind / / true";
        let stream = record_family(plan, &["--failed", "--event", "clone"], &(ten(clones) + fails));
        assert_eq!(stream.events().map(|event| &event["errno"]).collect::<Vec<_>>(), ["EINVAL"]);
        let stream = record_family(plan, &["--ok", "--event", "clone"], &(ten(fails) + clones));
        assert!(!stream.of("clone").is_empty() && stream.events().all(|event| event["errno"].is_null()));
    });
}

#[test]
fn calls_that_are_traced_for_another_reason() {
    let _limit = crate::support::time_limit();
    each_plan(|plan| {
        // Descendants are known by their clones.
        let script = ten("bwrap --unshare-uts --bind / / true") + "chroot / true";
        assert_eq!(short(&record_family(plan, &["--event", "chroot"], &script)), ["chroot /"]);
    });
}

#[test]
fn conditions_hold_together() {
    let _limit = crate::support::time_limit();
    each_plan(|plan| {
        let as_user = "setpriv --reuid=65534 --clear-groups";
        let script = ten(&format!("unshare --uts true; {as_user} unshare --user true"))
            + &format!("{as_user} unshare --uts true; unshare --net true");
        let args = ["--uid", "nobody", "--kind", "uts,net", "--failed"];
        assert_eq!(short(&record_family(plan, &args, &script)), ["unshare CLONE_NEWUTS"]);
    });
}

#[test]
fn what_is_not_there_is_an_error() {
    let _limit = crate::support::time_limit();
    if !root() {
        return;
    }
    for (args, says) in [
        (&["--uid", "no-such-user"][..], "no such user"),
        (&["--kind", "mount"], "mnt"),
        (&["--pid", "4194304"], "there is no process 4194304"),
        (&["--pid", "x"], "invalid"),
        (&["--follow"], "--pid"),
        (&["--pid", "1", "--", "true"], "cannot be used"),
        (&["--ns", "net:[1]"], "net:[1] was not found"),
        (&["--ns", "/etc/passwd"], "not the file of a namespace"),
        (&["--ns", "/nonexistent/ns"], "No such file"),
        (&["--cgroup", "/no/such/group"], "/no/such/group"),
        (&["--comm", ""], "--comm"),
        (&["--ok", "--failed"], "cannot be used"),
    ] {
        let ran = run(&[&["trace"], args].concat());
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{args:?}");
        assert!(ran.stderr.contains(says), "{args:?}: {}", ran.stderr);
    }
}

/// A condition that only the probe can decide is refused by other plans, rather than ignored.
#[test]
fn other_plans_refuse_what_they_cannot_decide() {
    let _limit = crate::support::time_limit();
    if !root() {
        return;
    }
    let own = std::process::id().to_string();
    for args in [&["--pid", &own, "--follow"][..], &["--cgroup", "/"], &["--failed"]] {
        let ran = run(&[&["trace", "--source", "proc", "--duration", "1ms"], args].concat());
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{args:?}");
        assert!(ran.stderr.contains(": leave out --source"), "{args:?}: {}", ran.stderr);
    }
}
