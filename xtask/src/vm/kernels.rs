//! Other kernels, out of the distribution's archive: whatever is newest in a series, found by pattern.
//!
//! apt does the work, on lists and caches of its own: the machine's are not touched, and no privilege is needed.

use crate::checkout;
use anyhow::{Context as _, Result, bail, ensure};
use std::cmp::Reverse;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The releases whose kernels are looked through.
const SUITES: &str = "bullseye bookworm trixie sid";
/// The name for the highest series that the archive has.
pub const NEWEST: &str = "newest";
/// Cloud kernels: small, with BTF, function tracing and kprobes, and what a QEMU machine needs built in.
const FLAVOUR: &str = "-cloud-amd64";
/// How long the lists of the archive are believed.
const FRESH: Duration = Duration::from_hours(7 * 24);
/// Older kernels of the same series that are tried when the archive lists a newer one but does not have it.
const TRIES: usize = 3;

/// A bootable kernel.
pub struct Kernel {
    /// Its version and flavour, as in `6.1.0-50-cloud-amd64`.
    pub version: String,
    /// The compressed image.
    pub image: PathBuf,
}

/// The newest kernel of each series, downloaded if it is not in the cache. A series that cannot be had is an
/// error of its own; the others come all the same.
pub fn obtain(series: &[String], update: bool) -> Result<Vec<Result<Kernel>>> {
    let cache = checkout::cache();
    fs::create_dir_all(cache.join("kernels")).with_context(|| format!("{}", cache.display()))?;
    // One at a time: checkouts share the cache.
    let lock = File::create(cache.join("lock")).context("the cache's lock")?;
    lock.lock().context("the cache's lock")?;

    let apt = Apt::new(&cache.join("apt"))?;
    if let Err(error) = apt.update(update) {
        eprintln!("vm: WARNING: not every list of the archive could be had: {error:#}");
    }
    let listed = apt.names().unwrap_or_else(|error| {
        eprintln!("vm: WARNING: no list of the archive, only kernels already here: {error:#}");
        String::new()
    });
    Ok(series.iter().map(|series| kernel(&cache.join("kernels"), &apt, &listed, series)).collect())
}

/// The newest kernel of one series.
fn kernel(kernels: &Path, apt: &Apt, listed: &str, series: &str) -> Result<Kernel> {
    let candidates = newest_first(listed, series);
    let mut refused = anyhow::anyhow!("the archive lists none");
    for package in candidates.iter().take(TRIES) {
        let version = version(package).to_owned();
        let image = kernels.join(&version);
        if !image.exists() {
            eprintln!("vm: downloading {package}");
            if let Err(error) = apt.extract_kernel(package, &image) {
                eprintln!("vm: WARNING: {package}: {error:#}");
                refused = error;
                continue;
            }
        }
        return Ok(Kernel { version, image });
    }
    // Better an older kernel of the series than none.
    let here: Vec<String> = fs::read_dir(kernels)?
        .filter_map(|entry| Some(format!("linux-image-{}", entry.ok()?.file_name().to_str()?)))
        .collect();
    let here = here.join("\n");
    let here = newest_first(&here, series);
    let package = here.first().ok_or_else(|| refused.context(format!("no kernel of the series {series}")))?;
    let version = version(package).to_owned();
    eprintln!("vm: WARNING: series {series}: {version} is what an earlier run left here");
    Ok(Kernel { image: kernels.join(&version), version })
}

/// The packages among `listed` (names, one a line) that hold a kernel of `series`, newest first.
fn newest_first<'a>(listed: &'a str, series: &str) -> Vec<&'a str> {
    let mut packages: Vec<&str> = listed
        .lines()
        .filter(|name| {
            let version = version(name);
            let kernel = name.len() > version.len() && version.ends_with(FLAVOUR);
            // Meta packages have a flavour and no version; unsigned ones say so where the version would be.
            kernel && version.starts_with(|c: char| c.is_ascii_digit()) && {
                series == NEWEST
                    || version.strip_prefix(series).is_some_and(|rest| rest.starts_with(['.', '-', '+']))
            }
        })
        .collect();
    // From 7.x on `linux-image-V` only asks for `linux-binary-V`, which has the kernel and sorts first.
    packages.sort_by_key(|name| (Reverse(natural(version(name))), *name));
    packages.dedup_by(|later, first| version(later) == version(first));
    packages
}

/// What follows `linux-image-` or `linux-binary-` in the name of a package; the name itself if nothing does.
fn version(package: &str) -> &str {
    ["linux-binary-", "linux-image-"]
        .iter()
        .find_map(|prefix| package.strip_prefix(prefix))
        .unwrap_or(package)
}

/// A key by which numbers count as numbers, 6.12.95 < 6.12.107: each number and the text before it.
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

/// apt with one directory for everything it keeps.
struct Apt {
    dir: PathBuf,
}

