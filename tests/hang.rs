//! nsprobe waits for nobody's file system: the obstacles that tenants can create, and that every command ends in
//! time.
//!
//! All of it is staged in a mount namespace that only one thread of the tests is in, so that nothing else on the
//! machine meets a server that does not answer. When the thread ends, the servers' connections end, and with these
//! every wait.

use crate::support::fuse::Server;
use crate::support::stage::{NamedNetns, Staged};
use crate::support::waits::{
    Before, Outcome, beside_server, command, in_own_mounts, run_all, sleeper, tenant, within,
};
use crate::support::{self, Ran, skipped};
use nix::mount::{MsFlags, mount};
use serde_json::Value;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Checks that all commands have ended in time, and found the namespaces `expected`; returns the lists among their
/// output. Whatever they may have waited for must have ended before.
fn lists(outcomes: Vec<Outcome>, expected: &[u64]) -> Vec<Value> {
    let mut lists = Vec::new();
    for outcome in outcomes {
        let args = outcome.args.clone();
        let Some(ran) = outcome.of_commands() else { continue };
        if !args.starts_with('d') {
            let missing = expected.iter().find(|ino| !ran.stdout.contains(&ino.to_string()));
            assert_eq!(missing, None, "{args}: {}", ran.stdout);
        }
        if args.starts_with("list --json") {
            lists.push(serde_json::from_str(&ran.stdout).unwrap());
        }
    }
    lists
}

/// Checks that a document of `list --json` has queried the network namespace `ino`, or has a gap that names `mount`.
fn queried_or_gap(document: &Value, ino: u64, mount: &str) {
    let all = document["namespaces"].as_array().unwrap();
    let ns = all.iter().find(|ns| ns["kind"] == "net" && ns["ino"] == ino);
    let ns = ns.unwrap_or_else(|| panic!("{ino} was not found: {}", document["gaps"]));
    let named = |gap: &Value| gap["kind"] == "relations" && gap["reason"].as_str().unwrap().contains(mount);
    let said = document["gaps"].as_array().unwrap().iter().any(named);
    assert_eq!(ns["owner"].is_null(), said, "{ns} {}", document["gaps"]);
    assert!(ns["mount_path"].is_null(), "{ns}");
}

/// Mounts a new network namespace at `file`, and returns its inode.
fn mount_namespace_at(file: &Path) -> u64 {
    let script = format!("mount --bind /proc/self/ns/net {} && readlink /proc/self/ns/net", file.display());
    let link = support::stage::succeed(Command::new("unshare").args(["-n", "sh", "-c", &script]));
    support::orphans::inode(Path::new(link.trim()))
}

#[test]
fn a_server_that_has_stopped_answering_holds_up_nothing() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let named = NamedNetns::add();
    in_own_mounts(|| {
        let dir = tempfile::tempdir().unwrap();
        // One of root, and one of a user: everybody may use it, as fusermount3 permits it with allow_other.
        let [mine, theirs] = ["mine", "theirs"].map(|name| dir.path().join(name));
        let mut servers = Vec::new();
        for (point, uid) in [(&mine, 0), (&theirs, 65534)] {
            fs::create_dir(point).unwrap();
            match Server::mount(point, uid, sleeper()) {
                Some(server) => servers.push(server),
                None => return skipped("the kernel has no FUSE"),
            }
        }
        let mut tenants = Vec::new();
        let mut inodes = vec![named.ino()];
        for point in [&mine, &theirs] {
            inodes.push(mount_namespace_at(&point.join("d/f")));
            let point = point.to_str().unwrap();
            // It is the root of one process, in a separate mount namespace too, ...
            let root = format!("chroot '{point}' or die; sleep 1000");
            tenants.push(Staged::spawn(Command::new("perl").args(["-e", &root])));
            let unshared = ["--mount", "perl", "-e", &root];
            tenants.push(Staged::spawn(Command::new("unshare").args(unshared)));
            // ... working directory, descriptor and program of another.
            let rest = format!("cd '{point}/d' && exec 9<'{point}/program' && exec '{point}/program'");
            tenants.push(Staged::sh(&rest));
        }
        for (index, tenant) in tenants.iter_mut().enumerate() {
            tenant.wait_for(if index % 3 == 2 { "program" } else { "perl" });
        }
        let before = Before::measure();
        servers.iter().for_each(Server::stop_answering);
        // From a mount namespace other than the servers', and from theirs.
        let outcomes = [true, false].map(|outside| run_all(&before, outside));
        drop(servers);
        drop(tenants);
        for document in outcomes.into_iter().flat_map(|outcomes| lists(outcomes, &inodes)) {
            queried_or_gap(&document, inodes[1], " (fuse.nsprobe) in mnt:[");
            queried_or_gap(&document, inodes[2], " (fuse.nsprobe) in mnt:[");
        }
    });
}

