//! Attempts of tenants to blind a trace or to forge its reports, on the real kernel: calls of others are reported all
//! the same, and no call that was not made.

use crate::support::abuse::{self, Abuse, INSIDE};
use crate::support::kernel::TASK_STORAGE;
use crate::support::stage::{Staged, wait};
use crate::support::tables::calls_under_way;
use crate::support::trace::each_plan;
use crate::support::tracing::Tracing;
use crate::support::{emulated, proc, skipped, wire};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, kill};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::File;
use std::time::{Duration, Instant};

/// Room of the table of calls in progress. Kernels with task storage have no such table.
const ROOM: u64 = 64;

/// More than it has room for.
const MANY: usize = 80;

/// Calls of somebody else.
const CALLS: usize = 20;

/// The abuse itself, in a process that the other tests start.
#[test]
fn abuse() {
    let _limit = crate::support::time_limit();
    abuse::run();
}

/// Makes [`CALLS`] calls that each change a namespace, and as many that change the root directory, in a thread of this
/// name.
fn make_calls(name: &str) {
    let calls = || {
        unshare(CloneFlags::CLONE_FS).expect("unshare");
        let [home, outside] = ["/proc/thread-self/ns/uts", "/"].map(|path| File::open(path).expect("a file"));
        for _ in 0..CALLS / 2 {
            unshare(CloneFlags::CLONE_NEWUTS).expect("root");
            setns(&home, CloneFlags::CLONE_NEWUTS).expect("root");
            nix::unistd::chroot("/proc").expect("root");
            nix::unistd::fchdir(&outside).expect("outside");
            nix::unistd::chroot(".").expect("root");
        }
    };
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(calls).expect("a thread");
    thread.join().expect("its calls succeed");
}

/// The events of a trace, and the number of calls that the kernel left out because a program was preempted, which it
/// counts.
struct Outcome {
    events: Vec<Value>,
    left_out: usize,
    /// Calls of [`INSIDE`] that were reported without what was before them.
    curtailed: u64,
}

impl Outcome {
    fn end(tracing: Tracing) -> Self {
        kill(tracing.pid(), Signal::SIGINT).expect("nsprobe runs");
        let ran = tracing.end();
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let lines = ran.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON"));
        let lines: Vec<Value> = lines.collect();
        let lost = lines.last().expect("an end")["totals"]["lost"].as_array().expect("a list");
        let at = |stage: &str| {
            let at = lost.iter().filter(|lost| lost["stage"] == stage);
            at.filter_map(|lost| lost["count"].as_u64()).sum::<u64>()
        };
        let (left_out, curtailed) = (at("recursion"), at("calls_full"));
        let stages = ["recursion", "calls_full"].map(Value::from);
        assert!(lost.iter().all(|lost| stages.contains(&lost["stage"])), "{lost:?}");
        for owner in lost.iter().filter_map(|lost| lost["owners"].as_array()).flatten() {
            assert_eq!(owner["uid"], INSIDE, "{lost:?}");
        }
        let events = lines.into_iter().filter(|line| line["type"] == "event").collect();
        Self { events, left_out: usize::try_from(left_out).expect("few"), curtailed }
    }

    /// The events of the caller with this name.
    fn of<'a>(&'a self, comm: &'a str) -> impl Iterator<Item = &'a Value> {
        self.events.iter().filter(move |event| event["process"]["comm"] == comm)
    }

    /// Checks that this many events of the caller with this name were reported, as far as the kernel ran the
    /// programs.
    fn expect(&self, comm: &str, found: usize, expected: usize) {
        assert!(found <= expected && found + self.left_out >= expected, "{comm}: {found} of {expected}");
    }
}

/// The report of abuse that ends by itself.
fn report_of(which: &str) -> String {
    let mut abuse = Abuse::start(which);
    let report = abuse.report();
    abuse.end();
    report
}

/// The numbers in a report.
fn numbers<const COUNT: usize>(report: &str) -> [usize; COUNT] {
    let numbers = report.split(' ').map(|number| number.parse().expect("a number"));
    numbers.collect::<Vec<_>>().try_into().expect("as many")
}

