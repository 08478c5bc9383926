//! Lines on their way to a descriptor that may stand still: a bounded queue, and a thread that writes.
//!
//! Whoever hands over lines never waits for a reader. What a queue has no room for is the caller's to count; what has not
//! been written when the queue is given up is counted here, line by line.

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

/// Most bytes that are written at once, but to files: a pipe takes these whole or not at all (PIPE_BUF), so it is known
/// which lines a reader can get.
const PIECE: usize = 4096;

/// The same of files, which take everything or fail.
const FILE_PIECE: usize = 64 << 10;

/// For so long a queue that makes no progress is waited for at the end.
const STILL: Duration = Duration::from_millis(300);

/// The same of a file: nobody else is to read first, but a disk may be busy.
const FILE_STILL: Duration = Duration::from_millis(500);

/// For so long one that makes progress is.
const LONGEST: Duration = Duration::from_secs(5);

/// How often a queue that is waited for is looked at.
const LOOK: Duration = Duration::from_millis(2);

/// Whole lines, and after which bytes a line ends that counts.
#[derive(Default)]
struct Chunk {
    bytes: Vec<u8>,
    ends: VecDeque<usize>,
}

/// How far a queue is from its end.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum End {
    /// More may come.
    #[default]
    Open,
    /// Nothing more comes, and the file is to be closed.
    Closing,
    /// It has been.
    Closed,
    /// Nothing more is to be written.
    GivenUp,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Chunk>,
    /// Bytes in the queue, those of the chunk that is being written included.
    bytes: usize,
    /// Lines that count and have been written.
    written: u64,
    /// When bytes were written last.
    moved: Option<Instant>,
    /// Why nothing more can be written.
    error: Option<io::Error>,
    /// Somebody waits for room.
    awaited: bool,
    end: End,
}

impl State {
    /// Whether nothing is left to be done for now.
    fn is_done(&self) -> bool {
        self.bytes == 0 && self.end != End::Closing
    }
}

struct Shared {
    state: Mutex<State>,
    /// There is something to write, or nothing more comes.
    work: Condvar,
    /// Readable when there is room again that is waited for, or an error.
    news: EventFd,
    /// Bytes that the queue holds at most.
    room: usize,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is so much room that it is worth going on after there was none.
    const fn is_roomy(&self, bytes: usize) -> bool {
        bytes <= self.room / 2
    }
}

/// The queue, at the end where lines are handed over.
pub(super) struct Feed {
    /// What is written to; `None`: a child process has it.
    file: Option<File>,
    shared: Arc<Shared>,
    chunk: Chunk,
    pushed: u64,
    /// When lines were handed over last.
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

    /// Bytes that nobody has written yet.
    pub(super) fn held(&self) -> usize {
        self.shared.lock().bytes + self.chunk.bytes.len()
    }

    /// Whether there is so much room that it is worth going on after there was none. If not, [`Feed::news`] says when.
    pub(super) fn has_room(&self) -> bool {
        let mut state = self.shared.lock();
        state.awaited = !self.shared.is_roomy(state.bytes + self.chunk.bytes.len());
        !state.awaited
    }

    /// Takes a line; false: there is no room for it, not even with this `more`. Lines that count are those of which it
    /// matters how many were written.
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

    /// Hands over what it has taken. The error says why nothing of that can be written.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let mut state = self.shared.lock();
        if let Some(error) = state.error.take() {
            // For whoever asks next.
            state.error = Some(copy(&error));
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

    /// Lines that count and have not been written.
    pub(super) fn unwritten(&self) -> u64 {
        self.pushed - self.shared.lock().written
    }

    /// Waits until all has been written, for as long as the reader takes something, or until `hurry`; but not long,
    /// counted from when the last line was handed over. Then nothing more is written. The error says why something has not been.
    pub(super) fn finish(&mut self, hurry: &mut dyn FnMut() -> bool) -> io::Result<()> {
        let flushed = self.flush();
        if self.file.is_none() {
            let mut state = self.shared.lock();
            state.end = End::Closing;
            if state.bytes == 0 {
                // Closing it is all that is left, and begins now.
                state.moved = Some(Instant::now());
            }
            self.shared.work.notify_one();
        }
        let (still, why) = match self.file {
            Some(_) => (STILL, "nobody reads it"),
            None => (FILE_STILL, "a file system's server does not answer"),
        };
        let result = flushed.and_then(|()| self.wait_since(self.flushed, still, LONGEST, hurry));
        let mut state = self.shared.lock();
        let done = state.is_done();
        state.end = End::GivenUp;
        self.shared.work.notify_one();
        if result? || done {
            return Ok(());
        }
        let why = format!("{why}: what was left of the stream was given up");
        Err(io::Error::new(io::ErrorKind::TimedOut, why))
    }

    /// Waits until all has been written: then true. For `still` without progress, for `longest` at most.
    pub(super) fn wait(
        &self,
        still: Duration,
        longest: Duration,
        hurry: &mut dyn FnMut() -> bool,
    ) -> io::Result<bool> {
        self.wait_since(Instant::now(), still, longest, hurry)
    }

    /// The same, where both are counted from when it `began`.
    fn wait_since(
        &self,
        began: Instant,
        still: Duration,
        longest: Duration,
        hurry: &mut dyn FnMut() -> bool,
    ) -> io::Result<bool> {
        let mut moved = began;
        loop {
            let now = Instant::now();
            {
                let state = self.shared.lock();
                if let Some(error) = &state.error {
                    return Err(copy(error));
                }
                if state.is_done() {
                    return Ok(true);
                }
                moved = state.moved.map_or(moved, |last| last.max(moved));
            }
            if now.saturating_duration_since(moved) >= still || now - began >= longest || hurry() {
                return Ok(false);
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Readable when there is room that [`Feed::has_room`] did not find, or an error.
    pub(super) fn news(&self) -> BorrowedFd<'_> {
        self.shared.news.as_fd()
    }

    /// Takes notice of the news.
    pub(super) fn heed(&self) {
        // With nothing to read there is none.
        let _ = self.shared.news.read();
    }
}

impl AsFd for Feed {
    /// What shows that there is no reader any more.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_ref().map_or_else(|| self.news(), AsFd::as_fd)
    }
}

fn copy(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

/// Writes what comes into the queue, until nothing more comes.
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
                    if state.awaited && shared.is_roomy(state.bytes) {
                        state.awaited = false;
                        let _ = shared.news.write(1);
                    }
                    while chunk.ends.front().is_some_and(|&end| end <= done) {
                        chunk.ends.pop_front();
                        state.written += 1;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let closed = state.end == End::GivenUp;
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
            if state.end == End::GivenUp {
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

/// One write(2), which may take a part.
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

/// Waits for something to write; `None`: nothing more comes.
fn next(shared: &Shared) -> Option<Chunk> {
    let mut state = shared.lock();
    loop {
        if state.end == End::GivenUp {
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

/// The whole lines at the beginning of `bytes` that are no more than `most` bytes, or so much of the first line.
fn piece(bytes: &[u8], most: usize) -> &[u8] {
    if bytes.len() <= most {
        return bytes;
    }
    let end = bytes[..most].iter().rposition(|&byte| byte == b'\n').map_or(most, |newline| newline + 1);
    &bytes[..end]
}

#[cfg(test)]
mod tests;
