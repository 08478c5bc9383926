//! `nsprobe list`

use super::output::{self, Output};
use super::source::SourceArgs;
use super::users::Users;
use super::which::{Missing, Which};
use super::{Exit, OUTPUT, SELECT, filters, gaps, help, quantity, which::no_process};
use crate::discover::{self, CommandLines};
use crate::filter::NamespaceRow;
use crate::kernel::advice::remedy;
use crate::kernel::capabilities::Capability;
use crate::model::{Namespace, NsKind, NsSlot, Pid, Snapshot};
use crate::render::json::{self, Selection};
use crate::render::{holders, table};
use anyhow::Context as _;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser as _};
use clap::{ValueEnum, builder::EnumValueParser};
use std::collections::HashMap;
use table::Column;

#[derive(Debug, clap::Args)]
#[command(after_help = help::MORE, after_long_help = after_help())]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag, and they combine")]
pub(super) struct Args {
    /// Only this namespace, as for --ns
    #[arg(value_name = "NAMESPACE", conflicts_with = "ns")]
    namespace: Option<Which>,

    /// Only namespaces of these kinds
    #[arg(short, long, value_name = "KIND,...", value_delimiter = ',', value_parser = kinds(), hide_possible_values = true, help_heading = SELECT)]
    #[arg(
        long_help = "Only namespaces of these kinds, with commas between them: cgroup, ipc, mnt, net, pid, time, user, uts"
    )]
    kind: Vec<NsKind>,

    /// Only the namespaces of a process
    ///
    /// Those that process PID is in, and those its next child will be in.
    #[arg(short, long, value_name = "PID", value_parser = quantity::pid, help_heading = SELECT)]
    pid: Option<Pid>,

    /// Only namespaces for which EXPR is true
    ///
    /// An expression of fields, comparisons, text.matches('regex'), &&, || and !; see below.
    #[arg(short, long, value_name = "EXPR", help_heading = SELECT)]
    filter: Option<String>,

    /// Only this namespace
    ///
    /// By inode (net:[4026531833], net:4026531833, 4026531833), by the path of its file, or by its name in
    /// /run/netns.
    #[arg(long, value_name = "NAMESPACE", help_heading = SELECT)]
    ns: Option<Which>,

    /// Only namespaces without processes
    ///
    /// The number of namespaces for which this is not known is reported on stderr.
    #[arg(long, help_heading = SELECT)]
    orphans: bool,

    /// The holders of each namespace, one per row
    #[arg(long, conflicts_with_all = ["columns", "json"], help_heading = OUTPUT)]
    holders: bool,

    /// The columns, in order; --help lists them
    #[arg(short, long, value_name = "COLUMN,...", value_delimiter = ',', ignore_case = true, value_parser = EnumValueParser::<Column>::new())]
    #[arg(hide_possible_values = true, hide_default_value = true, default_values_t = Column::DEFAULT, help_heading = OUTPUT, long_help = columns())]
    columns: Vec<Column>,

    /// JSON, with everything that is known
    ///
    /// One document with each namespace and the processes in it, as schema/nsprobe.list-1.0.json describes.
    #[arg(short, long, conflicts_with_all = ["columns", "no_header"], help_heading = OUTPUT)]
    json: bool,

    /// Omit the line of column names
    #[arg(short, long, help_heading = OUTPUT)]
    no_header: bool,

    #[command(flatten)]
    strict: gaps::Strict,

    #[command(flatten)]
    source: SourceArgs,
}

const EXAMPLES: &str = r#"Examples:
  nsprobe list                             every namespace, one per row
  nsprobe list --kind net,pid              network and pid namespaces only
  nsprobe list --pid 1                     the namespaces of process 1
  nsprobe list /proc/self/ns/net           the namespace of a file
  nsprobe list --filter "leader.uid == 1000 && kind in ['net', 'mnt']"
  nsprobe list --filter "holders.path.exists(p, p.startsWith('/run/netns/'))"
  nsprobe list --filter "leader.comm == 'nginx' || 'socket' in holders.type"
  nsprobe list --orphans --holders         what keeps empty namespaces alive
  nsprobe list -c ns,type,nsfs,command     other columns
  nsprobe list --json                      everything, for other programs

NPROCS is ? if not all processes were seen: --orphans does not show such namespaces, and reports their number.

Exit codes: 0 done, 1 nothing found (or, with --strict, something could not be read), 2 error. What could not be read is reported on stderr."#;

fn after_help() -> String {
    help::long(EXAMPLES, NamespaceRow::FIELDS)
}

