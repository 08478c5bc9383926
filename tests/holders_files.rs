//! Open files that hold a namespace without being files of one, in `nsprobe list`.

use crate::schema;
use crate::support::held::{Held, PID, wait_for_holders};
use crate::support::kernel::IDS;
use crate::support::stage::wait;
use crate::support::tenant::{self, Left, leave};
use crate::support::{self, json, run};
use nsprobe::document::schemas;
use serde_json::{Value, json};
use std::fs::File;
use std::os::fd::AsRawFd as _;

#[test]
fn tenant() {
    let _limit = support::time_limit();
    tenant::run();
}

/// A pid namespace that a file of a tenant's directory in /proc holds.
fn by_proc(name: &str) -> Held {
    let mut file = None;
    let open = |pid| file = File::open(format!("/proc/{pid}/{name}")).ok();
    let Left { ino, .. } = leave(&PID, "pid", "", open);
    let file = file.unwrap();
    Held::by_descriptor("pid", ino, "proc_file", file.as_raw_fd(), file)
}

/// The namespaces that a list with these arguments has.
fn listed(args: &[&str]) -> Vec<Value> {
    json(&[&["list", "--json"], args].concat())["namespaces"].as_array().unwrap().clone()
}

#[test]
fn files_that_hold_a_namespace_without_standing_for_it_are_found() {
    let _limit = support::time_limit();
    if !support::bpf() {
        return;
    }
    if !IDS.here() {
        return support::skipped("namespaces have no ids");
    }
    let mut held = vec![
        Held::by_pidfd(),
        by_proc("stat"),
        by_proc("task"),
        Held::by_file(&["--pid", "--fork", "--mount-proc"], "pid", "/proc/uptime", "file_system"),
        Held::by_file(&PID, "pid", "signals", "signals"),
        Held::by_peer(&PID, "pid", "peer_process"),
        Held::by_peer(&["--user"], "user", "peer_credentials"),
        Held::by_file(&["--user"], "user", "/dev/null", "credentials"),
        Held::by_file(&["--mount"], "mnt", "/proc/self/mountinfo", "mount_list"),
        // Files made by the kernel in two ways.
        Held::by_file(&["--net"], "net", "/proc/self/net/tcp", "proc_net"),
        Held::by_file(&["--net"], "net", "/proc/self/net/sockstat", "proc_net"),
    ];
    held.extend(Held::by_tun());
    let document = wait_for_holders(&held, |held, holders| {
        // The file in a proc is the only holder of a mount of that proc in a mount namespace that is gone.
        let detached = |holder: &&Value| holder["type"] == "detached_mount";
        holders.iter().filter(|holder| !detached(holder)).eq([&held.holder])
    });
    // The schema knows all of them.
    schema::admitted(&schema::closed(schemas::LIST), &document, "list");
    for ns in held.iter().filter_map(|held| held.found(&document)) {
        assert_eq!((&ns["nprocs_seen"], &ns["leader"]), (&json!(0), &Value::Null), "{ns}");
        let also = ns["sources"].as_array().unwrap().iter().filter(|&source| source != "file_systems");
        assert!(also.eq(&[json!("descriptors"), json!("kernel_lists")]), "{ns}");
    }

    let Held { ino, holder, .. } = &held[0];
    let (ns, pid, fd) = (format!("pid:[{ino}]"), std::process::id(), &holder["fd"]);
    let says = |args: &[&str], what: &str| {
        let mut last = String::new();
        let said = wait(|| {
            last = run(&[args, &["--ns", &ns]].concat()).stdout;
            let line = last.split_whitespace().collect::<Vec<_>>().join(" ");
            line.contains(what).then_some(())
        });
        assert!(said.is_some(), "{args:?} does not print {what}: {last}");
    };
    says(&["list", "--holders", "--no-header"], &format!("pid pidfd {pid} pidfd {fd} of "));
    says(&["list"], &format!("(held by pidfd {fd} of {pid})"));
    says(&["tree"], &format!("held by pidfd {fd} of {pid} "));
    let by_name = listed(&["--filter", "'pidfd' in holders.type"]);
    assert!(by_name.iter().any(|ns| held[0].is(ns)), "{by_name:?}");

    // That these were their holders shows when they are closed.
    let names: Vec<_> = held.iter().map(|held| (held.kind, held.ino)).collect();
    drop(held);
    let gone = wait(|| {
        let last = listed(&[]);
        let is_there =
            |&(kind, ino): &(&str, u64)| last.iter().any(|ns| ns["kind"] == kind && ns["ino"] == ino);
        (!names.iter().any(is_there)).then_some(())
    });
    assert!(gone.is_some(), "{names:?}");
}

#[test]
fn a_tcp_connection_that_no_process_has_is_found() {
    let _limit = support::time_limit();
    if !support::bpf() {
        return;
    }
    if !IDS.here() {
        return support::skipped("namespaces have no ids");
    }
    let Left { ino, .. } = leave(&["--net"], "net", "tcp", |_| {});
    let name = format!("net:[{ino}]");
    let found = listed(&["--ns", &name]);
    let holders = found[0]["holders"].as_array().unwrap();
    assert_eq!(holders.len(), 2, "both ends: {found:?}");
    for holder in holders {
        assert_eq!(
            (&holder["type"], &holder["state"]),
            (&json!("connection"), &json!("FIN_WAIT1")),
            "{holder}"
        );
    }
    assert_eq!(holders[0]["local"], holders[1]["remote"], "{found:?}");
    assert_eq!(holders[1]["local"], holders[0]["remote"], "{found:?}");
}
