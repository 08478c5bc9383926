//! The options of a trace.

use super::conditions::Conditions;
use super::hooks::Call;
use super::plan::Choice;
use std::ffi::OsString;
use std::time::Duration;

/// The calls to trace, and the limits.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own, and they combine")]
pub struct Options {
    /// The requested sources.
    pub source: Choice,
    /// The traced calls.
    pub calls: Vec<Call>,
    /// The conditions on an event.
    pub conditions: Conditions,
    /// Report every new task, not only those in a new namespace.
    pub every_clone: bool,
    /// Also report calls of setns and unshare that succeed and change nothing.
    pub unchanged: bool,
    /// Report when namespaces are created and destroyed.
    pub lifecycle: bool,
    /// Trace 32-bit system calls, even if that means watching every system call of the machine.
    pub compat: bool,
    /// Trace calls that a seccomp filter stops, although that costs every system call of the machine.
    pub denied: bool,
    /// The size of the ring buffer; rounded up to a power of two and a multiple of the page size.
    pub ring_bytes: u32,
    /// The maximum size of tables that tenants fill, if smaller than usual: for tests.
    pub room: u32,
    /// The interval between two scans of `/proc`, if nothing else is allowed.
    pub interval: Duration,
    /// The maximum duration.
    pub duration: Option<Duration>,
    /// The maximum number of events.
    pub count: Option<u64>,
    /// Trace only this command and its descendants, until it ends; empty for the whole machine.
    pub command: Vec<OsString>,
}

impl Default for Options {
    /// The whole machine, with the best source that works, until a signal.
    fn default() -> Self {
        Self {
            source: Choice::Auto,
            calls: Call::ALL.into(),
            conditions: Conditions::default(),
            every_clone: false,
            unchanged: false,
            lifecycle: false,
            compat: false,
            denied: false,
            ring_bytes: 4 << 20,
            room: u32::MAX,
            interval: Duration::from_secs(1),
            duration: None,
            count: None,
            command: Vec::new(),
        }
    }
}
