//! Completes events with what is known of the machine: whatever no source can know belongs here, one [`Enricher`] for
//! each fact. The conditions and filters after it see the result.

use crate::kernel::cgroups;
use crate::model::{Event, Operation};
use crate::trace::TraceError;

/// Adds a fact to events, or takes one back.
pub(super) trait Enricher {
    /// Changes the event accordingly.
    fn enrich(&mut self, event: &mut Event);
}

/// All enrichers that have something to do on this machine, in order.
pub(super) struct Enrichment(Vec<Box<dyn Enricher>>);

impl Enrichment {
    /// Finds out what there is to do on this machine.
    pub(super) fn of_this_machine() -> Result<Self, TraceError> {
        Ok(Self::new(cgroups::is_hierarchy_mounted().map_err(TraceError::Proc)?))
    }

    /// Those for a machine with control groups that users see, or without.
    pub(super) fn new(has_cgroups: bool) -> Self {
        let mut enrichers: Vec<Box<dyn Enricher>> = Vec::new();
        if !has_cgroups {
            enrichers.push(Box::new(NoCgroups));
        }
        Self(enrichers)
    }

    /// Changes the event by all of them.
    pub(super) fn enrich(&mut self, event: &mut Event) {
        for enricher in &mut self.0 {
            enricher.enrich(event);
        }
    }
}

/// Removes control groups: without a hierarchy of version 2 the kernel has every task at its root, which nobody sees.
struct NoCgroups;

impl Enricher for NoCgroups {
    fn enrich(&mut self, event: &mut Event) {
        event.process.cgroup = None;
        if let Operation::Clone { child: Some(child), .. } = &mut event.operation {
            child.cgroup = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Caller, Cgroup, CloneChild};
    use crate::trace::record::tests::event;

    #[test]
    fn control_groups_need_a_hierarchy() {
        let root = || Some(Cgroup { id: 1, path: b"/".to_vec().into(), cut: false, is_requested: false });
        let child = CloneChild { pid: 8, tid: 8, pids: vec![8], ppid: Some(7), cgroup: root() };
        let operation = Operation::Clone { flags: Some(0), child: Some(child.clone()) };
        let process = Caller { cgroup: root(), ..Caller::new(7, 7) };
        let event = Event { process, ..event(7, operation) };
        let enriched = |has_cgroups| {
            let mut event = event.clone();
            Enrichment::new(has_cgroups).enrich(&mut event);
            event
        };
        assert_eq!(enriched(true), event);
        let child = CloneChild { cgroup: None, ..child };
        let expected = Event {
            process: Caller::new(7, 7),
            operation: Operation::Clone { flags: Some(0), child: Some(child) },
            ..event.clone()
        };
        assert_eq!(enriched(false), expected);
    }
}
