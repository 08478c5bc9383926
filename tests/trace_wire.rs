//! The form of `trace --json`: few bytes, and types that read what they write.

use crate::support::stage::NamedNetns;
use crate::support::trace::{Stream, each_source, one_plan};
use nsprobe::document::trace;
use serde_json::Value;

/// The number of bytes of a line without the texts in it that others decide: names, paths and arguments.
fn frame(event: &Value) -> usize {
    let text = |value: &Value| value.as_str().map_or(0, str::len);
    let process = &event["process"];
    let arguments = process["arguments"].as_array().expect("arguments").iter().map(text).sum::<usize>();
    let texts = [
        &process["comm"],
        &process["exe"],
        &process["cgroup"],
        &event["target"]["path"],
        &event["root"],
        &event["cwd"],
    ];
    event.to_string().len() - arguments - texts.into_iter().map(text).sum::<usize>()
}

#[test]
fn a_setns_takes_720_bytes_and_its_texts() {
    let _limit = crate::support::time_limit();
    one_plan(|plan| {
        let named = NamedNetns::add();
        let join = format!("--net={}", named.path());
        let stream = Stream::record(&["--source", plan, "--", "nsenter", &join, "true"]);
        let [event] = stream.of("setns")[..] else { panic!("one setns: {}", stream.stderr) };
        assert_eq!(event["namespaces"]["net"], named.ino());
        // Written 26 November 2026: 694 with five digits in each pid, where it was 1,700.
        let bytes = frame(event);
        assert!(bytes <= 720, "{bytes}: {event}");
    });
}

#[test]
fn lines_are_read_as_they_were_written() {
    let _limit = crate::support::time_limit();
    each_source(|source| {
        let named = NamedNetns::add();
        let script = format!(
            "unshare --uts --net true; nsenter --net={} true; chroot / true; chroot /nowhere true
             unshare --user --map-root-user --fork --pid true; pivot_root / /; true",
            named.path()
        );
        let args = ["--lifecycle", "--source", source, "--", "sh", "-c", &script];
        let stream = Stream::record(if source == "proc" { &args[1..] } else { &args });
        for line in &stream.lines {
            let read: trace::Line<'_> = serde_json::from_value(line.clone()).expect("a line");
            assert_eq!(serde_json::to_value(&read).expect("JSON"), *line);
        }
    });
}
