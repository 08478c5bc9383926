//! nsprobe waits for no file that somebody has given it where a file system's server does not answer.

use crate::support;
use crate::support::waits::{Before, beside_server, within};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

/// How long nsprobe waits for a file that somebody has named.
const PATIENCE: Duration = Duration::from_secs(2);

#[test]
fn neither_an_output_nor_a_document_is_waited_for() {
    let _limit = support::time_limit();
    beside_server(0, |point, server| {
        let before = Before::look();
        let limit = before.limit();
        server.stop_answering();
        let file = point.join("program").to_str().unwrap().to_owned();
        let trace = ["trace", "--quiet", "--hooks", "poll", "--interval", "100ms"];
        let output = [&trace[..], &["-d", "300ms", "--output", &file]].concat();
        // The path is in a mount namespace of its own.
        let outcomes = [output, vec!["diff", &file]].map(|args| within(false, &args, limit + PATIENCE));
        // Whoever has not limited the time sends a signal.
        let endless = [&trace[..], &["--output", &file]].concat();
        let waiting = within(false, &endless, Duration::from_millis(800));
        let ended = waiting.ended.err().map(|mut child| {
            let begun = Instant::now();
            kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
            let status = support::stage::wait(|| child.try_wait().unwrap());
            (status, begun.elapsed())
        });
        drop(server);
        for outcome in outcomes {
            let args = outcome.args.clone();
            let ran = outcome.in_time();
            assert_eq!(ran.code, Some(2), "{args}: {}", ran.stderr);
            assert!(ran.stderr.contains("a file system's server does not answer"), "{}", ran.stderr);
        }
        let (status, took) = ended.expect("it waits for the server, or a signal");
        assert_eq!(status.and_then(|status| status.signal()), Some(libc::SIGTERM));
        assert!(took < limit, "{took:?}");
    });
}
