//! Which events are wanted, where the probe sees more than that.

use super::hooks::Call;
use crate::model::Event;

/// The wanted calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(Vec<&'static str>);

impl Filter {
    /// Events of these calls pass.
    #[must_use]
    pub fn new(calls: &[Call]) -> Self {
        Self(calls.iter().map(|call| call.name()).collect())
    }

    /// Whether this one passes.
    #[must_use]
    pub fn admits(&self, event: &Event) -> bool {
        self.0.contains(&event.crossing.name())
    }
}
