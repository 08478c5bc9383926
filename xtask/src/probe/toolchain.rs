//! A Rust toolchain that can compile for BPF: one with library sources, because no compiled `core` for BPF is
//! distributed, and bpf-linker.

use anyhow::{Context as _, bail};
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

pub(super) const TARGET: &str = "bpfel-unknown-none";

/// Arguments of cargo that decide the content of the object. The profile is complete, so that it does not depend on
/// the one that nsprobe itself is built with.
pub(super) const OPTIONS: &[&str] = &[
    "--release",
    "--target=bpfel-unknown-none",
    "-Zbuild-std=core",
    "--config=profile.release.opt-level=3",
    "--config=profile.release.codegen-units=1",
    "--config=profile.release.debug=0",
    "--config=profile.release.lto='off'",
    "--config=profile.release.strip='none'",
    "--config=profile.release.panic='abort'",
    "--config=profile.release.overflow-checks=false",
    "--config=profile.release.debug-assertions=false",
];

/// Flags of rustc that decide the content of the object, besides those that remove this machine's paths from it.
/// aya-ebpf reads registers by the architecture, which the probe leaves to offsets: any value would do, and the
/// host's would make the object depend on it.
pub(super) const RUSTFLAGS: &[&str] = &["--cfg=bpf_target_arch=\"x86_64\""];

const NO_TOOLCHAIN: &str = "\
no Rust toolchain with library sources was found; install one of
    rustup component add rust-src
    apt-get install rustc-web rust-web-src cargo-web        (Debian)";

const NO_LINKER: &str = "\
bpf-linker was not found; install it with one of
    cargo binstall bpf-linker
    cargo install bpf-linker --version 0.13.0 --locked --no-default-features --features llvm-22
with the LLVM that `rustc -vV` names (Debian: apt-get install llvm-22-dev, and LLVM_PREFIX=/usr/lib/llvm-22)";

/// The versions that decide the object, apart from the sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Versions {
    /// `rustc --version`.
    pub(super) rustc: String,
    /// The version of LLVM in rustc.
    pub(super) llvm: String,
    /// `bpf-linker --version`.
    pub(super) linker: String,
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rustc: {}\nllvm: {}\nlinker: {}", self.rustc, self.llvm, self.linker)
    }
}

/// The compiler and linker of the probe.
pub(super) struct Toolchain {
    compiler: Compiler,
    linker: Linker,
}

/// A rustc with its cargo and with library sources.
struct Compiler {
    path: PathBuf,
    sysroot: PathBuf,
    version: String,
    llvm: String,
}

/// bpf-linker.
#[derive(Clone)]
struct Linker {
    path: PathBuf,
    version: String,
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {}", self.compiler.path.display(), self.linker.path.display())
    }
}

/// Finds a toolchain: the `preferred` one if it exists, otherwise the first suitable one.
pub(super) fn find(preferred: Option<&Versions>) -> anyhow::Result<Toolchain> {
    let linker = Linker::find()?;
    let compilers: Vec<_> = compilers().iter().filter_map(|path| Compiler::at(path)).collect();
    let Some(linker) = linker.as_ref().filter(|_| !compilers.is_empty()) else {
        // All at once, so that nobody installs one only to learn of the other.
        let missing = [(linker.is_none(), NO_LINKER), (compilers.is_empty(), NO_TOOLCHAIN)];
        let missing: Vec<_> =
            missing.into_iter().filter_map(|(missing, text)| missing.then_some(text)).collect();
        bail!(missing.join("\n"));
    };
    let toolchain = |compiler| Toolchain { compiler, linker: linker.clone() };
    let mut found: Vec<_> = compilers.into_iter().map(toolchain).collect();
    let index =
        preferred.and_then(|versions| found.iter().position(|toolchain| toolchain.versions() == *versions));
    Ok(found.swap_remove(index.unwrap_or(0)))
}

