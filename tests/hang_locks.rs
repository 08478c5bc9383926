//! nsprobe does not wait for a process that holds its own locks while a file server does not answer: in execve(2),
//! which closes files, and in munmap(2), which writes them.

use crate::support;
use crate::support::fuse::Server;
use crate::support::stage::wait;
use crate::support::waits::{
    Before, Outcome, beside_server, commands, in_own_mounts, sleeper, tenant, within,
};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Child;

/// Children that enter their own uts namespace and, each after reading a byte, execute a program, which closes the
/// file. More of one user than the number of threads that nsprobe leaves behind, and one of another user.
const EXECUTE: &str = "$| = 1; my ($file, $many) = @ARGV; for my $n (1 .. $many) { pipe R, W; next if fork; close W; \
    if ($n < $many) { $) = '65534 65534'; $> = 65534 } else { $) = '65533 65533'; $> = 65533 } \
    open F, '<', $file or die; syscall(272, 0x10000000 | 0x04000000) and die; \
    print 'x'; sysread STDIN, my $go, 1; exec 'sleep', '1000' } select undef, undef, undef, 1000";

/// The number of children.
const MANY: u32 = 12;

/// The gaps of a document about processes that were not read: the count, and the reason.
fn unread(document: &Value) -> Vec<(u64, String)> {
    let gaps = document["gaps"].as_array().unwrap();
    let of_processes = gaps.iter().filter(|gap| gap["kind"] == "process_status");
    let gap = |gap: &Value| (gap["count"].as_u64().unwrap(), gap["reason"].as_str().unwrap().to_owned());
    of_processes.map(gap).filter(|(_, reason)| reason.contains("does not return")).collect()
}

/// True if a document of `list` has the process.
fn has(document: &Value, pid: u32) -> bool {
    document["processes"].as_array().unwrap().iter().any(|process| process["pid"] == pid)
}

#[test]
fn who_executes_a_program_on_a_silent_server_is_not_waited_for() {
    let _limit = support::time_limit();
    beside_server(0, |point, server| {
        let before = Before::measure();
        let mut tenants = tenant(EXECUTE, &[point.join("program"), MANY.to_string().into()]);
        let mut ready = vec![0; MANY as usize];
        tenants.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        server.stop_answering();
        tenants.stdin.as_mut().unwrap().write_all(&ready).unwrap();
        let stuck = wait(|| Some(server.closing()).filter(|closing| closing.len() == MANY as usize));
        let stuck = stuck.expect("they close the file");
        // From a mount namespace without the server, and from its own.
        let outcomes: Vec<Outcome> =
            commands(&before).iter().map(|args| within(true, args, before.limit())).collect();
        let traced = traces(&before);
        let of_one =
            within(true, &["list", "--source", "proc", "--pid", &stuck[0].to_string()], before.limit());
        drop(server);
        end(&stuck, tenants);
        let (mut documents, mut unread_by_proc) = (0, Vec::new());
        for outcome in outcomes {
            let (is_list, by_proc) = (outcome.args.starts_with("list --json"), outcome.args.contains("proc"));
            let Some(ran) = outcome.of_commands() else { continue };
            if !is_list {
                continue;
            }
            documents += 1;
            let document: Value = serde_json::from_str(&ran.stdout).unwrap();
            assert!(has(&document, std::process::id()), "others are read");
            let unread = unread(&document);
            let count: u64 = unread.iter().map(|(count, _)| count).sum();
            let absent: Vec<u32> = stuck.iter().copied().filter(|&pid| !has(&document, pid)).collect();
            // If the kernel shows its own tables the holders are found all the same. Kernels before 6.18 hold fewer
            // files back. Another test may have more of the same kind.
            assert!(count >= absent.len() as u64, "{absent:?}: {unread:?}");
            // However many they are: those that do not answer, and those that are not read.
            assert!(unread.len() <= 3, "{unread:?}");
            assert!(by_proc || count == 0 || document["processes_from"] == "proc", "{unread:?}");
            if by_proc {
                unread_by_proc = absent;
            }
        }
        assert!(documents >= 2);
        for (source, outcome) in traced {
            let lines = lines(&outcome.of_commands().unwrap().stdout);
            assert_eq!(lines.last().unwrap()["type"], "end");
            let missing = lines[0]["source"]["missing"].to_string();
            let is_due = source == "proc" && !unread_by_proc.is_empty();
            assert!(!is_due || missing.contains("could not be read: reading"), "{missing}");
            assert!(!missing.contains("hidepid"), "{missing}");
        }
        // That it exists, and why it was not read.
        if unread_by_proc.len() == MANY as usize {
            let ran = of_one.in_time();
            let why = format!("nsprobe: process {} was not read: reading ", stuck[0]);
            assert!(ran.code == Some(1) && ran.stderr.starts_with(&why), "{}", ran.stderr);
            assert!(ran.stderr.contains("does not return"), "{}", ran.stderr);
        }
    });
}

