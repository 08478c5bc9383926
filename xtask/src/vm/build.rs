//! The tests as static executables, which do not depend on the machine that runs them.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use xtask::checkout;

/// Rust's name for the virtual machines' target.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The executables that run in the virtual machines. The tests know nsprobe by the path it was built at.
pub struct Tests {
    pub nsprobe: PathBuf,
    /// Unit tests.
    pub unit: Vec<PathBuf>,
    /// Integration tests.
    pub integration: Vec<PathBuf>,
}

/// Builds nsprobe and its tests.
pub fn tests() -> Result<Tests> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let build = Command::new(cargo)
        .args(["test", "--no-run", "--package=nsprobe", "--lib", "--test=tests", "--message-format=json"])
        .args(["--target", TARGET])
        // Emulated processors are slow: the tests take half the time, for half a minute of building.
        .env("CARGO_PROFILE_DEV_OPT_LEVEL", "1")
        // Half the size to build and to copy; a panic still names its line.
        .env("CARGO_PROFILE_DEV_DEBUG", "none")
        .env("RUSTFLAGS", "-Ctarget-feature=+crt-static")
        .current_dir(checkout::root())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cargo")?;
    ensure!(build.status.success(), "the tests do not build");
    executables(&String::from_utf8(build.stdout)?)
}

/// Finds the executables in the messages of cargo, a JSON object per line.
fn executables(messages: &str) -> Result<Tests> {
    let mut nsprobe = None;
    let mut unit = Vec::new();
    let mut integration = Vec::new();
    for line in messages.lines() {
        let message: Value =
            serde_json::from_str(line).with_context(|| format!("not a message of cargo: {line}"))?;
        let Some(executable) = message["executable"].as_str().map(PathBuf::from) else { continue };
        match (message["profile"]["test"].as_bool(), message["target"]["kind"][0].as_str()) {
            (Some(false), Some("bin")) => nsprobe = Some(executable),
            (Some(true), Some("test")) => integration.push(executable),
            (Some(true), _) => unit.push(executable),
            _ => {}
        }
    }
    ensure!(!integration.is_empty(), "cargo built no integration tests");
    let nsprobe = nsprobe.context("cargo built no nsprobe")?;
    Ok(Tests { nsprobe, unit, integration })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_are_distinguished() {
        let messages = r#"{"reason":"compiler-artifact","target":{"kind":["lib"]},"profile":{"test":false},"executable":null}
{"reason":"compiler-artifact","target":{"kind":["test"]},"profile":{"test":true},"executable":"/t/tests-1"}
{"reason":"compiler-artifact","target":{"kind":["lib"]},"profile":{"test":true},"executable":"/t/nsprobe-2"}
{"reason":"compiler-artifact","target":{"kind":["bin"]},"profile":{"test":false},"executable":"/t/nsprobe"}
{"reason":"build-finished","success":true}"#;
        let tests = executables(messages).expect("all exist");
        assert_eq!(tests.nsprobe, PathBuf::from("/t/nsprobe"));
        assert_eq!(
            (&tests.unit[..], &tests.integration[..]),
            (&["/t/nsprobe-2".into()][..], &["/t/tests-1".into()][..])
        );
        assert!(executables(r#"{"reason":"build-finished","success":true}"#).is_err());
        assert!(executables("not JSON").is_err());
    }
}
