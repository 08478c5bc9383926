//! Arbitrary bytes in names, arguments and paths: none reaches a terminal unescaped, none is lost, and nsprobe
//! accepts what it printed.

use crate::support::cgroup::Cgroup;
use crate::support::stage::{self, Staged};
use crate::support::trace::{Stream, one_plan};
use crate::support::{self, json, nsprobe, run};
use nsprobe::model::text;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;
use std::process::Command;

/// A file in `dir`.
fn file(dir: &Path, name: &[u8]) -> OsString {
    dir.join(OsStr::from_bytes(name)).into_os_string()
}

/// Checks that nothing in an output controls a terminal or is invisible.
fn is_harmless(output: &str) {
    let bad = output.chars().find(|&c| c != '\n' && text::is_hidden(c));
    assert_eq!(bad, None, "{output:?}");
}

/// The bytes of a text, from the field beside it; the text itself must be their lossy UTF-8.
fn bytes(object: &Value, field: &str) -> Vec<u8> {
    let shown = object[field].as_str().unwrap_or_else(|| panic!("{field} of {object}"));
    match object.get(format!("{field}_base64")) {
        None => shown.as_bytes().to_vec(),
        Some(encoded) => {
            let bytes = decoded(encoded);
            assert_eq!(String::from_utf8_lossy(&bytes), shown);
            bytes
        }
    }
}

/// Decoded by base64(1), which is independent.
fn decoded(encoded: &Value) -> Vec<u8> {
    let script = format!("printf %s '{}' | base64 -d", encoded.as_str().unwrap());
    Command::new("sh").args(["-c", &script]).output().unwrap().stdout
}

#[test]
fn paths_that_differ_in_a_byte_stay_apart_and_are_found_by_their_names() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let names = [&b"n\xff"[..], b"n\xfe", b"n\x1b]0;hi\x07"];
    let script = format!(
        "mount -t tmpfs nsprobe {dir} && for name in 'n\\377' 'n\\376' 'n\\033]0;hi\\007'; do
         file={dir}/$(printf \"$name\"); : > \"$file\"
         unshare -n mount --bind /proc/self/ns/net \"$file\" || exit; done; exec sleep 1000",
        dir = dir.path().display()
    );
    let mut staged =
        Staged::spawn(Command::new("unshare").args(["-m", "--propagation", "private", "sh", "-c", &script]));
    let sleep = staged.wait_for("sleep").to_string();

    let document = json(&["list", "--json", "--kind", "net"]);
    let holders = document["namespaces"].as_array().unwrap().iter().flat_map(|ns| {
        let holders = ns["holders"].as_array().unwrap().iter().filter(|holder| holder["path"].is_string());
        holders.map(|holder| (bytes(holder, "path"), ns["ino"].as_u64().unwrap()))
    });
    let found: BTreeSet<(Vec<u8>, u64)> =
        holders.filter(|(path, _)| path.starts_with(dir.path().as_os_str().as_bytes())).collect();
    let paths: BTreeSet<Vec<u8>> = names.iter().map(|name| file(dir.path(), name).into_vec()).collect();
    assert_eq!(found.iter().map(|(path, _)| path.clone()).collect::<BTreeSet<_>>(), paths);

    let table = run(&["list", "-n", "-c", "path,nsfs,command", "--kind", "net"]);
    is_harmless(&table.stdout);
    for (path, ino) in found {
        let form = text::shown(&path);
        assert!(table.stdout.contains(&form), "{form} in {}", table.stdout);
        // In that mount namespace it exists, by its bytes and by its printed form.
        for given in [OsStr::from_bytes(&path), OsStr::new(&form)] {
            let mut command = Command::new("nsenter");
            command.args(["--mount", "-t", &sleep, env!("CARGO_BIN_EXE_nsprobe"), "list", "-n", "-c", "ns"]);
            assert_eq!(stage::succeed(command.arg("--ns").arg(given)).trim(), ino.to_string());
        }
    }
}

#[test]
fn a_host_name_of_any_bytes_is_kept() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let script = "printf 'h\\377' > /proc/sys/kernel/hostname && exec \"$0\" list --json";
    let mut command = Command::new("unshare");
    command.args(["--uts", "sh", "-c", script, env!("CARGO_BIN_EXE_nsprobe")]);
    let document: Value = serde_json::from_str(&stage::succeed(&mut command)).unwrap();
    assert_eq!(bytes(&document, "hostname"), b"h\xff");
    // diff reads it, and has it in its own document.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("list.json");
    std::fs::write(&path, document.to_string()).unwrap();
    let path = path.to_str().unwrap();
    let difference = json(&["diff", "--json", path, path]);
    assert_eq!(bytes(&difference["old"], "hostname"), b"h\xff");
}

#[test]
fn a_name_of_any_bytes_costs_no_other_field() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let name = b"a\xff\x1b[2J\"";
    let program = file(dir.path(), name);
    stage::copy_program(Path::new("/bin/sleep"), Path::new(&program));
    let mut unshare = Command::new("unshare");
    let mut staged = Staged::spawn(unshare.args(["--pid", "--fork"]).arg(&program).arg("1000"));
    let pid = staged.wait_for(&String::from_utf8_lossy(name));
    for source in if support::bpf() { &["proc", "bpf"][..] } else { &["proc"] } {
        let document = json(&["list", "--json", "--source", source]);
        let processes = document["processes"].as_array().unwrap();
        let process = processes.iter().find(|process| process["pid"] == pid).unwrap();
        assert_eq!(bytes(process, "comm"), name);
        assert_eq!(process["pids"], json!([pid, 1]), "{source}");
        let arguments = process["arguments_base64"].as_array().unwrap();
        let arguments: Vec<Vec<u8>> = arguments.iter().map(decoded).collect();
        assert_eq!(arguments, [program.as_bytes(), b"1000"]);
    }
    let tree = run(&["tree", "--pid", &pid.to_string()]);
    is_harmless(&tree.stdout);
    assert!(
        tree.stdout.contains(&format!("{pid} [1] {} 1000", text::shown_path(&program))),
        "{}",
        tree.stdout
    );
}