#[test]
fn load_of_the_machine_is_not_read_from_a_silent_server() {
    let _limit = support::time_limit();
    beside_server(0, |point, server| {
        let before = Before::measure();
        let mut tenants = tenant(EXECUTE, &[point.join("program"), "1".into()]);
        tenants.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let limit = before.limit();
        // As container managers do.
        let none = None::<&str>;
        mount(Some(&point.join("program")), "/proc/loadavg", none, MsFlags::MS_BIND, none).unwrap();
        server.stop_answering();
        tenants.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        let stuck = wait(|| Some(server.closing()).filter(|closing| !closing.is_empty()));
        let stuck = stuck.expect("it closes the file");
        let list = within(false, &["list", "--json", "--source", "proc"], limit);
        drop(server);
        end(&stuck, tenants);
        let document: Value = serde_json::from_str(&list.of_commands().unwrap().stdout).unwrap();
        assert!(has(&document, std::process::id()));
    });
}

/// The number of processes on several servers.
const ALL: usize = 100;

/// The same with many users, each child with a file of one of several servers.
const EXECUTE_ALL: &str = "$| = 1; my ($many, @files) = @ARGV; for my $n (1 .. $many) { next if fork; \
    my $id = 60000 + $n % 20; $) = \"$id $id\"; $> = $id; open F, '<', $files[$n % @files] or die; \
    print 'x'; sysread STDIN, my $go, 1; exec 'sleep', '1000' } select undef, undef, undef, 1000";

#[test]
fn waits_for_many_processes_on_several_servers_have_one_limit_together() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    in_own_mounts(|| {
        let dir = tempfile::tempdir().unwrap();
        // Users go through it.
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let points = ["one", "two", "three"].map(|name| dir.path().join(name));
        let mut servers = Vec::new();
        for point in &points {
            std::fs::create_dir(point).unwrap();
            match Server::mount(point, 0, sleeper()) {
                Some(server) => servers.push(server),
                None => return support::skipped("the kernel has no FUSE"),
            }
        }
        let before = Before::measure();
        let mut args = vec![ALL.to_string()];
        args.extend(points.iter().map(|point| point.join("program").to_str().unwrap().to_owned()));
        let mut tenants = tenant(EXECUTE_ALL, &args);
        let mut ready = vec![0; ALL];
        tenants.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        servers.iter().for_each(Server::stop_answering);
        tenants.stdin.as_mut().unwrap().write_all(&ready).unwrap();
        let all = || servers.iter().flat_map(Server::closing).collect::<Vec<u32>>();
        let stuck =
            wait(|| Some(all()).filter(|closing| closing.len() == ALL)).expect("they close the files");
        let args = [
            &["list", "--json", "--source", "proc"][..],
            &["doctor"],
            &["trace", "--source", "proc", "-d", "1ms"],
        ];
        let outcomes = args.map(|args| within(true, args, before.limit()));
        drop(servers);
        end(&stuck, tenants);
        for (args, outcome) in args.iter().zip(outcomes) {
            let ran = outcome.of_commands().unwrap();
            if args[0] == "list" {
                let document: Value = serde_json::from_str(&ran.stdout).unwrap();
                let count: u64 = unread(&document).iter().map(|(count, _)| count).sum();
                let absent = stuck.iter().filter(|&&pid| !has(&document, pid)).count() as u64;
                assert!(has(&document, std::process::id()) && count >= absent, "{:?}", unread(&document));
            }
        }
    });
}

