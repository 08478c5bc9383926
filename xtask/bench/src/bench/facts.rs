//! The machine that is measured on, and its load.

use anyhow::{Context as _, Result};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use std::fs;
use std::process::Command;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};
use xtask::checkout;

/// Ticks per second in `/proc/stat` (USER_HZ): the same on every x86 kernel.
const TICKS: f64 = 100.0;
/// The maximum load of an idle machine, for each processor.
const QUIET: f64 = 0.2;

/// The circumstances of the measurements, one fact per line of Markdown.
pub fn machine() -> Result<Vec<String>> {
    let processor = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let system = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let system = system.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    Ok(vec![
        format!("Date: {}", jiff::Timestamp::now().strftime("%F")),
        format!(
            "Machine: {} processors ({processor}), {} GB of memory",
            available_parallelism()?,
            (memory("MemTotal:")? + (1 << 19)) >> 20
        ),
        format!("System: Linux {}, {}", kernel.trim(), system.unwrap_or("unknown").trim_matches('"')),
    ])
}

/// The commit that is measured, marked if the checkout has other changes.
pub fn commit() -> String {
    let mut git = Command::new("git");
    git.args(["describe", "--always", "--dirty", "--exclude=*"]).current_dir(checkout::root());
    let description =
        checkout::output(&mut git).map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    description.unwrap_or_else(|_| "not from git".to_owned())
}

/// A field of `/proc/meminfo`, in KiB.
pub fn memory(name: &str) -> Result<u64> {
    let value = field("/proc/meminfo", name).with_context(|| format!("no {name} in /proc/meminfo"))?;
    value.trim_end_matches(" kB").parse().with_context(|| format!("{name} {value}"))
}

/// The value of the first line of a file that begins with `name`.
fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(value.trim_start_matches([':', '\t', ' ']).to_owned())
}

/// The load of the last minute, with a warning if it is high.
pub fn load() -> Result<String> {
    let load = fs::read_to_string("/proc/loadavg")?;
    let load = load.split(' ').next().unwrap_or_default();
    let quiet = load.parse::<f64>()? <= QUIET * f64::from(u32::try_from(available_parallelism()?.get())?);
    let warning = if quiet { "" } else { ": NOT QUIET, the figures are those of a busy machine" };
    Ok(format!("Load of the minute before: {load}{warning}"))
}

/// Processor time taken by others than this process and its children.
pub struct Others {
    began: Instant,
    busy: f64,
    own: f64,
}

impl Others {
    /// Begins to count.
    pub fn watch() -> Result<Self> {
        Ok(Self { began: Instant::now(), busy: busy()?, own: own()? })
    }

    /// The share of all processors' time that others have taken since: 0 to 1. Time that a hypervisor gave to other
    /// machines is included.
    pub fn share(&self) -> Result<f64> {
        let all = self.began.elapsed().max(Duration::from_millis(1)).as_secs_f64()
            * f64::from(u32::try_from(available_parallelism()?.get())?);
        Ok((((busy()? - self.busy) - (own()? - self.own)) / all).clamp(0.0, 1.0))
    }
}

/// Seconds that the processors were not idle.
fn busy() -> Result<f64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().and_then(|line| line.strip_prefix("cpu ")).context("/proc/stat")?;
    busy_ticks(line).map(|ticks| ticks / TICKS).context("/proc/stat")
}

/// User, nice, system, irq, softirq and steal of the line `cpu` in proc_stat(5); not idle and iowait.
fn busy_ticks(line: &str) -> Option<f64> {
    let ticks: Vec<f64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
    (ticks.len() >= 8).then(|| ticks[..3].iter().chain(&ticks[5..8]).sum())
}

/// Seconds of processor time of this process and of its children that have ended.
fn own() -> Result<f64> {
    let mut own = 0.0;
    for who in [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN] {
        let usage = getrusage(who)?;
        let time = usage.user_time() + usage.system_time();
        own += Duration::from_micros(u64::try_from(time.num_microseconds())?).as_secs_f64();
    }
    Ok(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_not_busy() {
        assert_eq!(busy_ticks(" 1 20 300 4000 50000 600000 7000000 80000000 5 6"), Some(87_600_321.0));
        assert_eq!(busy_ticks(" 1 2 3"), None);
    }

    #[test]
    fn machine_has_facts() {
        let facts = machine().expect("facts");
        assert!(facts[1].starts_with("Machine: "), "{facts:?}");
        assert!(memory("MemTotal:").expect("MemTotal") > memory("MemAvailable:").expect("MemAvailable"));
        assert!(load().expect("load").starts_with("Load"));
        assert!((0.0..=1.0).contains(&Others::watch().expect("watch").share().expect("share")));
    }
}
