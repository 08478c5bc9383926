//! Events that were lost, by the place where it happened.

use crate::kernel::probe::Probe;
use crate::kernel::ring::Counters;
use crate::model::Lost;
use nsprobe_ebpf::Counter;
use std::io;

/// A place where events get lost: its name in the output.
const STAGES: [&str; 6] =
    ["ring_full", "pending_full", "follow_full", "namespaces_full", "recursion", "decode"];
const RECURSION: usize = 4;
const DECODE: usize = 5;

/// What was lost so far, and what of that was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    seen: [u64; STAGES.len()],
    told: [u64; STAGES.len()],
}

impl Losses {
    /// A record was not understood.
    pub const fn undecoded(&mut self) {
        self.seen[DECODE] += 1;
    }

    /// Takes the probe's counters.
    pub fn count(&mut self, counters: &Counters) -> io::Result<()> {
        for counter in Counter::ALL {
            self.seen[counter as usize] = counters.read(counter)?;
        }
        Ok(())
    }

    /// Takes what the kernel counts of the programs. Costs a file a program: for the end.
    pub fn count_recursion(&mut self, probe: &Probe) {
        self.seen[RECURSION] = probe.recursion_misses();
    }

    /// What came since the last time.
    pub fn news(&mut self) -> Vec<Lost> {
        let since = |index: usize| self.seen[index].saturating_sub(self.told[index]);
        let news = lost(since);
        self.told = self.seen;
        news
    }

    /// All that was lost.
    #[must_use]
    pub fn totals(&self) -> Vec<Lost> {
        lost(|index| self.seen[index])
    }
}

fn lost(count: impl Fn(usize) -> u64) -> Vec<Lost> {
    let all = STAGES.into_iter().enumerate().map(|(index, stage)| Lost { stage, count: count(index) });
    all.filter(|lost| lost.count > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_are_told_once_and_add_up() {
        let mut losses = Losses::default();
        assert_eq!(losses.news(), []);
        losses.undecoded();
        losses.undecoded();
        assert_eq!(losses.news(), [Lost { stage: "decode", count: 2 }]);
        assert_eq!(losses.news(), []);
        losses.undecoded();
        losses.seen[Counter::FollowFull as usize] = 5;
        let two = [Lost { stage: "follow_full", count: 5 }, Lost { stage: "decode", count: 1 }];
        assert_eq!(losses.news(), two);
        let all = [Lost { stage: "follow_full", count: 5 }, Lost { stage: "decode", count: 3 }];
        assert_eq!(losses.totals(), all);
    }
}
