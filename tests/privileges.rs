//! What is said to somebody who has some capabilities and not others: each reason and remedy is true for him.

use crate::support;
use crate::support::stage::Staged;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

/// An ordinary user with these capabilities, as setpriv(1) names them: `bpf,perfmon`.
fn with(capabilities: &[&str], nsprobe: &Path, args: &[&str]) -> Output {
    let list: Vec<String> = capabilities.iter().map(|name| format!("+{name}")).collect();
    let list = if list.is_empty() { "-all".to_owned() } else { list.join(",") };
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command.args([format!("--inh-caps={list}"), format!("--ambient-caps={list}")]);
    command.arg(nsprobe).args(args).output().unwrap()
}

/// The capabilities that a text names, as setpriv(1) does.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_uppercase() || c == '_'));
    words.filter_map(|word| word.strip_prefix("CAP_")).map(str::to_lowercase).collect()
}

/// What would help, by what the list lacks. No remedy names a capability that is there, and no reason says that one is
/// there which is not.
fn gaps(capabilities: &[&str], nsprobe: &Path) -> Vec<(String, String)> {
    let output = with(capabilities, nsprobe, &["list", "--json"]);
    let document: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let has = |name: &String| capabilities.contains(&name.as_str());
    let gap = |gap: &Value| {
        let (reason, remedy) = (gap["reason"].as_str().unwrap(), gap["remedy"].as_str().unwrap_or_default());
        assert!(!named(remedy).iter().any(has), "{capabilities:?}: {gap}");
        if let Some((_, even_with)) = reason.split_once("even with ") {
            assert!(named(even_with).iter().all(has), "{capabilities:?}: {gap}");
        }
        (gap["kind"].as_str().unwrap().to_owned(), remedy.to_owned())
    };
    document["gaps"].as_array().unwrap().iter().map(gap).collect()
}

/// By which plan a trace sees calls, and what would let it see more.
fn plan(capabilities: &[&str], nsprobe: &Path) -> (String, BTreeSet<String>) {
    let output = with(capabilities, nsprobe, &["trace", "--duration", "1ms"]);
    let text = String::from_utf8(output.stderr).unwrap();
    let (_, said) = text.split_once("tracing by ").unwrap_or_else(|| panic!("{capabilities:?}: {text}"));
    let plan = said.split([';', '\n']).next().unwrap().to_owned();
    (
        plan,
        said.split_once("to see more: ")
            .map(|(_, more)| named(more.lines().next().unwrap()))
            .unwrap_or_default(),
    )
}

fn owned(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn borrowed(names: &BTreeSet<String>) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

#[test]
fn each_remedy_names_what_is_lacking_and_works() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let (_dir, nsprobe) = support::unprivileged_copy();
    // Somebody else's process, with a descriptor and a namespace.
    let _other = Staged::sh("exec unshare --net --mount sleep 1000 </dev/null");
    // As a list: with what is named nothing more is lacking, or something that could not be known before.
    let rows: [&[&str]; 4] = [&[], &["bpf", "perfmon"], &["sys_ptrace"], &["sys_admin"]];
    for row in rows {
        let (mut have, mut found) = (owned(row), gaps(row, &nsprobe));
        for (kind, remedy) in &found {
            match (kind.as_str(), row) {
                // What takes CAP_SYS_PTRACE is not taken for a matter of CAP_SYS_ADMIN.
                ("relations", ["sys_admin"]) => assert_eq!(named(remedy), owned(&["sys_ptrace"])),
                // Nor that `/proc/PID/fd` is its owner's for one of a security module.
                ("descriptors", ["sys_ptrace"]) => assert_eq!(named(remedy), owned(&["dac_read_search"])),
                _ => {}
            }
        }
        for _ in 0..2 {
            let lacking: Vec<_> = found.iter().flat_map(|(_, remedy)| named(remedy)).collect();
            if lacking.is_empty() {
                break;
            }
            have.extend(lacking);
            found = gaps(&borrowed(&have), &nsprobe);
        }
        assert!(
            found.iter().all(|(_, remedy)| named(remedy).is_empty()),
            "{row:?}, then {have:?}: {found:?}"
        );
    }
    // As a trace likewise, and then calls are seen as well as can be.
    let best = plan(&["sys_admin", "dac_read_search"], &nsprobe).0;
    let rows: [&[&str]; 3] = [&[], &["bpf", "perfmon"], &["sys_admin"]];
    for row in rows {
        let (mut have, mut found) = (owned(row), plan(row, &nsprobe));
        for _ in 0..2 {
            if !found.1.is_empty() {
                have.extend(found.1);
                found = plan(&borrowed(&have), &nsprobe);
            }
        }
        assert_eq!(found, (best.clone(), BTreeSet::new()), "{row:?}, then {have:?}");
    }
}
