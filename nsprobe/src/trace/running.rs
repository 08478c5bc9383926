//! The command whose descendants are traced.

use super::TraceError;
use crate::kernel::signals::Signals;
use crate::model::text;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::ffi::OsString;
use std::io;
use std::process::{Child, Command, ExitStatus};

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
pub(super) struct Running {
    child: Option<Child>,
    status: Option<ExitStatus>,
    /// A signal to end came, and the command has been left to act on it.
    interrupted: bool,
}

impl Running {
    /// No command.
    pub(super) const fn none() -> Self {
        Self { child: None, status: None, interrupted: false }
    }

    /// Starts it; nothing, when `command` is empty.
    pub(super) fn start(command: &[OsString], signals: &Signals) -> Result<Self, TraceError> {
        let child = match command {
            [] => None,
            [program, arguments @ ..] => {
                let child = signals.spawn(Command::new(program).args(arguments));
                Some(
                    child
                        .map_err(|error| TraceError::Command { command: text::shown_path(program), error })?,
                )
            }
        };
        Ok(Self { child, ..Self::none() })
    }

    /// Looks at the signals that came. Gives the reason to end, if there is one.
    ///
    /// With a command the first signal to end is the command's: from a terminal it has got it already, from
    /// elsewhere it gets it here, and the trace goes on until it ends. The second ends the trace.
    pub(super) fn heed(&mut self, signals: &Signals) -> io::Result<Option<&'static str>> {
        while let Some(arrived) = signals.next()? {
            let Some(child) = &mut self.child else {
                if arrived.signal == Signal::SIGCHLD {
                    continue;
                }
                return Ok(Some("interrupted"));
            };
            if arrived.signal == Signal::SIGCHLD {
                self.status = child.try_wait()?;
                if self.status.is_some() {
                    return Ok(Some(if self.interrupted { "interrupted" } else { "command ended" }));
                }
            } else if self.interrupted {
                return Ok(Some("interrupted"));
            } else {
                self.interrupted = true;
                if arrived.by_process
                    && let Ok(pid) = i32::try_from(child.id())
                {
                    // Not reaped yet, so the number is still its own.
                    let _ = kill(Pid::from_raw(pid), arrived.signal);
                }
            }
        }
        Ok(None)
    }

    /// What became of it.
    pub(super) fn ended(&self) -> CommandEnd {
        match (&self.child, self.status) {
            (None, _) => CommandEnd::None,
            (Some(_), Some(status)) => CommandEnd::Ended(status),
            (Some(child), None) => CommandEnd::GoesOn(child.id()),
        }
    }
}
