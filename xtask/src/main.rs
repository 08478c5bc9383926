//! Development tasks: `cargo xtask --help`. One module per task.

mod archive;
mod bench;
mod checkout;
mod conformance;
mod dist;
mod ending;
mod load;
mod probe;
mod schema;
mod span;
mod stress;
mod vm;

use checkout::root;
use clap::Parser;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Development tasks of nsprobe")]
enum Task {
    /// Measures nsprobe and its peers side by side
    Bench(bench::Args),
    /// Runs the kernel's own tests beside strace
    Conformance(conformance::Args),
    /// Builds the program, its manual pages and completions, as a package has them
    Dist(dist::Args),
    /// The work that `bench` traces; started by it
    #[command(hide = true)]
    Load(load::Args),
    /// Builds the BPF object that nsprobe embeds, or checks the committed one
    Probe(probe::Args),
    /// Writes the JSON Schemas of the documents from their types, or checks the committed ones
    Schema(schema::Args),
    /// The loads that `bench` stages for its measurements; started by it
    #[command(hide = true)]
    Stage(bench::Stage),
    /// Takes snapshots while namespaces and processes are created and end
    Stress(stress::Args),
    /// Runs the tests on other kernels, in emulated machines
    Vm(vm::Args),
}

fn main() -> anyhow::Result<()> {
    match Task::parse() {
        Task::Bench(args) => bench::run(&args),
        Task::Conformance(args) => conformance::run(&args),
        Task::Dist(args) => dist::run(&args),
        Task::Load(args) => load::run(&args),
        Task::Probe(args) => probe::run(&args),
        Task::Schema(args) => schema::run(&args),
        Task::Stage(args) => bench::stage(&args),
        Task::Stress(args) => stress::run(&args),
        Task::Vm(args) => vm::run(&args),
    }
}
