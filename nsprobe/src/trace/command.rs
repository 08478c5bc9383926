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

/// The maximum wait for the end of a killed command.
const GRACE: Duration = Duration::from_millis(50);

/// The outcome of the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandEnd {
    /// No command.
    None,
    /// It ended.
    Ended(ExitStatus),
    /// The trace ended first; this process keeps running.
    GoesOn(u32),
}

/// The command, if there is one.
pub(super) struct TracedCommand {
    command: Option<Command>,
    /// The program's name.
    name: String,
    status: Option<ExitStatus>,
    /// True if a signal to end has arrived and was left to the command.
    interrupted: bool,
}

impl TracedCommand {
    /// No command.
    pub(super) const fn none() -> Self {
        Self { command: None, name: String::new(), status: None, interrupted: false }
    }

    /// Starts the command, without waiting until its program is executed; none if `words` is empty.
    pub(super) fn start(words: &[OsString], signals: &Signals) -> Result<Self, TraceError> {
        let Some(program) = words.first() else { return Ok(Self::none()) };
        let mut command = Self { name: text::shown_path(program), ..Self::none() };
        command.command = Some(signals.start(words).map_err(|error| command.failed(error))?);
        Ok(command)
    }

    fn failed(&self, error: io::Error) -> TraceError {
        TraceError::Command { command: self.name.clone(), error }
    }

    /// Returns an error if the program could not be executed.
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

    /// Readable when the program has been executed, or cannot be.
    pub(super) fn report(&self) -> Option<BorrowedFd<'_>> {
        self.command.as_ref().and_then(Command::report)
    }

    /// Handles reports of the command, and signals. Returns the reason to end, if there is one.
    ///
    /// With a command, the first signal to end is the command's: from a terminal it has received it already, otherwise
    /// it receives it here, and the trace goes on until it ends. The second one ends the trace, and so does the first
    /// if there is no program yet that could handle it.
    pub(super) fn handle_signals(&mut self, signals: &Signals) -> Result<Option<&'static str>, TraceError> {
        self.check()?;
        while let Some(arrived) = signals.next()? {
            if arrived.signal == Signal::SIGCHLD {
                // Its reports were written before it ended.
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

    /// Kills the command if its program is not executed soon; returns an error then.
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

    /// The outcome of the command.
    pub(super) fn ended(&self) -> CommandEnd {
        match (&self.command, self.status) {
            (None, _) => CommandEnd::None,
            (Some(_), Some(status)) => CommandEnd::Ended(status),
            (Some(command), None) => CommandEnd::GoesOn(command.pid()),
        }
    }
}
