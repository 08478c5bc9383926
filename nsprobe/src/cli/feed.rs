//! Lines for a descriptor whose reader may stall: a bounded queue, and a thread that writes.
//!
//! The caller that adds lines never waits for a reader. Lines that do not fit into the queue are the caller's to
//! count; lines not written when the queue is abandoned are counted here.

use crate::kernel::destination::Destination;
use crate::kernel::signals;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The maximum size of a write, except to files: a pipe takes these bytes completely or not at all (PIPE_BUF), so it
/// is known which lines a reader can get.
const PIECE: usize = 4096;

/// The same for files, which take everything or fail.
const FILE_PIECE: usize = 64 << 10;

/// The time that a queue without progress is waited for at the end.
const STALL_LIMIT: Duration = Duration::from_millis(300);

/// The same for a file: it needs no reader, but a disk may be busy.
const FILE_STALL_LIMIT: Duration = Duration::from_millis(500);

/// The time that a queue with progress is waited for.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// The interval at which a queue that is waited for is checked.
const CHECK_INTERVAL: Duration = Duration::from_millis(2);

/// Whole lines, and the offsets at which the counted ones end.
#[derive(Default)]
struct Chunk {
    bytes: Vec<u8>,
    ends: VecDeque<usize>,
}

/// The state of a queue with respect to its end.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum End {
    /// More may come.
    #[default]
    Open,
    /// Nothing more comes, and the file has to be closed.
    Closing,
    /// The file has been closed.
    Closed,
    /// Nothing more is to be written.
    Abandoned,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Chunk>,
    /// Bytes in the queue, including those of the chunk that is being written.
    bytes: usize,
    /// Counted lines that have been written.
    written: u64,
    /// The time of the last write.
    moved: Option<Instant>,
    /// The reason why nothing more can be written.
    error: Option<io::Error>,
    /// Set if somebody waits for room.
    has_waiter: bool,
    end: End,
}

impl State {
    /// True if nothing is left to be done for now.
    fn is_done(&self) -> bool {
        self.bytes == 0 && self.end != End::Closing
    }
}

struct Shared {
    state: Mutex<State>,
    /// Notified when there is something to write, or nothing more comes.
    work: Condvar,
    /// Readable when there is room for a waiting caller, or an error.
    news: EventFd,
    /// Maximum number of bytes in the queue.
    room: usize,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if there is enough room to go on after the queue was full.
    const fn is_roomy(&self, bytes: usize) -> bool {
        bytes <= self.room / 2
    }
}

/// The queue, at the end where lines are added.
pub(super) struct Feed {
    /// The file; `None` if a child process has it.
    file: Option<File>,
    shared: Arc<Shared>,
    chunk: Chunk,
    pushed: u64,
    /// The time at which lines were queued last.
    flushed: Instant,
}

impl Feed {
    /// A queue of `room` bytes to `destination`.
    pub(super) fn new(mut destination: Destination, room: usize) -> io::Result<Self> {
        let news = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        let shared = Arc::new(Shared { state: Mutex::default(), work: Condvar::new(), news, room });
        let file = match &destination {
            Destination::File(file) => Some(file.try_clone()?),
            Destination::Relayed(_) => None,
        };
        let of_writer = Arc::clone(&shared);
        signals::spawn_without(std::thread::Builder::new().name("writer".to_owned()), move || {
            write(&mut destination, &of_writer);
        })?;
        Ok(Self { file, shared, chunk: Chunk::default(), pushed: 0, flushed: Instant::now() })
    }

    /// Bytes that are not yet written.
    pub(super) fn held(&self) -> usize {
        self.shared.lock().bytes + self.chunk.bytes.len()
    }

    /// True if there is enough room to go on after the queue was full. If not, [`Feed::news`] becomes readable when
    /// there is.
    pub(super) fn has_room(&self) -> bool {
        let mut state = self.shared.lock();
        state.has_waiter = !self.shared.is_roomy(state.bytes + self.chunk.bytes.len());
        !state.has_waiter
    }

