//! The probe: its object, maps and programs, and their attachment.
//!
//! Everything here lives as long as its descriptors: when nsprobe ends, in whatever way, the kernel detaches and
//! removes all of it.

use crate::kernel::advice::{can_open, how_to_get_them, remedy};
use crate::kernel::btf::{self, BtfError};
use crate::kernel::capabilities::Capability;
use crate::kernel::memory_limit::MemoryLimit;
use crate::kernel::object::OBJECT;
use crate::kernel::perf;
use crate::kernel::pseudo::PseudoFs;
use crate::kernel::refusal::{Refusal, chain, refusal};
use crate::kernel::ring::{Counters, Ring};
use crate::kernel::shares::{self, Losers, Shares};
use crate::kernel::status;
use crate::kernel::task_storage::TaskStorage;
use crate::kernel::tracefs;
use crate::kernel::vmlinux::KernelTypes;
use crate::kernel::watches::Watches;
use aya::maps::{HashMap, Map, MapType, PerCpuArray, RingBuf};
use aya::programs::{BtfTracePoint, FEntry, FExit, Program, ProgramType, TracePoint};
use aya::{Btf, Ebpf, EbpfError, EbpfLoader, Endianness};
use nsprobe_ebpf::filter_key::FilterKey;
use nsprobe_ebpf::{ABSENT, Config, FIELDS, Field, FieldSource, global, map};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

mod filter_keys;
mod fprobes;
mod point;
mod room;

use fprobes::{Fprobes, Globals};
pub use point::{Hook, Point};
pub use room::Size;

/// The struct added with the fix of a kernel bug (Linux 5.12 and later 5.10s, "bpf: Fix fexit trampoline"): without it
/// the trampoline of a function is freed while a task still sleeps in that function, and the task returns into it.
const SAFE_TRAMPOLINES: FieldSource = FieldSource { type_name: "bpf_tramp_image", member: "" };

/// The struct added when fprobes got storage for returns in each task (Linux 6.14): before, enough tasks inside calls
/// exhaust all of it.
const SAFE_FPROBES: FieldSource = FieldSource { type_name: "fprobe_hlist", member: "" };

/// Returns the fields that the probe reads and this kernel lacks. Some are alternatives.
pub fn absent_fields() -> Result<Vec<Field>, OpenError> {
    let kernel = KernelTypes::open().map_err(|error| OpenError::NoBtf { error })?;
    let found = btf::find(&kernel, &btf::Wanted { fields: FIELDS, functions: &[], typedefs: &[] })?;
    let absent = Field::ALL.iter().zip(&found.offsets).filter(|&(_, &offset)| offset == ABSENT);
    Ok(absent.map(|(field, _)| *field).collect())
}

/// Returns true if programs for tracepoints load at all.
pub fn has_programs() -> Result<bool, String> {
    aya::sys::is_program_supported(ProgramType::TracePoint).map_err(|error| Refusal::error(&error).reason)
}

/// Returns true if there are ring buffers (Linux 5.8).
pub fn has_ring_buffers() -> Result<bool, String> {
    aya::sys::is_map_supported(MapType::RingBuf).map_err(|error| Refusal::error(&error).reason)
}

