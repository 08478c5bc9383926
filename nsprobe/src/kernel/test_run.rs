//! A program that is not attached, but runs on request: `BPF_PROG_TEST_RUN` of a raw tracepoint (Linux 5.10), with one
//! array element for its result.

use super::bpf::{FIRST, Programs, blank, call, create_map, element, raw};
use super::refusal::Refusal;
use aya_obj::Map;
use aya_obj::generated::{bpf_cmd, bpf_map_type, bpf_prog_type};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};

/// A loaded program, with its map; dropping it frees both.
#[derive(Debug)]
pub(super) struct TestRun {
    program: OwnedFd,
    map: OwnedFd,
    value_size: usize,
}

impl TestRun {
    /// Loads `program`, whose only maps besides the constants are the array named `map` and `others`.
    pub(super) fn load(
        programs: &Programs,
        program: &str,
        map: &str,
        others: &[(&str, RawFd, &Map)],
    ) -> Result<Self, Refusal> {
        let definition = programs.map(map)?;
        let array = create_map(bpf_map_type::BPF_MAP_TYPE_ARRAY, [4, definition.value_size(), 1], 0);
        let array = array.map_err(|error| Refusal::error(&error))?;
        let maps = [&[(map, array.as_raw_fd(), definition)], others].concat();
        let code = programs.code(program, &maps)?;
        let kind = bpf_prog_type::BPF_PROG_TYPE_RAW_TRACEPOINT;
        let program = programs.load(&code, |load| load.prog_type = kind as u32)?;
        Ok(Self { program, map: array, value_size: definition.value_size() as usize })
    }

    /// Runs the program once, with these arguments, and returns the map's content.
    pub(super) fn run(&self, arguments: &[u64]) -> io::Result<Vec<u8>> {
        let mut attr = blank();
        // SAFETY: a union of plain structs, zeroed as a whole before.
        let test = unsafe { &mut attr.test };
        test.prog_fd = raw(&self.program);
        test.ctx_in = arguments.as_ptr() as u64;
        test.ctx_size_in = u32::try_from(size_of_val(arguments)).map_err(io::Error::other)?;
        call(bpf_cmd::BPF_PROG_TEST_RUN, &attr)?;
        let mut value = vec![0_u8; self.value_size];
        let (key, at) = (&raw const FIRST as u64, value.as_mut_ptr() as u64);
        element(bpf_cmd::BPF_MAP_LOOKUP_ELEM, &self.map, key, at)?;
        Ok(value)
    }
}
