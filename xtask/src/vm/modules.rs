//! Modules that the tests need and a cloud kernel does not have built in: from the package of the kernel, or from
//! that of its modules.

use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use xtask::archive::{self, Archive};

/// File systems that tenants may stage: the names of their modules.
const WANTED: [fn(&str) -> bool; 2] = [
    |name| name.starts_with("fuse.ko"),
    |name| name.starts_with("autofs4.ko") || name.starts_with("autofs.ko"),
];

/// The modules of the kernel `version`, which comes in `package`, in the order in which they have to be loaded;
/// downloaded to `dir` if they are not there. Missing ones are built in, or tests that need them report it.
pub fn obtain(archive: &Archive, package: &str, version: &str, dir: &Path) -> Vec<PathBuf> {
    if !dir.exists()
        && let Err(error) = download(archive, package, version, dir)
    {
        eprintln!("vm: WARNING: no modules of {version}: {error:#}");
    }
    let mut found: Vec<PathBuf> =
        fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    found.sort();
    found
}

fn download(archive: &Archive, package: &str, version: &str, dir: &Path) -> Result<()> {
    let mut packed = from(archive, package)?;
    if packed.is_empty() {
        packed = from(archive, &format!("linux-modules-{version}"))?;
    }
    let work = dir.with_extension("work");
    fs::create_dir_all(&work)?;
    for file in packed {
        let name = file.file_name().context("a file")?.to_string_lossy().into_owned();
        let (module, unpack) = match name.rsplit_once(".ko") {
            Some((module, "")) => (module, "cat"),
            Some((module, ".xz")) => (module, "xzcat"),
            Some((module, ".zst")) => (module, "zstdcat"),
            _ => anyhow::bail!("{name} is compressed in an unknown format"),
        };
        let unpacked = Command::new(unpack).arg(&file).output().with_context(|| unpack.to_owned())?;
        ensure!(unpacked.status.success(), "{unpack} {}: {}", file.display(), unpacked.status);
        fs::write(work.join(format!("{module}.ko")), unpacked.stdout)?;
    }
    Ok(fs::rename(work, dir)?)
}

/// The wanted modules of `package`, compressed as they are there.
fn from(archive: &Archive, package: &str) -> Result<Vec<PathBuf>> {
    let files = archive.extract(&[package])?;
    WANTED.into_iter().filter_map(|wanted| archive::find(&files, wanted).transpose()).collect()
}
