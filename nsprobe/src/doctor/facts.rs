//! The facts about this machine.

use crate::discover::{self, ProcMount};
use crate::kernel::advice::{how_to_get_them, remedy};
use crate::kernel::capabilities::{Capability, Effective, has_all_users};
use crate::kernel::lockdown::Lockdown;
use crate::kernel::tracefs;
use crate::kernel::{own_mounts, probe};
use crate::model::{EventSource, GapKind, NsKind, NsSlot, Snapshot};
use crate::trace::TraceError;
use crate::trace::attach::{AttachRequest, Attached, attach};
use crate::trace::choose;
use crate::trace::hooks::{Call, Plan, unreadable};
use crate::trace::options::Options;
use crate::trace::plan::Choice;
use crate::trace::source::perf::PerfSource;
use std::path::Path;

/// The facts about this machine, uninterpreted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The kernel's release, as uname(2) has it.
    pub release: String,
    /// The effective capabilities; none if not readable.
    pub capabilities: Effective,
    /// The way to get the capabilities that are missing, or do not count here; `None` if none is missing.
    pub remedy: Option<String>,
    /// The way to make other users' processes readable; `None` if they are, as far as capabilities go.
    pub remedy_to_see: Option<String>,
    /// True if nsprobe is in the initial user namespace; `None` if that cannot be read.
    pub initial_user_namespace: Option<bool>,
    /// True if `/proc` shows the initial pid namespace; `None` if it hides the evidence.
    pub whole_machine: Option<bool>,
    /// The options of `/proc`; `None` if it is not a proc file system.
    pub proc_mount: Option<ProcMount>,
    /// The number of visible processes.
    pub processes: usize,
    /// The number of those whose namespaces are not readable.
    pub unreadable_processes: usize,
    /// The sources of namespaces that are missing, each with its remedy.
    pub missing_sources: Vec<(String, Option<String>)>,
    /// True if nsprobe's root is that of its mount namespace.
    pub whole_root: bool,
    /// Kernel lockdown.
    pub lockdown: Lockdown,
    /// The data missing from events because this kernel lacks a field, or the reason why its BTF is not readable.
    pub btf: Result<Vec<String>, String>,
    /// The result of loading any BPF program.
    pub bpf: Bpf,
    /// The result of creating a ring buffer (Linux 5.8).
    pub ring_buffer: Bpf,
    /// The result of loading and attaching the hooks on kernel functions.
    pub fentry: Bpf,
    /// The state of tracefs, in words.
    pub tracefs: String,
    /// The result of loading and attaching the tracepoints.
    pub tracepoints: Bpf,
    /// The result of opening perf's records of namespaces.
    pub perf: Bpf,
    /// The source that `trace` would take now, with the reason; or the reason why there is none.
    pub trace: Result<(&'static str, String), String>,
}

/// The result of trying BPF, or perf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bpf {
    /// It works.
    Works,
    /// The kernel refused, for this reason.
    Refused(String),
    /// Trying was pointless, for this reason.
    NotTried(String),
}

impl Facts {
    /// Collects the facts about this machine.
    pub fn gather() -> Result<Self, discover::Error> {
        let snapshot = discover::snapshot(&discover::Options::default())?;
        let capabilities = Effective::read().unwrap_or_default();
        let has = |kind| snapshot.gaps.iter().any(|gap| gap.kind == kind);
        let bpf = BpfFacts::gather();
        let facts = Self {
            release: nix::sys::utsname::uname()
                .map_or_else(|_| String::new(), |uname| uname.release().to_string_lossy().into_owned()),
            capabilities,
            remedy: remedy(&needed(capabilities)).map(|_| how_to_get_them().to_owned()),
            remedy_to_see: remedy(&[Capability::SysPtrace]),
            initial_user_namespace: initial_user_namespace(&snapshot),
            whole_machine: (!has(GapKind::HiddenProcesses) || has(GapKind::PidNamespace))
                .then(|| !has(GapKind::PidNamespace)),
            proc_mount: ProcMount::parse(&own_mounts::text().unwrap_or_default(), Path::new("/proc")),
            processes: snapshot.processes.len(),
            unreadable_processes: snapshot
                .processes
                .iter()
                .filter(|process| process.namespaces.is_none())
                .count(),
            missing_sources: snapshot
                .gaps
                .iter()
                .filter(|gap| gap.kind == GapKind::Source)
                .map(|gap| (gap.reason.clone(), gap.remedy.clone()))
                .collect(),
            whole_root: !has(GapKind::Chroot),
            lockdown: Lockdown::read(),
            btf: bpf.btf,
            bpf: bpf.programs,
            ring_buffer: bpf.ring_buffer,
            fentry: bpf.fentry,
            tracefs: tracefs(),
            tracepoints: bpf.tracepoints,
            perf: match PerfSource::check(RING_BYTES) {
                Ok(()) => Bpf::Works,
                Err(error) => Bpf::Refused(error.to_string()),
            },
            trace: bpf.trace.map_or_else(|| opened(Choice::Auto), Ok),
        };
        drop(bpf.held);
        Ok(facts)
    }
}

