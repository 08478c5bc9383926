//! `nsprobe man`

use super::output::Output;
use super::{Cli, Exit};
use anyhow::{Context as _, bail};
use clap::CommandFactory as _;
use std::io::Write as _;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nsprobe man trace | man -l -")]
pub(super) struct Args {
    /// The command whose page to write; without it, the page of nsprobe
    command: Option<String>,
}

pub(super) fn run(args: &Args, out: &mut Output) -> anyhow::Result<Exit> {
    let mut command = Cli::command().disable_help_subcommand(true);
    // Otherwise the pages of the commands lack the options that all have.
    command.build();
    let name = args.command.as_deref();
    let page = match name {
        None => command,
        Some(name) => match command.find_subcommand(name).filter(|command| !command.is_hide_set()) {
            Some(found) => found.clone(),
            None => bail!("no command `{name}`: see nsprobe --help"),
        },
    };
    let page = clap_mangen::Man::new(page);
    let page = page.source(concat!("nsprobe ", env!("CARGO_PKG_VERSION"))).manual("nsprobe manual");
    let mut text = Vec::new();
    page.render(&mut text).context("man page")?;
    // Text that a user is to type gets neither blanks nor hyphens.
    let text = String::from_utf8_lossy(&text).replacen("\n.SH ", "\n.ad l\n.nh\n.SH ", 1);
    out.write_all(text.as_bytes()).context("stdout")?;
    Ok(Exit::Done)
}
