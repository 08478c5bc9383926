//! Builder of a snapshot: what its steps have found so far. Each step is a method in the file of its source, and adds
//! to the index what it finds and to the gaps what it could not read.

use super::context::Context;
use super::gaps::Gaps;
use super::index::NamespaceIndex;
use super::opener::Opener;
use super::visibility;
use super::whereabouts::Whereabouts;
use crate::kernel::rtnetlink::Rtnetlink;
use crate::model::{Process, ProcessSource, Snapshot};

/// The findings of the steps of a snapshot, and the means to query namespaces.
pub(super) struct Builder {
    pub(super) context: Context,
    /// Sorted by pid.
    pub(super) processes: Vec<Process>,
    /// The findings about those whose namespaces may not be read.
    pub(super) whereabouts: Whereabouts,
    pub(super) index: NamespaceIndex,
    pub(super) gaps: Gaps,
    pub(super) opener: Opener,
    /// Without it (a kernel without network), no namespace has a netns id.
    pub(super) rtnetlink: Option<Rtnetlink>,
}

impl Builder {
    /// Begins with the processes, sorted by pid, and their namespaces.
    pub(super) fn new(context: Context, processes: Vec<Process>, gaps: Gaps) -> Self {
        Self {
            whereabouts: Whereabouts::default(),
            index: NamespaceIndex::take(&processes),
            gaps,
            opener: Opener::new(&context),
            rtnetlink: Rtnetlink::open().ok(),
            context,
            processes,
        }
    }

    /// Counts as members the processes whose namespaces may not be read, as far as other files show them.
    pub(super) fn add_unreadable(&mut self) {
        self.whereabouts = Whereabouts::find(&self.context, &self.processes);
        self.index.count(&self.whereabouts.inside);
    }

    /// Returns the snapshot, without command lines.
    pub(super) fn finish(self, processes_from: ProcessSource) -> Snapshot {
        let (mut namespaces, gaps) = (self.index.finish(), self.gaps.finish());
        visibility::mark(&mut namespaces, &gaps, &self.whereabouts);
        Snapshot { namespaces, processes: self.processes, gaps, processes_from }
    }
}
