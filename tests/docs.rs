//! Runs what the documentation says: the examples of every `--help`, and the commands of README.md and of docs/.

use crate::support::{self, nsprobe, run};
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// The subcommands, as `--help` lists them.
fn subcommands() -> Vec<String> {
    let help = run(&["--help"]).stdout;
    let listed =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // Lines that are indented further continue the line above.
    let names = listed.filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')));
    let names = names.filter_map(|line| line.split_whitespace().next().map(str::to_owned));
    names.filter(|name| name != "help").collect()
}

/// The commands of the section `Examples:` of a help text, without the explanation after them.
fn examples(help: &str) -> Vec<String> {
    let section = help.lines().skip_while(|line| !line.starts_with("Example")).skip(1);
    let lines = section.take_while(|line| line.starts_with("  "));
    // Lines that are indented further explain the line above.
    let lines = lines.filter(|line| !line.starts_with("   "));
    // Two blanks separate the command from its explanation.
    lines.filter_map(|line| Some(line.trim_start().split("  ").next()?.trim_end().to_owned())).collect()
}

/// Runs a documented command in a shell, with the nsprobe under test first in the path.
fn shell(command: &str, directory: &Path) -> support::Ran {
    let bin = directory.join("bin");
    let _ = std::fs::create_dir(&bin);
    let _ = std::os::unix::fs::symlink(nsprobe().get_program(), bin.join("nsprobe"));
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    // `sudo` may not be installed, and root does not need it.
    let command = command.replace("sudo ", "");
    let output = Command::new("timeout")
        .args(["120", "sh", "-c", &command])
        .env("PATH", path)
        .env("LC_ALL", "C.UTF-8")
        .current_dir(directory)
        .output();
    output.expect("sh").into()
}

fn needs_privilege(command: &str) -> bool {
    command.contains("sudo ") || command.contains("trace")
}

/// True if an example can be run as it is: not if it waits for something that may not happen, or writes outside a
/// scratch directory.
fn runs_by_itself(command: &str) -> bool {
    let ends = [" -- ", "--duration"].iter().any(|end| command.contains(end));
    (ends || !command.contains("nsprobe trace")) && !command.contains("COMMAND") && !command.contains("> /")
}

#[test]
fn the_examples_of_every_help_run() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let mut ran = 0;
    for name in subcommands() {
        let help = run(&[&name, "--help"]);
        assert_eq!(help.code, Some(0), "{name}");
        let examples = examples(&help.stdout);
        assert!(!examples.is_empty(), "{name} --help has no examples");
        for example in examples.iter().filter(|example| runs_by_itself(example)) {
            let directory = tempfile::tempdir().unwrap();
            let result = shell(example, directory.path());
            // 1: nothing found, or a finding of doctor. Anything else means that the example is wrong.
            assert!(matches!(result.code, Some(0 | 1)), "{example}: {:?}\n{}", result.code, result.stderr);
            ran += 1;
        }
    }
    assert!(ran >= 10, "only {ran} examples were run");
}

/// The commands of a document: lines that begin with `$ ` in its `console` blocks.
fn commands(document: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut console = false;
    for line in document.lines() {
        if line.starts_with("```") {
            console = line == "```console";
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| console) {
            commands.push(command.to_owned());
        }
    }
    commands
}

