//! `nsprobe completions`

use super::output::Output;
use super::{Cli, Exit};
use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_complete::Shell;
use std::io::Write as _;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nsprobe completions bash > /etc/bash_completion.d/nsprobe")]
pub(super) struct Args {
    /// For which shell
    shell: Shell,
}

pub(super) fn run(args: &Args, out: &mut Output) -> anyhow::Result<Exit> {
    // By way of a buffer: the generator panics when its writer fails, and a pipe may be closed.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "nsprobe", &mut script);
    out.write_all(&script).context("stdout")?;
    Ok(Exit::Done)
}
