//! The namespaces in the kernel's own lists, whoever holds them: Linux 6.18, kernel/nstree.c. (From 6.19 on the same
//! nodes are in other structs, and userspace fills in the sums of their offsets.)
//!
//! Each kind has a ring of `struct ns_common`, sorted by id, and somewhere in the ring its head, which is part of a
//! `struct ns_tree`. The addresses of the heads are known only from symbols, which a kernel need not have. But every
//! task is in a namespace of each kind, and so in every ring: a walk starts there, and is complete when it comes round
//! to it again.
//!
//! Entries come and go meanwhile, under a lock that no program can take. A program runs within one RCU read section:
//! what it has reached stays, and so does what that leads to. Between two runs nothing stays, so the position to
//! continue at is checked again. A removed entry shows itself: its successor does not point back to it, now or at any
//! later time.
//!
//! The program is never attached, only run, by `BPF_PROG_TEST_RUN`.

use crate::maps::{self, offset};
use crate::task::{self, read, read_at};
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use nsprobe_ebpf::{ABSENT, Field, Header, WALK_STEPS, Walk, cause, outcome};

/// Goes some steps over the list of one kind. The first argument is a [`nsprobe_ebpf::slot`], the second is nonzero for
/// the first steps.
#[raw_tracepoint]
pub fn list_namespaces(context: RawTracePointContext) -> i32 {
    if let Some(walk) = maps::walk() {
        walk.header = Header::of::<Walk>(cause::WALK);
        walk.count = 0;
        walk.outcome = outcome::LOST;
        let own = own(context.arg(0), context.arg(1));
        if own != 0 {
            go(walk, own, context.arg::<u64>(2) != 0);
        }
    }
    0
}

/// Returns the address of a namespace of this task: `pointer` is the index of the [`Field`] that points to it, in the
/// task's credentials or in its nsproxy, `common` that of the `struct ns_common` in it. Looked up by index, not by
/// name: for every name the verifier would follow a separate path through the program.
#[inline(always)]
fn own(pointer: u64, common: u64) -> u64 {
    let holder = if pointer == Field::CredUserNs as u64 { Field::TaskCred } else { Field::TaskNsproxy };
    let holder: u64 = read(task::current(), holder);
    let namespace: u64 = read_at(holder + maps::offset_at(pointer));
    if namespace == 0 { 0 } else { namespace + maps::offset_at(common) }
}

/// The properties that all namespaces of one kind share, and nothing else has.
#[derive(Clone, Copy)]
struct Kind {
    clone_flag: u32,
    operations: u64,
}

#[inline(always)]
fn go(walk: &mut Walk, own: u64, begin: bool) {
    let kind = Kind { clone_flag: read(own, Field::NsCommonType), operations: read(own, Field::NsCommonOps) };
    let first = own + field(Field::NsCommonListNode);
    let mut node = first;
    if begin {
        walk.heads = 0;
    } else {
        let at = walk.at;
        node = at + field(Field::NsCommonListNode);
        // The id first: whatever replaces a namespace that is gone has a different id, or none.
        if read_at::<u64>(at + field(Field::NsCommonId)) != walk.at_id || !is(at, kind) || !is_linked(node) {
            return;
        }
        node = next(node);
        if !is(node - field(Field::NsCommonListNode), kind) {
            if !is_head(node, kind) {
                return;
            }
            walk.heads += 1;
            node = next(node);
        }
        if node == first {
            walk.outcome = outcome::END;
            return;
        }
    }
    walk.outcome = outcome::MORE;
    for step in 0..WALK_STEPS {
        let common = node - field(Field::NsCommonListNode);
        // The id first, as above.
        let id: u64 = read_at(common + field(Field::NsCommonId));
        if !is(common, kind) {
            // The head of the list, or astray: the next run checks which.
            return;
        }
        let listed = &mut walk.found[step];
        listed.id = 0;
        listed.ino = read_at(common + field(Field::NsCommonInum));
        listed.references = read_at(common + field(Field::NsCommonRef));
        if is_linked(node) {
            listed.id = id;
            (walk.at, walk.at_id) = (common, id);
        }
        walk.count = step as u32 + 1;
        node = next(node);
        if node == first {
            walk.outcome = outcome::END;
            return;
        }
    }
}

/// Returns the offset of a field that exists on every kernel on which this program is loaded.
#[inline(always)]
fn field(field: Field) -> u64 {
    u64::from(offset(field))
}

/// Returns the successor of the `struct list_head` at `node`.
#[inline(always)]
fn next(node: u64) -> u64 {
    read_at(node + field(Field::ListNext))
}

/// Returns true if the `struct list_head` at `node` is in its list.
#[inline(always)]
fn is_linked(node: u64) -> bool {
    read_at::<u64>(next(node) + field(Field::ListPrev)) == node
}

/// Returns true if a namespace of this kind is at `common`. For the head of the list this reads whatever precedes its
/// `struct ns_tree`.
#[inline(always)]
fn is(common: u64, kind: Kind) -> bool {
    read_at::<u64>(common + field(Field::NsCommonOps)) == kind.operations
        && read_at::<u32>(common + field(Field::NsCommonType)) == kind.clone_flag
}

/// Returns true if the `struct list_head` at `node` is the head of the list: beside it is the root of the tree that
/// also contains the whole list, and the topmost node there has no parent.
#[inline(always)]
fn is_head(node: u64, kind: Kind) -> bool {
    let tree = node - field(Field::NsTreeList);
    let topmost: u64 = read_at(tree + field(Field::NsTreeRoot) + field(Field::RbRootNode));
    (offset(Field::NsTreeType) == ABSENT
        || read_at::<u32>(tree + field(Field::NsTreeType)) == kind.clone_flag)
        && is(topmost - field(Field::NsCommonTreeNode), kind)
        // The lowest bits are the colour of the node.
        && read_at::<u64>(topmost + field(Field::RbNodeParent)) & !3 == 0
}
