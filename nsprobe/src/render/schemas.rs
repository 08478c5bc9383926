//! The names and versions of the JSON documents; each has its JSON Schema in `schema/NAME-VERSION.json`.

use serde::Serialize;

/// Name and version of a JSON document's shape. The version's first number changes when a reader of the
/// old shape could misread the new one, the second when something is added.
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

/// What `list` writes.
pub const LIST: Schema = Schema::new("nsprobe.list", "1.0");
/// What `tree` writes.
pub const TREE: Schema = Schema::new("nsprobe.tree", "1.0");
/// What `diff` writes.
pub const DIFF: Schema = Schema::new("nsprobe.diff", "1.0");
/// The lines that `trace` writes.
pub const TRACE: Schema = Schema::new("nsprobe.trace", "1.0");
/// What `doctor` writes.
pub const DOCTOR: Schema = Schema::new("nsprobe.doctor", "1.0");

/// All of them.
pub const ALL: [Schema; 5] = [LIST, TREE, DIFF, TRACE, DOCTOR];
