//! Namespaces that only the kernel's own lists lead to, in `nsprobe list`.

use crate::support::kernel::{LISTNS, LISTS, MOUNT_NAMESPACE_LIST, WALK};
use crate::support::orphans::{
    find, gaps, in_ended_thread, is_listed, not_found, wait_for_text, wait_for_the_end,
};
use crate::support::stage::Staged;
use crate::support::{self, Ran, json, proc, run};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nsprobe::kernel::sockets::PidFd;
use serde_json::{Value, json};
use std::fs::File;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::net::UnixStream;
use std::process::Command;

#[test]
fn mount_namespaces_are_listed_by_the_kernel_or_that_is_a_gap() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let ns = find("mnt", proc::namespace(2, "mnt").unwrap());
    assert_eq!(is_listed(&ns), MOUNT_NAMESPACE_LIST.here(), "{ns}");
    let not_listed = |gap: &Value| gap["reason"].as_str().unwrap().contains("mount namespaces");
    assert_eq!(gaps("source").iter().any(not_listed), !MOUNT_NAMESPACE_LIST.here());
}

/// Two sockets, and in the queue of one the descriptor of a network namespace with this inode that nothing else
/// holds.
pub fn in_flight() -> (u64, (UnixStream, UnixStream)) {
    let (ino, file) = in_ended_thread(|| File::open("/proc/thread-self/ns/net").unwrap());
    let pair = UnixStream::pair().unwrap();
    let message = [ControlMessage::ScmRights(&[file.as_raw_fd()])];
    let text = [std::io::IoSlice::new(b"x")];
    sendmsg::<()>(pair.0.as_raw_fd(), &text, &message, MsgFlags::empty(), None).unwrap();
    (ino, pair)
}

/// True if a list with these arguments reports that the descriptor in flight is not found.
fn in_flight_is_a_gap(args: &[&str]) -> bool {
    let document = json(&[&["list", "--json"], args].concat());
    let mut gaps = document["gaps"].as_array().unwrap().iter();
    gaps.any(|gap| gap["kind"] == "source" && gap["reason"].as_str().unwrap().contains("in flight"))
}

#[test]
fn a_descriptor_in_flight_is_found_by_the_kernels_list_or_is_a_gap() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let (ino, pair) = in_flight();
    assert_eq!(in_flight_is_a_gap(&[]), !LISTS.here());
    if LISTS.here() {
        let ns = find("net", ino);
        let (pid, fd) = (std::process::id(), pair.1.as_raw_fd());
        let name = format!("net:[{ino}]");
        if support::bpf() {
            let holders = json!([{"type": "in_flight", "pid": pid, "tid": null, "fd": fd}]);
            assert_eq!((&ns["holders"], &ns["sources"]), (&holders, &json!(["descriptors", "kernel_lists"])));
            let text = run(&["tree", "--ns", &name]).stdout;
            assert!(
                text.contains(&format!("held by descriptor in flight to socket {fd} of {pid} ")),
                "{text}"
            );
        }
        assert_eq!((&ns["nprocs_seen"], &ns["leader"]), (&json!(0), &Value::Null));
        assert_eq!(ns["owner"]["ino"], proc::namespace(2, "user").unwrap(), "queried by its id");
        if LISTNS.here() {
            let what = "nothing found in /proc: a tun or tap device, an open file of a /proc/PID/net, a socket without a process, a descriptor in flight or registered with io_uring, or the kernel";
            let args = ["list", "--holders", "--no-header", "--source", "proc", "--ns", &name];
            wait_for_text(&args, &format!("{ino} net ? {what}"));
        }
    } else {
        not_found(&["--ns", &format!("net:[{ino}]")]);
    }
    drop(pair);
    wait_for_the_end(ino);
}

#[test]
fn the_kernels_list_takes_bpf_on_one_kernel_and_no_privilege_on_later_ones() {
    let _limit = support::time_limit();
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
        let (remedy, other) =
            ("use --source auto, or use Linux 6.19", "use BPF on Linux 6.18, or Linux 6.19");
        assert_eq!(gap["remedy"], if LISTS.here() { remedy } else { other });
    }
    // Without the capabilities for BPF, and with none in the owner of the namespace.
    let (_dir, copy) = support::unprivileged_copy();
    let mut nobody = Command::new("setpriv");
    nobody.args(["--reuid", "65534", "--clear-groups", "--bounding-set", "-all"]).arg(copy);
    let ran: Ran = nobody.args(["list", "--json"]).output().unwrap().into();
    let document: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert!(!document["namespaces"].as_array().unwrap().iter().any(|ns| ns["ino"] == ino));
    // On later kernels only inactive ones need them.
    let missing = "it needs CAP_BPF and CAP_PERFMON on this kernel";
    let gaps = document["gaps"].to_string();
    let left_out = "not found: listns(2) omits those in whose owner you lack CAP_SYS_ADMIN";
    assert!(gaps.contains("SCM_RIGHTS"), "{gaps}");
    assert_eq!((gaps.contains(missing), gaps.contains(left_out)), (LISTS.here(), LISTNS.here()), "{gaps}");
}

#[test]
fn the_kernels_list_is_whole_also_when_it_is_long() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    // More than one run of the program reads.
    let made: Vec<_> =
        (0..100).map(|_| in_ended_thread(|| File::open("/proc/thread-self/ns/net").unwrap())).collect();
    let document = json(&["list", "--json", "--kind", "net"]);
    for (ino, file) in &made {
        let found = |ns: &&Value| ns["ino"] == *ino;
        let ns = document["namespaces"].as_array().unwrap().iter().find(found).unwrap();
        assert_eq!(is_listed(ns), LISTS.here(), "{ns}");
        assert!(ns["holders"].to_string().contains(&format!("\"fd\":{}", file.as_raw_fd())), "{ns}");
    }
}

#[test]
fn what_only_credentials_hold_is_found_where_the_kernel_has_lists() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    // A file keeps the credentials of its opener, with the user namespace.
    let mut staged = Staged::sh("exec unshare --user sh -c 'exec sleep 1000 </dev/zero'");
    let sleep = staged.wait_for("sleep");
    let ino = proc::namespace(sleep, "user").unwrap();
    let file = PidFd::open(sleep).and_then(|process| process.socket(0)).unwrap();
    drop(staged);
    let name = format!("user:[{ino}]");
    let fd = file.as_fd().as_raw_fd();
    let holders = json!([{"type": "credentials", "pid": std::process::id(), "tid": null, "fd": fd}]);
    let sources = json!(["descriptors", "kernel_lists"]);
    if WALK.here() {
        let ns = find("user", ino);
        assert_eq!((&ns["holders"], &ns["sources"]), (&holders, &sources));
        assert_eq!(ns["parent"]["ino"], proc::namespace(2, "user").unwrap());
    } else if LISTNS.here() {
        // These kernels treat it as inactive: nobody can open it, and only BPF shows it.
        if support::bpf() {
            let ns = find("user", ino);
            assert_eq!((&ns["holders"], &ns["sources"]), (&holders, &sources));
            assert_eq!((ns["kernel_id"].is_string(), &ns["parent"]), (true, &Value::Null));
            let inactive = |gap: &Value| gap["reason"].as_str().unwrap().starts_with("inactive: ");
            assert!(gaps("relations").iter().any(inactive));
        }
        not_found(&["--ns", &name, "--source", "proc"]);
    } else {
        not_found(&["--ns", &name]);
    }
    drop(file);
    not_found(&["--ns", &name]);
}
