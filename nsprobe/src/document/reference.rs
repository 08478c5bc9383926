//! References between the namespaces of a document.

use super::word::Word;
use crate::model::{NsId, NsKind};
use serde::{Deserialize, Serialize};

/// A reference to a namespace, which may be described elsewhere in the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NamespaceRef {
    /// Kind of namespace, as in namespaces(7).
    pub kind: Word<NsKind>,
    /// Inode of the namespace's nsfs file, as in `net:[4026531833]`.
    pub ino: u64,
}

impl From<NsId> for NamespaceRef {
    fn from(id: NsId) -> Self {
        Self { kind: Word(id.kind), ino: id.ino }
    }
}

impl NamespaceRef {
    /// The namespace; `dev` is the device of nsfs, which references leave out.
    #[must_use]
    pub const fn id(self, dev: u64) -> NsId {
        NsId::new(self.kind.0, dev, self.ino)
    }
}
