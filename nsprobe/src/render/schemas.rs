//! The names and versions of the JSON documents; each has its JSON Schema in `schema/NAME-VERSION.json`.

use serde::Serialize;

/// Name and version of a JSON document's shape. The version's first number changes when a reader of the old shape
/// could misread the new one, the second when something is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Schema {
    /// The document's name.
    pub name: &'static str,
    /// `MAJOR.MINOR`.
    pub version: &'static str,
}

impl Schema {
    const fn new(name: &'static str, version: &'static str) -> Self {
        Self { name, version }
    }
}

/// The document of `list`.
pub const LIST: Schema = Schema::new("nsprobe.list", "1.0");
/// The document of `tree`.
pub const TREE: Schema = Schema::new("nsprobe.tree", "1.0");
/// The document of `diff`.
pub const DIFF: Schema = Schema::new("nsprobe.diff", "1.0");
/// The lines of `trace`.
pub const TRACE: Schema = Schema::new("nsprobe.trace", "1.0");
/// The document of `doctor`.
pub const DOCTOR: Schema = Schema::new("nsprobe.doctor", "1.0");

/// All schemas.
pub const ALL: [Schema; 5] = [LIST, TREE, DIFF, TRACE, DOCTOR];
