//! Why a document cannot be compared.

/// The document that is read, and the versions of it.
pub(super) const NAME: &str = "nsprobe.list";
pub(super) const MAJOR: &str = "1";

/// How long a document may be: one of 400,000 processes is about as long.
pub(super) const MOST_BYTES: u64 = 256 << 20;

/// Why a document is of no use.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is no JSON, not whole, or lacks something.
    #[error("not a document of `nsprobe list --json`, or not all of it: {0}")]
    Syntax(serde_json::Error),
    /// It is another document, or of a version that is not understood.
    #[error("this is {found}, and {NAME} {MAJOR}.x is wanted: what `nsprobe list --json` writes")]
    Schema {
        /// Name and version of what it is.
        found: String,
    },
    /// It holds a part of what there was.
    #[error("it holds only what was asked for: take it with `nsprobe list --json` and no other option")]
    Filtered,
    /// It cannot be read.
    #[error(transparent)]
    Read(std::io::Error),
    /// It does not end where one may.
    #[error("it is longer than {} MiB, which no document is that is compared", MOST_BYTES >> 20)]
    TooLong,
    /// It has something twice that is in a snapshot once.
    #[error("it has {0} twice, so it is no snapshot")]
    Twice(String),
    /// It does not say of which boot it is.
    #[error("it does not name the boot it was taken in, so nothing in it can be compared")]
    NoBoot,
}
