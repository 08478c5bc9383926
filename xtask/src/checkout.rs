//! Paths: the checkout, its build output, the cache.

use anyhow::{Context as _, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The variable that names the directory of the kernel's tests to the integration tests.
pub const PROGRAMS: &str = "NSPROBE_CONFORMANCE";

/// The root of the checkout.
#[must_use]
pub fn root() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
}

/// The directory for downloads that all checkouts share: `$XDG_CACHE_HOME/nsprobe`, else `~/.cache/nsprobe`, else
/// `.cache` in the checkout.
#[must_use]
pub fn cache() -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("XDG_CACHE_HOME")
        .or_else(|| Some(set("HOME")?.join(".cache")))
        .map_or_else(|| root().join(".cache"), |home| home.join("nsprobe"))
}

/// The profile that a program is built with.
#[derive(Clone, Copy)]
pub enum Profile {
    /// With debug assertions and overflow checks.
    Dev,
    /// The release profile.
    Release,
}

/// Returns cargo: the one that runs this task, if there is one.
#[must_use]
pub fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Builds nsprobe, and returns its path.
pub fn nsprobe(profile: Profile) -> Result<PathBuf> {
    let (name, dir) = match profile {
        Profile::Dev => ("dev", "debug"),
        Profile::Release => ("release", "release"),
    };
    let status = cargo()
        .args(["build", "--package=nsprobe", "--bin=nsprobe", "--profile", name])
        .current_dir(root())
        .status()
        .context("cargo")?;
    ensure!(status.success(), "nsprobe does not build");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    Ok(target.join(dir).join("nsprobe"))
}

/// Runs `command` with no input to its end, which must be a success, and returns its output.
pub fn output(command: &mut Command) -> Result<Output> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("could not start {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim_end()
    );
    Ok(output)
}
