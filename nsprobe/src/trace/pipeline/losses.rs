//! The losses that one output has received reports of, by stage.

use crate::model::{Loss, Lost, Stage};
use crate::trace::losers;
use std::time::SystemTime;

/// The losses so far, all reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Losses {
    began: SystemTime,
    stages: Vec<Counted>,
    /// The number of events that the output did not take.
    unwritten: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Counted {
    lost: Lost,
    /// The time of the last count.
    time: SystemTime,
    /// The number of the last line at that time.
    seq: u64,
}

impl Losses {
    /// No losses, for a stream that begins at `now`.
    pub(super) const fn new(now: SystemTime) -> Self {
        Self { began: now, stages: Vec::new(), unwritten: 0 }
    }

    /// Counts events that were not written.
    pub(super) const fn unwritten(&mut self, count: u64) {
        self.unwritten += count;
    }

    /// Takes the losses `counted` since the stream began, at `now`, after the line `seq`; returns the new ones.
    pub(super) fn news(&mut self, counted: &[Lost], now: SystemTime, seq: u64) -> Vec<Loss> {
        let mut news = Vec::new();
        for counted in counted {
            let stage = counted.stage;
            let at = self.stages.iter().position(|known| known.lost.stage == stage).unwrap_or_else(|| {
                self.stages.push(Counted { lost: Lost::at(stage, 0), time: self.began, seq: 0 });
                self.stages.len() - 1
            });
            let known = &mut self.stages[at];
            if counted.count > known.lost.count {
                let lost = losers::news(counted, &known.lost);
                news.push(Loss { lost, since: known.time, after_seq: known.seq });
                known.lost = counted.clone();
            }
            (known.time, known.seq) = (now, seq);
        }
        news
    }

    /// The total losses.
    pub(super) fn totals(&self) -> Vec<Lost> {
        let sink = Lost::at(Stage::Sink, self.unwritten);
        let all = self.stages.iter().map(|stage| stage.lost.clone()).chain([sink]);
        all.filter(|lost| lost.count > 0).collect()
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
        assert_eq!(losses.news(&[lost(Stage::FollowFull, 0), lost(Stage::Decode, 0)], at(2), 3), []);
        assert!(losses.totals().is_empty());
        let news = losses.news(&[lost(Stage::FollowFull, 0), lost(Stage::Decode, 2)], at(4), 5);
        assert_eq!(news, [loss(Stage::Decode, 2, 2, 3)]);
        assert_eq!(losses.news(&[lost(Stage::FollowFull, 0), lost(Stage::Decode, 2)], at(6), 7), []);
        assert_eq!(losses.news(&[lost(Stage::DeniedFull, 1)], at(6), 7).len(), 1);
        // A stage that was never counted before.
        let three =
            [loss(Stage::FollowFull, 5, 6, 7), loss(Stage::Decode, 1, 6, 7), loss(Stage::Recursion, 1, 1, 0)];
        let counted = [lost(Stage::FollowFull, 5), lost(Stage::Decode, 3), lost(Stage::Recursion, 1)];
        assert_eq!(losses.news(&counted, at(8), 9), three);
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
