//! `nsprobe doctor`, compared with the behaviour of the other commands.

use crate::support::kernel::LISTS;
use crate::support::trace::{Stream, refusal};
use crate::support::{self, json, run};
use serde_json::Value;
use std::process::Command;
use std::sync::OnceLock;

/// The document of doctor, for the user who runs the tests.
pub fn diagnosis() -> &'static Value {
    &examination().0
}

/// The same, and the mounts before and after. Once: it loads and attaches every plan.
fn examination() -> &'static (Value, [String; 2]) {
    static EXAMINATION: OnceLock<(Value, [String; 2])> = OnceLock::new();
    EXAMINATION.get_or_init(|| {
        if !support::root() {
            let ran = run(&["doctor", "--json"]);
            return (serde_json::from_str(&ran.stdout).unwrap(), Default::default());
        }
        // In a directory where nobody else mounts anything.
        let dir = tempfile::tempdir().unwrap();
        let script = "cat /proc/self/mountinfo >\"$1/before\"; \"$0\" doctor --json >\"$1/said\"
                      cat /proc/self/mountinfo >\"$1/after\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", script]);
        support::stage::succeed(command.arg(env!("CARGO_BIN_EXE_nsprobe")).arg(dir.path()));
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        (serde_json::from_str(&read("said")).unwrap(), ["before", "after"].map(read))
    })
}

fn verdict<'a>(document: &'a Value, subject: &str) -> &'a Value {
    let checks = document["checks"].as_array().unwrap();
    checks.iter().find(|check| check["subject"] == subject).unwrap_or_else(|| panic!("no check of {subject}"))
}

/// Prevents doctor from loading anything, in tests about something else.
const NO_BPF: [&str; 2] = ["setpriv", "--bounding-set=-bpf,-perfmon,-sys_admin"];

/// The document of doctor when run by `wrapper`, a command that runs its arguments in another environment.
fn within(wrapper: &[&str]) -> (Option<i32>, Value) {
    let (_dir, nsprobe) = support::unprivileged_copy();
    let output = Command::new(wrapper[0])
        .args(&wrapper[1..])
        .arg(nsprobe)
        .args(["doctor", "--json"])
        .output()
        .unwrap();
    let document = serde_json::from_slice(&output.stdout);
    (output.status.code(), document.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr))))
}

#[test]
fn lines_fit_the_terminal_and_words_stay_whole() {
    let _limit = support::time_limit();
    let at = |columns| support::on_terminal(support::nsprobe().arg("doctor"), columns).stdout;
    let (narrow, wide) = (at(80), at(1000));
    assert!(narrow.lines().all(|line| line.chars().count() <= 80), "{narrow}");
    // Numbers of processes change between the two.
    let is_word = |word: &&str| !word.starts_with(|first: char| first.is_ascii_digit());
    let words = |text: &str| text.split_whitespace().filter(is_word).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(&narrow), words(&wide));
}

#[test]
fn a_plan_is_good_exactly_when_trace_can_be_made_to_use_it() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let document = diagnosis();
    let perf = run(&["trace", "--source", "perf", "--", "true"]);
    let perf = (perf.code != Some(0)).then_some(perf.stderr);
    for (plan, refusal) in
        [("fentry", refusal("fentry")), ("tracepoints", refusal("tracepoints")), ("perf", perf)]
    {
        let said = verdict(document, plan);
        assert_eq!(said["verdict"] == "good", refusal.is_none(), "{said}\n{refusal:?}");
    }
    let auto = Stream::record(&["--duration", "1ms"]);
    let source = &auto.lines[0]["source"];
    let takes = format!("takes {}: {}", source["name"].as_str().unwrap(), source["reason"].as_str().unwrap());
    assert_eq!(verdict(document, "trace")["finding"], takes);
    assert_eq!(verdict(document, "btf")["verdict"], "good");
    assert_eq!(verdict(document, "ring buffer")["verdict"], "good");
}

#[test]
fn the_sources_that_are_missing_are_those_of_the_gaps() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let gaps = json(&["list", "--json"])["gaps"].as_array().unwrap().clone();
    let missing: Vec<&str> = gaps
        .iter()
        .filter(|gap| gap["kind"] == "source")
        .map(|gap| gap["reason"].as_str().unwrap())
        .collect();
    let said = verdict(diagnosis(), "sources");
    assert_eq!(said["verdict"] == "good", missing.is_empty(), "{said} {missing:?}");
    assert_eq!(missing.is_empty(), LISTS.here());
    for reason in missing {
        assert!(said["finding"].as_str().unwrap().contains(reason), "{said}");
    }
}

#[test]
fn the_kernel_and_the_count_of_processes_are_this_machines() {
    let _limit = support::time_limit();
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let document = diagnosis();
    assert_eq!(verdict(document, "kernel")["finding"], format!("Linux {}", release.trim()));
    assert_eq!(document["schema"]["name"], "nsprobe.doctor");
}

