//! The command whose descendants are traced.

use super::TraceError;
use crate::kernel::command::Command;
use crate::kernel::signals::Signals;
use crate::model::text;
use nix::sys::signal::Signal;
use std::ffi::OsString;
use std::io;
use std::os::fd::BorrowedFd;
use std::process::ExitStatus;
use std::time::Duration;

/// For so long the end of a command is waited for that was killed.
const GRACE: Duration = Duration::from_millis(50);

/// What became of the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandEnd {
    /// There was none.
    None,
    /// It ended.
    Ended(ExitStatus),
    /// The trace ended first; this process goes on.
    GoesOn(u32),
}

/// The command, if there is one.
pub(super) struct TracedCommand {
    command: Option<Command>,
    /// How it is called.
    name: String,
    status: Option<ExitStatus>,
    /// A signal to end came, and the command has been left to act on it.
    interrupted: bool,
}

impl TracedCommand {
    /// No command.
    pub(super) const fn none() -> Self {
        Self { command: None, name: String::new(), status: None, interrupted: false }
    }

    /// Starts it, without waiting until its program is executed; nothing, when `words` is empty.
    pub(super) fn start(words: &[OsString], signals: &Signals) -> Result<Self, TraceError> {
        let Some(program) = words.first() else { return Ok(Self::none()) };
        let mut running = Self { name: text::shown_path(program), ..Self::none() };
        running.command = Some(signals.start(words).map_err(|error| running.failed(error))?);
        Ok(running)
    }

    fn failed(&self, error: io::Error) -> TraceError {
        TraceError::Command { command: self.name.clone(), error }
    }

    /// Takes notice of it when it could not be executed.
    fn check(&mut self) -> Result<(), TraceError> {
        let Some(command) = &mut self.command else { return Ok(()) };
        let executed = command.is_executed(Duration::ZERO);
        self.noted(executed).map(drop)
    }

    fn noted(&mut self, executed: io::Result<bool>) -> Result<bool, TraceError> {
        executed.map_err(|error| {
            self.command = None;
            self.failed(error)
        })
    }

    /// Readable when it has been executed, or cannot be.
    pub(super) fn report(&self) -> Option<BorrowedFd<'_>> {
        self.command.as_ref().and_then(Command::report)
    }

    /// Looks at what was reported, and at the signals that came. Gives the reason to end, if there is one.
    ///
    /// With a command the first signal to end is the command's: from a terminal it has got it already, from
    /// elsewhere it gets it here, and the trace goes on until it ends. The second ends the trace, and so does the first where
    /// there is no program yet that could heed it.
    pub(super) fn heed(&mut self, signals: &Signals) -> Result<Option<&'static str>, TraceError> {
        self.check()?;
        while let Some(arrived) = signals.next()? {
            if arrived.signal == Signal::SIGCHLD {
                // What it has reported it has reported before it ended.
                self.check()?;
                let Some(command) = &mut self.command else { continue };
                self.status = command.ended()?;
                if self.status.is_some() {
                    return Ok(Some(if self.interrupted { "interrupted" } else { "command ended" }));
                }
            } else if self.interrupted || self.command.is_none() {
                return Ok(Some("interrupted"));
            } else {
                self.settle()?;
                self.interrupted = true;
                if let (true, Some(command)) = (arrived.by_process, &self.command) {
                    command.signal(arrived.signal);
                }
            }
        }
        Ok(None)
    }

    /// Kills it if its program is not executed soon; then the error says so.
    pub(super) fn settle(&mut self) -> Result<(), TraceError> {
        let Some(command) = &mut self.command else { return Ok(()) };
        let executed = command.is_soon_executed();
        if self.noted(executed)? {
            return Ok(());
        }
        let Some(mut command) = self.command.take() else { return Ok(()) };
        command.signal(Signal::SIGKILL);
        let mut why =
            "not started: executing the program takes too long; its file system's server may not answer"
                .to_owned();
        if command.ended_within(GRACE)?.is_none() {
            why = format!("{why} (process {} has been killed, and has not ended yet)", command.pid());
        }
        Err(self.failed(io::Error::new(io::ErrorKind::TimedOut, why)))
    }

    /// What became of it.
    pub(super) fn ended(&self) -> CommandEnd {
        match (&self.command, self.status) {
            (None, _) => CommandEnd::None,
            (Some(_), Some(status)) => CommandEnd::Ended(status),
            (Some(command), None) => CommandEnd::GoesOn(command.pid()),
        }
    }
}
