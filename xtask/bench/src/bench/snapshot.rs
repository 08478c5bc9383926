//! The commands that take one snapshot, measured side by side on a machine of a given size.

use super::crowd::{self, Crowd};
use super::facts::Others;
use super::peers::Peer;
use super::sample::{Point, Sample};
use super::{strace, table};
use crate::ending;
use anyhow::{Result, ensure};
use std::process::Command;
use std::time::{Duration, Instant};
use xtask::checkout;

/// The time for the rounds of one point, all commands together. Each gets an equal part, and a slow one fewer rounds.
const BUDGET: Duration = Duration::from_mins(1);
/// The minimum number of rounds of a command.
const MIN_ROUNDS: usize = 3;

/// The load on the machine.
#[derive(Clone, Copy)]
pub enum Size {
    /// This many processes, including existing ones.
    Processes(usize),
    /// This many processes more, each in a separate namespace.
    Namespaces(usize),
}

impl Size {
    /// Its name in messages.
    fn name(self) -> String {
        match self {
            Self::Processes(count) => format!("{} processes", table::thousands(count)),
            Self::Namespaces(count) => format!("{} namespaces more", table::thousands(count)),
        }
    }
}

/// Measures all `peers` at `size`; the inner `Err` is the reason why the machine cannot hold that many.
pub fn measure(peers: &[Peer], size: Size, rounds: usize) -> Result<Result<Point, String>> {
    let name = size.name();
    let more = match size {
        // The commands that measure are processes too.
        Size::Processes(count) => count.saturating_sub(crowd::present()? + 1),
        Size::Namespaces(count) => count,
    };
    if let Some(why) = crowd::no_room(more)? {
        return Ok(Err(format!("{name}: this machine cannot hold them: {why}")));
    }
    eprintln!("bench: {name}: making {}", table::thousands(more));
    let crowd = match size {
        Size::Processes(_) => Crowd::processes(more),
        Size::Namespaces(_) => Crowd::namespaces(more),
    };
    let crowd = match crowd {
        Ok(crowd) => crowd,
        Err(error) => return Ok(Err(format!("{name}: {error:#}"))),
    };
    // Plus the command that is measured.
    let processes = crowd::present()? + 1;
    let namespaces = namespaces(&peers[0])?;

    let mut samples = Vec::new();
    let mut planned = Vec::new();
    for peer in peers {
        eprintln!("bench: {name}: {}: memory and system calls", peer.name);
        let start = Instant::now();
        let ended = ending::inspect(&peer.command(), ending::peak_memory)?;
        ensure!(ended.status.success(), "{}: {}\n{}", peer.name, ended.status, text(&ended.stderr));
        planned.push(affordable(start.elapsed(), BUDGET / u32::try_from(peers.len())?, rounds));
        samples.push(Sample {
            times: Vec::new(),
            memory: ended.seen,
            calls: strace::calls(&peer.command())?,
        });
    }
    let others = Others::watch()?;
    for round in 0..rounds {
        eprintln!("bench: {name}: round {} of {rounds}", round + 1);
        let mut turn: Vec<usize> = (0..peers.len()).filter(|&peer| round < planned[peer]).collect();
        if round % 2 == 1 {
            // So that none always follows the same other one.
            turn.reverse();
        }
        for peer in turn {
            samples[peer].times.push(time(&mut peers[peer].command())?);
        }
    }
    let others = others.share()?;
    drop(crowd);
    Ok(Ok(Point { processes, namespaces, others, samples }))
}

/// The number of rounds for a command that takes `time`.
fn affordable(time: Duration, budget: Duration, rounds: usize) -> usize {
    let affordable = budget.as_micros() / time.as_micros().max(1);
    usize::try_from(affordable).unwrap_or(usize::MAX).max(MIN_ROUNDS).min(rounds)
}

/// The time that a command takes from start to end; it must succeed.
fn time(command: &mut Command) -> Result<Duration> {
    let start = Instant::now();
    checkout::output(command)?;
    Ok(start.elapsed())
}

/// The number of namespaces, by the lines of nsprobe's table.
fn namespaces(nsprobe: &Peer) -> Result<usize> {
    let ended = ending::inspect(nsprobe.command().arg("--no-header"), |_| Ok(()))?;
    Ok(text(&ended.stdout).lines().count())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_commands_get_fewer_rounds() {
        let rounds = |millis| affordable(Duration::from_millis(millis), Duration::from_secs(6), 15);
        assert_eq!([rounds(0), rounds(10), rounds(500), rounds(1000), rounds(60_000)], [15, 15, 12, 6, 3]);
        assert_eq!(affordable(Duration::from_mins(1), Duration::from_secs(6), 1), 1);
    }
}
