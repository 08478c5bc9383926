//! bpf(2), as far as programs that run once need it: a read-only map, a program, an iterator.
//!
//! aya loads the tracer's programs. Its loader starts by parsing all types of the kernel, which takes 10 ms, twice as
//! long as a snapshot of a hundred processes may take; here the ids are already known, and only aya's parser of the
//! object is used.

use super::object::OBJECT;
use super::refusal::Refusal;
use aya_obj::generated::{
    BPF_F_RDONLY_PROG, bpf_attach_type, bpf_attr, bpf_attr__bindgen_ty_4, bpf_cmd, bpf_map_type,
    bpf_prog_type,
};
use aya_obj::{EbpfSectionKind, Map, Object};
use nsprobe_ebpf::global;
use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

/// The object, with the values of its globals filled in.
pub(super) struct Programs {
    object: Object,
    /// The data of the programs: constants and variables.
    data: Vec<Map>,
}

/// The code of a program, ready to load.
pub(super) struct Code {
    instructions: Vec<u8>,
    /// The kernel's maps of its data, until the program holds them.
    _data: Vec<OwnedFd>,
}

impl Programs {
    /// Selects these `programs` of the object, and fills these `offsets` into their constants.
    pub(super) fn open(programs: &[&str], offsets: &[u32]) -> Result<Self, Refusal> {
        let mut this = Self::with(programs, &[(global::OFFSETS, bytes(offsets))])?;
        // Functions called by other programs use maps that are not created here. Those that the compiler adds use none.
        let object = &mut this.object;
        let own: HashSet<_> = object.programs.values().map(aya_obj::Program::function_key).collect();
        object
            .functions
            .retain(|key, function| own.contains(key) || COMPILER_BUILTINS.contains(&function.name.as_str()));
        Ok(this)
    }

    /// Selects these `programs` of the object, with all functions that any program calls, and sets their constants to
    /// these values.
    pub(super) fn with(programs: &[&str], globals: &[(&str, Vec<u8>)]) -> Result<Self, Refusal> {
        let mut object = Object::parse(OBJECT).map_err(|error| Refusal::error(&error))?;
        let globals = globals.iter().map(|(name, value)| (*name, (value.as_slice(), true)));
        object.patch_map_data(globals.collect()).map_err(|error| Refusal::error(&error))?;
        let is_data = |map: &mut Map| {
            matches!(
                map.section_kind(),
                EbpfSectionKind::Rodata | EbpfSectionKind::Data | EbpfSectionKind::Bss
            )
        };
        let data = object.maps.extract_if(|_, map| is_data(map)).map(|(_, map)| map).collect();
        let others = object.programs.extract_if(|name, _| !programs.contains(&name.as_str()));
        let others: HashSet<_> = others.map(|(_, program)| program.function_key()).collect();
        object.functions.retain(|key, _| !others.contains(key));
        Ok(Self { object, data })
    }

    /// Loads the iterator `program`, whose kernel function has the type id `target`, and starts it. Reading the file
    /// yields what the program writes; closing it frees program and link. `maps`: those that it uses.
    pub(super) fn iterator(
        &self,
        program: &str,
        target: u32,
        maps: &[(&str, RawFd, &Map)],
    ) -> Result<File, Refusal> {
        let code = self.code(program, maps)?;
        let program = self.load(&code, |load| {
            load.prog_type = bpf_prog_type::BPF_PROG_TYPE_TRACING as u32;
            load.expected_attach_type = bpf_attach_type::BPF_TRACE_ITER as u32;
            load.attach_btf_id = target;
        })?;
        let refused = |error: io::Error| Refusal::error(&error);
        let link = link(&program).map_err(refused)?;
        let mut attr = blank();
        attr.iter_create.link_fd = raw(&link);
        Ok(create(bpf_cmd::BPF_ITER_CREATE, &attr).map_err(refused)?.into())
    }

