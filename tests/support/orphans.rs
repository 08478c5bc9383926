//! Namespaces without processes, and nsprobe's reports of them.

use super::stage::wait;
use super::{json, proc, run};
use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// Runs `make` in a thread with its own namespaces, which ends; returns the inode of its network namespace.
pub fn in_ended_thread<T: Send + 'static>(make: fn() -> T) -> (u64, T) {
    let run = move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("unshare in a thread");
        (inode(&fs::read_link("/proc/thread-self/ns/net").expect("a namespace")), make())
    };
    std::thread::spawn(run).join().expect("the thread ends well")
}

/// The inode in `net:[4026531833]`.
pub fn inode(link: &Path) -> u64 {
    let text = link.to_str().unwrap();
    text.split_once(":[")
        .and_then(|(_, rest)| rest.strip_suffix(']'))
        .and_then(|ino| ino.parse().ok())
        .unwrap()
}

/// Finds one namespace in the list, at a moment when no nsprobe of another test has it open.
pub fn find(kind: &str, ino: u64) -> Value {
    let looked_at = |holder: &Value| {
        let pid = holder["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
        pid.is_some_and(|pid| proc::comm(pid).is_none_or(|comm| comm == "nsprobe"))
    };
    let find = || {
        let document = json(&["list", "--json", "--ns", &format!("{kind}:[{ino}]")]);
        assert_eq!(document["namespaces"].as_array().unwrap().len(), 1);
        let ns = document["namespaces"][0].clone();
        let is_quiet = !ns["holders"].as_array().unwrap().iter().any(looked_at);
        // If all processes are readable, the number of its members is known; except while another test blocks the
        // reading of one.
        (is_quiet && (ns["nprocs"] == ns["nprocs_seen"] || !proc::all_readable())).then_some(ns)
    };
    wait(find).expect("a moment of quiet")
}

/// The sources that led to a namespace, apart from the kernel's own lists, which only some kernels have.
pub fn sources(ns: &Value) -> Vec<&str> {
    let sources = ns["sources"].as_array().unwrap().iter().map(|source| source.as_str().unwrap());
    sources.filter(|&source| source != "kernel_lists").collect()
}

/// Waits until a network namespace is not found any more.
pub fn wait_for_the_end(ino: u64) {
    let name = format!("net:[{ino}]");
    let ended = wait(|| {
        let ran = run(&["list", "--ns", &name]);
        (ran.code == Some(1)).then_some(ran)
    });
    let ran = ended.expect("nothing holds it, so it ends");
    assert_eq!(
        (ran.stdout, ran.stderr),
        (String::new(), format!("nsprobe: namespace {name} was not found\n"))
    );
}

pub fn is_listed(ns: &Value) -> bool {
    ns["sources"].as_array().unwrap().contains(&json!("kernel_lists"))
}

pub fn gaps(kind: &str) -> Vec<Value> {
    let document = json(&["list", "--json"]);
    let gaps = document["gaps"].as_array().unwrap().iter();
    gaps.filter(|gap| gap["kind"] == kind).cloned().collect()
}

/// Waits until nsprobe prints this, apart from spaces. An nsprobe of another test that queries a namespace has it
/// open for a moment, and so holds it.
pub fn wait_for_text(args: &[&str], what: &str) {
    let mut last = String::new();
    let printed = wait(|| {
        last = run(args).stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        (last == what).then_some(())
    });
    assert!(printed.is_some(), "{args:?}: {last}");
}

/// Waits until a list with these arguments finds nothing.
pub fn not_found(args: &[&str]) {
    let args = [&["list"], args].concat();
    assert!(wait(|| (run(&args).code == Some(1)).then_some(())).is_some(), "{args:?} finds something");
}
