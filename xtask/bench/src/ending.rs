//! Runs a command and inspects it just before it ends, while it still has its memory and its descriptors.
//!
//! `ru_maxrss` does not do: it includes the memory that the process had before exec, which is that of the program
//! that started it.

use anyhow::{Context as _, Result, bail};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use std::fs;
use std::io::{self, Read, Write as _};
use std::panic::resume_unwind;
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::thread;

/// The outcome of a command, and the result of its inspection.
pub struct Ended<T> {
    /// Its exit status.
    pub status: ExitStatus,
    /// Its stdout, if the caller did not redirect that.
    pub stdout: Vec<u8>,
    /// Its stderr.
    pub stderr: Vec<u8>,
    /// The result of the inspection.
    pub seen: T,
}

/// Waits for a line, then executes the command: so that it can be watched from its beginning.
const GATE: &str = r#"read -r _; exec "$@" </dev/null"#;

/// Runs a program with no input to its end, and inspects it just before: by ptrace(2), which stops its first thread
/// when it exits (PTRACE_O_TRACEEXIT), and not earlier. A program that cannot be started ends as in a shell, with 126
/// or 127. Only the program and the arguments of `command` are used.
pub fn inspect<T>(command: &Command, inspect: impl FnOnce(Pid) -> io::Result<T>) -> Result<Ended<T>> {
    let name = format!("{command:?}");
    let mut child = Command::new("sh")
        .args(["-c", GATE, "sh"])
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("could not start sh")?;
    let pid = Pid::from_raw(i32::try_from(child.id())?);
    let (gate, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        // Otherwise it would wait for a reader, and never end.
        let stdout = scope.spawn(|| read(stdout));
        let stderr = scope.spawn(|| read(stderr));
        let ended = follow(pid, gate, inspect).context(name);
        if ended.is_err() {
            // Does nothing if it is gone and reaped.
            let _ = child.kill();
            let _ = child.wait();
        }
        let stdout = stdout.join().unwrap_or_else(|panic| resume_unwind(panic))?;
        let stderr = stderr.join().unwrap_or_else(|panic| resume_unwind(panic))?;
        let (status, seen) = ended?;
        Ok(Ended { status, stdout, stderr, seen })
    })
}

fn read(from: Option<impl Read>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut from) = from {
        from.read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// Opens the gate of a child and follows it to its end. In one thread: only the tracing thread gets the events.
fn follow<T>(
    pid: Pid,
    gate: Option<ChildStdin>,
    inspect: impl FnOnce(Pid) -> io::Result<T>,
) -> Result<(ExitStatus, T)> {
    use std::os::unix::process::ExitStatusExt as _;
    ptrace::seize(pid, Options::PTRACE_O_TRACEEXIT).context("it cannot be watched")?;
    gate.context("no gate")?.write_all(b"\n")?;
    let mut inspect = Some(inspect);
    let mut seen = None;
    loop {
        let status = match waitpid(pid, None)? {
            WaitStatus::PtraceEvent(..) => {
                if let Some(inspect) = inspect.take() {
                    seen = Some(inspect(pid).context("the inspection")?);
                }
                ptrace::cont(pid, None)?;
                continue;
            }
            WaitStatus::Stopped(_, signal) => {
                ptrace::cont(pid, (signal != Signal::SIGTRAP).then_some(signal))?;
                continue;
            }
            WaitStatus::Exited(_, code) => ExitStatus::from_raw(code << 8),
            WaitStatus::Signaled(_, signal, _) => ExitStatus::from_raw(signal as i32),
            other => bail!("it did something unexpected: {other:?}"),
        };
        return Ok((status, seen.context("it ended without a stop")?));
    }
}

/// The peak resident memory of a process, in KiB (`VmHWM` in proc_pid_status(5)).
pub fn peak_memory(pid: Pid) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB")?.trim().parse().ok());
    peak.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no VmHWM in its status"))
}

/// The open descriptors of a process, with their targets.
pub fn descriptors(pid: Pid) -> io::Result<Vec<(u32, String)>> {
    let mut open = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let entry = entry?;
        let Some(fd) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        match fs::read_link(entry.path()) {
            Ok(link) => open.push((fd, link.display().to_string())),
            // Closed since, by another thread.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    open.sort();
    Ok(open)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_is_inspected_before_it_ends() {
        let mut command = Command::new("sh");
        command.args(["-c", "exec 7</dev/null; echo out; echo err >&2; exit 3"]);
        let ended = inspect(&command, |pid| Ok((peak_memory(pid)?, descriptors(pid)?))).expect("sh");
        assert_eq!(ended.status.code(), Some(3));
        assert_eq!((&*ended.stdout, &*ended.stderr), (&b"out\n"[..], &b"err\n"[..]));
        let (peak, open) = ended.seen;
        assert!((100..100_000).contains(&peak), "{peak} KiB");
        assert!(open.contains(&(7, "/dev/null".to_owned())), "{open:?}");
        let missing = inspect(&Command::new("/nonexistent"), peak_memory).expect("sh");
        assert_eq!(missing.status.code(), Some(127));
    }

    #[test]
    fn signal_reaches_the_command() {
        let mut command = Command::new("sh");
        command.args(["-c", "trap 'exit 5' TERM; kill -TERM $$; exit 6"]);
        assert_eq!(inspect(&command, peak_memory).expect("sh").status.code(), Some(5));
        let mut command = Command::new("sh");
        command.args(["-c", "kill -KILL $$"]);
        let killed = inspect(&command, |_| Ok(()));
        // A killed command may have no stop when it exits.
        assert!(killed.is_ok_and(|ended| ended.status.code().is_none()));
    }
}
