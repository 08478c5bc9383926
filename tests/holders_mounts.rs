//! Mounts of file systems that hold a namespace, in `nsprobe list`.

use crate::schema;
use crate::support::kernel::IDS;
use crate::support::orphans::{find, inode, not_found};
use crate::support::stage::{Staged, succeed, wait};
use crate::support::{self, json, proc, run};
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::{major, minor, stat};
use nsprobe::document::schemas;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// A proc of a pid namespace without processes, mounted on a directory.
pub struct Proc {
    dir: tempfile::TempDir,
    pub ino: u64,
}

impl Proc {
    pub fn mount() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let script = format!("readlink /proc/self/ns/pid && mount -t proc proc {}", dir.path().display());
        let unshared = ["--pid", "--fork", "sh", "-c", &script];
        let link = succeed(Command::new("unshare").args(unshared));
        Self { dir, ino: inode(Path::new(link.trim())) }
    }

    fn name(&self) -> String {
        format!("pid:[{}]", self.ino)
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        let _ = umount2(self.dir.path(), MntFlags::MNT_DETACH);
    }
}

/// Waits until the holders of a pid namespace are as `expected`.
fn wait_for(ino: u64, expected: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let mut last = Vec::new();
    let found = wait(|| {
        last.clone_from(find("pid", ino)["holders"].as_array().unwrap());
        expected(&last).then_some(())
    });
    assert!(found.is_some(), "{last:?}");
    last
}

#[test]
fn a_mount_of_proc_is_found_where_it_is_and_also_when_it_is_nowhere() {
    let _limit = support::time_limit();
    if !support::bpf() {
        return;
    }
    if !IDS.here() {
        return support::skipped("namespaces have no ids");
    }
    let mounted = Proc::mount();
    let path = mounted.dir.path().to_str().unwrap();
    let mount = |mount_namespace: u64, here: bool| {
        let mount_namespace = json!({"kind": "mnt", "ino": mount_namespace});
        let (kind, fs_type) = ("mount", "proc");
        json!({"type": kind, "fs_type": fs_type, "mount_namespace": mount_namespace, "path": path, "here": here})
    };
    // Other tests make mount namespaces, which have the mount as well.
    let own = proc::namespace(std::process::id(), "mnt").unwrap();
    wait_for(mounted.ino, |holders| {
        holders.contains(&mount(own, true)) && holders.iter().all(|holder| holder["type"] == "mount")
    });
    schema::admitted(&schema::closed(schemas::LIST), &json(&["list", "--json"]), "list");
    let name = mounted.name();
    let ns = ["--ns", name.as_str()];
    let says = |args: &[&str], what: &str| {
        let text = run(&[args, &ns].concat()).stdout;
        assert!(text.split_whitespace().collect::<Vec<_>>().join(" ").contains(what), "{text}");
    };
    let expected = format!("proc at {path} in mnt:[{own}]");
    says(&["list", "--holders"], &format!(" pid mount {expected}"));
    says(&["list"], &expected);
    says(&["tree"], &expected);

    let mut staged = Staged::sh("exec unshare --mount --propagation private sleep 1000");
    let sleep = staged.wait_for("sleep");
    let other = proc::namespace(sleep, "mnt").unwrap();
    wait_for(mounted.ino, |holders| holders.contains(&mount(other, false)));
    drop(staged);

    // A working directory keeps it when it is no longer mounted.
    let mut staged = Staged::sh(&format!("cd {path} && exec sleep 1000"));
    let sleep = staged.wait_for("sleep");
    umount2(path, MntFlags::MNT_DETACH).unwrap();
    let dev = stat(format!("/proc/{sleep}/cwd/").as_str()).unwrap().st_dev;
    let detached = json!({
        "type": "detached_mount", "fs_type": "proc", "dev_major": major(dev), "dev_minor": minor(dev)
    });
    wait_for(mounted.ino, |holders| *holders == [detached.clone()]);
    schema::admitted(&schema::closed(schemas::LIST), &json(&["list", "--json"]), "list");
    let device = format!("(device {}:{})", major(dev), minor(dev));
    says(&["list"], &format!("held by proc {device} mounted nowhere"));
    says(&["list", "--holders"], &format!(" pid detached_mount proc {device} mounted nowhere"));
    says(&["tree"], &format!("held by proc {device} mounted nowhere"));
    drop(staged);
    not_found(&ns);
}

#[test]
fn a_mount_of_mqueue_holds_no_namespace() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    // Otherwise the report of an IPC namespace without a holder would not be true.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().display();
    let script = format!(
        "readlink /proc/self/ns/ipc && exec nsenter --mount=/proc/$PPID/ns/mnt mount -t mqueue mqueue {path}"
    );
    let mounted = Command::new("unshare").args(["--ipc", "sh", "-c", &script]).output().unwrap();
    if !mounted.status.success() {
        return support::skipped("mqueue cannot be mounted");
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let is_there =
        mounts.lines().any(|line| line.contains(&format!(" {path} ")) && line.contains(" mqueue "));
    let name = String::from_utf8(mounted.stdout).unwrap();
    let ended = wait(|| (run(&["list", "--ns", name.trim()]).code == Some(1)).then_some(()));
    umount2(dir.path(), MntFlags::MNT_DETACH).unwrap();
    assert!(is_there && ended.is_some(), "{name}");
}
