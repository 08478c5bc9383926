//! Conditions → the probe's configuration and filter keys.

use super::conditions::{Conditions, OutcomeFilter, comm};
use crate::model::NsKind;
use nsprobe_ebpf::filter_key::{self, FilterKey, about};
use nsprobe_ebpf::{Config, config};

impl Conditions {
    /// Sets the conditions in `settings`, and returns the filter keys that go with them.
    pub(super) fn configure(&self, settings: &mut Config) -> Vec<FilterKey> {
        let mut condition = |set: bool, flag: u32| settings.flags |= if set { flag } else { 0 };
        condition(!self.kinds.is_empty(), config::KIND);
        condition(self.follow, config::FOLLOW);
        condition(!self.pids.is_empty() && !self.follow, config::PID);
        condition(!self.uids.is_empty(), config::UID);
        condition(!self.comms.is_empty(), config::COMM);
        condition(!self.namespaces.is_empty(), config::NAMESPACE);
        condition(!self.cgroups.is_empty(), config::CGROUP);
        condition(self.outcome == Some(OutcomeFilter::Failed), config::FAILED);
        condition(self.outcome == Some(OutcomeFilter::Succeeded), config::SUCCEEDED);
        settings.kinds = flags(self.kinds.iter().copied());
        settings.namespace_kinds = flags(self.namespaces.iter().map(|id| id.kind));
        let number = |about| move |number: u64| filter_key::number(about, number);
        let pids = self.pids.iter().copied().map(u64::from).map(number(about::PID));
        let uids = self.uids.iter().copied().map(u64::from).map(number(about::UID));
        let comms = self.comms.iter().map(|name| filter_key::comm(&comm(name.as_bytes())));
        let namespaces = self.namespaces.iter().map(|id| filter_key::number(about::NAMESPACE, id.ino));
        let cgroups = self.cgroups.iter().map(|&group| filter_key::number(about::CGROUP, group));
        pids.chain(uids).chain(comms).chain(namespaces).chain(cgroups).collect()
    }
}

/// The `CLONE_NEW*` flags of these kinds: all fit in 32 bits.
fn flags(kinds: impl Iterator<Item = NsKind>) -> u32 {
    kinds.fold(0, |flags, kind| flags | u32::try_from(kind.clone_flag()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NsId;

    #[test]
    fn conditions_have_their_bits_and_keys() {
        let configured = |conditions: Conditions| {
            let mut settings = Config::default();
            let keys = conditions.configure(&mut settings);
            (settings.words(), keys)
        };
        assert_eq!(configured(Conditions::default()), ([0; 5], vec![]));
        let followed = Conditions { pids: vec![7], follow: true, ..Conditions::default() };
        assert_eq!(configured(followed), ([config::FOLLOW, 0, 0, 0, 0], vec![[about::PID, 7, 0]]));
        let some = Conditions {
            kinds: vec![NsKind::Net, NsKind::Time],
            uids: vec![0, 1000],
            comms: vec!["a name that is too long".into()],
            namespaces: vec![NsId::new(NsKind::Uts, 4, 99)],
            outcome: Some(OutcomeFilter::Failed),
            ..Conditions::default()
        };
        let flags = config::KIND | config::UID | config::COMM | config::NAMESPACE | config::FAILED;
        let comm = |bytes: &[u8; 8]| u64::from_ne_bytes(*bytes);
        let keys = vec![
            [about::UID, 0, 0],
            [about::UID, 1000, 0],
            [about::COMM, comm(b"a name t"), comm(b"hat is \0")],
            [about::NAMESPACE, 99, 0],
        ];
        assert_eq!(configured(some), ([flags, 0, 0, 0x4000_0080, 0x0400_0000], keys));
    }
}
