//! The commands that are measured: nsprobe, and the programs that it is compared to.

use super::{facts, util_linux};
use anyhow::{Context as _, Result, ensure};
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};
use xtask::checkout;

/// The columns that ps shares with nsprobe: the eight kinds, and the identity of the process.
const PS_COLUMNS: &str = "pid,ppid,cgroupns,ipcns,mntns,netns,pidns,timens,userns,utsns,comm";

/// A command that is measured.
pub struct Peer {
    /// Its name in the table.
    pub name: String,
    /// Set if the others are compared to it.
    pub yardstick: bool,
    /// The program and its arguments.
    line: Vec<OsString>,
}

impl Peer {
    fn new(name: &str, line: &[&str]) -> Self {
        Self { name: name.to_owned(), yardstick: false, line: line.iter().map(Into::into).collect() }
    }

    /// The command, with no input and no output.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.line[0]);
        command.args(&self.line[1..]).stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// Runs it once, to check that it can be measured.
    fn works(&self) -> Result<()> {
        checkout::output(&mut self.command()).map(drop)
    }
}

/// All commands that work here, nsprobe first; and a line for each fact about them that belongs to the measurement.
pub fn all(program: &Path) -> Result<(Vec<Peer>, Vec<String>)> {
    let nsprobe = program.to_str().context("the path of nsprobe is not UTF-8")?;
    let mut facts = vec![self::nsprobe(program)?];
    let mut peers = vec![
        Peer::new("nsprobe list", &[nsprobe, "list"]),
        Peer::new("nsprobe list --source proc", &[nsprobe, "list", "--source", "proc"]),
        Peer::new("nsprobe list --source bpf", &[nsprobe, "list", "--source", "bpf"]),
        Peer::new("nsprobe list --json", &[nsprobe, "list", "--json"]),
        Peer::new("nsprobe tree", &[nsprobe, "tree"]),
    ];
    match version(Command::new("lsns")) {
        Ok(version) => {
            let name = format!("lsns {}", version_number(&version));
            peers.push(Peer { yardstick: true, ..Peer::new(&name, &["lsns"]) });
            facts.push(format!("{version}, the distribution's"));
        }
        Err(error) => facts.push(format!("MISSING: the distribution's lsns: {error:#}")),
    }
    match util_linux::lsns() {
        Ok(lsns) => {
            let mut line = Command::new(&lsns[0]);
            let version = version({
                line.args(&lsns[1..]);
                line
            })?;
            let name = format!("lsns {}", version_number(&version));
            peers.push(Peer { name, yardstick: true, line: lsns });
            facts.push(format!(
                "{version}, of Debian {}, with that release's dynamic linker and libraries",
                util_linux::RELEASE
            ));
        }
        Err(error) => facts.push(format!("MISSING: the newest lsns: {error:#}")),
    }
    match version(Command::new("ps")) {
        Ok(version) => {
            peers.push(Peer::new("ps -eo pid,ppid,8×ns,comm", &["ps", "-eo", PS_COLUMNS]));
            facts.push(format!("{version}: `ps -eo {PS_COLUMNS}`"));
        }
        Err(error) => facts.push(format!("MISSING: ps: {error:#}")),
    }
    peers.retain(|peer| match peer.works() {
        Ok(()) => true,
        Err(error) => {
            facts.push(format!("MISSING: `{}`: {error:#}", peer.name).replace('\n', " "));
            false
        }
    });
    ensure!(peers.first().is_some_and(|peer| peer.name == "nsprobe list"), "nsprobe list fails: {facts:?}");
    Ok((peers, facts))
}

/// The version and commit of the nsprobe that is measured.
pub fn nsprobe(program: &Path) -> Result<String> {
    Ok(format!("{}, commit {}", version(Command::new(program))?, facts::commit()))
}

/// The version of a program: the first line of `--version`.
fn version(mut program: Command) -> Result<String> {
    let output = checkout::output(program.arg("--version"))?;
    let output = String::from_utf8(output.stdout)?;
    Ok(output.lines().next().unwrap_or_default().to_owned())
}

/// The version version_number at the end of `lsns from util-linux 2.38.1`.
fn version_number(version: &str) -> &str {
    version.rsplit(' ').next().unwrap_or(version)
}
