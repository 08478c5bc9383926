//! The caller in `nsprobe trace`, compared with `/proc` as the caller itself reads it.

use crate::support::cgroup::Cgroup;
use crate::support::trace::{Stream, beside_strace, each_plan, one_plan};
use crate::support::{skipped, wire};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::process::Command;

/// Perl that prints its own `/proc` entries, and then calls unshare(2) with the flags of its first argument.
const CALLER: &str = r#"
    open(my $report, ">&=", 3) or die; my %facts;
    sub text { local $/; open(my $file, "<", $_[0]) or die; return <$file> }
    text("/proc/self/status") =~ /^CapEff:\s*(\w+)$/m and $facts{cap_effective} = $1;
    (split(" ", text("/proc/self/stat") =~ s/.*\)//sr))[19] =~ /(\d+)/ and $facts{start_ticks} = $1;
    $facts{exe} = readlink("/proc/self/exe");
    $facts{arguments} = join("\t", split("\0", text("/proc/self/cmdline") =~ s/\0$//r, -1));
    text("/proc/self/cgroup") =~ /^0::(.*)$/m and $facts{cgroup} = $1;
    print $report "$_=$facts{$_}\n" for sort keys %facts;
    syscall(272, $ARGV[0] + 0);
"#;

/// The value of `name` in a report.
fn value_of<'a>(report: &'a str, name: &str) -> Option<&'a str> {
    report.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
}

/// A directory open to all with the caller's script in it.
fn caller() -> Option<(tempfile::TempDir, PathBuf)> {
    if Command::new("perl").arg("-v").output().is_err() {
        skipped("no perl(1) to make system calls with");
        return None;
    }
    let dir = tempfile::tempdir().expect("a directory");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("an open directory");
    let file = dir.path().join("caller");
    fs::write(&file, CALLER).expect("a script");
    Some((dir, file))
}

/// Checks that the event and the report agree on the process.
fn assert_reported(event: &Value, report: &str) {
    let process = &event["process"];
    let ticks: u64 = value_of(report, "start_ticks").and_then(|ticks| ticks.parse().ok()).expect("ticks");
    assert_eq!(
        process["cap_effective"],
        value_of(report, "cap_effective").expect("capabilities"),
        "{process}"
    );
    assert_eq!(process["start_ticks"], ticks, "{process}");
    assert_eq!(wire::path(process, "exe"), json!([value_of(report, "exe"), []]), "{process}");
    let arguments: Vec<&str> = value_of(report, "arguments").expect("arguments").split('\t').collect();
    assert_eq!(process["arguments"], json!(arguments), "{process}");
    assert_eq!(process.get("arguments_cut"), None, "{process}");
    let cgroup = value_of(report, "cgroup");
    assert_eq!(process["cgroup"].as_str(), cgroup, "{process}");
}

#[test]
fn caller_is_as_its_own_proc_has_it() {
    let _limit = crate::support::time_limit();
    let Some((_dir, script)) = caller() else { return };
    each_plan(|plan| {
        let (stream, report) =
            beside_strace(plan, &format!("perl {} 67108864 'two  words' '' x", script.display()));
        let [event] = stream.of("unshare")[..] else { panic!("one unshare: {report}") };
        assert_eq!(wire::changed(event), json!(["uts"]));
        assert_reported(event, &report);
    });
}

#[test]
fn capabilities_are_those_before_the_call() {
    let _limit = crate::support::time_limit();
    let Some((_dir, script)) = caller() else { return };
    each_plan(|plan| {
        // A user namespace gives all of them, in itself; without one no other namespace can be created.
        for (flags, errno) in [("268435456", Value::Null), ("67108864", "EPERM".into())] {
            let call =
                format!("setpriv --reuid=1000 --regid=1000 --clear-groups perl {} {flags}", script.display());
            let (stream, report) = beside_strace(plan, &call);
            let [event] = stream.of("unshare")[..] else { panic!("one unshare: {report}") };
            assert_eq!(
                (&event["errno"], &event["process"]["cap_effective"]),
                (&errno, &"0000000000000000".into())
            );
            assert_reported(event, &report);
        }
        // And in a user namespace, all of them, which the filter sees.
        let filter = "'CAP_SYS_ADMIN' in capabilities(process.cap_effective) && process.exe.endsWith('/perl') \
                      && process.arguments.exists(it, it.contains('caller'))";
        let inside = format!("unshare --user --map-root-user perl {} 67108864 3>report", script.display());
        let args = [
            "--source",
            plan,
            "--filter",
            filter,
            "--",
            "sh",
            "-c",
            &format!("cd $(mktemp -d); {inside}; cat report >&2; rm -r $PWD"),
        ];
        let stream = Stream::record(&args);
        let [event] = stream.of("unshare")[..] else { panic!("one unshare: {}", stream.stderr) };
        assert_reported(event, &stream.stderr);
        // They count there, and not in the user namespace of the trace.
        let own = fs::metadata("/proc/self/ns/user").expect("a user namespace").ino();
        let theirs = wire::before(event, "user");
        assert!(theirs.is_u64() && theirs != own, "{event}");
    });
}

#[test]
fn a_command_line_that_is_too_long_is_cut() {
    let _limit = crate::support::time_limit();
    one_plan(|plan| {
        let long = "x".repeat(300);
        let args = ["--source", plan, "--event", "unshare", "--", "unshare", "--uts", "true", &long];
        let stream = Stream::record(&args);
        let [event] = stream.of("unshare")[..] else { panic!("one unshare") };
        let arguments = event["process"]["arguments"].as_array().expect("an array");
        assert_eq!(arguments[..3], ["unshare", "--uts", "true"].map(Value::from));
        let last = arguments[3].as_str().expect("text");
        assert!((200..300).contains(&last.len()) && long.starts_with(last), "{last}");
        assert_eq!(event["process"]["arguments_cut"], true);
    });
}

#[test]
fn control_group_is_reported_by_id_and_path() {
    let _limit = crate::support::time_limit();
    let Some((_dir, script)) = caller() else { return };
    each_plan(|plan| {
        let Some(group) = Cgroup::make("in ner.slice") else {
            return skipped("no hierarchy of control groups of version 2 is mounted");
        };
        let path = group.0.display();
        let call = format!("echo $$ > '{path}/cgroup.procs'; perl {} 67108864", script.display());
        let (stream, report) = beside_strace(plan, &call);
        let [event] = stream.of("unshare")[..] else { panic!("one unshare: {report}") };
        assert!(value_of(&report, "cgroup").is_some_and(|path| path.ends_with("/in ner.slice")), "{report}");
        assert_reported(event, &report);
        let ino = fs::metadata(&group.0).expect("a directory").ino();
        assert_eq!(event["process"]["cgroup_id"], ino.to_string());
    });
}
