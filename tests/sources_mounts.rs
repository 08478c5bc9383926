//! Namespaces held by bind mounts, in mount namespaces of others, in `nsprobe list`.

use crate::support::kernel::{LISTMOUNT, LISTNS, LISTS};
use crate::support::orphans::{find, gaps, inode, sources};
use crate::support::stage::Staged;
use crate::support::{self, json, proc};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;

/// A process in a mount namespace with a network namespace mounted in it, at a path nobody else sees.
fn mount_inside(dir: &Path, then: &str) -> Staged {
    let dir = dir.to_str().unwrap();
    let script = format!(
        "exec 9</proc/self/ns/mnt; mount -t tmpfs nsprobe {dir} && touch '{dir}/a b' \
         && unshare -n mount --bind /proc/self/ns/net '{dir}/a b' && {then}"
    );
    Staged::spawn(Command::new("unshare").args(["-m", "--propagation", "private", "sh", "-c", &script]))
}

/// The inode of the network namespace that is mounted there, as a process sees it.
fn mounted(pid: u32) -> u64 {
    let mountinfo = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    let line = mountinfo.lines().find(|line| line.contains(" - nsfs ") && line.contains("a\\040b")).unwrap();
    inode(Path::new(line.split(' ').nth(3).unwrap()))
}

#[test]
fn a_mount_in_anothers_mount_namespace_is_found_at_its_path_there() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a b");
    let mut staged = mount_inside(dir.path(), "exec sleep 1000");
    let sleep = staged.wait_for("sleep");
    assert!(!path.exists(), "not visible from here");
    let ino = mounted(sleep);
    let ns = find("net", ino);
    let mnt = proc::namespace(sleep, "mnt").unwrap();
    let mount_namespace = json!({"kind": "mnt", "ino": mnt});
    let holder =
        json!({"type": "bind_mount", "mount_namespace": mount_namespace, "path": path, "here": false});
    assert_eq!((&ns["holders"], sources(&ns)), (&json!([holder]), vec!["bind_mounts"]));
    assert_eq!(ns["owner"]["ino"], proc::namespace(2, "user").unwrap(), "queried through the mount");
}

#[test]
fn paths_are_shown_only_where_they_lead_to_the_namespace() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    // The same name is one network namespace here, and another one in somebody else's mount namespace.
    let named = support::stage::NamedNetns::add();
    let path = named.path();
    let script =
        format!("umount {path} && unshare -n mount --bind /proc/self/ns/net {path} && exec sleep 1000");
    let unshared = ["-m", "--propagation", "private", "sh", "-c", &script];
    let mut staged = Staged::spawn(Command::new("unshare").args(unshared));
    let sleep = staged.wait_for("sleep");
    let behind = |path: &str| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
    let there = behind(&format!("/proc/{sleep}/root{path}"));
    assert_ne!(there, named.ino());
    let mnt = proc::namespace(sleep, "mnt").unwrap();
    let list = |columns: &str, ino: u64| {
        let ran = support::run(&["list", "-n", "-c", columns, "--ns", &format!("net:[{ino}]")]);
        ran.stdout.trim().to_owned()
    };
    // It may be another process in that mount namespace, of another test.
    let shown = list("path", there);
    assert!(shown.starts_with("/proc/") && shown.ends_with(&format!("/root{path}")), "{shown}");
    assert_eq!(behind(&shown), there);
    assert_eq!(list("path", named.ino()), path);
    assert_eq!(list("nsfs", there), format!("{path} in mnt:[{mnt}]"));
    assert_eq!(list("command", there), format!("(held by {path} in mnt:[{mnt}])"));
    assert_eq!(list("command", named.ino()), format!("(held by {path})"));
    let document = json(&["list", "--json", "--ns", &format!("net:[{there}]")]);
    let ns = &document["namespaces"][0];
    assert_eq!(ns["mount_path"], shown);
    assert_eq!((&ns["holders"][0]["here"], &ns["holders"][0]["path"]), (&json!(false), &json!(path)));
    // A mount over it hides it, and then no path leads there.
    let cover = format!("mount -t tmpfs nsprobe {}", Path::new(&path).parent().unwrap().display());
    let pid = sleep.to_string();
    support::stage::succeed(Command::new("nsenter").args(["-m", "-t", &pid, "sh", "-c", &cover]));
    assert_eq!(list("path", there), "");
}

