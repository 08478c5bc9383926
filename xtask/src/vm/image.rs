//! The initramfs: the tests, the checkout they read, and the programs they run with their libraries.

use super::build::Tests;
use super::kernels::Kernel;
use anyhow::{Context as _, Result, ensure};
use std::collections::{BTreeSet, VecDeque};
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use xtask::checkout;

/// The programs that the tests run besides nsprobe. busybox, which stands in for everything else, comes last in the
/// PATH of the machine: the tests are about the real ones.
const PROGRAMS: &[&str] = &[
    "bash",
    "bpftool",
    "bwrap",
    "cat",
    "chroot",
    "cp",
    "echo",
    "env",
    "false",
    "getent",
    "grep",
    "id",
    "ip",
    "kill",
    "ldd",
    "ls",
    "lsns",
    "mkdir",
    "mount",
    "mountpoint",
    "nsenter",
    "perl",
    "prlimit",
    "ps",
    "readlink",
    "rm",
    "runc",
    "script",
    "setpriv",
    "sh",
    "sleep",
    "stat",
    "strace",
    "stty",
    "timeout",
    "touch",
    "true",
    "umount",
    "unshare",
];

/// The directories that are searched for them, on this machine and on the virtual one.
const PATH: &[&str] = &["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"];

/// What schroot needs besides its libraries.
const OF_SCHROOT: &[&str] =
    &["/etc/schroot/schroot.conf", "/usr/bin/schroot", "/usr/lib/x86_64-linux-gnu/security/pam_permit.so"];

/// Small files that programs expect.
const FILES: &[(&str, &str)] = &[
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\nuser:x:1000:1000::/tmp:/bin/sh\n",
    ),
    ("etc/group", "root:x:0:\nnogroup:x:65534:\nuser:x:1000:\n"),
    ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"),
    ("etc/hosts", "127.0.0.1 localhost\n"),
    ("etc/hostname", "nsprobe-vm\n"),
    (
        "etc/pam.d/schroot",
        "auth required pam_permit.so\naccount required pam_permit.so\nsession required pam_permit.so\n",
    ),
];

/// The contents of an image.
pub struct Contents<'a> {
    pub tests: &'a Tests,
    /// Arguments of the test harness for the unit tests.
    pub unit: &'a [&'a str],
    /// Those for the integration tests, by the version of the kernel.
    pub integration: &'a [(String, Vec<&'a str>)],
    /// Set if clocks count instructions; passed to the tests.
    pub counted: bool,
    /// A directory of more programs, which the tests find by [`checkout::PROGRAMS`].
    pub programs: Option<&'a Path>,
    /// Each finds its modules in the image.
    pub kernels: &'a VecDeque<Kernel>,
}

/// The image's name in its directory.
pub const NAME: &str = "image.cpio";

/// Builds the image in `dir`; it runs the tests that the filter selects.
pub fn build(dir: &Path, contents: &Contents) -> Result<()> {
    let tests = contents.tests;
    let stage = dir.join("image.stage");
    if stage.exists() {
        fs::remove_dir_all(&stage)?;
    }
    let root = stage.join("image");
    let folders =
        ["dev", "etc", "mnt", "opt/busybox", "proc", "root", "run", "sys", "tmp", "usr/bin", "usr/sbin"];
    for folder in folders.into_iter().chain(["usr/lib", "usr/lib64"]) {
        fs::create_dir_all(root.join(folder))?;
    }
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777))?;
    // As on the machine that the programs come from.
    for name in ["bin", "sbin", "lib", "lib64"] {
        symlink(format!("usr/{name}"), root.join(name))?;
    }
    for (path, text) in FILES {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap_or(&root))?;
        fs::write(path, text)?;
    }
    programs(&root)?;
    busybox(&stage, &root)?;
    for file in sources()?.iter().chain(&tests.unit).chain(&tests.integration).chain([&tests.nsprobe]) {
        copy_to(&root, file)?;
    }
    if let Some(programs) = contents.programs {
        beside_strace(&root, programs)?;
    }
    for kernel in contents.kernels {
        let modules = root.join("usr/lib/modules").join(&kernel.version);
        fs::create_dir_all(&modules)?;
        for file in &kernel.modules {
            fs::copy(file, modules.join(file.file_name().context("a module")?))?;
        }
    }
    script(&stage.join("init"), include_str!("init.sh"))?;
    script(&root.join("run-tests"), &run_tests(contents))?;
    pack(&stage, &dir.join(NAME))?;
    fs::remove_dir_all(&stage)?;
    Ok(())
}

