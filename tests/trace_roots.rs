//! Root and working directories in `nsprobe trace`, compared with the links of `/proc/PID`.

use crate::support::parts::{Part, each_plan_in_parts};
use crate::support::stage;
use crate::support::trace::Stream;
use crate::support::wire::{changed, directory_before, path};
use serde_json::{Value, json};
use std::path::Path;

/// A path about which nothing is unusual.
fn resolved(path: impl AsRef<Path>) -> Value {
    json!([path.as_ref(), []])
}

/// A directory before and after the call.
fn moves(event: &Value, name: &str) -> [Value; 2] {
    [directory_before(event, name), path(event, name)]
}

/// The value of `WORD PATH` in a report.
fn value_of<'a>(report: &'a str, word: &str) -> &'a str {
    let line = report.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {word} in {report}"))
}

/// Shell text that runs `command` until it is in another root, and writes its links of `/proc` to the report.
fn links_of(command: &str) -> String {
    format!(
        "{command} & pid=$!
         until [ \"$(readlink /proc/$pid/root)\" != / ]; do sleep 0.02; done
         echo root $(readlink /proc/$pid/root) >&3
         echo cwd $(readlink /proc/$pid/cwd) >&3
         kill $pid; wait $pid 2>/dev/null"
    )
}

/// A directory with a shell in `jail`, below a mounted file system; and a link to it.
fn jail(script: &str) -> String {
    let copy = "for file in $(ldd /bin/sh | grep -o '/[^ ]*') /bin/sh; do
        mkdir -p a/b/jail$(dirname $file); cp -L $file a/b/jail$file; done";
    format!(
        "mkdir a; mount -t tmpfs nsprobe a; mkdir -p a/b/jail; ln -s b a/link; {copy}
         {script}"
    )
}

/// A script in a separate mount namespace and directory.
fn in_mount_namespace(directory: &Path, script: &str) -> String {
    let script = script.replace('\'', "'\\''");
    format!("cd {}; unshare --mount sh -c '{script}'; true", directory.display())
}

#[test]
fn roots_and_working_directories_are_those_of_proc() {
    let _limit = crate::support::time_limit();
    each_plan_in_parts(|plan| {
        vec![
            chroot(),
            a_chroot_that_fails(),
            setns_to_the_own_mount_namespace(),
            calls_that_change_nothing(plan),
            pivot_root(plan),
            too_deep_or_nowhere(),
        ]
    });
}

fn chroot<'a>() -> Part<'a> {
    let dir = tempfile::tempdir().expect("a directory");
    let jailed = jail(&links_of("chroot a/link/jail /bin/sh -c 'while :; do :; done'"));
    Part::new("chroot", in_mount_namespace(dir.path(), &jailed), move |stream, report| {
        let [event] = stream.of("chroot")[..] else { panic!("one chroot: {report}") };
        let root = value_of(report, "root");
        assert_eq!(root, dir.path().join("a/b/jail").to_str().expect("UTF-8"));
        assert_eq!(event["args"]["path"], "a/link/jail");
        assert_eq!(moves(event, "root"), [resolved("/"), resolved(root)]);
        // chroot(1) changes to the new root only after the call.
        assert_eq!(moves(event, "cwd"), [resolved(dir.path()), resolved(dir.path())]);
        assert_eq!((value_of(report, "cwd"), changed(event)), (root, json!(["root"])));
        // A separate mount namespace moves nothing.
        let [unshare] = stream.of("unshare")[..] else { panic!("one unshare") };
        assert_eq!((changed(unshare), path(unshare, "root")), (json!(["mnt"]), resolved("/")));
        assert_eq!(path(unshare, "cwd"), resolved(dir.path()));
    })
}

fn a_chroot_that_fails<'a>() -> Part<'a> {
    Part::new("a_chroot_that_fails", "cd /; chroot /nowhere true; :", |stream, _| {
        let [event] = stream.of("chroot")[..] else { panic!("one chroot") };
        assert_eq!((&event["errno"], &event["changed"]), (&"ENOENT".into(), &json!({})));
        assert_eq!(["root", "cwd"].map(|name| path(event, name)), [resolved("/"), resolved("/")]);
    })
}

fn setns_to_the_own_mount_namespace<'a>() -> Part<'a> {
    let dir = tempfile::tempdir().expect("a directory");
    let jail = dir.path().join("jail");
    std::fs::create_dir_all(jail.join("proc")).expect("directories");
    stage::furnish(&jail, "/usr/bin/nsenter");
    let path = jail.display();
    let script = format!(
        "mount --rbind /proc {path}/proc
             chroot {path} /usr/bin/nsenter --mount=/proc/self/ns/mnt sh -c 'readlink /proc/self/root >&3'"
    );
    Part::new(
        "setns_to_the_own_mount_namespace",
        in_mount_namespace(dir.path(), &script),
        move |stream, report| {
            assert_eq!(report.trim(), "/", "outside again");
            let [event] = stream.of("setns")[..] else { panic!("one setns: {report}") };
            assert_eq!((changed(event), event.get("unsure")), (json!(["root", "cwd"]), None));
            let moved = [resolved(&jail), resolved("/")];
            assert_eq!((&moves(event, "root"), &moves(event, "cwd")), (&moved, &moved));
        },
    )
    .keeping(dir)
}

fn calls_that_change_nothing(plan: &str) -> Part<'_> {
    let script = "cd /; unshare true; unshare --uts sh -c 'nsenter --uts=/proc/$$/ns/uts \
                      nsenter --mount=/proc/$$/ns/mnt true'; cd /tmp; nsenter --mount=/proc/$$/ns/mnt true";
    Part::new("calls_that_change_nothing", script, move |all, _| {
        let quiet = Stream::record(&["--source", plan, "--", "sh", "-c", script]);
        let changes = |stream: &Stream| -> Vec<Value> {
            stream.events().map(|event| json!([event["event"], changed(event)])).collect()
        };
        let reported = changes(&quiet);
        assert_eq!(reported, [json!(["unshare", ["uts"]]), json!(["setns", ["cwd"]])]);
        let every = changes(all);
        assert_eq!(
            every.iter().filter(|change| change[1] != json!([])).cloned().collect::<Vec<_>>(),
            reported
        );
        let nothing: Vec<&Value> =
            every.iter().filter(|change| change[1] == json!([])).map(|it| &it[0]).collect();
        assert_eq!(nothing, ["unshare", "setns", "setns"]);
    })
}