#[test]
fn mounts_without_processes_are_found_if_the_kernel_lists_them() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // The process returns to its first mount namespace, and keeps the other by a descriptor.
    let mut staged = mount_inside(dir.path(), "exec nsenter --mount=/proc/2/ns/mnt sleep 1000");
    let sleep = staged.wait_for("sleep");
    let mnt = fs::read_link(format!("/proc/{sleep}/fd/9")).map(|link| inode(&link)).unwrap();
    assert_ne!(mnt, proc::namespace(sleep, "mnt").unwrap());
    let ns = find("mnt", mnt);
    assert_eq!(
        (&ns["nprocs_seen"], &ns["holders"]),
        (&json!(0), &json!([{"type": "descriptor", "pid": sleep, "tid": null, "fd": 9}]))
    );
    let document = json(&["list", "--json", "--kind", "net"]);
    let path = dir.path().join("a b");
    let mount_namespace = json!({"kind": "mnt", "ino": mnt});
    let holder =
        json!({"type": "bind_mount", "mount_namespace": mount_namespace, "path": path, "here": false});
    let held = |ns: &&Value| ns["holders"].as_array().unwrap().contains(&holder);
    let found = document["namespaces"].as_array().unwrap().iter().find(held);
    let gap = |kind: &str| document["gaps"].as_array().unwrap().iter().any(|gap| gap["kind"] == kind);
    if LISTMOUNT.here() {
        let found = found.expect("listmount(2) finds it");
        assert_eq!(found["nprocs_seen"], 0, "{found}");
        // It can be opened from here only by its id.
        assert_eq!(found["owner"].is_null(), !LISTS.here(), "{found}");
        // Without lists its owner is a gap; with them, the machine may hold others whose relations are not known.
        assert!(LISTS.here() || !gaps("relations").is_empty(), "{}", document["gaps"]);
    } else {
        assert!(found.is_none());
        assert!(gap("mounts"), "{}", document["gaps"]);
    }
}

#[test]
fn a_mount_that_another_hides_is_asked_by_its_number_or_is_a_gap() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let then = format!("mount -t tmpfs nsprobe {} && exec sleep 1000", dir.path().display());
    let mut staged = mount_inside(dir.path(), &then);
    let ino = mounted(staged.wait_for("sleep"));
    let hidden = |gap: &Value| gap["reason"] == "mounted only where another mount hides it";
    for (source, known) in [("auto", LISTS.here()), ("proc", LISTNS.here())] {
        let document = json(&["list", "--json", "--source", source]);
        let mut all = document["namespaces"].as_array().unwrap().iter();
        let ns = all.find(|ns| ns["kind"] == "net" && ns["ino"] == ino).expect("mountinfo has it");
        assert_eq!(ns["owner"].is_null(), !known, "{source}: {ns}");
        let gaps = document["gaps"].as_array().unwrap();
        assert_eq!(gaps.iter().any(hidden), !known, "{source}: {gaps:?}");
    }
}

/// Runs a command without privileges.
const NOBODY: [&str; 6] = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];

#[test]
fn mounts_are_read_of_ones_own_process_in_a_mount_namespace_of_root() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let (_copy, program) = support::unprivileged_copy();
    let dir = tempfile::tempdir().unwrap();
    let mut staged = mount_inside(dir.path(), &format!("exec {} sleep 1000", NOBODY.join(" ")));
    let ino = mounted(staged.wait_for("sleep"));
    let ran =
        Command::new(NOBODY[0]).args(&NOBODY[1..]).arg(program).args(["list", "--json"]).output().unwrap();
    let document: Value = serde_json::from_slice(&ran.stdout).unwrap();
    let ns = document["namespaces"].as_array().unwrap().iter().find(|ns| ns["ino"] == ino);
    let ns = ns.unwrap_or_else(|| panic!("not found: {}", document["gaps"]));
    assert_eq!((&ns["kind"], sources(ns)), (&json!("net"), vec!["bind_mounts"]));
}
