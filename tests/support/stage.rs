//! Real processes in real namespaces, which end with the test that staged them.

use super::proc;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The time that staging may take before the test fails. Generous: CI machines are slow, and nobody waits longer than
/// necessary.
const PATIENCE: Duration = Duration::from_mins(2);

/// A command and its descendants; they are killed and reaped when this is dropped.
pub struct Staged {
    child: Child,
}

impl Staged {
    /// Starts `command` with no input, and no output unless the caller redirected it before.
    pub fn spawn(command: &mut Command) -> Self {
        adopt_orphans();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        Self { child: child.unwrap_or_else(|error| panic!("{command:?}: {error}")) }
    }

    /// Starts `sh -c script`.
    pub fn sh(script: &str) -> Self {
        Self::spawn(Command::new("sh").args(["-c", script]))
    }

    /// The pid of the command itself.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The pids of the command and its descendants, parents before children.
    pub fn family(&self) -> Vec<u32> {
        family(self.pid())
    }

    /// Waits until the command or a descendant of it has executed a program called `comm` (all its namespaces are set
    /// up by then), and returns its pid.
    pub fn wait_for(&mut self, comm: &str) -> u32 {
        let pid = self.pid();
        let found = wait(|| {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("staged process {pid} ended before `{comm}` started: {status}");
            }
            family(pid).into_iter().find(|&pid| proc::comm(pid).as_deref() == Some(comm))
        });
        found.unwrap_or_else(|| panic!("no `{comm}` below staged process {pid} after {PATIENCE:?}"))
    }
}

/// From now on orphans are reaped by this process, and not by an init that may not reap.
pub fn adopt_orphans() {
    static SUBREAPER: Once = Once::new();
    SUBREAPER.call_once(|| nix::sys::prctl::set_child_subreaper(true).expect("PR_SET_CHILD_SUBREAPER"));
}

impl Drop for Staged {
    fn drop(&mut self) {
        // Parents first, so that no shell goes on to its next command.
        let family = family(self.pid());
        for &pid in &family {
            let _ = kill(raw(pid), Signal::SIGKILL);
        }
        let _ = self.child.wait();
        for &pid in &family {
            // Fails for processes reaped by their own parent, such as the init of a pid namespace.
            let _ = waitpid(raw(pid), None);
        }
    }
}

/// Polls `what` until it returns something, or until the timeout.
pub fn wait<T>(mut what: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = what() {
            return Some(found);
        }
        if Instant::now() > end {
            return None;
        }
        sleep(Duration::from_millis(5));
    }
}

/// Shell text that waits for a file, and ends the shell if the file's directory is gone. Nobody would end it
/// otherwise: the command of a killed nsprobe goes on, and the failed test will not create the file any more.
pub fn until(file: &Path) -> String {
    let dir = file.parent().expect("a file in a directory");
    format!("until [ -e {} ]; do [ -d {} ] || exit; sleep 0.05; done", file.display(), dir.display())
}

/// A named network namespace as created by `ip netns add`; removed when this is dropped.
pub struct NamedNetns {
    /// Its name, different in every test.
    pub name: String,
}

impl NamedNetns {
    pub fn add() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("nsprobe-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        succeed(Command::new("ip").args(["netns", "add", &name]));
        Self { name }
    }

    /// The file it is bind-mounted on.
    pub fn path(&self) -> String {
        format!("/run/netns/{}", self.name)
    }

    /// Its inode.
    pub fn ino(&self) -> u64 {
        use std::os::unix::fs::MetadataExt as _;
        std::fs::metadata(self.path()).expect("a named network namespace is a file").ino()
    }
}

impl Drop for NamedNetns {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// Runs `command` to its end, which must be a success, and returns its stdout.
pub fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Copies a program, by cp(1): a process that another test forks at the wrong moment would inherit a descriptor that
/// is open here for writing, and the copy could not be executed while it exists (ETXTBSY).
pub fn copy_program(from: &Path, to: &Path) {
    succeed(Command::new("cp").args([from, to]));
}

/// Copies `program` with the libraries that ldd(1) names to the same paths below `root`, so that it can be run after
/// a chroot to it.
pub fn furnish(root: &Path, program: &str) {
    let needed = succeed(Command::new("ldd").arg(program));
    let libraries = needed.split_whitespace().filter(|word| word.starts_with('/'));
    for file in libraries.chain([program]) {
        let to = root.join(file.trim_start_matches('/'));
        std::fs::create_dir_all(to.parent().expect("an absolute path")).expect("directories in the root");
        copy_program(Path::new(file), &to);
    }
}

/// The pids of `pid` and its descendants, parents before children. Each by its own file: with thousands of processes
/// on the machine, a short-lived one would be gone before a full scan had ended.
pub fn family(pid: u32) -> Vec<u32> {
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        family.extend(children(parent));
        next += 1;
    }
    family
}

/// The children of a process, of any of its threads (proc_pid_children(5), Linux 4.2); none once it has ended.
fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let files =
        threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("children")).ok());
    files
        .flat_map(|text| text.split_whitespace().map(|pid| pid.parse().expect("a pid")).collect::<Vec<_>>())
        .collect()
}

/// Ends all processes that this one has started.
pub fn end_descendants() {
    for pid in family(std::process::id()).into_iter().skip(1) {
        let _ = kill(raw(pid), Signal::SIGKILL);
    }
}

fn raw(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).expect("pids are below 2^22"))
}
