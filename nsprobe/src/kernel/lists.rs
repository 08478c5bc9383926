//! The kernel's own lists of namespaces, walked by a BPF program: Linux 6.18. From 6.19 on listns(2) tells more
//! cheaply what in them is active, and nothing else tells what is not.

use super::bpf::Programs;
use super::btf;
use super::listns;
use super::memory_limit::MemoryLimit;
use super::on_demand::OnDemand;
use super::probe::OpenError;
use super::refusal::Refusal;
use super::vmlinux::KernelTypes;
use crate::model::NsKind;
use nsprobe_ebpf::{ABSENT, FIELDS, Field, FieldSource, map};
use std::io;

/// Why the lists cannot be walked along.
#[derive(Debug, thiserror::Error)]
pub enum ListsError {
    /// There is no probe at all.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A field that the walk needs.
    #[error("this kernel's namespaces have no {0}: this nsprobe does not know their lists")]
    NoField(String),
    /// The program was not loaded.
    #[error("the kernel refuses the BPF program: {}", .0.reason)]
    Refused(Refusal),
}

/// What Linux has under these names from 6.18 on. Without one of them a walk would go astray.
pub const NEEDED: [Field; 11] = [
    Field::TaskCred,
    Field::TaskNsproxy,
    Field::NsCommonInum,
    Field::NsCommonType,
    Field::NsCommonOps,
    Field::NsCommonId,
    Field::NsCommonRef,
    Field::RbRootNode,
    Field::RbNodeParent,
    Field::ListNext,
    Field::ListPrev,
];

/// The program that goes along a list.
const PROGRAM: &str = "list_namespaces";

/// Where the nodes of a namespace are, and the two parts of what all of a kind hang on.
pub const OF_618: [Field; 5] = [
    Field::NsCommonListNode,
    Field::NsCommonTreeNode,
    Field::NsTreeRoot,
    Field::NsTreeList,
    Field::NsTreeType,
];

/// The same from 6.19 on. The first two are in the tree node.
const SINCE_619: [FieldSource; 4] = [
    FieldSource { type_name: "ns_tree_node", member: "ns_list_entry" },
    FieldSource { type_name: "ns_tree_node", member: "ns_node" },
    FieldSource { type_name: "ns_tree_root", member: "ns_rb" },
    FieldSource { type_name: "ns_tree_root", member: "ns_list_head" },
];

/// The loaded program.
#[derive(Debug)]
pub struct Lists {
    program: OnDemand,
    offsets: Vec<u32>,
}

impl Lists {
    /// Loads the program.
    pub fn open() -> Result<Self, ListsError> {
        let kernel = KernelTypes::open().map_err(|error| OpenError::NoBtf { error })?;
        let offsets = offsets(&kernel)?;
        drop(kernel);
        let _memory = MemoryLimit::raise();
        let load = Programs::open(&[PROGRAM], &offsets)
            .and_then(|programs| OnDemand::load(&programs, PROGRAM, map::WALK, &[]));
        Ok(Self { program: load.map_err(ListsError::Refused)?, offsets })
    }

    /// Whether this kernel has namespaces of this kind, as far as its types tell.
    #[must_use]
    pub fn has(&self, kind: NsKind) -> bool {
        way(kind).iter().all(|&field| self.offsets[field as usize] != ABSENT)
    }

    /// Goes some steps along the list of this kind, from its beginning or from where the last ones ended, and gives
    /// the record of it: a [`nsprobe_ebpf::Walk`].
    pub fn walk(&self, kind: NsKind, begin: bool) -> io::Result<Vec<u8>> {
        let [pointer, common] = way(kind);
        self.program.run(&[pointer as u64, common as u64, u64::from(begin)])
    }
}

/// What the program is to know of this kernel: the offset of every field, those that it does not need absent.
fn offsets(kernel: &[u8]) -> Result<Vec<u32>, ListsError> {
    let find = |sources: &[FieldSource]| {
        // The rest of the types is not looked at when these have been found.
        let wanted = btf::Wanted { fields: sources, functions: &[], typedefs: &[] };
        Ok::<_, OpenError>(btf::find(kernel, &wanted)?.offsets)
    };
    let mut fields: Vec<Field> = NEEDED.into_iter().chain(NsKind::ALL.into_iter().flat_map(way)).collect();
    let older = !listns::is_there();
    fields.extend(if older { &OF_618[..] } else { &[Field::NsCommonTreeNode] });
    let mut sources: Vec<FieldSource> = fields.iter().map(|&field| FIELDS[field as usize]).collect();
    sources.extend(if older { &[] } else { &SINCE_619[..] });
    let found = find(&sources)?;
    let mut offsets = vec![ABSENT; FIELDS.len()];
    fields.iter().zip(&found).for_each(|(&field, &offset)| offsets[field as usize] = offset);
    if let [list, tree, root, head] = found[fields.len()..] {
        let node = offsets[Field::NsCommonTreeNode as usize];
        let within = |offset: u32| node.checked_add(offset).unwrap_or(ABSENT);
        offsets[Field::NsCommonListNode as usize] = within(list);
        offsets[Field::NsCommonTreeNode as usize] = within(tree);
        offsets[Field::NsTreeRoot as usize] = root;
        offsets[Field::NsTreeList as usize] = head;
    }
    let needed = NEEDED.iter().chain(if older { &OF_618[..] } else { &OF_618[..4] });
    match btf::absent(needed, &offsets) {
        Some(field) => Err(ListsError::NoField(field)),
        None => Ok(offsets),
    }
}

/// The way from a task to the namespace that the walk begins at: the field that points to it, in the task's
/// credentials or proxy, and its part that all kinds have.
const fn way(kind: NsKind) -> [Field; 2] {
    match kind {
        NsKind::Cgroup => [Field::NsproxyCgroup, Field::CgroupNsCommon],
        NsKind::Ipc => [Field::NsproxyIpc, Field::IpcNsCommon],
        NsKind::Mnt => [Field::NsproxyMnt, Field::MntNsCommon],
        NsKind::Net => [Field::NsproxyNet, Field::NetNsCommon],
        NsKind::Pid => [Field::NsproxyPidForChildren, Field::PidNsCommon],
        NsKind::Time => [Field::NsproxyTime, Field::TimeNsCommon],
        NsKind::User => [Field::CredUserNs, Field::UserNsCommon],
        NsKind::Uts => [Field::NsproxyUts, Field::UtsNsCommon],
    }
}