    /// Returns the object's definition of a map.
    pub(super) fn map(&self, name: &str) -> Result<&Map, Refusal> {
        self.object.maps.get(name).ok_or_else(|| Refusal::new(format!("the probe has no map {name}")))
    }

    /// Returns the code of one program, with its data and its other `maps` relocated.
    pub(super) fn code(&self, program: &str, maps: &[(&str, RawFd, &Map)]) -> Result<Code, Refusal> {
        // Each program has its own variables: two may run at the same time.
        let data = self.data.iter().map(array).collect::<io::Result<Vec<_>>>();
        let data = data.map_err(|error| Refusal::error(&error))?;
        let mut object = self.object.clone();
        let key = object.programs.get(program).map(aya_obj::Program::function_key);
        let key = key.ok_or_else(|| Refusal::new(format!("the probe has no program {program}")))?;
        // The others use maps that are not available here.
        let others = object.programs.extract_if(|name, _| name != program);
        let others: HashSet<_> = others.map(|(_, other)| other.function_key()).collect();
        object.functions.retain(|key, _| !others.contains(key));
        let sections: HashSet<usize> = object.functions.keys().map(|&(section, _)| section).collect();
        let own = self.data.iter().zip(&data).map(|(map, fd)| ("", fd.as_raw_fd(), map));
        let maps = maps.iter().copied().chain(own);
        object.relocate_maps(maps, &sections).map_err(|error| Refusal::error(&error))?;
        object.relocate_calls(&sections).map_err(|error| Refusal::error(&error))?;
        let function = object.functions.get(&key).ok_or_else(|| Refusal::new("the program has no code"))?;
        let instructions = function.instructions.iter().copied().flat_map(encode).collect();
        Ok(Code { instructions, _data: data })
    }

    /// Loads a program; `describe` sets its type.
    pub(super) fn load(
        &self,
        code: &Code,
        describe: impl FnOnce(&mut bpf_attr__bindgen_ty_4),
    ) -> Result<OwnedFd, Refusal> {
        let mut attr = blank();
        // SAFETY: a union of plain structs, zeroed as a whole before.
        let load = unsafe { &mut attr.__bindgen_anon_3 };
        describe(load);
        load.insns = code.instructions.as_ptr() as u64;
        load.insn_cnt = u32::try_from(code.instructions.len() / INSTRUCTION).unwrap_or(u32::MAX);
        load.license = self.object.license.as_ptr() as u64;
        let error = match create(bpf_cmd::BPF_PROG_LOAD, &attr) {
            Ok(program) => return Ok(program),
            Err(error) => error,
        };
        // Once more, for the verifier's log: requesting it at once is slower.
        let mut log = vec![0_u8; 1 << 20];
        // SAFETY: as above.
        let load = unsafe { &mut attr.__bindgen_anon_3 };
        load.log_level = 1;
        load.log_size = 1 << 20;
        load.log_buf = log.as_mut_ptr() as u64;
        create(bpf_cmd::BPF_PROG_LOAD, &attr).map_err(|_| {
            let end = log.iter().position(|&byte| byte == 0).unwrap_or(0);
            Refusal::verifier(&error, &String::from_utf8_lossy(&log[..end]))
        })
    }
}

/// Returns words as their bytes in memory.
pub(super) fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// Functions that the compiler calls implicitly.
const COMPILER_BUILTINS: [&str; 3] = ["memcpy", "memmove", "memset"];

/// Bytes of an instruction.
const INSTRUCTION: usize = 8;

fn encode(instruction: aya_obj::generated::bpf_insn) -> [u8; INSTRUCTION] {
    let mut bytes = [0; INSTRUCTION];
    bytes[0] = instruction.code;
    bytes[1] = instruction.dst_reg() | instruction.src_reg() << 4;
    bytes[2..4].copy_from_slice(&instruction.off.to_ne_bytes());
    bytes[4..].copy_from_slice(&instruction.imm.to_ne_bytes());
    bytes
}

