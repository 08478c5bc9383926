//! Namespaces without processes: found by their holders, in `nsprobe list`.

use crate::support::kernel::{IDS, LISTMOUNT, LISTS, MOUNT_NAMESPACE_LIST};
use crate::support::orphans::{find, in_ended_thread, inode, is_listed, sources, wait_for_the_end};
use crate::support::stage::{NamedNetns, Staged, succeed, wait};
use crate::support::{self, Ran, json, proc, run};
use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::thread::JoinHandle;

/// A thread of this process in separate namespaces; it ends when this is dropped.
struct DivergentThread {
    tid: u32,
    go_on: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl DivergentThread {
    fn start(flags: CloneFlags) -> Self {
        let (go_on, wait) = mpsc::channel::<()>();
        let (sender, receiver) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            unshare(flags).expect("unshare in a thread");
            sender.send(nix::unistd::gettid().as_raw()).expect("somebody receives");
            // Fails when the sender is dropped.
            let _ = wait.recv();
        });
        let tid = receiver.recv().expect("the thread runs");
        Self { tid: u32::try_from(tid).unwrap(), go_on: Some(go_on), thread: Some(thread) }
    }

    /// The inode of one of its namespaces, read by hand.
    fn namespace(&self, name: &str) -> u64 {
        let link = format!("/proc/{}/task/{}/ns/{name}", std::process::id(), self.tid);
        inode(&fs::read_link(link).expect("a thread's namespace"))
    }
}

impl Drop for DivergentThread {
    fn drop(&mut self) {
        drop(self.go_on.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

#[test]
fn a_thread_elsewhere_is_found_and_its_process_is_not_counted_there() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let flags = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWNS;
    let divergent = DivergentThread::start(flags);
    for kind in ["net", "uts", "mnt"] {
        let ns = find(kind, divergent.namespace(kind));
        assert_eq!((&ns["nprocs_seen"], &ns["leader"]), (&json!(0), &Value::Null), "{ns}");
        let holder = json!({"type": "thread", "pid": std::process::id(), "tid": divergent.tid});
        assert_eq!(ns["holders"], json!([holder]));
        assert_eq!(sources(&ns), ["threads"]);
        assert_eq!(is_listed(&ns), LISTS.here() || (kind == "mnt" && MOUNT_NAMESPACE_LIST.here()));
        assert_eq!(ns["owner"]["ino"], proc::namespace(2, "user").unwrap(), "queried through the thread");
    }
    let table = run(&["list", "-n", "-c", "path", "--ns", &divergent.namespace("uts").to_string()]).stdout;
    let ino = inode(&fs::read_link(table.trim()).expect("a path that leads there"));
    assert_eq!(ino, divergent.namespace("uts"));
}

#[test]
fn a_time_namespace_for_the_children_of_a_thread_is_found() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    // nix has no name for CLONE_NEWTIME.
    let divergent = DivergentThread::start(CloneFlags::from_bits_retain(0x80));
    let ino = divergent.namespace("time_for_children");
    assert_ne!(ino, divergent.namespace("time"));
    let ns = find("time", ino);
    assert_eq!(
        ns["holders"],
        json!([{"type": "for_children", "pid": std::process::id(), "tid": divergent.tid}])
    );
    assert_eq!((&ns["nprocs_seen"], sources(&ns)), (&json!(0), vec!["for_children"]));
}

#[test]
fn a_descriptor_alone_holds_a_namespace() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let (ino, file) = in_ended_thread(|| File::open("/proc/thread-self/ns/net").unwrap());
    let ns = find("net", ino);
    let holder =
        json!({"type": "descriptor", "pid": std::process::id(), "tid": null, "fd": file.as_raw_fd()});
    assert_eq!((&ns["holders"], sources(&ns)), (&json!([holder]), vec!["descriptors"]));
    assert_eq!(ns["owner"]["ino"], proc::namespace(2, "user").unwrap(), "queried through the descriptor");
    drop(file);
    wait_for_the_end(ino);
}

