//! `--source`: the source of processes, for every command that takes a snapshot.

use super::METHOD;
use crate::discover::{CommandLines, Options};
use crate::model::ProcessSource;
use clap::ValueEnum;

#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct SourceArgs {
    /// Source of processes and threads
    #[arg(long, value_enum, default_value_t = Source::Auto, value_name = "SOURCE", help_heading = METHOD)]
    source: Source,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Source {
    /// Whichever is faster for the current number of tasks; proc, where BPF is not permitted
    Auto,
    /// The files of /proc, and no BPF at all
    Proc,
    /// The kernel's own tasks, by a BPF iterator: also those that /proc denies (Linux 5.8; CAP_BPF and CAP_PERFMON)
    Bpf,
}

impl SourceArgs {
    /// The options of a snapshot.
    pub(super) fn options(self, command_lines: CommandLines) -> Options {
        let processes_from = match self.source {
            Source::Auto => None,
            Source::Proc => Some(ProcessSource::Proc),
            Source::Bpf => Some(ProcessSource::Bpf),
        };
        let bpf = self.source != Source::Proc;
        Options { processes_from, bpf, command_lines, ..Options::default() }
    }
}
