//! Under kernel lockdown nsprobe does what the kernel permits, and reports what it forbids: kernel_lockdown(7).
//! `cargo xtask vm --lockdown MODE` boots kernels with it.

use crate::doctor::diagnosis;
use crate::support::trace::Stream;
use crate::support::{self, json, skipped};
use serde_json::Value;
use std::process::Command;

/// The mode in force, read without nsprobe; `None` if the kernel has no lockdown.
fn mode() -> Option<String> {
    let script = "mount -t securityfs securityfs /mnt && cat /mnt/lockdown";
    let output = Command::new("unshare").args(["--mount", "sh", "-c", script]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    Some(text.split_once('[')?.1.split_once(']')?.0.to_owned())
}

fn row<'a>(document: &'a Value, subject: &str) -> &'a Value {
    let mut checks = document["checks"].as_array().unwrap().iter();
    checks.find(|check| check["subject"] == subject).unwrap()
}

#[test]
fn what_lockdown_forbids_is_reported_and_the_rest_works() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let Some(mode) = mode() else { return skipped("the kernel has no lockdown") };
    let document = diagnosis();
    let lockdown = row(document, "lockdown");
    let begins = if mode == "none" { "off" } else { &mode };
    assert!(lockdown["finding"].as_str().unwrap().starts_with(begins), "{mode}: {lockdown}");

    // Advice to change it is given only if it forbids something.
    let forbids = mode == "confidentiality" && row(document, "fentry")["verdict"] != "good";
    assert_eq!(lockdown["verdict"] == "good", !forbids, "{document}");
    assert_eq!(lockdown["remedy"].is_null(), !forbids, "{document}");
    assert!(!document.to_string().contains("sudo"), "{document}");
    for subject in ["fentry", "tracepoints"] {
        let finding = row(document, subject)["finding"].as_str().unwrap();
        assert!(!forbids || finding.contains("lockdown"), "{subject}: {finding}");
    }

    let list = json(&["list", "--json"]);
    let own = support::orphans::inode(&std::fs::read_link("/proc/self/ns/net").unwrap());
    let is_listed = list["namespaces"].as_array().unwrap().iter().any(|ns| ns["ino"] == own);
    assert!(is_listed, "{}", list["gaps"]);
    assert!(!list["gaps"].to_string().contains("sudo"), "{}", list["gaps"]);

    let stream = Stream::record(&["--all", "--", "unshare", "--uts", "sleep", "0.1"]);
    let plan = stream.lines[0]["source"]["name"].as_str().unwrap();
    let finding = row(document, "trace")["finding"].as_str().unwrap();
    assert!(finding.starts_with(&format!("takes {plan}: ")), "{plan}: {finding}");
    assert!(mode == "none" || !forbids || plan == "perf", "{plan}");
    let is_change = |line: &&Value| line["changed"].get("uts").is_some();
    assert!(stream.lines.iter().any(|line| is_change(&line)), "{:?}", stream.lines);
}
