//! `nsprobe trace` on real container engines.

use crate::support::trace::{beside_strace, each_plan};
use crate::support::{skipped, stage, wire};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A bundle with a busybox that sleeps.
fn bundle(dir: &Path) -> Option<()> {
    let busybox = ["/usr/bin/busybox", "/bin/busybox", "/busybox"].map(PathBuf::from);
    let busybox = busybox.iter().find(|path| path.exists())?;
    std::fs::create_dir_all(dir.join("rootfs/bin")).expect("a root");
    stage::copy_program(busybox, &dir.join("rootfs/bin/busybox"));
    stage::succeed(Command::new("runc").args(["spec", "--bundle"]).arg(dir));
    let config = dir.join("config.json");
    let text = std::fs::read(&config).expect("config.json");
    let mut spec: Value = serde_json::from_slice(&text).expect("JSON");
    let process = spec["process"].as_object_mut().expect("an object");
    process.remove("rlimits");
    process.insert("terminal".to_owned(), json!(false));
    process.insert("args".to_owned(), json!(["/bin/busybox", "sleep", "60"]));
    std::fs::write(&config, spec.to_string()).expect("config.json");
    Some(())
}

#[test]
fn runc_starts_a_container_and_enters_it() {
    let _limit = crate::support::time_limit();
    if Command::new("runc").arg("--version").output().is_err() {
        return skipped("no runc(8)");
    }
    each_plan(|plan| {
        let dir = tempfile::tempdir().expect("a directory");
        if bundle(dir.path()).is_none() {
            return skipped("no busybox to run in a container");
        }
        let id = format!("nsprobe-{plan}-{}", std::process::id());
        let script = format!(
            "cd {dir}
             runc run --detach --pid-file pid {id} 3>&- >out 2>&1 || {{ cat out >&3; exit 1; }}
             for kind in ipc mnt net pid uts; do
                 echo $kind $(stat -L -c %i /proc/$(cat pid)/ns/$kind) >&3
             done
             runc exec {id} /bin/busybox true 3>&- >out 2>&1 || cat out >&3
             runc delete --force {id} 3>&-",
            dir = dir.path().display()
        );
        let (stream, report) = beside_strace(plan, &script);
        if stream.code != Some(0) {
            return skipped(&format!("runc does not run here: {report}"));
        }
        let container: Vec<(&str, u64)> = report
            .lines()
            .map(|line| line.split_once(' ').expect("KIND INO"))
            .map(|(kind, ino)| (kind, ino.parse().expect("an inode")))
            .collect();
        assert_eq!(container.len(), 5, "{report}");

        // The start: one unshare of all of them; the pid namespace is the next child's.
        let start = stream.of("unshare")[0];
        for (kind, ino) in &container {
            let slot = if *kind == "pid" { "pid_for_children" } else { kind };
            assert_eq!(wire::after(start, slot), *ino, "{start}");
            assert_ne!(wire::before(start, slot), *ino, "{start}");
        }
        let pivot = stream.of("pivot_root")[0];
        assert_eq!(
            pivot["process"]["pids"].as_array().and_then(|pids| pids.last()),
            Some(&json!(1)),
            "{pivot}"
        );

        // exec: one setns for each.
        let entered: Vec<(&str, u64)> = stream
            .of("setns")
            .iter()
            .filter(|event| event["errno"].is_null())
            .map(|event| &event["target"])
            .map(|target| {
                (target["kind"].as_str().expect("a kind"), target["ino"].as_u64().expect("an inode"))
            })
            .collect();
        for namespace in &container {
            assert!(entered.contains(namespace), "{namespace:?} of {entered:?}");
        }
    });
}
