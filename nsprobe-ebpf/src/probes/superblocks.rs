//! The file systems that hold a namespace: a proc file system its pid namespace, any file system the user namespace
//! that it was mounted in.
//!
//! A walk over the kernel's ring of superblocks, like that of [`super::namespaces`] over its lists of namespaces: the
//! program is never attached, only run, some steps per run, in an RCU read section. It starts at the superblock of
//! nsprobe's own root directory. An entry of the ring that is not a superblock is its head, or a superblock under
//! construction; a removed one points to itself.

use crate::maps::{self, offset};
use crate::target::PROC;
use crate::task::{self, embedded, read, read_at};
use aya_ebpf::helpers::generated::bpf_probe_read_kernel_str;
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use nsprobe_ebpf::{ABSENT, COMM_LEN, Field, Header, MOUNTS, SUPERBLOCK_STEPS, Superblocks, cause, outcome};

/// Goes some steps over the list. The first argument is nonzero for the first steps.
#[raw_tracepoint]
pub fn list_superblocks(context: RawTracePointContext) -> i32 {
    if let Some(walk) = maps::superblocks() {
        walk.header = Header::of::<Superblocks>(cause::SUPERBLOCKS);
        (walk.count, walk.more, walk.id, walk.dev) = (0, 0, 0, 0);
        walk.fs_type = [0; COMM_LEN];
        let (mount, _) = task::root(task::current());
        let own: u64 = read(mount, Field::VfsmountSb);
        walk.outcome = outcome::LOST;
        if own != 0 {
            let found = go(walk, own, context.arg::<u64>(0) != 0);
            if found != 0 {
                describe(walk, found);
            }
        }
    }
    0
}

/// Advances to the next superblock that holds a namespace searched for, and returns its address; 0 if these steps did
/// not reach one.
#[inline(always)]
fn go(walk: &mut Superblocks, own: u64, begin: bool) -> u64 {
    let mut at = own;
    if begin {
        (walk.at, walk.at_root) = (own, read(own, Field::SuperBlockRoot));
        let id = sought(own);
        if id != 0 {
            (walk.outcome, walk.id) = (outcome::MORE, id);
            return own;
        }
    } else {
        at = walk.at;
        let node = embedded(at, Field::SuperBlockList);
        let next: u64 = read(node, Field::ListNext);
        if read::<u64>(at, Field::SuperBlockRoot) != walk.at_root
            || read::<u64>(next, Field::ListPrev) != node
        {
            return 0;
        }
    }
    for _ in 0..SUPERBLOCK_STEPS {
        let node = embedded(at, Field::SuperBlockList);
        let next: u64 = read(node, Field::ListNext);
        if next == node || next == 0 {
            return 0;
        }
        at = next - u64::from(offset(Field::SuperBlockList));
        if at == own {
            walk.outcome = outcome::END;
            return 0;
        }
        let root: u64 = read(at, Field::SuperBlockRoot);
        if read::<u64>(root, Field::DentrySb) != at {
            continue;
        }
        (walk.at, walk.at_root) = (at, root);
        let id = sought(at);
        if id != 0 {
            (walk.outcome, walk.id) = (outcome::MORE, id);
            return at;
        }
    }
    walk.outcome = outcome::MORE;
    0
}

/// Returns the id of the namespace that this superblock holds, if it is searched for; otherwise 0.
#[inline(always)]
fn sought(super_block: u64) -> u64 {
    let user = embedded(read(super_block, Field::SuperBlockUserNs), Field::UserNsCommon);
    let id: u64 = read(user, Field::NsCommonId);
    if maps::is_sought(id) {
        return id;
    }
    if read::<u64>(super_block, Field::SuperBlockMagic) == PROC {
        let info: u64 = read(super_block, Field::SuperBlockInfo);
        let pid = embedded(read(info, Field::ProcFsInfoPidNs), Field::PidNsCommon);
        let id: u64 = read(pid, Field::NsCommonId);
        if maps::is_sought(id) {
            return id;
        }
    }
    0
}

/// Fills in the superblock's facts, and its mounts.
#[inline(always)]
fn describe(walk: &mut Superblocks, super_block: u64) {
    walk.dev = read(super_block, Field::SuperBlockDev);
    let name: u64 = read(read(super_block, Field::SuperBlockType), Field::FileSystemTypeName);
    // SAFETY: the destination is as long as stated. The helper checks the source.
    unsafe {
        bpf_probe_read_kernel_str(walk.fs_type.as_mut_ptr().cast(), COMM_LEN as u32, name as *const _);
    }
    walk.more = 1;
    if offset(Field::MountNextForSb) == ABSENT {
        return;
    }
    let mut mount: u64 = read(super_block, Field::SuperBlockMounts);
    for index in 0..MOUNTS {
        if mount == 0 {
            walk.more = 0;
            return;
        }
        let namespace = embedded(read(mount, Field::MountNamespace), Field::MntNsCommon);
        let found = &mut walk.mounts[index];
        found.id = read(mount, Field::MountIdUnique);
        found.namespace_id = read(namespace, Field::NsCommonId);
        found.namespace_ino = read(namespace, Field::NsCommonInum);
        found.reserved = 0;
        walk.count = index as u32 + 1;
        mount = read_at(mount + u64::from(offset(Field::MountNextForSb)));
    }
}