/// Whether it is known of a chroot what its argument was, and where the root directory was before.
fn is_whole(event: &Value) -> bool {
    event["args"]["path"].is_string() && event["root"].is_string()
}

fn changed(event: &Value, what: &str) -> bool {
    wire::changed(event).as_array().is_some_and(|changed| changed.iter().any(|name| name == what))
}

#[test]
fn calls_of_others_are_reported_whatever_a_tenant_leaves_behind() {
    let _limit = crate::support::time_limit();
    each_plan(|plan| {
        let tracing = Tracing::start(&["--source", plan, "--buffer", "16M", "--room", &ROOM.to_string()]);
        for which in [&format!("leave {MANY}"), "leave-exec 4", "stops", "exec 8", "exit 8"] {
            assert_eq!(report_of(which), "done");
            make_calls(&format!("w-{}", which.split(' ').next().unwrap_or_default()));
        }
        let [failed, changed_by_handler] = numbers(&report_of("signals 200"));
        assert!(changed_by_handler > 0, "no signal came");
        let mut standing = Abuse::start(&format!("stand {MANY}"));
        assert_eq!(standing.report(), "standing");
        make_calls("w-stand");
        // Killed while blocked.
        drop(standing);
        make_calls("w-killed");
        // Of calls that the table has room for, paths are kept.
        let mut inside = Abuse::start(&format!("inside {MANY}"));
        assert_eq!(inside.report(), "inside");
        make_calls("w-inside");
        drop(inside);
        make_calls("w-after");
        let is_empty = || (calls_under_way(tracing.pid()) == 0).then_some(());
        assert!(wait(is_empty).is_some(), "{} calls stay behind", calls_under_way(tracing.pid()));
        let outcome = Outcome::end(tracing);
        for name in ["w-leave", "w-stops", "w-exec", "w-exit", "w-stand", "w-killed", "w-inside", "w-after"] {
            outcome.expect(name, outcome.of(name).filter(|event| changed(event, "uts")).count(), CALLS);
            let moves = outcome.of(name).filter(|event| event["event"] == "chroot" && is_whole(event));
            outcome.expect(name, moves.count(), CALLS);
        }
        // Where calls have a table, these are more than its share of it.
        assert_eq!(outcome.curtailed > 0, !TASK_STORAGE.here(), "{} calls without paths", outcome.curtailed);
        // The children of vfork make calls while their parents are blocked in theirs.
        for call in ["clone", "unshare"] {
            let of_call = outcome.of("abuse-stand").filter(|event| event["event"] == call);
            outcome.expect("abuse-stand", of_call.count(), MANY);
        }
        // Killed in the middle, they have not returned.
        for name in ["abuse-exec", "abuse-exit"] {
            let returned = outcome.of(name).filter(|event| event["event"] != "clone").count();
            assert_eq!(returned, 0, "{name}");
            let begun = outcome.of(name).filter(|event| changed(event, "uts")).count();
            outcome.expect(name, begun, 8);
        }
        let of = |result: i64| outcome.of("abuse-signals").filter(move |event| event["result"] == result);
        outcome.expect("abuse-signals", of(-1).filter(|event| event["event"] == "setns").count(), failed);
        outcome.expect(
            "abuse-signals",
            of(0).filter(|event| changed(event, "uts")).count(),
            changed_by_handler,
        );
        outcome.expect("abuse-leave", outcome.of("abuse-leave").count(), MANY);
        // Its tasks make no successful call except clone.
        for event in outcome.of("abuse-stops") {
            assert!(event["event"] == "clone" || event["result"] == -1, "a forged event: {event}");
        }
    });
}

