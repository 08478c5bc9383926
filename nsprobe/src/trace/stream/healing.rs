//! The resync under way.

/// The state of a resync.
pub(super) enum Healing {
    /// The tracker is being opened.
    Opening,
    /// The tracker is being updated; with the number of descendants found, or the error.
    NamespaceTracker(Result<Option<u64>, String>),
}