/// Maps a page of a file over the page that the arguments of the process begin in; then sleeps. Where the stack of the
/// process begins below them is random: it is executed again until that page has nothing of the stack.
const ARGUMENTS_IN_A_FILE: &str = "$| = 1; open S, '<', '/proc/self/stat' or die; \
    ($stack, $begin) = (split ' ', <S>)[27, 47]; $page = $begin & ~4095; \
    if ($page < $stack + 4096) { open C, '<', '/proc/self/cmdline' or die; exec split /\\0/, <C> or die } \
    open F, '<', shift or die; print 'x'; <STDIN>; \
    syscall(9, $page, 4096, 1, 0x12, fileno(F), 0) == -1 and die; \
    print 'x'; select undef, undef, undef, 1000";

#[test]
fn neither_arguments_nor_a_path_in_a_servers_hands_are_waited_for() {
    let _limit = support::time_limit();
    beside_server(65534, |point, server| {
        let mut tenant = tenant(ARGUMENTS_IN_A_FILE, &[point.join("program")]);
        let mut said = tenant.stdout.take().unwrap();
        let mut ready = || std::io::Read::read_exact(&mut said, &mut [0]).unwrap();
        ready();
        let before = Before::measure();
        // The page must be one that nobody has read before.
        server.stop_answering();
        std::io::Write::write_all(tenant.stdin.as_mut().unwrap(), b"\n").unwrap();
        ready();
        let file = point.join("d/f").to_str().unwrap().to_owned();
        let commands = [
            vec!["list", "--json", "--source", "proc"],
            vec!["list", "--json"],
            vec!["tree"],
            // Requested by the user, but ends all the same.
            vec!["list", "--ns", &file],
            vec!["trace", "--source", "proc", "-d", "1ms", "--cgroup", &file],
        ];
        let outcomes: Vec<Outcome> =
            commands.iter().map(|args| within(false, args, before.limit())).collect();
        let pid = tenant.id();
        drop(server);
        tenant.kill().unwrap();
        tenant.wait().unwrap();
        for (args, outcome) in commands.iter().zip(outcomes) {
            let ran = outcome.in_time();
            if args.contains(&file.as_str()) {
                assert_eq!(ran.code, Some(2), "{}", ran.stderr);
                assert!(ran.stderr.contains("a file system's server does not answer"), "{}", ran.stderr);
                continue;
            }
            assert_eq!(ran.code, Some(0), "{args:?}: {}", ran.stderr);
            if args[0] == "list" {
                let document: Value = serde_json::from_str(&ran.stdout).unwrap();
                // The kernel reads arguments only from anonymous memory of the process, Linux 4.17.
                let processes = document["processes"].as_array().unwrap();
                let of = |pid: u32| processes.iter().find(|process| process["pid"] == pid).unwrap();
                assert_eq!(of(pid)["arguments"], serde_json::json!([]));
                assert_ne!(of(std::process::id())["arguments"], serde_json::json!([]), "others are read");
            }
        }
    });
}

/// Has descriptors that alternate between a socket and a file: a process that has seen one may get the other. (The
/// descriptor that keeps the socket comes after those.) One is a socket for as long as closing the file takes, the
/// others are files.
const SWAPPER: &str = "$| = 1; open F, '<', shift or die; socket S, 1, 2, 0 or die; \
    sub dup { syscall(33, $_[0], $_[1]) == $_[1] or die } \
    dup(fileno(S), 150); close S; print 'x'; <STDIN>; \
    while (1) { for my $to (100 .. 119) { dup($_, $to) for 150, fileno(F) } }";

