//! What a trace is asked to do.

use super::conditions::Conditions;
use super::hooks::Call;
use super::plan::Choice;
use std::ffi::OsString;
use std::time::Duration;

/// What to trace, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own, and they combine")]
pub struct Options {
    /// The hooks.
    pub hooks: Choice,
    /// The calls.
    pub calls: Vec<Call>,
    /// What else must hold of an event.
    pub conditions: Conditions,
    /// Every new task, not only those in a new namespace.
    pub every_clone: bool,
    /// Calls of setns and unshare too that succeed and change nothing.
    pub unchanged: bool,
    /// When namespaces are made and end.
    pub lives: bool,
    /// 32-bit system calls, even where that means to watch every system call of the machine.
    pub compat: bool,
    /// Calls that a seccomp filter stops, though to watch for them costs every system call of the machine.
    pub denied: bool,
    /// Size of the ring buffer; made a power of two and a multiple of the page size.
    pub ring_bytes: u32,
    /// Most entries of a table that tenants fill, where that is fewer than usual: for tests.
    pub room: u32,
    /// Between two looks at `/proc`, where nothing else is allowed.
    pub interval: Duration,
    /// At most this long.
    pub duration: Option<Duration>,
    /// At most so many events.
    pub count: Option<u64>,
    /// Only what this command and its descendants do, and until it ends; empty for the whole machine.
    pub command: Vec<OsString>,
}

impl Default for Options {
    /// The whole machine, in the best way that it allows, until a signal comes.
    fn default() -> Self {
        Self {
            hooks: Choice::Auto,
            calls: Call::ALL.into(),
            conditions: Conditions::default(),
            every_clone: false,
            unchanged: false,
            lives: false,
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