#[test]
fn a_descriptor_is_known_also_when_its_link_names_no_namespace() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let named = NamedNetns::add();
    let ino = named.ino();
    let file = File::open(named.path()).unwrap();
    let link = || fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
    assert_eq!(link(), Path::new(&named.path()), "opened by a mount");
    let holder =
        json!({"type": "descriptor", "pid": std::process::id(), "tid": null, "fd": file.as_raw_fd()});
    let ns = find("net", ino);
    assert!(ns["holders"].as_array().unwrap().contains(&holder), "{ns}");
    assert_eq!(sources(&ns), ["descriptors", "bind_mounts"]);
    drop(named);
    assert_eq!(link(), Path::new("/"), "the mount has gone");
    let ns = find("net", ino);
    assert_eq!((&ns["holders"], sources(&ns)), (&json!([holder]), vec!["descriptors"]));
}

#[test]
fn a_socket_alone_holds_a_network_namespace() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let (ino, socket) = in_ended_thread(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    let shared = socket.try_clone().unwrap();
    let ns = find("net", ino);
    let holder = |socket: &UdpSocket| json!({"type": "socket", "pid": std::process::id(), "tid": null, "fd": socket.as_raw_fd()});
    let mut expected = [(socket.as_raw_fd(), holder(&socket)), (shared.as_raw_fd(), holder(&shared))];
    expected.sort_by_key(|&(fd, _)| fd);
    // A child of another test, between fork and exec, has copies of both.
    let mut holders = ns["holders"].as_array().unwrap().clone();
    holders.retain(|holder| holder["pid"] == std::process::id());
    assert_eq!(holders, expected.map(|(_, holder)| holder), "both descriptors of the socket");
    assert_eq!(sources(&ns), ["sockets"]);
    assert_eq!(ns["owner"]["ino"], proc::namespace(2, "user").unwrap());
    drop((socket, shared));
    wait_for_the_end(ino);
}

#[test]
fn a_pid_namespace_outlives_its_processes_as_long_as_a_parent_keeps_it_for_children() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    // The first child is the init of the namespace, and ends at once.
    let mut staged = Staged::sh("exec unshare --pid sh -c '/bin/true; exec sleep 1000'");
    let sleep = staged.wait_for("sleep");
    let ino = proc::namespace(sleep, "pid_for_children").expect("it has had a child");
    let ns = find("pid", ino);
    assert_eq!((&ns["nprocs_seen"], &ns["leader"]), (&json!(0), &Value::Null));
    assert_eq!(ns["holders"], json!([{"type": "for_children", "pid": sleep, "tid": null}]));
    assert_eq!(sources(&ns), ["for_children"]);
    assert_eq!(ns["parent"]["ino"], proc::namespace(sleep, "pid").unwrap());
}

#[test]
fn a_pid_namespace_that_waits_for_its_first_child_is_found_or_is_a_gap() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let mut staged = Staged::sh("exec unshare --pid sleep 1000");
    let sleep = staged.wait_for("sleep");
    // Older kernels do not let anybody read the link yet (6.18 does not, 7.2 does).
    if let Some(ino) = proc::namespace(sleep, "pid_for_children") {
        let ns = find("pid", ino);
        assert_eq!(ns["holders"], json!([{"type": "for_children", "pid": sleep, "tid": null}]));
        assert_eq!((&ns["nprocs_seen"], sources(&ns)), (&json!(0), vec!["for_children"]));
    } else {
        // If BPF reads the processes, because /proc denies one, it is not a gap.
        let document = json(&["list", "--json", "--source", "proc"]);
        let gaps = document["gaps"].as_array().unwrap().iter();
        let gaps: Vec<&Value> = gaps.filter(|gap| gap["kind"] == "pid_for_children").collect();
        assert_eq!(gaps.len(), 1, "{gaps:?}");
        assert!(gaps[0]["remedy"].as_str().unwrap().contains("BPF"), "{gaps:?}");
    }
}

