//! `nsprobe diff`

use super::output::{self, Output};
use super::printed;
use super::{Exit, OUTPUT, SELECT};
use crate::diff::{self, Side};
use crate::discover;
use crate::kernel::document;
use crate::model::text::{self, shown_path};
use crate::model::{Difference, Namespace, NsKind, ProcessSource, Source, Taken, Text};
use crate::render::diff as render;
use crate::render::style::printable;
use anyhow::Context as _;
use clap::ValueEnum;
use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The earlier snapshot: the output of `nsprobe list --json`; `-` for stdin
    old: PathBuf,

    /// The later one; by default, the machine as it is now
    new: Option<PathBuf>,

    /// Only what differs in these
    #[arg(long, value_enum, value_name = "WHAT", help_heading = SELECT)]
    only: Option<Only>,

    /// JSON, with everything that is known about what came, went or changed
    #[arg(short, long, help_heading = OUTPUT)]
    json: bool,

    /// Use ASCII characters only
    #[arg(long, conflicts_with = "json", help_heading = OUTPUT)]
    ascii: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Only {
    /// Namespaces that came or went
    Namespaces,
    /// Processes that came, went, or are in other namespaces
    Processes,
}

const EXAMPLES: &str = "\
A line begins with + for what came, - for what went, ~ for what changed, and ? for what may or may not be the same: the kernel reuses the inode of a namespace that is gone, and what only one of the two snapshots could see has neither come nor gone. nsprobe is certain if namespaces have ids (Linux 6.18), or if something in one stayed all the time. Kernel threads and the nsprobe processes that took the snapshots are left out.

Examples:
  nsprobe list --json | nsprobe diff -
  nsprobe list --json > before; unshare --net true; nsprobe diff before
  nsprobe list --json > before; nsprobe diff before --only namespaces
  nsprobe list --json > a; nsprobe list --json > b; nsprobe diff --json a b

Exit codes: 0 no difference, 1 a difference, or possibly one, 2 error.";

pub(super) fn run(args: &Args, out: &mut Output) -> anyhow::Result<Exit> {
    if args.old == Path::new("-") && args.new.as_deref() == Some(Path::new("-")) {
        anyhow::bail!("only one of the two snapshots can be read from stdin");
    }
    let old = read(&args.old)?;
    let new = match &args.new {
        Some(path) => read(path)?,
        None => now(&old)?,
    };
    let mut difference = diff::compare(&old, &new);
    match args.only {
        None => {}
        Some(Only::Namespaces) => difference.forget_processes(),
        Some(Only::Processes) => difference.forget_namespaces(),
    }
    if !difference.same_boot {
        output::complain(&other_boot(&difference));
    }
    if args.json {
        render::json(&difference, env!("CARGO_PKG_VERSION"), out).context("stdout")?;
    } else {
        render::text(&difference, out.text_style(args.ascii), out).context("stdout")?;
        if !difference.visibility.is_empty() {
            output::complain(&visibility(&difference));
        }
    }
    Ok(if difference.is_empty() { Exit::Done } else { Exit::Findings })
}

fn read(path: &Path) -> anyhow::Result<Side> {
    if path == Path::new("-") {
        return Side::read(io::stdin().lock()).context("stdin");
    }
    let path = &*printed::path(path.as_os_str());
    let side = document::open(path).map_err(anyhow::Error::from).and_then(|file| Ok(Side::read(file)?));
    side.with_context(|| shown_path(path))
}

/// Takes a snapshot with the sources of `old`: sources differ in what they can see.
fn now(old: &Side) -> anyhow::Result<Side> {
    let bpf = old.taken.snapshot.namespaces.iter().any(is_listed);
    let take = |processes_from| {
        let options = discover::Options { processes_from, bpf, ..discover::Options::default() };
        anyhow::Ok(Taken { origin: discover::origin(&options)?, snapshot: discover::snapshot(&options)? })
    };
    let taken = match old.taken.snapshot.processes_from {
        ProcessSource::Proc => take(Some(ProcessSource::Proc))?,
        // Without the privileges for the other source, the rest can still be compared.
        ProcessSource::Bpf => take(Some(ProcessSource::Bpf)).or_else(|_| take(Some(ProcessSource::Proc)))?,
    };
    Side::now(taken).context("this machine")
}

/// True if the kernel's lists led to a namespace; mount namespaces can also be listed in other ways.
fn is_listed(namespace: &Namespace) -> bool {
    namespace.id.kind != NsKind::Mnt && namespace.sources.contains(&Source::KernelLists)
}

fn other_boot(difference: &Difference<'_>) -> String {
    let (old, new) = (&difference.old.origin, &difference.new.origin);
    let whose = |name: &Text| if name.is_empty() { "a machine".to_owned() } else { name.to_string() };
    format!(
        "the snapshots are of two boots (of {} and {}): nothing in one can be in the other",
        whose(&old.hostname),
        whose(&new.hostname)
    )
}

/// Describes differences in visibility, which mean that not everything new has come since.
fn visibility(difference: &Difference<'_>) -> String {
    let change = |change: &crate::model::VisibilityChange| {
        let (kind, reason) = (text::shown(&change.kind), printable(&change.reason));
        format!("{kind} ({reason}): {} before, {} now", change.old, change.new)
    };
    let changes: Vec<String> = difference.visibility.iter().map(change).collect();
    format!("the two snapshots could not see the same: {}", changes.join("; "))
}
