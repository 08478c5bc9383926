//! Which events are wanted, where the probe sees more than that.

use super::conditions::Conditions;
use super::hooks::Call;
use crate::model::{Operation, Event};

/// The wanted calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    calls: Vec<&'static str>,
    conditions: Conditions,
}

impl Filter {
    /// Events of these calls pass for which the conditions hold.
    #[must_use]
    pub fn new(calls: &[Call], conditions: &Conditions) -> Self {
        Self { calls: calls.iter().map(|call| call.name()).collect(), conditions: conditions.clone() }
    }

    /// Whether this one passes. A change of which the call is not known passes when one of those that it may have been
    /// is wanted.
    #[must_use]
    pub fn admits(&self, event: &Event) -> bool {
        self.admits_call(event) && self.conditions.admit(event)
    }

    fn admits_call(&self, event: &Event) -> bool {
        let wanted = |call: Call| self.calls.contains(&call.name());
        let Operation::Change { looks } = event.crossing else {
            return self.calls.contains(&event.crossing.name());
        };
        let moved = event.root.is_some();
        let is_new = looks.is_some_and(|looks| looks.is_new);
        wanted(Call::Unshare)
            || wanted(Call::Setns)
            || moved && (wanted(Call::Chroot) || wanted(Call::PivotRoot))
            || is_new && wanted(Call::Clone)
    }
}
