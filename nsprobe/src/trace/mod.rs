//! What a source tells (the probe, perf, looks at `/proc`) → the numbered lines of a stream: which source, what its
//! records mean, which events are wanted, what was lost, when to stop.

pub mod account;
pub mod attach;
pub mod choose;
pub mod conditions;
pub mod decode;
pub mod filter;
pub mod hooks;
pub mod identity;
pub mod ladder;
pub mod lives;
pub mod losers;
pub mod losses;
pub mod options;
pub mod order;
pub mod plan;
pub mod record;
pub mod running;
pub mod session;
pub mod sink;
mod snapshots;
pub mod source;
mod stream;
mod wishes;

use crate::kernel::advice::{forbidden_all_the_same, how_to_get_them};
use crate::kernel::probe::OpenError;
use crate::model::Snapshot;
use std::io;
use std::sync::Arc;

/// Takes a snapshot of the machine, or says why there is none. The account of namespaces reads no `/proc` itself: whoever
/// starts a trace hands it what does. (Sources without BPF do: they learn from `/proc` where tasks are.)
///
/// It runs on a thread of its own, for as long as it takes: the trace goes on meanwhile, and may end before.
pub type Look = Arc<dyn Fn() -> Result<Snapshot, String> + Send + Sync>;

/// Why a trace could not be begun or went wrong.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// This process may not trace.
    #[error("tracing needs {} (or CAP_SYS_ADMIN): {}", .0.join(" and "), how_to_get_them())]
    Capabilities(Vec<&'static str>),
    /// This process is in a user namespace, where its capabilities do not count for tracing.
    #[error("tracing needs CAP_BPF and CAP_PERFMON in the initial user namespace: {}", how_to_get_them())]
    UserNamespace,
    /// It has the capabilities and may not all the same.
    #[error("the kernel refuses bpf(2) with EPERM: {}", forbidden_all_the_same())]
    Forbidden,
    /// There is no probe.
    #[error("{0}")]
    Open(OpenError),
    /// There is no way to attach it.
    #[error("{0}")]
    Refused(String),
    /// Something of `/proc` that is needed to begin.
    #[error("/proc: {0}")]
    Proc(io::Error),
    /// The machine could not be looked at.
    #[error("no snapshot: {0}")]
    Look(String),
    /// The same: it took too long.
    #[error("no snapshot: taking it took too long")]
    Slow,
    /// The command did not start.
    #[error("{command}: {error}")]
    Command {
        /// Its name.
        command: String,
        /// Why.
        error: io::Error,
    },
    /// A system call that does not fail.
    #[error(transparent)]
    System(#[from] io::Error),
}

impl TraceError {
    /// Whether the way that was tried is closed, and another may be open.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Capabilities(_) | Self::UserNamespace | Self::Forbidden | Self::Open(_) | Self::Refused(_)
        )
    }
}
