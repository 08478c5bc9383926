//! What a tenant may do to blind a trace or to forge what it reports, in a process of its own: this test program, called
//! again with the abuse in its environment.

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::mem::offset_of;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The abuse, in the environment.
const WHICH: &str = "NSPROBE_TEST_ABUSE";

/// A process that abuses. It is killed when dropped.
pub struct Abuse {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Abuse {
    /// Starts this program again, which runs the test `trace_blind::abuse` only.
    pub fn start(which: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--exact", "trace_blind::abuse", "--test-threads=1", "--nocapture"]).env(WHICH, which);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("this program starts");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { child, output }
    }

    /// What it reports next, after `abuse: `.
    pub fn report(&mut self) -> String {
        let mut line = String::new();
        while self.output.read_line(&mut line).expect("text") > 0 {
            // The harness may have begun the line.
            if let Some((_, report)) = line.split_once("abuse: ") {
                return report.trim().to_owned();
            }
            line.clear();
        }
        panic!("it has ended without a report");
    }

    /// Waits for its end.
    pub fn end(mut self) {
        let status = self.child.wait().expect("it ends");
        assert!(status.success(), "{status}");
    }
}

impl Drop for Abuse {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// In the process that was started for it: the abuse.
pub fn run() {
    let Ok(which) = std::env::var(WHICH) else { return };
    let (which, count) = which.split_once(' ').unwrap_or((&which, "0"));
    let count: usize = count.parse().expect("a number");
    name(&format!("abuse-{which}"));
    match which {
        "leave" => (0..count).for_each(|_| traced(&mut leaving_nothing_seen)),
        "stand" => stand(count),
        "stops" => every_stop(),
        "net" => return say(&swapped_net(count).to_string()),
        "jail" => return say(&swapped_root(count).to_string()),
        "memory" => return say(&rewritten_path(count)),
        other => panic!("no abuse {other}"),
    }
    say("done");
}

fn say(what: &str) {
    println!("abuse: {what}");
    std::io::stdout().flush().expect("a pipe");
}

fn name(name: &str) {
    nix::sys::prctl::set_name(&std::ffi::CString::new(name).expect("a name")).expect("PR_SET_NAME");
}

/// clone(2) with these flags, as fork does it.
fn clone(flags: i32) -> i64 {
    let flags = i64::from(flags | libc::SIGCHLD);
    // SAFETY: without CLONE_VM the child has a copy of everything.
    unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) }
}

/// Makes a task that is traced by this one, stopped, and then calls clone(2), unshare(2), setns(2), chroot(2) and
/// pivot_root(2); `tracer` does with it what it likes until it has ended.
fn traced(tracer: &mut dyn FnMut(Pid)) {
    // SAFETY: the child makes system calls only.
    match unsafe { fork() }.expect("fork") {
        ForkResult::Child => {
            let _ = ptrace::traceme();
            let _ = nix::sys::signal::raise(Signal::SIGSTOP);
            if clone(libc::CLONE_NEWUTS) == 0 {
                exit();
            }
            let path = c"/nowhere".as_ptr();
            // SAFETY: the paths are strings, and nothing else is a pointer.
            unsafe {
                libc::unshare(-1);
                libc::syscall(libc::SYS_setns, -1, 0);
                libc::chroot(path);
                libc::syscall(libc::SYS_pivot_root, path, path);
            }
            exit();
        }
        ForkResult::Parent { child } => {
            waitpid(child, None).expect("it stops");
            let options = Options::PTRACE_O_TRACEFORK
                | Options::PTRACE_O_TRACECLONE
                | Options::PTRACE_O_TRACESYSGOOD
                | Options::PTRACE_O_EXITKILL;
            ptrace::setoptions(child, options).expect("a traced task");
            tracer(child);
            // Its child is traced as well.
            while let Ok(status) = waitpid(None, Some(WaitPidFlag::__WALL)) {
                let _ = match status {
                    // A task that cannot even end, because its number was hidden, is ended by what it does then.
                    WaitStatus::Stopped(pid, signal) if signal != Signal::SIGSTOP => {
                        ptrace::cont(pid, signal)
                    }
                    WaitStatus::Stopped(pid, _)
                    | WaitStatus::PtraceEvent(pid, ..)
                    | WaitStatus::PtraceSyscall(pid) => ptrace::cont(pid, None),
                    _ => Ok(()),
                };
            }
        }
    }
}

