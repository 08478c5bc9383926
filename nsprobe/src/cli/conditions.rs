//! Conditions of `trace`, as the user names them.

use super::SELECT;
use super::list::kinds;
use super::which::{Which, no_process};
use super::{passwd, printed, quantity};
use crate::discover::{self, CommandLines};
use crate::kernel::cgroups;
use crate::model::{NsKind, NsSlot, Pid, Snapshot, Text};
use crate::trace::conditions::{Conditions, OutcomeFilter};
use anyhow::{Context as _, anyhow};
use clap::builder::{OsStringValueParser, TypedValueParser};
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(super) struct ConditionArgs {
    /// Only calls about namespaces of these kinds
    ///
    /// Those named by the flags of clone or unshare or by the target of setns, and those that changed: cgroup, ipc,
    /// mnt, net, pid, time, user, uts. chroot and pivot_root are about mnt.
    #[arg(short, long, value_name = "KIND,...", value_delimiter = ',', value_parser = kinds(), hide_possible_values = true, help_heading = SELECT)]
    kind: Vec<NsKind>,

    /// Only calls of these processes
    ///
    /// Pids as nsprobe sees them. Outside the initial pid namespace BPF is not used.
    #[arg(short, long, value_name = "PID,...", value_parser = quantity::pid, value_delimiter = ',', conflicts_with = "command", help_heading = SELECT)]
    pid: Vec<Pid>,

    /// With --pid, also of their descendants
    #[arg(long, requires = "pid", help_heading = SELECT)]
    follow: bool,

    /// Only calls of these users, by name or uid
    ///
    /// Compared with the real uid of the caller.
    #[arg(short, long, value_name = "USER,...", value_delimiter = ',', value_parser = user, help_heading = SELECT)]
    uid: Vec<u32>,

    /// Only calls of programs with these names
    ///
    /// The kernel keeps 15 bytes of a name (comm). A name may also be given as nsprobe prints it, quotes and escapes
    /// included: both forms match.
    #[arg(long, value_name = "NAME,...", value_parser = comms(), help_heading = SELECT)]
    comm: Vec<Comms>,

    /// Only events that involve this namespace
    ///
    /// The caller's (or its child's) before or after the call, or the target of setns. By inode (net:[4026531833],
    /// net:4026531833, 4026531833), by the path of its file, or by its name in /run/netns.
    #[arg(long, value_name = "NAMESPACE", help_heading = SELECT)]
    ns: Vec<Which>,

    /// Only calls from this control group, or one below it
    ///
    /// Of version 2: its directory, or its path as shown in events.
    #[arg(long, value_name = "PATH", help_heading = SELECT)]
    cgroup: Vec<PathBuf>,

    /// Only calls that fail
    #[arg(long, conflicts_with = "ok", help_heading = SELECT)]
    failed: bool,

    /// Only calls that succeed
    #[arg(long, help_heading = SELECT)]
    ok: bool,
}

impl ConditionArgs {
    /// Resolves the arguments; the error names the one that does not exist.
    pub(super) fn resolve(&self) -> anyhow::Result<Conditions> {
        let snapshot = if self.ns.is_empty() && self.pid.is_empty() {
            Snapshot::default()
        } else {
            let options = discover::Options { command_lines: CommandLines::Leaders, ..Default::default() };
            discover::snapshot(&options)?
        };
        let namespaces = self.ns.iter().map(|which| Ok(which.find(&snapshot)?.id));
        let cgroups = self
            .cgroup
            .iter()
            .map(|path| cgroups::find(&printed::path(path.as_os_str())).context("--cgroup"));
        self.pid.iter().try_for_each(|&pid| check_exists(&snapshot, pid))?;
        let outcome = match (self.failed, self.ok) {
            (true, _) => Some(OutcomeFilter::Failed),
            (_, true) => Some(OutcomeFilter::Succeeded),
            _ => None,
        };
        Ok(Conditions {
            kinds: self.kind.clone(),
            pids: self.pid.clone(),
            follow: self.follow,
            uids: self.uid.clone(),
            comms: self.comm.iter().flat_map(|comms| comms.0.iter().cloned()).collect(),
            namespaces: namespaces.collect::<anyhow::Result<_>>().context("--ns")?,
            cgroups: cgroups.collect::<anyhow::Result<_>>()?,
            outcome,
        })
    }
}

/// Fails if there is no such process. Only readers in the initial pid namespace can tell.
fn check_exists(snapshot: &Snapshot, pid: Pid) -> anyhow::Result<()> {
    let own = snapshot.process(std::process::id()).and_then(|own| own.namespace(NsSlot::In(NsKind::Pid)));
    let sees_all = own.is_some() && own == snapshot.initial(NsKind::Pid).map(|namespace| namespace.id);
    if sees_all && snapshot.process(pid).is_none() {
        return Err(anyhow!("--pid: {}", no_process(pid)));
    }
    Ok(())
}

/// Names of programs.
#[derive(Clone, Debug)]
struct Comms(Vec<Text>);

fn comms() -> impl TypedValueParser<Value = Comms> {
    OsStringValueParser::new().try_map(|given| {
        let names = printed::names(&given).ok_or("a name is empty")?;
        Ok::<_, &str>(Comms(names.into_iter().map(Text::from).collect()))
    })
}

/// Parses a user, by uid or name.
fn user(text: &str) -> Result<u32, String> {
    text.parse().or_else(|_| passwd::uid(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_have_names_and_uids() {
        assert_eq!(user("root"), Ok(0));
        assert_eq!(user("4294967294"), Ok(u32::MAX - 1));
        for bad in ["", "no such user", "-1", "4294967296"] {
            assert!(user(bad).is_err(), "{bad}");
        }
    }
}
