//! The tree as one JSON document, nested like the lines of text, and never folded or cut.

use super::boundary::{Boundary, boundaries};
use super::forest::Forest;
use super::hierarchy::{Entry, Hierarchy};
use super::{By, Options, process};
use crate::document::schemas;
use crate::model::{NsId, NsSlot, Process, Snapshot};
use crate::render::bytes;
use crate::render::json::{NamespaceObject, ProcessObject, gap_object, namespace_object, process_object};
use serde::Serialize;
use std::collections::HashSet;
use std::io::{self, Write};

/// A process in the tree.
#[derive(Serialize)]
struct ProcessNode<'a> {
    #[serde(flatten)]
    process: ProcessObject<'a>,
    /// The differences from the parent: kinds, `pid_for_children`, `time_for_children`, `root`.
    boundary: Vec<&'static str>,
}

/// A namespace of a hierarchy, its members and the namespaces it owns.
#[derive(Serialize)]
struct EntryNode<'a> {
    /// `null` for members whose namespace is not known.
    namespace: Option<NamespaceObject<'a>>,
    processes: Vec<ProcessObject<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owned: Option<Vec<NamespaceObject<'a>>>,
}

/// Writes the tree as JSON, on one line.
pub fn json(out: &mut dyn Write, snapshot: &Snapshot, options: &Options<'_>) -> io::Result<()> {
    write!(
        out,
        "{{\"schema\":{},\"by\":\"{}\",\"processes_from\":\"{}\",\"roots\":",
        String::from_utf8_lossy(&bytes::to_vec(&schemas::TREE)?),
        options.by.name(),
        snapshot.processes_from.name()
    )?;
    let mut shown = None;
    match options.by {
        By::Process => shown = processes(out, snapshot, options)?,
        By::Pid => hierarchy(out, &Hierarchy::of_pid(snapshot, options.wanted), snapshot, options)?,
        By::User => hierarchy(out, &Hierarchy::of_user(snapshot, options.wanted), snapshot, options)?,
    }
    let is_shown = |id| shown.as_ref().is_none_or(|shown| shown.contains(&id));
    let namespaces = snapshot.namespaces.iter().filter(|ns| is_shown(ns.id));
    out.write_all(b",\"namespaces\":")?;
    list(out, namespaces.map(|ns| namespace_object(ns, snapshot)))?;
    out.write_all(b",\"gaps\":")?;
    list(out, snapshot.gaps.iter().map(gap_object))?;
    out.write_all(b"}\n")
}

/// Writes the processes; returns the namespaces they refer to if the tree was narrowed.
fn processes(
    out: &mut dyn Write,
    snapshot: &Snapshot,
    options: &Options<'_>,
) -> io::Result<Option<HashSet<NsId>>> {
    let mut forest = process::forest(snapshot);
    let boundaries = boundaries(snapshot, &forest);
    let narrowed = process::narrow(&mut forest, snapshot, options);
    nest(out, &forest, |i| {
        let process = process_object(&snapshot.processes[i]);
        bytes::to_vec(&ProcessNode { process, boundary: names(&boundaries[i]) })
    })?;
    let referred =
        |&i: &usize| NsSlot::ALL.into_iter().filter_map(move |slot| snapshot.processes[i].namespace(slot));
    Ok(narrowed.then(|| forest.order.iter().flat_map(referred).chain(options.ns).collect()))
}

