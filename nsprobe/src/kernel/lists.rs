//! The kernel's own lists of namespaces, walked by a BPF program: Linux 6.18. From 6.19, listns(2) returns the active
//! ones more cheaply, and only this finds the inactive ones.

use super::bpf::Programs;
use super::btf;
use super::listns;
use super::memory_limit::MemoryLimit;
use super::probe::OpenError;
use super::refusal::Refusal;
use super::test_run::TestRun;
use super::vmlinux::KernelTypes;
use crate::model::NsKind;
use nsprobe_ebpf::{ABSENT, FIELDS, Field, FieldSource, map};
use std::io;

/// The reason that the lists cannot be walked.
#[derive(Debug, thiserror::Error)]
pub enum ListsError {
    /// The probe is not available.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A field that the walk needs is missing.
    #[error("this kernel's namespaces have no {0}: this version of nsprobe cannot read their lists")]
    NoField(String),
    /// The program was not loaded.
    #[error("the kernel refuses the BPF program: {}", .0.reason)]
    Refused(Refusal),
}

/// The fields that have these names from Linux 6.18 on. Without one of them a walk would go astray.
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

/// The program that walks a list.
const PROGRAM: &str = "list_namespaces";

/// The nodes of a namespace, and the two roots that all namespaces of a kind are linked to.
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
    program: TestRun,
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
            .and_then(|programs| TestRun::load(&programs, PROGRAM, map::WALK, &[]));
        Ok(Self { program: load.map_err(ListsError::Refused)?, offsets })
    }

    /// Returns true if this kernel has namespaces of this kind, as far as its types show.
    #[must_use]
    pub fn has(&self, kind: NsKind) -> bool {
        path_to(kind).iter().all(|&field| self.offsets[field as usize] != ABSENT)
    }

    /// Goes some steps along the list of this kind, from its start or from where the last ones stopped, and returns
    /// their record: a [`nsprobe_ebpf::Walk`].
    pub fn walk(&self, kind: NsKind, begin: bool) -> io::Result<Vec<u8>> {
        let [pointer, common] = path_to(kind);
        self.program.run(&[pointer as u64, common as u64, u64::from(begin)])
    }
}

/// Returns the program's view of this kernel: the offset of every field, with those it does not need absent.
fn offsets(kernel: &[u8]) -> Result<Vec<u32>, ListsError> {
    let find = |sources: &[FieldSource]| {
        // The scan stops once these types have been found.
        let wanted = btf::Wanted { fields: sources, functions: &[], typedefs: &[] };
        Ok::<_, OpenError>(btf::find(kernel, &wanted)?.offsets)
    };
    let mut fields: Vec<Field> =
        NEEDED.into_iter().chain(NsKind::ALL.into_iter().flat_map(path_to)).collect();
    let older = !listns::is_supported();
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

/// Returns the path from a task to the namespace at which the walk starts: the pointer to it in the task's credentials
/// or nsproxy, and its member common to all kinds.
const fn path_to(kind: NsKind) -> [Field; 2] {
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
