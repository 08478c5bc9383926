//! Lost events, by stage.

use super::losers;
use crate::model::{Loss, Lost, Stage};
use std::time::SystemTime;

/// The losses so far, all reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Losses {
    began: SystemTime,
    stages: Vec<Counted>,
    /// The number of events that the output did not take.
    unwritten: u64,
    /// True if a loss has not been followed by a resync.
    needs_resync: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Counted {
    lost: Lost,
    /// The time of the last count, and the number of the last line at that time.
    counted: (SystemTime, u64),
}

impl Losses {
    /// No losses, for a stream that begins at `now`.
    #[must_use]
    pub const fn new(now: SystemTime) -> Self {
        Self { began: now, stages: Vec::new(), unwritten: 0, needs_resync: false }
    }

    /// Counts events that were not written.
    pub const fn unwritten(&mut self, count: u64) {
        self.unwritten += count;
    }

    /// Takes the losses `counted` by a source since it began, at `now`, after the line `seq`; returns the new ones.
    pub fn news(&mut self, counted: Vec<Lost>, now: SystemTime, seq: u64) -> Vec<Loss> {
        let mut news = Vec::new();
        for counted in counted {
            let stage = counted.stage;
            let at = self.stages.iter().position(|known| known.lost.stage == stage).unwrap_or_else(|| {
                self.stages.push(Counted { lost: Lost::at(stage, 0), counted: (self.began, 0) });
                self.stages.len() - 1
            });
            let known = &mut self.stages[at];
            if counted.count > known.lost.count {
                let (since, after_seq) = known.counted;
                news.push(Loss { lost: losers::news(&counted, &known.lost), since, after_seq });
                known.lost = counted;
            }
            known.counted = (now, seq);
        }
        self.needs_resync |= news.iter().any(|loss| invalidates(loss.lost.stage));
        news
    }

    /// True if a loss has not been followed by a resync.
    #[must_use]
    pub const fn needs_resync(&self) -> bool {
        self.needs_resync
    }

    /// Marks the losses so far as followed by a resync.
    pub const fn mark_resynced(&mut self) {
        self.needs_resync = false;
    }

    /// Marks a failed resync.
    pub const fn mark_failed(&mut self) {
        self.needs_resync = true;
    }

    /// True if nothing was ever lost at this stage.
    #[must_use]
    pub fn none_at(&self, stage: Stage) -> bool {
        self.stages.iter().all(|known| known.lost.stage != stage || known.lost.count == 0)
    }

    /// The total losses.
    #[must_use]
    pub fn totals(&self) -> Vec<Lost> {
        let sink = Lost::at(Stage::Sink, self.unwritten);
        let all = self.stages.iter().map(|stage| stage.lost.clone()).chain([sink]);
        all.filter(|lost| lost.count > 0).collect()
    }
}

/// True if a loss at this stage invalidates the known namespaces and tasks. A call stopped by seccomp does not affect
/// later ones, events that the output had no room for were processed before, and the namespaces of a call without room
/// are known.
#[must_use]
pub const fn invalidates(stage: Stage) -> bool {
    match stage {
        Stage::DeniedFull
        | Stage::DeniedUnread
        | Stage::OutputFull
        | Stage::OutputFullLifecycle
        | Stage::Sink
        | Stage::CallsFull => false,
        Stage::RingFull
        | Stage::Share
        | Stage::PendingFull
        | Stage::FollowFull
        | Stage::NamespacesFull
        | Stage::Recursion
        | Stage::PerfRingFull
        | Stage::Decode => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn losses_are_reported_once_and_add_up() {
        let at = |second| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        let lost = Lost::at;
        let loss =
            |stage, count, second, after_seq| Loss { lost: lost(stage, count), since: at(second), after_seq };
        let mut losses = Losses::new(at(1));
        assert_eq!(losses.news(vec![lost(Stage::FollowFull, 0), lost(Stage::Decode, 0)], at(2), 3), []);
        assert!(losses.totals().is_empty() && !losses.needs_resync());
        let news = losses.news(vec![lost(Stage::FollowFull, 0), lost(Stage::Decode, 2)], at(4), 5);
        assert_eq!(news, [loss(Stage::Decode, 2, 2, 3)]);
        assert!(losses.needs_resync() && losses.none_at(Stage::FollowFull) && !losses.none_at(Stage::Decode));
        losses.mark_resynced();
        assert_eq!(losses.news(vec![lost(Stage::FollowFull, 0), lost(Stage::Decode, 2)], at(6), 7), []);
        assert!(!losses.needs_resync());
        assert_eq!(losses.news(vec![lost(Stage::DeniedFull, 1)], at(6), 7).len(), 1);
        assert!(!losses.needs_resync());
        // A stage that was never counted before.
        let three =
            [loss(Stage::FollowFull, 5, 6, 7), loss(Stage::Decode, 1, 6, 7), loss(Stage::Recursion, 1, 1, 0)];
        let counted = vec![lost(Stage::FollowFull, 5), lost(Stage::Decode, 3), lost(Stage::Recursion, 1)];
        assert_eq!(losses.news(counted, at(8), 9), three);
        losses.unwritten(4);
        let totals = [
            lost(Stage::FollowFull, 5),
            lost(Stage::Decode, 3),
            lost(Stage::DeniedFull, 1),
            lost(Stage::Recursion, 1),
            lost(Stage::Sink, 4),
        ];
        assert_eq!(losses.totals(), totals);
    }
}
