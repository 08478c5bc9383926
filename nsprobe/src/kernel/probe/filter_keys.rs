//! The probe's filter keys beyond its configuration: callers and namespaces, in a map.

use super::{OpenError, Probe, Refusal, refusal};
use crate::kernel::iterator::read_all;
use aya::Ebpf;
use aya::maps::{Array, HashMap};
use aya::programs::Iter;
use nsprobe_ebpf::filter_key::FilterKey;
use nsprobe_ebpf::map;

/// The kernel's name for the iterator over tasks, as a function.
pub(super) const TASKS: &str = "bpf_iter_task";

/// The program that it runs to follow tasks.
const FOLLOW: &str = "follow_present";

/// The program that records calls in progress.
const NOTE: &str = "note_present";

/// Fills the map that the programs look the keys up in.
pub(super) fn fill(ebpf: &mut Ebpf, keys: &[FilterKey]) -> Result<(), OpenError> {
    let map = ebpf.map_mut(map::FILTER_KEYS).and_then(|map| HashMap::<_, FilterKey, u8>::try_from(map).ok());
    let mut map = map.ok_or(OpenError::NoMap(map::FILTER_KEYS))?;
    keys.iter().try_for_each(|key| map.insert(key, 1, 0)).map_err(|error| OpenError::Object(error.into()))
}

impl Probe {
    /// Loads the program that finds tasks to follow.
    pub fn load_follow(&mut self) -> Result<(), Refusal> {
        self.load_iterator(FOLLOW)
    }

    /// Records the calls in progress, none of which seccomp has stopped. The hooks that record the others at their
    /// entry, and remove the entries at their return, must be attached already; only from now on are calls without an
    /// entry reported.
    pub fn note_present(&mut self) -> Result<(), Refusal> {
        self.load_iterator(NOTE)?;
        self.run_iterator(NOTE).map(|_| ())
    }

    /// Does the same again, after an entry found no room: from now on calls without an entry are assumed to have been
    /// stopped.
    pub fn note_again(&mut self) -> Result<(), Refusal> {
        let state = self.ebpf.map_mut(map::NOTES_STATE).and_then(|map| Array::<_, u32>::try_from(map).ok());
        let mut state = state.ok_or_else(|| Refusal::new("the probe has no map NOTES_STATE"))?;
        state.set(0, 0, 0).map_err(|error| Refusal::error(&error))?;
        self.run_iterator(NOTE).map(|_| ())
    }

    fn load_iterator(&mut self, name: &str) -> Result<(), Refusal> {
        let program = self.ebpf.program_mut(name);
        let program = program.ok_or_else(|| Refusal::new("the probe has no such program"))?;
        let program: &mut Iter = program.try_into().map_err(refusal)?;
        let ids = self.ids.as_ref().ok_or_else(|| Refusal::new("everything is already attached"))?;
        program.load("task", ids).map_err(refusal)
    }

    /// Follows the requested processes, and all their present descendants whose parents still exist. New tasks must be
    /// checked already. Returns how many were not followed before.
    pub fn follow_present(&mut self) -> Result<u64, Refusal> {
        let mut total = 0;
        // Each run finds the descendants of those found by the previous one.
        loop {
            match self.run_iterator(FOLLOW)? {
                0 => return Ok(total),
                found => total += found as u64,
            }
        }
    }

    /// Runs it over all tasks; returns how many bytes it wrote.
    fn run_iterator(&mut self, name: &str) -> Result<usize, Refusal> {
        let program = self.ebpf.program_mut(name);
        let program = program.ok_or_else(|| Refusal::new("the probe has no such program"))?;
        let program: &mut Iter = program.try_into().map_err(refusal)?;
        let id = program.attach().map_err(refusal)?;
        let link = program.take_link(id).map_err(refusal)?;
        let mut file = link.into_file().map_err(|error| Refusal::error(&error))?;
        read_all(&mut file).map(|bytes| bytes.len()).map_err(|error| Refusal::io(&error))
    }
}
