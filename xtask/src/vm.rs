//! `cargo xtask vm`: the privileged tests on other kernels, in virtual machines.

mod build;
mod image;
mod kernels;
mod machine;
mod modules;
mod outcome;

use anyhow::{Context as _, Result, ensure};
use kernels::Kernel;
use machine::Report;
use std::collections::VecDeque;
use std::fs;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;
use xtask::checkout;

#[derive(clap::Args)]
#[command(
    long_about = "Runs the tests on other kernels, in emulated machines.\n\n\
Takes the newest kernel of each series from Debian's archive, with apt-get and lists of its own (nothing is installed), \
builds the tests as static executables, and boots each kernel with them. fentry and tracepoints must load there. Needs \
qemu-system-x86, busybox-static and cpio; the programs that the tests run are taken from this machine. Without a FILTER \
tests are left out whose outcome does not depend on the kernel (of the documentation, of filters, of schemas, of escaping, \
and most unit tests), and those that take minutes there or have not been seen to pass. The first and the \
last of the kernels run the others; those between run those of calls, of what tenants do to a trace, and of what nsprobe \
finds. With an empty FILTER each runs every test.",
    after_help = "\
Examples:
  cargo xtask vm                         what CI runs, on all kernels
  cargo xtask vm --kernel 5.10 -- trace  the tests with `trace` in their names, on the oldest kernel
  cargo xtask vm --counted               what a trace costs others, in instructions
  cargo xtask vm --kernel 6.12 --lockdown confidentiality
                                         what the kernel forbids then, as secure boot can have it
  cargo xtask vm --download --update     only fetch the newest kernels"
)]
pub struct Args {
    /// Kernel series; `newest` is the highest that the archive has
    #[arg(long, value_delimiter = ',', default_values = ["5.10", "6.1", "6.12", kernels::NEWEST])]
    kernel: Vec<String>,
    /// Only download the kernels
    #[arg(long)]
    download: bool,
    /// Check for newer kernels even if the lists of the archive are fresh
    #[arg(long)]
    update: bool,
    /// Machines at a time
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    jobs: u16,
    /// Seconds after which a machine is ended
    #[arg(long, value_name = "SECONDS", default_value_t = 1800)]
    limit: u64,
    /// Let the clock count instructions, and run the test that compares costs by them
    #[arg(long, conflicts_with = "filter")]
    counted: bool,
    /// Lock the kernel down to this mode, and run the tests of that
    #[arg(long, value_name = "MODE", value_parser = ["integrity", "confidentiality"], conflicts_with = "counted")]
    lockdown: Option<String>,
    /// Arguments of the test harness, such as a part of the names of the tests to run
    #[arg(last = true)]
    filter: Vec<String>,
}

/// Integration tests whose outcome does not depend on the kernel, by the beginnings of their names, as in the lists
/// below.
const ELSEWHERE: [&str; 11] = [
    "bytes::",
    "conformance::",
    "docs::",
    "filter::",
    "given::tests_pass",
    "limits::a_chain",
    "limits::arguments",
    "roots::root_of_the_same_path",
    "schema::",
    "shapes::",
    "trace::people_get_a_line",
];

/// Integration tests that run natively only, because of what they cost: each trace that loads the probe takes from ten
/// seconds to minutes on an emulated processor, most of it in the kernel's verifier, and these run many. `doctor` tries
/// every plan, and `given_limits::too_few` runs a trace for each of many limits (480 s were not enough on 5.10); of the
/// tests of `trace_caller` three pass on 5.10, and take minutes each beside other work. `trace_output` and `hang_ends`
/// measure times that such a machine does not keep (they pass on 7.2 beside other work, but for one). `lockdown` runs
/// where that is requested. The others have not been seen to pass in a machine since they were written or changed.
const NATIVE: [&str; 15] = [
    "doctor::a_chroot",
    "doctor::a_plan",
    "doctor::lines_fit",
    "given_limits::too_few",
    "hang_ends::",
    "lockdown::",
    "sources_diff::",
    "trace_filters::",
    "trace_here::",
    "trace_output::",
    "trace_proc::",
    "trace_program::",
    "trace_fallback::",
    "trace_caller::",
    "trace_wire::",
];

