//! Namespaces with a holder other than a process.

use super::stage::wait;
use super::tenant::{Left, leave};
use super::{json, skipped};
use nsprobe::kernel::sockets::PidFd;
use serde_json::{Value, json};
use std::any::Any;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;

/// Arguments of unshare(1) for a pid namespace with a process in it.
pub const PID: [&str; 2] = ["--pid", "--fork"];

/// A namespace, the holder that has to be found, and the object that holds it until this is dropped.
pub struct Held {
    pub kind: &'static str,
    pub ino: u64,
    pub holder: Value,
    _by: Box<dyn Any>,
}

impl Held {
    pub fn new(kind: &'static str, ino: u64, holder: Value, by: impl Any) -> Self {
        Self { kind, ino, holder, _by: Box::new(by) }
    }

    /// Held by an open file of this process.
    pub fn by_descriptor(kind: &'static str, ino: u64, how: &str, fd: i32, by: impl Any) -> Self {
        Self::new(kind, ino, json!({"type": how, "pid": std::process::id(), "tid": null, "fd": fd}), by)
    }

    /// Held by a file that a tenant opened.
    pub fn by_file(unshare: &[&str], kind: &'static str, what: &str, how: &str) -> Self {
        let Left { ino, file, .. } = leave(unshare, kind, what, |_| {});
        let file = file.unwrap();
        Self::by_descriptor(kind, ino, how, file.as_fd().as_raw_fd(), file)
    }

    /// Held by a socket whose peer was a tenant.
    pub fn by_peer(unshare: &[&str], kind: &'static str, how: &str) -> Self {
        let Left { ino, connection, .. } = leave(unshare, kind, "", |_| {});
        Self::by_descriptor(kind, ino, how, connection.as_raw_fd(), connection)
    }

    /// Held by the pidfd of a process that has ended.
    pub fn by_pidfd() -> Self {
        let mut pidfd = None;
        let Left { ino, .. } = leave(&PID, "pid", "", |pid| pidfd = PidFd::open(pid).ok());
        let pidfd = pidfd.unwrap();
        Self::by_descriptor("pid", ino, "pidfd", pidfd.as_fd().as_raw_fd(), pidfd)
    }

    /// Held by a tun device, if the kernel has them.
    pub fn by_tun() -> Option<Self> {
        const DEVICE: &str = "/dev/net/tun";
        if Path::new(DEVICE).exists() {
            return Some(Self::by_file(&["--net"], "net", DEVICE, "tun"));
        }
        skipped("tun: the device does not exist");
        None
    }

    /// True if a namespace of a document is this one.
    pub fn is(&self, ns: &Value) -> bool {
        ns["kind"] == self.kind && ns["ino"] == self.ino
    }

    /// This namespace in a document of `list`.
    pub fn found<'a>(&self, document: &'a Value) -> Option<&'a Value> {
        document["namespaces"].as_array().unwrap().iter().find(|ns| self.is(ns))
    }
}

/// Waits for a document of `list` in which the holders of each are as `expected`. A process that another test starts
/// has a copy of all descriptors until it executes its program.
pub fn wait_for_holders(held: &[Held], expected: impl Fn(&Held, &[Value]) -> bool) -> Value {
    let mut last = Value::Null;
    let found = wait(|| {
        last = json(&["list", "--json"]);
        let is_expected = |held: &Held| {
            let holders = held.found(&last).and_then(|ns| ns["holders"].as_array());
            holders.is_some_and(|holders| expected(held, holders))
        };
        held.iter().all(is_expected).then_some(())
    });
    for held in held {
        assert!(found.is_some(), "{} is not the only holder: {:?}", held.holder, held.found(&last));
    }
    last
}
