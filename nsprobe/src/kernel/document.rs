//! Documents named on the command line: whatever they are, reading them does not block forever.

use super::outpost::series::Series;
use super::outpost::{Answer, MOST, Reply};
use super::relay::{self, Opened};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::read;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The time that a FIFO may be without a writer, and that opening a file, and each read, may take; a second more while the
/// child process that does it waits for a processor.
const PATIENCE: Duration = Duration::from_secs(2);

/// Opens a file for reading. A FIFO without a writer is an error, and so is a file whose server does not answer.
pub fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    let began = Instant::now();
    let how = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let opened = relay::open(
        PATIENCE,
        &[],
        || File::options().read(true).custom_flags(how.bits()).open(path),
        |file| {
            let Some(file) = file else { relay::idle() };
            // The relay uses one byte.
            let mut piece = vec![0; MOST - 1];
            let length = file.read(&mut piece)?;
            piece.truncate(length);
            Ok(piece)
        },
    )?;
    let (first, file) = match opened {
        Opened::InChild(series) => return Ok(Box::new(Relayed { series, piece: io::Cursor::default() })),
        Opened::Fifo(file) => (wait_for_writer(&file, began)?, file),
        Opened::Direct(file) => (Vec::new(), file),
    };
    fcntl(&file, FcntlArg::F_SETFL(OFlag::empty()))?;
    Ok(Box::new(io::Cursor::new(first).chain(file)))
}

/// A file that a child process reads.
struct Relayed {
    series: Series,
    piece: io::Cursor<Vec<u8>>,
}

impl Read for Relayed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.piece.read(buffer)?;
        if count > 0 || buffer.is_empty() {
            return Ok(count);
        }
        let asked = Instant::now();
        match self.series.next(PATIENCE) {
            Answer::Done(Reply { bytes, .. }) => self.piece = io::Cursor::new(relay::decode(bytes)?),
            answer => return Err(relay::no_answer(answer, asked)),
        }
        self.piece.read(buffer)
    }
}

/// Waits until a program has the FIFO open for writing, since `began`; returns what had to be read to find out.
fn wait_for_writer(fifo: &File, began: Instant) -> io::Result<Vec<u8>> {
    loop {
        let mut wanted = [PollFd::new(fifo.as_fd(), PollFlags::POLLIN)];
        // Data is available, or the last writer has gone.
        if poll(&mut wanted, PollTimeout::ZERO)? > 0 {
            return Ok(Vec::new());
        }
        let mut first = [0];
        match read(fifo, &mut first) {
            // There is a writer, which has not written yet.
            Err(Errno::EAGAIN) => return Ok(Vec::new()),
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(first.to_vec()),
            Err(error) => return Err(error.into()),
        }
        if began.elapsed() > PATIENCE {
            return Err(relay::timed_out("a FIFO without a writer", began));
        }
        sleep(Duration::from_millis(10));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;
    use std::io::Write as _;

    fn text(path: &Path) -> io::Result<String> {
        let mut text = String::new();
        open(path)?.read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn fifo_is_read_once_it_has_a_writer() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        mkfifo(&fifo, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        assert_eq!(text(&fifo).unwrap_err().kind(), io::ErrorKind::TimedOut);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| text(&fifo));
            // Opened once the reader has opened it, and slow.
            let mut writer = File::options().write(true).open(&fifo).unwrap();
            sleep(Duration::from_millis(30));
            writer.write_all(b"a document").unwrap();
            drop(writer);
            assert_eq!(reader.join().unwrap().unwrap(), "a document");
        });
    }

    #[test]
    fn regular_files_are_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "text").unwrap();
        assert_eq!(text(file.path()).unwrap(), "text");
        assert_eq!(text("/dev/null".as_ref()).unwrap(), "");
        assert_eq!(text("/".as_ref()).unwrap_err().raw_os_error(), Some(libc::EISDIR));
    }
}
