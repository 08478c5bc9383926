//! Selects the requested events, if the source reports more.

use super::conditions::Conditions;
use super::hooks::Call;
use crate::model::{Event, Operation};

/// The requested calls and conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    calls: Vec<&'static str>,
    conditions: Conditions,
}

impl Filter {
    /// Accepts events of these calls that meet the conditions.
    #[must_use]
    pub fn new(calls: &[Call], conditions: &Conditions) -> Self {
        Self { calls: calls.iter().map(|call| call.name()).collect(), conditions: conditions.clone() }
    }

    /// True if this event is accepted. A change whose call is unknown is accepted if a call that may have caused it is
    /// requested.
    #[must_use]
    pub fn admits(&self, event: &Event) -> bool {
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
