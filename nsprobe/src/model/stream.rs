//! The lines of `trace`, and the stream's data about itself.

use crate::model::{Created, Destroyed, Event, NsKey, NsKind, Stage, Text};
use std::borrow::Cow;
use std::time::SystemTime;

/// One line of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its sequence number: 0 for the first line, then one more each, so that a reader notices missing lines. With
    /// several sinks, it is the same in each; those of lines that a sink does not get are missing there.
    pub seq: u64,
    /// Its time: of an event the time it happened, else the time of writing. From the clock that also runs in suspend,
    /// offset to wall time at the stream's start: it never steps back.
    pub time: SystemTime,
    /// Its content.
    pub body: Body,
}

/// The content of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// The stream begins.
    Start(StreamStart),
    /// An event.
    Event(Box<Event>),
    /// A namespace was created, or is seen for the first time.
    Created(Created),
    /// A namespace ended.
    Destroyed(Destroyed),
    /// Events were lost.
    Lost(Loss),
    /// The result of a resync after a loss.
    Rebuilt(Rebuilt),
    /// The stream ends.
    End(StreamEnd),
}

/// The first record of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamStart {
    /// The id of the stream, unique: with the sequence number it identifies a line for good.
    pub stream: String,
    /// nsprobe's version.
    pub version: &'static str,
    /// The kernel's release, as uname(2) has it.
    pub kernel: String,
    /// The machine.
    pub host: Host,
    /// The initial namespace of each kind; `None` if unknown.
    pub namespaces: Vec<(NsKind, Option<NsKey>)>,
    /// The source of the events.
    pub source: EventSource,
}

/// A machine, and its current boot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// The host name in nsprobe's uts namespace.
    pub name: Option<Text>,
    /// The content of `/etc/machine-id`.
    pub machine_id: Option<String>,
    /// A random id of this boot of the machine: `/proc/sys/kernel/random/boot_id`.
    pub boot_id: Option<String>,
}

/// The source of the events, and the reason for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventSource {
    /// The value of `--source`: `fentry`, `fprobes`, `tracepoints`, `perf`, or `proc`.
    pub name: &'static str,
    /// The reason for this source.
    pub reason: String,
    /// The attached hooks, each as `fentry/ksys_unshare` or `tp_btf/task_newtask`.
    pub attached: Vec<String>,
    /// Data that this source cannot report on this kernel, and why; empty if nothing is missing.
    pub missing: Vec<String>,
    /// Data that this source cannot report on any kernel.
    pub unseen: Vec<String>,
    /// The cost to every system call of the machine, whoever makes it; `None` if there is none.
    pub cost: Option<&'static str>,
}

/// Events that were lost recently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The stage, and the number of events.
    pub lost: Lost,
    /// The previous count of this stage: the events were lost between it and the line's own time.
    pub since: SystemTime,
    /// The sequence number of the last line at that time.
    pub after_seq: u64,
}

/// The result of a resync after a loss.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// Changes to the table of namespaces; `None` without one.
    pub namespaces: Option<Changes>,
    /// Descendants of the followed tasks that had not been followed; `None` if no tasks are followed.
    pub followed: Option<u64>,
    /// Errors; the resync is retried while the stream lasts.
    pub failed: Option<String>,
}

/// Changes to the table of namespaces by a resync.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Reported namespaces that have ended meanwhile: an earlier line reports each.
    pub ended: u64,
    /// Namespaces that were not known: an earlier line reports each.
    pub found: u64,
}

/// The number of events lost at a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The stage.
    pub stage: Stage,
    /// The number of events.
    pub count: u64,
    /// The owners of the events, as far as known; the rest of `count` is of others.
    pub owners: Vec<Owner>,
}

impl Lost {
    /// A number of events lost at a stage, without owners.
    #[must_use]
    pub const fn at(stage: Stage, count: u64) -> Self {
        Self { stage, count, owners: Vec::new() }
    }

    /// The owners with the most lost events, up to `most`, in descending order.
    #[must_use]
    pub fn worst(&self, most: usize) -> Vec<&Owner> {
        let mut owners: Vec<&Owner> = self.owners.iter().collect();
        owners.sort_by_key(|owner| std::cmp::Reverse(owner.count));
        owners.truncate(most);
        owners
    }
}

/// The owner of lost events, and their number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The user to whom they were charged, in the initial user namespace.
    pub uid: u32,
    /// The control group to which they were charged; `None` without control groups, or if it is nested too deep.
    pub cgroup: Option<OwnerCgroup>,
    /// The number of events.
    pub count: u64,
}

/// A control group of the version 2 hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerCgroup {
    /// Its id.
    pub id: u64,
    /// Its path; `None` if the group is gone or cannot be found.
    pub path: Option<Text>,
}

/// The last record of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamEnd {
    /// The id of the stream, as in the first record.
    pub stream: String,
    /// The reason for the end, in words.
    pub reason: Cow<'static, str>,
    /// The totals.
    pub totals: Totals,
}

/// Counts over a whole stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Events emitted.
    pub events: u64,
    /// Events lost, by stage; stages without a loss are omitted.
    pub lost: Vec<Lost>,
    /// Events that arrived too late for reordering: their time is before that of an earlier line.
    pub late: u64,
    /// Events for which the filter expression could not be evaluated: they have no line.
    pub unevaluated: u64,
}