#[test]
fn an_ancestor_without_processes_is_found_by_its_child() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let mut staged = Staged::sh("exec unshare -U -r unshare -U -r sleep 1000");
    let sleep = staged.wait_for("sleep");
    let inner = find("user", proc::namespace(sleep, "user").unwrap());
    let outer = find("user", inner["parent"]["ino"].as_u64().unwrap());
    assert_eq!((&outer["nprocs_seen"], sources(&outer)), (&json!(0), vec!["relations"]));
    let child = json!({"kind": "user", "ino": inner["ino"]});
    assert_eq!(outer["holders"], json!([{"type": "ancestor", "of": child}]));
    assert_eq!(outer["parent"]["ino"], proc::namespace(2, "user").unwrap());
}

#[test]
fn numbers_of_network_namespaces_are_those_of_lsns() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let (named, other) = (NamedNetns::add(), NamedNetns::add());
    let id = 1_000_000 + std::process::id();
    succeed(Command::new("ip").args(["netns", "set", &named.name, &id.to_string()]));
    let mut staged = Staged::sh(&format!("exec nsenter --net={} sleep 1000", named.path()));
    staged.wait_for("sleep");
    let number = |ino: u64| {
        let table = run(&["list", "-n", "-c", "netnsid", "--ns", &ino.to_string()]);
        table.stdout.trim().to_owned()
    };
    assert_eq!(number(named.ino()), id.to_string());
    assert_eq!(number(other.ino()), "unassigned");
    assert_eq!(find("net", named.ino())["netnsid"], id);
    assert_eq!(find("net", other.ino())["netnsid"], -1, "unassigned");
    assert_eq!(find("user", proc::namespace(2, "user").unwrap())["netnsid"], Value::Null);
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let theirs = support::lsns("NS,NETNSID");
    let row = theirs.iter().find(|row| text(&row["ns"]) == named.ino().to_string()).expect("lsns has it too");
    assert_eq!(text(&row["netnsid"]), id.to_string());
}

#[test]
fn the_kernels_ids_are_strings_where_the_kernel_has_them() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let id = |ns: &Value| ns["kernel_id"].as_str().map(|id| id.parse::<u64>().unwrap());
    let document = json(&["list", "--json", "--pid", &std::process::id().to_string()]);
    let own = document["namespaces"].as_array().unwrap();
    for ns in own {
        let expected = IDS.here() || (ns["kind"] == "mnt" && LISTMOUNT.here());
        assert_eq!(id(ns).is_some(), expected, "{ns}");
        assert_eq!(id(&find(ns["kind"].as_str().unwrap(), ns["ino"].as_u64().unwrap())), id(ns), "it stays");
    }
    if IDS.here() {
        let all: std::collections::BTreeSet<_> = own.iter().map(id).collect();
        assert_eq!(all.len(), own.len(), "no two of them have the same");
        let made: Vec<_> =
            (0..2).map(|_| in_ended_thread(|| File::open("/proc/thread-self/ns/net").unwrap())).collect();
        let ids: Vec<_> = made.iter().map(|&(ino, _)| id(&find("net", ino))).collect();
        // They come in batches per processor: a later one need not be greater.
        assert!(ids[0] != ids[1] && ids.iter().all(|id| !all.contains(id)), "{ids:?} {all:?}");
    }
}

