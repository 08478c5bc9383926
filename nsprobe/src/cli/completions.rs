//! `nsprobe completions`

use super::output::Output;
use super::{Cli, Exit};
use anyhow::Context as _;
use clap::{Arg, Command, CommandFactory as _};
use clap_complete::Shell;
use std::collections::HashSet;
use std::io::Write as _;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nsprobe completions bash > /etc/bash_completion.d/nsprobe")]
pub(super) struct Args {
    /// For which shell
    shell: Shell,
}

pub(super) fn run(args: &Args, out: &mut Output) -> anyhow::Result<Exit> {
    // Through a buffer: the generator panics when its writer fails, and a pipe may be closed.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "nsprobe", &mut script);
    if args.shell == Shell::Bash {
        script = with_lists(&script, &Cli::command());
    }
    out.write_all(&script).context("stdout")?;
    Ok(Exit::Done)
}

/// The script for bash, in which an option that takes a list completes the text after the last comma. The generator
/// completes the first value only.
fn with_lists(script: &[u8], command: &Command) -> Vec<u8> {
    let lists: HashSet<String> =
        command.get_subcommands().flat_map(Command::get_arguments).flat_map(labels).collect();
    let mut is_list = false;
    let mut out = String::with_capacity(script.len());
    for line in String::from_utf8_lossy(script).split_inclusive('\n') {
        if let Some(option) = line.trim().strip_suffix(')').filter(|option| option.starts_with('-')) {
            is_list = lists.contains(option);
        }
        match line.split_once("compgen -W ").filter(|_| is_list) {
            Some((before, after)) => {
                let after = after.replace("-- \"${cur}\"", "-- \"${cur##*,}\"");
                out.extend([before, "compgen -P \"${cur%\"${cur##*,}\"}\" -W ", &after]);
            }
            None => out.push_str(line),
        }
    }
    out.into_bytes()
}

/// The names of an option that takes a list.
fn labels(argument: &Arg) -> Vec<String> {
    let long = argument.get_long().map(|long| format!("--{long}"));
    let short = argument.get_short().map(|short| format!("-{short}"));
    argument.get_value_delimiter().map(|_| long.into_iter().chain(short).collect()).unwrap_or_default()
}
