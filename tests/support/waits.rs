//! Commands beside file systems that do not answer: their mounts, and the time limits of commands.

use super::fuse::Server;
use super::{Ran, emulated, nsprobe, programs, root, skipped};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::panic::resume_unwind;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The time limit of a command, on a machine that is not slow.
const LIMIT: Duration = Duration::from_secs(2);

/// The maximum time limit on the slowest machine: a test has eight minutes in all.
const MAX_LIMIT: Duration = Duration::from_mins(2);

/// A longer duration than this while all servers answer shows that the machine is slow.
const SLOW: Duration = Duration::from_millis(300);

/// True if more tasks are runnable than there are processors, now or in the last minute.
fn is_busy() -> bool {
    let load = fs::read_to_string("/proc/loadavg").unwrap();
    let mut fields = load.split([' ', '/']);
    let average: f64 = fields.next().unwrap().parse().unwrap();
    let now: f64 = fields.nth(2).unwrap().parse().unwrap();
    let processors = std::thread::available_parallelism().unwrap().get();
    average.max(now) > f64::from(u32::try_from(processors).unwrap())
}

/// Runs `body` in a thread with its own mount namespace.
pub fn in_own_mounts<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    let staged = || {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
        body()
    };
    let name = std::thread::current().name().unwrap_or("hang").to_owned();
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name(name).spawn_scoped(scope, staged).unwrap();
        thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// Runs `test` with the directory at which a server of this user is mounted, in a separate mount namespace.
pub fn beside_server(uid: u32, test: impl FnOnce(&Path, Server) + Send) {
    if !root() {
        return;
    }
    in_own_mounts(|| {
        let dir = tempfile::tempdir().unwrap();
        let point = dir.path().join("point");
        fs::create_dir(&point).unwrap();
        match Server::mount(&point, uid, sleeper()) {
            Some(server) => test(&point, server),
            None => skipped("the kernel has no FUSE"),
        }
    });
}

/// A command, started in the mount namespace of the tests (`outside`) or in that of the calling thread.
pub fn command(outside: bool, args: &[&str]) -> Command {
    let mut program = nsprobe();
    if !outside {
        program.args(args);
        return program;
    }
    let mut command = Command::new("nsenter");
    command.arg(format!("--mount=/proc/{}/ns/mnt", std::process::id())).arg("--").arg(program.get_program());
    command.args(args).stdin(Stdio::null());
    command
}

/// The outcome of a command: its output and duration; or the process that is still running.
pub struct Outcome {
    pub args: String,
    pub pid: u32,
    pub ended: Result<(Ran, Duration), Child>,
}

impl Outcome {
    /// The output of the command, which must have ended in time.
    pub fn in_time(self) -> Ran {
        match self.ended {
            Ok((ran, _)) => ran,
            Err(mut child) => {
                let _ = child.kill();
                let _ = child.wait();
                panic!("not done in time: {}", self.args);
            }
        }
    }

    /// The same for one of [`commands`], which must have succeeded; `None` if BPF is refused.
    pub fn of_commands(self) -> Option<Ran> {
        let args = self.args.clone();
        let ran = self.in_time();
        let refused = args.contains("bpf") && ran.code == Some(2);
        // There was less or more before.
        let differs = args.starts_with("diff") && ran.code == Some(1);
        assert!(ran.code == Some(0) || refused || differs, "{args}: {} {}", ran.stderr, ran.stdout);
        (!refused).then_some(ran)
    }
}

/// The kernel functions in which the threads of a process wait.
fn waits(pid: u32) -> String {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let wait = |task: fs::DirEntry| fs::read_to_string(task.path().join("wchan")).unwrap_or_default();
    tasks.map(wait).collect::<Vec<_>>().join(", ")
}

