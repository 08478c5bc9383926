//! Development tasks: `cargo xtask --help`. One module per task; those that measure are the package in `xtask/bench`.

mod conformance;
mod dist;
mod probe;
mod schema;
mod vm;

use clap::Parser;
use std::ffi::OsString;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Development tasks of nsprobe")]
enum Task {
    /// Measures nsprobe and its peers side by side
    #[command(disable_help_flag = true)]
    Bench(Arguments),
    /// Runs the kernel's own tests beside strace
    Conformance(conformance::Args),
    /// Builds the program, its manual pages and completions, as a package has them
    Dist(dist::Args),
    /// Builds the BPF object that nsprobe embeds, or checks the committed one
    Probe(probe::Args),
    /// Writes the JSON Schemas of the documents from their types, or checks the committed ones
    Schema(schema::Args),
    /// Takes snapshots while namespaces and processes are created and end
    #[command(disable_help_flag = true)]
    Stress(Arguments),
    /// Runs the tests on other kernels, in emulated machines
    Vm(vm::Args),
}

/// The arguments of a task of `xtask/bench`.
#[derive(clap::Args)]
struct Arguments {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

fn main() -> anyhow::Result<()> {
    match Task::parse() {
        Task::Bench(Arguments { arguments }) => measure("bench", &arguments),
        Task::Conformance(args) => conformance::run(&args),
        Task::Dist(args) => dist::run(&args),
        Task::Probe(args) => probe::run(&args),
        Task::Schema(args) => schema::run(&args),
        Task::Stress(Arguments { arguments }) => measure("stress", &arguments),
        Task::Vm(args) => vm::run(&args),
    }
}

/// Becomes the task `name` of `xtask/bench`. Returns only if cargo does not start.
fn measure(name: &str, arguments: &[OsString]) -> anyhow::Result<()> {
    use std::os::unix::process::CommandExt as _;
    let mut cargo = xtask::checkout::cargo();
    cargo.args(["run", "--quiet", "--package=nsprobe-bench", "--", name]).args(arguments);
    Err(anyhow::Error::new(cargo.exec()).context("cargo"))
}