/// The capabilities that nsprobe can use: `CAP_SYS_ADMIN` replaces those for tracing.
fn needed(capabilities: Effective) -> Vec<Capability> {
    let to_trace: &[Capability] = if capabilities.has(Capability::SysAdmin) {
        &[Capability::SysAdmin]
    } else {
        &[Capability::Bpf, Capability::Perfmon]
    };
    to_trace.iter().copied().chain([Capability::SysPtrace, Capability::DacReadSearch]).collect()
}

/// The facts about BPF. Everything is loaded and attached briefly, and is gone when its descriptors are closed.
struct BpfFacts {
    btf: Result<Vec<String>, String>,
    programs: Bpf,
    ring_buffer: Bpf,
    fentry: Bpf,
    tracepoints: Bpf,
    /// The source of a trace with BPF, and its reason, if there is one.
    trace: Option<(&'static str, String)>,
    /// The attached probes: while they are held, one with the same hooks detaches quickly.
    held: Vec<Attached>,
}

impl BpfFacts {
    fn gather() -> Self {
        let try_out = |choice| attach(&AttachRequest::new(choice, &Call::ALL, RING_BYTES));
        let mut held = Vec::from_iter(try_out(Choice::Auto));
        let chosen = held.first().map(|attached| attached.source.clone());
        let works = |source: &EventSource| match &source.missing[..] {
            [] => Bpf::Works,
            missing => Bpf::Refused(missing.join("; ")),
        };
        let mut attempt = |plan: Plan| match &chosen {
            // Once is enough.
            Some(source) if source.name == plan.name() => works(source),
            _ => match try_out(Choice::Only(plan)) {
                Ok(attached) => {
                    let works = works(&attached.source);
                    held.push(attached);
                    works
                }
                Err(error @ TraceError::Capabilities(_)) => Bpf::NotTried(error.to_string()),
                Err(TraceError::UserNamespace) => Bpf::NotTried(IN_USER_NAMESPACE.to_owned()),
                Err(error) => Bpf::Refused(error.to_string()),
            },
        };
        let fentry = attempt(Plan::Fentry);
        // Without the capabilities every bpf(2) error would be about them.
        let result = |answer: fn() -> Result<bool, String>| match &fentry {
            Bpf::NotTried(why) => Bpf::NotTried(why.clone()),
            _ => match answer() {
                Ok(true) => Bpf::Works,
                Ok(false) => Bpf::Refused("this kernel does not have it".to_owned()),
                Err(error) => Bpf::Refused(error),
            },
        };
        Self {
            btf: probe::absent_fields()
                .map(|absent| unreadable(|field| !absent.contains(&field)))
                .map_err(|error| error.to_string()),
            programs: result(probe::has_programs),
            ring_buffer: result(probe::has_ring_buffers),
            fentry,
            tracepoints: attempt(Plan::Tracepoints),
            trace: chosen.map(|source| (source.name, source.reason)),
            held,
        }
    }
}

/// Opens a trace and closes it at once; returns its source, with the reason.
fn opened(source: Choice) -> Result<(&'static str, String), String> {
    let options = Options { source, ring_bytes: RING_BYTES, ..Options::default() };
    let source = choose::open(&options).map_err(|error| error.to_string())?;
    Ok((source.description().name, source.description().reason.clone()))
}

/// Why BPF is not tried there.
const IN_USER_NAMESPACE: &str = "the kernel takes BPF from the initial user namespace only";

/// Enough for any kernel's page size, and freed soon.
const RING_BYTES: u32 = 64 * 1024;

fn tracefs() -> String {
    match tracefs::open() {
        Ok(tracefs) if tracefs.mounted => "load; tracefs is mounted".to_owned(),
        Ok(_) => "load; tracefs is not mounted, so nsprobe uses a mount of its own that nobody else sees"
            .to_owned(),
        Err(error) => format!("tracefs: {error}"),
    }
}

fn initial_user_namespace(snapshot: &Snapshot) -> Option<bool> {
    if !has_all_users() {
        return Some(false);
    }
    let initial = snapshot.initial(NsKind::User)?.id;
    let own = snapshot.process(std::process::id())?.namespace(NsSlot::In(NsKind::User))?;
    Some(own == initial)
}
