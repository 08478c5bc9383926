//! The digest of everything that decides the content of the object, except the toolchain.

use super::toolchain;
use anyhow::Context as _;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// SHA-256 in hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The digest of the probe's sources under `root`: its files by their paths from `root`, the locked versions of the
/// crates compiled into it, and the compiler's options. It does not depend on the path of the checkout.
pub(super) fn digest(root: &Path) -> anyhow::Result<String> {
    let mut files = vec![PathBuf::from("nsprobe-ebpf/Cargo.toml")];
    collect(root, Path::new("nsprobe-ebpf/src"), &mut files)?;
    files.sort();
    let mut listing = String::new();
    for file in files {
        let content = fs::read(root.join(&file)).with_context(|| file.display().to_string())?;
        writeln!(listing, "{} {}", sha256(&content), file.display())?;
    }
    let lock = fs::read_to_string(root.join("Cargo.lock")).context("Cargo.lock")?;
    listing.push_str(&locked(&lock));
    for option in toolchain::OPTIONS.iter().chain(toolchain::RUSTFLAGS) {
        writeln!(listing, "{option}")?;
    }
    Ok(sha256(listing.as_bytes()))
}

/// Adds every file below `directory`, by its path from `root`.
fn collect(root: &Path, directory: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let absolute = root.join(directory);
    for entry in fs::read_dir(&absolute).with_context(|| absolute.display().to_string())? {
        let entry = entry?;
        let path = directory.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            collect(root, &path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// Name, version and checksum of the crates that are compiled into the object, from the text of a Cargo.lock.
fn locked(lock: &str) -> String {
    let mut listing = String::new();
    for package in lock.split("[[package]]").skip(1) {
        let value = |key: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
            line.unwrap_or("-").trim_matches('"')
        };
        if value("name").starts_with("aya-ebpf") {
            let _ = writeln!(listing, "{} {} {}", value("name"), value("version"), value("checksum"));
        }
    }
    listing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha256_of_nothing() {
        assert_eq!(sha256(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    #[test]
    fn takes_the_bpf_crates_from_the_lock() {
        let lock = "version = 4\n\n[[package]]\nname = \"aya\"\nversion = \"0.14.0\"\n\n[[package]]\n\
                    name = \"aya-ebpf\"\nversion = \"0.2.1\"\nchecksum = \"ee\"\ndependencies = [\n \"aya-build\",\n]\n";
        assert_eq!(locked(lock), "aya-ebpf 0.2.1 ee\n");
    }
}
