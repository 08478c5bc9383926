//! One trace, from its first line to its last.

use super::command::{CommandEnd, TracedCommand};
use super::options::Options;
use super::pipeline::Pipeline;
use super::sink::{OutputEnd, Sink};
use super::source::Source;
use super::wait::wait;
use super::{SnapshotFn, TraceError, choose, identity};
use crate::kernel::signals::Signals;
use crate::model::{Body, StreamStart};
use std::borrow::Cow;
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd as _;
use std::time::Instant;

/// The result of a trace.
#[derive(Debug)]
pub struct Ended {
    /// The end for each sink, in their order.
    pub outputs: Vec<OutputEnd>,
    /// The outcome of the command.
    pub command: CommandEnd,
    /// The error that ended the trace, if any.
    pub error: Option<TraceError>,
}

/// Traces until one of the `options` or a signal ends it, or all `sinks` have failed.
///
/// `snapshot` takes a snapshot on a thread of its own; it is needed for the lifecycle of namespaces. An error means
/// that there is no stream; an error that ends a stream is in [`Ended::error`].
pub fn run(
    options: &Options,
    snapshot: &SnapshotFn,
    sinks: &mut [&mut dyn Sink],
) -> Result<Ended, TraceError> {
    // Until the stream begins, signals end the process: nothing has started, and loading can take a while.
    let mut source = choose::open(options)?;
    let signals = Signals::block()?;
    trace(options, source.as_mut(), &signals, snapshot, sinks)
}

/// The same, with an open source.
fn trace(
    options: &Options,
    source: &mut dyn Source,
    signals: &Signals,
    snapshot: &SnapshotFn,
    sinks: &mut [&mut dyn Sink],
) -> Result<Ended, TraceError> {
    let kernel = kernel_release()?;
    let description = source.description().clone();
    let pipeline = Pipeline::new(options, source, snapshot, sinks)?;
    let mut session = Session { options, signals, pipeline, command: TracedCommand::none() };
    session.pipeline.put(Body::Start(StreamStart {
        stream: session.pipeline.stream().to_owned(),
        version: env!("CARGO_PKG_VERSION"),
        kernel,
        host: identity::host(),
        namespaces: identity::initial_namespaces(),
        source: description,
    }));
    let result = session.run();
    let settled = session.command.settle();
    let result = result.and_then(|reason| settled.map(|()| reason));
    // Whatever the error: report what is left, then the end.
    let closed = session.pipeline.close();
    let (reason, error): (Cow<'static, str>, _) = match result.and_then(|reason| closed.map(|()| reason)) {
        Ok(reason) => (reason.into(), None),
        Err(error @ TraceError::Command { .. }) => ("command not started".into(), Some(error)),
        Err(error) => (format!("error: {error}").into(), Some(error)),
    };
    session.pipeline.end(&reason);
    // A second request to end skips the wait for the readers.
    let outputs = session.pipeline.finish(&reason, &mut || signals.end_is_requested());
    Ok(Ended { outputs, command: session.command.ended(), error })
}

/// A trace under way.
struct Session<'a> {
    options: &'a Options,
    signals: &'a Signals,
    pipeline: Pipeline<'a>,
    command: TracedCommand,
}

impl Session<'_> {
    /// Starts the command, reports events, and returns the reason to end.
    fn run(&mut self) -> Result<&'static str, TraceError> {
        let deadline = self.options.duration.and_then(|duration| Instant::now().checked_add(duration));
        self.pipeline.open()?;
        let mut started = false;
        loop {
            // The command waits for the opening snapshot.
            if !started && !self.pipeline.is_opening() {
                started = true;
                self.start_command()?;
            }
            self.pipeline.advance()?;
            if let Some(reason) = self.pipeline.is_over() {
                return Ok(reason);
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Ok("duration");
            }
            if let Some(reason) = self.command.handle_signals(self.signals)? {
                return Ok(reason);
            }
            if started || self.pipeline.is_opening() {
                self.wait(deadline)?;
            }
        }
    }

    fn start_command(&mut self) -> Result<(), TraceError> {
        self.pipeline.settle_outputs();
        // Without a reader, run nothing.
        let program: &[OsString] =
            if self.pipeline.is_over().is_some() { &[] } else { &self.options.command };
        self.command = TracedCommand::start(program, self.signals)?;
        Ok(())
    }

    /// Waits until there is something to do, at most until the `deadline`.
    fn wait(&mut self, deadline: Option<Instant>) -> io::Result<()> {
        let mut readable = self.pipeline.descriptors();
        readable.push(self.signals.as_fd());
        readable.extend(self.command.report());
        let until = deadline.into_iter().chain(self.pipeline.due()).min();
        let gone = wait(&readable, &self.pipeline.outputs(), until)?;
        self.pipeline.clear_news();
        self.pipeline.readers_gone(&gone);
        Ok(())
    }
}

fn kernel_release() -> Result<String, TraceError> {
    // Not from /proc, which may be mounted without its `sys` (subset=pid).
    let name = nix::sys::utsname::uname().map_err(io::Error::from)?;
    Ok(name.release().to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests;