fn exit() -> ! {
    // SAFETY: ends this process, without what its parent wants to be done at exit.
    unsafe { libc::_exit(0) }
}

/// The place of the number of the system call, and of its result.
const NUMBER: usize = offset_of!(libc::user_regs_struct, orig_rax);
const RESULT: usize = offset_of!(libc::user_regs_struct, rax);

fn poke(pid: Pid, register: usize, value: i64) {
    // Gone, if it was killed.
    let _ = ptrace::write_user(pid, register as ptrace::AddressType, value);
}

/// Rewrites the number of clone(2) in the middle, so that no tracepoint tells of its return, and ends the task.
fn leaving_nothing_seen(pid: Pid) {
    let _ = ptrace::cont(pid, None);
    if let Ok(WaitStatus::PtraceEvent(..)) = waitpid(pid, None) {
        poke(pid, NUMBER, -1);
    }
    let _ = ptrace::kill(pid);
}

/// At each stop in turn: kills the task, hides the number of its call, and gives it others with a result of success.
fn every_stop() {
    const STOPS: usize = 13;
    let calls =
        [libc::SYS_unshare, libc::SYS_setns, libc::SYS_chroot, libc::SYS_pivot_root, libc::SYS_clone3];
    for stop in 0..STOPS {
        for action in 0..calls.len() + 2 {
            traced(&mut |pid| {
                for _ in 0..stop {
                    let _ = ptrace::syscall(pid, None);
                    let ended = |status| matches!(status, WaitStatus::Exited(..) | WaitStatus::Signaled(..));
                    if waitpid(pid, None).is_ok_and(ended) {
                        return;
                    }
                }
                match action {
                    0 => {
                        let _ = ptrace::kill(pid);
                    }
                    1 => poke(pid, NUMBER, -1),
                    other => {
                        // Skipped before seccomp and the probe can see it, with a number and a result of its tracer's.
                        poke(pid, NUMBER, calls[other - 2]);
                        poke(pid, RESULT, 0);
                        if ptrace::sysemu(pid, None).is_ok() {
                            let _ = waitpid(pid, None);
                        }
                        poke(pid, NUMBER, calls[other - 2]);
                        poke(pid, RESULT, 0);
                    }
                }
                let _ = ptrace::cont(pid, None);
            });
        }
    }
}

/// The children of vfork, which share the memory of their parents.
static STANDING: AtomicUsize = AtomicUsize::new(0);

/// So many threads that stand in vfork until this process is killed.
fn stand(count: usize) {
    fn call() {
        name("abuse-stand");
        let flags = libc::CLONE_NEWUSER | libc::CLONE_VFORK | libc::CLONE_VM | libc::SIGCHLD;
        // SAFETY: the child uses the stack of its parent, which stands still; it makes system calls only, and never returns.
        unsafe {
            if libc::syscall(libc::SYS_clone, i64::from(flags), 0, 0, 0, 0) == 0 {
                libc::syscall(libc::SYS_prctl, libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                STANDING.fetch_add(1, Ordering::Relaxed);
                loop {
                    libc::syscall(libc::SYS_pause);
                }
            }
        }
    }
    for _ in 0..count {
        std::thread::Builder::new().stack_size(64 << 10).spawn(call).expect("a thread");
    }
    while STANDING.load(Ordering::Relaxed) < count {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    say("standing");
    loop {
        std::thread::park();
    }
}

/// Runs `call` in this thread, which has a root directory of its own, while another one puts `other` and `usual` in the
/// place of a descriptor in turn. The descriptor is what `call` is given.
fn swapping(usual: &File, other: &File, mut call: impl FnMut(i32)) {
    let place = File::open("/proc/self/ns/uts").expect("a file");
    let (place, usual, other) = (place.as_raw_fd(), usual.as_raw_fd(), other.as_raw_fd());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                // SAFETY: descriptors that stay open for as long as this thread runs.
                unsafe {
                    libc::dup2(other, place);
                    libc::dup2(usual, place);
                }
            }
        });
        call(place);
        stop.store(true, Ordering::Relaxed);
    });
}

