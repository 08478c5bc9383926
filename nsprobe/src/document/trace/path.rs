//! Resolved paths: each a text, and beside it what is unusual about it.

use crate::document::values::Base64;
use crate::model::{Directory, ResolvedPath};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// What is unusual about a resolved path. cut: it was too long or too deep; only its last components are there, without
/// a leading /. detached: it is in no mount namespace: its file system was unmounted while in use, was never mounted
/// anywhere, or is internal to the kernel; the path begins at the root of that mount, with the name of this root unless
/// it is the root of the file system. deleted: it was deleted, or was never in a directory, as with a memfd; the path is
/// the one it had. unreachable: no path leads to it from its mount; the path has the names found on the way up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the schema has one description for all, which keeps it an enum there")]
pub enum PathState {
    Cut,
    Detached,
    Deleted,
    Unreachable,
}

/// A resolved path, as the three fields that stand for it.
pub(super) struct PathFields<'a> {
    pub(super) path: Cow<'a, str>,
    pub(super) base64: Option<Base64<'a>>,
    pub(super) state: Vec<PathState>,
}

impl<'a> From<&'a ResolvedPath> for PathFields<'a> {
    fn from(resolved: &'a ResolvedPath) -> Self {
        let ResolvedPath { path, cut, detached, deleted, unreachable } = resolved;
        let state = [
            (*cut, PathState::Cut),
            (*detached, PathState::Detached),
            (*deleted, PathState::Deleted),
            (*unreachable, PathState::Unreachable),
        ];
        Self {
            path: path.lossy(),
            base64: Base64::of(path),
            state: state.into_iter().filter_map(|(is_so, state)| is_so.then_some(state)).collect(),
        }
    }
}

/// A directory of the caller before and after a call, from the top of its mount namespace, whatever the root directory
/// of the process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PathChange<'a> {
    /// Path before the call.
    pub before: Cow<'a, str>,
    /// All bytes of `before`, in which U+FFFD stands for bytes that are not UTF-8; absent if `before` is all UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before_base64: Option<Base64<'a>>,
    /// What is unusual about `before`, as in `root_state`; absent if nothing is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub before_state: Vec<PathState>,
    /// Path after the call, as in `root` or `cwd`.
    pub after: Cow<'a, str>,
    /// True if it is the same directory, which has another path: pivot_root moved what is around it, or another task
    /// renamed a directory. Absent otherwise.
    #[serde(default, skip_serializing_if = "super::fields::is_false")]
    #[cfg_attr(feature = "schema", schemars(extend("const" = true)))]
    pub same_directory: bool,
}

/// The change of a directory; `None` if it is the same one and has the same path.
pub(super) fn change(directory: Option<&Directory>) -> Option<PathChange<'_>> {
    let directory = directory.filter(|directory| directory.differs())?;
    let before = PathFields::from(&directory.before);
    Some(PathChange {
        before: before.path,
        before_base64: before.base64,
        before_state: before.state,
        after: directory.after.path.lossy(),
        same_directory: !directory.moved,
    })
}
