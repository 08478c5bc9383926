//! One virtual machine, from its start to its end.

use super::image;
use super::kernels::Kernel;
use super::outcome::Outcome;
use anyhow::{Context as _, Result};
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// Emulated: /dev/kvm is not available everywhere, and does not always work where it is. The processors take turns in
/// one thread: with a thread each, QEMU 7.2 occasionally crashed a kernel, by a breakpoint that its code patching had
/// already removed. It is as fast: there are as many machines as threads.
const ACCELERATOR: &str = "tcg,thread=single";

/// All features of QEMU, except those that make each memory access or entry into the kernel slower.
const PROCESSOR: &str = "max,-la57,-smap,-smep,-pku,-umip";

/// Without mitigations and without clearing of fresh memory the tests take 15 % less time. On a busy machine the
/// emulated timer may be too late for the kernel's check of it, which ends in a panic.
const PARAMETERS: &str = "console=ttyS0 panic=-1 quiet loglevel=4 no_timer_check mitigations=off init_on_alloc=0 \
    rcupdate.rcu_expedited=1";

/// One processor, whose clocks advance one nanosecond per instruction and stop for nothing else.
const COUNTED: [&str; 4] = ["-icount", "shift=0,sleep=off", "-smp", "1"];

/// The report of a virtual machine.
pub struct Report {
    pub kernel: String,
    pub outcome: Outcome,
    /// The reason why the run does not count although no test has failed.
    pub trouble: Option<String>,
    pub duration: Duration,
    /// The output of the tests, each line with the second it came at.
    pub log: PathBuf,
    /// The console of the kernel.
    pub console: PathBuf,
}

impl Report {
    pub fn success(&self) -> bool {
        self.trouble.is_none() && self.outcome.success()
    }
}

/// Boots `kernel` with the image in `dir` and parses the output of the tests; both that and the console are logged
/// there. The machine is ended after `limit`; its clocks count instructions if it is `counted`; its kernel is locked down to
/// the mode `lockdown`, if that is given.
pub fn run(
    kernel: &Kernel,
    dir: &Path,
    limit: Duration,
    counted: bool,
    lockdown: Option<&str>,
) -> Result<Report> {
    let start = Instant::now();
    let mode = lockdown.or(counted.then_some("counted"));
    let name = mode.map_or_else(|| kernel.version.clone(), |mode| format!("{}.{mode}", kernel.version));
    let lockdown = lockdown.map(|mode| format!(" lockdown={mode}")).unwrap_or_default();
    let log = dir.join(format!("{name}.log"));
    let console = dir.join(format!("{name}.console"));
    let mut lines = File::create(&log)?;
    let mut machine = Command::new("qemu-system-x86_64")
        .args(["-accel", ACCELERATOR, "-cpu", PROCESSOR, "-m", "2048"])
        .args(if counted { &COUNTED[..] } else { &["-smp", "2"] })
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(dir.join(image::NAME))
        .args(["-append", &format!("{PARAMETERS}{lockdown}")])
        .arg("-serial")
        .arg(format!("file:{}", console.display()))
        .args(["-serial", "stdio"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("could not start qemu-system-x86_64: install qemu-system-x86")?;
    let output = machine.stdout.take().context("the machine's output")?;
    let (sender, receiver) = mpsc::channel();
    let reader = thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            if sender.send(text).is_err() {
                return;
            }
        }
    });

    let mut outcome = Outcome::default();
    let mut trouble = None;
    loop {
        match receiver.recv_timeout(limit.saturating_sub(start.elapsed())) {
            Ok(line) => {
                writeln!(lines, "{:6.1} {line}", start.elapsed().as_secs_f64())?;
                if let Some(shown) = outcome.line(&line) {
                    println!("{} | {shown}", kernel.version);
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                trouble = Some(format!("not done after {} s", limit.as_secs()));
                machine.kill()?;
                break;
            }
        }
    }
    let status = machine.wait()?;
    drop(receiver);
    let _ = reader.join();
    if trouble.is_none() {
        trouble = if !status.success() {
            Some(format!("QEMU ended with {status}"))
        } else if outcome.status.is_none() {
            Some("the machine stopped before the tests ended".to_owned())
        } else {
            complaint(&fs::read(&console)?)
        };
    }
    Ok(Report { kernel: kernel.version.clone(), outcome, trouble, duration: start.elapsed(), log, console })
}

/// The first line of a kernel's console that reports a bug in it or a crash.
fn complaint(console: &[u8]) -> Option<String> {
    let console = String::from_utf8_lossy(console);
    let bad = ["BUG:", "Oops", "Kernel panic", "general protection fault", "WARNING: CPU", "soft lockup"];
    let line = console.lines().find(|line| bad.iter().any(|words| line.contains(words)))?;
    Some(format!("the kernel reported: {}", line.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_of_the_kernel_are_found() {
        assert_eq!(complaint(b"random: crng init done\r\n"), None);
        let console = b"x\r\n[    4.2] BUG: kernel NULL pointer dereference, address: 0000\xff\r\ny\r\n";
        let reported = complaint(console).expect("a complaint");
        assert!(reported.starts_with("the kernel reported: [    4.2] BUG: kernel NULL"), "{reported}");
    }
}
