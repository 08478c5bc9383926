//! Other kernels, out of the distribution's archive: the newest of a series, found by pattern.

use super::modules;
use anyhow::{Context as _, Result};
use std::cmp::Reverse;
use std::fs;
use std::path::{Path, PathBuf};
use xtask::archive::{self, Archive};

/// The name for the highest series that the archive has.
pub const NEWEST: &str = "newest";
/// Cloud kernels: small, with BTF, function tracing and kprobes, and with the drivers of a QEMU machine built in.
const FLAVOUR: &str = "-cloud-amd64";
/// The number of kernels of a series that are tried, newest first: the archive may list one that it does not have.
const TRIES: usize = 3;

/// A bootable kernel.
pub struct Kernel {
    /// Its version and flavour, as in `6.1.0-50-cloud-amd64`.
    pub version: String,
    /// The compressed image.
    pub image: PathBuf,
    /// Modules to be loaded.
    pub modules: Vec<PathBuf>,
}

/// The newest kernel of each series, downloaded if it is not in the cache. Each series has a separate result, so that
/// one that is not available does not affect the others.
pub fn obtain(series: &[String], update: bool) -> Result<Vec<Result<Kernel>>> {
    let archive = Archive::open(update)?;
    let kernels = archive.cache().join("kernels");
    fs::create_dir_all(&kernels).with_context(|| format!("{}", kernels.display()))?;
    let listed = archive.names("linux-").unwrap_or_else(|error| {
        eprintln!("vm: WARNING: no list of the archive, only kernels in the cache: {error:#}");
        String::new()
    });
    Ok(series.iter().map(|series| kernel(&kernels, &archive, &listed, series)).collect())
}

/// The newest kernel of one series.
fn kernel(kernels: &Path, archive: &Archive, listed: &str, series: &str) -> Result<Kernel> {
    let candidates = newest_first(listed, series);
    let mut refused = anyhow::anyhow!("the archive lists none");
    for package in candidates.iter().take(TRIES) {
        let version = version(package).to_owned();
        let image = kernels.join(&version);
        if !image.exists()
            && let Err(error) = extract(archive, package, &image)
        {
            eprintln!("vm: WARNING: {package}: {error:#}");
            refused = error;
            continue;
        }
        let modules = modules::obtain(archive, package, &version, &of_modules(kernels, &version));
        return Ok(Kernel { version, image, modules });
    }
    // An older kernel of the series is better than none.
    let cached: Vec<String> = fs::read_dir(kernels)?
        .filter_map(|entry| Some(format!("linux-image-{}", entry.ok()?.file_name().to_str()?)))
        .filter(|name| name.ends_with(FLAVOUR))
        .collect();
    let cached = cached.join("\n");
    let cached = newest_first(&cached, series);
    let package =
        cached.first().ok_or_else(|| refused.context(format!("no kernel of the series {series}")))?;
    let version = version(package).to_owned();
    eprintln!("vm: WARNING: series {series}: {version} was downloaded by an earlier run");
    let modules = modules::obtain(archive, package, &version, &of_modules(kernels, &version));
    Ok(Kernel { image: kernels.join(&version), version, modules })
}

/// The directory of the modules of a kernel.
fn of_modules(kernels: &Path, version: &str) -> PathBuf {
    kernels.join(format!("{version}.modules"))
}

/// The packages in `listed` (names, one per line) that hold a kernel of `series`, newest first.
fn newest_first<'a>(listed: &'a str, series: &str) -> Vec<&'a str> {
    let mut packages: Vec<&str> = listed
        .lines()
        .filter(|name| {
            let version = version(name);
            let kernel = name.len() > version.len() && version.ends_with(FLAVOUR);
            // Meta packages have a flavour and no version; unsigned ones have `unsigned` instead of the version.
            kernel && version.starts_with(|c: char| c.is_ascii_digit()) && {
                series == NEWEST
                    || version.strip_prefix(series).is_some_and(|rest| rest.starts_with(['.', '-', '+']))
            }
        })
        .collect();
    // From 7.x on `linux-image-V` only depends on `linux-binary-V`, which has the kernel and sorts first.
    packages.sort_by_key(|name| (Reverse(natural(version(name))), *name));
    packages.dedup_by(|later, first| version(later) == version(first));
    packages
}

/// The part after `linux-image-` or `linux-binary-` of the name of a package; the name itself without such a prefix.
fn version(package: &str) -> &str {
    ["linux-binary-", "linux-image-"]
        .iter()
        .find_map(|prefix| package.strip_prefix(prefix))
        .unwrap_or(package)
}

/// A key by which numbers are compared as numbers, 6.12.95 < 6.12.107: each number and the text before it.
fn natural(version: &str) -> Vec<(&str, u64)> {
    let mut parts = Vec::new();
    let mut rest = version;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (text, from_number) = rest.split_at(at);
        let digits = from_number.find(|c: char| !c.is_ascii_digit()).unwrap_or(from_number.len());
        let (number, after) = from_number.split_at(digits);
        parts.push((text, number.parse().unwrap_or(u64::MAX)));
        rest = after;
    }
    parts
}

/// Downloads `package` and moves the kernel in it to `image`.
fn extract(archive: &Archive, package: &str, image: &Path) -> Result<()> {
    let files = archive.extract(&[package])?;
    let kernel = archive::find(&files, |name| name.starts_with("vmlinuz"))?;
    fs::rename(kernel.context("no kernel in it")?, image)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_of_a_series_comes_first() {
        let listed = "linux-image-6.12.95+deb12-cloud-amd64\nlinux-image-6.12.107+deb13-cloud-amd64\n\
            linux-image-6.12.107+deb13-cloud-amd64-unsigned\nlinux-image-6.1.0-47-cloud-amd64\n\
            linux-image-6.12.107+deb13-amd64\nlinux-image-cloud-amd64\nlinux-image-6.12.95+deb12-cloud-amd64-dbg\n\
            linux-headers-6.12.200-cloud-amd64\n";
        assert_eq!(
            newest_first(listed, "6.12"),
            ["linux-image-6.12.107+deb13-cloud-amd64", "linux-image-6.12.95+deb12-cloud-amd64"]
        );
        assert_eq!(newest_first(listed, "6.1"), ["linux-image-6.1.0-47-cloud-amd64"]);
        assert_eq!(newest_first(listed, "5.10"), [""; 0]);
    }

    #[test]
    fn package_that_holds_the_kernel_is_chosen() {
        let listed = "linux-image-6.1.0-50-cloud-amd64\nlinux-image-7.2.13+deb14-cloud-amd64\n\
            linux-binary-7.2.13+deb14-cloud-amd64\nlinux-binary-unsigned-7.2.13+deb14-cloud-amd64";
        assert_eq!(newest_first(listed, "7.2"), ["linux-binary-7.2.13+deb14-cloud-amd64"]);
        assert_eq!(newest_first(listed, NEWEST)[0], "linux-binary-7.2.13+deb14-cloud-amd64");
    }
}
