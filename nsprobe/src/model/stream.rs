//! The lines of `trace`, and what the stream says of itself.

use crate::model::{Created, Destroyed, Event, Life, NsKind, Text};
use std::borrow::Cow;
use std::time::SystemTime;

/// One line of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its number: 0 for the first, one more for each that follows, so that a reader sees what it missed.
    pub seq: u64,
    /// When: for an event the moment it happened, else the moment of writing. From the clock that also runs
    /// in suspend, as the wall clock stood at the stream's start: it never steps back.
    pub time: SystemTime,
    /// What.
    pub body: Body,
}

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// The stream begins.
    Start(StreamStart),
    /// Something happened.
    Event(Box<Event>),
    /// A namespace was made, or is seen for the first time.
    Created(Created),
    /// A namespace ended.
    Destroyed(Destroyed),
    /// Something happened that nobody will hear of.
    Lost(Loss),
    /// What a loss had made wrong is right again, or could not be put right yet.
    Rebuilt(Rebuilt),
    /// The stream ends.
    End(StreamEnd),
}

/// The first record of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamStart {
    /// The id of the stream, which no other has: with it and its number a line is named for ever.
    pub stream: String,
    /// nsprobe's version.
    pub version: &'static str,
    /// The kernel's release, as uname(2) has it.
    pub kernel: String,
    /// The machine.
    pub host: Host,
    /// The initial namespace of each kind; `None` where it is not known.
    pub namespaces: Vec<(NsKind, Option<Life>)>,
    /// How the events are obtained.
    pub hooks: Hooks,
}

/// A machine, and the time since it was started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// The host name in the uts namespace that nsprobe is in.
    pub name: Option<Text>,
    /// What `/etc/machine-id` says.
    pub machine_id: Option<String>,
    /// A random id of this boot of the machine: `/proc/sys/kernel/random/boot_id`.
    pub boot_id: Option<String>,
}

/// How the events are obtained, and why that way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hooks {
    /// The plan's name: `functions`, `tracepoints`, `perf`, or `poll`.
    pub plan: &'static str,
    /// Why this plan.
    pub reason: String,
    /// What was attached, each as `fentry/ksys_unshare` or `tp_btf/task_newtask`.
    pub attached: Vec<String>,
    /// What this plan cannot report on this kernel, and why; empty when nothing is missing.
    pub missing: Vec<String>,
    /// What this plan reports on no kernel.
    pub unseen: Vec<String>,
    /// What every system call of the machine pays, whoever makes it; `None`: nothing.
    pub cost: Option<&'static str>,
}

/// Events that were lost a while ago.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Where, and how many.
    pub lost: Lost,
    /// They happened after this, when the losses of this place were counted before, and before the line's own time.
    pub since: SystemTime,
    /// The number of the line that was the last one then.
    pub after_seq: u64,
}

/// What was put right after a loss.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// In the account of namespaces; `None` where none is kept.
    pub namespaces: Option<Changes>,
    /// Tasks that descend from those that are followed, and were not followed; `None` where none are followed.
    pub followed: Option<u64>,
    /// What could not be put right, and why; it is tried again as long as the stream goes on.
    pub failed: Option<String>,
}

/// What had become wrong in the account of namespaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Namespaces told of that have ended meanwhile: a line before this tells each.
    pub ended: u64,
    /// Namespaces that were not known: a line before this tells each.
    pub found: u64,
}

/// A number of events that were lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Where.
    pub stage: &'static str,
    /// How many.
    pub count: u64,
    /// Whose they were, as far as that is known; the others are the rest of `count`.
    pub owners: Vec<Owner>,
}

impl Lost {
    /// So many that were lost at this stage, of nobody in particular.
    #[must_use]
    pub const fn at(stage: &'static str, count: u64) -> Self {
        Self { stage, count, owners: Vec::new() }
    }

    /// The owners who lost most, at most so many of them, the first ahead.
    #[must_use]
    pub fn worst(&self, most: usize) -> Vec<&Owner> {
        let mut owners: Vec<&Owner> = self.owners.iter().collect();
        owners.sort_by_key(|owner| std::cmp::Reverse(owner.count));
        owners.truncate(most);
        owners
    }
}

/// Who lost events, and how many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The user that they were charged to, as the initial user namespace numbers it.
    pub uid: u32,
    /// The control group that they were charged to; `None` where there are none, or it lies too deep.
    pub cgroup: Option<OwnerCgroup>,
    /// How many.
    pub count: u64,
}

/// A control group of the hierarchy of version 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerCgroup {
    /// Its id.
    pub id: u64,
    /// Its path; `None` when it is gone or cannot be found.
    pub path: Option<Text>,
}

/// The last record of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamEnd {
    /// The id of the stream, as the first record has it.
    pub stream: String,
    /// Why it ended, in words.
    pub reason: Cow<'static, str>,
    /// What was counted.
    pub totals: Totals,
}

/// Counts over a whole stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Events emitted.
    pub events: u64,
    /// Events lost, by stage; stages without a loss are left out.
    pub lost: Vec<Lost>,
    /// Events that came too late to be put in order: their time is before that of an earlier line.
    pub late: u64,
    /// Events on which the filter expression could not be evaluated: they have no line.
    pub unevaluated: u64,
}
