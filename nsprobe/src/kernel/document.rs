//! Files that somebody names on the command line: whatever they turn out to be, opening them does not wait for ever.

use super::outpost::{self, Answer, Reason, Reply};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::read;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a FIFO may be without a program that writes to it, and how long opening a file may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Opens a file in a child process, because a file system's server may have to answer for that; an error when it has not
/// after `patience`.
pub fn open_within(patience: Duration, open: impl Fn() -> io::Result<File>) -> io::Result<File> {
    let work = || match open() {
        Ok(file) => Reply { bytes: None, descriptor: Some(file.into()) },
        Err(error) => {
            let number = error.raw_os_error().unwrap_or(libc::EIO);
            Some(number.to_ne_bytes().to_vec()).into()
        }
    };
    match outpost::alone(patience, work) {
        // As without the precaution.
        Answer::NotBegun(Reason::NoChild(_)) => open(),
        Answer::Waiting => {
            Err(io::Error::new(io::ErrorKind::TimedOut, "a file system's server does not answer"))
        }
        answer => match answer.reply()? {
            Reply { descriptor: Some(file), .. } => Ok(file.into()),
            Reply { bytes, .. } => {
                let number =
                    bytes.and_then(|bytes| bytes.try_into().ok()).map_or(libc::EIO, i32::from_ne_bytes);
                Err(io::Error::from_raw_os_error(number))
            }
        },
    }
}

/// Opens a file for reading. A FIFO that nobody has open for writing is an error after 2 s.
pub fn open(path: &Path) -> io::Result<impl Read> {
    let how = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = open_within(PATIENCE, || File::options().read(true).custom_flags(how.bits()).open(path))?;
    let first = if file.metadata()?.file_type().is_fifo() { wait_for_writer(&file)? } else { Vec::new() };
    fcntl(&file, FcntlArg::F_SETFL(OFlag::empty()))?;
    Ok(io::Cursor::new(first).chain(file))
}

/// Waits until a program has the FIFO open for writing; gives what had to be read to learn that.
fn wait_for_writer(fifo: &File) -> io::Result<Vec<u8>> {
    let end = Instant::now() + PATIENCE;
    loop {
        let mut wanted = [PollFd::new(fifo.as_fd(), PollFlags::POLLIN)];
        // Something is there to be read, or the last who wrote has gone.
        if poll(&mut wanted, PollTimeout::ZERO)? > 0 {
            return Ok(Vec::new());
        }
        let mut first = [0];
        match read(fifo, &mut first) {
            // There is one, which has not written yet.
            Err(Errno::EAGAIN) => return Ok(Vec::new()),
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(first.to_vec()),
            Err(error) => return Err(error.into()),
        }
        if Instant::now() > end {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "a FIFO that no program writes to"));
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
    fn a_fifo_is_read_when_somebody_writes_to_it_and_only_then() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        mkfifo(&fifo, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        assert_eq!(text(&fifo).unwrap_err().kind(), io::ErrorKind::TimedOut);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| text(&fifo));
            // Opened when the reader has opened it, and then slow.
            let mut writer = File::options().write(true).open(&fifo).unwrap();
            sleep(Duration::from_millis(30));
            writer.write_all(b"a document").unwrap();
            drop(writer);
            assert_eq!(reader.join().unwrap().unwrap(), "a document");
        });
    }

    #[test]
    fn other_files_are_read_as_they_are() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "text").unwrap();
        assert_eq!(text(file.path()).unwrap(), "text");
        assert_eq!(text("/dev/null".as_ref()).unwrap(), "");
        assert_eq!(text("/".as_ref()).unwrap_err().raw_os_error(), Some(libc::EISDIR));
    }
}
