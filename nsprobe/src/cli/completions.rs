//! `nsprobe completions`

use super::output::Output;
use super::{Cli, Exit};
use clap::CommandFactory as _;
use clap_complete::Shell;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nsprobe completions bash > /etc/bash_completion.d/nsprobe")]
pub(super) struct Args {
    /// For which shell
    shell: Shell,
}

pub(super) fn run(args: &Args, out: &mut Output) -> anyhow::Result<Exit> {
    clap_complete::generate(args.shell, &mut Cli::command(), "nsprobe", out);
    Ok(Exit::Done)
}