    /// Takes a line; false if there is no room for it, even with this `more`. Set `counts` for lines of which the
    /// number written matters.
    pub(super) fn push(&mut self, line: &[u8], counts: bool, more: usize) -> bool {
        if self.held() + line.len() > self.shared.room + more {
            return false;
        }
        self.chunk.bytes.extend_from_slice(line);
        if counts {
            self.chunk.ends.push_back(self.chunk.bytes.len());
            self.pushed += 1;
        }
        true
    }

    /// Queues the lines it has taken. The error is the reason why none of them can be written.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let mut state = self.shared.lock();
        if let Some(error) = state.error.take() {
            // Kept for the next caller.
            state.error = Some(copy_error(&error));
            return Err(error);
        }
        if !self.chunk.bytes.is_empty() {
            let chunk = std::mem::take(&mut self.chunk);
            state.bytes += chunk.bytes.len();
            state.queue.push_back(chunk);
            self.shared.work.notify_one();
            self.flushed = Instant::now();
        }
        Ok(())
    }

    /// Counted lines that have not been written.
    pub(super) fn unwritten(&self) -> u64 {
        self.pushed - self.shared.lock().written
    }

    /// Waits until everything has been written, as long as the reader makes progress or until `hurry`, within limits
    /// counted from when the last line was queued. Nothing is written after that. The error is the reason why
    /// something has not been written.
    pub(super) fn finish(&mut self, hurry: &mut dyn FnMut() -> bool) -> io::Result<()> {
        let flushed = self.flush();
        if self.file.is_none() {
            let mut state = self.shared.lock();
            state.end = End::Closing;
            if state.bytes == 0 {
                // Only closing is left, and begins now.
                state.moved = Some(Instant::now());
            }
            self.shared.work.notify_one();
        }
        let (stall_limit, why) = match self.file {
            Some(_) => (STALL_LIMIT, "nobody reads it"),
            None => (FILE_STALL_LIMIT, "a file system's server does not answer"),
        };
        let result = flushed.and_then(|()| self.wait_since(self.flushed, stall_limit, MAX_WAIT, hurry));
        let mut state = self.shared.lock();
        let done = state.is_done();
        state.end = End::Abandoned;
        self.shared.work.notify_one();
        if result? || done {
            return Ok(());
        }
        let still = state.moved.map_or(self.flushed, |last| last.max(self.flushed)).elapsed();
        let waited = if still >= stall_limit {
            format!("{why} (no progress in {:.2} s)", still.as_secs_f64())
        } else {
            // It was slow, or nsprobe was told not to wait.
            format!("{why} in time (waited {:.2} s)", self.flushed.elapsed().as_secs_f64())
        };
        let why = format!("{waited}: the rest of the stream was discarded");
        Err(io::Error::new(io::ErrorKind::TimedOut, why))
    }

    /// Waits until everything has been written, then returns true. Waits at most `stall_limit` without progress and
    /// `max_wait` in all.
    pub(super) fn wait(
        &self,
        stall_limit: Duration,
        max_wait: Duration,
        hurry: &mut dyn FnMut() -> bool,
    ) -> io::Result<bool> {
        self.wait_since(Instant::now(), stall_limit, max_wait, hurry)
    }

    /// The same, with both counted from `began`.
    fn wait_since(
        &self,
        began: Instant,
        stall_limit: Duration,
        max_wait: Duration,
        hurry: &mut dyn FnMut() -> bool,
    ) -> io::Result<bool> {
        let mut moved = began;
        loop {
            let now = Instant::now();
            {
                let state = self.shared.lock();
                if let Some(error) = &state.error {
                    return Err(copy_error(error));
                }
                if state.is_done() {
                    return Ok(true);
                }
                moved = state.moved.map_or(moved, |last| last.max(moved));
            }
            if now.saturating_duration_since(moved) >= stall_limit || now - began >= max_wait || hurry() {
                return Ok(false);
            }
            std::thread::sleep(CHECK_INTERVAL);
        }
    }

    /// Readable when there is room that [`Feed::has_room`] did not find, or an error.
    pub(super) fn news(&self) -> BorrowedFd<'_> {
        self.shared.news.as_fd()
    }

    /// Clears the news.
    pub(super) fn clear_news(&self) {
        // Fails if it was not readable.
        let _ = self.shared.news.read();
    }
}

