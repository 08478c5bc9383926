//! One trace from its first line to its last.

use super::TraceError;
use super::attach::attach;
use super::decode::{self, Told};
use super::filter::Filter;
use super::hooks::Call;
use super::lives::Lives;
use super::losses::Losses;
use super::plan::Choice;
use crate::kernel::clock::BootClock;
use crate::kernel::ring::Ring;
use crate::kernel::signals::Signals;
use crate::model::{Body, Event, Line, StreamEnd, StreamStart, Totals};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use nsprobe_ebpf::{Config, config};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant, SystemTime};

/// What to trace, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own, and they combine")]
pub struct Options {
    /// The hooks.
    pub hooks: Choice,
    /// The calls.
    pub calls: Vec<Call>,
    /// Every new task, not only those in a new namespace.
    pub every_clone: bool,
    /// Calls of setns and unshare too that succeed and change nothing.
    pub unchanged: bool,
    /// When namespaces are made and end.
    pub lives: bool,
    /// 32-bit system calls, even where that means to watch every system call of the machine.
    pub compat: bool,
    /// Size of the ring buffer; made a power of two and a multiple of the page size.
    pub ring_bytes: u32,
    /// At most this long.
    pub duration: Option<Duration>,
    /// At most so many events.
    pub count: Option<u64>,
    /// Only what this command and its descendants do, and until it ends; empty for the whole machine.
    pub command: Vec<OsString>,
}

/// Where the lines go.
pub trait Sink {
    /// Whether it wants an event. One that it does not want gets no line, and does not count.
    fn wants(&mut self, event: &Event) -> io::Result<bool>;
    /// Takes one.
    fn line(&mut self, line: &Line) -> io::Result<()>;
    /// Brings what it has taken to the reader: no more is coming for now.
    fn flush(&mut self) -> io::Result<()>;
    /// What shows by `POLLERR` that there is no reader any more.
    fn descriptor(&self) -> BorrowedFd<'_>;
}

/// How a trace ended.
#[derive(Debug)]
pub struct Ended {
    /// Why, and what was counted.
    pub end: StreamEnd,
    /// The command, and how it ended.
    pub command: CommandEnd,
    /// Why the last lines did not reach the output, if they did not.
    pub output: Option<io::Error>,
}

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

/// Records taken at once before signals and limits are looked at again.
const BATCH: usize = 512;

/// Traces until one of the `options` or a signal says to end.
pub fn run(options: &Options, sink: &mut dyn Sink) -> Result<Ended, TraceError> {
    let signals = Signals::hold()?;
    let follow = !options.command.is_empty();
    let own_pid_ns = std::fs::metadata("/proc/self/ns/pid").map_err(TraceError::Proc)?;
    let mut flags = 0;
    if options.every_clone {
        flags |= config::EVERY_CLONE;
    }
    if options.lives {
        flags |= config::LIVES;
    }
    if options.unchanged {
        flags |= config::UNCHANGED;
    }
    if follow {
        flags |= config::FOLLOW;
    }
    let settings = Config {
        flags,
        follow_pid: std::process::id(),
        follow_pid_ns: u32::try_from(own_pid_ns.ino()).map_err(io::Error::other)?,
    };
    let mut attached = attach(settings, options.hooks, &options.calls, options.compat, options.ring_bytes)?;
    let mut ring = attached.probe.take_ring().map_err(TraceError::Open)?;
    let counters = attached.probe.take_counters().map_err(TraceError::Open)?;
    let clock = BootClock::read()?;
    let has_cgroups = has_cgroups()?;
    if !has_cgroups {
        attached.hooks.missing.push("control groups: no hierarchy of version 2 is mounted".to_owned());
    }
    let mut stream = Stream {
        sink,
        clock,
        filter: Filter::new(&options.calls),
        nsfs_dev: own_pid_ns.dev(),
        has_cgroups,
        lives: options.lives.then(Lives::default),
        limit: options.count.unwrap_or(u64::MAX),
        seq: 0,
        events: 0,
        losses: Losses::default(),
        failure: None,
    };
    stream.put_now(Body::Start(StreamStart {
        version: env!("CARGO_PKG_VERSION"),
        kernel: kernel_release()?,
        hooks: attached.hooks.clone(),
    }));
    let deadline = options.duration.and_then(|duration| Instant::now().checked_add(duration));
    // With nobody to tell, nothing is run.
    stream.flush();
    let program: &[OsString] = if stream.failure.is_some() { &[] } else { &options.command };
    let mut command = match Running::start(program, &signals) {
        Ok(command) => command,
        Err(error) => {
            stream.end("command not started");
            stream.flush();
            return Err(error);
        }
    };
    let reason = loop {
        stream.drain(&mut ring, BATCH);
        stream.losses.count(&counters)?;
        stream.tell_losses();
        stream.flush();
        if let Some(reason) = stream.is_over() {
            break reason;
        }
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            break "duration";
        }
        if let Some(reason) = command.heed(&signals)? {
            break reason;
        }
        if wait(&ring, &signals, stream.sink.descriptor(), deadline)? {
            stream.fail(io::ErrorKind::BrokenPipe.into());
        }
    };
    // Everything that happened before the end is in the ring by now; what comes later is not waited for.
    let capacity = options.ring_bytes.next_power_of_two() as usize / size_of::<nsprobe_ebpf::Freed>() + 1;
    stream.drain(&mut ring, capacity);
    stream.losses.count(&counters)?;
    stream.losses.count_recursion(&attached.probe);
    stream.tell_losses();
    let end = stream.end(reason);
    stream.flush();
    Ok(Ended { end, command: command.ended(), output: stream.failure })
}