#[test]
fn what_a_call_did_is_what_has_changed() {
    let _limit = crate::support::time_limit();
    each_plan(|plan| {
        let tracing = Tracing::start(&["--source", plan, "--buffer", "16M"]);
        let [left] = numbers(&report_of("jail 40"));
        assert!(left > 5, "the descriptor was not swapped: {left}");
        let [of_uts, of_ipc] = numbers(&report_of("clone3 200"));
        assert!(of_uts > 0 && of_ipc > 0, "the flags were not swapped: {of_uts} and {of_ipc}");
        let [pivoted] = numbers(&report_of("pivot 40"));
        assert!(pivoted > 0, "no pivot_root succeeded");
        let led = report_of("memory 100");
        assert!(led.contains('a') && led.contains('b'), "the path was not swapped: {led}");
        let outcome = Outcome::end(tracing);
        for (slot, count) in [("uts", of_uts), ("ipc", of_ipc)] {
            let of_slot =
                outcome.of("abuse-clone3").filter(|event| event["event"] == "clone" && changed(event, slot));
            outcome.expect("abuse-clone3", of_slot.count(), count);
        }
        let moved =
            outcome.of("abuse-pivot").filter(|event| event["event"] == "pivot_root" && event["result"] == 0);
        outcome.expect("abuse-pivot", moved.filter(|event| changed(event, "root")).count(), pivoted);
        let escapes =
            outcome.of("abuse-jail").filter(|event| event["event"] == "setns" && changed(event, "root"));
        outcome.expect("abuse-jail", escapes.count(), left);
        let roots =
            outcome.of("abuse-memory").filter(|event| event["event"] == "chroot" && changed(event, "root"));
        let roots = roots.filter_map(|event| event["root"].as_str());
        let roots: String =
            roots.filter(|path| *path != "/").filter_map(|path| path.chars().last()).collect();
        assert!(roots == led || outcome.left_out > 0, "{roots}\n{led}");
        // The arguments are those of the entry, and marked so.
        let entered = outcome.of("abuse-jail").filter(|event| event["event"] == "setns");
        let seen: BTreeSet<Option<&str>> = entered.map(|event| event["args_seen"].as_str()).collect();
        // Where the kernel left out the program at the entry, the event says that.
        assert!(seen.contains(&None) && !seen.contains(&Some("return")), "{seen:?}");
        selected_by_what_it_changed(plan);
    });
}

/// Checks that `--kind` and `--ns` select setns by where it led, though its descriptor was for another namespace at the
/// entry of the call.
fn selected_by_what_it_changed(plan: &str) {
    let mut elsewhere = Staged::sh("exec unshare --net sleep 1000");
    let pid = elsewhere.wait_for("sleep");
    let ns = format!("net:[{}]", proc::namespace(pid, "net").expect("a namespace"));
    let args = ["--source", plan, "--kind", "net", "--ns", &ns, "--buffer", "16M"];
    let mut tracing = Tracing::start(&args);
    let (mut joined, mut seen, mut swapped) = (0, 0, 0);
    // Until one was replaced between the entry of a call and its use. On an emulated processor each round takes long.
    let rounds = if emulated() { 2 } else { 8 };
    for _ in 0..rounds {
        let [more] = numbers(&report_of(&format!("net {pid}")));
        assert!(more > 10, "the descriptor was not swapped: {more}");
        joined += more;
        // Until all are there, or the kernel has left out some.
        let end = Instant::now() + Duration::from_secs(5);
        while seen < joined && Instant::now() < end {
            let Some(line) = tracing.line_now() else {
                std::thread::sleep(Duration::from_millis(5));
                continue;
            };
            let event: Value = serde_json::from_str(&line).expect("JSON");
            let is_ours = event["process"]["comm"] == "abuse-net" && changed(&event, "net");
            seen += usize::from(is_ours);
            swapped += usize::from(is_ours && event["target"]["kind"] == "uts");
        }
        if swapped > 0 {
            break;
        }
    }
    let outcome = Outcome::end(tracing);
    let of_net = outcome.of("abuse-net").filter(|event| changed(event, "net"));
    outcome.expect("abuse-net", of_net.count(), joined);
    if swapped == 0 {
        skipped("no descriptor was replaced between the entry of setns and its use, as far as events show");
    }
    eprintln!("{plan}: {joined} joined a network namespace, {swapped} by a descriptor that was replaced");
}