/// The reason that the probe is not available.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The kernel provides no type information.
    #[error("{path}: {error}: this kernel was built without CONFIG_DEBUG_INFO_BTF, or /sys is not mounted", path = btf::PATH)]
    NoBtf {
        /// The error of reading it.
        error: io::Error,
    },
    /// Its type information is not readable.
    #[error("{path}: {0}", path = btf::PATH)]
    Btf(#[from] BtfError),
    /// The object or one of its maps was refused.
    #[error("the probe: {}", chain(.0))]
    Object(#[from] EbpfError),
    /// Its task storage was refused.
    #[error("task storage: {error}")]
    Storage {
        /// The error of dup3(2).
        error: io::Error,
    },
    /// The shares of the ring buffer cannot be tracked.
    #[error("the map of the ring buffer's shares: {0}")]
    Shares(io::Error),
    /// The object has no map of this name and type.
    #[error("the probe has no map {0}")]
    NoMap(&'static str),
}

/// The loaded object: its maps exist, its programs are loaded one by one.
pub struct Probe {
    ebpf: Ebpf,
    /// The types in which ids are looked up, kept until everything is attached: 9 MB.
    ids: Option<Btf>,
    /// The prototypes of the functions and tracepoints that may be hooked, by their names in the kernel's types.
    prototypes: std::collections::HashMap<String, btf::Prototype>,
    safe_trampolines: bool,
    safe_fprobes: bool,
    fprobes: Fprobes,
    /// The globals that the programs of fprobes are loaded with.
    globals: Globals,
    /// Opened for the first tracepoint.
    tracefs: Option<PseudoFs>,
    /// Kept for as long as programs are loaded.
    _memory: MemoryLimit,
}

impl Probe {
    /// Finds the fields in this kernel, and creates the maps. `hooks` are those that may be attached later. Calls in
    /// progress are kept in `storage`, if given.
    pub fn open(
        mut config: Config,
        keys: &[FilterKey],
        size: Size,
        hooks: &[Hook],
        storage: Option<TaskStorage>,
    ) -> Result<Self, OpenError> {
        let kernel = KernelTypes::open().map_err(|error| OpenError::NoBtf { error })?;
        let hooked = hooks.iter().filter_map(|hook| hook.point.function());
        let functions: Vec<&str> = hooked.chain([filter_keys::TASKS]).collect();
        let typedefs: Vec<String> = hooks
            .iter()
            .filter_map(|hook| match hook.point {
                Point::TpBtf(name) => Some(format!("btf_trace_{name}")),
                _ => None,
            })
            .collect();
        let typedefs: Vec<&str> = typedefs.iter().map(String::as_str).collect();
        let fields: Vec<FieldSource> =
            FIELDS.iter().copied().chain([SAFE_TRAMPOLINES, SAFE_FPROBES]).collect();
        let wanted = btf::Wanted { fields: &fields, functions: &functions, typedefs: &typedefs };
        let mut found = btf::find(&kernel, &wanted)?;
        let mut exists = || found.offsets.pop().is_some_and(|size| size != ABSENT);
        let (safe_fprobes, safe_trampolines) = (exists(), exists());
        // Before the loader reads the same again, for itself: 16 MB.
        drop(kernel);
        let memory = MemoryLimit::raise();
        let ring_bytes = shares::ring_size(size.ring_bytes);
        let namespaces = room::NAMESPACES.min(size.room);
        let calls = room::CALLS.min(size.room);
        let share = shares::settings(ring_bytes, namespaces, calls).map_err(OpenError::Shares)?.words();
        let is_requested = |flag| config.flags & flag != 0;
        let room = |requested: bool, room| if requested { room } else { 1 };
        let (in_tables, tasks) = (storage.is_none(), room::tasks());
        let rooms = [
            (map::EVENTS, ring_bytes),
            (map::FILTER_KEYS, u32::try_from(keys.len()).unwrap_or(u32::MAX).max(1)),
            (map::NOTES, room(hooks.iter().any(Hook::is_for_denied), tasks.min(size.room))),
            (map::FOLLOWED, room(is_requested(nsprobe_ebpf::config::FOLLOW), tasks)),
            (map::NAMESPACES, room(is_requested(nsprobe_ebpf::config::LIFECYCLE), namespaces)),
            (map::FOUND, room(is_requested(nsprobe_ebpf::config::LIFECYCLE), namespaces)),
            (map::CALLS, room(in_tables, calls)),
            (map::BRIEFS, room(in_tables, tasks)),
            (map::SCRATCH, room(in_tables, room::SCRATCH)),
        ];
        if !in_tables {
            config.flags |= nsprobe_ebpf::config::TASK_STORAGE;
        }
        let config = config.words();
        let mut loader = EbpfLoader::new();
        for (name, entries) in rooms {
            loader.map_max_entries(name, entries);
        }
        let mut ebpf = loader
            .btf(None)
            .override_global(global::OFFSETS, found.offsets.as_slice(), true)
            .override_global(global::CONFIG, &config, true)
            .override_global(global::SHARE, &share, true)
            .load(OBJECT)?;
        if let Some(storage) = storage {
            room::use_task_storage(&mut ebpf, storage)?;
        }
        filter_keys::fill(&mut ebpf, keys)?;
        // After it, so that both are not in memory at the same time.
        let ids = Btf::parse(&found.ids.to_btf(), Endianness::default()).map_err(EbpfError::from)?;
        Ok(Self {
            ebpf,
            ids: Some(ids),
            globals: Globals { offsets: found.offsets, config: config.to_vec(), share },
            fprobes: Fprobes::default(),
            safe_fprobes,
            prototypes: found.prototypes,
            safe_trampolines,
            tracefs: None,
            _memory: memory,
        })
    }

    /// Returns true if this kernel has `field`.
    #[must_use]
    pub fn has(&self, field: Field) -> bool {
        self.globals.offsets.get(field as usize).is_some_and(|&offset| offset != ABSENT)
    }

    /// Takes the ring buffer of the records. Works once.
    pub fn take_ring(&mut self) -> Result<Ring, OpenError> {
        let ring = self.ebpf.take_map(map::EVENTS).and_then(|map| RingBuf::try_from(map).ok());
        let Some(Map::Array(shares)) = self.ebpf.take_map(map::SHARES) else {
            return Err(OpenError::NoMap(map::SHARES));
        };
        let shares = Shares::new(shares).map_err(OpenError::Shares)?;
        ring.map(|ring| Ring::new(ring, shares)).ok_or(OpenError::NoMap(map::EVENTS))
    }

    /// Takes the counters of what the probe could not do. Works once.
    pub fn take_counters(&mut self) -> Result<Counters, OpenError> {
        let map = self.ebpf.take_map(map::COUNTERS).and_then(|map| PerCpuArray::try_from(map).ok());
        map.map(Counters::new).ok_or(OpenError::NoMap(map::COUNTERS))
    }

    /// Takes the map of the users whose events were lost. Works once.
    pub fn take_losers(&mut self) -> Result<Losers, OpenError> {
        let map = self.ebpf.take_map(map::LOSERS).and_then(|map| HashMap::try_from(map).ok());
        map.map(Losers::new).ok_or(OpenError::NoMap(map::LOSERS))
    }

    /// Takes the maps of the namespaces whose end is reported. Works once.
    pub fn take_watches(&mut self) -> Result<Watches, OpenError> {
        let mut take = |name| {
            let map = self.ebpf.take_map(name).and_then(|map| HashMap::try_from(map).ok());
            map.ok_or(OpenError::NoMap(name))
        };
        Ok(Watches::new(take(map::NAMESPACES)?, take(map::FOUND)?))
    }

    /// Loads the hook's program, if it is not loaded, and attaches it until the link is dropped.
    pub fn attach(&mut self, hook: &Hook) -> Result<Link, Refusal> {
        if matches!(hook.point, Point::Fentry(_) | Point::Fexit(_)) && !self.safe_trampolines {
            return Err(Refusal::new(
                "this kernel may crash when it is detached (its BTF has no bpf_tramp_image)",
            ));
        }
        if let Some(function) = hook.point.fprobe() {
            if !self.safe_fprobes {
                return Err(Refusal::new(
                    "tasks inside calls can exhaust this kernel's fprobes (its BTF has no fprobe_hlist)",
                ));
            }
            let link = self.fprobes.attach(&self.ebpf, &self.globals, hook.program, function)?;
            return Ok(Link(Attached::Descriptor(link)));
        }
        let ids = self.ids.as_ref().ok_or_else(|| Refusal::new("everything is already attached"));
        let program = self
            .ebpf
            .program_mut(hook.program)
            .ok_or_else(|| Refusal::new("the probe has no such program"))?;
        let loaded = program.fd().is_ok();
        if !loaded {
            // For it and its link. aya repeats what fails for want of one, with the verifier's whole log each time.
            can_open(2).map_err(|error| Refusal::io(&error))?;
        }
        let link = match hook.point {
            Point::TpBtf(name) => {
                let program: &mut BtfTracePoint = program.try_into().map_err(refusal)?;
                if !loaded {
                    program.load(name, ids?).map_err(refusal)?;
                }
                let id = program.attach().map_err(refusal)?;
                Attached::TpBtf(program.take_link(id).map_err(refusal)?)
            }
            Point::Fentry(name) => {
                let program: &mut FEntry = program.try_into().map_err(refusal)?;
                if !loaded {
                    program.load(name, ids?).map_err(refusal)?;
                }
                let id = program.attach().map_err(refusal)?;
                Attached::Fentry(program.take_link(id).map_err(refusal)?)
            }
            Point::Fexit(name) => {
                let program: &mut FExit = program.try_into().map_err(refusal)?;
                if !loaded {
                    program.load(name, ids?).map_err(refusal)?;
                }
                let id = program.attach().map_err(refusal)?;
                Attached::Fexit(program.take_link(id).map_err(refusal)?)
            }
            Point::Syscall(_) | Point::EverySyscall(_) => {
                let program: &mut TracePoint = program.try_into().map_err(refusal)?;
                if !loaded {
                    program.load().map_err(refusal)?;
                }
                let id = tracepoint_id(&mut self.tracefs, hook.point)?;
                let program = program.fd().map_err(refusal)?;
                Attached::Descriptor(perf::attach(id, program.as_fd()).map_err(|error| Refusal::io(&error))?)
            }
            Point::Fprobe(_) | Point::FprobeReturn(_) => {
                return Err(Refusal::new("not a program that aya loads"));
            }
        };
        Ok(Link(link))
    }

    /// Frees what is needed only to attach more.
    pub fn settle(&mut self) {
        self.ids = None;
        self.fprobes.settle();
        // Memory used for the kernel's types would otherwise stay in the heap: a trace may run for months.
        #[cfg(target_env = "gnu")]
        // SAFETY: takes no pointer, and releases only free memory.
        unsafe {
            libc::malloc_trim(0);
        }
    }

    /// Returns how often a program was not run because it was already running on the same CPU (Linux 5.12; 0 before).
    #[must_use]
    pub fn recursion_misses(&self) -> u64 {
        let programs = self.ebpf.programs().filter_map(|(_, program)| fd_of(program));
        let programs = programs.chain(self.fprobes.fds());
        programs
            .filter_map(|fd| std::fs::read(format!("/proc/self/fdinfo/{fd}")).ok())
            .filter_map(|text| status::number::<u64>(&text, "recursion_misses"))
            .sum()
    }
}

/// An attached program; detached when dropped.
pub struct Link(#[expect(dead_code, reason = "only its drop matters")] Attached);

#[expect(dead_code, reason = "links are held, not used")]
enum Attached {
    TpBtf(aya::programs::tp_btf::BtfTracePointLink),
    Fentry(aya::programs::fentry::FEntryLink),
    Fexit(aya::programs::fexit::FExitLink),
    Descriptor(OwnedFd),
}

fn fd_of(program: &Program) -> Option<i32> {
    program.fd().ok().map(|fd| fd.as_fd().as_raw_fd())
}

/// Returns the reason that tracefs is not available, with advice if the capability `needed` is missing.
fn no_tracefs(error: &io::Error, needed: Capability, why: &str) -> Refusal {
    let refusal = Refusal::io(error);
    let denied = error.kind() == io::ErrorKind::PermissionDenied;
    let reason = if denied && remedy(&[needed]).is_some() {
        format!("tracefs: {}: {why}: {}", refusal.reason, how_to_get_them())
    } else {
        format!("tracefs: {}", refusal.reason)
    };
    Refusal { reason, ..refusal }
}

fn tracepoint_id(tracefs: &mut Option<PseudoFs>, point: Point) -> Result<u64, Refusal> {
    // Without a mount of it nsprobe makes its own.
    let tracefs = match tracefs {
        Some(tracefs) => tracefs,
        None => tracefs.insert(tracefs::open().map_err(|error| {
            no_tracefs(&error, Capability::SysAdmin, "it is not mounted, and mounting it takes CAP_SYS_ADMIN")
        })?),
    };
    let failed = |error: io::Error| {
        no_tracefs(
            &error,
            Capability::DacReadSearch,
            "root owns its files: reading them takes CAP_DAC_READ_SEARCH",
        )
    };
    // Its directory is named as it is displayed.
    let name = point.to_string();
    let name = name.trim_start_matches("tracepoint/");
    let text = tracefs.read(&format!("events/{name}/id")).map_err(failed)?;
    text.trim().parse().map_err(|_| Refusal::new(format!("tracefs: the id of {name} is not a number")))
}
