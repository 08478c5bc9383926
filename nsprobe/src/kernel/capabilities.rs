//! Capabilities of this process: capabilities(7).

use super::status::value;
use std::io;
use std::sync::LazyLock;

/// A capability that nsprobe may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Load programs, create maps (Linux 5.8).
    Bpf = 39,
    /// Tracing programs, perf events (Linux 5.8).
    Perfmon = 38,
    /// Everything without a capability of its own; also implies the other two.
    SysAdmin = 21,
    /// Access to processes of other users: `/proc/PID/ns/`, `/proc/PID/root`.
    SysPtrace = 19,
    /// Read files whatever their permissions: root owns those of tracefs.
    DacReadSearch = 2,
}

impl Capability {
    /// Returns its name in capabilities(7).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bpf => "CAP_BPF",
            Self::Perfmon => "CAP_PERFMON",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::SysPtrace => "CAP_SYS_PTRACE",
            Self::DacReadSearch => "CAP_DAC_READ_SEARCH",
        }
    }
}

/// The effective capabilities of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effective(u64);

impl Effective {
    /// Reads those of this process.
    pub fn read() -> io::Result<Self> {
        let status = std::fs::read("/proc/self/status")?;
        Self::parse(&status).ok_or_else(|| io::Error::other("/proc/self/status has no CapEff"))
    }

    /// Parses those in the text of a `/proc/PID/status`.
    #[must_use]
    pub fn parse(status: &[u8]) -> Option<Self> {
        u64::from_str_radix(value(status, "CapEff")?, 16).ok().map(Self)
    }

    /// Returns true if it includes this one.
    #[must_use]
    pub const fn has(self, capability: Capability) -> bool {
        self.0 & (1 << capability as u32) != 0
    }

    /// Returns what is missing to trace.
    #[must_use]
    pub fn missing_to_trace(self) -> Vec<Capability> {
        if self.has(Capability::SysAdmin) {
            return Vec::new();
        }
        [Capability::Bpf, Capability::Perfmon].into_iter().filter(|&c| !self.has(c)).collect()
    }
}

/// Returns the text for what this process lacks to load programs; `None` if nothing, or if there is no `/proc`: then
/// loading them shows.
#[must_use]
pub fn lacking_to_trace() -> Option<String> {
    let missing = Effective::read().map(Effective::missing_to_trace).unwrap_or_default();
    let names: Vec<&str> = missing.iter().map(|capability| capability.name()).collect();
    if names.is_empty() {
        // bpf(2) and perf_event_open(2) check for them in the initial user namespace.
        return (!has_all_users())
            .then(|| "CAP_BPF and CAP_PERFMON in the initial user namespace".to_owned());
    }
    Some(names.join(" and "))
}

/// Returns true if this process may access every namespace: it has `CAP_SYS_ADMIN` in the initial user namespace.
#[must_use]
pub fn administers_all() -> bool {
    Effective::read().is_ok_and(|effective| effective.has(Capability::SysAdmin)) && has_all_users()
}

/// Returns true if uids here are those of the initial user namespace; no other maps all of them unchanged.
#[must_use]
pub fn has_all_users() -> bool {
    static ALL_USERS: LazyLock<bool> =
        LazyLock::new(|| std::fs::read("/proc/self/uid_map").is_ok_and(|map| maps_all_users(&map)));
    *ALL_USERS
}

/// Returns true if the text of a `/proc/PID/uid_map` maps every uid to itself: user_namespaces(7).
fn maps_all_users(map: &[u8]) -> bool {
    let words = map.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    words.eq([&b"0"[..], b"0", b"4294967295"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use Capability::{Bpf, Perfmon, SysAdmin};

    #[test]
    fn nested_root_is_not_the_initial_root() {
        assert!(maps_all_users(b"         0          0 4294967295\n"));
        assert!(!maps_all_users(b"         0       1000          1\n"));
        assert!(!maps_all_users(b"         0     100000      65536\n"));
        assert!(!maps_all_users(b"0 0 1000\n1000 1000 4294966295\n"));
        assert!(!maps_all_users(b""));
    }

    #[test]
    fn capabilities_are_parsed_from_status() {
        let parse = |mask: &str| {
            Effective::parse(format!("Name:\tx\nCapPrm:\t0\nCapEff:\t{mask}\nCapBnd:\t0\n").as_bytes())
        };
        let all = parse("000001ffffffffff").unwrap();
        assert!(all.has(Bpf) && all.has(Perfmon) && all.has(SysAdmin));
        assert_eq!(all.missing_to_trace(), []);
        assert_eq!(parse("0000000000000000").unwrap().missing_to_trace(), [Bpf, Perfmon]);
        assert_eq!(parse("0000008000000000").unwrap().missing_to_trace(), [Perfmon]);
        assert_eq!(parse("0000000000200000").unwrap().missing_to_trace(), []);
        assert_eq!(parse("nonsense"), None);
        assert_eq!(Effective::parse(b""), None);
    }
}
