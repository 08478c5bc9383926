//! The namespaces of a task.

use super::{embedded, innermost_upid, inum, read};
use crate::maps::offset;
use aya_ebpf::helpers::generated;
use core::mem::MaybeUninit;
use nsprobe_ebpf::{Field, NamespaceIds, NamespaceInodes, slot};

/// The inode and the id of a namespace, which are adjacent.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Numbers {
    /// The lower half; the upper is padding.
    inum: u64,
    id: u64,
}

/// At least the size of `struct nsproxy`.
const PROXY: usize = 96;

/// A copy of the `struct nsproxy` of a task: one call instead of one per pointer in it.
struct Proxy(MaybeUninit<[u64; PROXY / 8]>);

impl Proxy {
    #[inline(always)]
    fn of(task: u64) -> Self {
        let mut proxy = Self(MaybeUninit::uninit());
        let address: u64 = read(task, Field::TaskNsproxy);
        let size = offset(Field::NsproxySize).min(PROXY as u32);
        // SAFETY: the destination is at least as long as stated. Where the helper finds nothing it writes zeroes.
        unsafe {
            generated::bpf_probe_read_kernel(proxy.0.as_mut_ptr().cast(), size, address as *const _);
        }
        proxy
    }

    #[inline(always)]
    fn pointer(&self, field: Field) -> u64 {
        let word = offset(field) as usize / 8;
        // Also if the kernel has no such field.
        if word >= PROXY / 8 {
            return 0;
        }
        // SAFETY: within the copy, and within the struct that was copied: the verifier sees both offset and size.
        unsafe { self.0.as_ptr().cast::<u64>().add(word).read() }
    }
}

/// Returns the inode number and the id (0 for none) of the namespace at `namespace`, whose `struct ns_common` is at
/// `common`.
#[inline(always)]
fn identity(namespace: u64, common: Field) -> (u32, u64) {
    // Adjacent on every kernel so far that has both: one call for two.
    let inum = offset(Field::NsCommonInum);
    let size = if offset(Field::NsCommonId) == inum.wrapping_add(8) { size_of::<Numbers>() } else { 4 };
    let mut numbers = Numbers::default();
    let address = embedded(namespace, common) + u64::from(inum);
    // SAFETY: the destination is at least as long as stated. The helper checks the source.
    unsafe {
        generated::bpf_probe_read_kernel((&raw mut numbers).cast(), size as u32, address as *const _);
    }
    (numbers.inum as u32, numbers.id)
}

/// Fills in one namespace, and its id if requested.
#[inline(always)]
fn fill(
    to: &mut NamespaceInodes,
    ids: &mut Option<&mut NamespaceIds>,
    slot: usize,
    namespace: u64,
    common: Field,
) {
    if let Some(ids) = ids {
        (to.ino[slot], ids.id[slot]) = identity(namespace, common);
    } else {
        to.ino[slot] = inum(namespace, common);
    }
}

/// Fills in the namespaces of `task`, and their ids if requested: the user namespace is in its credentials, the pid
/// namespace in its own `struct pid`, and the others are in its nsproxy, which an ending task no longer has.
#[inline(always)]
pub fn fill_namespaces(to: &mut NamespaceInodes, mut ids: Option<&mut NamespaceIds>, task: u64) {
    let proxy = Proxy::of(task);
    fill(to, &mut ids, slot::CGROUP, proxy.pointer(Field::NsproxyCgroup), Field::CgroupNsCommon);
    fill(to, &mut ids, slot::IPC, proxy.pointer(Field::NsproxyIpc), Field::IpcNsCommon);
    fill(to, &mut ids, slot::MNT, proxy.pointer(Field::NsproxyMnt), Field::MntNsCommon);
    fill(to, &mut ids, slot::NET, proxy.pointer(Field::NsproxyNet), Field::NetNsCommon);
    fill(to, &mut ids, slot::TIME, proxy.pointer(Field::NsproxyTime), Field::TimeNsCommon);
    fill(to, &mut ids, slot::UTS, proxy.pointer(Field::NsproxyUts), Field::UtsNsCommon);
    fill(
        to,
        &mut ids,
        slot::PID_FOR_CHILDREN,
        proxy.pointer(Field::NsproxyPidForChildren),
        Field::PidNsCommon,
    );
    fill(
        to,
        &mut ids,
        slot::TIME_FOR_CHILDREN,
        proxy.pointer(Field::NsproxyTimeForChildren),
        Field::TimeNsCommon,
    );
    fill(to, &mut ids, slot::USER, read(read(task, Field::TaskCred), Field::CredUserNs), Field::UserNsCommon);
    fill(to, &mut ids, slot::PID, read(innermost_upid(task), Field::UpidNs), Field::PidNsCommon);
}