/// Copies what is run beside strace only: the `programs`, a directory, and schroot if it is here; with their libraries.
fn beside_strace(root: &Path, programs: &Path) -> Result<()> {
    let listed = checkout::output(Command::new("find").arg(programs).args(["-type", "f"]))?;
    let mut needed: Vec<PathBuf> = String::from_utf8(listed.stdout)?.lines().map(PathBuf::from).collect();
    let of_schroot = OF_SCHROOT.iter().map(PathBuf::from);
    if of_schroot.clone().all(|file| file.exists()) {
        needed.extend(of_schroot);
        fs::create_dir_all(root.join("etc/schroot/chroot.d"))?;
    } else {
        eprintln!("vm: WARNING: not installed here, so missing in the virtual machines: schroot");
    }
    for file in needed {
        for file in libraries(&file)?.iter().chain([&file]) {
            copy_to(root, file)?;
        }
    }
    Ok(())
}

/// Copies `file` to the same path below `root`.
fn copy_to(root: &Path, file: &Path) -> Result<()> {
    let to = root.join(file.strip_prefix("/").context("not an absolute path")?);
    fs::create_dir_all(to.parent().unwrap_or(root))?;
    fs::copy(file, &to).with_context(|| format!("could not copy {}", file.display()))?;
    Ok(())
}

/// Copies [`PROGRAMS`] and their libraries.
fn programs(root: &Path) -> Result<()> {
    let mut missing = Vec::new();
    let mut needed = BTreeSet::new();
    for &name in PROGRAMS {
        if let Some(path) = PATH.iter().map(|dir| Path::new(dir).join(name)).find(|path| path.exists()) {
            needed.extend(libraries(&path)?);
            needed.insert(path);
        } else {
            missing.push(name);
        }
    }
    if !missing.is_empty() {
        eprintln!(
            "vm: WARNING: not installed here, so missing in the virtual machines: {}",
            missing.join(", ")
        );
    }
    needed.extend(perl_modules()?);
    needed.iter().try_for_each(|file| copy_to(root, file))
}

/// The files that Perl loads for the modules that tests use.
fn perl_modules() -> Result<Vec<PathBuf>> {
    let loaded = r#"print join "\n", values %INC, @DynaLoader::dl_shared_objects"#;
    let listed = checkout::output(Command::new("perl").args(["-MPOSIX", "-MFcntl", "-e", loaded]))?;
    Ok(String::from_utf8(listed.stdout)?.lines().map(PathBuf::from).collect())
}

/// The shared libraries of `program`, its loader included; none for a script or a static program.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let ldd = Command::new("ldd").arg(program).stdin(Stdio::null()).output().context("ldd")?;
    let listed = String::from_utf8(ldd.stdout)?;
    ensure!(!listed.contains("not found"), "{} lacks a library:\n{listed}", program.display());
    Ok(listed.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect())
}

/// Installs busybox at the path that the first stage expects, and a link for each of its applets.
fn busybox(stage: &Path, root: &Path) -> Result<()> {
    let busybox = ["/usr/bin/busybox", "/bin/busybox"].map(Path::new).into_iter().find(|path| path.exists());
    let busybox = busybox.context("no busybox: install busybox-static")?;
    ensure!(libraries(busybox)?.is_empty(), "{} is not static: install busybox-static", busybox.display());
    fs::copy(busybox, stage.join("busybox"))?;
    let applets = checkout::output(Command::new(busybox).arg("--list"))?;
    for applet in String::from_utf8(applets.stdout)?.lines() {
        symlink("/busybox", root.join("opt/busybox").join(applet))?;
    }
    Ok(())
}

