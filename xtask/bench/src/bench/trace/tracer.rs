//! nsprobe and other tracers, started and ended around the work that they see.

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use xtask::checkout;

/// The time that a tracer may take to write something, and to end.
const TIMEOUT: Duration = Duration::from_secs(30);
/// From its first output to its last hook.
const SETTLE: Duration = Duration::from_millis(1500);

/// The system calls that nsprobe reports.
const CALLS: [&str; 6] = ["clone", "clone3", "unshare", "setns", "chroot", "pivot_root"];

/// perf and bpftrace need these mounted; they are mounted for them only.
const WITH_TRACEFS: &str = "mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null
mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null
exec \"$@\"";

/// A tracer of the system calls that nsprobe traces.
pub struct Tracer {
    /// Its name in the table.
    pub name: String,
    line: Vec<String>,
    scope: Scope,
}

/// The scope of a tracer.
enum Scope {
    /// It sees the whole machine.
    Machine,
    /// It runs the command that it sees.
    Command,
}

/// A running tracer. Ended when dropped.
pub struct Running {
    child: Option<Child>,
    /// Its stdout, and its stderr.
    output: PathBuf,
    stderr: PathBuf,
}

/// nsprobe in each plan, and its peers.
pub fn all(nsprobe: &Path) -> Result<Vec<Tracer>> {
    let nsprobe = nsprobe.to_str().context("the path of nsprobe is not UTF-8")?;
    let of_nsprobe = |plan: &str| Tracer {
        name: format!("nsprobe, {plan}"),
        line: line(&[nsprobe, "trace", "--json", "--source", plan]),
        scope: Scope::Machine,
    };
    let calls = CALLS.join(",");
    let strace = |name: &str, options: &[&str]| Tracer {
        name: name.to_owned(),
        line: line(&[&["strace", "-f", "-qq"], options, &["-e", &calls, "-o", "/dev/null", "--"]].concat()),
        scope: Scope::Command,
    };
    let with_tracefs = |name: &str, tracer: &[&str]| Tracer {
        name: name.to_owned(),
        line: line(&[&["unshare", "--mount", "sh", "-c", WITH_TRACEFS, "sh"], tracer].concat()),
        scope: Scope::Machine,
    };
    let points = |edge: &str| CALLS.map(|call| format!("tracepoint:syscalls:sys_{edge}_{call}")).join(",");
    let script = format!(
        r#"BEGIN {{ printf("ready\n") }}
{} {{ @entered[tid] = nsecs; }}
{} {{ printf("%d %s %s %d\n", pid, comm, probe, args->ret); delete(@entered[tid]); }}"#,
        points("enter"),
        points("exit")
    );
    Ok(vec![
        of_nsprobe("fentry"),
        of_nsprobe("tracepoints"),
        with_tracefs("bpftrace", &["bpftrace", "-e", &script]),
        with_tracefs(
            "perf trace",
            &["perf", "trace", "--all-cpus", "--event", &calls, "--output", "/dev/stdout"],
        ),
        strace("strace -f", &[]),
        strace("strace -f --seccomp-bpf", &["--seccomp-bpf"]),
    ])
}

fn line(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// The versions of the peers that are installed.
pub fn versions() -> Vec<String> {
    let version = |name: &str| {
        let output = checkout::output(Command::new(name).arg("--version"))?;
        Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
    };
    let of =
        |name| version(name).unwrap_or_else(|error: anyhow::Error| format!("MISSING: {name}: {error:#}"));
    ["strace", "perf", "bpftrace"].map(of).into()
}

impl Tracer {
    /// Starts it, if it traces the whole machine. `dir` is for its output.
    pub fn start(&self, dir: &Path) -> Result<Running> {
        let mut running = Running { child: None, output: dir.join("output"), stderr: dir.join("stderr") };
        if let Scope::Command = self.scope {
            return Ok(running);
        }
        let child = Command::new(&self.line[0])
            .args(&self.line[1..])
            .stdin(Stdio::null())
            .stdout(File::create(&running.output)?)
            .stderr(File::create(&running.stderr)?)
            .spawn()
            .with_context(|| format!("could not start {}", self.line[0]))?;
        running.child = Some(child);
        // perf prints nothing until it has seen something.
        let silent = self.name.starts_with("perf");
        let start = Instant::now();
        while !silent && fs::metadata(&running.output)?.len() == 0 {
            running.check_running()?;
            ensure!(start.elapsed() < TIMEOUT, "it does not start");
            sleep(Duration::from_millis(10));
        }
        if !self.name.starts_with("nsprobe") {
            sleep(SETTLE);
        }
        running.check_running()?;
        Ok(running)
    }

    /// The command that does `work` under it, if it runs the command that it sees; otherwise `work` itself.
    pub fn around(&self, work: &[String]) -> Command {
        let line: Vec<&String> = match self.scope {
            Scope::Command => self.line.iter().chain(work).collect(),
            Scope::Machine => work.iter().collect(),
        };
        let mut command = Command::new(line[0]);
        command.args(&line[1..]);
        command
    }
}

impl Running {
    fn check_running(&mut self) -> Result<()> {
        let Some(child) = &mut self.child else { return Ok(()) };
        if let Some(status) = child.try_wait()? {
            self.child = None;
            let stderr = fs::read_to_string(&self.stderr).unwrap_or_default();
            let why = stderr.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
            anyhow::bail!("{status}: {}", why.trim());
        }
        Ok(())
    }

    /// Ends it. Returns the number of lines it has written.
    pub fn end(mut self) -> Result<usize> {
        self.check_running()?;
        self.interrupt()?;
        Ok(fs::read(&self.output).map_or(0, |bytes| bytes.split(|&byte| byte == b'\n').count()))
    }

    fn interrupt(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGINT)?;
        let start = Instant::now();
        while child.try_wait()?.is_none() {
            if start.elapsed() > TIMEOUT {
                child.kill()?;
                child.wait()?;
            }
            sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.interrupt();
    }
}
