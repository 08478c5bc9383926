//! nsprobe does not wait for a file that it was given if the server of the file system does not answer.

use crate::given::{ROUNDED, waited};
use crate::hang_ends::within_a_second;
use crate::support::waits::{Before, Outcome, beside_server, within};
use crate::support::{self, nsprobe, stage};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// The time that nsprobe waits for a file that was named.
const PATIENCE: Duration = Duration::from_secs(2);

/// Checks that a command has waited for a server in vain, at least this long, and says how long.
fn has_waited(outcome: Outcome, at_least: Duration) {
    let took = outcome.ended.as_ref().map_or(Duration::MAX, |(_, took)| *took);
    let args = outcome.args.clone();
    let ran = outcome.in_time();
    assert_eq!(ran.code, Some(2), "{args}: {}", ran.stderr);
    assert!(ran.stderr.contains(": a file system's server does not answer (waited "), "{}", ran.stderr);
    let waited = waited(&ran.stderr);
    assert!(at_least <= waited && waited <= took + ROUNDED * 2, "{args}, {took:?}: {}", ran.stderr);
}

#[test]
fn neither_an_output_nor_a_document_is_waited_for() {
    let _limit = support::time_limit();
    beside_server(0, |point, server| {
        let before = Before::measure();
        let limit = before.limit();
        server.stop_answering();
        let file = point.join("program").to_str().unwrap().to_owned();
        let trace = ["trace", "--quiet", "--source", "proc", "--interval", "100ms"];
        let output = [&trace[..], &["-d", "300ms", "--output", &file]].concat();
        // The path exists in a separate mount namespace.
        let outcomes = [output, vec!["diff", &file]].map(|args| within(false, &args, limit + PATIENCE));
        // A user who has not limited the time sends a signal.
        let endless = [&trace[..], &["--output", &file]].concat();
        let waiting = within(false, &endless, Duration::from_millis(800));
        let ended = waiting.ended.err().map(|mut child| {
            let begun = Instant::now();
            kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
            let status = stage::wait(|| child.try_wait().unwrap());
            (status, begun.elapsed())
        });
        drop(server);
        for (outcome, at_least) in std::iter::zip(outcomes, [Duration::from_millis(300), PATIENCE]) {
            has_waited(outcome, at_least);
        }
        let (status, took) = ended.expect("it waits for the server, or a signal");
        assert_eq!(status.and_then(|status| status.signal()), Some(libc::SIGTERM));
        assert!(took < limit, "{took:?}");
    });
}

#[test]
fn neither_is_waited_for_when_its_server_falls_silent_after_opening_it() {
    let _limit = support::time_limit();
    stage::adopt_orphans();
    beside_server(0, |point, server| {
        let before = Before::measure();
        server.stop_reading_and_writing();
        let file = point.join("program").to_str().unwrap().to_owned();
        let compared = within(false, &["diff", &file], before.limit() + PATIENCE);
        within_a_second("diff", || {
            let mut child = nsprobe().args(["diff", &file]).spawn().unwrap();
            let pid = child.id();
            assert!(stage::wait(|| stage::family(pid).get(1).copied()).is_some(), "nobody opens it");
            let began = Instant::now();
            kill(Pid::from_raw(pid.cast_signed()), Signal::SIGINT).unwrap();
            assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGINT));
            began.elapsed()
        });
        // A task that writes to a file blocks others.
        let mut names = ('a'..='z').map(|name| point.join(format!("d/f{name}")).to_str().unwrap().to_owned());
        for signal in [Some(Signal::SIGTERM), None] {
            let duration = Duration::from_millis(if signal.is_some() { 0 } else { 500 });
            within_a_second(&format!("--output {signal:?}"), || {
                let file = names.next().unwrap();
                let mut args = vec!["trace", "--json", "--source", "proc", "--output", &file];
                args.extend(if signal.is_some() { &[][..] } else { &["--duration", "500ms"] });
                let mut child = nsprobe().args(&args).stderr(Stdio::piped()).spawn().unwrap();
                let mut messages = BufReader::new(child.stderr.take().unwrap());
                let mut text = String::new();
                messages.read_line(&mut text).unwrap();
                // Its first line is on its way.
                let pid = child.id();
                let writes = || stage::family(pid).into_iter().find(|pid| server.writing().contains(pid));
                assert!(stage::wait(writes).is_some(), "nobody writes: {text}");
                let began = Instant::now();
                if let Some(signal) = signal {
                    kill(Pid::from_raw(pid.cast_signed()), signal).unwrap();
                }
                let code = child.wait().unwrap().code();
                let took = began.elapsed().saturating_sub(duration);
                messages.read_to_string(&mut text).unwrap();
                assert_eq!(code, Some(2), "{text}");
                let why = format!("--output {file}: a file system's server does not answer (no progress in ");
                let still = text.split_once(&why).and_then(|(_, rest)| rest.split_once(" s): the rest"));
                let still: Option<f64> = still.and_then(|(still, _)| still.parse().ok());
                assert!(still >= Some(0.5), "{text}");
                took
            });
        }
        drop(server);
        has_waited(compared, PATIENCE);
    });
}
