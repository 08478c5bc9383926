//! Threads that differ from their process, in `nsprobe list`: a separate table of descriptors, a first thread that
//! has ended. Each test in a separate process: a thread that unshares its table takes copies of the descriptors of
//! other tests.

use crate::support::stage::{succeed, wait};
use crate::support::{self, json, proc};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;
use std::sync::mpsc;

/// Runs `test`, which is called `name`, alone in a process.
fn alone(name: &str, test: impl FnOnce()) {
    const ALONE: &str = "NSPROBE_TEST_ALONE";
    if !support::root() {
        return;
    }
    if std::env::var_os(ALONE).is_some() {
        return test();
    }
    let mut alone = Command::new(std::env::current_exe().unwrap());
    succeed(alone.args(["--exact", &format!("sources_threads::{name}"), "--test-threads=1"]).env(ALONE, "1"));
}

/// The sources of processes that are available here.
fn process_sources() -> Vec<&'static str> {
    if support::bpf() { vec!["proc", "bpf"] } else { vec!["proc"] }
}

/// A list, by this source of processes.
fn list(source: &str, args: &[&str]) -> Value {
    json(&[&["list", "--json", "--source", source], args].concat())
}

/// The holders of a namespace without those nsprobes of other tests that have just opened it.
fn holders(ns: &Value) -> Vec<&Value> {
    let of_nsprobe = |holder: &&Value| {
        let pid = holder["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
        pid.is_some_and(|pid| proc::comm(pid).is_none_or(|comm| comm == "nsprobe"))
    };
    ns["holders"].as_array().unwrap().iter().filter(|holder| !of_nsprobe(holder)).collect()
}

/// The file of a network namespace that nothing else holds.
fn namespace() -> File {
    let make = || {
        unshare(CloneFlags::CLONE_NEWNET).expect("unshare in a thread");
        File::open("/proc/thread-self/ns/net").unwrap()
    };
    std::thread::spawn(make).join().expect("the thread ends well")
}

#[test]
fn a_descriptor_of_a_thread_with_a_table_of_its_own_holds_a_namespace() {
    let _limit = support::time_limit();
    alone("a_descriptor_of_a_thread_with_a_table_of_its_own_holds_a_namespace", || {
        let (go_on, end) = mpsc::channel::<()>();
        let (sender, receiver) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_FILES).expect("a separate table");
            let file = namespace();
            let ino = file.metadata().unwrap().ino();
            sender.send((nix::unistd::gettid().as_raw(), file.as_raw_fd(), ino)).unwrap();
            // Fails when the sender is dropped.
            let _ = end.recv();
        });
        let (tid, fd, ino) = receiver.recv().unwrap();
        assert_eq!(fs::metadata(format!("/proc/self/task/{tid}/fd/{fd}")).unwrap().ino(), ino);
        assert!(fs::metadata(format!("/proc/self/fd/{fd}")).is_err(), "the process has a different table");
        for source in process_sources() {
            let ns = list(source, &["--ns", &format!("net:[{ino}]")])["namespaces"][0].clone();
            let holder = json!({"type": "descriptor", "pid": std::process::id(), "tid": tid, "fd": fd});
            assert_eq!(holders(&ns), [&holder], "{source}");
            assert!(ns["sources"].as_array().unwrap().contains(&json!("descriptors")), "{source}");
            assert_eq!(ns["owner"]["ino"], proc::namespace(2, "user").unwrap(), "queried through the thread");
        }
        drop(go_on);
        thread.join().unwrap();
    });
}

/// A process whose first thread has ended and whose other two have not; they are in their own uts namespace and have,
/// in one table, the file of a network namespace open.
struct Leaderless {
    pid: u32,
}

impl Leaderless {
    fn start() -> Self {
        // SAFETY: the child continues with a copy of this process, which has no other running thread: its one thread
        // makes another and ends.
        match unsafe { fork() }.expect("fork") {
            ForkResult::Parent { child } => {
                let leaderless = Self { pid: u32::try_from(child.as_raw()).unwrap() };
                let ended = || leaderless.stat().contains(") Z ").then_some(());
                assert!(wait(ended).is_some(), "its first thread ends: {}", leaderless.stat());
                leaderless
            }
            ForkResult::Child => {
                let (sender, receiver) = mpsc::channel();
                std::thread::spawn(move || {
                    let made = unshare(CloneFlags::CLONE_NEWUTS).map(|()| namespace());
                    std::thread::spawn(|| std::thread::sleep(std::time::Duration::from_secs(1000)));
                    let _ = sender.send(());
                    std::thread::sleep(std::time::Duration::from_secs(1000));
                    drop(made);
                });
                let _ = receiver.recv();
                // SAFETY: ends this thread and nothing else; it holds nothing that the other waits for.
                unsafe { libc::syscall(libc::SYS_exit, 0) };
                unreachable!("it has ended");
            }
        }
    }

    fn stat(&self) -> String {
        fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap()
    }

    /// The first of the remaining threads.
    fn tid(&self) -> u32 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid)).unwrap();
        let tids = tasks.map(|task| task.unwrap().file_name().to_str().unwrap().parse().unwrap());
        tids.into_iter().filter(|&tid| tid != self.pid).min().expect("a second thread")
    }
}

impl Drop for Leaderless {
    fn drop(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.pid).unwrap());
        let _ = kill(pid, Signal::SIGKILL);
        let _ = waitpid(pid, None);
    }
}

#[test]
fn a_process_whose_first_thread_has_ended_is_where_its_others_are() {
    let _limit = support::time_limit();
    alone("a_process_whose_first_thread_has_ended_is_where_its_others_are", || {
        let process = Leaderless::start();
        let (pid, tid) = (process.pid, process.tid());
        let uts = fs::metadata(format!("/proc/{pid}/task/{tid}/ns/uts")).unwrap().ino();
        assert!(fs::metadata(format!("/proc/{pid}/ns/uts")).is_err(), "its own links are gone");
        let descriptors = fs::read_dir(format!("/proc/{pid}/task/{tid}/fd")).unwrap();
        let is_namespace = |path: &std::path::PathBuf| {
            fs::read_link(path).is_ok_and(|link| link.to_str().unwrap().starts_with("net:["))
        };
        let path = descriptors.map(|entry| entry.unwrap().path()).find(is_namespace).unwrap();
        let fd: u32 = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
        let net = fs::metadata(path).unwrap().ino();
        for source in process_sources() {
            let document = list(source, &[]);
            let find = |kind: &str, ino: u64| {
                let mut all = document["namespaces"].as_array().unwrap().iter();
                all.find(|ns| ns["kind"] == kind && ns["ino"] == ino)
                    .unwrap_or_else(|| panic!("{source}: {ino}"))
            };
            let ns = find("uts", uts);
            assert_eq!(
                (&ns["nprocs_seen"], &ns["leader"]["pid"]),
                (&json!(1), &json!(pid)),
                "{source}: {ns}"
            );
            assert_eq!(holders(ns), [&Value::Null; 0], "{source}");
            assert_eq!(ns["owner"]["ino"], proc::namespace(2, "user").unwrap(), "queried through the thread");
            let seen =
                document["processes"].as_array().unwrap().iter().find(|seen| seen["pid"] == pid).unwrap();
            for (name, ino) in proc::thread_namespaces(pid, tid) {
                assert_eq!(seen["namespaces"][&name], ino, "{source}: {name} of {seen}");
            }
            let holder = json!({"type": "descriptor", "pid": pid, "tid": tid, "fd": fd});
            assert_eq!(holders(find("net", net)), [&holder], "{source}");
        }
    });
}
