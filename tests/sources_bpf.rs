//! `--source`: the kernel's own tasks give the same as `/proc`.

use crate::support::kernel::IDS;
use crate::support::orphans::in_ended_thread;
use crate::support::stage::{Staged, furnish, wait};
use crate::support::{self, bpf, proc, root, skipped};
use nix::sched::CloneFlags;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

/// The objects of a list by these keys.
fn by<'a>(list: &'a Value, of: &str, keys: [&str; 2]) -> BTreeMap<[String; 2], &'a Value> {
    let objects = list[of].as_array().unwrap();
    objects.iter().map(|object| (keys.map(|key| object[key].to_string()), object)).collect()
}

/// The differences between two objects, apart from what /proc could not read.
fn differences(name: &[String; 2], of_proc: &Value, of_bpf: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for (key, value) in of_proc.as_object().unwrap() {
        let other = &of_bpf[key];
        // /proc composes a longer name for a kernel thread, and cannot read the pid namespace for children before the
        // first child.
        let expected = match key.as_str() {
            "comm" if of_proc["kernel_thread"] == true => continue,
            "namespaces" | "root" | "chrooted" | "root_deleted" if value.is_null() => continue,
            "namespaces" if value["pid_for_children"].is_null() => {
                let mut value = value.clone();
                value["pid_for_children"] = other["pid_for_children"].clone();
                value
            }
            _ => value.clone(),
        };
        if expected != *other {
            found.push(format!("{name:?} {key}: proc {expected}, bpf {other}"));
        }
    }
    found
}

/// The document without `file_since` (the inode of a namespace that nothing has open is in memory only while it is
/// queried, and so has another time in every snapshot) and without the results of the kernel's lists, which take BPF
/// on one kernel.
fn lasting(list: &Value) -> Value {
    let mut list = list.clone();
    for namespace in list["namespaces"].as_array_mut().unwrap() {
        namespace.as_object_mut().unwrap().remove("file_since");
        namespace["sources"].as_array_mut().unwrap().retain(|source| source != "kernel_lists");
    }
    list
}

