//! The dependencies keep the rules of deny.toml that can be checked without a network.

use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// The packages of the lock file, as cargo describes them.
fn packages() -> Vec<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--format-version=1",
            "--locked",
            "--all-features",
            "--filter-platform=x86_64-unknown-linux-gnu",
        ])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .output()
        .expect("cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    serde_json::from_value(metadata["packages"].take()).expect("an array")
}

/// The licences that deny.toml allows.
fn allowed() -> Vec<&'static str> {
    let lines = include_str!("../../deny.toml").lines();
    let lines = lines.skip_while(|line| *line != "allow = [").skip(1).take_while(|line| *line != "]");
    lines.map(|line| line.trim().trim_end_matches(',').trim_matches('"')).collect()
}

/// True if each part of an `AND` offers an allowed licence. Where SPDX would read `OR` or parentheses around an `AND`
/// first, this permits less than SPDX, never more.
fn permits(expression: &str, allowed: &[&str]) -> bool {
    let is_allowed = |licence: &str| allowed.contains(&licence.trim_matches(['(', ')']));
    // cargo reads the old `/` as `OR`.
    let expression = expression.replace('/', " OR ");
    expression.split(" AND ").all(|part| part.split(" OR ").any(is_allowed))
}

#[test]
fn licences_are_allowed_and_sources_are_known() {
    let (packages, allowed) = (packages(), allowed());
    assert!(allowed.contains(&"MIT") && packages.len() > 50, "{allowed:?}");
    for package in packages {
        let name = &package["name"];
        let licence = package["license"].as_str().unwrap_or_default();
        assert!(permits(licence, &allowed), "{name}: {licence:?}: not in deny.toml");
        let source = package["source"].as_str();
        assert!(source.is_none_or(|source| source.starts_with("registry+")), "{name}: {source:?}");
    }
}

#[test]
fn expressions_are_read_as_spdx_means_them() {
    let allowed = ["MIT", "Unicode-3.0"];
    for good in ["MIT", "GPL-2.0 OR MIT", "MIT/Apache-2.0", "(MIT OR Apache-2.0) AND Unicode-3.0"] {
        assert!(permits(good, &allowed), "{good}");
    }
    for bad in ["", "GPL-2.0", "MIT AND GPL-2.0", "(GPL-2.0 OR Apache-2.0) AND Unicode-3.0", "MIT-0"] {
        assert!(!permits(bad, &allowed), "{bad}");
    }
}
