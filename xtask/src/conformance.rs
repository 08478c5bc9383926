//! `cargo xtask conformance`: the kernel's own tests beside strace, natively and on another kernel.

use crate::vm;
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use xtask::archive::Archive;
use xtask::checkout;

#[derive(clap::Args)]
#[command(
    long_about = "Runs the kernel's own tests of namespaces, processes and mounts beside strace.\n\n\
Takes the newest kernel sources of the distribution, with apt-get and lists of its own (nothing is installed), builds the \
tests of a dozen suites, and compares what nsprobe and strace report of each call: flags, arguments, result. Natively, and \
with --kernel in an emulated machine, which loads fentry even if this machine refuses it. Needs gcc, make, xz-utils \
and libcap-dev.",
    after_help = "\
Examples:
  cargo xtask conformance                natively
  cargo xtask conformance --kernel 6.12  in an emulated machine, with fentry and with tracepoints"
)]
pub struct Args {
    /// Kernel series to boot; without it the tests run natively
    #[arg(long, value_delimiter = ',')]
    kernel: Vec<String>,
    /// Only download and build
    #[arg(long)]
    build: bool,
}

/// The suites about what nsprobe traces.
const SUITES: &[&str] = &[
    "clone3",
    "filesystems/empty_mntns",
    "filesystems/fscontext_ns",
    "filesystems/fsmount_ns",
    "filesystems/nsfs",
    "filesystems/open_tree_ns",
    "filesystems/statmount",
    "mount",
    "mount_setattr",
    "namespaces",
    "pid_namespace",
    "pidfd",
    "ptrace",
    "timens",
];

/// Runs the task.
pub fn run(args: &Args) -> Result<()> {
    let programs = programs()?;
    println!("{}", programs.display());
    if args.build {
        return Ok(());
    }
    if !args.kernel.is_empty() {
        return vm::conformance(&args.kernel, &programs);
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args([
            "test",
            "--package=nsprobe",
            "--test=tests",
            "--",
            "conformance::",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(checkout::PROGRAMS, &programs)
        .current_dir(checkout::root())
        .status()
        .context("cargo")?;
    ensure!(status.success(), "nsprobe and strace differ");
    Ok(())
}

/// The built programs, one directory per suite; built if they are not in the cache.
fn programs() -> Result<PathBuf> {
    let archive = Archive::open(false)?;
    let listed = archive.names("linux-source-").context("names of kernel sources")?;
    let series = newest(&listed).context("the archive has no kernel sources")?;
    let built = archive.cache().join("conformance").join(series);
    if built.join("clone3/clone3").exists() {
        return Ok(built);
    }
    // The headers of the same release: older ones lack system calls and flags.
    let files = archive.extract(&[&format!("linux-source-{series}"), "linux-libc-dev/sid"])?;
    let source = files.join("usr/src").join(format!("linux-source-{series}.tar.xz"));
    let mut tar = Command::new("tar");
    let wanted =
        ["--wildcards", "*/tools/testing/selftests/*", "*/tools/include/*", "*/scripts/subarch.include"];
    tar.arg("-xJf").arg(&source).args(wanted).current_dir(&files);
    checkout::output(&mut tar).context("could not unpack the kernel's sources")?;
    let tests = files.join(format!("linux-source-{series}/tools/testing/selftests"));
    let headers = files.join("usr/include");
    let mut make = Command::new("make");
    make.args(["--keep-going", &format!("--jobs={}", jobs()), &format!("TARGETS={}", SUITES.join(" "))])
        .arg(format!("KHDR_INCLUDES=-isystem {0} -isystem {0}/x86_64-linux-gnu", headers.display()))
        .current_dir(&tests);
    checkout::output(&mut make).context("could not build the kernel's tests")?;
    for suite in SUITES {
        keep(&tests.join(suite), &built.join(suite))?;
    }
    Ok(built)
}

/// Copies the programs of one suite, and nothing else of it.
fn keep(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let is_program = path.extension().is_none() && is_elf(&path);
        if let Some(name) = path.file_name().filter(|_| is_program) {
            fs::copy(&path, to.join(name)).with_context(|| format!("could not copy {}", path.display()))?;
        }
    }
    ensure!(fs::read_dir(to)?.next().is_some(), "no program of {} was built", from.display());
    Ok(())
}

fn is_elf(path: &Path) -> bool {
    use std::io::Read as _;
    let mut magic = [0; 4];
    path.is_file()
        && fs::File::open(path).is_ok_and(|mut file| file.read_exact(&mut magic).is_ok())
        && magic == *b"\x7fELF"
}

fn jobs() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The highest series among packages `linux-source-SERIES`, one per line.
fn newest(listed: &str) -> Option<&str> {
    let series = listed.lines().filter_map(|name| name.strip_prefix("linux-source-"));
    series
        .filter_map(|series| {
            let (major, minor) = series.split_once('.')?;
            Some(((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?), series))
        })
        .max()
        .map(|(_, series)| series)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_series_is_found_by_number() {
        let listed =
            "linux-source-6.1\nlinux-source-6.12\nlinux-source-6.9\nlinux-source\nlinux-source-x.y\n";
        assert_eq!(newest(listed), Some("6.12"));
        assert_eq!(newest("linux-source\n"), None);
    }
}
