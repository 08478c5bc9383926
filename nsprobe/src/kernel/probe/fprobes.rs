//! Programs on kernel functions by fprobes: `kprobe.multi` and `kretprobe.multi`, which aya does not load.

use crate::kernel::bpf::{Programs, blank, bytes, create, raw};
use crate::kernel::refusal::Refusal;
use aya::Ebpf;
use aya::maps::Map;
use aya_obj::generated::{BPF_F_KPROBE_MULTI_RETURN, bpf_attach_type, bpf_cmd, bpf_prog_type};
use nsprobe_ebpf::{function, global};
use std::collections::HashMap;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd, OwnedFd, RawFd};

/// The programs in the object that are attached by fprobes.
const PROGRAMS: [&str; 6] = [
    "enter_function",
    "exit_function",
    "enter_new_task",
    "enter_pivot_paths",
    "enter_exit_fs",
    "enter_free_inum",
];

/// The values of the read-only globals, the same as for the other programs.
pub(super) struct Globals {
    pub(super) offsets: Vec<u32>,
    pub(super) config: Vec<u32>,
    pub(super) share: [u64; 5],
}

/// The loaded programs.
#[derive(Default)]
pub(super) struct Fprobes {
    object: Option<Programs>,
    loaded: HashMap<&'static str, OwnedFd>,
}

impl Fprobes {
    /// Loads `program`, if it is not loaded, with the maps of `ebpf`, and attaches it to the entry or return of
    /// `function` until the link is closed.
    pub(super) fn attach(
        &mut self,
        ebpf: &Ebpf,
        globals: &Globals,
        program: &'static str,
        (function, is_return): (&str, bool),
    ) -> Result<OwnedFd, Refusal> {
        if !self.loaded.contains_key(program) {
            let loaded = self.load(ebpf, globals, program)?;
            self.loaded.insert(program, loaded);
        }
        let program = self.loaded.get(program).ok_or_else(|| Refusal::new("the program is not loaded"))?;
        link(program, function, is_return).map_err(|error| Refusal::io(&error))
    }

    fn load(&mut self, ebpf: &Ebpf, globals: &Globals, program: &str) -> Result<OwnedFd, Refusal> {
        let object = match &mut self.object {
            Some(object) => object,
            none => {
                let share = globals.share.iter().flat_map(|word| word.to_ne_bytes()).collect();
                none.insert(Programs::with(
                    &PROGRAMS,
                    &[
                        (global::OFFSETS, bytes(&globals.offsets)),
                        (global::CONFIG, bytes(&globals.config)),
                        (global::SHARE, share),
                    ],
                )?)
            }
        };
        let fds: Vec<(&str, RawFd)> =
            ebpf.maps().filter_map(|(name, map)| Some((name, map_fd(map)?))).collect();
        let maps: Vec<_> =
            fds.into_iter().filter_map(|(name, fd)| Some((name, fd, object.map(name).ok()?))).collect();
        let code = object.code(program, &maps)?;
        object.load(&code, |load| {
            load.prog_type = bpf_prog_type::BPF_PROG_TYPE_KPROBE as u32;
            load.expected_attach_type = bpf_attach_type::BPF_TRACE_KPROBE_MULTI as u32;
        })
    }

    /// Frees what is needed only to load more.
    pub(super) fn settle(&mut self) {
        self.object = None;
    }

    /// Returns the descriptors of the programs.
    pub(super) fn fds(&self) -> impl Iterator<Item = RawFd> {
        self.loaded.values().map(AsRawFd::as_raw_fd)
    }
}

fn link(program: &OwnedFd, name: &str, is_return: bool) -> io::Result<OwnedFd> {
    let symbol = CString::new(name).map_err(io::Error::other)?;
    let (symbols, cookies) = ([symbol.as_ptr()], [function::cookie(name)]);
    let mut attr = blank();
    // SAFETY: a union of plain structs, zeroed as a whole before.
    let link = unsafe { &mut attr.link_create };
    link.__bindgen_anon_1.prog_fd = raw(program);
    link.attach_type = bpf_attach_type::BPF_TRACE_KPROBE_MULTI as u32;
    // SAFETY: likewise.
    let multi = unsafe { &mut link.__bindgen_anon_3.kprobe_multi };
    multi.flags = if is_return { BPF_F_KPROBE_MULTI_RETURN } else { 0 };
    multi.cnt = 1;
    multi.syms = symbols.as_ptr() as u64;
    multi.cookies = cookies.as_ptr() as u64;
    create(bpf_cmd::BPF_LINK_CREATE, &attr)
}

/// Returns the descriptor of a map of a type that the programs use.
fn map_fd(map: &Map) -> Option<i32> {
    let (Map::Array(data) | Map::HashMap(data) | Map::PerCpuArray(data) | Map::RingBuf(data)) = map else {
        return None;
    };
    Some(data.fd().as_fd().as_raw_fd())
}

#[cfg(test)]
mod tests {
    use super::super::{Probe, Size};
    use super::*;
    use crate::kernel::task_storage::TaskStorage;
    use nsprobe_ebpf::Config;

    #[test]
    fn programs_load_with_or_without_fprobes() {
        if !nix::unistd::geteuid().is_root() {
            return eprintln!("SKIPPED: needs root");
        }
        let Ok(storage) = TaskStorage::create() else {
            return eprintln!("SKIPPED: no storage of tasks, so no fprobes either");
        };
        let config = Config { flags: nsprobe_ebpf::config::LIFECYCLE, ..Config::default() };
        let Probe { ebpf, globals, mut fprobes, .. } =
            Probe::open(config, &[], Size::from(1 << 16), &[], Some(storage)).expect("the object is loaded");
        for program in PROGRAMS {
            match fprobes.load(&ebpf, &globals, program) {
                Err(refusal) if refusal.reason == "EINVAL" => {
                    return eprintln!("SKIPPED: this kernel knows no such programs");
                }
                loaded => drop(loaded.unwrap_or_else(|refusal| panic!("{program}: {}", refusal.reason))),
            }
        }
    }
}
