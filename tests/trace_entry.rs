//! Calls whose entry a trace has not seen.

use crate::support::abuse::inside::{Withheld, call_at};
use crate::support::stage::wait;
use crate::support::trace::{Stream, each_plan};
use crate::support::tracing::Tracing;
use crate::support::wire::{after, before};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};
use std::fs::{read_to_string, write};
use std::sync::mpsc::channel;

/// The name by which a trace selects its callers, and another one.
const SELECTED: &str = "entry-missed";
const OTHER: &str = "entry-other";

/// Calls chroot with the path on each of these pages, under the name [`OTHER`] when a call begins; at last, under the name
/// that it has by then, with a path that is there.
fn call_with(pages: [usize; 3]) {
    unshare(CloneFlags::CLONE_FS).expect("unshare");
    for page in pages {
        write("/proc/thread-self/comm", OTHER).expect("its own name");
        call_at(libc::SYS_chroot, page);
    }
    nix::unistd::chroot("/").expect("root");
}

#[test]
fn a_call_whose_entry_was_not_seen_is_reported_by_functions_and_says_so() {
    let _limit = crate::support::time_limit();
    each_plan(|plan| {
        let withheld = Withheld::new(3);
        let pages = [0, 1, 2].map(|page| withheld.page(page));
        let (begin, begun) = channel();
        let caller = std::thread::spawn(move || {
            begin.send(nix::unistd::gettid()).expect("the test waits");
            call_with(pages);
        });
        let tid = begun.recv().expect("it begins");
        let file = |name: &str| format!("/proc/self/task/{tid}/{name}");
        let inside = |page: usize| {
            let call = format!("161 {page:#x} ");
            let is_inside = || read_to_string(file("syscall")).is_ok_and(|text| text.starts_with(&call));
            assert!(wait(|| is_inside().then_some(())).is_some(), "it does not stand in chroot");
            write(file("comm"), SELECTED).expect("a name");
        };
        // Begun before the trace.
        inside(pages[0]);
        let tracing = Tracing::start(&["--source", plan, "--comm", SELECTED]);
        withheld.supply(0, b"/");
        // Begun by who was not selected then.
        for (page, path) in [(1, &b"/nowhere"[..]), (2, b"/")] {
            inside(pages[page]);
            withheld.supply(page, path);
        }
        caller.join().expect("it ends");
        kill(tracing.pid(), Signal::SIGINT).expect("nsprobe is there");
        let stream = Stream::check(tracing.end());
        let unseen = &stream.lines[0]["source"]["unseen"];
        assert!(unseen.to_string().contains("began before the trace"), "{unseen}");
        let of_event = |event: &Value| json!([event["result"], event["args_seen"], event["args"]["path"]]);
        let found: Vec<Value> = stream.events().map(of_event).collect();
        let with_entry = json!([0, null, "/"]);
        // By tracepoints a return without an entry is none: a tracer may have made it up.
        if plan == "tracepoints" {
            assert_eq!(found, [with_entry]);
            return;
        }
        let missed = |result: i64, path: &str| json!([result, "entry_missed", path]);
        assert_eq!(found, [missed(-1, "/nowhere"), missed(0, "/"), with_entry]);
        let events: Vec<&Value> = stream.events().collect();
        assert!(events.iter().take(2).all(|event| event["duration_ns"].is_null()), "{events:?}");
        // Where it failed nothing has changed.
        assert_eq!((&events[0]["changed"], events[0].get("unsure")), (&json!({}), None));
        assert!(before(events[0], "mnt").is_u64(), "{}", events[0]);
        assert!(before(events[1], "mnt").is_null() && after(events[1], "mnt").is_u64(), "{}", events[1]);
        assert!(events[1].get("root").is_none() && events[1]["changed"] == json!({}), "{}", events[1]);
    });
}