/// Every compiler to try: the active toolchain, rustup's others, the distribution's.
fn compilers() -> Vec<PathBuf> {
    let active = output(Command::new("rustc").args(["--print", "sysroot"])).map(PathBuf::from);
    let rustup = env::var_os("RUSTUP_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".rustup")))
        .and_then(|home| fs::read_dir(home.join("toolchains")).ok());
    let mut others: Vec<_> = rustup.into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    others.sort();
    let mut compilers: Vec<_> = active.into_iter().chain(others).map(|home| home.join("bin/rustc")).collect();
    compilers.push("/usr/bin/rustc".into());
    compilers
}

impl Linker {
    fn find() -> anyhow::Result<Option<Self>> {
        let path = on_path("bpf-linker").or_else(|| existing(cargo_home()?.join("bin/bpf-linker")));
        path.map(|path| Ok(Self { version: output(Command::new(&path).arg("--version"))?, path })).transpose()
    }
}

impl Compiler {
    /// The compiler at `path`; `None` if it cannot build the probe.
    fn at(path: &Path) -> Option<Self> {
        existing(path.with_file_name("cargo"))?;
        let versions = output(Command::new(path).arg("-vV")).ok()?;
        let value = |key: &str| versions.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
        let sysroot = PathBuf::from(output(Command::new(path).args(["--print", "sysroot"])).ok()?);
        existing(sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs"))?;
        (release(value("release")?)? >= release(env!("CARGO_PKG_RUST_VERSION"))?).then_some(())?;
        Some(Self {
            version: versions.lines().next()?.to_owned(),
            llvm: value("LLVM version")?.to_owned(),
            path: path.to_owned(),
            sysroot,
        })
    }
}

impl Toolchain {
    /// Its versions, which decide the object.
    pub(super) fn versions(&self) -> Versions {
        let Self { compiler, linker } = self;
        Versions {
            rustc: compiler.version.clone(),
            llvm: compiler.llvm.clone(),
            linker: linker.version.clone(),
        }
    }

    /// The command that builds the probe under `root` into `target`.
    pub(super) fn cargo(&self, root: &Path, target: &Path) -> anyhow::Result<Command> {
        let mut command = Command::new(self.compiler.path.with_file_name("cargo"));
        // Settings that a developer made for other builds must not affect this one.
        for (key, _) in env::vars_os() {
            let name = key.to_string_lossy();
            let ours = ["CARGO_HOME", "CARGO_NET_OFFLINE", "CARGO_HTTP_PROXY", "CARGO_TERM_COLOR"];
            if name.starts_with("RUST") || name.starts_with("CARGO") && !ours.contains(&&*name) {
                command.env_remove(&key);
            }
        }
        command
            .current_dir(root)
            .env("RUSTC", &self.compiler.path)
            // The only way to use -Z build-std without a nightly compiler.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &self.linker.path)
            .env("CARGO_ENCODED_RUSTFLAGS", self.rustflags(root)?)
            .args([
                "build",
                "--quiet",
                "--locked",
                "--package=nsprobe-ebpf",
                "--bin=nsprobe-ebpf",
                "--features=probe",
            ])
            .args(OPTIONS)
            .arg("--target-dir")
            .arg(target);
        Ok(command)
    }

    /// [`RUSTFLAGS`], and a fixed name for every directory whose path would otherwise be in the object.
    fn rustflags(&self, root: &Path) -> anyhow::Result<OsString> {
        let library = self.compiler.sysroot.join("lib/rustlib/src/rust");
        let mut renamed =
            vec![(root.to_owned(), "/nsprobe"), (library.canonicalize()?, "/rust"), (library, "/rust")];
        let registries = cargo_home().and_then(|home| fs::read_dir(home.join("registry/src")).ok());
        renamed.extend(registries.into_iter().flatten().flatten().map(|entry| (entry.path(), "/registry")));
        let mut flags = OsString::from(RUSTFLAGS.join("\x1f"));
        for (from, to) in renamed {
            flags.push("\x1f--remap-path-prefix=");
            flags.push(from);
            flags.push(format!("={to}"));
        }
        Ok(flags)
    }
}

fn cargo_home() -> Option<PathBuf> {
    env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")))
}

fn existing(path: PathBuf) -> Option<PathBuf> {
    path.exists().then_some(path)
}

fn on_path(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).find_map(|directory| existing(directory.join(program)))
}

/// The output of a command, without the final newline.
fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}

/// Major and minor version of a release, the parts that a minimum is stated in.
fn release(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::release;

    #[test]
    fn releases_are_compared_by_number() {
        assert!(release("1.100.0") > release("1.95"));
        assert_eq!(release("1.97.0-nightly"), Some((1, 97)));
        assert_eq!(release("unknown"), None);
    }
}
