//! Attempts of a tenant to blind a trace or to forge its reports, in a separate process: this test program, started
//! again with the kind of abuse in its environment.

pub mod inside;
mod races;
mod traced;
mod vfork;

use super::flood::FLOODING;
use nix::unistd::{Uid, setresuid};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::process::{Child, Command, Stdio};

/// The kind of abuse, in the environment.
const WHICH: &str = "NSPROBE_TEST_ABUSE";

/// Seconds after which an abuse is ended that stands still.
const TIME: u32 = 180;

/// A process that commits the abuse. It is killed when dropped.
pub struct Abuse {
    which: String,
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Abuse {
    /// Starts this program again, which runs only the test `trace_blind::abuse`.
    pub fn start(which: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--exact", "trace_blind::abuse", "--test-threads=1", "--nocapture"]).env(WHICH, which);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("this program starts");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { which: which.to_owned(), child, output }
    }

    /// Returns its next report, after `abuse: `.
    pub fn report(&mut self) -> String {
        let mut line = String::new();
        while self.output.read_line(&mut line).expect("text") > 0 {
            // The harness may have begun the line.
            if let Some((_, report)) = line.split_once("abuse: ") {
                return report.trim().to_owned();
            }
            line.clear();
        }
        panic!("`{}` has ended without a report: {:?}", self.which, self.child.wait());
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

/// Commits the abuse, in the process that was started for it.
pub fn run() {
    let Ok(which) = std::env::var(WHICH) else { return };
    let (which, count) = which.split_once(' ').unwrap_or((&which, "0"));
    let count: usize = count.parse().expect("a number");
    // What stands still ends: its caller says which it was.
    nix::unistd::alarm::set(TIME);
    name(&format!("abuse-{which}"));
    match which {
        "leave" => traced::leave_nothing_seen(count),
        "stops" => traced::every_stop(),
        "stand" => vfork::stand(count),
        "leave-exec" => traced::leave_by_exec(count),
        "inside" => inside::stand(count),
        "exec" => vfork::ended_in_the_middle(count, true),
        "exit" => vfork::ended_in_the_middle(count, false),
        "signals" => return say(&races::interrupted(count)),
        "clone3" => return say(&races::rewritten_flags(count)),
        "pivot" => return say(&races::rewritten_root(count).to_string()),
        "net" => return say(&races::swapped_net(count).to_string()),
        "jail" => return say(&races::swapped_root(count).to_string()),
        "memory" => return say(&races::rewritten_path(count)),
        "many" => many_namespaces(count),
        other => panic!("unknown abuse {other}"),
    }
    say("done");
}

fn say(what: &str) {
    nix::unistd::alarm::cancel();
    println!("abuse: {what}");
    std::io::stdout().flush().expect("a pipe");
}

fn name(name: &str) {
    nix::sys::prctl::set_name(&std::ffi::CString::new(name).expect("a name")).expect("PR_SET_NAME");
}

fn exit() -> ! {
    // SAFETY: ends this process, without the exit handlers of its parent.
    unsafe { libc::_exit(0) }
}

/// The uid that makes many namespaces, and does nothing else.
const MAKER: u32 = FLOODING.start + 20;

/// The user whose threads stand inside calls.
pub const INSIDE: u32 = FLOODING.start + 21;

/// Makes `count` namespaces as [`MAKER`], and keeps them until it is killed.
fn many_namespaces(count: usize) -> ! {
    let (user, root) = (Uid::from_raw(MAKER), Uid::from_raw(0));
    setresuid(user, root, root).expect("root may be anybody");
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