impl AsFd for Feed {
    /// The descriptor that shows when the reader has gone.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_ref().map_or_else(|| self.news(), AsFd::as_fd)
    }
}

fn copy_error(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

/// Writes the chunks of the queue until nothing more comes.
fn write(destination: &mut Destination, shared: &Shared) {
    let is_file = match destination {
        Destination::File(file) => file.metadata().is_ok_and(|metadata| {
            let kind = metadata.file_type();
            !kind.is_fifo() && !kind.is_socket() && !kind.is_char_device()
        }),
        Destination::Relayed(_) => true,
    };
    let most = if is_file { FILE_PIECE } else { PIECE };
    while let Some(mut chunk) = next(shared) {
        let mut done = 0;
        while done < chunk.bytes.len() {
            let result = write_once(destination, piece(&chunk.bytes[done..], most));
            let mut state = shared.lock();
            match result {
                Ok(count) => {
                    done += count;
                    state.bytes -= count;
                    state.moved = Some(Instant::now());
                    if state.has_waiter && shared.is_roomy(state.bytes) {
                        state.has_waiter = false;
                        let _ = shared.news.write(1);
                    }
                    while chunk.ends.front().is_some_and(|&end| end <= done) {
                        chunk.ends.pop_front();
                        state.written += 1;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let closed = state.end == End::Abandoned;
                    drop(state);
                    if closed {
                        return;
                    }
                    if let Destination::File(file) = &*destination {
                        let mut ready = [PollFd::new(file.as_fd(), PollFlags::POLLOUT)];
                        let _ = poll(&mut ready, PollTimeout::from(100_u8));
                    }
                    continue;
                }
                Err(error) => {
                    state.error = Some(error);
                    let _ = shared.news.write(1);
                    return;
                }
            }
            if state.end == End::Abandoned {
                return;
            }
        }
    }
    let Destination::Relayed(file) = destination else { return };
    let result = file.close();
    let mut state = shared.lock();
    state.end = End::Closed;
    if let Err(error) = result {
        state.error = Some(error);
        let _ = shared.news.write(1);
    }
}

/// One write(2), which may be partial.
fn write_once(destination: &mut Destination, bytes: &[u8]) -> io::Result<usize> {
    let written = match destination {
        Destination::File(file) => file.write(bytes),
        Destination::Relayed(file) => file.write(bytes),
    };
    match written {
        Ok(0) => Err(io::ErrorKind::WriteZero.into()),
        result => result,
    }
}

/// Waits for something to write; `None` if nothing more comes.
fn next(shared: &Shared) -> Option<Chunk> {
    let mut state = shared.lock();
    loop {
        if state.end == End::Abandoned {
            return None;
        }
        if let Some(chunk) = state.queue.pop_front() {
            return Some(chunk);
        }
        if state.end == End::Closing {
            return None;
        }
        state = shared.work.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
}

/// The whole lines at the beginning of `bytes`, at most `most` bytes; or the first `most` bytes of a longer line.
fn piece(bytes: &[u8], most: usize) -> &[u8] {
    if bytes.len() <= most {
        return bytes;
    }
    let end = bytes[..most].iter().rposition(|&byte| byte == b'\n').map_or(most, |newline| newline + 1);
    &bytes[..end]
}

#[cfg(test)]
mod tests;
