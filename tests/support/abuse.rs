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
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

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
        "exec" => ended_in_the_middle(count, true),
        "exit" => ended_in_the_middle(count, false),
        "signals" => return say(&interrupted(count)),
        "clone3" => return say(&rewritten_flags(count)),
        "pivot" => return say(&rewritten_root(count).to_string()),
        "many" => return many_namespaces(count),
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
                libc::unshare(libc::CLONE_NEWUTS);
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
        std::thread::sleep(Duration::from_millis(20));
    }
    say("standing");
    loop {
        std::thread::park();
    }
}

/// Begins a clone in a thread that stands in it (vfork), so many times, and ends the thread's process in the middle: by
/// another thread that executes a program, or ends it.
fn ended_in_the_middle(count: usize, by_exec: bool) {
    for _ in 0..count {
        // SAFETY: the child has one thread, which goes on like a process of its own, and does not return.
        match unsafe { fork() }.expect("fork") {
            ForkResult::Child => {
                let standing = std::thread::Builder::new().stack_size(64 << 10).spawn(stand_in_vfork);
                if standing.is_ok() {
                    while STANDING.load(Ordering::Relaxed) == 0 {
                        std::thread::yield_now();
                    }
                }
                let program = c"/bin/true";
                let none = std::ptr::null();
                if by_exec {
                    // SAFETY: arrays that end with a null pointer, of strings.
                    unsafe {
                        libc::execve(program.as_ptr(), [program.as_ptr(), none].as_ptr(), [none].as_ptr())
                    };
                }
                exit();
            }
            ForkResult::Parent { child } => drop(waitpid(child, None).expect("it ends")),
        }
    }
}

/// Stands in a clone until this process ends; so does the child.
fn stand_in_vfork() {
    let flags = libc::CLONE_NEWUTS | libc::CLONE_VFORK | libc::CLONE_VM | libc::SIGCHLD;
    // SAFETY: as in `stand`.
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

/// Calls that signal handlers have made.
static HANDLED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn unshare_uts(_: libc::c_int) {
    // SAFETY: takes no pointer.
    if unsafe { libc::unshare(libc::CLONE_NEWUTS) } == 0 {
        HANDLED.fetch_add(1, Ordering::Relaxed);
    }
}

/// Makes so many calls of setns that fail, while signals come, whose handler calls unshare; gives how many of each.
fn interrupted(count: usize) -> String {
    let handler: extern "C" fn(libc::c_int) = unshare_uts;
    // SAFETY: the handler makes a system call and adds to a number.
    unsafe { libc::signal(libc::SIGUSR1, handler as libc::sighandler_t) };
    let me = nix::unistd::gettid();
    let interrupt = || {
        // SAFETY: takes no pointer.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), me.as_raw(), libc::SIGUSR1) };
        std::thread::sleep(Duration::from_micros(200));
    };
    let mut failed = 0;
    meanwhile(interrupt, || {
        while failed < count {
            assert!(!setns(-1));
            failed += 1;
        }
    });
    format!("{failed} {}", HANDLED.load(Ordering::Relaxed))
}

/// Runs `call` with a byte at `place` that another thread sets to `usual` and `other` in turn.
fn rewriting(place: &AtomicU8, usual: u8, other: u8, call: impl FnOnce()) {
    // One value a turn, so that both last as long.
    let rewrite = || {
        place.fetch_xor(usual ^ other, Ordering::Relaxed);
    };
    meanwhile(rewrite, call);
}

/// clone3(2) with flags that another thread rewrites; gives how many children had another uts namespace, and how many
/// another ipc namespace.
fn rewritten_flags(tries: usize) -> String {
    /// The byte of the flags in which the two lie.
    const BYTE: usize = 3;
    let [uts, ipc] = [libc::CLONE_NEWUTS, libc::CLONE_NEWIPC].map(|flag| flag.to_le_bytes()[BYTE]);
    let (writable, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
    // Shared with the children: of what is not, each fork takes the right to write for a moment.
    // SAFETY: a new mapping of zeroes, which stays for as long as this process.
    let args: &[AtomicU8; 64] = unsafe {
        let page = libc::mmap(std::ptr::null_mut(), 4096, writable, shared, -1, 0);
        assert_ne!(page, libc::MAP_FAILED);
        &*page.cast()
    };
    args[BYTE].store(uts, Ordering::Relaxed);
    // The exit signal.
    args[32].store(u8::try_from(libc::SIGCHLD).expect("small"), Ordering::Relaxed);
    let own = inode(c"/proc/self/ns/uts");
    let (mut of_uts, mut of_ipc) = (0, 0);
    rewriting(&args[BYTE], uts, ipc, || {
        let patience = Instant::now() + PATIENCE;
        for turn in 0.. {
            if turn >= tries && of_uts > 0 && of_ipc > 0 || Instant::now() > patience {
                break;
            }
            // SAFETY: the arguments have the size that is told; the child makes system calls only.
            match unsafe { libc::syscall(libc::SYS_clone3, args.as_ptr(), size_of_val(args)) } {
                0 => {
                    let is_uts = inode(c"/proc/self/ns/uts") != own;
                    // SAFETY: ends the child.
                    unsafe { libc::_exit(i32::from(is_uts)) }
                }
                child => {
                    let child = Pid::from_raw(i32::try_from(child).expect("a pid"));
                    match waitpid(child, None).expect("it ends") {
                        WaitStatus::Exited(_, 1) => of_uts += 1,
                        _ => of_ipc += 1,
                    }
                }
            }
        }
    });
    format!("{of_uts} {of_ipc}")
}

fn inode(path: &std::ffi::CStr) -> u64 {
    // SAFETY: integers, for which zero is a value; a string, and as much room as stat needs.
    unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        libc::stat(path.as_ptr(), &raw mut stat);
        stat.st_ino
    }
}

/// pivot_root(2) to a path that another thread rewrites, each time in a mount namespace of a thread of its own; gives how
/// often it succeeded.
fn rewritten_root(tries: usize) -> usize {
    use nix::mount::{MsFlags, mount};
    const NONE: Option<&str> = None;
    let dir = tempfile::tempdir().expect("a directory");
    for name in ["a", "b"] {
        std::fs::create_dir(dir.path().join(name)).expect("a directory");
    }
    let path = std::ffi::CString::new(dir.path().join("a").to_str().expect("UTF-8")).expect("a path");
    let path: Vec<AtomicU8> = path.into_bytes_with_nul().into_iter().map(Into::into).collect();
    let pivoted = AtomicUsize::new(0);
    let pivot = || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).expect("root");
        mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE).expect("root");
        for name in ["a", "b"] {
            mount(Some("none"), &dir.path().join(name), Some("tmpfs"), MsFlags::empty(), NONE).expect("root");
        }
        let path = path.as_ptr();
        // SAFETY: a string at any time: its last byte stays 0.
        if unsafe { libc::syscall(libc::SYS_pivot_root, path, path) } == 0 {
            pivoted.fetch_add(1, Ordering::Relaxed);
        }
    };
    rewriting(&path[path.len() - 2], b'a', b'b', || {
        for turn in 0..10 * tries {
            if turn >= tries && pivoted.load(Ordering::Relaxed) > 0 {
                break;
            }
            std::thread::scope(|scope| {
                let _ = std::thread::Builder::new().spawn_scoped(scope, pivot).expect("a thread").join();
            });
        }
    });
    pivoted.into_inner()
}

