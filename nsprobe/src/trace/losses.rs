//! Events that were lost, by the place where it happened.

use crate::model::Lost;

/// What was lost so far, all of which was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losses(Vec<Lost>);

impl Losses {
    /// Takes what a source has `counted` since it began, and gives what of that is new.
    pub fn news(&mut self, counted: Vec<Lost>) -> Vec<Lost> {
        let mut news = Vec::new();
        for Lost { stage, count } in counted {
            let at = self.0.iter().position(|told| told.stage == stage).unwrap_or_else(|| {
                self.0.push(Lost { stage, count: 0 });
                self.0.len() - 1
            });
            let told = &mut self.0[at].count;
            if count > *told {
                news.push(Lost { stage, count: count - *told });
                *told = count;
            }
        }
        news
    }

    /// All that was lost.
    #[must_use]
    pub fn totals(&self) -> Vec<Lost> {
        self.0.iter().filter(|lost| lost.count > 0).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_are_told_once_and_add_up() {
        let lost = |stage, count| Lost { stage, count };
        let mut losses = Losses::default();
        assert_eq!(losses.news(vec![lost("follow_full", 0), lost("decode", 0)]), []);
        assert_eq!(losses.totals(), []);
        assert_eq!(losses.news(vec![lost("follow_full", 0), lost("decode", 2)]), [lost("decode", 2)]);
        assert_eq!(losses.news(vec![lost("follow_full", 0), lost("decode", 2)]), []);
        let two = [lost("follow_full", 5), lost("decode", 1)];
        assert_eq!(losses.news(vec![lost("follow_full", 5), lost("decode", 3)]), two);
        assert_eq!(losses.totals(), [lost("follow_full", 5), lost("decode", 3)]);
    }
}