/// Returns true if a program that a command pipes into is installed.
fn is_installed(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

/// Runs the nsprobe commands of a document, of which there are at least five. One document at a time: they use the same
/// names of network namespaces.
fn run_commands(document: &str) {
    static RUNNING: Mutex<()> = Mutex::new(());
    let _running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    let commands = commands(document);
    let of_nsprobe: Vec<_> = commands.iter().filter(|command| command.contains("nsprobe ")).collect();
    assert!(of_nsprobe.len() >= 5, "{commands:#?}");
    let has_jq = is_installed("jq");
    if !has_jq && of_nsprobe.iter().any(|command| command.contains("| jq ")) {
        support::skipped("there is no jq");
    }
    for command in of_nsprobe {
        if needs_privilege(command) && !support::root() {
            continue;
        }
        if !runs_by_itself(command) || (!has_jq && command.contains("| jq ")) {
            continue;
        }
        let directory = tempfile::tempdir().unwrap();
        let result = shell(command, directory.path());
        assert!(matches!(result.code, Some(0 | 1)), "{command}: {:?}\n{}", result.code, result.stderr);
        assert!(!result.stdout.is_empty(), "{command} printed nothing");
    }
}

#[test]
fn the_commands_of_the_readme_run() {
    let _limit = support::time_limit();
    run_commands(include_str!("../README.md"));
}

#[test]
fn the_commands_of_the_guide_run() {
    let _limit = support::time_limit();
    run_commands(include_str!("../docs/guide.md"));
}

#[test]
fn the_commands_of_the_questions_run() {
    let _limit = support::time_limit();
    run_commands(include_str!("../docs/faq.md"));
}

#[test]
fn the_commands_about_json_run() {
    let _limit = support::time_limit();
    run_commands(include_str!("../docs/json.md"));
}

/// The anchors of a document's headings, as they are in links: lower case, hyphens for blanks, no punctuation.
fn anchors(document: &str) -> Vec<String> {
    let mut code = false;
    let headings = document.lines().filter(|line| {
        code ^= line.starts_with("```");
        !code && line.starts_with('#')
    });
    let anchor = |heading: &str| {
        let text = heading.trim_start_matches('#').trim().to_lowercase();
        let text = text.chars().filter(|&c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        text.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn links_between_documents_lead_somewhere() {
    let _limit = support::time_limit();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let Ok(files) = std::fs::read_dir(root.join("docs")) else {
        return support::skipped("the sources are not here");
    };
    let in_docs = files.map(|file| file.unwrap().path());
    let names = ["README.md", "ARCHITECTURE.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md"];
    let mut found = 0;
    for document in names.map(|name| root.join(name)).into_iter().chain(in_docs) {
        if document.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let text = std::fs::read_to_string(&document).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
            if link.starts_with("https://") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target =
                if path.is_empty() { document.clone() } else { document.parent().unwrap().join(path) };
            assert!(target.exists(), "{}: {link}", document.display());
            if !anchor.is_empty() {
                let anchors = anchors(&std::fs::read_to_string(&target).unwrap());
                assert!(anchors.iter().any(|there| there == anchor), "{}: {link}", document.display());
            }
            found += 1;
        }
    }
    assert!(found > 20, "{found}");
}

#[test]
fn the_readme_is_short() {
    let _limit = support::time_limit();
    let size = include_str!("../README.md").len();
    assert!(size <= 9_000, "{size} bytes");
}

/// True if a name can only be that of a test: nothing else has so many words.
fn is_sentence(name: &str) -> bool {
    let is_word = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    name.split('_').all(is_word) && name.matches('_').count() > 4
}

#[test]
fn the_tests_that_documents_name_are_there() {
    let _limit = support::time_limit();
    let documents = [
        include_str!("../ARCHITECTURE.md"),
        include_str!("../SECURITY.md"),
        include_str!("../docs/limits.md"),
        include_str!("../docs/promises.md"),
    ];
    let mut documents = documents.concat();
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests");
    let Some(sources) = support::sources().filter(|_| tests.is_dir()) else {
        return support::skipped("the sources are not available");
    };
    for page in std::fs::read_dir(tests.join("../docs/design")).unwrap() {
        documents += &std::fs::read_to_string(page.unwrap().path()).unwrap();
    }
    let (mut found, mut unit) = (0, 0);
    for word in documents.split('`') {
        let (module, name) = word.rsplit_once("::").unwrap_or(("", word));
        // Paths of the crate have `::` in them as well; an integration test is in a file of that name.
        if let Ok(text) = std::fs::read_to_string(tests.join(module).with_extension("rs")) {
            assert!(text.contains(&format!("#[test]\nfn {name}() {{")), "{word} does not exist");
            found += 1;
        } else if is_sentence(name) {
            let [indented, not] =
                ["    ", ""].map(|indent| format!("{indent}#[test]\n{indent}fn {name}() {{"));
            let is_there = sources.iter().any(|(_, text)| text.contains(&indented) || text.contains(&not));
            assert!(is_there, "the unit test {word} does not exist");
            unit += 1;
        }
    }
    assert!(found > 25 && unit > 3, "{found}, {unit}");
}

#[test]
fn every_test_has_a_time_limit() {
    let _limit = support::time_limit();
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests");
    let Ok(files) = std::fs::read_dir(tests) else {
        return support::skipped("the sources are not available");
    };
    for file in files.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some()) {
        let text = std::fs::read_to_string(&file).unwrap();
        for test in text.split("\n#[test]\n").skip(1) {
            let body = test.split_once(" {\n").map_or("", |(_, body)| body);
            let first = body.lines().find(|line| !line.starts_with("    const ")).unwrap_or_default();
            assert!(first.ends_with("support::time_limit();"), "{}: {test:.80}", file.display());
        }
    }
}

#[test]
fn completions_are_written_for_every_shell() {
    let _limit = support::time_limit();
    for name in ["bash", "zsh", "fish"] {
        let script = run(&["completions", name]);
        assert_eq!(script.code, Some(0), "{}", script.stderr);
        assert!(subcommands().iter().all(|command| script.stdout.contains(command.as_str())), "{name}");
    }
}

#[test]
fn a_list_is_completed_behind_its_last_comma() {
    let _limit = support::time_limit();
    let script = run(&["completions", "bash"]).stdout;
    let completed = |words: &[&str]| {
        // $0 is the script, the other arguments are the words of the line.
        let complete = r#"eval "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
            _nsprobe "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"; echo "${COMPREPLY[*]}""#;
        let ran = Command::new("bash").args(["-c", complete, &script]).args(words).output();
        ran.map(|ran| String::from_utf8(ran.stdout).unwrap().trim_end().to_owned())
    };
    let Ok(first) = completed(&["nsprobe", "list", "--kind", "u"]) else {
        return support::skipped("bash is not installed");
    };
    assert_eq!(first, "user uts");
    for (option, so_far, expected) in [
        ("--kind", "net,u", "net,user net,uts"),
        ("-k", "net,pid,m", "net,pid,mnt"),
        ("--columns", "ns,ty", "ns,type"),
        ("--color", "a", "auto always"),
    ] {
        assert_eq!(completed(&["nsprobe", "list", option, so_far]).unwrap(), expected, "{option} {so_far}");
    }
    assert_eq!(completed(&["nsprobe", "trace", "--event", "clone,s"]).unwrap(), "clone,setns");
}

#[test]
fn help_texts_fit_eighty_columns_and_a_screen() {
    let _limit = support::time_limit();
    let help = |arguments: &[&str]| {
        let output = nsprobe().args(arguments).env("COLUMNS", "80").output().expect("nsprobe starts");
        support::Ran::from(output).stdout
    };
    for name in subcommands() {
        let short = help(&[&name, "-h"]);
        assert!(short.lines().count() <= 50, "{name} -h has {} lines", short.lines().count());
        let long = help(&[&name, "--help"]);
        for line in short.lines().chain(long.lines()) {
            assert!(line.chars().count() <= 80, "{name}: {line}");
        }
        for example in examples(&long) {
            assert!(example.chars().count() <= 76, "{name}: {example}");
        }
    }
}

#[test]
fn manual_pages_have_every_option_and_example() {
    let _limit = support::time_limit();
    for name in subcommands() {
        let page = run(&["man", &name]);
        assert_eq!((page.code, page.stderr.as_str()), (Some(0), ""), "{name}");
        assert!(page.stdout.contains(&format!(".TH nsprobe-{name} 1")), "{name}");
        let page = page.stdout.replace('\\', "");
        let help = run(&[&name, "--help"]).stdout;
        for option in help.split_whitespace().filter(|word| word.starts_with("--")) {
            let option = option.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
            assert!(page.contains(option), "{name} {option}");
        }
        for example in examples(&help) {
            assert!(page.replace("*(Aq", "'").contains(&example), "{name}: {example}");
        }
    }
    assert!(run(&["man"]).stdout.contains(".TH nsprobe 1"));
    let none = run(&["man", "nothing"]);
    assert_eq!((none.code, none.stdout.as_str()), (Some(2), ""), "{}", none.stderr);
}