/// Waits until there is a record or a signal, the deadline, or nobody reads `output` any more: then true.
fn wait(
    ring: &Ring,
    signals: &Signals,
    output: BorrowedFd<'_>,
    deadline: Option<Instant>,
) -> io::Result<bool> {
    let mut fds = [
        PollFd::new(ring.as_fd(), PollFlags::POLLIN),
        PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        PollFd::new(output, PollFlags::empty()),
    ];
    let timeout = deadline.map_or(PollTimeout::NONE, |deadline| {
        // Up, lest the last millisecond is spent turning.
        let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
    });
    match poll(&mut fds, timeout) {
        Ok(_) => {
            Ok(fds[2].revents().is_some_and(|now| now.intersects(PollFlags::POLLERR | PollFlags::POLLHUP)))
        }
        Err(Errno::EINTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The lines on their way to the output.
struct Stream<'a> {
    sink: &'a mut dyn Sink,
    clock: BootClock,
    filter: Filter,
    nsfs_dev: u64,
    /// Whether there is a hierarchy of version 2; when not, every task is at its root, which nobody can see.
    has_cgroups: bool,
    /// The namespaces told of, when their lives are asked for.
    lives: Option<Lives>,
    /// Events after which it is over.
    limit: u64,
    seq: u64,
    events: u64,
    losses: Losses,
    /// Why there is no output any more.
    failure: Option<io::Error>,
}

impl Stream<'_> {
    /// Takes up to `most` records from the ring, unless the stream is over before.
    fn drain(&mut self, ring: &mut Ring, most: usize) {
        for _ in 0..most {
            if self.is_over().is_some() {
                return;
            }
            match ring.next(|record| decode::record(record, self.nsfs_dev)) {
                None => return,
                Some(Err(_)) => self.losses.undecoded(),
                Some(Ok(Told::Event(event))) => self.event(*event),
                Some(Ok(Told::Freed(ino, since_boot))) => {
                    if let Some(destroyed) = self.lives.as_mut().and_then(|lives| lives.end(ino, since_boot))
                    {
                        self.put(self.clock.wall(since_boot), Body::Destroyed(destroyed));
                    }
                }
            }
        }
    }

    fn event(&mut self, mut event: Event) {
        if !self.filter.admits(&event) {
            return;
        }
        if !self.has_cgroups {
            event.process.cgroup = None;
        }
        match self.sink.wants(&event) {
            Ok(true) => {
                let time = self.clock.wall(event.since_boot);
                let created = self.lives.as_mut().map(|lives| lives.take(&event)).unwrap_or_default();
                self.put(time, Body::Event(Box::new(event)));
                self.events += u64::from(self.failure.is_none());
                for created in created {
                    self.put(time, Body::Created(created));
                }
            }
            Ok(false) => {}
            Err(error) => self.fail(error),
        }
    }

    fn is_over(&self) -> Option<&'static str> {
        if self.failure.is_some() {
            Some("output closed")
        } else {
            (self.events >= self.limit).then_some("count")
        }
    }

    fn tell_losses(&mut self) {
        for lost in self.losses.news() {
            self.put_now(Body::Lost(lost));
        }
    }

    fn end(&mut self, reason: &'static str) -> StreamEnd {
        let totals = Totals { events: self.events, lost: self.losses.totals() };
        let end = StreamEnd { reason, totals };
        self.put_now(Body::End(end.clone()));
        end
    }

    fn put_now(&mut self, body: Body) {
        match self.clock.now() {
            Ok(time) => self.put(time, body),
            Err(error) => self.fail(error),
        }
    }

    fn put(&mut self, time: SystemTime, body: Body) {
        if self.failure.is_none() {
            let line = Line { seq: self.seq, time, body };
            self.seq += 1;
            if let Err(error) = self.sink.line(&line) {
                self.fail(error);
            }
        }
    }

    fn flush(&mut self) {
        if self.failure.is_none()
            && let Err(error) = self.sink.flush()
        {
            self.fail(error);
        }
    }

    fn fail(&mut self, error: io::Error) {
        self.failure.get_or_insert(error);
    }
}

/// The command whose descendants are traced, if there is one.
struct Running {
    child: Option<Child>,
    status: Option<ExitStatus>,
    /// A signal to end came, and the command has been left to act on it.
    interrupted: bool,
}

impl Running {
    fn start(command: &[OsString], signals: &Signals) -> Result<Self, TraceError> {
        let child =
            match command {
                [] => None,
                [program, arguments @ ..] => {
                    let child = signals.spawn(Command::new(program).args(arguments));
                    Some(child.map_err(|error| TraceError::Command {
                        command: program.display().to_string(),
                        error,
                    })?)
                }
            };
        Ok(Self { child, status: None, interrupted: false })
    }

    /// Looks at the signals that came. Gives the reason to end, if there is one.
    ///
    /// With a command the first signal to end is the command's: from a terminal it has got it already, from
    /// elsewhere it gets it here, and the trace goes on until it ends. The second ends the trace.
    fn heed(&mut self, signals: &Signals) -> io::Result<Option<&'static str>> {
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

    fn ended(&self) -> CommandEnd {
        match (&self.child, self.status) {
            (None, _) => CommandEnd::None,
            (Some(_), Some(status)) => CommandEnd::Ended(status),
            (Some(child), None) => CommandEnd::GoesOn(child.id()),
        }
    }
}

/// Whether a hierarchy of control groups of version 2 has ever been mounted: cgroups(7).
fn has_cgroups() -> Result<bool, TraceError> {
    let text = std::fs::read("/proc/self/cgroup").map_err(TraceError::Proc)?;
    Ok(text.split(|&byte| byte == b'\n').any(|line| line.starts_with(b"0::")))
}

fn kernel_release() -> Result<String, TraceError> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").map_err(TraceError::Proc)?;
    Ok(release.trim_end().to_owned())
}
