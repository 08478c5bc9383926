//! The text output of `nsprobe tree`, and the cases in which there is none.

use crate::support::stage::Staged;
use crate::support::{self, proc};
use std::process::{Command, Stdio};

#[test]
fn a_process_that_went_back_is_marked_as_in_the_initial_namespace() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let own = proc::namespace(std::process::id(), "net").expect("own namespaces");
    let script = format!("unshare --net nsenter --net=/proc/{}/ns/net sleep 1000 & wait", std::process::id());
    // The shell in its own network namespace, the sleeper back in this one's.
    let mut staged = Staged::spawn(Command::new("unshare").args(["--net", "sh", "-c", &script]));
    let sleeper = staged.wait_for("sleep");
    let text = support::run(&["tree", "--pid", &sleeper.to_string()]).stdout;
    // The kernel's own threads are in the initial namespaces.
    let initial = proc::namespace(2, "net") == Some(own) && proc::comm(2).as_deref() == Some("kthreadd");
    let line = format!("┊ net:[{own}]{}", if initial { " (initial)" } else { "" });
    assert!(text.lines().any(|found| found.trim_start() == line), "{line}\n{text}");
}

#[test]
fn lines_are_ascii_on_request_and_without_a_utf8_locale() {
    let _limit = support::time_limit();
    let drawn = |text: &str| text.contains(['├', '└', '│', '┊', '…']);
    // More arguments than are kept: the mark for cut arguments is ASCII, too.
    let mut staged = Staged::spawn(Command::new("sh").args(["-c", "sleep 1000; :", &"x".repeat(6000)]));
    staged.wait_for("sleep");
    let pid = staged.pid().to_string();
    let utf8 = support::run(&["tree", "--pid", &pid]).stdout;
    assert!(drawn(&utf8) && utf8.contains("xxx …\n"), "{utf8}");
    let requested = support::run(&["tree", "--ascii", "--pid", &pid]).stdout;
    let locale =
        support::nsprobe().args(["tree", "--pid", &pid]).env("LC_ALL", "C").output().expect("it runs");
    for text in [requested, support::Ran::from(locale).stdout] {
        assert!(!drawn(&text), "{text}");
        assert!(text.contains("`- ") && text.contains("xxx ...\n"), "{text}");
    }
}

#[test]
fn lines_fit_the_terminal_and_json_is_never_cut() {
    let _limit = support::time_limit();
    let long = "x".repeat(300);
    let mut staged = Staged::spawn(Command::new("sh").args(["-c", "sleep 1000; :", &long]));
    staged.wait_for("sleep");
    let pid = staged.pid().to_string();
    let narrow = support::on_terminal(support::nsprobe().args(["tree", "--pid", &pid]), 60).stdout;
    let widest = narrow.lines().map(|line| line.chars().count()).max();
    assert!(widest.is_some_and(|widest| widest <= 60), "{narrow}");
    assert!(narrow.contains(&format!("{pid} sh -c")), "{narrow}");
    assert!(support::run(&["tree", "--pid", &pid]).stdout.contains(&long), "no terminal, nothing is cut");
    let json = support::on_terminal(support::nsprobe().args(["tree", "--json", "--pid", &pid]), 60);
    assert!(json.stdout.contains(&long));
}

#[test]
fn colour_is_for_terminals() {
    let _limit = support::time_limit();
    let own = std::process::id().to_string();
    assert!(!support::run(&["tree", "--pid", &own]).stdout.contains('\u{1b}'));
    let always = support::run(&["tree", "--color", "always", "--pid", &own]).stdout;
    assert!(always.contains(&format!("\u{1b}[1m{own}\u{1b}[0m")), "{always}");
}

#[test]
fn missing_process_is_nothing_found() {
    let _limit = support::time_limit();
    // Above every possible pid: PID_MAX_LIMIT is 2^22.
    for args in [&["tree", "--pid", "4194305"][..], &["tree", "--json", "--pid", "4194305"]] {
        let ran = support::run(args);
        assert_eq!(ran.code, Some(1));
        assert_eq!(ran.stdout, "");
        assert_eq!(ran.stderr, "nsprobe: there is no process 4194305\n");
    }
}

#[test]
fn arguments_that_make_no_sense_are_errors() {
    let _limit = support::time_limit();
    for args in
        [&["tree", "--pid", "x"][..], &["tree", "--by", "mnt"], &["tree", "--by", "pid", "--pid", "1"]]
    {
        let ran = support::run(args);
        assert_eq!(ran.code, Some(2), "{args:?}");
        assert_eq!(ran.stdout, "");
        assert!(ran.stderr.contains("error:"), "{}", ran.stderr);
    }
}

#[test]
fn a_closed_pipe_ends_it_quietly() {
    let _limit = support::time_limit();
    let mut child = support::nsprobe()
        .args(["tree", "--all"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    drop(child.stdout.take());
    let ran = support::Ran::from(child.wait_with_output().expect("it ends"));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(!ran.stderr.contains("pipe"), "{}", ran.stderr);
}

#[test]
fn a_process_without_arguments_differs_from_a_kernel_thread() {
    let _limit = support::time_limit();
    // Named like a kernel thread, and like a pid inside a namespace.
    for name in ["kthreadd", "1"] {
        let script = format!("$0 = '{name}'; exit unless fork; sleep 1000");
        let mut staged = Staged::spawn(Command::new("perl").args(["-e", &script]));
        staged.wait_for(name);
        // The child has ended, and nobody has waited for it: it has no arguments.
        let ended = || {
            let children =
                std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", staged.pid())).ok()?;
            let child: u32 = children.trim().parse().ok()?;
            std::fs::read(format!("/proc/{child}/cmdline")).is_ok_and(|text| text.is_empty()).then_some(child)
        };
        let child = support::stage::wait(ended).expect("a process without arguments");
        let tree = support::run(&["tree", "--all", "--pid", &staged.pid().to_string()]).stdout;
        assert!(tree.lines().any(|line| line.ends_with(&format!("{child} ({name})"))), "{tree}");
    }
    if support::root() {
        assert!(support::run(&["tree", "--all", "--pid", "2"]).stdout.contains("2 [kthreadd]"));
    }
}
