//! Sleeping processes, to fill the machine up to the number that a measurement needs.
//!
//! They are forks of a shell that read from a pipe which only this process writes to: however it ends, they see the
//! end of that pipe and exit.

use anyhow::{Context as _, Result, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::fs;
use std::io::{PipeReader, PipeWriter, Read as _, pipe};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Processes that one shell has as its children.
const FAMILY: usize = 500;
/// The time that the next of them may take to report.
const TIMEOUT: Duration = Duration::from_secs(20);
/// The memory that a sleeping process takes, in KiB, with its page tables: a generous guess.
const MEMORY: u64 = 512;
/// Processes reserved for others.
const SPARE: usize = 300;

/// Each child writes a line when it has started, and ends with its input.
const FORKS: &str = r#"i=0
while [ $i -lt "$1" ]; do
    (exec 3<&-; echo; read -r _) <&3 &
    i=$((i + 1))
done"#;

/// The same, each in a new namespace of one of the kinds in turn.
const NAMESPACES: &str = r#"i=0
while [ $i -lt "$1" ]; do
    for kind in cgroup ipc mount user uts; do
        [ $i -lt "$1" ] || break
        unshare --$kind sh -c 'echo; read -r _' <&3 3<&- &
        i=$((i + 1))
    done
done"#;

/// Processes that sleep until this is dropped.
pub struct Crowd {
    hosts: Vec<Child>,
    /// The pipe they read; `None` when they have to end.
    hold: Option<PipeWriter>,
}

impl Crowd {
    /// `count` processes in the namespaces of this one. Each has three descriptors.
    pub fn processes(count: usize) -> Result<Self> {
        // Each family has a parent, which counts too.
        let families = count.div_ceil(FAMILY + 1);
        Self::start(count - families, families, FORKS)
    }

    /// `count` processes, each in a separate namespace: as many cgroup, ipc, mount, user and uts namespaces.
    pub fn namespaces(count: usize) -> Result<Self> {
        Self::start(count, count.div_ceil(FAMILY), NAMESPACES)
    }

    fn start(count: usize, families: usize, script: &str) -> Result<Self> {
        let (input, hold) = pipe()?;
        let (mut ready, reports) = pipe()?;
        let mut crowd = Self { hosts: Vec::new(), hold: Some(hold) };
        for family in 0..families {
            // Sizes that add up, however they divide.
            let size = count * (family + 1) / families - count * family / families;
            let host = Command::new("sh")
                .args(["-c", &format!("exec 3<&0\n{script}\nexec 3<&-\nwait"), "crowd", &size.to_string()])
                .stdin(input.try_clone()?)
                .stdout(reports.try_clone()?)
                .stderr(Stdio::null())
                .process_group(0)
                .spawn();
            crowd.hosts.push(host.context("could not start sh")?);
        }
        drop((input, reports));
        let ready_count = await_lines(&mut ready, count)?;
        ensure!(ready_count == count, "only {ready_count} of {count} processes could be made");
        Ok(crowd)
    }
}

/// Counts lines up to `count`; fewer if the next one does not come in time, or nobody is left to write one.
fn await_lines(ready: &mut PipeReader, count: usize) -> Result<usize> {
    let mut ready_count = 0;
    let mut buffer = [0; 4096];
    while ready_count < count {
        let mut wanted = [PollFd::new(ready.as_fd(), PollFlags::POLLIN)];
        if poll(&mut wanted, PollTimeout::try_from(TIMEOUT)?)? == 0 {
            break;
        }
        match ready.read(&mut buffer)? {
            0 => break,
            length => ready_count += length,
        }
    }
    Ok(ready_count)
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.hold = None;
        let deadline = Instant::now() + TIMEOUT;
        for host in &mut self.hosts {
            while matches!(host.try_wait(), Ok(None)) {
                if Instant::now() > deadline {
                    // Its process group: itself and its children.
                    let group = i32::try_from(host.id()).map(Pid::from_raw);
                    let _ = group.map(|group| killpg(group, Signal::SIGKILL));
                    let _ = host.wait();
                    break;
                }
                sleep(Duration::from_millis(5));
            }
        }
    }
}

/// The number of processes that exist now.
pub fn present() -> Result<usize> {
    let entries = fs::read_dir("/proc").context("/proc")?;
    let pid = |name: &[u8]| name.iter().all(u8::is_ascii_digit);
    Ok(entries
        .filter(|entry| entry.as_ref().is_ok_and(|entry| pid(entry.file_name().as_encoded_bytes())))
        .count())
}

/// The reason why the machine cannot hold `count` more processes, if it cannot.
pub fn no_room(count: usize) -> Result<Option<String>> {
    let present = present()?;
    for limit in ["pid_max", "threads-max"] {
        let most: usize = fs::read_to_string(format!("/proc/sys/kernel/{limit}"))?.trim().parse()?;
        if present + count + SPARE > most {
            return Ok(Some(format!("kernel.{limit} is {most}")));
        }
    }
    let memory = super::facts::memory("MemAvailable:")?;
    let needed = MEMORY * count as u64;
    Ok((needed > memory)
        .then(|| format!("{} MB of memory are free, {} needed", memory / 1024, needed / 1024)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of children of a process.
    fn children(of: u32) -> usize {
        let path = format!("/proc/{of}/task/{of}/children");
        fs::read_to_string(path).expect("children").split_whitespace().count()
    }

    #[test]
    fn crowd_starts_and_ends() {
        let crowd = Crowd::processes(FAMILY + 20).expect("a crowd");
        let hosts: Vec<u32> = crowd.hosts.iter().map(Child::id).collect();
        assert_eq!(hosts.len(), 2);
        assert_eq!(hosts.iter().map(|&host| children(host) + 1).sum::<usize>(), FAMILY + 20);
        drop(crowd);
        for host in hosts {
            assert!(!fs::exists(format!("/proc/{host}")).expect("/proc"), "{host}");
        }
    }

    #[test]
    fn crowd_that_fails_reports_how_many_started() {
        let failed = Crowd::start(10, 1, "echo; echo; exit 1").err().expect("no crowd");
        assert_eq!(failed.to_string(), "only 2 of 10 processes could be made");
    }
}