/// The files of the checkout, for tests that read fixtures or the sources themselves.
fn sources() -> Result<Vec<PathBuf>> {
    let root = checkout::root();
    let list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let listed = checkout::output(Command::new("git").args(list).current_dir(root))?;
    let listed = String::from_utf8(listed.stdout)?;
    let files = listed.split_terminator('\0').map(|name| root.join(name));
    Ok(files.filter(|file| file.is_file()).collect())
}

/// The script that runs the tests, and fails if one does.
fn run_tests(contents: &Contents) -> String {
    let Contents { tests, unit, integration, counted, programs, .. } = *contents;
    let package = checkout::root().join("nsprobe");
    let mut script = format!(
        "#!/bin/sh\ncd {package}\nexport CI=true RUST_BACKTRACE=1 LC_ALL=C.UTF-8 INSTA_UPDATE=no\n\
         export INSTA_WORKSPACE_ROOT={root} CARGO_MANIFEST_DIR={package} CARGO_BIN_EXE_nsprobe={nsprobe}\n\
         # These kernels allow both plans: a test that skips one fails.\n\
         export NSPROBE_TEST_SOURCE=fentry,tracepoints\n{counted}{programs}status=0\n",
        counted = if counted { "export NSPROBE_TEST_COUNTED=yes\n" } else { "" },
        programs = programs.map_or_else(String::new, |directory| {
            format!("export {}={}\n", checkout::PROGRAMS, quoted(&directory.to_string_lossy()))
        }),
        root = quoted(&checkout::root().to_string_lossy()),
        package = quoted(&package.to_string_lossy()),
        nsprobe = quoted(&tests.nsprobe.to_string_lossy()),
    );
    let run = |executable: &Path, filter: &[&str]| {
        let executable = executable.to_string_lossy();
        let words: Vec<String> =
            [&executable, "--test-threads=1"].into_iter().chain(filter.iter().copied()).map(quoted).collect();
        words.join(" ") + " || status=$?\n"
    };
    script.extend(tests.unit.iter().map(|executable| run(executable, unit)));
    script.push_str("case $(uname -r) in\n");
    for (version, filter) in integration {
        script.push_str(&quoted(version));
        script.push_str(")\n");
        script.extend(tests.integration.iter().map(|executable| run(executable, filter)));
        script.push_str(";;\n");
    }
    script.push_str("*) echo 'a kernel without tests'; status=1;;\nesac\n");
    script.push_str("exit $status\n");
    script
}

/// Quotes `word` as one word of a shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn script(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Packs the files below `stage`, as if root owned them, uncompressed: QEMU copies faster than the emulated processor
/// unpacks.
fn pack(stage: &Path, image: &Path) -> Result<()> {
    let pipeline = "find . -print0 | cpio --null --create --format=newc --owner=0:0 --quiet";
    let status = Command::new("sh")
        .args(["-c", pipeline])
        .current_dir(stage)
        .stdin(Stdio::null())
        .stdout(File::create(image)?)
        .status()?;
    ensure!(status.success() && fs::metadata(image)?.len() > 0, "cpio failed: {status}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_words() {
        let word = "it's $HOME; \\ \"x\"";
        let echo =
            Command::new("sh").arg("-c").arg(format!("printf %s {}", quoted(word))).output().expect("sh");
        assert_eq!(String::from_utf8_lossy(&echo.stdout), word);
    }

    #[test]
    fn dynamic_program_has_libraries_and_a_loader() {
        let libraries = libraries(Path::new("/bin/sh")).expect("ldd runs");
        assert!(libraries.iter().any(|file| file.to_string_lossy().contains("/libc.so")), "{libraries:?}");
        assert!(libraries.iter().any(|file| file.to_string_lossy().contains("/ld-linux")), "{libraries:?}");
    }
}
