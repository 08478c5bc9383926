//! The lines of `nsprobe trace --json`.

mod args;
#[cfg(feature = "schema")]
mod conditions;
mod event;
mod fields;
mod lifecycle;
mod namespaces;
mod path;
mod process;
mod stream;
mod tag;
mod target;
mod text;

pub use args::{Args, ChrootArgs, FlagsArgs, PivotRootArgs, SetnsArgs};
pub use event::{Abi, ArgsSeen, Call, Denied, Event, Scans};
pub use lifecycle::{Created, Destroyed, KeyedNamespace};
pub use namespaces::{Change, Changed, Initial, Keys, Namespaces, Unsure, UnsureChange, initial};
pub use path::{PathChange, PathState};
pub use process::{Caller, Child};
pub use stream::{End, Host, Lost, LostCount, Owner, Rebuilt, Source, Start, Totals};
pub use target::{Target, TargetNamespace, TargetNamespaces, TargetProcess};

use crate::document::schemas::{self, Document, Schema};
use crate::document::values::Time;
use crate::model::{self, Body};
use serde::{Deserialize, Serialize};

/// One line of the stream, a JSON object. The first line is `start` and the last is `end`; between them are `event`,
/// `created`, `destroyed`, `lost` and `rebuilt` lines. A field of the same name has the same type in all lines. Null
/// means unknown. A field is absent if it does not apply, to the call or to its result, or if what it would mark is not
/// so; the description of the field says when. An empty array or object is known to be empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(title = "A line of nsprobe trace --json")
)]
#[serde(untagged)]
pub enum Line<'a> {
    /// The first line.
    Start(Box<Start<'a>>),
    /// An event.
    Event(Box<Event<'a>>),
    /// A namespace was created, or is seen for the first time.
    Created(Created<'a>),
    /// A namespace ended.
    Destroyed(Destroyed<'a>),
    /// Events were lost.
    Lost(Lost<'a>),
    /// The result of a resync after a loss.
    Rebuilt(Rebuilt<'a>),
    /// The last line.
    End(End<'a>),
}

impl Document for Line<'_> {
    const SCHEMA: Schema = schemas::TRACE;
}

impl<'a> Line<'a> {
    /// The line, on a machine with these initial namespaces.
    #[must_use]
    pub fn new(line: &'a model::Line, initial: &Initial) -> Self {
        let (time, seq) = (Time(line.time), line.seq);
        match &line.body {
            Body::Start(start) => Self::Start(Box::new(Start::new(time, seq, start))),
            Body::Event(event) => Self::Event(Box::new(Event::new(time, seq, event, initial))),
            Body::Created(created) => Self::Created(Created::new(time, seq, created)),
            Body::Destroyed(destroyed) => Self::Destroyed(Destroyed::new(time, seq, destroyed)),
            Body::Lost(loss) => Self::Lost(Lost::new(time, seq, loss)),
            Body::Rebuilt(rebuilt) => Self::Rebuilt(Rebuilt::new(time, seq, rebuilt)),
            Body::End(end) => Self::End(End::new(time, seq, end)),
        }
    }
}
