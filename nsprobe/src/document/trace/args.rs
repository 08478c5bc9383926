//! The arguments of a call.

use super::path::{PathFields, PathState};
use super::text::Flag;
use crate::document::values::Base64;
use crate::model::{Operation, PathText, ResolvedPath, Text};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// The arguments of a call. A field of the same name has the same meaning and type for all calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
#[serde(untagged)]
pub enum Args<'a> {
    /// Of pivot_root.
    PivotRoot(Box<PivotRootArgs<'a>>),
    /// Of chroot.
    Chroot(ChrootArgs<'a>),
    /// Of setns.
    Setns(SetnsArgs<'a>),
    /// Of clone and unshare.
    Flags(FlagsArgs<'a>),
}

/// Arguments of clone and unshare.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FlagsArgs<'a> {
    /// Names of the flags, in ascending order of their bits; bits without a name come last, as one hexadecimal number.
    /// CLONE_EMPTY_MNTNS (Linux 7.1) of a new task comes with the CLONE_NEWNS that the kernel adds. Null if unknown
    /// (always with perf).
    #[serde(deserialize_with = "super::fields::nullable")]
    pub flags: Option<Vec<Flag<'a>>>,
}

/// Arguments of setns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SetnsArgs<'a> {
    /// File descriptor.
    pub fd: i32,
    /// Second argument (`nstype`): the requested kinds, as CLONE_NEW… flags; empty if it is 0, for any kind.
    pub flags: Vec<Flag<'a>>,
}

/// Arguments of chroot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ChrootArgs<'a> {
    /// Path that the caller passed to the kernel. Null if it could not be read from the caller's memory.
    #[serde(deserialize_with = "super::fields::nullable")]
    pub path: Option<Cow<'a, str>>,
    /// All bytes of `path`, in which U+FFFD stands for bytes that are not UTF-8; absent if `path` is all UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_base64: Option<Base64<'a>>,
    /// True if this is only the beginning of the path; absent otherwise.
    #[serde(default, skip_serializing_if = "super::fields::is_false")]
    #[cfg_attr(feature = "schema", schemars(extend("const" = true)))]
    pub path_cut: bool,
}

/// Arguments of pivot_root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PivotRootArgs<'a> {
    /// Path of the new root that the caller passed to the kernel. Null if it could not be read from the caller's memory.
    #[serde(deserialize_with = "super::fields::nullable")]
    pub new_root: Option<Cow<'a, str>>,
    /// All bytes of `new_root`, in which U+FFFD stands for bytes that are not UTF-8; absent if `new_root` is all UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_root_base64: Option<Base64<'a>>,
    /// True if this is only the beginning of the path; absent otherwise.
    #[serde(default, skip_serializing_if = "super::fields::is_false")]
    #[cfg_attr(feature = "schema", schemars(extend("const" = true)))]
    pub new_root_cut: bool,
    /// Path of that directory before the call, from the top of its mount namespace. Null if unknown: the call failed
    /// before the kernel resolved both arguments, or the source is neither fentry nor fprobes (tracepoints report it
    /// only for `.`).
    pub new_root_resolved: Option<Cow<'a, str>>,
    /// All bytes of `new_root_resolved`, in which U+FFFD stands for bytes that are not UTF-8; absent if it is all UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_root_resolved_base64: Option<Base64<'a>>,
    /// What is unusual about `new_root_resolved`; absent if nothing is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub new_root_resolved_state: Vec<PathState>,
    /// Path to which the old root moves, as the caller passed it to the kernel. Null if it could not be read from the
    /// caller's memory.
    pub put_old: Option<Cow<'a, str>>,
    /// All bytes of `put_old`, in which U+FFFD stands for bytes that are not UTF-8; absent if `put_old` is all UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub put_old_base64: Option<Base64<'a>>,
    /// True if this is only the beginning of the path; absent otherwise.
    #[serde(default, skip_serializing_if = "super::fields::is_false")]
    #[cfg_attr(feature = "schema", schemars(extend("const" = true)))]
    pub put_old_cut: bool,
    /// Path of that directory before the call, as `new_root_resolved`.
    pub put_old_resolved: Option<Cow<'a, str>>,
    /// All bytes of `put_old_resolved`, in which U+FFFD stands for bytes that are not UTF-8; absent if it is all UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub put_old_resolved_base64: Option<Base64<'a>>,
    /// What is unusual about `put_old_resolved`; absent if nothing is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub put_old_resolved_state: Vec<PathState>,
}

/// The three fields of a path that a caller passed.
fn passed(path: &PathText) -> (Option<Cow<'_, str>>, Option<Base64<'_>>, bool) {
    let (path, cut) = match path {
        PathText::Whole(path) => (Some(path), false),
        PathText::Cut(path) => (Some(path), true),
        PathText::Unreadable => (None, false),
    };
    (path.map(Text::lossy), path.and_then(Base64::of), cut)
}

/// The three fields of a path that the kernel resolved.
fn resolved(path: Option<&ResolvedPath>) -> (Option<Cow<'_, str>>, Option<Base64<'_>>, Vec<PathState>) {
    let Some(path) = path else { return (None, None, Vec::new()) };
    let PathFields { path, base64, state } = path.into();
    (Some(path), base64, state)
}

impl<'a> Args<'a> {
    /// The arguments; `None` if the call is unknown.
    pub(super) fn new(operation: &'a Operation) -> Option<Self> {
        Some(match operation {
            Operation::Change { .. } => return None,
            Operation::Clone { .. } | Operation::Unshare { .. } => {
                Self::Flags(FlagsArgs { flags: flags(operation) })
            }
            Operation::Setns { fd, .. } => {
                Self::Setns(SetnsArgs { fd: *fd, flags: flags(operation).unwrap_or_default() })
            }
            Operation::Chroot { path } => {
                let (path, path_base64, path_cut) = passed(path);
                Self::Chroot(ChrootArgs { path, path_base64, path_cut })
            }
            Operation::PivotRoot { new_root, put_old, new_root_at, put_old_at } => {
                let (new_root, new_root_base64, new_root_cut) = passed(new_root);
                let (put_old, put_old_base64, put_old_cut) = passed(put_old);
                let (new_root_resolved, new_root_resolved_base64, new_root_resolved_state) =
                    resolved(new_root_at.as_ref());
                let (put_old_resolved, put_old_resolved_base64, put_old_resolved_state) =
                    resolved(put_old_at.as_ref());
                Self::PivotRoot(Box::new(PivotRootArgs {
                    new_root,
                    new_root_base64,
                    new_root_cut,
                    new_root_resolved,
                    new_root_resolved_base64,
                    new_root_resolved_state,
                    put_old,
                    put_old_base64,
                    put_old_cut,
                    put_old_resolved,
                    put_old_resolved_base64,
                    put_old_resolved_state,
                }))
            }
        })
    }
}

/// The names of an operation's flags.
fn flags<'a>(operation: &Operation) -> Option<Vec<Flag<'a>>> {
    operation.flag_names().map(|names| names.into_iter().map(|name| Flag(name.into())).collect())
}
