//! Helpers that the tests share: running nsprobe, staging real processes and namespaces, reading `/proc` by hand.

pub mod abuse;
pub mod cgroup;
pub mod flood;
pub mod fuse;
pub mod held;
pub mod kernel;
mod limit;
pub mod locked;
pub mod orphans;
pub mod parts;
pub mod proc;
pub mod programs;
pub mod seccomp;
pub mod stage;
pub mod tables;
pub mod tenant;
pub mod terminal;
pub mod trace;
pub mod tracing;
pub mod waits;
pub mod wire;

pub use limit::time_limit;
pub use terminal::on_terminal;

use nix::sys::signal::{SigHandler, Signal};
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The nsprobe under test, with an environment that does not depend on who runs the tests.
pub fn nsprobe() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nsprobe"));
    command.env_remove("COLUMNS").env_remove("NO_COLOR").env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
    // Signals that were ignored when these tests were started (nohup(1), `&` in a script) would be ignored by nsprobe
    // too.
    // SAFETY: between fork and exec only sigaction(2) is called, which is async-signal-safe, and no handler is set.
    unsafe { command.pre_exec(|| SIGNALS.into_iter().try_for_each(default_action)) };
    command
}

/// The signals that end nsprobe.
const SIGNALS: [Signal; 3] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM];

fn default_action(signal: Signal) -> std::io::Result<()> {
    // SAFETY: the default action is not a function of this program.
    unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) }?;
    Ok(())
}

/// The exit code and output of an nsprobe.
pub struct Ran {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("stderr is UTF-8"),
        }
    }
}

/// Runs nsprobe with `args` to its end.
pub fn run(args: &[&str]) -> Ran {
    nsprobe().args(args).output().expect("nsprobe starts").into()
}

/// Runs nsprobe with `args`, which must succeed, and parses its stdout as one JSON document.
pub fn json(args: &[&str]) -> serde_json::Value {
    let ran = run(args);
    assert_eq!(ran.code, Some(0), "nsprobe {args:?}: {}", ran.stderr);
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("nsprobe {args:?}: {error}"))
}

/// True in a machine of `cargo xtask vm`, whose processor is emulated: ten times as slow.
pub fn emulated() -> bool {
    std::env::var_os("NSPROBE_TEST_SOURCE").is_some()
}

/// True if the tests run as root. If not, it reports that past the test harness's capture: the caller returns, and
/// the test is not taken for passed.
#[must_use]
pub fn root() -> bool {
    if nix::unistd::geteuid().is_root() {
        return true;
    }
    skipped("needs root");
    false
}

/// True if BPF programs that read the kernel may be loaded here. If not, it reports that as [`root`] does.
#[must_use]
pub fn bpf() -> bool {
    if !root() {
        return false;
    }
    let missing = nsprobe::kernel::capabilities::Effective::read().unwrap_or_default().missing_to_trace();
    let lockdown = std::fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    let why = if !missing.is_empty() {
        format!("needs {missing:?}")
    } else if lockdown.contains("[confidentiality]") {
        "the kernel is locked down to confidentiality".to_owned()
    } else {
        return true;
    };
    skipped(&why);
    false
}

/// The source files of nsprobe, with their text; `None` if they are not available.
pub fn sources() -> Option<Vec<(PathBuf, String)>> {
    let mut dirs = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut files = Vec::new();
    while let Some(dir) = dirs.pop() {
        for path in std::fs::read_dir(&dir).ok()?.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                dirs.push(path);
            } else {
                let text = std::fs::read_to_string(&path).unwrap();
                files.push((path, text));
            }
        }
    }
    Some(files)
}

/// Reports past the capture that the calling test was not run, and why.
pub fn skipped(why: &str) {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("a test");
    // Not eprintln!: the harness hides that of a test that passes.
    let _ = writeln!(std::io::stderr(), "SKIPPED {name}: {why}");
}

/// setpriv(1), which runs the command that follows as a user without privileges.
pub fn nobody() -> Command {
    user(65534)
}

/// setpriv(1), which runs the command that follows as this user and the group of the same number.
pub fn user(id: u32) -> Command {
    let mut command = Command::new("setpriv");
    command.args([format!("--reuid={id}"), format!("--regid={id}"), "--clear-groups".to_owned()]);
    command
}

/// Runs `program` as a user, under a limit as prlimit(1) takes it. A limit of processes applies to all processes of a
/// user, so that no other test may use the same one, and not to root.
pub fn limited_user(id: u32, limit: &str, program: &Path, args: &[&str]) -> Ran {
    let mut command = user(id);
    command.args(["prlimit", limit]).arg(program).args(args);
    command.output().expect("setpriv starts").into()
}

/// A copy of nsprobe in a directory open to every user; the original may be below a closed one. It is removed when
/// the directory is dropped.
pub fn unprivileged_copy() -> (tempfile::TempDir, PathBuf) {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().expect("a temporary directory");
    std::fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("an open directory");
    let path = dir.path().join("nsprobe");
    stage::copy_program(env!("CARGO_BIN_EXE_nsprobe").as_ref(), &path);
    (dir, path)
}

/// The output of lsns(8) in the columns `output`, one JSON object per namespace.
///
/// lsns fails without a message when a process ends while it reads it (util-linux 2.38: 4 runs of 400 beside these
/// tests), so it is run again until it succeeds.
pub fn lsns(output: &str) -> Vec<serde_json::Value> {
    let ask = || {
        let ran = Command::new("lsns").args(["--json", "--output", output]).output().expect("lsns starts");
        let stderr = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(ran.status.success() || stderr.is_empty(), "lsns: {stderr}");
        ran.status.success().then_some(ran.stdout)
    };
    let text = stage::wait(ask).expect("lsns succeeds at some time");
    let mut table: serde_json::Value = serde_json::from_slice(&text).expect("lsns writes JSON");
    match table["namespaces"].take() {
        serde_json::Value::Array(rows) => rows,
        other => panic!("lsns lists no namespaces: {other}"),
    }
}
