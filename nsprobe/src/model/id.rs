//! The identity of a namespace at one moment.

use crate::model::NsKind;
use std::fmt;

/// A namespace's identity at one moment: its kind, and the device and inode of its file.
///
/// The kernel reuses inodes within milliseconds of a namespace's end, so equal ids taken at different times may refer
/// to different namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NsId {
    /// The kind.
    pub kind: NsKind,
    /// Inode in nsfs, the number in `net:[4026531833]`.
    pub ino: u64,
    /// Device number (`st_dev`) of nsfs: one for the whole machine.
    pub dev: u64,
}

impl NsId {
    /// The identity of the namespace of `kind` with inode `ino` on the nsfs device `dev`.
    #[must_use]
    pub const fn new(kind: NsKind, dev: u64, ino: u64) -> Self {
        Self { kind, ino, dev }
    }
}

/// The text of the links in `/proc/PID/ns/`: `net:[4026531833]`.
impl fmt::Display for NsId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:[{}]", self.kind, self.ino)
    }
}