#[test]
fn a_trace_takes_and_reports_names_of_any_bytes() {
    let _limit = support::time_limit();
    one_plan(|plan| {
        let dir = tempfile::tempdir().unwrap();
        let name = b"b\xfe\x1b";
        let program = file(dir.path(), name);
        stage::copy_program(Path::new("/usr/bin/unshare"), Path::new(&program));
        let form = text::shown(name);
        for given in [OsStr::from_bytes(name), OsStr::new(&form)] {
            let script = r#"unshare --uts true; "$0" --net true"#;
            let args = ["--source", plan, "--quiet", "--comm"].map(OsStr::new);
            let command = ["--", "sh", "-c", script].map(OsStr::new);
            let stream = Stream::record(&[&args[..], &[given], &command, &[&program]].concat());
            let [event] = stream.of("unshare")[..] else { panic!("one event: {:?}", stream.stderr) };
            assert_eq!(bytes(&event["process"], "comm"), name);
            assert_eq!(bytes(&event["process"], "exe"), program.as_bytes());
        }

        // A directory whose name looks like the result of a call.
        let jail = dir.path().join("j = 0  net 1→2");
        std::fs::create_dir(&jail).unwrap();
        let mut trace = nsprobe();
        trace.args(["trace", "--source", plan, "--quiet", "--event", "chroot", "--", "chroot"]).arg(&jail);
        let ran = support::Ran::from(trace.arg("true").output().unwrap());
        let line = ran.stdout.lines().find(|line| line.contains("chroot(")).unwrap();
        let form = text::shown_path(&jail);
        assert!(
            form.starts_with('"') && line.contains(&format!("chroot({form}) = 0  root /→{form}")),
            "{line}"
        );
    });
}

#[test]
fn a_control_group_of_any_name_selects_events() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let Some(group) = Cgroup::make("bytes") else { return support::skipped("needs control groups v2") };
    let inner = group.0.join(OsStr::from_bytes(b"g\xfe\x1b"));
    std::fs::create_dir(&inner).unwrap();
    let enter = r#"echo 0 > "$0"/cgroup.procs; unshare --uts true; echo 0 > "$0"/../cgroup.procs"#;
    let form = text::shown_path(&inner);
    one_plan(|plan| {
        for given in [inner.as_os_str(), OsStr::new(&form)] {
            let args = ["--source", plan, "--quiet", "--cgroup"].map(OsStr::new);
            let command = ["--", "sh", "-c", enter].map(OsStr::new);
            let stream = Stream::record(&[&args[..], &[given], &command, &[inner.as_os_str()]].concat());
            let [event] = stream.of("unshare")[..] else { panic!("one event: {:?}", stream.stderr) };
            assert!(bytes(&event["process"], "cgroup").ends_with(b"/g\xfe\x1b"), "{event}");
        }
    });
}

#[test]
fn what_was_given_stands_harmless_in_messages() {
    let _limit = support::time_limit();
    let bad = "\u{1b}]0;x\u{7}\u{9b}\u{202e}\nnsprobe: all is well";
    let dir = tempfile::tempdir().unwrap();
    let document = dir.path().join("document");
    let head = json!({"schema": {"name": bad, "version": bad}});
    std::fs::write(&document, head.to_string()).unwrap();
    let path = format!("/no/{bad}");
    let document = document.to_str().unwrap();
    let cases: &[&[&str]] = &[
        &["list", "--ns", &path],
        &["list", "--ns", bad],
        &["tree", "--ns", bad],
        &["list", "--kind", bad],
        &["list", "--pid", bad],
        &["list", "--filter", bad],
        &["list", "--filter", &format!("leader.comm == '{bad}' && x")],
        &["list", "--filter", "leader.comm.matches('(\u{1b}')"],
        &["list", &format!("--{bad}")],
        &[bad],
        &["completions", bad],
        &["diff", &path],
        &["diff", document],
        &["trace", "--cgroup", &path],
        &["trace", "--duration", bad],
        &["trace", "--uid", bad],
        &["trace", "--quiet", "--", &path],
    ];
    for args in cases {
        let ran = run(args);
        assert!(matches!(ran.code, Some(2 | 127)), "{args:?}: {:?} {}", ran.code, ran.stderr);
        is_harmless(&ran.stderr);
        assert!(!ran.stderr.lines().any(|line| line == "nsprobe: all is well"), "{args:?}: {}", ran.stderr);
    }
    // Also if it is not UTF-8.
    for option in ["--ns", "--filter", "--columns"] {
        let output = nsprobe().args(["list", option]).arg(OsStr::from_bytes(b"/\xff\x1b")).output().unwrap();
        let ran = support::Ran::from(output);
        assert_eq!(ran.code, Some(2), "{option}: {}", ran.stderr);
        is_harmless(&ran.stderr);
    }
}

#[test]
fn nothing_is_written_past_the_one_place_for_messages() {
    let _limit = support::time_limit();
    let Some(sources) = support::sources() else { return support::skipped("the sources are not available") };
    for (path, text) in &sources {
        if path.ends_with("cli/output.rs") || path.ends_with("tests.rs") {
            continue;
        }
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        // Examples in the documentation are programs of others.
        let text: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        for word in ["print!(", "println!(", "stderr()", "dbg!(", ".display()"] {
            assert!(!text.contains(word), "{word} in {}", path.display());
        }
    }
    assert!(sources.len() > 100, "{} files", sources.len());
}
