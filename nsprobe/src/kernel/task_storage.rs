//! Task storage for the probe: memory for each task, which the kernel frees with the task. Linux 5.13 for tracing
//! programs. aya 0.14 does not create this type of map, so bpf(2) creates it, and it replaces a table that aya has
//! created.

use super::bpf::{blank, create, raw};
use aya_obj::generated::{bpf_cmd, bpf_map_type, bpf_prog_type};
use nsprobe_ebpf::PENDING_LEN;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

/// The map.
pub struct TaskStorage(OwnedFd);

/// `BPF_F_NO_PREALLOC`, which the kernel requires for this type.
const NO_PREALLOC: u32 = 1;

impl TaskStorage {
    /// Creates it, if this kernel has it and programs of the probe may use it, which it finds by trying.
    pub fn create() -> io::Result<Self> {
        let types = load_types(PENDING_LEN)?;
        let mut attr = blank();
        // SAFETY: a union of plain structs, zeroed as a whole before.
        let map = unsafe { &mut attr.__bindgen_anon_1 };
        map.map_type = bpf_map_type::BPF_MAP_TYPE_TASK_STORAGE as u32;
        map.key_size = 4;
        map.value_size = u32::try_from(PENDING_LEN).map_err(io::Error::other)?;
        map.map_flags = NO_PREALLOC;
        map.btf_fd = raw(&types);
        (map.btf_key_type_id, map.btf_value_type_id) = (KEY, VALUE);
        let storage = Self(create(bpf_cmd::BPF_MAP_CREATE, &attr)?);
        storage.try_out()?;
        Ok(storage)
    }

    /// Loads a program that uses the storage of the running task, and drops it.
    fn try_out(&self) -> io::Result<()> {
        let line = |code: u8, registers: u8, value: u32| {
            [&[code, registers, 0, 0][..], &value.to_ne_bytes()].concat()
        };
        let code = [
            line(0x85, 0, 158),             // r0 = bpf_get_current_task_btf()
            line(0xbf, 0x02, 0),            // r2 = r0
            line(0x18, 0x11, raw(&self.0)), // r1 = the map
            line(0, 0, 0),                  // its second half
            line(0xb7, 0x03, 0),            // r3 = 0
            line(0xb7, 0x04, 1),            // r4 = BPF_LOCAL_STORAGE_GET_F_CREATE
            line(0x85, 0, 156),             // r0 = bpf_task_storage_get(r1, r2, r3, r4)
            line(0xb7, 0, 0),               // r0 = 0
            line(0x95, 0, 0),               // exit
        ]
        .concat();
        let mut attr = blank();
        // SAFETY: a union of plain structs, zeroed as a whole before.
        let load = unsafe { &mut attr.__bindgen_anon_3 };
        load.prog_type = bpf_prog_type::BPF_PROG_TYPE_TRACEPOINT as u32;
        load.insns = code.as_ptr() as u64;
        load.insn_cnt = u32::try_from(code.len() / 8).map_err(io::Error::other)?;
        load.license = c"GPL".as_ptr() as u64;
        create(bpf_cmd::BPF_PROG_LOAD, &attr).map(drop)
    }

    /// Replaces another map: programs that are loaded from now on with that descriptor get this one.
    pub(super) fn replace(self, other: BorrowedFd<'_>) -> io::Result<()> {
        // SAFETY: both descriptors are open and keep their owners: this one is closed when it is dropped, and
        // the other one refers to the same map from now on.
        let result = unsafe { libc::dup3(self.0.as_raw_fd(), other.as_raw_fd(), libc::O_CLOEXEC) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// The type ids of key and value in [`types`].
const KEY: u32 = 1;
const VALUE: u32 = 3;

/// Loads the types of the map's key and value, which the kernel requires.
fn load_types(length: usize) -> io::Result<OwnedFd> {
    let types = types(length);
    let mut attr = blank();
    // SAFETY: a union of plain structs, zeroed as a whole before.
    let load = unsafe { &mut attr.__bindgen_anon_7 };
    load.btf = types.as_ptr() as u64;
    load.btf_size = u32::try_from(types.len()).map_err(io::Error::other)?;
    create(bpf_cmd::BPF_BTF_LOAD, &attr)
}

/// Builds BTF of an `int` and an array of this many bytes: Documentation/bpf/btf.rst of the kernel.
fn types(length: usize) -> Vec<u8> {
    const HEADER: u32 = 24;
    const INT: u32 = 1 << 24;
    const ARRAY: u32 = 3 << 24;
    // The encoding of a signed integer, and the number of its bits.
    const SIGNED: u32 = 1 << 24;
    let names = b"\0int\0byte\0";
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    let records =
        [[1, INT, 4, SIGNED | 32].as_slice(), &[5, INT, 1, 8], &[0, ARRAY, 0, 2, 1, length]].concat();
    let size = u32::try_from(records.len() * 4).unwrap_or(u32::MAX);
    let header = [HEADER, 0, size, size, u32::try_from(names.len()).unwrap_or(u32::MAX)];
    let words = header.iter().chain(&records).flat_map(|word| word.to_ne_bytes());
    // The magic number, the version and no flags.
    let magic = 0xeb9f_u16.to_ne_bytes().into_iter().chain([1, 0]);
    magic.chain(words).chain(names.iter().copied()).collect()
}
