//! The kernel's own tests of namespaces, processes and mounts, which are independent of this project, call by call
//! beside strace(1). `cargo xtask conformance` builds them from the distribution's kernel sources, and names their
//! directory.

use crate::support::trace::{Clones, Comparison, compare_with_strace, each_plan};
use crate::support::{skipped, stage};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The directory of the built tests, with a directory for each suite.
const DIRECTORY: &str = "NSPROBE_CONFORMANCE";

/// Programs that are left out everywhere: one waits for another that would start it, one makes no call in half a
/// minute, two wait in vain for something that strace prevents.
const LEFT_OUT: &[&str] = &["pidfd_exec_helper", "gettime_perf", "pidfd_info_test", "pidns_init_via_setns"];

/// Programs of thousands of calls each, which take many minutes on an emulated processor.
const LONG: &[&str] = &["pidfd_test", "pidfd_poll_test", "pid_max"];

/// The programs below `directory`, by suite.
fn suites(directory: &Path) -> BTreeMap<PathBuf, Vec<String>> {
    let listed = stage::succeed(Command::new("find").arg(directory).args(["-type", "f", "-perm", "-100"]));
    let mut suites: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
    let emulated = std::env::var_os("NSPROBE_TEST_HOOKS").is_some();
    for path in listed.lines().map(Path::new) {
        let name = path.file_name().expect("a name").to_str().expect("text").to_owned();
        let excluded = LEFT_OUT.contains(&name.as_str()) || emulated && LONG.contains(&name.as_str());
        if !excluded {
            suites.entry(path.parent().expect("a directory").to_owned()).or_default().push(name);
        }
    }
    suites
}

#[test]
fn the_kernels_own_tests_make_the_calls_that_strace_sees() {
    let _limit = crate::support::time_limit();
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return skipped("needs the kernel's own tests: cargo xtask conformance");
    };
    let suites = suites(directory.as_ref());
    assert!(suites.len() >= 10, "{suites:?}");
    each_plan(|plan| {
        let (mut total, mut wrong) = (0, Vec::new());
        for (suite, programs) in &suites {
            // The results of a test are the kernel's affair; its calls are ours. In a separate mount namespace,
            // because some fail to clean up.
            let script = format!(
                "cd '{}'
                 for program in {}; do
                     timeout -k 1 60 unshare -m ./$program </dev/null >/dev/null 2>&1
                 done
                 true",
                suite.display(),
                programs.join(" ")
            );
            let Comparison { calls, differences, .. } = compare_with_strace(plan, Clones::All, &script);
            let name = suite.strip_prefix(&directory).expect("below it").display();
            let differ = differences.len();
            eprintln!("{plan}: {name}: {} programs, {calls} calls, {differ} threads differ", programs.len());
            total += calls;
            wrong.extend(differences.into_iter().take(10).map(|difference| format!("{name}: {difference}")));
        }
        eprintln!("{plan}: {total} calls");
        assert!(wrong.is_empty(), "{wrong:#?}");
        assert!(total > 1000, "only {total} calls were compared");
    });
}

#[test]
fn container_tools_make_the_calls_that_strace_sees() {
    let _limit = crate::support::time_limit();
    if Command::new("schroot").arg("--version").output().is_err() {
        return skipped("needs schroot");
    }
    each_plan(|plan| {
        // schroot reads its configuration from a fixed path, which a mount in a separate mount namespace covers.
        let script = r#"exec unshare -m sh -c '
            mount -t tmpfs none /etc/schroot/chroot.d && mount -t tmpfs none /mnt && mkdir /mnt/jail &&
            mount --bind / /mnt/jail &&
            printf "[jail]\ntype=plain\ndirectory=/mnt/jail\nusers=root\nroot-users=root\n" \
                > /etc/schroot/chroot.d/jail &&
            schroot --chroot jail --directory / -- /usr/bin/true >&3 2>&3
            bwrap --ro-bind / / --unshare-all true >&3 2>&3'"#;
        let Comparison { stream, report, calls, differences } =
            compare_with_strace(plan, Clones::All, script);
        assert!(differences.is_empty(), "{differences:#?}");
        assert!(stream.of("chroot").iter().any(|event| event["process"]["comm"] == "schroot"), "{report}");
        assert!(!stream.of("pivot_root").is_empty(), "{report}");
        eprintln!("{plan}: schroot and bwrap: {calls} calls agree");
    });
}