/// Integration tests that the kernels between the first and the last run: a new kernel can break these.
const BETWEEN: [&str; 14] = [
    "list::",
    "list_visibility::",
    "sources::",
    "sources_bpf::",
    "sources_lists::",
    "sources_mounts::",
    "sources_threads::",
    "trace_blind::",
    "trace_calls::",
    "trace_flood::",
    "trace_fork::",
    "trace_lifecycle::",
    "trace_roots::",
    "trace_targets::",
];

/// Unit tests that query the kernel or parse its output.
const UNIT: [&str; 3] = ["kernel::", "discover::", "trace::hooks"];

/// The test that compares costs by the instructions they take.
const COUNTING: &str = "trace_cost::functions_add_no_instruction_to_other_system_calls";

/// Runs the tests of conformance with these `programs` on these kernels.
pub fn conformance(kernel: &[String], programs: &Path) -> Result<()> {
    let filter = ["conformance::", "--nocapture"].map(str::to_owned).into();
    let args = Args {
        kernel: kernel.into(),
        download: false,
        update: false,
        jobs: 2,
        limit: 1800,
        counted: false,
        lockdown: None,
        filter,
    };
    run_with(&args, Some(programs))
}

/// Runs the task.
pub fn run(args: &Args) -> Result<()> {
    run_with(args, None)
}

/// Runs the task, with the programs of [`crate::conformance`] in the machines if there are any.
fn run_with(args: &Args, programs: Option<&Path>) -> Result<()> {
    let mut kernels: VecDeque<Kernel> = VecDeque::new();
    let mut lacking = Vec::new();
    for (series, kernel) in args.kernel.iter().zip(kernels::obtain(&args.kernel, args.update)?) {
        let kernel = kernel.and_then(|kernel| {
            let twice = kernels.iter().any(|other| other.version == kernel.version);
            ensure!(!twice, "{} is also that of another series", kernel.version);
            Ok(kernel)
        });
        match kernel {
            Ok(kernel) => kernels.push_back(kernel),
            Err(error) => {
                eprintln!("vm: WARNING: {series}: {error:#}");
                lacking.push(format!("{series}: {error:#}"));
            }
        }
    }
    ensure!(!kernels.is_empty(), "no kernel is available:\n{}", lacking.join("\n"));
    if args.download {
        for kernel in &kernels {
            println!("{}", kernel.image.display());
        }
        return Ok(());
    }

    let tests = build::tests()?;
    let dir = checkout::root().join("target/vm");
    fs::create_dir_all(&dir)?;
    let (unit, integration) = selection(args, &kernels);
    let contents = image::Contents {
        tests: &tests,
        unit: &unit,
        integration: &integration,
        counted: args.counted,
        programs,
        kernels: &kernels,
    };
    image::build(&dir, &contents).context("the image")?;
    let reports = machines(kernels, &dir, args)?;

    for report in reports.iter().filter(|report| !report.success()) {
        println!("\n== {}: the end of {}", report.kernel, report.log.display());
        println!("{}", tail(&report.log, 120)?);
        println!("== {}: the end of {}", report.kernel, report.console.display());
        println!("{}", tail(&report.console, 20)?);
    }
    summary(&reports, &lacking);
    let failed = reports.iter().filter(|report| !report.success()).count();
    ensure!(failed == 0, "the tests failed on {failed} of {} kernels", reports.len());
    Ok(())
}

/// The arguments of the test harness: for unit tests, and for the integration tests on each kernel.
fn selection<'a>(args: &'a Args, kernels: &VecDeque<Kernel>) -> (Vec<&'a str>, Vec<(String, Vec<&'a str>)>) {
    let named: Option<Vec<&str>> = if args.counted {
        Some(vec!["--exact", COUNTING, "--nocapture"])
    } else if args.lockdown.is_some() && args.filter.is_empty() {
        Some(vec!["lockdown::"])
    } else {
        (!args.filter.is_empty()).then(|| args.filter.iter().map(String::as_str).collect())
    };
    let of = |at: usize| -> Vec<&str> {
        let skipped = ELSEWHERE.iter().chain(&NATIVE).flat_map(|tests| ["--skip", tests]);
        let is_between = at > 0 && at + 1 < kernels.len();
        skipped.chain(BETWEEN.into_iter().filter(|_| is_between)).collect()
    };
    let integration = kernels.iter().enumerate().map(|(at, kernel)| {
        let of_kernel = named.clone().unwrap_or_else(|| of(at));
        (kernel.version.clone(), of_kernel)
    });
    let integration = integration.collect();
    (named.unwrap_or_else(|| UNIT.into()), integration)
}