#[test]
fn orphans_and_holders_and_the_tree_of_one_namespace() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let (ino, file) = in_ended_thread(|| File::open("/proc/thread-self/ns/net").unwrap());
    let orphans = json(&["list", "--json", "--orphans"]);
    let orphans = orphans["namespaces"].as_array().unwrap();
    assert!(orphans.iter().all(|ns| ns["nprocs_seen"] == 0));
    assert!(orphans.iter().any(|ns| ns["ino"] == ino));
    let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    let ran = run(&["list", "--holders", "--no-header", "--ns", &path]);
    let cells: Vec<_> = ran.stdout.split_whitespace().take(7).collect();
    let (pid, fd) = (std::process::id().to_string(), file.as_raw_fd().to_string());
    assert_eq!(
        cells,
        [&ino.to_string(), "net", "descriptor", &pid, "descriptor", &fd, "of"],
        "{}",
        ran.stdout
    );

    let tree = run(&["tree", "--ns", &path]).stdout;
    let held = format!("\nNo process is in:\n  net:[{ino}] held by descriptor {fd} of {pid}");
    assert!(tree.starts_with(&held), "{tree}");

    let mut staged = Staged::sh("unshare -n sleep 1000; true");
    let sleep = staged.wait_for("sleep");
    let ns = format!("net:[{}]", proc::namespace(sleep, "net").unwrap());
    let tree = run(&["tree", "--ascii", "--ns", &ns]).stdout;
    assert!(tree.contains(&format!("- {sleep} sleep 1000")), "{tree}");
    assert!(tree.contains(&format!("- {} sh -c", staged.pid())), "its ancestors are there:\n{tree}");
    assert!(!tree.contains("kthreadd"), "and nobody else:\n{tree}");
    let tree = json(&["tree", "--json", "--ns", &ns]);
    let shown = tree["namespaces"].as_array().unwrap().iter();
    assert_eq!(shown.filter(|shown| shown["kind"] == "net" && shown["initial"] == false).count(), 1);

    for (args, code, why) in [
        (["list", "--ns", "/dev/null"], 2, "/dev/null is not the file of a namespace"),
        (["tree", "--ns", "uts:[1]"], 1, "namespace uts:[1] was not found"),
        (["list", "--ns", "/nowhere/at/all"], 2, "/nowhere/at/all: No such file or directory (os error 2)"),
    ] {
        let ran = run(&args);
        assert_eq!((ran.code, ran.stderr), (Some(code), format!("nsprobe: {why}\n")));
    }
    assert_eq!(run(&["list", "--ns", "mount:[1]"]).code, Some(2));
}

#[test]
fn strict_is_about_gaps() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    // A user who may not read the processes of others.
    let (_dir, nsprobe) = support::unprivileged_copy();
    let run = |args: &[&str]| -> Ran {
        support::nobody().arg(&nsprobe).args(args).output().expect("setpriv").into()
    };
    for command in ["list", "tree"] {
        assert_eq!(run(&[command]).code, Some(0));
        let strict = run(&[command, "--strict"]);
        assert_eq!(strict.code, Some(1));
        assert!(!strict.stdout.is_empty());
        assert_eq!(strict.stderr.lines().count(), 1, "{}", strict.stderr);
        assert!(strict.stderr.contains("to see more: "), "{}", strict.stderr);
    }
}

#[test]
fn no_descriptor_is_left_open() {
    const ALONE: &str = "NSPROBE_TEST_ALONE";
    let _limit = support::time_limit();
    let name = "sources::no_descriptor_is_left_open";
    if std::env::var_os(ALONE).is_none() {
        // Beside other tests nothing could be counted: a separate process.
        let mut alone = Command::new(std::env::current_exe().unwrap());
        succeed(alone.args(["--exact", name, "--test-threads=1"]).env(ALONE, "1"));
        return;
    }
    let open = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open();
    let namespace = File::open("/proc/self/ns/net").unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let snapshot = nsprobe::discover::snapshot(&nsprobe::discover::Options::default()).unwrap();
    assert!(!snapshot.namespaces.is_empty());
    // The threads that read release their descriptors a moment later.
    let closed = wait(|| (open() == before + 2).then_some(()));
    assert!(closed.is_some(), "{} and {before}", open());
    drop((namespace, socket));
}