/// Runs a command with a time limit.
pub fn within(outside: bool, args: &[&str], limit: Duration) -> Outcome {
    let dir = tempfile::tempdir().unwrap();
    let output = |name: &str| File::create(dir.path().join(name)).unwrap();
    let begin = Instant::now();
    let mut command = command(outside, args);
    let mut child = command.stdout(output("stdout")).stderr(output("stderr")).spawn().unwrap();
    let (args, pid) = (args.join(" "), child.id());
    let code = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status.code();
        }
        let took = begin.elapsed();
        if took > limit {
            let args = format!("{args} (runs for {took:.1?}, limit {limit:?}, in {})", waits(pid));
            return Outcome { args, pid, ended: Err(child) };
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let took = begin.elapsed();
    let text = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    let ran = Ran { code, stdout: text("stdout"), stderr: text("stderr") };
    Outcome { args, pid, ended: Ok((ran, took)) }
}

/// The commands that read the whole machine. On an emulated processor, two of them, one for each way of reading: where
/// they must not wait depends on the kernel, what the others do with it does not, and there a probe takes from ten
/// seconds to minutes to load.
pub fn commands(before: &Before) -> Vec<Vec<&str>> {
    let of_each_way = [vec!["list", "--json", "--source", "proc"], vec!["list", "--json"]];
    let others = [
        vec!["list"],
        vec!["list", "--json", "--source", "bpf"],
        vec!["tree"],
        vec!["tree", "--json", "--source", "proc"],
        vec!["diff", &before.document],
        vec!["doctor"],
        vec!["trace", "--lifecycle", "--duration", &before.duration, "--json"],
    ];
    of_each_way.into_iter().chain(others.into_iter().filter(|_| !emulated())).collect()
}

/// The speed of this machine while all servers answer, and what nsprobe found then.
pub struct Before {
    _dir: tempfile::TempDir,
    /// The path of a document of `list --json`.
    document: String,
    /// The duration of a trace: a snapshot takes less, even on a machine that is slow or busy.
    duration: String,
    /// The time that the slowest command took.
    took: Duration,
}

impl Before {
    pub fn measure() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let answered = |args: &[&str]| {
            let (ran, took) = within(true, args, LIMIT * 60).ended.expect("all servers answer");
            assert_eq!(ran.code, Some(0), "{}", ran.stderr);
            (ran.stdout, took)
        };
        let (list, of_list) = answered(&["list", "--json"]);
        // It takes longest. On an emulated processor every limit is the highest.
        let took = if emulated() { MAX_LIMIT } else { answered(&["doctor"]).1 };
        let document = dir.path().join("before.json");
        fs::write(&document, list).unwrap();
        let document = document.to_str().unwrap().to_owned();
        let duration = format!("{}ms", (of_list.as_millis() * 4).max(200));
        Self { _dir: dir, document, duration, took }
    }

    /// The time limit of a command from now on: [`LIMIT`], and more only if the machine is slow or busy.
    pub fn limit(&self) -> Duration {
        if self.took > SLOW || is_busy() { (LIMIT + self.took * 8).min(MAX_LIMIT) } else { LIMIT }
    }
}

/// Runs all commands beside servers that have stopped answering, up to the first that does not end in time.
pub fn run_all(before: &Before, outside: bool) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    // Inside, only the route to the mounts differs.
    let commands = commands(before);
    let count = if outside { commands.len() } else { 2 };
    for args in commands.into_iter().take(count) {
        let outcome = within(outside, &args, before.limit());
        let late = outcome.ended.is_err();
        outcomes.push(outcome);
        if late {
            break;
        }
    }
    outcomes
}

/// Starts a Perl program, which reports its progress on stdout, and waits for input on stdin.
pub fn tenant(program: &str, args: &[impl AsRef<OsStr>]) -> Child {
    let mut command = Command::new("perl");
    command.args(["-e", program]).args(args).env("PERL_BADLANG", "0");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().expect("perl")
}

/// A program that sleeps forever.
pub fn sleeper() -> Vec<u8> {
    // mov eax, 34 (pause); syscall; jmp to the beginning.
    programs::elf(&[0xb8, 34, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7], 0)
}
