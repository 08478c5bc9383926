//! nsprobe under limits of resources: it works, or says which limit is too low and what to do.

use crate::support::{Ran, limited_user, nsprobe, root, unprivileged_copy};
use std::process::Command;

/// Runs nsprobe under a limit, as prlimit(1) takes it.
fn limited(limit: &str, args: &[&str]) -> Ran {
    let mut prlimit = Command::new("prlimit");
    Ran::from(prlimit.arg(limit).arg(nsprobe().get_program()).args(args).output().expect("prlimit starts"))
}

/// Advice that a limit makes wrong.
const WRONG: [&str; 5] = ["sudo", "user namespace", "--pid=host", "is a proc file system", "--cap-add"];

#[test]
fn too_few_descriptors_are_an_error_that_names_the_limit() {
    let _limit = crate::support::time_limit();
    if !root() {
        return;
    }
    let document = tempfile::NamedTempFile::new().expect("a file");
    let listed = crate::support::run(&["list", "--json"]);
    std::fs::write(document.path(), listed.stdout).expect("a document");
    let document = document.path().to_str().expect("UTF-8");
    let trace = ["trace", "--duration", "1ms"];
    let all = ["trace", "--duration", "1ms", "--denied", "--lifecycle"];
    for (limits, args) in [
        (&[4, 6, 10, 16, 24, 48, 64][..], &trace[..]),
        (&[48, 80], &all),
        (&[10], &["trace", "--duration", "1ms", "--source", "perf"]),
        (&[10], &["trace", "--duration", "1ms", "--source", "proc"]),
        (&[4, 6, 8, 16], &["list"]),
        (&[7, 8], &["tree"]),
        (&[5, 16], &["diff", document]),
        (&[8, 32], &["doctor"]),
    ] {
        for limit in limits {
            let ran = limited(&format!("--nofile={limit}:{limit}"), args);
            let said = format!("{limit} {args:?}: {:?} {}", ran.code, ran.stderr);
            assert!(!WRONG.iter().any(|wrong| ran.stderr.contains(wrong)), "{said}");
            if ran.stderr.contains("EMFILE") {
                assert!(
                    ran.stderr.contains(&format!("the limit of open files, {limit}, is too low")),
                    "{said}"
                );
                assert!(ran.stderr.contains("ulimit -n"), "{said}");
            }
            match ran.code {
                Some(2) => assert!(ran.stderr.contains("EMFILE"), "{said}"),
                // No other way is taken for want of descriptors.
                Some(0) if args[0] == "trace" => assert!(!ran.stderr.contains("EMFILE"), "{said}"),
                Some(0 | 1) => {}
                _ => panic!("{said}"),
            }
        }
    }
    // The number that docs/limits.md says is enough, with all that needs descriptors.
    let ran = limited("--nofile=100:100", &[&all[..], &["--compat", "--", "true"]].concat());
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
}

#[test]
fn a_limit_of_processes_is_named() {
    let _limit = crate::support::time_limit();
    if !root() {
        return;
    }
    let (_dir, program) = unprivileged_copy();
    for (count, args) in [
        ("1", &["trace", "--source", "proc", "--duration", "1ms"][..]),
        ("3", &["trace", "--source", "proc", "--duration", "1ms", "--", "true"]),
    ] {
        let ran = limited_user(54333, &format!("--nproc={count}:{count}"), &program, args);
        assert!(matches!(ran.code, Some(2 | 126)), "{count}: {:?} {}", ran.code, ran.stderr);
        assert!(ran.stderr.contains("a limit of processes (ulimit -u"), "{count}: {}", ran.stderr);
    }
}

#[test]
fn locked_memory_is_not_taken_for_a_security_module() {
    let _limit = crate::support::time_limit();
    if !root() {
        return;
    }
    let mut limited = Command::new("setpriv");
    limited.args(["--bounding-set=-sys_resource", "--inh-caps=-sys_resource", "prlimit", "--memlock=0:0"]);
    limited.arg(nsprobe().get_program());
    limited.args(["trace", "--source", "tracepoints", "--duration", "1ms"]);
    let ran = Ran::from(limited.output().expect("setpriv starts"));
    // From 5.11 on maps are no locked memory.
    match ran.code {
        Some(0) => {}
        code => {
            assert_eq!(code, Some(2), "{}", ran.stderr);
            assert!(ran.stderr.contains("limit of locked memory, 0 KiB"), "{}", ran.stderr);
            assert!(!ran.stderr.contains("seccomp"), "{}", ran.stderr);
        }
    }
}

#[test]
fn a_trace_ends_with_an_end_when_its_processor_time_is_used_up() {
    let _limit = crate::support::time_limit();
    let ran = limited(
        "--cpu=1:10",
        &["trace", "--json", "--source", "proc", "--interval", "1ms", "--duration", "60s"],
    );
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let end = ran.stdout.lines().last().expect("an end");
    assert!(end.contains(r#""type":"end""#) && end.contains(r#""reason":"interrupted""#), "{end}");
}