fn names(boundary: &Boundary<'_>) -> Vec<&'static str> {
    let changed = boundary.changed.iter().map(|id| id.kind.name());
    let for_children = boundary.for_children.iter().map(|(slot, _)| slot.name());
    changed.chain(for_children).chain(boundary.root.map(|_| "root")).collect()
}

fn hierarchy(
    out: &mut dyn Write,
    hierarchy: &Hierarchy<'_>,
    snapshot: &Snapshot,
    options: &Options<'_>,
) -> io::Result<()> {
    nest(out, &hierarchy.forest, |i| {
        let Entry { namespace, members, owned } = &hierarchy.entries[i];
        let owned = owned.iter().map(|ns| namespace_object(ns, snapshot));
        bytes::to_vec(&EntryNode {
            namespace: namespace.map(|ns| namespace_object(ns, snapshot)),
            processes: members.iter().map(|&process: &&Process| process_object(process)).collect(),
            owned: (options.by == By::User).then(|| owned.collect()),
        })
    })
}

/// The maximum number of nested levels: JSON readers limit nesting (serde_json to 128 arrays and objects, of which a
/// level takes two), and a tenant may have a chain of thousands of processes. Deeper nodes become siblings on the
/// last level.
const MAX_DEPTH: usize = 48;

/// Writes a forest as nested arrays of the objects that `object` makes, each with its `children` added.
///
/// Each object is serialised on its own, and the open ones are kept in a list: serialising nested values would
/// recurse as deep as the tree is.
fn nest(
    out: &mut dyn Write,
    forest: &Forest,
    mut object: impl FnMut(usize) -> io::Result<Vec<u8>>,
) -> io::Result<()> {
    out.write_all(b"[")?;
    let forest = &forest.no_deeper_than(MAX_DEPTH);
    // Siblings, and the number of them that are written.
    let mut open: Vec<(&[usize], usize)> = vec![(&forest.roots, 0)];
    while let Some((siblings, written)) = open.last_mut() {
        let Some(&index) = siblings.get(*written) else {
            open.pop();
            out.write_all(if open.is_empty() { b"]" } else { b"]}" })?;
            continue;
        };
        if *written > 0 {
            out.write_all(b",")?;
        }
        *written += 1;
        let mut bytes = object(index)?;
        let brace = bytes.pop();
        debug_assert_eq!(brace, Some(b'}'), "not an object");
        out.write_all(&bytes)?;
        out.write_all(b",\"children\":[")?;
        open.push((&forest.children[index], 0));
    }
    Ok(())
}

fn list<T: Serialize>(out: &mut dyn Write, items: impl Iterator<Item = T>) -> io::Result<()> {
    out.write_all(b"[")?;
    for (i, item) in items.enumerate() {
        if i > 0 {
            out.write_all(b",")?;
        }
        bytes::to_writer(&mut *out, &item)?;
    }
    out.write_all(b"]")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{NsKind, Root};
    use crate::render::tree::sample::Sample;
    use serde_json::Value;

    fn show(sample: &Sample, by: By, pid: Option<u32>) -> Value {
        let options = Options { by, all: false, pid, ns: None, wanted: None, user_name: &|_| None };
        let mut out = Vec::new();
        json(&mut out, &sample.finished(), &options).unwrap();
        assert_eq!(out.iter().position(|&byte| byte == b'\n'), Some(out.len() - 1), "one line");
        serde_json::from_slice(&out).unwrap()
    }

    fn host() -> Sample {
        let mut host = Sample::new();
        host.process(1, 0, "init");
        host.process(10, 1, "a \"quoted\" \n command").root = Root::Chrooted("/jail".into());
        host.enter(10, NsKind::Net, 77);
        host.enter_slot(10, NsSlot::PidForChildren, 88);
        host.copy(11, 10, "child");
        host.process(20, 1, "other").namespaces = None;
        host
    }

    #[test]
    fn processes_nest_and_nothing_is_folded() {
        let tree = show(&host(), By::Process, None);
        assert_eq!(tree["schema"]["name"], "nsprobe.tree");
        assert_eq!(tree["by"], "process");
        let init = &tree["roots"][0];
        assert_eq!(init["pid"], 1);
        assert_eq!(init["boundary"], serde_json::json!([]));
        let inside = &init["children"][0];
        assert_eq!(inside["arguments"], serde_json::json!(["a", "\"quoted\"", "\n", "command"]));
        assert_eq!(inside["boundary"], serde_json::json!(["net", "pid_for_children", "root"]));
        assert_eq!(inside["namespaces"]["net"], 77);
        assert_eq!(inside["children"][0]["pid"], 11);
        assert_eq!(init["children"][1]["namespaces"], Value::Null);
        assert_eq!(init["children"].as_array().map(Vec::len), Some(2));
        assert_eq!(tree["namespaces"].as_array().map(Vec::len), Some(10));
    }

    #[test]
    fn branch_has_only_its_own_namespaces() {
        let tree = show(&host(), By::Process, Some(11));
        assert_eq!(tree["roots"][0]["children"][0]["children"][0]["pid"], 11);
        assert_eq!(tree["roots"][0]["children"].as_array().map(Vec::len), Some(1));
        assert_eq!(tree["namespaces"].as_array().map(Vec::len), Some(10));
        let tree = show(&host(), By::Process, Some(20));
        assert_eq!(tree["namespaces"].as_array().map(Vec::len), Some(8), "namespaces of pid 1");
    }

    #[test]
    fn hierarchies_have_members_and_those_of_unknown_namespaces() {
        let tree = show(&host(), By::Pid, None);
        let top = &tree["roots"][0];
        assert_eq!(top["namespace"]["initial"], true);
        assert_eq!(top["processes"].as_array().map(Vec::len), Some(3));
        assert_eq!(top["children"][0]["namespace"]["ino"], 88);
        assert_eq!(top["owned"], Value::Null);
        let unplaced = &tree["roots"][1];
        assert_eq!(unplaced["namespace"], Value::Null);
        assert_eq!(unplaced["processes"][0]["pid"], 20);
        let tree = show(&host(), By::User, None);
        assert_eq!(tree["roots"][0]["owned"].as_array().map(Vec::len), Some(9));
    }

    #[test]
    fn ten_thousand_levels_need_no_stack() {
        let mut host = Sample::new();
        for pid in 1..=10_000 {
            host.process(pid, pid - 1, "deeper");
        }
        let snapshot = host.finished();
        // A thread with the smallest possible stack.
        let small = std::thread::Builder::new().stack_size(64 * 1024);
        std::thread::scope(|scope| {
            let run = || {
                let options = Options {
                    by: By::Process,
                    all: false,
                    pid: None,
                    ns: None,
                    wanted: None,
                    user_name: &|_| None,
                };
                let mut out = Vec::new();
                json(&mut out, &snapshot, &options).unwrap();
                out
            };
            let out = small.spawn_scoped(scope, run).unwrap().join().unwrap();
            let count = |wanted: &[u8]| out.windows(wanted.len()).filter(|&window| window == wanted).count();
            assert_eq!(count(b"\"children\":["), 10_000);
            assert_eq!(count(b"{"), count(b"}"));
            assert!(out.ends_with(b"\"gaps\":[]}\n"));
        });
    }
}
