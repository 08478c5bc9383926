//! `cargo xtask load`: the work that `bench` traces, in a separate process. The result is written to a file, because
//! stdout may be the tracer's.

use anyhow::{Context as _, Result, ensure};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::getppid;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

/// Calls between two reads of the clock.
const BATCH: u32 = 64;
/// The duration of one measurement of the cost of a call; and the number of them.
const CHUNK: Duration = Duration::from_millis(4);
const CHUNKS: usize = 15;
/// Forks of one measurement; and the number of those. Fewer, because they are slow.
const FORKS: u32 = 100;
const FORK_CHUNKS: usize = 3;
/// The time that a paced task sleeps before it catches up.
const PACE: Duration = Duration::from_micros(500);

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    work: Work,
    /// The file to write to
    #[arg(long, global = true, default_value = "/dev/stdout")]
    report: PathBuf,
}

#[derive(clap::Subcommand)]
enum Work {
    /// The cost of calls: a line `NAME NANOSECONDS` each
    Calls,
    /// Calls of setns, as many as possible, each of which changes the namespace: their number
    Storm {
        #[arg(long)]
        tasks: u32,
        #[arg(long, value_parser = crate::span::parse)]
        duration: Duration,
        /// At most this many per second, all tasks together
        #[arg(long)]
        rate: Option<u32>,
    },
    /// Programs that start, create namespaces, and end: their number
    Churn {
        #[arg(long, value_parser = crate::span::parse)]
        duration: Duration,
    },
}

/// Runs the task.
pub fn run(args: &Args) -> Result<()> {
    let report = match args.work {
        Work::Calls => calls()?,
        Work::Storm { tasks, duration, rate } => format!("{}\n", storm(tasks, duration, rate)?),
        Work::Churn { duration } => format!("{}\n", churn(duration)?),
    };
    fs::write(&args.report, report).with_context(|| args.report.display().to_string())
}

/// The calls, by the names that they have in the report.
pub const CALLS: [&str; 4] = ["getppid", "fork+exit", "unshare(0)", "setns"];

fn calls() -> Result<String> {
    let own = File::open("/proc/thread-self/ns/uts")?;
    let measured = [
        cost(|| {
            getppid();
            Ok(())
        })?,
        fork()?,
        cost(|| unshare(CloneFlags::empty()))?,
        cost(|| setns(&own, CloneFlags::CLONE_NEWUTS))?,
    ];
    let lines: Vec<String> =
        CALLS.iter().zip(measured).map(|(name, nanos)| format!("{name} {nanos:.1}\n")).collect();
    Ok(lines.concat())
}

/// The cost of a call, in nanoseconds: the median of several measurements.
fn cost(mut call: impl FnMut() -> nix::Result<()>) -> Result<f64> {
    let mut chunks = Vec::new();
    for _ in 0..CHUNKS {
        let start = Instant::now();
        let mut done = 0;
        while start.elapsed() < CHUNK {
            for _ in 0..BATCH {
                call()?;
            }
            done += BATCH;
        }
        chunks.push(start.elapsed().as_secs_f64() * 1e9 / f64::from(done));
    }
    Ok(median(chunks))
}

/// The cost for a shell of forking a child that does nothing, and waiting for its end, in nanoseconds.
fn fork() -> Result<f64> {
    let script = format!("i=0; while [ $i -lt {FORKS} ]; do (:); i=$((i + 1)); done");
    let mut chunks = Vec::new();
    for _ in 0..FORK_CHUNKS {
        let start = Instant::now();
        let status = Command::new("sh").args(["-c", &script]).status().context("sh")?;
        ensure!(status.success(), "sh: {status}");
        chunks.push(start.elapsed().as_secs_f64() * 1e9 / f64::from(FORKS));
    }
    Ok(median(chunks))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Calls setns in threads, back and forth between two uts namespaces of each.
fn storm(tasks: u32, duration: Duration, rate: Option<u32>) -> Result<u64> {
    let end = Instant::now() + duration;
    let share = rate.map(|rate| f64::from(rate) / f64::from(tasks));
    scope(|scope| {
        let tasks: Vec<_> = (0..tasks).map(|_| scope.spawn(|| back_and_forth(end, share))).collect();
        tasks
            .into_iter()
            .map(|task| task.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .sum()
    })
}

fn back_and_forth(end: Instant, rate: Option<f64>) -> Result<u64> {
    let mut namespaces = Vec::new();
    for _ in 0..2 {
        unshare(CloneFlags::CLONE_NEWUTS)?;
        namespaces.push(File::open("/proc/thread-self/ns/uts")?);
    }
    let (start, mut done) = (Instant::now(), 0);
    loop {
        let now = Instant::now();
        if now >= end {
            return Ok(done);
        }
        let mut batch = u64::from(BATCH);
        if let Some(rate) = rate {
            let due = Duration::from_secs_f64(u32::try_from(done).map_or(f64::MAX, f64::from) / rate);
            if start + due > now {
                sleep(PACE);
                continue;
            }
            batch = 16;
        }
        for _ in 0..batch {
            setns(&namespaces[usize::from(done % 2 == 1)], CloneFlags::CLONE_NEWUTS)?;
            done += 1;
        }
    }
}

/// Starts one program after another, each of which creates namespaces of several kinds and ends.
fn churn(duration: Duration) -> Result<u64> {
    let end = Instant::now() + duration;
    let mut programs = 0;
    while Instant::now() < end {
        let mut command = Command::new("unshare");
        command.args(["--uts", "--ipc", "--mount", "--pid", "--fork", "sh", "-c", ":"]);
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status().context("unshare")?;
        ensure!(status.success(), "unshare: {status}");
        programs += 1;
    }
    Ok(programs)
}

/// The command that does this work of `cargo xtask load`.
pub fn work(words: &[String]) -> Result<Vec<String>> {
    let own = std::env::current_exe()?
        .into_os_string()
        .into_string()
        .ok()
        .context("the path of xtask is not UTF-8")?;
    Ok([own, "load".to_owned()].into_iter().chain(words.iter().cloned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn call_takes_a_time() {
        let cost = cost(|| {
            getppid();
            Ok(())
        });
        assert!((1.0..1e6).contains(&cost.expect("a time")));
        assert!(fork().expect("a time") > 1e3);
        assert!((1.5..2.5).contains(&median(vec![3.0, 1.0, 2.0])));
    }
}
