//! The number of system calls that a command makes.

use anyhow::{Context as _, Result};
use std::process::{Command, Stdio};
use xtask::checkout;

/// Counts the system calls of a command and its children, by `strace -f -c`.
pub fn calls(command: &Command) -> Result<u64> {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-c", "--"]).arg(command.get_program()).args(command.get_args());
    // The summary comes after the output of the command.
    let summary = checkout::output(strace.stdout(Stdio::null()))?;
    let summary = String::from_utf8_lossy(&summary.stderr);
    total(&summary).with_context(|| format!("strace counted nothing: {summary}"))
}

/// The calls in the last line of the summary. Its columns: % time, seconds, usecs/call, calls, errors (blank if there
/// were none), and the word `total`.
fn total(summary: &str) -> Option<u64> {
    let line = summary.lines().rev().find(|line| line.trim_end().ends_with(" total"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn total_is_read_with_and_without_errors() {
        let with = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 31.54    0.011044           8      1355         8 newfstatat
 25.15    0.008807           6      1291           close
------ ----------- ----------- --------- --------- ----------------
100.00    0.035013           7      4435       249 total
";
        assert_eq!(total(with), Some(4435));
        let without = "100.00    0.000081           2        33           total\n";
        assert_eq!(total(without), Some(33));
        assert_eq!(total(""), None);
        assert_eq!(total("strace: cannot find it"), None);
    }

    #[test]
    fn calls_of_a_real_command_are_counted() {
        if Command::new("strace").arg("--version").output().is_err() {
            eprintln!("SKIPPED bench::strace: no strace");
            return;
        }
        let mut command = Command::new("sh");
        command.args(["-c", "for i in 1 2 3 4 5 6 7 8 9 10; do umask >/dev/null; done"]);
        let many = calls(&command).expect("strace");
        let few = calls(Command::new("sh").args(["-c", ":"])).expect("strace");
        assert!(many >= few + 20, "{many} and {few}");
    }
}
