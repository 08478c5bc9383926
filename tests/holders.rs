//! "Who keeps it alive?": all holders of one namespace, in `nsprobe list`.

use crate::support::orphans::find;
use crate::support::stage::{NamedNetns, Staged, wait};
use crate::support::{self, run};
use nix::sched::{CloneFlags, setns};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs::File;
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;
use std::sync::mpsc;

#[test]
fn every_holder_of_a_namespace_is_reported() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let named = NamedNetns::add();
    let file = File::open(named.path()).unwrap();
    let (go_on, end) = mpsc::channel::<()>();
    let (sender, receiver) = mpsc::channel();
    let path = named.path();
    let thread = std::thread::spawn(move || {
        setns(File::open(path).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        sender.send((nix::unistd::gettid().as_raw(), socket.as_raw_fd())).unwrap();
        // Fails when the sender is dropped.
        let _ = end.recv();
        drop(socket);
    });
    let (tid, socket) = receiver.recv().unwrap();
    let pid = std::process::id();

    // A thread of another test may be in it for a moment, with a copy of all descriptors.
    let holders = |ns: &Value| -> BTreeSet<String> {
        let all = ns["holders"].as_array().unwrap().iter();
        all.filter(|holder| holder["type"] != "bind_mount").map(Value::to_string).collect()
    };
    let thread_of = json!({"type": "thread", "pid": pid, "tid": tid}).to_string();
    let descriptor =
        json!({"type": "descriptor", "pid": pid, "tid": null, "fd": file.as_raw_fd()}).to_string();
    let socket = json!({"type": "socket", "pid": pid, "tid": null, "fd": socket}).to_string();
    let expected = BTreeSet::from([thread_of.clone(), descriptor.clone(), socket]);
    let mut last = Value::Null;
    let complete = wait(|| {
        last = find("net", named.ino());
        (holders(&last) == expected).then_some(())
    });
    assert!(complete.is_some(), "{last}");
    let mounted = last["holders"].as_array().unwrap().iter().filter(|holder| holder["path"] == *named.path());
    assert_ne!(mounted.count(), 0, "{last}");
    assert_eq!((&last["nprocs"], &last["leader"]), (&json!(0), &Value::Null));

    // With a member there may be any number of sockets; the other holders remain.
    let mut staged = Staged::sh(&format!("exec nsenter --net={} sleep 1000", named.path()));
    let sleep = staged.wait_for("sleep");
    let complete = wait(|| {
        last = find("net", named.ino());
        (holders(&last) == BTreeSet::from([thread_of.clone(), descriptor.clone()])).then_some(())
    });
    assert!(complete.is_some(), "{last}");
    assert_eq!((&last["nprocs"], &last["leader"]["pid"]), (&json!(1), &json!(sleep)));
    let rows = run(&["list", "--holders", "--no-header", "--ns", &named.path()]).stdout;
    for kind in ["processes", "thread", "descriptor", "bind_mount"] {
        let row = |row: &str| row.split_whitespace().nth(2) == Some(kind);
        assert!(rows.lines().any(row), "no {kind}:\n{rows}");
    }
    drop((staged, go_on));
    thread.join().unwrap();
}
