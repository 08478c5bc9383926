//! Events that were lost, by the place where it happened.

use super::losers;
use crate::model::{Loss, Lost};
use std::time::SystemTime;

/// Where namespaces are lost whose end will not be told.
pub(super) const UNWATCHED: &str = "namespaces_full";

/// What was lost so far, all of which was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Losses {
    began: SystemTime,
    stages: Vec<Stage>,
    /// What the output did not take.
    unwritten: u64,
    /// Something was lost that nobody has made good yet.
    unhealed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Stage {
    lost: Lost,
    /// When it was counted the last time, and the number of the line that was the last one then.
    counted: (SystemTime, u64),
}

impl Losses {
    /// None, of a stream that begins `now`.
    #[must_use]
    pub const fn new(now: SystemTime) -> Self {
        Self { began: now, stages: Vec::new(), unwritten: 0, unhealed: false }
    }

    /// So many events were not written.
    pub const fn unwritten(&mut self, count: u64) {
        self.unwritten += count;
    }

    /// Takes what a source has `counted` since it began, `now`, after the line `seq`, and gives what of that is new.
    pub fn news(&mut self, counted: Vec<Lost>, now: SystemTime, seq: u64) -> Vec<Loss> {
        let mut news = Vec::new();
        for counted in counted {
            let stage = counted.stage;
            let at = self.stages.iter().position(|known| known.lost.stage == stage).unwrap_or_else(|| {
                self.stages.push(Stage { lost: Lost::at(stage, 0), counted: (self.began, 0) });
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
        self.unhealed |= news.iter().any(|loss| heals(loss.lost.stage));
        news
    }

    /// Whether something was lost and not made good.
    #[must_use]
    pub const fn unhealed(&self) -> bool {
        self.unhealed
    }

    /// What was lost is made good.
    pub const fn heal(&mut self) {
        self.unhealed = false;
    }

    /// Making it good failed.
    pub const fn worsen(&mut self) {
        self.unhealed = true;
    }

    /// Whether nothing was ever lost at this stage.
    #[must_use]
    pub fn none_at(&self, stage: &str) -> bool {
        self.stages.iter().all(|known| known.lost.stage != stage || known.lost.count == 0)
    }

    /// All that was lost.
    #[must_use]
    pub fn totals(&self) -> Vec<Lost> {
        let sink = Lost::at("sink", self.unwritten);
        let all = self.stages.iter().map(|stage| stage.lost.clone()).chain([sink]);
        all.filter(|lost| lost.count > 0).collect()
    }
}

/// Whether a loss at this stage makes wrong what is known of namespaces and tasks. Of a call that seccomp stopped nothing
/// follows for those after it, what the output has no room for has been taken into account, and of a call without room the
/// namespaces are known.
#[must_use]
pub fn heals(stage: &str) -> bool {
    !stage.starts_with("denied_") && !stage.starts_with("output_") && stage != "calls_full"
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn news_are_told_once_and_add_up() {
        let at = |second| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        let lost = Lost::at;
        let loss =
            |stage, count, second, after_seq| Loss { lost: lost(stage, count), since: at(second), after_seq };
        let mut losses = Losses::new(at(1));
        assert_eq!(losses.news(vec![lost("follow_full", 0), lost("decode", 0)], at(2), 3), []);
        assert!(losses.totals().is_empty() && !losses.unhealed());
        let news = losses.news(vec![lost("follow_full", 0), lost("decode", 2)], at(4), 5);
        assert_eq!(news, [loss("decode", 2, 2, 3)]);
        assert!(losses.unhealed() && losses.none_at("follow_full") && !losses.none_at("decode"));
        losses.heal();
        assert_eq!(losses.news(vec![lost("follow_full", 0), lost("decode", 2)], at(6), 7), []);
        assert!(!losses.unhealed());
        assert_eq!(losses.news(vec![lost("denied_full", 1)], at(6), 7).len(), 1);
        assert!(!losses.unhealed());
        // One that was never counted before.
        let three = [loss("follow_full", 5, 6, 7), loss("decode", 1, 6, 7), loss("recursion", 1, 1, 0)];
        let counted = vec![lost("follow_full", 5), lost("decode", 3), lost("recursion", 1)];
        assert_eq!(losses.news(counted, at(8), 9), three);
        losses.unwritten(4);
        let totals = [
            lost("follow_full", 5),
            lost("decode", 3),
            lost("denied_full", 1),
            lost("recursion", 1),
            lost("sink", 4),
        ];
        assert_eq!(losses.totals(), totals);
    }
}
