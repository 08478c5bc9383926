//! Reasons why a document cannot be compared.

use crate::document::schemas::LIST;

/// The maximum length of a document: one of 400,000 processes is about that long.
pub(super) const MAX_BYTES: u64 = 256 << 20;

/// Reasons to reject a document.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not JSON, or incomplete.
    #[error("not a document of `nsprobe list --json`, or not all of it: {0}")]
    Syntax(serde_json::Error),
    /// It is a different document, or its version is not supported.
    #[error("this is {found}, but {} {}.x is needed, as written by `nsprobe list --json`", LIST.name, LIST.major())]
    Schema {
        /// Its name and version.
        found: String,
    },
    /// It holds only some of the namespaces.
    #[error("it holds only a selection: take it with `nsprobe list --json` and no other option")]
    Filtered,
    /// It cannot be read.
    #[error(transparent)]
    Read(std::io::Error),
    /// It is too long.
    #[error("it is longer than {} MiB, the most that is compared", MAX_BYTES >> 20)]
    TooLong,
    /// A process or namespace is in it twice.
    #[error("it has {0} twice, so it is not a snapshot")]
    Twice(String),
    /// It does not name its boot.
    #[error("it does not name the boot it was taken in, so nothing in it can be compared")]
    NoBoot,
}
