//! Selects the requested events.
//!
//! With BPF, the probe has checked the same conditions before it sent an event, and this is the second time. It is done
//! for every event of every source all the same, because a source may report more than was requested: with
//! `--lifecycle` the probe sends every call, for the tracker; sources without BPF know no conditions.

use crate::model::{Event, Operation};
use crate::trace::conditions::Conditions;
use crate::trace::hooks::Call;

/// The requested calls and conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    calls: Vec<&'static str>,
    conditions: Conditions,
}

impl Filter {
    /// Accepts events of these calls that meet the conditions.
    pub(super) fn new(calls: &[Call], conditions: &Conditions) -> Self {
        Self { calls: calls.iter().map(|call| call.name()).collect(), conditions: conditions.clone() }
    }

    /// True if this event is accepted. A change whose call is unknown is accepted if a call that may have caused it is
    /// requested.
    pub(super) fn admits(&self, event: &Event) -> bool {
        self.admits_call(event) && self.conditions.admit(event)
    }

    fn admits_call(&self, event: &Event) -> bool {
        let wanted = |call: Call| self.calls.contains(&call.name());
        let Operation::Change { scans } = event.operation else {
            return self.calls.contains(&event.operation.name());
        };
        let moved = event.root.is_some();
        let is_new = scans.is_some_and(|scans| scans.is_new);
        wanted(Call::Unshare)
            || wanted(Call::Setns)
            || moved && (wanted(Call::Chroot) || wanted(Call::PivotRoot))
            || is_new && wanted(Call::Clone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Directory, ResolvedPath, Scans};
    use crate::trace::record::tests::event;
    use std::time::Duration;

    #[test]
    fn event_needs_a_requested_call_and_the_conditions() {
        let unshare = event(7, Operation::Unshare { flags: 0 });
        let admits = |calls: &[Call], pids: Vec<u32>| {
            Filter::new(calls, &Conditions { pids, ..Conditions::default() }).admits(&unshare)
        };
        assert!(admits(&[Call::Clone, Call::Unshare], vec![]) && admits(&Call::ALL, vec![6, 7]));
        assert!(!admits(&[Call::Clone, Call::Setns], vec![]) && !admits(&Call::ALL, vec![6]));
    }

    #[test]
    fn change_is_admitted_with_the_calls_that_may_have_caused_it() {
        let admitting = |event: &Event| {
            let admits = |call: &Call| Filter::new(&[*call], &Conditions::default()).admits(event);
            Call::ALL.into_iter().filter(admits).map(Call::name).collect::<Vec<_>>()
        };
        let change = |scans| event(7, Operation::Change { scans });
        assert_eq!(admitting(&change(None)), ["unshare", "setns"]);
        let scans = |is_new| Some(Scans { within: Duration::ZERO, is_new });
        assert_eq!(admitting(&change(scans(false))), ["unshare", "setns"]);
        assert_eq!(admitting(&change(scans(true))), ["clone", "unshare", "setns"]);
        let path = ResolvedPath::default();
        let root = Some(Directory { moved: true, before: path.clone(), after: path });
        let moved = Event { root, ..change(None) };
        assert_eq!(admitting(&moved), ["unshare", "setns", "chroot", "pivot_root"]);
    }
}
