//! Which events are wanted, where the probe sees more than that.

use super::hooks::Call;
use crate::model::{Crossing, Event};

/// The wanted calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(Vec<&'static str>);

impl Filter {
    /// Events of these calls pass.
    #[must_use]
    pub fn new(calls: &[Call]) -> Self {
        Self(calls.iter().map(|call| call.name()).collect())
    }

    /// Whether this one passes. A change of which the call is not known passes when one of those that it may have been
    /// is wanted.
    #[must_use]
    pub fn admits(&self, event: &Event) -> bool {
        let wanted = |call: Call| self.0.contains(&call.name());
        let Crossing::Change { looks } = event.crossing else {
            return self.0.contains(&event.crossing.name());
        };
        let moved = event.root.is_some();
        let is_new = looks.is_some_and(|looks| looks.is_new);
        wanted(Call::Unshare)
            || wanted(Call::Setns)
            || moved && (wanted(Call::Chroot) || wanted(Call::PivotRoot))
            || is_new && wanted(Call::Clone)
    }
}