#[test]
fn both_sources_say_the_same() {
    let _limit = support::time_limit();
    if !bpf() {
        return;
    }
    let rootfs = tempfile::tempdir().unwrap();
    furnish(rootfs.path(), "/bin/sleep");
    let nested = "unshare --user --map-root-user --pid --fork --mount-proc --net --uts unshare --pid --fork --ipc \
                  --time --cgroup sleep 1000";
    let mut staged = [
        Staged::sh(&format!("{nested} & wait")),
        Staged::spawn(Command::new("chroot").arg(rootfs.path()).args(["/bin/sleep", "1000"])),
        Staged::spawn(Command::new("unshare").args(["--mount", "chroot", "/", "sleep", "1000"])),
        Staged::spawn(Command::new("setpriv").args(["--reuid", "4711", "--clear-groups", "sleep", "1000"])),
        // A namespace for children, and no child in it yet.
        Staged::sh("unshare --pid --mount sh -c 'exec sleep 1000'"),
    ];
    let pids: Vec<u32> = staged.iter_mut().map(|staged| staged.wait_for("sleep")).collect();
    let (ended, end) = std::sync::mpsc::channel::<()>();
    let (sender, receiver) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        nix::sched::unshare(CloneFlags::CLONE_NEWNET).unwrap();
        sender.send(nix::unistd::gettid().as_raw()).unwrap();
        let _ = end.recv();
    });
    let tid = receiver.recv().unwrap();

    // What changes between the snapshots differs; what never agrees is wrong.
    let mut last = Vec::new();
    let agreed = wait(|| {
        let [before, bpf, after] =
            ["proc", "bpf", "proc"].map(|from| support::json(&["list", "--json", "--source", from]));
        assert_eq!(bpf["processes_from"], "bpf");
        assert_eq!(before["processes_from"], "proc");
        let keys = ["pid", "start_ticks"];
        let (first, then, second) =
            (by(&before, "processes", keys), by(&bpf, "processes", keys), by(&after, "processes", keys));
        let stable = first.iter().filter(|(name, object)| second.get(*name) == Some(*object));
        let stable: Vec<_> = stable.collect();
        last = Vec::new();
        for (name, object) in &stable {
            match then.get(*name) {
                Some(other) => last.extend(differences(name, object, other)),
                None => last.push(format!("{name:?} is not in bpf: {object}")),
            }
        }
        for pid in &pids {
            let seen = stable.iter().any(|(name, _)| name[0] == pid.to_string());
            if !seen {
                last.push(format!("staged process {pid} is not stable"));
            }
        }
        // Only the namespaces of the staged processes: others are created and destroyed by other tests.
        let keys = ["kind", "ino"];
        let (before, bpf) = (lasting(&before), lasting(&bpf));
        let (first, then) = (by(&before, "namespaces", keys), by(&bpf, "namespaces", keys));
        for pid in &pids[..3] {
            for (name, ino) in proc::namespaces(*pid).unwrap() {
                if !["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"].contains(&name.as_str()) {
                    continue;
                }
                let name = [format!("\"{name}\""), ino.to_string()];
                if first[&name]["initial"] != true && first[&name] != then[&name] {
                    last.push(format!("{name:?}: proc {}, bpf {}", first[&name], then[&name]));
                }
            }
        }
        let holder = json!({ "type": "thread", "pid": std::process::id(), "tid": tid });
        for list in [&before, &bpf] {
            let held = |ns: &&Value| ns["holders"].as_array().unwrap().contains(&holder);
            let held: Vec<&Value> = list["namespaces"].as_array().unwrap().iter().filter(held).collect();
            if held.len() != 1 || held[0]["kind"] != "net" {
                last.push(format!("{}: the thread's namespaces are {held:?}", list["processes_from"]));
            }
        }
        last.is_empty().then_some(())
    });
    assert!(agreed.is_some(), "{}", last.join("\n"));
    drop(ended);
    thread.join().unwrap();

    let bpf = support::json(&["list", "--json", "--source", "bpf"]);
    let find = |pid: u32| {
        let processes = bpf["processes"].as_array().unwrap();
        processes.iter().find(|process| process["pid"] == pid).unwrap()
    };
    assert_eq!(find(pids[0])["pids"], json!(proc::pids_inside(pids[0]).unwrap()));
    assert_eq!(find(pids[0])["pids"].as_array().unwrap().len(), 3);
    assert_eq!(find(pids[1])["root"], rootfs.path().to_str().unwrap());
    assert_eq!(find(pids[1])["arguments"], json!(["/bin/sleep", "1000"]));
    assert_eq!(find(pids[3])["uid"], 4711);
    assert_eq!(find(pids[0])["start_ticks"], proc::start_ticks(pids[0]).unwrap());
    // Known only from the kernel.
    let for_children = find(pids[4])["namespaces"]["pid_for_children"].as_u64();
    assert!(for_children.is_some() && for_children != proc::namespace(pids[4], "pid"), "{for_children:?}");
}