/// Copies data into the kernel. Constants are frozen, and the verifier knows their values.
fn array(data: &Map) -> io::Result<OwnedFd> {
    let value = data.data();
    let constant = data.section_kind() == EbpfSectionKind::Rodata;
    let size = u32::try_from(value.len()).map_err(io::Error::other)?;
    let flags = if constant { BPF_F_RDONLY_PROG } else { 0 };
    let map = create_map(bpf_map_type::BPF_MAP_TYPE_ARRAY, [4, size, 1], flags)?;
    element(bpf_cmd::BPF_MAP_UPDATE_ELEM, &map, &raw const FIRST as u64, value.as_ptr() as u64)?;
    if constant {
        element(bpf_cmd::BPF_MAP_FREEZE, &map, 0, 0)?;
    }
    Ok(map)
}

/// The key of the only element of an array.
pub(super) static FIRST: u32 = 0;

/// Creates a hash table with these `keys`, each with the one-byte value 1.
pub(super) fn set(keys: &[u64]) -> io::Result<OwnedFd> {
    let room = u32::try_from(keys.len().max(1)).map_err(io::Error::other)?;
    let map = create_map(bpf_map_type::BPF_MAP_TYPE_HASH, [8, 1, room], 0)?;
    let value = 1_u8;
    for key in keys {
        let (key, value) = (std::ptr::from_ref(key) as u64, &raw const value as u64);
        element(bpf_cmd::BPF_MAP_UPDATE_ELEM, &map, key, value)?;
    }
    Ok(map)
}

/// Creates a map, by the sizes of its keys and values and the number of its entries.
pub(super) fn create_map(
    kind: bpf_map_type,
    [key, value, entries]: [u32; 3],
    flags: u32,
) -> io::Result<OwnedFd> {
    let mut attr = blank();
    // SAFETY: a union of plain structs, zeroed as a whole before.
    let map = unsafe { &mut attr.__bindgen_anon_1 };
    map.map_type = kind as u32;
    (map.key_size, map.value_size, map.max_entries, map.map_flags) = (key, value, entries, flags);
    create(bpf_cmd::BPF_MAP_CREATE, &attr)
}

/// Runs a command on an element of a map, by the addresses of its key and its value.
pub(super) fn element(command: bpf_cmd, map: &OwnedFd, key: u64, value: u64) -> io::Result<()> {
    let mut attr = blank();
    // SAFETY: a union of plain structs, zeroed as a whole before.
    let element = unsafe { &mut attr.__bindgen_anon_2 };
    element.map_fd = raw(map);
    element.key = key;
    element.__bindgen_anon_1.value = value;
    call(command, &attr).map(drop)
}

fn link(program: &OwnedFd) -> io::Result<OwnedFd> {
    let mut attr = blank();
    attr.link_create.__bindgen_anon_1.prog_fd = raw(program);
    attr.link_create.attach_type = bpf_attach_type::BPF_TRACE_ITER as u32;
    create(bpf_cmd::BPF_LINK_CREATE, &attr)
}

pub(super) fn blank() -> bpf_attr {
    // SAFETY: integers all over, for which zero is a value; the kernel wants zero where nothing is said.
    unsafe { std::mem::zeroed() }
}

pub(super) fn raw(fd: &OwnedFd) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

/// Runs a command that returns a new descriptor. The kernel closes it on exec.
pub(super) fn create(command: bpf_cmd, attr: &bpf_attr) -> io::Result<OwnedFd> {
    let fd = call(command, attr)?;
    // SAFETY: the kernel has just created this descriptor for us, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

pub(super) fn call(command: bpf_cmd, attr: &bpf_attr) -> io::Result<RawFd> {
    // SAFETY: the kernel reads the attributes, whose size is passed, and what they point at, which outlives the
    // call: the callers own it.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command as libc::c_int, &raw const *attr, size_of::<bpf_attr>())
    };
    match RawFd::try_from(result) {
        Ok(fd) if fd >= 0 => Ok(fd),
        _ => Err(io::Error::last_os_error()),
    }
}
