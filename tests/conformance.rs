//! The kernel's own tests of namespaces, processes and mounts, which are independent of this project, call by call
//! beside strace(1). `cargo xtask conformance` builds them from the distribution's kernel sources, and names their
//! directory.

use crate::support::trace::{Clones, Comparison, compare_with_strace, each_plan};
use crate::support::{emulated, skipped, stage};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

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
    let emulated = emulated();
    for path in listed.lines().map(Path::new) {
        let name = path.file_name().expect("a name").to_str().expect("text").to_owned();
        let excluded = LEFT_OUT.contains(&name.as_str()) || emulated && LONG.contains(&name.as_str());
        if !excluded {
            suites.entry(path.parent().expect("a directory").to_owned()).or_default().push(name);
        }
    }
    suites
}

/// Runs the programs one after the other, in mount namespaces of their own, because some fail to clean up, and then ends
/// what they have left behind: some cannot end their children while these are traced by strace, which would wait for ever.
const RUN: &str = r#"
    use POSIX ();
    syscall(157, 36, 1, 0, 0, 0) == 0 or die "PR_SET_CHILD_SUBREAPER: $!";
    for my $program (@ARGV) {
        my $pid = fork // die "fork: $!";
        if (!$pid) {
            open STDIN, "<", "/dev/null";
            open $_, ">", "/dev/null" for *STDOUT, *STDERR;
            exec "timeout", "-k", "1", "60", "unshare", "-m", "./$program";
            POSIX::_exit(127);
        }
        waitpid $pid, 0;
        while (1) {
            open my $children, "<", "/proc/$$/task/$$/children" or die "children: $!";
            kill "KILL", split " ", <$children> // "";
            last if waitpid(-1, 0) == -1;
        }
    }
"#;

#[test]
fn the_kernels_own_tests_make_the_calls_that_strace_sees() {
    let limit = crate::support::time_limit();
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return skipped("needs the kernel's own tests: cargo xtask conformance");
    };
    let suites = suites(directory.as_ref());
    assert!(suites.len() >= 10, "{suites:?}");
    let wrong = RefCell::new(Vec::new());
    each_plan(|plan| {
        let (mut total, begin) = (0, Instant::now());
        for (suite, programs) in &suites {
            limit.renew();
            let begin = Instant::now();
            // The results of a test are the kernel's affair; its calls are ours.
            let script = format!("cd '{}' && exec perl -e '{RUN}' {}", suite.display(), programs.join(" "));
            let Comparison { stream, calls, missing, differences, .. } =
                compare_with_strace(plan, Clones::All, &script);
            assert_eq!(stream.code, Some(0), "{}", stream.stderr);
            let name = suite.strip_prefix(&directory).expect("below it").display();
            let (differ, seconds) = (differences.len(), begin.elapsed().as_secs());
            let programs = programs.len();
            eprintln!(
                "CONFORMANCE {plan}: {name}: {programs} programs, {calls} calls, {missing} left out, {differ} threads \
                 differ, {seconds} s"
            );
            total += calls;
            for difference in differences.iter().take(10) {
                eprintln!("DIFFERENT {plan}: {name}: {difference}");
            }
            let some = differences.into_iter().take(10);
            wrong.borrow_mut().extend(some.map(|difference| format!("{plan}: {name}: {difference}")));
        }
        eprintln!("CONFORMANCE {plan}: {total} calls, {} s", begin.elapsed().as_secs());
        assert!(total > 1000, "only {total} calls were compared");
    });
    let wrong = wrong.into_inner();
    assert!(wrong.is_empty(), "{wrong:#?}");
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
        let Comparison { stream, report, calls, missing, differences } =
            compare_with_strace(plan, Clones::All, script);
        assert!(differences.is_empty(), "{differences:#?}");
        assert!(stream.of("chroot").iter().any(|event| event["process"]["comm"] == "schroot"), "{report}");
        assert!(!stream.of("pivot_root").is_empty(), "{report}");
        eprintln!("CONFORMANCE {plan}: schroot and bwrap: {calls} calls, {missing} left out");
    });
}
