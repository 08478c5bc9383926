//! Plain data: namespaces, processes, snapshots and events.
//!
//! All findings of nsprobe are put into these types, and all output comes from them. Nothing here reads a file, makes a
//! system call or formats a report.

mod arguments;
mod capability;
mod check;
mod difference;
mod errno;
mod event;
mod flags;
mod gap;
mod holder;
mod id;
mod kind;
mod lifecycle;
mod namespace;
mod origin;
mod process;
mod snapshot;
mod stage;
mod stream;
pub mod text;

pub use arguments::Arguments;
pub use capability::capability_names;
pub use check::{Check, Verdict};
pub use difference::{Difference, Moved, Side, Unseen, VisibilityChange};
pub use errno::{errno_name, errno_text};
pub use event::{
    Caller, Cgroup, CloneChild, Directory, Event, Operation, Outcome, PathText, ResolvedPath, Scans, Seen,
    SetnsTarget,
};
pub use flags::kinds_of_unshare;
pub use gap::{Gap, GapKind};
pub use id::NsId;
pub use kind::{NsKind, NsSlot, Slots, UnknownKind};
pub use lifecycle::{Created, Destroyed, Mark, NsKey, Origination, SlotMarks};
pub use namespace::{HeldBy, Holder, Initial, Namespace, NetnsId, Searched, Source, TcpState};
pub use origin::{Origin, Taken};
pub use process::{Pid, Process, Root};
pub use snapshot::{ProcessSource, Snapshot};
pub use stage::Stage;
pub use stream::{
    Body, Changes, EventSource, Host, Line, Loss, Lost, Owner, OwnerCgroup, Rebuilt, StreamEnd, StreamStart,
    Totals,
};
pub use text::Text;
