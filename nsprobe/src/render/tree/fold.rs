//! Folding: processes that the process tree counts instead of showing.

use super::boundary::Boundary;
use super::draw::{Node, Span};
use super::forest::Forest;
use crate::model::{Process, Snapshot};
use crate::render::style::{self, TextStyle};

/// Processes that are counted instead of shown.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Folded {
    /// The number of them.
    pub processes: u64,
    /// The number of those whose namespaces were not readable.
    pub unreadable: u64,
}

impl Folded {
    /// Counts one process.
    pub fn one(process: &Process) -> Self {
        Self { processes: 1, unreadable: u64::from(process.namespaces.is_none()) }
    }

    /// Adds those counted by `other`.
    pub const fn add(&mut self, other: Self) {
        self.processes += other.processes;
        self.unreadable += other.unreadable;
    }

    /// The line that stands for them.
    pub fn node(self, text_style: TextStyle) -> Node {
        let ellipsis = if text_style.unicode { "…" } else { "..." };
        let count = format!("{ellipsis} {}", super::processes(self.processes));
        let text = match self.unreadable {
            0 => String::new(),
            n if n == self.processes => "(namespaces not readable)".to_owned(),
            n => format!("(namespaces of {n} not readable)"),
        };
        let head = vec![Span::new(style::DIM, count)];
        Node { head, tail: Span::new(style::WARNING, text), ..Node::default() }
    }
}

/// The processes that are folded into a count.
pub(super) struct Folds {
    pub folded: Vec<bool>,
    /// For each process that is shown: those folded below it.
    pub below: Vec<Folded>,
    /// Those folded at the top: processes whose parent the reader cannot see.
    pub top: Folded,
}

impl Folds {
    /// Folds nothing.
    pub fn none(forest: &Forest) -> Self {
        let n = forest.parent.len();
        Self { folded: vec![false; n], below: vec![Folded::default(); n], top: Folded::default() }
    }

    /// Folds every subtree without a boundary in it.
    pub fn new(snapshot: &Snapshot, forest: &Forest, boundaries: &[Boundary<'_>]) -> Self {
        let mut folds = Self::none(forest);
        let mut subtree: Vec<Folded> = snapshot.processes.iter().map(Folded::one).collect();
        let mut notable: Vec<bool> = boundaries.iter().map(Boundary::is_any).collect();
        for &i in forest.order.iter().rev() {
            if let Some(parent) = forest.parent[i] {
                notable[parent] |= notable[i];
                let below = subtree[i];
                subtree[parent].add(below);
            }
        }
        for &i in &forest.order {
            let parent = forest.parent[i];
            // A process that has no parent by design is always shown.
            let top = parent.is_none() && snapshot.processes[i].ppid == 0;
            if notable[i] || top {
                continue;
            }
            folds.folded[i] = true;
            match parent {
                Some(parent) if folds.folded[parent] => {}
                Some(parent) => folds.below[parent].add(subtree[i]),
                None => folds.top.add(subtree[i]),
            }
        }
        // A count of one is not shorter than the process itself.
        for &i in &forest.order {
            let around = match forest.parent[i] {
                Some(parent) if folds.folded[parent] => continue,
                Some(parent) => &mut folds.below[parent],
                None => &mut folds.top,
            };
            if folds.folded[i] && around.processes == 1 {
                folds.folded[i] = false;
                *around = Folded::default();
            }
        }
        folds
    }
}