/// Makes so many namespaces as a user who is nobody else, and keeps them until it is killed.
fn many_namespaces(count: usize) {
    let (user, root) = (nix::unistd::Uid::from_raw(61_240), nix::unistd::Uid::from_raw(0));
    nix::unistd::setresuid(user, root, root).expect("root may be anybody");
    let held: Vec<File> = (0..count)
        .map(|_| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUTS).expect("root");
            File::open("/proc/thread-self/ns/uts").expect("a namespace")
        })
        .collect();
    let last = held.last().map_or(0, |file| file.metadata().expect("a namespace").ino());
    say(&last.to_string());
    loop {
        std::thread::park();
        std::hint::black_box(&held);
    }
}

/// Runs `call` in this thread, which has a root directory of its own, while another one puts `other` and `usual` in the
/// place of a descriptor in turn. The descriptor is what `call` is given.
fn swapping(usual: &File, other: &File, mut call: impl FnMut(i32)) {
    let place = File::open("/proc/self/ns/uts").expect("a file");
    let (place, usual, other) = (place.as_raw_fd(), usual.as_raw_fd(), other.as_raw_fd());
    // SAFETY: descriptors that stay open for as long as this runs.
    let swap = || unsafe {
        libc::dup2(other, place);
        libc::dup2(usual, place);
    };
    meanwhile(swap, || call(place));
}

/// Runs `call` while another thread runs `action` again and again, from before it begins.
fn meanwhile(action: impl Fn() + Sync, call: impl FnOnce()) {
    let [begun, stop] = [const { AtomicBool::new(false) }; 2];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                action();
                begun.store(true, Ordering::Relaxed);
            }
        });
        while !begun.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        call();
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
        let patience = Instant::now() + PATIENCE;
        for turn in 0.. {
            if joined >= ENOUGH && turn >= tries || Instant::now() > patience {
                break;
            }
            setns(place);
            if net() != at_home {
                assert!(setns(home.as_raw_fd()));
                joined += 2;
            }
        }
    });
    joined
}

/// As often a swap need be the moment that the kernel looks at.
const ENOUGH: usize = 60;

/// For so long that is waited for: the thread that swaps may get no processor for a while.
const PATIENCE: Duration = Duration::from_secs(15);

/// Leaves a chroot by the mount namespace it is in, where a uts namespace stood when the call began; gives how often.
fn swapped_root(tries: usize) -> usize {
    let jail = tempfile::tempdir().expect("a directory");
    let inside = std::fs::metadata(jail.path()).expect("it is there").ino();
    let [mnt, uts] = ["mnt", "uts"].map(|kind| File::open(format!("/proc/self/ns/{kind}")).expect("a file"));
    let outside = File::open("/").expect("a directory");
    let mut left = 0;
    swapping(&uts, &mnt, |place| {
        // Who shares it with another thread may join no mount namespace.
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS).expect("unshare");
        let patience = Instant::now() + PATIENCE;
        for turn in 0.. {
            if left >= ENOUGH / 3 && turn >= tries || Instant::now() > patience {
                break;
            }
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
    let path: Vec<AtomicU8> = path.into_iter().map(Into::into).collect();
    let last = &path[path.len() - 2];
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS).expect("unshare");
    let outside = File::open("/").expect("a directory");
    let mut led = String::new();
    rewriting(last, b'a', b'b', || {
        let patience = Instant::now() + PATIENCE;
        for turn in 0.. {
            if turn >= tries && led.contains('a') && led.contains('b') || Instant::now() > patience {
                break;
            }
            // SAFETY: a string at any time: its last byte stays 0.
            assert_eq!(unsafe { libc::chroot(path.as_ptr().cast()) }, 0);
            led.push(if std::fs::metadata("/").expect("a root").ino() == inside { 'a' } else { 'b' });
            nix::unistd::fchdir(&outside).expect("outside");
            nix::unistd::chroot(".").expect("root");
        }
    });
    led
}
