//! Several scripts beside strace(1) in one trace: starting a trace costs more than most tests do in it, and on an
//! emulated processor ten seconds.

use super::trace::{Stream, beside_strace, each_plan};
use std::any::Any;
use std::fmt::Write as _;

/// The check of a part of the stream, and of what the script wrote to fd 3.
type Check<'a> = Box<dyn Fn(&Stream, &str) + 'a>;

/// A script, and its check.
pub struct Part<'a> {
    name: &'a str,
    script: String,
    check: Check<'a>,
    kept: Vec<Box<dyn Any>>,
}

impl<'a> Part<'a> {
    pub fn new(name: &'a str, script: impl Into<String>, check: impl Fn(&Stream, &str) + 'a) -> Self {
        Self { name, script: script.into(), check: Box::new(check), kept: Vec::new() }
    }

    /// Keeps an object alive until the script has run.
    pub fn keeping(mut self, staged: impl Any) -> Self {
        self.kept.push(Box::new(staged));
        self
    }
}

/// Runs the parts that `parts` makes for each plan, one after another in one trace; see [`beside_strace`]. A part's
/// stream has the lines `start` and `end` of the whole, its own events, and the code of its script.
pub fn each_plan_in_parts(parts: impl for<'a> Fn(&'a str) -> Vec<Part<'a>>) {
    each_plan(|plan| run(plan, &parts(plan)));
}

/// The directory that a chroot between two parts fails to find.
const MARK: &str = "/nsprobe-part-";

fn run(plan: &str, parts: &[Part]) {
    let mut whole = String::new();
    for (number, Part { script, .. }) in parts.iter().enumerate() {
        let quoted = script.replace('\'', r"'\''");
        let _ =
            writeln!(whole, "sh -c '{quoted}'; echo \"\n{MARK}{number} $?\" >&3; chroot {MARK}{number} true");
    }
    let (stream, report) = beside_strace(plan, &format!("{whole}true"));
    let mut rest = &report[..];
    let mut lines = stream.lines.iter().filter(|line| line["type"] == "event");
    for (number, part) in parts.iter().enumerate() {
        eprintln!("part `{}`, plan {plan}", part.name);
        let mark = format!("{MARK}{number}");
        let (written, after) = rest.split_once(&format!("\n{mark} ")).expect("a part's end in the report");
        let (code, after) = after.split_once('\n').expect("a code");
        rest = after;
        let own = lines.by_ref().take_while(|line| line["args"]["path"] != mark.as_str());
        let [start, end] = [0, stream.lines.len() - 1].map(|at| stream.lines[at].clone());
        let lines = [start].into_iter().chain(own.cloned()).chain([end]).collect();
        let part_stream = Stream { code: code.parse().ok(), stderr: stream.stderr.clone(), lines };
        (part.check)(&part_stream, written);
    }
}
