//! The `nsprobe` command: parse, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    nsprobe::cli::main()
}
