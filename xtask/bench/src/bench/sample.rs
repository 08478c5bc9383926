//! Measurements.

use std::time::Duration;

/// The measurements at one size.
pub struct Point {
    /// Processes on the machine.
    pub processes: usize,
    /// Namespaces on the machine, as nsprobe counts them.
    pub namespaces: usize,
    /// The share of the processors' time that others took during the rounds, 0 to 1.
    pub others: f64,
    /// One for each command, in their order.
    pub samples: Vec<Sample>,
}

/// The measurements of one command.
pub struct Sample {
    /// From start to end, one per round; a slow command has fewer.
    pub times: Vec<Duration>,
    /// Its peak resident memory, in KiB.
    pub memory: u64,
    /// The number of system calls it made.
    pub calls: u64,
}
