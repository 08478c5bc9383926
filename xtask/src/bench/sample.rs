//! What was measured.

use std::time::Duration;

/// What was measured at one size.
pub struct Point {
    /// Processes on the machine.
    pub processes: usize,
    /// Namespaces on the machine, as nsprobe counts them.
    pub namespaces: usize,
    /// The part of the processors' time that went to others during the rounds, 0 to 1.
    pub others: f64,
    /// One for each command, in their order.
    pub samples: Vec<Sample>,
}

/// What was measured of one command.
pub struct Sample {
    /// From start to end, one a round; a slow command has fewer.
    pub times: Vec<Duration>,
    /// The most memory it had resident, in KiB.
    pub memory: u64,
    /// System calls it made.
    pub calls: u64,
}
