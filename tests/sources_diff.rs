//! `nsprobe diff` of snapshots with different sources: what stayed has neither come nor gone.

use crate::holders_mounts::Proc;
use crate::sources_lists::in_flight;
use crate::support::held::{Held, wait_for_holders};
use crate::support::kernel::IDS;
use crate::support::{self, json, nobody, nsprobe, skipped, unprivileged_copy};
use serde_json::{Value, json};

fn staged() -> Vec<Held> {
    let (mounted, (ino, flying)) = (Proc::mount(), in_flight());
    let mut held = vec![
        Held::by_pidfd(),
        Held::new("pid", mounted.ino, json!({"type": "mount"}), mounted),
        Held::new("net", ino, json!({"type": "in_flight"}), flying),
        Held::by_file(&["--user"], "user", "/dev/null", "credentials"),
        Held::by_peer(&["--user"], "user", "peer_credentials"),
    ];
    held.extend(Held::by_tun());
    held
}

/// The namespace in a document of `list`.
fn find<'a>(document: &'a Value, kind: &str, ino: u64) -> Option<&'a Value> {
    document["namespaces"].as_array().unwrap().iter().find(|ns| ns["kind"] == kind && ns["ino"] == ino)
}

/// The mount namespaces with kernel threads only: kdevtmpfs makes one.
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
        return skipped("namespaces have no ids, and these holders are not found");
    }
    let held = staged();
    let whole = wait_for_holders(&held, |held, holders| {
        !holders.is_empty() && holders.iter().all(|holder| holder["type"] == held.holder["type"])
    });
    let mut stayed: Vec<(&str, u64)> = held.iter().map(|held| (held.kind, held.ino)).collect();
    stayed.extend(of_kernel_threads(&whole).into_iter().map(|ino| ("mnt", ino)));

    let (_dir, copy) = unprivileged_copy();
    let user = nobody().arg(&copy).args(["list", "--json"]).output().unwrap();
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
        // Not by chance: this source really finds less.
        let missing = stayed.iter().filter(|(kind, ino)| find(other, kind, *ino).is_none());
        assert!(missing.count() > 0, "{name}");
    }
}
