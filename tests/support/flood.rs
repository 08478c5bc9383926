//! A flood of failing calls, by this test program in a separate process: kernels are tested where there is no
//! compiler.

use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{Uid, chroot, setresuid};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::ops::Range;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// The kind of flood, in the environment of the process.
const WHAT: &str = "NSPROBE_TEST_FLOOD";

/// Uids that flood or make many namespaces. Each test uses different ones, because tests run in parallel; no other
/// test uses them, so that events they lose are theirs.
pub const FLOODING: Range<u32> = 61_000..62_000;

/// Calls between two checks of whether to end.
pub const AT_ONCE: u64 = 100;

/// Calls of each task if they are held back until the end.
pub const HELD: u64 = 10_000;

/// The number of uids that one task takes, if it takes many.
pub const USERS: u32 = 100;

/// A running flood; ended when dropped.
pub struct Flood {
    child: Child,
}

impl Flood {
    /// Begins a flood. `test` is the calling test, which calls [`is_flood`] before; `program` runs this test program
    /// with the arguments that follow, as any user.
    ///
    /// `N` tasks; `storm`: tasks that make a few calls and end; `users`: one task that takes many uids and control
    /// groups; `each`: nothing at first, and when it is ended [`HELD`] calls by a task for each of three; `others`:
    /// then [`AT_ONCE`] calls that succeed, and as many that fail.
    pub fn begin(test: &str, what: &str, program: &mut Command) -> Self {
        program.args(["--exact", test, "--test-threads=1", "--nocapture", "--quiet"]).env(WHAT, what);
        program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        Self { child: program.spawn().expect("the flood begins") }
    }

    /// The same by a user without privileges.
    pub fn by_user(test: &str, what: &str, uid: u32) -> Self {
        Self::begin(test, &format!("{what} {uid}"), &mut Command::new(this_program()))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it, and returns the number of calls it made.
    pub fn end(mut self) -> u64 {
        drop(self.child.stdin.take());
        let stdout = BufReader::new(self.child.stdout.take().expect("a pipe"));
        let mut lines = stdout.lines().map_while(Result::ok);
        let done = lines.find_map(|line| line.split_once("DONE ")?.1.trim().parse().ok());
        done.expect("it reports the number of its calls")
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The path of the test program.
pub fn this_program() -> std::path::PathBuf {
    std::env::current_exe().expect("this program")
}

/// Floods and reports, if this process was started for that.
pub fn is_flood() -> bool {
    let Ok(what) = std::env::var(WHAT) else { return false };
    let (what, uid) = what.split_once(' ').unwrap_or((&what, ""));
    if let Ok(uid) = uid.parse() {
        let uid = Uid::from_raw(uid);
        // Calls are accounted to the real uid alone; the calls that have to succeed need privileges.
        let rest = if what == "others" { Uid::from_raw(0) } else { uid };
        setresuid(uid, rest, rest).expect("root may be anybody");
    }
    let done = AtomicU64::new(0);
    let over = AtomicBool::new(false);
    let (done, over) = (&done, &over);
    thread::scope(|scope| {
        scope.spawn(move || {
            // Until the process that began it ends it, or has ended.
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            over.store(true, Ordering::Relaxed);
        });
        let task = || {
            while !over.load(Ordering::Relaxed) {
                some(call_setns, done);
            }
        };
        if matches!(what, "each" | "others") {
            while !over.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(5));
            }
            if what == "others" {
                return some(succeed_and_fail, done);
            }
            // All at the same time.
            let call = |call: fn()| move || (0..HELD / AT_ONCE).for_each(|_| some(call, done));
            for kind in [call_setns, call_unshare, call_chroot] {
                scope.spawn(call(kind));
            }
            return;
        }
        match what {
            "storm" => {
                while !over.load(Ordering::Relaxed) {
                    thread::scope(|tasks| (0..8).for_each(|_| drop(tasks.spawn(|| some(call_setns, done)))));
                }
            }
            "users" => many_users(over, done),
            tasks => (0..tasks.parse().expect("a number")).for_each(|_| drop(scope.spawn(task))),
        }
    });
    println!("DONE {}", done.load(Ordering::Relaxed));
    true
}

fn some(call: fn(), done: &AtomicU64) {
    (0..AT_ONCE).for_each(|_| call());
    done.fetch_add(AT_ONCE, Ordering::Relaxed);
}

fn call_setns() {
    thread_local!(static FILE: File = File::open("/dev/null").expect("it is there"));
    FILE.with(|file| assert!(setns(file, CloneFlags::empty()).is_err()));
}

/// The same call as that of the flood, from one namespace to the other and back; at first there is only one.
fn succeed_and_fail() {
    thread_local!(static PLACES: RefCell<VecDeque<File>> = const { RefCell::new(VecDeque::new()) });
    let here = || File::open("/proc/thread-self/ns/uts").expect("a file");
    PLACES.with_borrow_mut(|places| match places.pop_front() {
        None => {
            places.push_back(here());
            unshare(CloneFlags::CLONE_NEWUTS).expect("it has privileges");
        }
        Some(namespace) => {
            places.push_back(here());
            setns(namespace, CloneFlags::CLONE_NEWUTS).expect("it has privileges");
        }
    });
    call_setns();
}

fn call_unshare() {
    assert!(unshare(CloneFlags::from_bits_retain(1)).is_err());
}

fn call_chroot() {
    assert!(chroot("/no/such/directory").is_err());
}

/// Takes one uid after another, and moves from one control group to another below the first, as root of a user
/// namespace may.
fn many_users(over: &AtomicBool, done: &AtomicU64) {
    let groups = std::env::var_os("NSPROBE_TEST_GROUPS").map(std::path::PathBuf::from);
    let root = Uid::from_raw(0);
    for turn in 0_u32.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        setresuid(Uid::from_raw(turn % USERS), root, root).expect("root of a user namespace may");
        if let Some(groups) = groups.as_ref().filter(|_| turn.is_multiple_of(8)) {
            let group = groups.join((turn / 8 % 8).to_string());
            std::fs::write(group.join("cgroup.procs"), "0").expect("it has been left to this user");
        }
        some(call_setns, done);
    }
}
