//! nsprobe lists the Linux namespaces of a machine, their members and holders, and traces the calls that change
//! namespaces. Most people want the program, `nsprobe`; this is the library below it.
//!
//! A snapshot has every namespace that could be found, and says what could not be read. Without privileges it covers
//! the processes of the caller:
//!
//! ```
//! use nsprobe::{NsKind, SnapshotOptions};
//!
//! let snapshot = nsprobe::snapshot(&SnapshotOptions::default())?;
//! for namespace in snapshot.namespaces.iter().filter(|namespace| namespace.id.kind == NsKind::Net) {
//!     match namespace.leader.and_then(|pid| snapshot.process(pid)) {
//!         Some(leader) => println!("{}: led by {} (process {})", namespace.id, leader.comm, leader.pid),
//!         None => println!("{}: no process is in it, held by {:?}", namespace.id, namespace.holders),
//!     }
//! }
//! for gap in &snapshot.gaps {
//!     eprintln!("not known: {}", gap.reason);
//! }
//! # assert!(snapshot.namespaces.iter().any(|namespace| namespace.id.kind == NsKind::Net));
//! # Ok::<(), nsprobe::SnapshotError>(())
//! ```
//!
//! A trace reports each call that changes a namespace. It takes the best source that is permitted, down to scans of
//! `/proc`, which need no privileges and see only what lasts; the first line says which:
//!
//! ```
//! use nsprobe::{Body, TraceOptions};
//! use std::ops::ControlFlow;
//! use std::time::Duration;
//!
//! let options = TraceOptions { duration: Some(Duration::from_millis(200)), ..TraceOptions::default() };
//! let end = nsprobe::trace(&options, |line| {
//!     match &line.body {
//!         Body::Start(start) => println!("by {}", start.source.name),
//!         Body::Event(event) => println!("{} {}: {:?}", event.process.pid, event.process.comm, event.operation),
//!         Body::Lost(loss) => eprintln!("{} events lost: {}", loss.lost.count, loss.lost.stage),
//!         _ => {}
//!     }
//!     ControlFlow::Continue(())
//! })?;
//! println!("{} events", end.totals.events);
//! # assert_eq!(end.reason, "duration");
//! # Ok::<(), nsprobe::TraceError>(())
//! ```
//!
//! # Stability
//!
//! The contract is the JSON of `nsprobe list --json`, `tree --json`, `diff --json`, `doctor --json` and `trace --json`,
//! with its schemas. What is documented here follows the version number, and may change with every 0.x. Modules that are
//! hidden from this documentation are there for nsprobe's own tests, and may change at any time.

#[doc(hidden)]
pub mod cli;
#[doc(hidden)]
pub mod diff;
#[doc(hidden)]
pub mod discover;
#[doc(hidden)]
pub mod doctor;
pub mod document;
#[doc(hidden)]
pub mod filter;
#[doc(hidden)]
pub mod kernel;
pub mod model;
#[doc(hidden)]
pub mod render;
#[doc(hidden)]
pub mod trace;

pub use discover::{CommandLines, Error as SnapshotError, Options as SnapshotOptions, snapshot};
pub use filter::{Error as FilterError, EventRow, Fields, Filter};
pub use model::{Body, Event, Line, Namespace, NsId, NsKind, Process, Snapshot, StreamEnd};
pub use trace::conditions::Conditions;
pub use trace::hooks::{Call, Plan};
pub use trace::options::Options as TraceOptions;
pub use trace::plan::Choice;
pub use trace::{TraceError, trace};
