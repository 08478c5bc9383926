//! Namespaces that no process is in: by what holds them they are found, in `nsprobe list`.

use crate::support::kernel::{IDS, LISTMOUNT, LISTNS, LISTS, MOUNT_NAMESPACE_LIST, WALK};
use crate::support::stage::{NamedNetns, Staged, succeed, wait};
use crate::support::{self, Ran, json, proc, run};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nsprobe::kernel::sockets::PidFd;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::thread::JoinHandle;

/// A thread of this process in namespaces of its own; it ends when this is dropped.
struct Stray {
    tid: u32,
    go_on: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Stray {
    fn start(flags: CloneFlags) -> Self {
        let (go_on, wait) = mpsc::channel::<()>();
        let (tell, hear) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            unshare(flags).expect("unshare in a thread");
            tell.send(nix::unistd::gettid().as_raw()).expect("somebody hears");
            // Ends with an error when the sender is dropped.
            let _ = wait.recv();
        });
        let tid = hear.recv().expect("the thread is there");
        Self { tid: u32::try_from(tid).unwrap(), go_on: Some(go_on), thread: Some(thread) }
    }

    /// The inode of one of its namespaces, read by hand.
    fn namespace(&self, name: &str) -> u64 {
        let link = format!("/proc/{}/task/{}/ns/{name}", std::process::id(), self.tid);
        inode(&fs::read_link(link).expect("a thread's namespace"))
    }
}