/// The result of traces by `/proc` in so little time.
fn traces(before: &Before) -> [(&'static str, Outcome); 2] {
    ["proc", "perf"].map(|source| {
        let args = ["trace", "--json", "-d", "500ms", "--interval", "100ms", "--source", source];
        (source, within(true, &args, before.limit()))
    })
}

fn lines(stdout: &str) -> Vec<Value> {
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Ends processes, and their parent.
fn end(pids: &[u32], mut parent: Child) {
    for &pid in pids {
        let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
    }
    parent.kill().unwrap();
    parent.wait().unwrap();
}

#[test]
fn locked() {
    let _limit = support::time_limit();
    support::locked::run();
}

#[test]
fn who_keeps_its_own_memory_locked_is_not_waited_for() {
    let _limit = support::time_limit();
    beside_server(0, |point, server| {
        let before = Before::measure();
        let mut tenant = support::locked::start(&point.join("program"));
        let pid = tenant.id();
        server.stop_reading_and_writing();
        let mut go = || tenant.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        go();
        assert!(wait(|| (!server.writing().is_empty()).then_some(())).is_some(), "it writes nothing");
        go();
        let mut commands = ["list --json --source proc", "list --json", "tree", "trace --lifecycle -d 200ms"]
            .map(|args| args.split(' ').collect::<Vec<_>>());
        commands[3].push("--json");
        let mut output = tenant.stdout.take().unwrap();
        let (sender, returned) = std::sync::mpsc::channel();
        std::thread::spawn(move || output.read_exact(&mut [0]).is_ok_and(|()| sender.send(()).is_ok()));
        // Once its arguments cannot be read. Older kernels copy the page for the server, and munmap returns.
        let locked = wait(|| {
            if returned.try_recv().is_ok() {
                return Some(false);
            }
            let path = format!("/proc/{pid}/cmdline");
            let (sender, receiver) = std::sync::mpsc::channel();
            std::thread::spawn(move || sender.send(std::fs::read(path)));
            receiver.recv_timeout(std::time::Duration::from_millis(300)).is_err().then_some(true)
        });
        let outcomes = match locked {
            Some(true) => commands.map(|args| within(true, &args, before.limit())).into(),
            _ => Vec::new(),
        };
        drop(server);
        let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
        tenant.wait().unwrap();
        if !locked.expect("munmap neither waits nor returns") {
            return support::skipped("munmap does not wait for the server");
        }
        for outcome in outcomes {
            let args = outcome.args.clone();
            let ran = outcome.in_time();
            assert_eq!(ran.code, Some(0), "{args}: {}", ran.stderr);
            if args.starts_with("list") {
                let document: Value = serde_json::from_str(&ran.stdout).unwrap();
                let gaps = document["gaps"].as_array().unwrap();
                let names = |gap: &&Value| {
                    gap["kind"] == "process_arguments"
                        && gap["reason"].as_str().unwrap().contains(&pid.to_string())
                };
                assert!(gaps.iter().any(|gap| names(&gap)), "{args}: {gaps:?}");
                let mut processes = document["processes"].as_array().unwrap().iter();
                let process = processes.find(|process| process["pid"] == pid).unwrap();
                assert_eq!(process["arguments"], Value::Null, "{args}: unknown, not empty");
                // Everything else is known all the same.
                assert!(has(&document, pid), "{args}: {gaps:?}");
            }
        }
    });
}
