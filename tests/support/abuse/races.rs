//! Calls whose arguments another thread changes while the kernel reads them, or that signals interrupt.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Two of the processors that may be used; the same twice if there is only one.
fn processors() -> [usize; 2] {
    let allowed = sched_getaffinity(Pid::from_raw(0)).expect("processors");
    let mut numbers = (0..CpuSet::count()).filter(|&number| allowed.is_set(number).unwrap_or(false));
    let first = numbers.next().expect("a processor");
    [first, numbers.next().unwrap_or(first)]
}

/// Makes the calling thread run on a processor, before other threads: two that race have to run at the same time.
fn run_on(processor: usize) {
    let mut only = CpuSet::new();
    only.set(processor).expect("a processor");
    sched_setaffinity(Pid::from_raw(0), &only).expect("it is allowed");
    // SAFETY: takes no pointer. Of Linux's threads it applies to the calling one.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -20) };
}

/// Runs `call` while another thread repeats `action`, starting before the call.
fn while_repeating(action: impl Fn() + Sync, call: impl FnOnce()) {
    let [begun, stop] = [const { AtomicBool::new(false) }; 2];
    let [here, there] = processors();
    run_on(here);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            run_on(there);
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

/// The number of swaps that must hit the moment at which the kernel reads.
const ENOUGH: usize = 60;

/// The time that this may take: the thread that swaps may get no processor for a while.
const PATIENCE: Duration = Duration::from_secs(15);

/// Repetitions of a call that has to coincide with an action of another thread: `count`, and more until it has, for
/// [`PATIENCE`] at most.
struct Turns {
    left: usize,
    end: Instant,
}

impl Turns {
    fn new(count: usize) -> Self {
        Self { left: count, end: Instant::now() + PATIENCE }
    }

    /// True if there is another turn; `enough` says whether the two have coincided often enough.
    fn another(&mut self, enough: bool) -> bool {
        let is_due = self.left > 0 || !enough;
        self.left = self.left.saturating_sub(1);
        is_due && Instant::now() < self.end
    }
}

/// The number of calls made by signal handlers.
static HANDLED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn unshare_uts(_: libc::c_int) {
    // SAFETY: takes no pointer.
    if unsafe { libc::unshare(libc::CLONE_NEWUTS) } == 0 {
        HANDLED.fetch_add(1, Ordering::Relaxed);
    }
}

/// Makes `count` calls of setns that fail, while signals arrive whose handler calls unshare; returns the number of
/// each.
pub fn interrupted(count: usize) -> String {
    let handler: extern "C" fn(libc::c_int) = unshare_uts;
    // SAFETY: the handler makes a system call and increments a number.
    unsafe { libc::signal(libc::SIGUSR1, handler as libc::sighandler_t) };
    let me = nix::unistd::gettid();
    let interrupt = || {
        // SAFETY: takes no pointer.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), me.as_raw(), libc::SIGUSR1) };
        std::thread::sleep(Duration::from_micros(200));
    };
    let mut failed = 0;
    while_repeating(interrupt, || {
        while failed < count {
            assert!(!setns(-1));
            failed += 1;
        }
    });
    format!("{failed} {}", HANDLED.load(Ordering::Relaxed))
}

/// Runs `call` with a byte at `byte` that another thread sets to `usual` and `other` in turn.
fn while_rewriting(byte: &AtomicU8, usual: u8, other: u8, call: impl FnOnce()) {
    // One value per turn, so that both last equally long.
    let rewrite = || {
        byte.fetch_xor(usual ^ other, Ordering::Relaxed);
    };
    while_repeating(rewrite, call);
}

/// clone3(2) with flags that another thread rewrites; returns how many children had a new uts namespace, and how many
/// a new ipc namespace.
pub fn rewritten_flags(tries: usize) -> String {
    /// The byte of the flags that has both.
    const BYTE: usize = 3;
    let [uts, ipc] = [libc::CLONE_NEWUTS, libc::CLONE_NEWIPC].map(|flag| flag.to_le_bytes()[BYTE]);
    let (writable, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
    // Shared with the children: otherwise each fork write-protects the page for a moment.
    // SAFETY: a new mapping of zeroes, which exists as long as this process.
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
    while_rewriting(&args[BYTE], uts, ipc, || {
        let mut turns = Turns::new(tries);
        while turns.another(of_uts > 0 && of_ipc > 0) {
            // SAFETY: the arguments have the size that is passed; the child only makes system calls.
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
    // SAFETY: integers, for which zero is a valid value; a string, and enough room for stat.
    unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        libc::stat(path.as_ptr(), &raw mut stat);
        stat.st_ino
    }
}

/// pivot_root(2) to a path that another thread rewrites, each time in a mount namespace of a separate thread; returns
/// the number of successes.
pub fn rewritten_root(tries: usize) -> usize {
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
    while_rewriting(&path[path.len() - 2], b'a', b'b', || {
        let mut turns = Turns::new(tries);
        while turns.another(pivoted.load(Ordering::Relaxed) > 0) {
            std::thread::scope(|scope| {
                let _ = std::thread::Builder::new().spawn_scoped(scope, pivot).expect("a thread").join();
            });
        }
    });
    pivoted.into_inner()
}

/// Runs `call` in this thread, which has its own root directory, while another thread replaces a descriptor by
/// `other` and `usual` in turn. `call` gets the descriptor.
fn while_swapping(usual: &File, other: &File, call: impl FnOnce(i32)) {
    let fd = File::open("/proc/self/ns/uts").expect("a file");
    let (fd, usual, other) = (fd.as_raw_fd(), usual.as_raw_fd(), other.as_raw_fd());
    // SAFETY: descriptors that stay open while this runs.
    let swap = || unsafe {
        libc::dup2(other, fd);
        libc::dup2(usual, fd);
    };
    while_repeating(swap, || call(fd));
}

fn setns(fd: i32) -> bool {
    // SAFETY: takes no pointer.
    unsafe { libc::setns(fd, 0) == 0 }
}

/// Joins the network namespace of a process by a descriptor that was a uts namespace when the call began; returns how
/// often that succeeded. The way back counts as well.
pub fn swapped_net(pid: usize) -> usize {
    const TRIES: usize = 200;
    let net = || std::fs::metadata("/proc/thread-self/ns/net").expect("a namespace").ino();
    let [home, uts] = ["net", "uts"].map(|kind| File::open(format!("/proc/self/ns/{kind}")).expect("a file"));
    let there = File::open(format!("/proc/{pid}/ns/net")).expect("a file");
    let mut joined = 0;
    let at_home = net();
    while_swapping(&uts, &there, |fd| {
        let mut turns = Turns::new(TRIES);
        while turns.another(joined >= ENOUGH) {
            setns(fd);
            if net() != at_home {
                assert!(setns(home.as_raw_fd()));
                joined += 2;
            }
        }
    });
    joined
}

/// Leaves a chroot by joining its mount namespace, by a descriptor that was a uts namespace when the call began;
/// returns how often.
pub fn swapped_root(tries: usize) -> usize {
    let jail = tempfile::tempdir().expect("a directory");
    let inside = std::fs::metadata(jail.path()).expect("it is there").ino();
    let [mnt, uts] = ["mnt", "uts"].map(|kind| File::open(format!("/proc/self/ns/{kind}")).expect("a file"));
    let outside = File::open("/").expect("a directory");
    let mut left = 0;
    while_swapping(&uts, &mnt, |fd| {
        // A task that shares its root and directory with another thread may not join a mount namespace.
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS).expect("unshare");
        let mut turns = Turns::new(tries);
        while turns.another(left >= ENOUGH / 3) {
            nix::unistd::chroot(jail.path()).expect("root");
            for _ in 0..20 {
                setns(fd);
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

/// chroot(2) to a path that another thread rewrites; returns the letters of the directories that it led to.
pub fn rewritten_path(tries: usize) -> String {
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
    while_rewriting(last, b'a', b'b', || {
        let mut turns = Turns::new(tries);
        while turns.another(led.contains('a') && led.contains('b')) {
            // SAFETY: a string at any time: its last byte stays 0.
            assert_eq!(unsafe { libc::chroot(path.as_ptr().cast()) }, 0);
            led.push(if std::fs::metadata("/").expect("a root").ino() == inside { 'a' } else { 'b' });
            nix::unistd::fchdir(&outside).expect("outside");
            nix::unistd::chroot(".").expect("root");
        }
    });
    led
}
