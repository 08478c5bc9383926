//! One run of nsprobe, and its faults.

use super::ledger::{Ns, ns};
use super::users::{UserIndex, Users};
use crate::ending;
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The result of a run.
#[derive(Default)]
pub struct Snapshot {
    /// Faults that do not depend on what existed on the machine.
    pub wrong: Vec<String>,
    /// The namespaces it reports.
    pub reported: BTreeMap<Ns, Reported>,
    /// The kinds of its gaps.
    pub gaps: BTreeSet<String>,
    /// When it began and ended, by the caller's clock.
    pub during: (Duration, Duration),
}

/// The report of a namespace.
#[derive(Debug)]
pub struct Reported {
    /// All of it, in JSON.
    pub report: String,
    /// Its users.
    pub used_by: Users,
}

/// Runs nsprobe with `arguments`. `inherited` are descriptors that every child of this process has.
pub fn take(
    nsprobe: &Path,
    arguments: &[&str],
    inherited: &[(u32, String)],
    clock: impl Fn() -> Duration,
) -> Result<Snapshot> {
    let begin = clock();
    let ended = ending::inspect(Command::new(nsprobe).args(arguments), ending::descriptors)?;
    let mut snapshot = if arguments.contains(&"--json") { read(&ended.stdout) } else { Snapshot::default() };
    snapshot.during = (begin, clock());
    if !ended.status.success() {
        snapshot.wrong.push(format!(
            "{}: {}",
            ended.status,
            String::from_utf8_lossy(&ended.stderr).trim_end()
        ));
    }
    if String::from_utf8_lossy(&ended.stderr).contains("panicked") {
        snapshot.wrong.push(String::from_utf8_lossy(&ended.stderr).into_owned());
    }
    if ended.stdout.is_empty() {
        snapshot.wrong.push("no output".to_owned());
    }
    let leaked = ended.seen.iter().filter(|open| open.0 > 2 && !inherited.contains(open));
    snapshot.wrong.extend(leaked.map(|(fd, target)| format!("descriptor {fd} is open at its end: {target}")));
    Ok(snapshot)
}

/// Parses a document of `nsprobe list --json`.
fn read(stdout: &[u8]) -> Snapshot {
    match serde_json::from_slice(stdout).context("not JSON").and_then(|document| digest(&document)) {
        Ok(snapshot) => snapshot,
        Err(error) => Snapshot { wrong: vec![format!("{error:#}")], ..Snapshot::default() },
    }
}

/// The namespaces of a document. Everything it refers to must be among those it lists.
fn digest(document: &Value) -> Result<Snapshot> {
    let mut snapshot = Snapshot::default();
    let list = |name: &str| document[name].as_array().with_context(|| format!("no array {name}"));
    let users = UserIndex::new(list("namespaces")?, list("processes")?);
    let mut references = BTreeSet::new();
    for namespace in list("namespaces")? {
        let ns = ns(namespace).with_context(|| format!("not a namespace: {namespace}"))?;
        references.extend(["parent", "owner"].iter().filter_map(|name| self::ns(&namespace[name])));
        for holder in namespace["holders"].as_array().into_iter().flatten() {
            references.extend(["of", "mount_namespace"].iter().filter_map(|name| self::ns(&holder[name])));
        }
        let reported = Reported { report: namespace.to_string(), used_by: users.of(namespace) };
        if snapshot.reported.insert(ns.clone(), reported).is_some() {
            snapshot.wrong.push(format!("{ns} twice"));
        }
    }
    for process in list("processes")? {
        for (slot, ino) in process["namespaces"].as_object().into_iter().flatten() {
            let kind = slot.strip_suffix("_for_children").unwrap_or(slot);
            references.extend(ino.as_u64().map(|ino| Ns::new(kind, ino)));
        }
    }
    let unlisted = references.iter().filter(|ns| !snapshot.reported.contains_key(ns));
    snapshot.wrong.extend(unlisted.map(|ns| format!("{ns} is referred to and not listed")));
    snapshot.gaps.extend(list("gaps")?.iter().map(|gap| format!("{}: {}", gap["kind"], gap["reason"])));
    Ok(snapshot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn document_is_digested() {
        let document = r#"{"namespaces":[
            {"kind":"net","ino":1,"parent":null,"owner":{"kind":"user","ino":2},
             "holders":[{"type":"bind_mount","mount_namespace":{"kind":"mnt","ino":3},"path":"/a"}]},
            {"kind":"user","ino":2,"parent":null,"owner":null,"holders":[{"type":"ancestor","of":{"kind":"net","ino":1}}]}],
            "processes":[{"pid":1,"namespaces":{"net":1,"pid_for_children":4}},{"pid":2,"namespaces":null}],
            "gaps":[{"kind":"source","reason":"r"}]}"#;
        let snapshot = read(document.as_bytes());
        assert_eq!(
            snapshot.reported.keys().cloned().collect::<Vec<_>>(),
            [Ns::new("net", 1), Ns::new("user", 2)]
        );
        let wrong = ["mnt:[3] is referred to and not listed", "pid:[4] is referred to and not listed"];
        assert_eq!(snapshot.wrong, wrong);
        assert_eq!(snapshot.gaps.len(), 1);
    }

    #[test]
    fn text_other_than_a_document_is_a_fault() {
        for wrong in ["", "{", "[]", r#"{"namespaces":[{"kind":"net"}],"processes":[],"gaps":[]}"#] {
            assert_eq!(read(wrong.as_bytes()).wrong.len(), 1, "{wrong}");
        }
        let twice =
            r#"{"namespaces":[{"kind":"net","ino":1},{"kind":"net","ino":1}],"processes":[],"gaps":[]}"#;
        assert_eq!(read(twice.as_bytes()).wrong, ["net:[1] twice"]);
    }

    #[test]
    fn open_descriptor_and_failure_are_faults() {
        let sh =
            |script: &str| take(Path::new("sh"), &["-c", script], &[], || Duration::ZERO).expect("sh").wrong;
        let inherited = sh("echo .");
        let opened = sh("echo .; exec 9</dev/null");
        assert!(!inherited.iter().any(|wrong| wrong.contains("descriptor 9 ")), "{inherited:?}");
        assert!(opened.contains(&"descriptor 9 is open at its end: /dev/null".to_owned()), "{opened:?}");
        assert!(sh("echo .; echo why >&2; exit 3").contains(&"exit status: 3: why".to_owned()));
        assert!(sh(":").contains(&"no output".to_owned()));
        assert!(sh("echo .; echo 'thread panicked at' >&2").iter().any(|wrong| wrong.contains("panicked")));
    }
}
