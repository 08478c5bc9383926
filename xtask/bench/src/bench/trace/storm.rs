//! nsprobe while tasks call setns as fast as they can, while idle, and while programs start and end.

use crate::ending;
use crate::load::work;
use anyhow::{Context as _, Result, ensure};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The interval between two reads of the state of a running tracer.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Tasks of a storm: more than there are processors.
pub const TASKS: u32 = 4;

/// The result of a storm.
pub struct Storm {
    /// Events per second that were requested; `None`: as many as possible.
    pub rate: Option<u32>,
    /// Its duration.
    pub duration: Duration,
    /// Calls made, events written, and events that nsprobe reports as lost.
    pub done: u64,
    pub seen: u64,
    pub lost: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Of nsprobe: its peak memory in KiB, and its processor time.
    pub memory: u64,
    pub processor: Duration,
}

/// Traces a storm into a file of `dir`. Fails if the events seen and lost do not add up to the calls.
pub fn storm(nsprobe: &Path, dir: &Path, duration: Duration, rate: Option<u32>) -> Result<Storm> {
    let (output, report) = (dir.join("events"), dir.join("report"));
    let seconds = format!("{}ms", duration.as_millis());
    let mut words = vec!["storm".to_owned(), format!("--tasks={TASKS}"), format!("--duration={seconds}")];
    words.extend(rate.map(|rate| format!("--rate={rate}")));
    words.push(format!("--report={}", report.display()));
    let child = Command::new(nsprobe)
        .args(["trace", "--quiet", "--json", "--event", "setns", "--"])
        .args(work(&words)?)
        .stdin(Stdio::null())
        .stdout(File::create(&output)?)
        .spawn()
        .context("nsprobe")?;
    let (memory, processor) = watch(child)?;
    let done = fs::read_to_string(&report)?.trim().parse().context("the storm's report")?;
    let counts = read(&output)?;
    let storm = Storm {
        rate,
        duration,
        done,
        seen: counts.events,
        lost: counts.lost,
        bytes: fs::metadata(&output)?.len(),
        memory,
        processor,
    };
    fs::remove_file(&output)?;
    ensure!(
        counts.events == counts.total && counts.events + counts.lost == done,
        "{done} calls, {} events ({} says the end), {} lost: they do not add up",
        counts.events,
        counts.total,
        counts.lost
    );
    Ok(storm)
}

/// Waits for the end of a tracer, and returns its peak memory, in KiB, and its processor time.
fn watch(mut child: Child) -> Result<(u64, Duration)> {
    let pid = Pid::from_raw(i32::try_from(child.id())?);
    let mut last = (0, Duration::ZERO);
    loop {
        if let Some(status) = child.try_wait()? {
            ensure!(status.success(), "nsprobe: {status}");
            return Ok(last);
        }
        if let (Ok(memory), Ok(processor)) = (ending::peak_memory(pid), processor_time(pid)) {
            last = (memory, processor);
        }
        sleep(POLL_INTERVAL);
    }
}

/// The processor time of a process's first thread.
fn processor_time(pid: Pid) -> Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat"))?;
    let nanos = text.split(' ').next().and_then(|nanos| nanos.parse().ok()).context("schedstat")?;
    Ok(Duration::from_nanos(nanos))
}

/// The counts of a stream.
struct Counts {
    /// Its events, counted.
    events: u64,
    /// The number of events that its end gives.
    total: u64,
    /// The number of lost events, of all stages, that its end gives.
    lost: u64,
}

/// Reads a stream, and checks that its numbers have no gap and that each loss was reported when it happened.
fn read(path: &Path) -> Result<Counts> {
    let (mut events, mut lost) = (0, 0);
    for (number, line) in (0_u64..).zip(BufReader::new(File::open(path)?).lines()) {
        let line = line?;
        let seq = line.split_once(r#""seq":"#).and_then(|(_, rest)| rest.split_once(','));
        ensure!(seq.is_some_and(|(seq, _)| seq.parse() == Ok(number)), "seq is not {number}: {line}");
        if line.starts_with(r#"{"type":"event""#) {
            ensure!(line.ends_with('}'), "cut: {line}");
            events += 1;
            continue;
        }
        let value: serde_json::Value = serde_json::from_str(&line)?;
        match value["type"].as_str() {
            Some("lost") => lost += value["count"].as_u64().context("count")?,
            Some("end") => {
                let stages = value["totals"]["lost"].as_array().context("lost")?;
                let total = value["totals"]["events"].as_u64().context("events")?;
                let all = stages.iter().map(|stage| stage["count"].as_u64()).sum::<Option<u64>>();
                ensure!(all == Some(lost), "{lost} lost were reported before {line}");
                return Ok(Counts { events, total, lost });
            }
            _ => {}
        }
    }
    anyhow::bail!("{}: the stream has no end", path.display())
}

/// The share of one processor's time that nsprobe takes while there is nothing to report.
pub fn idle(nsprobe: &Path, duration: Duration) -> Result<f64> {
    let seconds = (duration + Duration::from_secs(4)).as_secs().to_string();
    let mut child = Command::new(nsprobe)
        .args(["trace", "--quiet", "--json", "--", "sleep", &seconds])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    let pid = Pid::from_raw(i32::try_from(child.id())?);
    sleep(Duration::from_secs(2));
    let (start, before) = (Instant::now(), processor_time(pid)?);
    sleep(duration);
    let share = (processor_time(pid)?.saturating_sub(before)).as_secs_f64() / start.elapsed().as_secs_f64();
    ensure!(child.wait()?.success(), "nsprobe fails");
    Ok(share)
}

/// The result of a churn.
pub struct Churn {
    /// The number of programs that ran.
    pub programs: u64,
    /// The peak memory of nsprobe in KiB: in the first fifth of the time, after its start, and in the last.
    pub memory: (u64, u64),
}

/// Traces every new task and every namespace of programs that start and end for `duration`.
pub fn churn(nsprobe: &Path, dir: &Path, duration: Duration) -> Result<Churn> {
    let report = dir.join("report");
    let milliseconds = format!("--duration={}ms", duration.as_millis());
    let words = ["churn".to_owned(), milliseconds, format!("--report={}", report.display())];
    let mut child = Command::new(nsprobe)
        .args(["trace", "--quiet", "--json", "--lifecycle", "--clone", "all", "--"])
        .args(work(&words)?)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    let pid = Pid::from_raw(i32::try_from(child.id())?);
    let start = Instant::now();
    let mut memory = (0, 0);
    while child.try_wait()?.is_none() {
        // The maximum in a phase: an exiting process has less.
        let time = start.elapsed();
        if let Ok(now) = resident(pid) {
            if (duration / 20..duration / 5).contains(&time) {
                memory.0 = now.max(memory.0);
            } else if time > duration * 4 / 5 {
                memory.1 = now.max(memory.1);
            }
        }
        sleep(POLL_INTERVAL);
    }
    ensure!(child.wait()?.success(), "nsprobe fails");
    let programs = fs::read_to_string(&report)?.trim().parse().context("the churn's report")?;
    Ok(Churn { programs, memory })
}

/// The resident memory of a process, in KiB.
fn resident(pid: Pid) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB"));
    line.context("no VmRSS")?.trim().parse().context("VmRSS")
}
