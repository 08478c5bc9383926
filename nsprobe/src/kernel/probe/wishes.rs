//! What the probe is asked for beyond its configuration: callers and namespaces, in a map.

use super::{OpenError, Probe, Refusal, refusal};
use crate::kernel::iterator::read_all;
use aya::Ebpf;
use aya::maps::{Array, HashMap};
use aya::programs::Iter;
use nsprobe_ebpf::map;
use nsprobe_ebpf::wish::Wish;

/// The kernel's name for what iterates over tasks, where its functions are.
pub(super) const TASKS: &str = "bpf_iter_task";

/// The program that it runs.
const FOLLOW: &str = "follow_present";

/// The one that notes calls under way.
const NOTE: &str = "note_present";

/// Puts the wishes where the programs look for them.
pub(super) fn fill(ebpf: &mut Ebpf, wishes: &[Wish]) -> Result<(), OpenError> {
    let map = ebpf.map_mut(map::WISHES).and_then(|map| HashMap::<_, Wish, u8>::try_from(map).ok());
    let mut map = map.ok_or(OpenError::NoMap(map::WISHES))?;
    wishes.iter().try_for_each(|wish| map.insert(wish, 1, 0)).map_err(|error| OpenError::Object(error.into()))
}

impl Probe {
    /// Loads the program that looks for tasks to follow.
    pub fn load_follow(&mut self) -> Result<(), Refusal> {
        self.load_iterator(FOLLOW)
    }

    /// Notes the calls that are under way, of which seccomp has stopped none. What notes the others at their entry, and
    /// removes the notes at their return, must be attached already; only now it tells of calls without a note.
    pub fn note_present(&mut self) -> Result<(), Refusal> {
        self.load_iterator(NOTE)?;
        self.run_iterator(NOTE).map(|_| ())
    }

    /// The same again, when a note had no room: from now on calls without a note are trusted to have been stopped.
    pub fn note_again(&mut self) -> Result<(), Refusal> {
        let state = self.ebpf.map_mut(map::NOTES_STATE).and_then(|map| Array::<_, u32>::try_from(map).ok());
        let mut state = state.ok_or_else(|| Refusal::new("the probe has no state of notes"))?;
        state.set(0, 0, 0).map_err(|error| Refusal::error(&error))?;
        self.run_iterator(NOTE).map(|_| ())
    }

    fn load_iterator(&mut self, name: &str) -> Result<(), Refusal> {
        let program = self.ebpf.program_mut(name);
        let program = program.ok_or_else(|| Refusal::new("the probe has no such program"))?;
        let program: &mut Iter = program.try_into().map_err(refusal)?;
        let ids = self.ids.as_ref().ok_or_else(|| Refusal::new("all has been attached"))?;
        program.load("task", ids).map_err(refusal)
    }

    /// Follows the processes that there are wishes of, with all that descends from them by now, as far as each parent is
    /// there. New tasks must be looked at already. Gives how many were not followed before.
    pub fn follow_present(&mut self) -> Result<u64, Refusal> {
        let mut total = 0;
        // Each run finds what descends from what the one before has found.
        loop {
            match self.run_iterator(FOLLOW)? {
                0 => return Ok(total),
                found => total += found as u64,
            }
        }
    }

    /// Has it come by all tasks; gives how many bytes it wrote.
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
