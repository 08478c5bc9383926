//! A `nsprobe trace` that runs beside the test.

use super::{Ran, nsprobe};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdout, Command, Stdio};

/// A `nsprobe trace` that has written its `start`; killed when dropped.
pub struct Tracing {
    pub child: Child,
    pub stdout: BufReader<ChildStdout>,
    /// Its output so far.
    pub text: String,
}

impl Tracing {
    /// Starts with `args`, in a separate process group, which a terminal's signals would go to.
    pub fn start(args: &[&str]) -> Self {
        let mut command = nsprobe();
        command.args(["trace", "--json"]).args(args).process_group(0);
        Self::by(&mut command)
    }

    /// Starts with `command`, which runs `nsprobe trace --json` in its own way.
    pub fn by(command: &mut Command) -> Self {
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("nsprobe starts");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut tracing = Self { child, stdout, text: String::new() };
        assert!(tracing.line().contains(r#""type":"start""#), "{}", tracing.text);
        tracing
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"))
    }

    /// The next line of a stream that goes on. Without one, the test fails instead of hanging.
    pub fn line(&mut self) -> String {
        let patience = PollTimeout::try_from(300_000).expect("milliseconds");
        if self.stdout.buffer().is_empty() {
            let mut ready = [PollFd::new(self.stdout.get_ref().as_fd(), PollFlags::POLLIN)];
            assert_ne!(poll(&mut ready, patience), Ok(0), "nothing more after {}", self.text);
        }
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("a line of text");
        assert!(!line.is_empty(), "it ended: {}", self.text);
        self.text += &line;
        line
    }

    /// The next line, if one is available.
    pub fn line_now(&mut self) -> Option<String> {
        let mut ready = [PollFd::new(self.stdout.get_ref().as_fd(), PollFlags::POLLIN)];
        let is_there = !self.stdout.buffer().is_empty() || poll(&mut ready, PollTimeout::ZERO) == Ok(1);
        is_there.then(|| self.line())
    }

    /// Waits for its end.
    pub fn end(mut self) -> Ran {
        let mut stderr = String::new();
        self.stdout.read_to_string(&mut self.text).expect("text");
        self.child.stderr.take().expect("a pipe").read_to_string(&mut stderr).expect("text");
        let status = self.child.wait().expect("it ends");
        Ran { code: status.code(), stdout: std::mem::take(&mut self.text), stderr }
    }
}

impl Drop for Tracing {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