/// Runs the machines, some at a time, and returns the reports in the order of the kernels.
fn machines(kernels: VecDeque<Kernel>, dir: &Path, args: &Args) -> Result<Vec<Report>> {
    // The last begins with the first: both take longest.
    let mut kernels: VecDeque<_> = kernels.into_iter().enumerate().collect();
    let last = kernels.pop_back();
    kernels.insert(usize::from(!kernels.is_empty()), last.context("a kernel")?);
    let queue = Mutex::new(kernels.into_iter());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let limit = Duration::from_secs(args.limit);
    let lockdown = args.lockdown.as_deref();
    let mut reports = thread::scope(|scope| {
        let worker = || {
            let mut reports = Vec::new();
            while let Some((at, kernel)) = next() {
                reports.push((at, machine::run(&kernel, dir, limit, args.counted, lockdown)));
            }
            reports
        };
        let workers: Vec<_> = (0..args.jobs).map(|_| scope.spawn(worker)).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect::<Vec<_>>()
    });
    reports.sort_by_key(|&(at, _)| at);
    reports.into_iter().map(|(_, report)| report).collect()
}

/// Prints the results, and what was not tested.
fn summary(reports: &[Report], lacking: &[String]) {
    println!("\n{:<32} {:>6} {:>6} {:>7} {:>7}", "KERNEL", "PASSED", "FAILED", "SKIPPED", "SECONDS");
    for report in reports {
        let outcome = &report.outcome;
        println!(
            "{:<32} {:>6} {:>6} {:>7} {:>7}",
            report.kernel,
            outcome.passed,
            outcome.failed,
            outcome.skipped.len(),
            report.duration.as_secs()
        );
        for skipped in &outcome.skipped {
            println!("    skipped {skipped}");
        }
        if let Some(trouble) = &report.trouble {
            println!("    FAILED: {trouble}");
        } else if !report.success() {
            println!("    FAILED");
        }
    }
    for series in lacking {
        println!("NOT TESTED {series}");
    }
}

/// The last `count` lines of a file.
fn tail(file: &Path, count: usize) -> Result<String> {
    let text = fs::read(file)?;
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    Ok(lines[lines.len().saturating_sub(count)..].join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of all integration tests, as the test harness has them.
    fn names() -> Vec<String> {
        let files = fs::read_dir(checkout::root().join("tests")).unwrap().map(|file| file.unwrap().path());
        let mut names = Vec::new();
        for file in files.filter(|file| file.is_file()) {
            let module = file.file_stem().unwrap().to_string_lossy();
            let text = fs::read_to_string(&file).unwrap();
            let functions = text.split("\n#[test]\n").skip(1).map(|test| {
                let (_, name) = test.split_once("fn ").unwrap();
                name.split('(').next().unwrap()
            });
            names.extend(functions.map(|name| format!("{module}::{name}")));
        }
        names
    }

    #[test]
    fn each_list_has_beginnings_of_names_of_tests() {
        let names = names();
        assert!(names.len() > 200, "{names:?}");
        let listed = [&ELSEWHERE[..], &NATIVE, &BETWEEN].concat();
        for beginning in &listed {
            // The test harness takes a filter for a part of a name.
            let chosen: Vec<_> = names.iter().filter(|name| name.contains(beginning)).collect();
            assert!(!chosen.is_empty(), "no test's name begins with {beginning}");
            assert!(chosen.iter().all(|name| name.starts_with(beginning)), "{beginning}: {chosen:?}");
            let again = listed.iter().filter(|other| other.starts_with(beginning)).count();
            assert_eq!(again, 1, "{beginning} is listed twice");
        }
        assert!(names.iter().any(|name| name == COUNTING));
    }

    #[test]
    fn unit_tests_are_chosen_by_modules() {
        for module in UNIT {
            let path = checkout::root().join("nsprobe/src").join(module.replace("::", "/"));
            assert!(path.is_dir() || path.with_extension("rs").is_file(), "there is no {module}");
        }
    }
}
