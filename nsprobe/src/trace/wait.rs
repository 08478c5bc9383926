//! Waits for whatever a trace waits for.

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

/// Waits until something can be read from one of `readable`, the reader of one of `outputs` has gone away, a signal
/// arrives, or the `deadline`. Returns the positions of the outputs without a reader.
pub(super) fn wait(
    readable: &[BorrowedFd<'_>],
    outputs: &[BorrowedFd<'_>],
    deadline: Option<Instant>,
) -> io::Result<Vec<usize>> {
    let outputs = outputs.iter().map(|&output| PollFd::new(output, PollFlags::empty()));
    let gone = outputs.len();
    let readable = readable.iter().map(|&descriptor| PollFd::new(descriptor, PollFlags::POLLIN));
    let mut all: Vec<PollFd<'_>> = outputs.chain(readable).collect();
    let timeout = deadline.map_or(PollTimeout::NONE, |deadline| {
        // Round up so that the last millisecond is not a busy loop.
        let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
    });
    match poll(&mut all, timeout) {
        Ok(_) => {}
        Err(Errno::EINTR) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    }
    let is_gone = |fd: &PollFd<'_>| {
        fd.revents().is_some_and(|now| now.intersects(PollFlags::POLLERR | PollFlags::POLLHUP))
    };
    Ok((0..gone).filter(|&position| is_gone(&all[position])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Write as _, pipe};
    use std::os::fd::AsFd as _;

    #[test]
    fn readable_descriptor_lost_reader_and_deadline_end_the_wait() {
        let (reader, mut writer) = pipe().unwrap();
        let (kept, output) = pipe().unwrap();
        let (gone, other) = pipe().unwrap();
        let outputs = [other.as_fd(), output.as_fd()];
        let soon = || Some(Instant::now() + Duration::from_millis(20));
        let end = soon();
        assert_eq!(wait(&[reader.as_fd()], &outputs, end).unwrap(), [0; 0]);
        assert!(end.is_some_and(|end| Instant::now() >= end));
        writer.write_all(b"x").unwrap();
        assert_eq!(wait(&[reader.as_fd()], &outputs, None).unwrap(), [0; 0]);
        drop(gone);
        assert_eq!(wait(&[], &outputs, None).unwrap(), [0]);
        drop(kept);
        assert_eq!(wait(&[], &outputs, None).unwrap(), [0, 1]);
    }
}
