//! One trace, from its first line to its last.

use super::command::{CommandEnd, TracedCommand};
use super::options::Options;
use super::sink::Sink;
use super::source::Source;
use super::stream::{BATCH, Stream};
use super::{SnapshotFn, TraceError, choose, identity};
use crate::kernel::signals::Signals;
use crate::model::{Body, StreamEnd, StreamStart};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

/// The result of a trace.
#[derive(Debug)]
pub struct Ended {
    /// The reason for the end, and the totals.
    pub end: StreamEnd,
    /// The outcome of the command.
    pub command: CommandEnd,
    /// The error because of which the last lines did not reach the output, if any.
    pub output: Option<io::Error>,
    /// The error that ended the trace, if any.
    pub error: Option<TraceError>,
}

/// Traces until one of the `options` or a signal ends it.
///
/// `snapshot` takes a snapshot on a thread of its own; it is needed for the lifecycle of namespaces. An error means
/// that there is no stream; an error that ends a stream is in [`Ended::error`].
pub fn run(options: &Options, snapshot: &SnapshotFn, sink: &mut dyn Sink) -> Result<Ended, TraceError> {
    // Until the stream begins, signals end the process: nothing has started, and loading can take a while.
    let mut source = choose::open(options)?;
    let signals = Signals::block()?;
    trace(options, source.as_mut(), &signals, snapshot, sink)
}

/// The same, with an open source.
fn trace(
    options: &Options,
    source: &mut dyn Source,
    signals: &Signals,
    snapshot: &SnapshotFn,
    sink: &mut dyn Sink,
) -> Result<Ended, TraceError> {
    let nsfs_dev = std::fs::metadata("/proc/self/ns/pid").map_err(TraceError::Proc)?.dev();
    let kernel = kernel_release()?;
    let mut stream = Stream::new(options, source, snapshot, nsfs_dev, sink)?;
    stream.put_now(Body::Start(StreamStart {
        stream: stream.id().to_owned(),
        version: env!("CARGO_PKG_VERSION"),
        kernel,
        host: identity::host(),
        namespaces: identity::initial_namespaces(),
        source: source.description().clone(),
    }));
    let mut command = TracedCommand::none();
    let result = trace_loop(options, source, signals, &mut stream, &mut command);
    let settled = command.settle();
    let result = result.and_then(|reason| settled.map(|()| reason));
    // Whatever the error: report what is left, then the end.
    let closed = stream.close(source);
    let (reason, error) = match result.and_then(|reason| closed.map(|()| reason)) {
        Ok(reason) => (reason.into(), None),
        Err(error @ TraceError::Command { .. }) => ("command not started".into(), Some(error)),
        Err(error) => (format!("error: {error}").into(), Some(error)),
    };
    let end = stream.end(reason);
    // Meanwhile the reader has time to take the last lines.
    source.stop();
    // A second request to end skips the wait for the reader.
    let end = stream.finish(end, &mut || signals.end_is_requested());
    Ok(Ended { end, command: command.ended(), output: stream.into_failure(), error })
}

/// Starts the `command`, reports events, and returns the reason to end.
fn trace_loop(
    options: &Options,
    source: &mut dyn Source,
    signals: &Signals,
    stream: &mut Stream<'_>,
    command: &mut TracedCommand,
) -> Result<&'static str, TraceError> {
    let deadline = options.duration.and_then(|duration| Instant::now().checked_add(duration));
    // The current backlog and as much again, for what arrives while it is read.
    let most = 2 * source.room().max(BATCH);
    stream.open()?;
    let mut started = false;
    loop {
        // Start the command only after the opening snapshot.
        if !started && !stream.is_opening() {
            started = true;
            // Without a reader, run nothing.
            stream.settle_output();
            let program: &[OsString] = if stream.is_over().is_some() { &[] } else { &options.command };
            *command = TracedCommand::start(program, signals)?;
        }
        let taken = stream.drain(source, BATCH)?;
        stream.report_losses(source.losses()?);
        stream.resync(source, most)?;
        stream.resume();
        stream.flush();
        if let Some(reason) = stream.is_over() {
            return Ok(reason);
        }
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Ok("duration");
        }
        if let Some(reason) = command.handle_signals(signals)? {
            return Ok(reason);
        }
        if !started && !stream.is_opening() {
            continue;
        }
        // While records are held back, read new ones together with them: one wake-up for many records, as long as the
        // buffer has room for many more.
        let wait_for_source = !stream.holds_back() && (!stream.is_holding() || taken * 8 > source.room());
        let until = deadline.into_iter().chain(stream.due()).min();
        if wait(source, wait_for_source, (signals, command), stream, until)? {
            stream.fail(io::ErrorKind::BrokenPipe.into());
        }
    }
}

/// Waits for the source, if `wait_for_source`, for a signal, the deadline, news of the output, of a snapshot or of the
/// command, or for the reader to go away: then returns true.
fn wait(
    source: &dyn Source,
    wait_for_source: bool,
    (signals, command): (&Signals, &TracedCommand),
    stream: &Stream<'_>,
    deadline: Option<Instant>,
) -> io::Result<bool> {
    let sink = stream.sink();
    let output = sink.descriptor();
    let mut fds =
        vec![PollFd::new(output, PollFlags::empty()), PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    let news = [sink.news(), stream.news(), command.report()];
    fds.extend(news.into_iter().flatten().map(|news| PollFd::new(news, PollFlags::POLLIN)));
    let descriptors = if wait_for_source { source.descriptors() } else { Vec::new() };
    fds.extend(descriptors.into_iter().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
    let soonest = deadline.into_iter().chain(source.due()).min();
    let timeout = soonest.map_or(PollTimeout::NONE, |soonest| {
        // Round up so that the last millisecond is not a busy loop.
        let left = soonest.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
    });
    match poll(&mut fds, timeout) {
        Ok(_) => {
            // Whatever the news is: it is handled before the next wait.
            sink.clear_news();
            Ok(fds[0].revents().is_some_and(|now| now.intersects(PollFlags::POLLERR | PollFlags::POLLHUP)))
        }
        Err(Errno::EINTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn kernel_release() -> Result<String, TraceError> {
    // Not from /proc, which may be mounted without its `sys` (subset=pid).
    let name = nix::sys::utsname::uname().map_err(io::Error::from)?;
    Ok(name.release().to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests;