/// The columns with their meaning, for the help.
fn columns() -> String {
    let column = |column: &Column| format!("  {:<9} {}", column.name(), column.help());
    let lines: Vec<String> = Column::ALL.iter().map(column).collect();
    let default: Vec<&str> = Column::DEFAULT.iter().copied().map(Column::name).collect();
    format!(
        "The columns, in order, with commas between them; by default {}\n\n{}",
        default.join(","),
        lines.join("\n")
    )
}

/// The parser for the names of the eight kinds, shared with the other commands.
pub(super) fn kinds() -> impl clap::builder::TypedValueParser<Value = NsKind> {
    PossibleValuesParser::new(NsKind::ALL.map(NsKind::name)).try_map(|name| name.parse::<NsKind>())
}

impl ValueEnum for Column {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()).help(self.help()))
    }
}

impl std::fmt::Display for Column {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

pub(super) fn run(args: &Args, out: &mut Output) -> anyhow::Result<Exit> {
    let filter = filters::compile(args.filter.as_deref(), NamespaceRow::FIELDS)?;
    let options = args.source.options(if args.json || args.holders {
        CommandLines::All
    } else {
        CommandLines::Leaders
    });
    let origin = discover::origin(&options)?;
    let snapshot = discover::snapshot(&options)?;
    let mut wanted = match wanted(args, &snapshot) {
        Ok(wanted) => wanted,
        Err(missing) => return missing.exit(),
    };
    let mut filter = filter.map(filters::Counting::new);
    if let Some(filter) = &mut filter {
        wanted.retain(|namespace| filter.admits(&NamespaceRow::new(namespace, &snapshot)));
    }
    if args.json {
        let all = wanted.len() == snapshot.namespaces.len();
        let selection = if all { Selection::All } else { Selection::Some(&wanted) };
        json::list(&origin, &snapshot, selection, out).context("stdout")?;
    } else if args.holders {
        holders::write(&snapshot, &wanted, !args.no_header, out.text_style(false), out).context("stdout")?;
        gaps::report(&snapshot.gaps, args.orphans || args.strict.is_set());
    } else {
        let users = users(&snapshot, &wanted);
        let options = table::Options {
            columns: &args.columns,
            header: !args.no_header,
            users: &users,
            text_style: out.text_style(false),
        };
        table::write(&snapshot, &wanted, &options, out).context("stdout")?;
        gaps::report(&snapshot.gaps, args.orphans || args.strict.is_set());
    }
    if wanted.is_empty() {
        output::nothing(&snapshot);
    }
    if args.orphans {
        let unknown = snapshot.namespaces.iter().filter(|namespace| namespace.is_orphan().is_none()).count();
        gaps::report_unknown_orphans(unknown);
    }
    let unevaluated = filter.is_some_and(|filter| filter.report("namespaces"));
    let exit =
        if wanted.is_empty() || unevaluated && args.strict.is_set() { Exit::Findings } else { Exit::Done };
    Ok(args.strict.exit(&snapshot.gaps, exit))
}

/// The namespaces that were requested; `Err` if the process or namespace does not exist.
fn wanted<'a>(args: &Args, snapshot: &'a Snapshot) -> Result<Vec<&'a Namespace>, Missing> {
    let of_process = match args.pid {
        None => None,
        Some(pid) => {
            let none = || Missing::NotFound(no_process(pid));
            let process = snapshot.process(pid).ok_or_else(none)?;
            if process.namespaces.is_none() {
                let remedy = remedy(&[Capability::SysPtrace]);
                let remedy = remedy.as_deref().unwrap_or("a security module or sandbox forbids it");
                let why = format!("the namespaces of process {pid} are not readable: {remedy}");
                return Err(Missing::NotFound(why));
            }
            Some(NsSlot::ALL.map(|slot| process.namespace(slot)))
        }
    };
    let only = args
        .ns
        .as_ref()
        .or(args.namespace.as_ref())
        .map(|which| which.find(snapshot))
        .transpose()?
        .map(|namespace| namespace.id);
    let is_wanted = |namespace: &&Namespace| {
        only.is_none_or(|id| id == namespace.id)
            && (!args.orphans || namespace.is_orphan() == Some(true))
            && (args.kind.is_empty() || args.kind.contains(&namespace.id.kind))
            && of_process.is_none_or(|ids| ids.contains(&Some(namespace.id)))
    };
    Ok(snapshot.namespaces.iter().filter(is_wanted).collect())
}

/// The names of the users that lead the namespaces, each looked up once.
fn users(snapshot: &Snapshot, wanted: &[&Namespace]) -> HashMap<u32, String> {
    let leaders = wanted.iter().filter_map(|namespace| snapshot.process(namespace.leader?));
    let names = Users::default();
    let mut users = HashMap::new();
    for process in leaders {
        // A user without an entry, or a database that cannot be queried: the uid is shown.
        if let Some(name) = names.name(process.uid) {
            users.insert(process.uid, name);
        }
    }
    users
}