impl Apt {
    fn new(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir.join("lists/partial"))?;
        fs::create_dir_all(dir.join("cache/archives/partial"))?;
        let mut configured = vec![PathBuf::from("/etc/apt/sources.list")];
        if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
            configured.extend(entries.filter_map(|entry| Some(entry.ok()?.path())));
        }
        configured.sort();
        let sources = configured
            .iter()
            .filter(|path| path.extension().is_some_and(|ext| ext == "list" || ext == "sources"))
            .find_map(|path| sources(&fs::read_to_string(path).ok()?))
            .context(
                "no archive of Debian among this machine's apt sources: other kernels come from there",
            )?;
        fs::write(dir.join("all.sources"), sources)?;
        Ok(Self { dir: dir.to_owned() })
    }

    fn command(&self, program: &str) -> Command {
        let dir = self.dir.display();
        let mut command = Command::new(program);
        command.env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive").args([
            &format!("-oDir::Etc::sourcelist={dir}/all.sources"),
            "-oDir::Etc::sourceparts=-",
            &format!("-oDir::State::Lists={dir}/lists"),
            &format!("-oDir::Cache={dir}/cache"),
            // Kernels only: no descriptions, no icons.
            "-oAcquire::Languages=none",
            "-oAcquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
            // A mirror may be a snapshot, and its lists of what it has are right however old.
            "-oAcquire::Check-Valid-Until=false",
            "-oAcquire::Retries=3",
            "-oAcquire::http::Timeout=60",
            "-oAPT::Sandbox::User=",
            "-q",
        ]);
        command
    }

    /// Fetches the lists, unless those here are fresh and `anyway` is false.
    fn update(&self, anyway: bool) -> Result<()> {
        let stamp = self.dir.join("updated");
        let age =
            fs::metadata(&stamp).and_then(|meta| meta.modified()).ok().and_then(|time| time.elapsed().ok());
        if !anyway && age.is_some_and(|age| age < FRESH) {
            return Ok(());
        }
        eprintln!("vm: fetching the lists of the archive ({SUITES})");
        checkout::output(self.command("apt-get").arg("update"))?;
        File::create(&stamp)?;
        Ok(())
    }

    /// The names of all packages about kernels, one a line.
    fn names(&self) -> Result<String> {
        let names = checkout::output(self.command("apt-cache").args(["pkgnames", "linux-"]))?;
        let names = String::from_utf8(names.stdout).context("names of packages")?;
        ensure!(!names.is_empty(), "it is empty");
        Ok(names)
    }

    /// Downloads `package` and moves the kernel in it to `image`.
    fn extract_kernel(&self, package: &str, image: &Path) -> Result<()> {
        let work = self.dir.join("work");
        if work.exists() {
            fs::remove_dir_all(&work)?;
        }
        fs::create_dir(&work)?;
        checkout::output(self.command("apt-get").args(["download", package]).current_dir(&work))?;
        let deb = find(&work, |name| name.starts_with("linux-"))?.context("apt-get downloaded nothing")?;
        checkout::output(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(work.join("files")))?;
        let Some(kernel) = find(&work.join("files"), |name| name.starts_with("vmlinuz"))? else {
            bail!("no kernel in it");
        };
        fs::rename(kernel, image)?;
        fs::remove_dir_all(&work)?;
        Ok(())
    }
}

/// The first regular file below `dir` whose name satisfies `wanted`.
fn find(dir: &Path, wanted: fn(&str) -> bool) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            if let Some(found) = find(&entry.path(), wanted)? {
                return Ok(Some(found));
            }
        } else if kind.is_file() && entry.file_name().to_str().is_some_and(wanted) {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

/// apt sources (deb822) for [`SUITES`] from the same archive as the first of Debian in `text`, a file of apt
/// sources in either format.
fn sources(text: &str) -> Option<String> {
    let archive = |uri: &str| uri.trim_end_matches('/').ends_with("/debian");
    let stanza = |uri: &str, signed_by: Option<&str>| {
        let signed_by = signed_by.map_or(String::new(), |keys| format!("Signed-By: {keys}\n"));
        format!("Types: deb\nURIs: {uri}\nSuites: {SUITES}\nComponents: main\n{signed_by}")
    };
    let of_stanza = |block: &str| {
        let field = |name| block.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let uri = field("URIs:")?.split_whitespace().find(|uri| archive(uri))?;
        Some(stanza(uri, field("Signed-By:")))
    };
    let of_line = |line: &str| {
        let mut words = line.strip_prefix("deb ")?.split_whitespace();
        let uri = words.clone().find(|uri| archive(uri))?;
        let signed_by = words.find_map(|word| Some(word.split_once("signed-by=")?.1.trim_end_matches(']')));
        Some(stanza(uri, signed_by))
    };
    text.split("\n\n").find_map(of_stanza).or_else(|| text.lines().find_map(of_line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_a_series_comes_first() {
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
    fn the_package_that_holds_the_kernel_is_taken() {
        let listed = "linux-image-6.1.0-50-cloud-amd64\nlinux-image-7.2.13+deb14-cloud-amd64\n\
            linux-binary-7.2.13+deb14-cloud-amd64\nlinux-binary-unsigned-7.2.13+deb14-cloud-amd64";
        assert_eq!(newest_first(listed, "7.2"), ["linux-binary-7.2.13+deb14-cloud-amd64"]);
        assert_eq!(newest_first(listed, NEWEST)[0], "linux-binary-7.2.13+deb14-cloud-amd64");
    }

    #[test]
    fn sources_of_both_formats_are_understood() {
        let wanted = "Types: deb\nURIs: http://mirror.example/debian\nSuites: bullseye bookworm trixie sid\n\
            Components: main\nSigned-By: /keys.gpg\n";
        let deb822 = "Types: deb\nURIs: http://mirror.example/debian-security\nSuites: x-security\n\n\
            Types: deb\n# a comment\nURIs: http://mirror.example/debian\nSuites: bookworm\nSigned-By: /keys.gpg\n";
        assert_eq!(sources(deb822).as_deref(), Some(wanted));
        let lines = "# deb http://old.example/debian x main\n\
            deb [arch=amd64 signed-by=/keys.gpg] http://mirror.example/debian bookworm main\n";
        assert_eq!(sources(lines).as_deref(), Some(wanted));
        let unsigned = "deb http://mirror.example/debian/ bookworm main contrib\n";
        assert!(!sources(unsigned).expect("an archive").contains("Signed-By"));
        assert_eq!(sources("deb http://mirror.example/ubuntu noble main\n"), None);
    }
}
