//! The document of `nsprobe tree --json`.

use super::list::Gap;
use super::namespace::Namespace;
use super::process::Process;
use super::schemas::{self, Document, Schema, SchemaName};
use super::values::WordSet;
use super::word::{Changed, Word, words};
use crate::model::ProcessSource;
use serde::{Deserialize, Serialize};

/// A tree of processes, pid namespaces or user namespaces, each below its parent. Nodes are nested at most 48 levels
/// deep: deeper ones are siblings on the last level, and `ppid` of a process or `parent` of a namespace identifies their
/// parent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(
        title = "nsprobe tree --json",
        extend("if" = { "properties": { "by": { "const": "process" } } }),
        extend("then" = roots_of("ProcessNode")),
        extend("else" = roots_of("NamespaceNode"))
    )
)]
pub struct Tree<'a, R = ProcessNode<'a>> {
    /// Name and version of the schema that this output follows.
    pub schema: SchemaName<'a>,
    /// Nodes of the tree: processes (process), pid namespaces (pid) or user namespaces (user).
    pub by: Word<By>,
    /// Source of the processes and threads. proc: the files of /proc. bpf: the kernel's own tasks, read by a BPF
    /// iterator.
    pub processes_from: Word<ProcessSource>,
    /// Namespaces of the snapshot. If the tree is limited to some of the processes, only the namespaces to which these
    /// refer, and the namespace that was requested.
    pub namespaces: Vec<Namespace<'a>>,
    /// Data that could not be read.
    pub gaps: Vec<Gap<'a>>,
    /// Nodes without a visible parent.
    // The last field: their children are written after them, without recursion.
    #[cfg_attr(feature = "schema", schemars(schema_with = "nodes"))]
    pub roots: Vec<R>,
}

impl Document for Tree<'_> {
    const SCHEMA: Schema = schemas::TREE;
}

#[cfg(feature = "schema")]
fn roots_of(node: &str) -> serde_json::Value {
    serde_json::json!({ "properties": { "roots": { "items": { "$ref": format!("#/$defs/{node}") } } } })
}

/// An array of nodes; the condition on `by` says of which. Adds the definitions of both.
#[cfg(feature = "schema")]
fn nodes(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    generator.subschema_for::<ProcessNode<'_>>();
    generator.subschema_for::<NamespaceNode<'_>>();
    schemars::json_schema!({ "type": "array" })
}

/// The nodes of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Processes, each below its parent.
    Process,
    /// Pid namespaces, each below its parent.
    Pid,
    /// User namespaces, each below its parent, with the namespaces it owns.
    User,
}

impl By {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Process, Self::Pid, Self::User];

    /// Its name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Pid => "pid",
            Self::User => "user",
        }
    }
}

words! {
    By: By::ALL;
}

/// A process, with the processes below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ProcessNode<'a> {
    /// The process.
    #[serde(flatten)]
    pub process: Process<'a>,
    /// Differences from the parent process: the kinds whose namespace differs from the parent's, and `root` if the root
    /// directory differs. Also `pid_for_children` and `time_for_children`, if the children of the process will be in a
    /// namespace that differs from its own.
    pub boundary: WordSet<'a, Changed>,
    /// Processes directly below this one in the tree.
    pub children: Vec<Self>,
}

/// A pid or user namespace, with the namespaces below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NamespaceNode<'a> {
    /// The namespace. Null for the node of the processes whose namespace is not known and of the namespaces whose owner
    /// is not known.
    pub namespace: Option<Namespace<'a>>,
    /// Processes in the namespace itself, not in one below it.
    pub processes: Vec<Process<'a>>,
    /// Namespaces of other kinds that this user namespace owns. Null if `by` is not `user`.
    pub owned: Option<Vec<Namespace<'a>>>,
    /// Namespaces directly below this one in the tree.
    pub children: Vec<Self>,
}
