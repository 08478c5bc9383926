//! The names and versions of the JSON documents; each has its JSON Schema in `schema/NAME-VERSION.json`.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;

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

    /// The part of the version that a reader must know.
    #[must_use]
    pub fn major(&self) -> &'static str {
        self.version.split_once('.').map_or(self.version, |(major, _)| major)
    }

    /// True if a document of this name and version can be read as one of this schema.
    #[must_use]
    pub fn is_readable(&self, name: &str, version: &str) -> bool {
        name == self.name && version.split('.').next() == Some(self.major())
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

/// A type that is a whole document, or a line of a stream.
pub trait Document {
    /// Its name and version.
    const SCHEMA: Schema;
}

/// The field `schema` of a document. The generator puts the name of the document in place of the empty `const`, and
/// its major version into the empty pattern.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
pub struct SchemaName<'a> {
    /// Name of the schema.
    #[cfg_attr(feature = "schema", schemars(extend("const" = "")))]
    pub name: Cow<'a, str>,
    /// MAJOR.MINOR. MAJOR is incremented when a reader of the previous version could misread the new one, MINOR when
    /// something is added.
    #[cfg_attr(feature = "schema", schemars(extend("pattern" = "")))]
    pub version: Cow<'a, str>,
}

impl From<Schema> for SchemaName<'_> {
    fn from(Schema { name, version }: Schema) -> Self {
        Self { name: name.into(), version: version.into() }
    }
}
