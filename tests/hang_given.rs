//! nsprobe waits for no file that somebody has given it where a file system's server does not answer.

use crate::support::fuse::Server;
use crate::support::waits::{Before, in_own_mounts, sleeper, within};
use crate::support::{self, skipped};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::time::Instant;

#[test]
fn neither_an_output_nor_a_document_is_waited_for() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    in_own_mounts(|| {
        let dir = tempfile::tempdir().unwrap();
        let point = dir.path().join("point");
        fs::create_dir(&point).unwrap();
        let Some(server) = Server::mount(&point, 0, sleeper()) else {
            return skipped("the kernel has no FUSE");
        };
        let before = Before::look();
        let limit = before.limit();
        server.stop_answering();
        let file = point.join("program").to_str().unwrap().to_owned();
        let trace = ["trace", "--quiet", "--hooks", "poll", "--interval", "100ms"];
        let output = [&trace[..], &["-d", "300ms", "--output", &file]].concat();
        // The path is one of its own mount namespace.
        let outcomes = [output, vec!["diff", &file]].map(|args| within(false, &args, limit * 3));
        // Whoever has not limited the time sends a signal.
        let endless = [&trace[..], &["--output", &file]].concat();
        let waiting = within(false, &endless, std::time::Duration::from_millis(800));
        let ended = waiting.ended.err().map(|mut child| {
            let begun = Instant::now();
            kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
            let status = support::stage::wait(|| child.try_wait().unwrap());
            (status, begun.elapsed())
        });
        drop(server);
        for outcome in outcomes {
            let Ok((ran, _)) = outcome.ended else { panic!("not done in time: {}", outcome.args) };
            assert_eq!(ran.code, Some(2), "{}: {}", outcome.args, ran.stderr);
            assert!(ran.stderr.contains("a file system's server does not answer"), "{}", ran.stderr);
        }
        let (status, took) = ended.expect("it waits for the server, or a signal");
        assert_eq!(status.and_then(|status| status.signal()), Some(libc::SIGTERM));
        assert!(took < limit, "{took:?}");
    });
}