fn pivot_root(plan: &str) -> Part<'_> {
    let dir = tempfile::tempdir().expect("a directory");
    let script = "mkdir m; mount -t tmpfs nsprobe m; mkdir -p m/old/er; cd m; ln -s er old/link
                      pivot_root . old/link; cd /old/link; pwd -P >&3";
    Part::new("pivot_root", in_mount_namespace(dir.path(), script), move |stream, report| {
        assert_eq!(report.trim(), "/old/er", "the old root lies there");
        let [event] = stream.of("pivot_root")[..] else { panic!("one pivot_root") };
        let new = dir.path().join("m");
        let args = &event["args"];
        assert_eq!(args["new_root"], ".");
        assert_eq!(path(args, "new_root_resolved"), resolved(&new));
        // What no tracepoint shows is not guessed.
        let unseen = stream.lines[0]["source"]["unseen"].to_string();
        assert_eq!(
            unseen.contains("the resolved arguments of pivot_root"),
            plan == "tracepoints",
            "{unseen}"
        );
        let old = if plan == "tracepoints" { json!([null, []]) } else { resolved(new.join("old/er")) };
        assert_eq!((&args["put_old"], path(args, "put_old_resolved")), (&json!("old/link"), old));
        assert_eq!(moves(event, "root"), [resolved("/"), resolved("/")]);
        // The same directory, which has another path now.
        assert_eq!(moves(event, "cwd"), [resolved(&new), resolved("/")]);
        assert_eq!(event["changed"]["cwd"]["same_directory"], true);
        assert_eq!(changed(event), json!(["root"]));
    })
}

fn too_deep_or_nowhere<'a>() -> Part<'a> {
    let dir = tempfile::tempdir().expect("a directory");
    let deep = "d/".repeat(40);
    // 255 bytes is the longest name, so one and its parent are more than the probe keeps.
    let (long, other) = ("n".repeat(255), "o".repeat(200));
    let script = format!(
            "mkdir -p {deep} {other}/{long} gone
             (cd {deep}; chroot . /nowhere)
             (cd {other}/{long}; chroot . /nowhere)
             (cd {other}; chroot . /nowhere)
             (mount -t tmpfs nsprobe gone; cd gone; umount -l ../gone; chroot . /nowhere)
             mount -t tmpfs nsprobe gone; mkdir gone/there; cd gone/there; umount -l ../../gone; chroot . /nowhere"
        );
    Part::new("too_deep_or_nowhere", in_mount_namespace(dir.path(), &script), move |stream, _| {
        let [deep, long, whole, top, gone] = stream.of("chroot")[..] else { panic!("five chroots") };
        for (event, least) in [(deep, 28), (long, 0)] {
            let path = event["root"].as_str().expect("a path");
            assert_eq!(event["root_state"], json!(["cut"]));
            assert!(path.bytes().all(|byte| b"d/n".contains(&byte)) && !path.starts_with('/'), "{path}");
            assert!(path.matches('/').count() >= least, "{path}");
        }
        assert_eq!(path(whole, "root"), resolved(dir.path().join(&other)));
        // `list` and `tree` call that chrooted too: see `roots.rs`.
        assert_eq!(path(top, "root"), json!(["/", ["detached"]]));
        assert_eq!(path(gone, "root"), json!(["/there", ["detached"]]));
    })
}
