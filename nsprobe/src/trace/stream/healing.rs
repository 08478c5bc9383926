//! What is being made good of what was lost.

/// What is under way.
pub(super) enum Healing {
    /// The account is being opened.
    Opening,
    /// The account is being put right; so many descendants were found, or why none could be.
    NamespaceTracker(Result<Option<u64>, String>),
}
