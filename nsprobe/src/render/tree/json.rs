//! The tree as one JSON document, nested like the lines of text, and never folded or cut.

use super::boundary::{Boundary, boundaries};
use super::forest::Forest;
use super::hierarchy::{Entry, Hierarchy};
use super::{By, Options, process};
use crate::document::namespace::Namespace;
use crate::document::schemas;
use crate::document::tree::{NamespaceNode, ProcessNode, Tree};
use crate::document::values::WordSet;
use crate::document::word::{Changed, Word};
use crate::model::{self, NsId, NsSlot, Snapshot};
use crate::render::bytes;
use serde::Serialize;
use std::collections::HashSet;
use std::io::{self, Write};

/// Writes the tree as JSON, on one line.
pub fn json(out: &mut dyn Write, snapshot: &Snapshot, options: &Options<'_>) -> io::Result<()> {
    match options.by {
        By::Process => processes(out, snapshot, options),
        By::Pid => hierarchy(out, &Hierarchy::of_pid(snapshot, options.wanted), snapshot, options),
        By::User => hierarchy(out, &Hierarchy::of_user(snapshot, options.wanted), snapshot, options),
    }
}

/// The document without its nodes, and with the namespaces that `is_shown` selects.
fn document<'a>(
    snapshot: &'a Snapshot,
    by: By,
    is_shown: impl Fn(&&'a model::Namespace) -> bool,
) -> Tree<'a> {
    let namespaces = snapshot.namespaces.iter().filter(is_shown);
    Tree {
        schema: schemas::TREE.into(),
        by: Word(by),
        processes_from: Word(snapshot.processes_from),
        namespaces: namespaces.map(|namespace| Namespace::new(namespace, snapshot)).collect(),
        gaps: snapshot.gaps.iter().map(Into::into).collect(),
        roots: Vec::new(),
    }
}

/// Writes the processes, and the namespaces they refer to if the tree was narrowed.
fn processes(out: &mut dyn Write, snapshot: &Snapshot, options: &Options<'_>) -> io::Result<()> {
    let mut forest = process::forest(snapshot);
    let boundaries = boundaries(snapshot, &forest);
    let narrowed = process::narrow(&mut forest, snapshot, options);
    let referred =
        |&i: &usize| NsSlot::ALL.into_iter().filter_map(move |slot| snapshot.processes[i].namespace(slot));
    let referred: Option<HashSet<NsId>> =
        narrowed.then(|| forest.order.iter().flat_map(referred).chain(options.ns).collect());
    let is_shown = |ns: &&model::Namespace| referred.as_ref().is_none_or(|ids| ids.contains(&ns.id));
    nest(out, &document(snapshot, options.by, is_shown), &forest, |i| ProcessNode {
        process: (&snapshot.processes[i]).into(),
        boundary: WordSet(changes(&boundaries[i]).into()),
        children: Vec::new(),
    })
}

fn changes(boundary: &Boundary<'_>) -> Vec<Changed> {
    let changed = boundary.changed.iter().map(|id| Changed::Slot(NsSlot::In(id.kind)));
    let for_children = boundary.for_children.iter().map(|(slot, _)| Changed::Slot(*slot));
    changed.chain(for_children).chain(boundary.root.map(|_| Changed::Root)).collect()
}

fn hierarchy(
    out: &mut dyn Write,
    hierarchy: &Hierarchy<'_>,
    snapshot: &Snapshot,
    options: &Options<'_>,
) -> io::Result<()> {
    let object = |namespace| Namespace::new(namespace, snapshot);
    nest(out, &document(snapshot, options.by, |_| true), &hierarchy.forest, |i| {
        let Entry { namespace, members, owned } = &hierarchy.entries[i];
        NamespaceNode {
            namespace: namespace.map(object),
            processes: members.iter().copied().map(Into::into).collect(),
            owned: (options.by == By::User).then(|| owned.iter().copied().map(object).collect()),
            children: Vec::new(),
        }
    })
}

/// The maximum number of nested levels: JSON readers limit nesting (serde_json to 128 arrays and objects, of which a
/// level takes two), and a tenant may have a chain of thousands of processes. Deeper nodes become siblings on the
/// last level.
const MAX_DEPTH: usize = 48;

/// Writes a document with a forest as its last field: nested arrays of the nodes that `node` makes, which end in
/// `children`.
///
/// Each node is serialised on its own, and the open ones are kept in a list: serialising nested values would recurse as
/// deep as the tree is.
fn nest<T: Serialize>(
    out: &mut dyn Write,
    document: &Tree<'_>,
    forest: &Forest,
    mut node: impl FnMut(usize) -> T,
) -> io::Result<()> {
    open(out, document)?;
    let forest = &forest.no_deeper_than(MAX_DEPTH);
    // Siblings, and the number of them that are written.
    let mut pending: Vec<(&[usize], usize)> = vec![(&forest.roots, 0)];
    while let Some((siblings, written)) = pending.last_mut() {
        let Some(&index) = siblings.get(*written) else {
            pending.pop();
            out.write_all(b"]}")?;
            continue;
        };
        if *written > 0 {
            out.write_all(b",")?;
        }
        *written += 1;
        open(out, &node(index))?;
        pending.push((&forest.children[index], 0));
    }
    out.write_all(b"\n")
}

/// Writes an object up to the items of its last field, which is an empty array.
fn open(out: &mut dyn Write, object: &impl Serialize) -> io::Result<()> {
    let bytes = bytes::to_vec(object)?;
    let begun = bytes.strip_suffix(b"]}");
    debug_assert!(begun.is_some(), "no array at the end");
    out.write_all(begun.unwrap_or(&bytes))
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
        // Everything in it has a field in the types.
        let read_and_written = match by {
            By::Process => serde_json::to_value(serde_json::from_slice::<Tree<'_>>(&out).unwrap()),
            By::Pid | By::User => {
                let tree = serde_json::from_slice::<Tree<'_, NamespaceNode<'_>>>(&out).unwrap();
                serde_json::to_value(tree)
            }
        };
        let document: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(read_and_written.unwrap(), document);
        document
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
            assert!(out.ends_with(b"]}\n"));
        });
    }
}