fn setns(fd: i32) -> bool {
    // SAFETY: takes no pointer.
    unsafe { libc::setns(fd, 0) == 0 }
}

/// Joins another network namespace where a uts namespace stood when the call began; gives how often that was so. The way
/// back counts as well.
fn swapped_net(tries: usize) -> usize {
    let net = || std::fs::metadata("/proc/thread-self/ns/net").expect("a namespace").ino();
    let [home, uts] = ["net", "uts"].map(|kind| File::open(format!("/proc/self/ns/{kind}")).expect("a file"));
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("root");
    let there = File::open("/proc/thread-self/ns/net").expect("a file");
    assert!(setns(home.as_raw_fd()));
    // There by unshare, and back.
    let mut joined = 2;
    let at_home = net();
    swapping(&uts, &there, |place| {
        for _ in 0..tries {
            setns(place);
            if net() != at_home {
                assert!(setns(home.as_raw_fd()));
                joined += 2;
            }
        }
    });
    joined
}

/// Leaves a chroot by the mount namespace it is in, where a uts namespace stood when the call began; gives how often.
fn swapped_root(tries: usize) -> usize {
    let jail = tempfile::tempdir().expect("a directory");
    let inside = std::fs::metadata(jail.path()).expect("it is there").ino();
    let [mnt, uts] = ["mnt", "uts"].map(|kind| File::open(format!("/proc/self/ns/{kind}")).expect("a file"));
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS).expect("unshare");
    let outside = File::open("/").expect("a directory");
    let mut left = 0;
    swapping(&uts, &mnt, |place| {
        for _ in 0..tries {
            nix::unistd::chroot(jail.path()).expect("root");
            for _ in 0..20 {
                setns(place);
                if std::fs::metadata("/").expect("a root").ino() != inside {
                    left += 1;
                    break;
                }
            }
            nix::unistd::fchdir(&outside).expect("outside");
            nix::unistd::chroot(".").expect("root");
        }
    });
    left
}

/// chroot(2) to a path that another thread rewrites; gives the letters of the directories that it led to.
fn rewritten_path(tries: usize) -> String {
    let dir = tempfile::tempdir().expect("a directory");
    let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
    std::fs::create_dir(&a).expect("a directory");
    std::fs::create_dir(&b).expect("a directory");
    let inside = std::fs::metadata(&a).expect("it is there").ino();
    let path = std::ffi::CString::new(a.to_str().expect("UTF-8")).expect("a path").into_bytes_with_nul();
    let path: Vec<std::sync::atomic::AtomicU8> = path.into_iter().map(Into::into).collect();
    let last = &path[path.len() - 2];
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS).expect("unshare");
    let outside = File::open("/").expect("a directory");
    let stop = AtomicBool::new(false);
    let mut led = String::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                last.store(b'b', Ordering::Relaxed);
                last.store(b'a', Ordering::Relaxed);
            }
        });
        for _ in 0..tries {
            // SAFETY: a string at any time: its last byte stays 0.
            assert_eq!(unsafe { libc::chroot(path.as_ptr().cast()) }, 0);
            led.push(if std::fs::metadata("/").expect("a root").ino() == inside { 'a' } else { 'b' });
            nix::unistd::fchdir(&outside).expect("outside");
            nix::unistd::chroot(".").expect("root");
        }
        stop.store(true, Ordering::Relaxed);
    });
    led
}
