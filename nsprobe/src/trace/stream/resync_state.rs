//! The resync under way.

/// The state of a resync.
pub(super) enum ResyncState {
    /// The tracker is being opened.
    Opening,
    /// The tracker is being updated; with the number of descendants found, or the error.
    Updating(Result<Option<u64>, String>),
}