#[test]
fn descriptors_and_sockets_are_read_from_the_kernels_tables() {
    let _limit = support::time_limit();
    if !bpf() {
        return;
    }
    let pid = std::process::id();
    let (of_file, file) = in_ended_thread(|| File::open("/proc/thread-self/ns/net").unwrap());
    let (of_socket, socket) = in_ended_thread(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    // A thread with a separate table, and in it a descriptor that is not in the process's.
    let (sender, receiver) = std::sync::mpsc::channel();
    let (ended, end) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        nix::sched::unshare(CloneFlags::CLONE_FILES).unwrap();
        // The copies of descriptors of other tests would hold it.
        let entries = std::fs::read_dir("/proc/thread-self/fd").unwrap();
        let numbers =
            entries.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse::<i32>().unwrap());
        for fd in numbers.collect::<Vec<_>>().into_iter().filter(|&fd| fd > 2) {
            // That of the directory itself is closed already.
            let _ = nix::unistd::close(fd);
        }
        nix::sched::unshare(CloneFlags::CLONE_NEWIPC).unwrap();
        let file = File::open("/proc/thread-self/ns/ipc").unwrap();
        nix::sched::setns(File::open("/proc/self/ns/ipc").unwrap(), CloneFlags::CLONE_NEWIPC).unwrap();
        let own = file.metadata().unwrap().ino();
        nix::sched::unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        let of_socket = std::fs::metadata("/proc/thread-self/ns/net").unwrap().ino();
        nix::sched::setns(File::open("/proc/self/ns/net").unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
        let fds = [file.as_raw_fd(), socket.as_raw_fd()];
        sender.send((own, of_socket, fds, nix::unistd::gettid().as_raw())).unwrap();
        let _ = end.recv();
    });
    let (of_thread, of_threads_socket, [fd, socket_fd], tid) = receiver.recv().unwrap();

    // A child of another test has copies of all descriptors until it executes its program, and so does an nsprobe
    // that reads them.
    let find = |ino: u64| {
        let find = || {
            let list = lasting(&support::json(&["list", "--json", "--source", "bpf"]));
            let namespaces = list["namespaces"].as_array().unwrap();
            let found = namespaces.iter().find(|ns| ns["ino"] == ino);
            let found = found.unwrap_or_else(|| panic!("{ino} is not listed")).clone();
            let own = found["holders"].as_array().unwrap().iter().all(|holder| holder["pid"] == pid);
            own.then_some(found)
        };
        wait(find).expect("a moment of quiet")
    };
    let found = find(of_file);
    assert_eq!(
        (&found["kind"], &found["sources"], &found["holders"]),
        (
            &json!("net"),
            &json!(["descriptors"]),
            &json!([{ "type": "descriptor", "pid": pid, "tid": null, "fd": file.as_raw_fd() }])
        )
    );
    let found = find(of_socket);
    assert_eq!(
        (&found["kind"], &found["sources"], &found["holders"]),
        (
            &json!("net"),
            &json!(["sockets"]),
            &json!([{ "type": "socket", "pid": pid, "tid": null, "fd": socket.as_raw_fd() }])
        )
    );
    assert_eq!(found["owner"]["ino"], proc::namespace(2, "user").unwrap());
    let found = find(of_thread);
    assert_eq!(found["holders"], json!([{ "type": "descriptor", "pid": pid, "tid": tid, "fd": fd }]));
    assert_eq!(found["owner"]["ino"], proc::namespace(2, "user").unwrap(), "queried through the thread");
    let found = find(of_threads_socket);
    assert_eq!(found["holders"], json!([{ "type": "socket", "pid": pid, "tid": tid, "fd": socket_fd }]));
    assert_eq!(found["owner"]["ino"], proc::namespace(2, "user").unwrap());
    drop(ended);
    thread.join().unwrap();
}