impl Drop for Stray {
    fn drop(&mut self) {
        drop(self.go_on.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Runs `make` in a thread with namespaces of its own, which ends; gives the inode of its network namespace.
pub fn in_passing<T: Send + 'static>(make: fn() -> T) -> (u64, T) {
    let run = move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("unshare in a thread");
        (inode(&fs::read_link("/proc/thread-self/ns/net").expect("a namespace")), make())
    };
    std::thread::spawn(run).join().expect("the thread ends well")
}

/// The number in `net:[4026531833]`.
fn inode(link: &Path) -> u64 {
    let text = link.to_str().unwrap();
    text.split_once(":[")
        .and_then(|(_, rest)| rest.strip_suffix(']'))
        .and_then(|ino| ino.parse().ok())
        .unwrap()
}

/// One namespace, as nsprobe has it at a moment when no nsprobe of another test looks at it.
fn find(kind: &str, ino: u64) -> Value {
    let looked_at = |holder: &Value| {
        let pid = holder["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
        pid.is_some_and(|pid| proc::comm(pid).is_none_or(|comm| comm == "nsprobe"))
    };
    let find = || {
        let document = json(&["list", "--json", "--ns", &format!("{kind}:[{ino}]")]);
        assert_eq!(document["namespaces"].as_array().unwrap().len(), 1);
        let ns = document["namespaces"][0].clone();
        (!ns["holders"].as_array().unwrap().iter().any(looked_at)).then_some(ns)
    };
    wait(find).expect("a moment of quiet")
}

/// What led to a namespace, apart from the kernel's own lists, which some kernels have.
fn sources(ns: &Value) -> Vec<&str> {
    let sources = ns["sources"].as_array().unwrap().iter().map(|source| source.as_str().unwrap());
    sources.filter(|&source| source != "kernel_lists").collect()
}

/// Waits until a network namespace is not found any more.
fn wait_for_the_end(ino: u64) {
    let name = format!("net:[{ino}]");
    let ended = wait(|| {
        let ran = run(&["list", "--ns", &name]);
        (ran.code == Some(1)).then_some(ran)
    });
    let ran = ended.expect("nothing holds it, so it ends");
    assert_eq!(
        (ran.stdout, ran.stderr),
        (String::new(), format!("nsprobe: namespace {name} was not found\n"))
    );
}

fn is_listed(ns: &Value) -> bool {
    ns["sources"].as_array().unwrap().contains(&json!("kernel_lists"))
}

fn gaps(kind: &str) -> Vec<Value> {
    let document = json(&["list", "--json"]);
    let gaps = document["gaps"].as_array().unwrap().iter();
    gaps.filter(|gap| gap["kind"] == kind).cloned().collect()
}

#[test]
fn a_thread_elsewhere_is_found_and_its_process_is_not_counted_there() {
    if !support::root() {
        return;
    }
    let flags = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWNS;
    let stray = Stray::start(flags);
    for kind in ["net", "uts", "mnt"] {
        let ns = find(kind, stray.namespace(kind));
        assert_eq!((&ns["nprocs"], &ns["leader"]), (&json!(0), &Value::Null), "{ns}");
        let holder = json!({"type": "thread", "pid": std::process::id(), "tid": stray.tid});
        assert_eq!(ns["holders"], json!([holder]));
        assert_eq!(sources(&ns), ["threads"]);
        assert_eq!(is_listed(&ns), LISTS.here() || (kind == "mnt" && MOUNT_NAMESPACE_LIST.here()));
        assert_eq!(ns["owner"]["ino"], proc::namespace(2, "user").unwrap(), "asked by way of the thread");
    }
    let table = run(&["list", "-n", "-c", "path", "--ns", &stray.namespace("uts").to_string()]).stdout;
    let ino = inode(&fs::read_link(table.trim()).expect("a path that leads there"));
    assert_eq!(ino, stray.namespace("uts"));
}

#[test]
fn a_time_namespace_for_the_children_of_a_thread_is_found() {
    if !support::root() {
        return;
    }
    // CLONE_NEWTIME has no name in nix.
    let stray = Stray::start(CloneFlags::from_bits_retain(0x80));
    let ino = stray.namespace("time_for_children");
    assert_ne!(ino, stray.namespace("time"));
    let ns = find("time", ino);
    assert_eq!(ns["holders"], json!([{"type": "for_children", "pid": std::process::id(), "tid": stray.tid}]));
    assert_eq!((&ns["nprocs"], sources(&ns)), (&json!(0), vec!["for_children"]));
}

#[test]
fn a_descriptor_alone_holds_a_namespace() {
    if !support::root() {
        return;
    }
    let (ino, file) = in_passing(|| File::open("/proc/thread-self/ns/net").unwrap());
    let ns = find("net", ino);
    let holder = json!({"type": "descriptor", "pid": std::process::id(), "fd": file.as_raw_fd()});
    assert_eq!((&ns["holders"], sources(&ns)), (&json!([holder]), vec!["descriptors"]));
    assert_eq!(ns["owner"]["ino"], proc::namespace(2, "user").unwrap(), "asked by way of the descriptor");
    drop(file);
    wait_for_the_end(ino);
}

#[test]
fn a_descriptor_is_known_also_when_its_link_names_no_namespace() {
    if !support::root() {
        return;
    }
    let named = NamedNetns::add();
    let ino = named.ino();
    let file = File::open(named.path()).unwrap();
    let link = || fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
    assert_eq!(link(), Path::new(&named.path()), "opened by a mount");
    let holder = json!({"type": "descriptor", "pid": std::process::id(), "fd": file.as_raw_fd()});
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
    if !support::root() {
        return;
    }
    let (ino, socket) = in_passing(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    let shared = socket.try_clone().unwrap();
    let ns = find("net", ino);
    let holder =
        |socket: &UdpSocket| json!({"type": "socket", "pid": std::process::id(), "fd": socket.as_raw_fd()});
    let mut expected = [(socket.as_raw_fd(), holder(&socket)), (shared.as_raw_fd(), holder(&shared))];
    expected.sort_by_key(|&(fd, _)| fd);
    assert_eq!(ns["holders"], json!(expected.map(|(_, holder)| holder)), "both descriptors of the socket");
    assert_eq!(sources(&ns), ["sockets"]);
    assert_eq!(ns["owner"]["ino"], proc::namespace(2, "user").unwrap());
    drop((socket, shared));
    wait_for_the_end(ino);
}

/// The script of a mount namespace with a network namespace mounted in it, at a path nobody else sees.
fn mount_inside(dir: &Path, then: &str) -> Staged {
    let dir = dir.to_str().unwrap();
    let script = format!(
        "exec 9</proc/self/ns/mnt; mount -t tmpfs nsprobe {dir} && touch '{dir}/a b' \
         && unshare -n mount --bind /proc/self/ns/net '{dir}/a b' && {then}"
    );
    Staged::spawn(Command::new("unshare").args(["-m", "--propagation", "private", "sh", "-c", &script]))
}

#[test]
fn a_mount_in_anothers_mount_namespace_is_found_at_its_path_there() {
    if !support::root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a b");
    let mut staged = mount_inside(dir.path(), "exec sleep 1000");
    let sleep = staged.wait_for("sleep");
    assert!(!path.exists(), "not to be seen from here");
    let mountinfo = fs::read_to_string(format!("/proc/{sleep}/mountinfo")).unwrap();
    let line = mountinfo.lines().find(|line| line.contains(" - nsfs ") && line.contains("a\\040b")).unwrap();
    let ino = inode(Path::new(line.split(' ').nth(3).unwrap()));
    let ns = find("net", ino);
    let mnt = proc::namespace(sleep, "mnt").unwrap();
    let holder = json!({"type": "bind_mount", "mount_namespace": {"kind": "mnt", "ino": mnt}, "path": path});
    assert_eq!((&ns["holders"], sources(&ns)), (&json!([holder]), vec!["bind_mounts"]));
    assert_eq!(ns["owner"]["ino"], proc::namespace(2, "user").unwrap(), "asked by way of the mount");
}

#[test]
fn a_mount_where_no_process_is_is_found_if_the_kernel_tells() {
    if !support::root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // The process goes back to where it came from, and keeps the mount namespace by a descriptor.
    let mut staged = mount_inside(dir.path(), "exec nsenter --mount=/proc/2/ns/mnt sleep 1000");
    let sleep = staged.wait_for("sleep");
    let mnt = fs::read_link(format!("/proc/{sleep}/fd/9")).map(|link| inode(&link)).unwrap();
    assert_ne!(mnt, proc::namespace(sleep, "mnt").unwrap());
    let ns = find("mnt", mnt);
    assert_eq!(
        (&ns["nprocs"], &ns["holders"]),
        (&json!(0), &json!([{"type": "descriptor", "pid": sleep, "fd": 9}]))
    );
    let document = json(&["list", "--json", "--kind", "net"]);
    let path = dir.path().join("a b");
    let holder = json!({"type": "bind_mount", "mount_namespace": {"kind": "mnt", "ino": mnt}, "path": path});
    let held = |ns: &&Value| ns["holders"].as_array().unwrap().contains(&holder);
    let found = document["namespaces"].as_array().unwrap().iter().find(held);
    let gap = |kind: &str| document["gaps"].as_array().unwrap().iter().any(|gap| gap["kind"] == kind);
    if LISTMOUNT.here() {
        let found = found.expect("listmount(2) tells");
        assert_eq!(found["nprocs"], 0, "{found}");
        // Only by its number can it be opened from here.
        assert_eq!(found["owner"].is_null(), !LISTS.here(), "{found}");
        // Where there are lists, what another test mounts while nsprobe looks is a gap for that moment.
        let expected = || (gaps("relations").is_empty() == LISTS.here()).then_some(());
        assert!(wait(expected).is_some(), "{}", document["gaps"]);
    } else {
        assert!(found.is_none());
        assert!(gap("mounts"), "{}", document["gaps"]);
    }
}

#[test]
fn a_pid_namespace_outlives_its_processes_as_long_as_a_parent_keeps_it_for_children() {
    if !support::root() {
        return;
    }
    // The first child is the init of the namespace, and ends at once.
    let mut staged = Staged::sh("exec unshare --pid sh -c '/bin/true; exec sleep 1000'");
    let sleep = staged.wait_for("sleep");
    let ino = proc::namespace(sleep, "pid_for_children").expect("it has had a child");
    let ns = find("pid", ino);
    assert_eq!((&ns["nprocs"], &ns["leader"]), (&json!(0), &Value::Null));
    assert_eq!(ns["holders"], json!([{"type": "for_children", "pid": sleep}]));
    assert_eq!(sources(&ns), ["for_children"]);
    assert_eq!(ns["parent"]["ino"], proc::namespace(sleep, "pid").unwrap());
}

#[test]
fn a_pid_namespace_that_waits_for_its_first_child_is_found_or_is_a_gap() {
    if !support::root() {
        return;
    }
    let mut staged = Staged::sh("exec unshare --pid sleep 1000");
    let sleep = staged.wait_for("sleep");
    // Older kernels do not let anybody read the link yet (6.18 does not, 7.2 does).
    if let Some(ino) = proc::namespace(sleep, "pid_for_children") {
        let ns = find("pid", ino);
        assert_eq!(ns["holders"], json!([{"type": "for_children", "pid": sleep}]));
        assert_eq!((&ns["nprocs"], sources(&ns)), (&json!(0), vec!["for_children"]));
    } else {
        let gaps = gaps("pid_for_children");
        assert_eq!(gaps.len(), 1, "{gaps:?}");
        assert!(gaps[0]["remedy"].as_str().unwrap().contains("BPF"), "{gaps:?}");
    }
}

#[test]
fn an_ancestor_without_processes_is_found_by_its_child() {
    if !support::root() {
        return;
    }
    let mut staged = Staged::sh("exec unshare -U -r unshare -U -r sleep 1000");
    let sleep = staged.wait_for("sleep");
    let inner = find("user", proc::namespace(sleep, "user").unwrap());
    let outer = find("user", inner["parent"]["ino"].as_u64().unwrap());
    assert_eq!((&outer["nprocs"], sources(&outer)), (&json!(0), vec!["relations"]));
    let child = json!({"kind": "user", "ino": inner["ino"]});
    assert_eq!(outer["holders"], json!([{"type": "ancestor", "of": child}]));
    assert_eq!(outer["parent"]["ino"], proc::namespace(2, "user").unwrap());
}

#[test]
fn numbers_of_network_namespaces_are_those_of_lsns() {
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
    assert_eq!(find("net", other.ino())["netnsid"], "unassigned");
    assert_eq!(find("user", proc::namespace(2, "user").unwrap())["netnsid"], Value::Null);
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let theirs = support::lsns("NS,NETNSID");
    let row = theirs.iter().find(|row| text(&row["ns"]) == named.ino().to_string()).expect("lsns has it too");
    assert_eq!(text(&row["netnsid"]), id.to_string());
}

#[test]
fn the_kernels_ids_are_strings_where_the_kernel_has_them() {
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
            (0..2).map(|_| in_passing(|| File::open("/proc/thread-self/ns/net").unwrap())).collect();
        let ids: Vec<_> = made.iter().map(|&(ino, _)| id(&find("net", ino))).collect();
        // They come in batches per processor: a later one need not be greater.
        assert!(ids[0] != ids[1] && ids.iter().all(|id| !all.contains(id)), "{ids:?} {all:?}");
    }
}

#[test]
fn mount_namespaces_are_listed_by_the_kernel_or_that_is_a_gap() {
    if !support::root() {
        return;
    }
    let ns = find("mnt", proc::namespace(2, "mnt").unwrap());
    assert_eq!(is_listed(&ns), MOUNT_NAMESPACE_LIST.here(), "{ns}");
    let not_listed = |gap: &Value| gap["reason"].as_str().unwrap().contains("mount namespaces");
    assert_eq!(gaps("source").iter().any(not_listed), !MOUNT_NAMESPACE_LIST.here());
}

/// Two sockets, and in the queue of one the descriptor of a network namespace with this inode that nothing else holds.
fn in_flight() -> (u64, (UnixStream, UnixStream)) {
    let (ino, file) = in_passing(|| File::open("/proc/thread-self/ns/net").unwrap());
    let pair = UnixStream::pair().unwrap();
    let message = [ControlMessage::ScmRights(&[file.as_raw_fd()])];
    let text = [std::io::IoSlice::new(b"x")];
    sendmsg::<()>(pair.0.as_raw_fd(), &text, &message, MsgFlags::empty(), None).unwrap();
    (ino, pair)
}

/// Waits until nsprobe says this, apart from spaces. An nsprobe of another test that asks a namespace has it open for a
/// moment, and so holds it.
fn said(args: &[&str], what: &str) {
    let mut last = String::new();
    let said = wait(|| {
        last = run(args).stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        (last == what).then_some(())
    });
    assert!(said.is_some(), "{args:?}: {last}");
}

/// Waits until a list with these arguments finds nothing.
fn not_found(args: &[&str]) {
    let args = [&["list"], args].concat();
    assert!(wait(|| (run(&args).code == Some(1)).then_some(())).is_some(), "{args:?} finds something");
}

/// Whether a list with these arguments says that what is in flight is not found.
fn in_flight_is_a_gap(args: &[&str]) -> bool {
    let document = json(&[&["list", "--json"], args].concat());
    let mut gaps = document["gaps"].as_array().unwrap().iter();
    gaps.any(|gap| gap["kind"] == "source" && gap["reason"].as_str().unwrap().contains("in flight"))
}

#[test]
fn a_descriptor_in_flight_is_found_by_the_kernels_list_or_is_a_gap() {
    if !support::root() {
        return;
    }
    let (ino, pair) = in_flight();
    assert_eq!(in_flight_is_a_gap(&[]), !LISTS.here());
    if LISTS.here() {
        let ns = find("net", ino);
        assert_eq!((&ns["holders"], &ns["sources"]), (&json!([]), &json!(["kernel_lists"])));
        assert_eq!((&ns["nprocs"], &ns["leader"]), (&json!(0), &Value::Null));
        assert_eq!(ns["owner"]["ino"], proc::namespace(2, "user").unwrap(), "asked by way of its number");
        let what = "nothing found in /proc: a descriptor in flight, or the kernel";
        let ns = format!("net:[{ino}]");
        said(&["list", "--holders", "--no-header", "--ns", &ns], &format!("{ino} net ? {what}"));
        said(&["tree", "--ns", &ns], &format!("No process is in: {ns} held by {what}"));
    } else {
        not_found(&["--ns", &format!("net:[{ino}]")]);
    }
    drop(pair);
    wait_for_the_end(ino);
}

#[test]
fn the_kernels_list_takes_bpf_on_one_kernel_and_no_privilege_on_later_ones() {
    if !support::root() {
        return;
    }
    let (ino, _pair) = in_flight();
    let name = format!("net:[{ino}]");
    let check = |source: &str, found: bool| {
        let args = ["--ns", &name, "--source", source];
        assert_eq!(in_flight_is_a_gap(&args[2..]), !found, "{source}");
        if found {
            assert_eq!(run(&[&["list"], &args[..]].concat()).code, Some(0), "{source}");
        } else {
            not_found(&args);
        }
    };
    if support::bpf() {
        check("bpf", LISTS.here());
    }
    check("proc", LISTNS.here());
    if !LISTNS.here() {
        let document = json(&["list", "--json", "--source", "proc"]);
        let gaps = document["gaps"].as_array().unwrap();
        let gap = gaps.iter().find(|gap| gap["reason"].as_str().unwrap().contains("SCM_RIGHTS")).unwrap();
        let (remedy, other) = ("--source auto, or Linux 6.19", "BPF on Linux 6.18, or Linux 6.19");
        assert_eq!(gap["remedy"], if LISTS.here() { remedy } else { other });
    }
    // Nobody: without the capabilities for BPF, and with none in the owner of the namespace.
    let (_dir, copy) = support::unprivileged_copy();
    let mut nobody = Command::new("setpriv");
    nobody.args(["--reuid", "65534", "--clear-groups", "--bounding-set", "-all"]).arg(copy);
    let ran: Ran = nobody.args(["list", "--json"]).output().unwrap().into();
    let document: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert!(!document["namespaces"].as_array().unwrap().iter().any(|ns| ns["ino"] == ino));
    let missing = "that takes CAP_BPF and CAP_PERFMON on this kernel";
    assert_eq!(document["gaps"].to_string().contains(missing), LISTS.here() && !LISTNS.here(), "{document}");
}

#[test]
fn the_kernels_list_is_whole_also_when_it_is_long() {
    if !support::root() {
        return;
    }
    // More than one run of the program looks at.
    let made: Vec<_> =
        (0..100).map(|_| in_passing(|| File::open("/proc/thread-self/ns/net").unwrap())).collect();
    let document = json(&["list", "--json", "--kind", "net"]);
    for (ino, file) in &made {
        let found = |ns: &&Value| ns["ino"] == *ino;
        let ns = document["namespaces"].as_array().unwrap().iter().find(found).unwrap();
        assert_eq!(is_listed(ns), LISTS.here(), "{ns}");
        assert!(ns["holders"].to_string().contains(&format!("\"fd\":{}", file.as_raw_fd())), "{ns}");
    }
}

#[test]
fn what_only_credentials_hold_is_found_where_it_can_be_opened() {
    if !support::root() {
        return;
    }
    // A file remembers who opened it, with the user namespace.
    let mut staged = Staged::sh("exec unshare --user sh -c 'exec sleep 1000 </dev/zero'");
    let sleep = staged.wait_for("sleep");
    let ino = proc::namespace(sleep, "user").unwrap();
    let file = PidFd::open(sleep).and_then(|process| process.socket(0)).unwrap();
    drop(staged);
    let name = format!("user:[{ino}]");
    if WALK.here() {
        let ns = find("user", ino);
        assert_eq!((&ns["holders"], &ns["sources"]), (&json!([]), &json!(["kernel_lists"])));
        assert_eq!(ns["parent"]["ino"], proc::namespace(2, "user").unwrap());
    } else {
        // Older kernels have no lists; to later ones it is inactive, and not to be opened.
        not_found(&["--ns", &name]);
    }
    drop(file);
    not_found(&["--ns", &name]);
}

#[test]
fn orphans_and_holders_and_the_tree_of_one_namespace() {
    if !support::root() {
        return;
    }
    let (ino, file) = in_passing(|| File::open("/proc/thread-self/ns/net").unwrap());
    let orphans = json(&["list", "--json", "--orphans"]);
    let orphans = orphans["namespaces"].as_array().unwrap();
    assert!(orphans.iter().all(|ns| ns["nprocs"] == 0));
    assert!(orphans.iter().any(|ns| ns["ino"] == ino));
    let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    let ran = run(&["list", "--holders", "--no-header", "--ns", &path]);
    let cells: Vec<_> = ran.stdout.split_whitespace().take(6).collect();
    let (pid, fd) = (std::process::id().to_string(), file.as_raw_fd().to_string());
    assert_eq!(cells, [&ino.to_string(), "net", "descriptor", &pid, &fd, "of"], "{}", ran.stdout);

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

    for (args, why) in [
        (["list", "--ns", "/dev/null"], "/dev/null is not the file of a namespace"),
        (["tree", "--ns", "uts:[1]"], "namespace uts:[1] was not found"),
        (["list", "--ns", "/nowhere/at/all"], "/nowhere/at/all: No such file or directory (os error 2)"),
    ] {
        let ran = run(&args);
        assert_eq!((ran.code, ran.stderr), (Some(1), format!("nsprobe: {why}\n")));
    }
    assert_eq!(run(&["list", "--ns", "mount:[1]"]).code, Some(2));
}

#[test]
fn strict_is_about_gaps() {
    if !support::root() {
        return;
    }
    // Somebody who may not read the processes of others.
    let (_dir, nsprobe) = support::unprivileged_copy();
    let run = |args: &[&str]| -> Ran {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]);
        command.arg(&nsprobe).args(args).output().expect("setpriv").into()
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
    let name = "sources::no_descriptor_is_left_open";
    if std::env::var_os(ALONE).is_none() {
        // Beside other tests nothing could be counted: a process of its own.
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
    assert_eq!(open(), before + 2);
    drop((namespace, socket));
}