#[test]
fn without_privilege_it_names_the_capabilities_and_what_to_do() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let (code, document) =
        within(&["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]);
    assert_eq!(code, Some(1), "something is missing");
    let check = verdict(&document, "capabilities");
    assert_eq!(
        (check["verdict"].as_str(), check["remedy"].as_str()),
        (Some("missing"), Some("run with sudo"))
    );
    let remedies = document["checks"].as_array().unwrap().iter().filter(|check| !check["remedy"].is_null());
    let sudo = remedies.filter(|check| check["remedy"].as_str().unwrap().contains("sudo"));
    assert_eq!(sudo.count(), 1, "a remedy is given once: {document}");
    for name in ["CAP_BPF", "CAP_PERFMON", "CAP_SYS_ADMIN", "CAP_SYS_PTRACE"] {
        assert!(check["finding"].as_str().unwrap().contains(name), "{check}");
    }
}

#[test]
fn in_a_pid_and_a_user_namespace_it_says_what_that_hides() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let (_, document) =
        within(&[&["unshare", "--pid", "--fork", "--mount-proc", "--"][..], &NO_BPF].concat());
    let check = verdict(&document, "pid namespace");
    assert_eq!(check["verdict"], "limited");
    assert!(check["remedy"].as_str().unwrap().contains("--pid=host"), "{check}");

    let (code, document) = within(&["unshare", "--user", "--map-root-user", "--"]);
    assert_ne!(verdict(&document, "user namespace")["verdict"], "good", "its capabilities do not count");
    assert_eq!(code, Some(1));
    assert!(!document.to_string().contains("sudo"), "{document}");
    let check = verdict(&document, "capabilities");
    assert!(check["remedy"].as_str().unwrap().starts_with("run outside this user namespace"), "{check}");
    // One row says why BPF is not tried, the others refer to it, and what the kernel would answer is in none.
    assert_eq!(verdict(&document, "user namespace")["verdict"], "missing");
    let bpf = "not tried: the kernel takes BPF from the initial user namespace only";
    assert_eq!(verdict(&document, "bpf")["finding"], bpf);
    for subject in ["ring buffer", "fentry", "tracepoints"] {
        assert_eq!(verdict(&document, subject)["finding"], "not tried: see bpf");
    }
    let perf = verdict(&document, "perf")["finding"].as_str().unwrap();
    assert!(perf.contains("needs CAP_PERFMON in the initial user namespace:"), "{perf}");
    let text = document.to_string();
    assert!(!text.contains("os error") && !text.contains("map error"), "{text}");
}

#[test]
fn hidepid_is_found_on_the_proc_that_is_read() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let script = "mount -t proc -o hidepid=2 proc /proc && exec \"$0\" \"$@\"";
    let script = ["unshare", "--mount", "--pid", "--fork", "--", "sh", "-c", script];
    let (_, document) = within(&[&script[..], &NO_BPF].concat());
    let check = verdict(&document, "/proc");
    assert_eq!(check["verdict"], "good", "it hides nothing from those with CAP_SYS_PTRACE");
    let nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--"];
    let (_, document) = within(&[&script[..], &nobody].concat());
    assert_eq!(verdict(&document, "pid namespace")["remedy"], Value::Null, "it cannot be known");
    let check = verdict(&document, "/proc");
    assert_eq!(check["verdict"], "limited");
    assert!(check["finding"].as_str().unwrap().contains("hidepid"), "{check}");
}

#[test]
fn doctor_leaves_no_mount_behind() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let (document, [before, after]) = examination();
    assert!(document["checks"].as_array().unwrap().len() >= 13, "{document}");
    assert!(!before.is_empty() && before == after, "{before}\n{after}");
}

#[test]
fn a_chroot_is_noticed_by_identity() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    assert_eq!(verdict(diagnosis(), "root")["verdict"], "good");
    // Everything on the machine, below a directory that is not a mount point.
    let dir = tempfile::tempdir().unwrap();
    let script = format!(
        "mount -t tmpfs none {0} && mkdir {0}/root && for dir in /*; do
             if [ -L $dir ]; then cp -a $dir {0}/root
             elif [ -d $dir ]; then mkdir {0}/root$dir && mount --rbind $dir {0}/root$dir; fi
         done; exec setpriv --bounding-set=-bpf,-perfmon chroot {0}/root \"$0\" doctor --json",
        dir.path().display()
    );
    let mut command = Command::new("unshare");
    let program = support::nsprobe().get_program().to_owned();
    let output = command.args(["--mount", "sh", "-c", &script]).arg(program).output().unwrap();
    let document: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let root = verdict(&document, "root");
    assert!(root["finding"].as_str().unwrap().starts_with("nsprobe is chrooted"), "{root}");
}
