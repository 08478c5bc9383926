//! `nsprobe tree`

use super::output::Output;
use super::source::SourceArgs;
use super::users::Users;
use super::which::{Which, no_process};
use super::{Exit, OUTPUT, SELECT, filters, gaps, help, output, quantity};
use crate::discover::{self, CommandLines};
use crate::filter::{NamespaceRow, ProcessRow};
use crate::model::{Namespace, NsId, NsKind, Pid, Snapshot};
use crate::render::tree;
use anyhow::Context as _;
use clap::ValueEnum;
use std::collections::HashSet;

#[derive(Debug, clap::Args)]
#[command(after_help = help::MORE, after_long_help = after_help())]
pub(super) struct Args {
    /// Only process PID, its ancestors and its descendants, as for --pid
    #[arg(value_name = "PID", value_parser = quantity::pid, conflicts_with_all = ["by", "pid", "ns"])]
    process: Option<Pid>,

    /// Show every process
    ///
    /// Without it, a process is counted, not shown, if it and all its descendants are in the same namespaces as its
    /// parent.
    #[arg(short, long, help_heading = OUTPUT)]
    all: bool,

    /// Nodes of the tree
    #[arg(long, value_enum, default_value_t = By::Process, value_name = "WHAT", help_heading = OUTPUT)]
    by: By,

    /// Only process PID, its ancestors and its descendants
    #[arg(short, long, value_name = "PID", value_parser = quantity::pid, conflicts_with = "by", help_heading = SELECT)]
    pid: Option<Pid>,

    /// Only the processes in this namespace, and their ancestors
    ///
    /// By inode (net:[4026531833], net:4026531833, 4026531833), by the path of its file, or by its name in
    /// /run/netns.
    #[arg(long, value_name = "NAMESPACE", conflicts_with_all = ["by", "pid"], help_heading = SELECT)]
    ns: Option<Which>,

    /// Only processes for which EXPR is true, and their ancestors
    ///
    /// With --by, only such namespaces and their ancestors.
    #[arg(short, long, value_name = "EXPR", help_heading = SELECT)]
    filter: Option<String>,

    /// JSON, nested like the tree, with every process
    #[arg(short, long, help_heading = OUTPUT)]
    json: bool,

    /// Draw lines with ASCII characters only
    ///
    /// This is the default without a UTF-8 locale.
    #[arg(long, help_heading = OUTPUT)]
    ascii: bool,

    #[command(flatten)]
    strict: gaps::Strict,

    #[command(flatten)]
    source: SourceArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    /// Processes, a child below its parent, with the boundaries between their namespaces
    Process,
    /// Pid namespaces, each below its parent, with the processes in it
    Pid,
    /// User namespaces, each below its parent, with the namespaces it owns
    User,
}

const EXAMPLES: &str = r#"A line is a process: its pid here, [its pids in the pid namespaces inside, outermost first], its command. Below it are the namespaces that differ from its parent's, and its root directory if that differs.

Examples:
  nsprobe tree                  where namespaces differ, with counts of the rest
  nsprobe tree --all            every process
  nsprobe tree 1                process 1 and its descendants
  nsprobe tree --ns net:[4026531833]
                                the processes in that namespace
  nsprobe tree --filter "chrooted || uid == 65534"
  nsprobe tree --filter "comm.matches('^nginx') && size(pids) > 1"
  nsprobe tree --by user --filter "kind == 'net' && initial == false"
  nsprobe tree --by pid         nested pid namespaces and their processes
  nsprobe tree --by user        user namespaces and what they own
  nsprobe tree --json           everything, for other programs

Exit codes: 0 done, 1 no such process or namespace (or, with --strict, something could not be read), 2 error. What could not be read is reported on stderr."#;

fn after_help() -> String {
    format!(
        "{}\n\nWith --by, the fields are: {}",
        help::long(EXAMPLES, ProcessRow::FIELDS),
        filters::names(NamespaceRow::FIELDS)
    )
}

/// The processes that the filter admits; or the namespaces, in a tree of namespaces.
fn matching(filter: &mut filters::Counting, by: By, snapshot: &Snapshot) -> (HashSet<Pid>, HashSet<NsId>) {
    let (mut processes, mut namespaces) = (HashSet::new(), HashSet::new());
    if by == By::Process {
        for process in &snapshot.processes {
            if filter.admits(&ProcessRow(process)) {
                processes.insert(process.pid);
            }
        }
    } else {
        // The tree of pid namespaces has only those.
        let in_tree = |namespace: &&Namespace| by == By::User || namespace.id.kind == NsKind::Pid;
        for namespace in snapshot.namespaces.iter().filter(in_tree) {
            if filter.admits(&NamespaceRow::new(namespace, snapshot)) {
                namespaces.insert(namespace.id);
            }
        }
    }
    (processes, namespaces)
}

pub(super) fn run(args: &Args, out: &mut Output) -> anyhow::Result<Exit> {
    let fields = if args.by == By::Process { ProcessRow::FIELDS } else { NamespaceRow::FIELDS };
    let filter = filters::compile(args.filter.as_deref(), fields)?;
    let mut filter = filter.map(filters::Counting::new);
    // Of many processes few are named; JSON has all, and an expression may test any.
    let few = args.by == By::Process && !args.json && filter.is_none();
    let source = args.source.options(if few { CommandLines::Leaders } else { CommandLines::All });
    let mut snapshot = discover::snapshot(&source)?;
    let pid = args.pid.or(args.process);
    if let Some(pid) = pid.filter(|&pid| snapshot.process(pid).is_none()) {
        output::complain(&no_process(pid));
        return Ok(Exit::Findings);
    }
    let ns = match args.ns.as_ref().map(|which| which.find(&snapshot)).transpose() {
        Ok(namespace) => namespace.map(|namespace| namespace.id),
        Err(missing) => return missing.exit(),
    };
    let users = Users::default();
    let user_name = |uid| users.name(uid);
    let (processes, namespaces) = match &mut filter {
        Some(filter) => matching(filter, args.by, &snapshot),
        None => Default::default(),
    };
    let wanted = filter.as_ref().map(|_| match args.by {
        By::Process => tree::Wanted::Processes(&processes),
        By::Pid | By::User => tree::Wanted::Namespaces(&namespaces),
    });
    let options = tree::Options {
        by: match args.by {
            By::Process => tree::By::Process,
            By::Pid => tree::By::Pid,
            By::User => tree::By::User,
        },
        all: args.all,
        pid,
        ns,
        wanted,
        user_name: &user_name,
    };
    if few {
        let named = tree::named(&snapshot, &options);
        discover::command_lines(&source, &mut snapshot, &named)?;
    }
    if args.json {
        tree::json(out, &snapshot, &options).context("stdout")?;
    } else {
        let style = out.text_style(args.ascii);
        tree::text(out, &snapshot, &options, style).context("stdout")?;
        gaps::report(&snapshot.gaps, args.strict.is_set());
    }
    let nothing = filter.is_some() && processes.is_empty() && namespaces.is_empty();
    if nothing {
        output::nothing(&snapshot);
    }
    let rows = if args.by == By::Process { "processes" } else { "namespaces" };
    let unevaluated = filter.is_some_and(|filter| filter.report(rows));
    let nothing = nothing || unevaluated && args.strict.is_set();
    Ok(args.strict.exit(&snapshot.gaps, if nothing { Exit::Findings } else { Exit::Done }))
}
