//! `nsprobe diff` of snapshots by way of different sources: what stayed has neither come nor gone.

use crate::holders_mounts::Proc;
use crate::sources_lists::in_flight;
use crate::support::kernel::IDS;
use crate::support::stage::wait;
use crate::support::tenant::{Left, leave};
use crate::support::{self, json, nsprobe, skipped, unprivileged_copy};
use nsprobe::kernel::sockets::PidFd;
use serde_json::Value;
use std::any::Any;
use std::path::Path;
use std::process::Command;

/// A namespace, the only type of holder it has, and what holds it until this is dropped.
struct Held {
    kind: &'static str,
    ino: u64,
    holder: &'static str,
    _by: Box<dyn Any>,
}

impl Held {
    fn new(kind: &'static str, holder: &'static str, (ino, by): (u64, impl Any)) -> Self {
        Self { kind, ino, holder, _by: Box::new(by) }
    }

    /// By what a tenant has left.
    fn by_tenant(unshare: &[&str], kind: &'static str, what: &str, holder: &'static str) -> Self {
        let Left { ino, file, connection } = leave(unshare, kind, what, |_| {});
        // The connection too holds namespaces of its peer.
        match file {
            Some(file) => Self::new(kind, holder, (ino, file)),
            None => Self::new(kind, holder, (ino, connection)),
        }
    }
}

fn staged() -> Vec<Held> {
    let pid = ["--pid", "--fork"];
    let mut pidfd = None;
    let Left { ino, .. } = leave(&pid, "pid", "", |pid| pidfd = PidFd::open(pid).ok());
    let mounted = Proc::mount();
    let mut held = vec![
        Held::new("pid", "pidfd", (ino, pidfd.expect("a pidfd"))),
        Held::new("pid", "mount", (mounted.ino, mounted)),
        Held::new("net", "in_flight", in_flight()),
        Held::by_tenant(&["--user"], "user", "/dev/null", "credentials"),
        Held::by_tenant(&["--user"], "user", "", "peer_credentials"),
    ];
    if Path::new("/dev/net/tun").exists() {
        held.push(Held::by_tenant(&["--net"], "net", "/dev/net/tun", "tun"));
    } else {
        skipped("tun: there is no such device");
    }
    held
}

/// The namespace in a document of `list`.
fn find<'a>(document: &'a Value, kind: &str, ino: u64) -> Option<&'a Value> {
    document["namespaces"].as_array().unwrap().iter().find(|ns| ns["kind"] == kind && ns["ino"] == ino)
}

/// The mount namespaces in which are kernel threads alone, as kdevtmpfs makes itself one.
fn of_kernel_threads(document: &Value) -> Vec<u64> {
    let processes = document["processes"].as_array().unwrap();
    let is_of_kernel = |ns: &&Value| {
        let members = processes.iter().filter(|process| process["namespaces"]["mnt"] == ns["ino"]);
        let kernel: Vec<bool> = members.map(|process| process["kernel_thread"] == true).collect();
        !kernel.is_empty() && kernel.iter().all(|&kernel| kernel)
    };
    let mounts = document["namespaces"].as_array().unwrap().iter().filter(|ns| ns["kind"] == "mnt");
    mounts.filter(is_of_kernel).map(|ns| ns["ino"].as_u64().unwrap()).collect()
}

#[test]
fn what_one_source_alone_finds_has_neither_come_nor_gone() {
    let _limit = support::time_limit();
    if !support::bpf() {
        return;
    }
    if !IDS.here() {
        return skipped("namespaces have no numbers, and nothing is found by these holders");
    }
    let held = staged();
    // A process that another test starts has a copy of the descriptors until it executes its program.
    let mut whole = Value::Null;
    let alone = wait(|| {
        whole = json(&["list", "--json"]);
        let is_alone = |held: &Held| {
            let holders = find(&whole, held.kind, held.ino).and_then(|ns| ns["holders"].as_array());
            holders.is_some_and(|all| !all.is_empty() && all.iter().all(|it| it["type"] == held.holder))
        };
        held.iter().all(is_alone).then_some(())
    });
    for held in &held {
        let found = find(&whole, held.kind, held.ino);
        assert!(alone.is_some(), "{} is not the only type of holder of {found:?}", held.holder);
    }
    let mut stayed: Vec<(&str, u64)> = held.iter().map(|held| (held.kind, held.ino)).collect();
    stayed.extend(of_kernel_threads(&whole).into_iter().map(|ino| ("mnt", ino)));

    let (_dir, copy) = unprivileged_copy();
    let user = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&copy)
        .args(["list", "--json"])
        .output()
        .unwrap();
    let others = [
        ("proc", json(&["list", "--json", "--source", "proc"])),
        ("user", serde_json::from_slice(&user.stdout).unwrap()),
    ];
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, document: &Value| {
        let path = dir.path().join(name);
        std::fs::write(&path, document.to_string()).unwrap();
        path
    };
    let whole_path = write("whole", &whole);
    for (name, other) in &others {
        let other_path = write(name, other);
        for (old, new, by) in [(&whole_path, &other_path, "old"), (&other_path, &whole_path, "new")] {
            let ran = nsprobe().args(["diff", "--json"]).args([old, new]).output().unwrap();
            let difference: Value = serde_json::from_slice(&ran.stdout).unwrap();
            let list = |list: &str| difference["namespaces"][list].as_array().unwrap();
            for &(kind, ino) in &stayed {
                let is = |ns: &&Value| ns["kind"] == kind && ns["ino"] == ino;
                for wrong in ["came", "went"] {
                    let found = list(wrong).iter().find(is);
                    assert_eq!(found, None, "{name}, {by}: {wrong}");
                }
                let unseen = list("unseen").iter().find(|it| is(&&it[by]));
                let is_missing = find(other, kind, ino).is_none();
                assert_eq!(unseen.is_some(), is_missing, "{name}, {by}: {kind}:[{ino}] {unseen:?}");
                let said = unseen.is_none_or(|it| it["reason"].as_str().unwrap().ends_with(" there"));
                assert!(said, "{unseen:?}");
            }
        }
        // Not so by chance: this way really finds less.
        let missing = stayed.iter().filter(|(kind, ino)| find(other, kind, *ino).is_none());
        assert!(missing.count() > 0, "{name}");
    }
}
