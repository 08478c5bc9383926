//! From the items of a source (the probe, perf, scans of `/proc`) to the numbered lines of a stream: choosing the
//! source, decoding its records, filtering events, counting losses, ending the trace.

pub mod attach;
pub mod calls;
pub mod choose;
pub mod command;
pub mod conditions;
pub mod decode;
mod each;
pub mod fallback;
mod filter_keys;
pub mod hooks;
pub mod identity;
pub mod losers;
pub mod options;
mod pipeline;
pub mod plan;
pub mod record;
pub mod session;
pub mod sink;
pub mod source;
mod wait;

pub use each::{take_snapshot, trace};

use crate::kernel::advice::{exhausted_with_remedy, forbidden_despite_capabilities, how_to_get_them};
use crate::kernel::probe::OpenError;
use crate::kernel::refusal::errno_of;
use crate::model::Snapshot;
use std::io;
use std::sync::Arc;

/// Takes a snapshot of the machine, or returns the reason for failure. Given by the caller of the trace: the namespace
/// tracker itself does not read `/proc`. (Sources without BPF do, for the namespaces of tasks.)
///
/// It runs on a thread of its own, however long it takes: the trace continues meanwhile, and may end first.
pub type SnapshotFn = Arc<dyn Fn() -> Result<Snapshot, String> + Send + Sync>;

/// An error at the start of a trace or during it.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// This process may not trace.
    #[error("tracing needs {} (or CAP_SYS_ADMIN): {}", .0.join(" and "), how_to_get_them())]
    Capabilities(Vec<&'static str>),
    /// This process is in a user namespace, where its capabilities do not count for tracing.
    #[error("tracing needs CAP_BPF and CAP_PERFMON in the initial user namespace: {}", how_to_get_them())]
    UserNamespace,
    /// It has the capabilities, but the kernel refuses all the same.
    #[error("the kernel refuses bpf(2) with EPERM: {}", forbidden_despite_capabilities())]
    Forbidden,
    /// The probe cannot be loaded.
    #[error("{0}")]
    Open(OpenError),
    /// The probe cannot be attached.
    #[error("{0}")]
    Refused(String),
    /// No more files can be opened, in words.
    #[error("{0}")]
    Descriptors(String),
    /// A part of `/proc` that is needed at the start.
    #[error("/proc: {0}")]
    Proc(io::Error),
    /// The snapshot failed.
    #[error("no snapshot: {0}")]
    Snapshot(String),
    /// The snapshot took too long.
    #[error("no snapshot: it took too long")]
    Slow,
    /// The command did not start.
    #[error("{command}: {error}")]
    Command {
        /// Its name.
        command: String,
        /// The reason.
        error: io::Error,
    },
    /// A system call that should not fail.
    #[error(transparent)]
    System(#[from] io::Error),
}

impl TraceError {
    /// Returns this error; if it is that no more files can be opened, [`Self::Descriptors`]: the next source would show
    /// less for no other reason.
    #[must_use]
    pub(crate) fn or_descriptors(self) -> Self {
        let errno = match &self {
            Self::Open(error) => errno_of(error),
            Self::Proc(error) | Self::System(error) => error.raw_os_error(),
            _ => None,
        };
        let reason = errno.and_then(|errno| exhausted_with_remedy(&io::Error::from_raw_os_error(errno)));
        reason.map_or(self, Self::Descriptors)
    }

    /// True if the attempted source is refused, and the next one may work.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Capabilities(_) | Self::UserNamespace | Self::Forbidden | Self::Open(_) | Self::Refused(_)
        )
    }
}
