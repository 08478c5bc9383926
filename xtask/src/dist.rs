//! `cargo xtask dist`: the files that a package of nsprobe consists of.

use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};
use std::process::Command;
use xtask::checkout::{self, Profile, output, root};

#[derive(clap::Args)]
pub struct Args {
    /// The directory to fill; it must be absent or empty
    #[arg(long, default_value = "target/dist")]
    directory: PathBuf,
    /// Take a development build, to see what a package consists of
    #[arg(long)]
    dev: bool,
}

/// The shells, with the paths at which they look for completions below `/usr/share`.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "bash-completion/completions/nsprobe"),
    ("zsh", "zsh/site-functions/_nsprobe"),
    ("fish", "fish/vendor_completions.d/nsprobe.fish"),
];

/// Documents at the top of the checkout that go with the program.
const DOCUMENTS: [&str; 5] = ["README.md", "CHANGELOG.md", "SECURITY.md", "LICENSE-MIT", "LICENSE-APACHE"];

pub fn run(args: &Args) -> Result<()> {
    let top = root().join(&args.directory);
    anyhow::ensure!(
        std::fs::read_dir(&top).map_or(true, |mut files| files.next().is_none()),
        "{}: not empty: remove it first",
        top.display()
    );
    let program = checkout::nsprobe(if args.dev { Profile::Dev } else { Profile::Release })?;
    let share = top.join("share");
    copy(&program, &top.join("bin/nsprobe"))?;
    let nsprobe = |args: &[&str]| Ok::<_, anyhow::Error>(output(Command::new(&program).args(args))?.stdout);
    for (shell, path) in COMPLETIONS {
        write(&share.join(path), &nsprobe(&["completions", shell])?)?;
    }
    write(&share.join("man/man1/nsprobe.1"), &nsprobe(&["man"])?)?;
    for command in commands(&String::from_utf8(nsprobe(&["--help"])?)?) {
        write(&share.join(format!("man/man1/nsprobe-{command}.1")), &nsprobe(&["man", command])?)?;
    }
    for document in DOCUMENTS {
        copy(&root().join(document), &share.join("doc/nsprobe").join(document))?;
    }
    for directory in ["docs", "schema"] {
        for file in std::fs::read_dir(root().join(directory)).context(directory)? {
            let file = file.context(directory)?;
            if file.file_type().is_ok_and(|kind| kind.is_file()) {
                copy(&file.path(), &share.join("doc/nsprobe").join(directory).join(file.file_name()))?;
            }
        }
    }
    println!("{}", top.display());
    Ok(())
}

/// Returns the commands that a help text of nsprobe lists.
fn commands(help: &str) -> impl Iterator<Item = &str> {
    let section = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let lines = section.take_while(|line| !line.is_empty()).filter_map(|line| line.strip_prefix("  "));
    // Lines that are indented further continue the line above.
    lines.filter_map(|line| line.split(' ').next()).filter(|name| !name.is_empty() && *name != "help")
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    create_parent(path)?;
    std::fs::write(path, bytes).with_context(|| path.display().to_string())
}

/// Copies a file with its permissions.
fn copy(from: &Path, to: &Path) -> Result<()> {
    create_parent(to)?;
    std::fs::copy(from, to).with_context(|| format!("{} to {}", from.display(), to.display()))?;
    Ok(())
}

fn create_parent(path: &Path) -> Result<()> {
    let directory = path.parent().context("a file is in a directory")?;
    std::fs::create_dir_all(directory).with_context(|| directory.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::commands;

    #[test]
    fn commands_are_those_of_the_help_text() {
        let help = "nsprobe\n\nCommands:\n  list  List\n        and more\n  tree  Show\n  help  Print\n\nOptions:\n  -h\n";
        assert_eq!(commands(help).collect::<Vec<_>>(), ["list", "tree"]);
    }
}
