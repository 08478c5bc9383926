//! nsprobe's reports to a user with some capabilities and not others: each reason and remedy is true there.

use crate::support;
use crate::support::stage::Staged;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Output;

/// The output of nsprobe, run by an ordinary user with these capabilities, named as in setpriv(1): `bpf`.
fn with(capabilities: &[&str], nsprobe: &Path, args: &[&str]) -> Output {
    let list: Vec<String> = capabilities.iter().map(|name| format!("+{name}")).collect();
    let list = if list.is_empty() { "-all".to_owned() } else { list.join(",") };
    let mut command = support::nobody();
    command.args([format!("--inh-caps={list}"), format!("--ambient-caps={list}")]);
    command.arg(nsprobe).args(args).output().unwrap()
}

/// The capabilities that a text names, in the form of setpriv(1).
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_uppercase() || c == '_'));
    words.filter_map(|word| word.strip_prefix("CAP_")).map(str::to_lowercase).collect()
}

/// The gaps of a list. No remedy names a capability that the user has, and no reason claims one that the user lacks.
fn gaps(capabilities: &[&str], nsprobe: &Path) -> Vec<Value> {
    let output = with(capabilities, nsprobe, &["list", "--json"]);
    let mut document: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let has = |name: &String| capabilities.contains(&name.as_str());
    let Value::Array(gaps) = document["gaps"].take() else { panic!("{document}") };
    for gap in &gaps {
        assert!(!missing(gap).iter().any(has), "{capabilities:?}: {gap} of {gaps:#?}");
        if let Some((_, even_with)) = reason(gap).split_once("even with ") {
            assert!(named(even_with).iter().all(has), "{capabilities:?}: {gap} of {gaps:#?}");
        }
    }
    gaps
}

fn reason(gap: &Value) -> &str {
    gap["reason"].as_str().expect("a reason")
}

/// The capabilities that would help, by the remedy of a gap.
fn missing(gap: &Value) -> BTreeSet<String> {
    named(gap["remedy"].as_str().unwrap_or_default())
}

/// True if a gap is due to missing privileges. Others exist for every user, such as a namespace that nobody can open;
/// which ones depends on what else runs on the machine.
fn is_of_privileges(gap: &Value) -> bool {
    let is_denied =
        ["Permission denied", "Operation not permitted"].iter().any(|text| reason(gap).contains(text));
    is_denied || !missing(gap).is_empty() || !named(reason(gap)).is_empty()
}

/// The plan of a trace, and what would let it see more.
fn plan(capabilities: &[&str], nsprobe: &Path) -> (String, BTreeSet<String>) {
    let output = with(capabilities, nsprobe, &["trace", "--duration", "1ms"]);
    let text = String::from_utf8(output.stderr).unwrap();
    let (_, said) = text.split_once("tracing by ").unwrap_or_else(|| panic!("{capabilities:?}: {text}"));
    let plan = said.split([';', '\n']).next().unwrap().to_owned();
    let more = said.split_once("to see more: ").map(|(_, more)| named(more.lines().next().unwrap()));
    (plan, more.unwrap_or_default())
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
    // For a list: with the capabilities that are named nothing more is missing, except what could not be known
    // before.
    let rows: [&[&str]; 4] = [&[], &["bpf", "perfmon"], &["sys_ptrace"], &["sys_admin"]];
    for row in rows {
        let (mut have, mut found) = (owned(row), gaps(row, &nsprobe));
        let exactly: &[(&str, &str)] = match row {
            // A lack of CAP_SYS_PTRACE is not taken for a lack of CAP_SYS_ADMIN.
            ["sys_admin"] => &[("relations", "sys_ptrace")],
            // Nor the owner's protection of `/proc/PID/fd` for that of a security module.
            ["sys_ptrace"] => &[("descriptors", "dac_read_search")],
            _ => &[],
        };
        for &(kind, capability) in exactly {
            let of_kind: Vec<_> =
                found.iter().filter(|gap| gap["kind"] == kind && is_of_privileges(gap)).collect();
            let all = of_kind.iter().all(|gap| missing(gap) == owned(&[capability]));
            assert!(all && !of_kind.is_empty(), "{row:?}, {kind}: {found:#?}");
        }
        for _ in 0..2 {
            let more: BTreeSet<_> = found.iter().flat_map(missing).collect();
            if more.is_empty() {
                break;
            }
            have.extend(more);
            found = gaps(&borrowed(&have), &nsprobe);
        }
        assert!(found.iter().all(|gap| missing(gap).is_empty()), "{row:?}, then {have:?}: {found:#?}");
    }
    // For a trace likewise, and then calls are seen as well as possible.
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