#[test]
fn no_socket_is_touched_where_namespaces_have_numbers() {
    let _limit = support::time_limit();
    if !bpf() {
        return;
    }
    if Command::new("strace").arg("-V").output().is_err() {
        return skipped("needs strace");
    }
    let (ino, socket) = in_ended_thread(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    let calls = |source: &str| {
        let nsprobe = env!("CARGO_BIN_EXE_nsprobe");
        let mut strace = Command::new("strace");
        let output = strace
            .args(["-f", "-e", "trace=pidfd_getfd", nsprobe, "list", "--json", "--source", source])
            .output();
        let output = output.unwrap();
        let list: Value = serde_json::from_slice(&output.stdout).unwrap();
        let namespaces = list["namespaces"].as_array().unwrap();
        let found = namespaces.iter().find(|ns| ns["ino"] == ino).unwrap();
        let calls = String::from_utf8(output.stderr).unwrap();
        (
            found["kernel_id"].clone(),
            calls.lines().filter(|line| line.contains("pidfd_getfd(")).count(),
            calls,
        )
    };
    let (kernel_id, count, said) = calls("bpf");
    if kernel_id.is_null() {
        assert_ne!(count, 0, "one socket of a namespace that nothing else leads to");
    } else {
        assert_eq!(count, 0, "{said}");
    }
    assert_ne!(calls("proc").1, 0, "what strace would have seen");
    drop(socket);
}

#[test]
fn no_namespace_is_woken_where_bpf_can_tell() {
    let _limit = support::time_limit();
    if !bpf() {
        return;
    }
    let (ino, socket) = in_ended_thread(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    let holder =
        json!({ "type": "socket", "pid": std::process::id(), "tid": null, "fd": socket.as_raw_fd() });
    for source in ["auto", "bpf"] {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-e", "trace=ioctl", env!("CARGO_BIN_EXE_nsprobe"), "list", "--json", "--source"]);
        let output = strace.arg(source).output().unwrap();
        let list: Value = serde_json::from_slice(&output.stdout).unwrap();
        let namespaces = list["namespaces"].as_array().unwrap();
        let found = namespaces.iter().find(|ns| ns["ino"] == ino).unwrap();
        assert!(found["holders"].as_array().unwrap().contains(&holder), "{source}: {found}");
        assert_eq!(found["owner"]["ino"], proc::namespace(2, "user").unwrap(), "{source}: {found}");
        let calls = String::from_utf8(output.stderr).unwrap();
        let woken =
            calls.lines().filter(|line| line.contains("SIOCGSKNS") || line.contains("0x894c")).count();
        // Before namespaces had ids none was ever inactive, and one socket is queried for its namespace.
        assert_eq!(woken == 0, IDS.here(), "{source}: {calls}");
    }
    drop(socket);
}

#[test]
fn in_a_pid_namespace_processes_are_numbered_as_there() {
    let _limit = support::time_limit();
    if !bpf() {
        return;
    }
    let script =
        format!("sleep 1000 & {} list --json --source bpf; kill $!; wait $!", env!("CARGO_BIN_EXE_nsprobe"));
    let output = Command::new("unshare")
        .args(["--pid", "--fork", "--mount-proc", "sh", "-c", &script])
        .output()
        .unwrap();
    let list: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let pids: Vec<&Value> = list["processes"].as_array().unwrap().iter().map(|p| &p["pid"]).collect();
    assert_eq!(pids, [1, 2, 3]);
    let pairs = |key: &str| -> Vec<Value> {
        list["processes"].as_array().unwrap().iter().map(|process| process[key].clone()).collect()
    };
    assert_eq!(pairs("ppid"), [0, 1, 1]);
    assert_eq!(pairs("pids"), [json!([1]), json!([2]), json!([3])]);
}

#[test]
fn another_proc_is_not_taken_for_the_kernels() {
    let _limit = support::time_limit();
    if !bpf() {
        return;
    }
    // Without its own mount of proc, /proc shows the pids of the outer pid namespace.
    let ran = Command::new("unshare")
        .args(["--pid", "--fork", env!("CARGO_BIN_EXE_nsprobe"), "list", "--source", "bpf"])
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("pids, uids or times in this /proc differ"), "{stderr}");
}

#[test]
fn without_the_right_to_load_programs_proc_does() {
    let _limit = support::time_limit();
    if !root() {
        return;
    }
    let (_dir, copy) = support::unprivileged_copy();
    let nobody = |source: &str| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--clear-groups", "--bounding-set", "-all"]).arg(&copy);
        let ran: support::Ran = command.args(["list", "--json", "--source", source]).output().unwrap().into();
        ran
    };
    let ran = nobody("bpf");
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert_eq!(
        ran.stderr,
        "nsprobe: the source bpf is not available: it needs CAP_BPF and CAP_PERFMON: run with sudo\n"
    );
    let ran = nobody("auto");
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let list: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(list["processes_from"], "proc");
    assert!(!ran.stderr.contains("bpf"), "{}", ran.stderr);
}