#[test]
fn a_file_in_the_place_of_a_socket_is_not_waited_for() {
    let _limit = support::time_limit();
    support::stage::adopt_orphans();
    beside_server(65534, |point, server| {
        let mut tenant = tenant(SWAPPER, &[point.join("program")]);
        std::io::Read::read_exact(tenant.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        let before = Before::measure();
        server.answer_only(tenant.id());
        std::io::Write::write_all(tenant.stdin.as_mut().unwrap(), b"\n").unwrap();
        // Until nsprobe has twice got a file that it took for a socket.
        let mut runs = Vec::new();
        let in_time = loop {
            let mut command = command(false, &["list", "--json", "--source", "proc"]);
            let (sender, receiver) = std::sync::mpsc::channel();
            // To the end of its output, which a process that it has left behind must not hold open.
            std::thread::spawn(move || sender.send(command.output()));
            let Ok(output) = receiver.recv_timeout(before.limit()) else { break false };
            runs.push(Ran::from(output.unwrap()));
            if server.closing().len() >= 2 || runs.len() == 200 {
                break true;
            }
        };
        let left_behind = server.closing();
        drop(server);
        tenant.kill().unwrap();
        tenant.wait().unwrap();
        assert!(in_time, "not done in time");
        assert!(left_behind.len() >= 2, "not staged in {} runs", runs.len());
        for Ran { code, stderr, .. } in &runs {
            assert_eq!(*code, Some(0), "{stderr}");
        }
        for pid in left_behind {
            // The orphans have become children of this process; another test's nsprobe may have been affected as
            // well.
            let _ = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid.cast_signed()), None);
            let ended = || support::proc::status(pid, "State").is_none_or(|state| state.starts_with('Z'));
            let gone = support::stage::wait(|| ended().then_some(()));
            assert!(gone.is_some(), "{pid} does not end");
        }
    });
}

#[test]
fn no_daemon_is_asked_to_mount_something() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let named = NamedNetns::add();
    in_own_mounts(|| {
        let dir = tempfile::tempdir().unwrap();
        let point = dir.path().join("point");
        fs::create_dir(&point).unwrap();
        fs::write(point.join("f"), "").unwrap();
        let hidden = mount_namespace_at(&point.join("f"));
        // Its daemon is a process that never answers. The kernel must not take nsprobe for a member of the daemon's
        // process group.
        let daemon = Command::new("sleep").arg("1000").process_group(0).stdin(Stdio::null()).spawn();
        let mut daemon = daemon.unwrap();
        let (asked, pipe) =
            nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC | nix::fcntl::OFlag::O_NONBLOCK).unwrap();
        let options = format!(
            "fd={},pgrp={},minproto=5,maxproto=5,indirect",
            std::os::fd::AsRawFd::as_raw_fd(&pipe),
            daemon.id()
        );
        let none = MsFlags::empty();
        let mounted = mount(Some("nsprobe"), &point, Some("autofs"), none, Some(options.as_str()));
        let outcomes = mounted.is_ok().then(|| {
            let before = Before::measure();
            [true, false].map(|outside| run_all(&before, outside))
        });
        // Without its pipe it waits for nobody.
        drop(pipe);
        let mut requests = Vec::new();
        let mut request = [0; 512];
        while let Ok(length @ 40..) = nix::unistd::read(&asked, &mut request) {
            // `struct autofs_v5_packet`: the pid of the requester. It may be somebody else on the machine.
            requests.push(u32::from_ne_bytes(request[..length][36..40].try_into().unwrap()));
        }
        let _ = nix::mount::umount2(&point, nix::mount::MntFlags::MNT_DETACH);
        // Otherwise the file would stay, because nothing can remove it while it is mounted on.
        nix::mount::umount2(&point.join("f"), nix::mount::MntFlags::MNT_DETACH).unwrap();
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        let Some(outcomes) = outcomes else { return skipped("the kernel has no autofs") };
        let ours = outcomes.iter().flatten().find(|outcome| requests.contains(&outcome.pid));
        assert!(ours.is_none(), "the daemon got a request of {}", ours.unwrap().args);
        for document in outcomes.into_iter().flat_map(|outcomes| lists(outcomes, &[named.ino(), hidden])) {
            queried_or_gap(&document, hidden, "mount");
        }
    });
}
