//! Facts that are the same in `list`, `tree` and `trace`, whatever namespaces nsprobe itself is in.

use crate::support::stage::Staged;
use crate::support::trace::Stream;
use crate::support::{nsprobe, proc, root, skipped};
use serde_json::{Value, json};
use std::process::Command;

/// The output of nsprobe with `args` in namespaces that unshare(1) makes by `flags`; `None` if they cannot be
/// created.
fn inside(flags: &[&str], args: &[&str]) -> Option<Vec<u8>> {
    let binary = nsprobe().get_program().to_owned();
    let ran = Command::new("unshare")
        .args(flags)
        .arg("--")
        .arg(binary)
        .args(args)
        .output()
        .expect("unshare starts");
    let stderr = String::from_utf8_lossy(&ran.stderr).into_owned();
    if stderr.contains("unshare:") {
        skipped(&stderr);
        return None;
    }
    assert!(ran.status.success(), "{stderr}");
    Some(ran.stdout)
}

#[test]
fn a_time_namespace_does_not_shift_when_processes_started() {
    let _limit = crate::support::time_limit();
    if !root() {
        return;
    }
    let mut staged = Staged::sh("exec unshare --uts sleep 1000");
    let pid = staged.wait_for("sleep");
    let started = proc::start_ticks(pid).expect("a process");
    // With a child that is in it, and without, where the program is in it or not, depending on the kernel.
    for flags in [&["--time", "--boottime", "1000000", "--fork"][..], &["--time", "--boottime", "1000000"]] {
        for source in ["proc", "auto"] {
            let args = ["list", "--json", "--source", source];
            let Some(list) = inside(flags, &args) else { return };
            let list: Value = serde_json::from_slice(&list).expect("JSON");
            let processes = list["processes"].as_array().expect("processes");
            let process = processes.iter().find(|process| process["pid"] == pid).expect("the staged one");
            assert_eq!(process["start_ticks"], started, "{flags:?} {source}");
        }
    }
    for source in ["auto", "perf"] {
        let args = [
            "trace",
            "--json",
            "--source",
            source,
            "--",
            "sh",
            "-c",
            "cat /proc/$$/stat >&2; exec unshare --uts true",
        ];
        let Some(trace) = inside(&["--time", "--boottime", "1000000", "--fork"], &args) else { return };
        let text = String::from_utf8(trace).expect("text");
        let stream =
            Stream::check(crate::support::Ran { code: Some(0), stdout: text, stderr: String::new() });
        let [event] =
            stream.events().filter(|event| event["changed"] == json!(["uts"])).collect::<Vec<_>>()[..]
        else {
            panic!("one unshare: {:?}", stream.lines)
        };
        let ticks = event["process"]["start_ticks"].as_u64();
        // It began after the staged one, and not a million seconds later.
        assert!(ticks.is_none_or(|ticks| (started..started + 1_000_000).contains(&ticks)), "{event}");
    }
}
