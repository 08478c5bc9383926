//! A source for tests.

use super::Source;
use crate::model::{EventSource, Lost};
use crate::trace::record::SourceItem;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Instant;

/// A source of these items.
pub struct ScriptedSource {
    pub items: VecDeque<SourceItem>,
    description: EventSource,
    descriptor: File,
}

impl ScriptedSource {
    pub fn new(items: impl IntoIterator<Item = SourceItem>) -> Self {
        let items = items.into_iter().collect();
        Self { items, description: description(), descriptor: File::open("/dev/null").unwrap() }
    }
}

/// Describes a source that has no hooks.
pub fn description() -> EventSource {
    EventSource {
        name: "none",
        reason: String::new(),
        attached: vec![],
        missing: vec![],
        unseen: vec![],
        cost: None,
    }
}

impl Source for ScriptedSource {
    fn description(&self) -> &EventSource {
        &self.description
    }

    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.descriptor.as_fd()]
    }

    fn due(&self) -> Option<Instant> {
        (!self.items.is_empty()).then(Instant::now)
    }

    fn room(&self) -> usize {
        20
    }

    fn next(&mut self) -> io::Result<Option<SourceItem>> {
        Ok(self.items.pop_front())
    }

    fn losses(&mut self) -> io::Result<Vec<Lost>> {
        Ok(Vec::new())
    }

    fn finish(&mut self) -> io::Result<usize> {
        Ok(self.items.len())
    }
}
