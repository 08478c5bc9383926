//! Destinations of a stream: a descriptor, or a file named by the user, which a child process writes to, because its
//! file system's server may stop answering at any time.

use super::outpost::series::Series;
use super::outpost::{Answer, Reply};
use super::relay::{self, Opened};
use nix::fcntl::OFlag;
use nix::unistd::{pipe2, read};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

/// The amount handed to the child at a time, which a pipe takes as a whole (PIPE_BUF).
const PIECE: usize = 4096;

/// The destination of a stream.
pub enum Destination {
    /// A descriptor.
    File(File),
    /// A file that a child process has open.
    Relayed(Relayed),
}

impl From<File> for Destination {
    fn from(file: File) -> Self {
        Self::File(file)
    }
}

/// A file that a child process writes to. The child ends with the thread that opened the file.
pub struct Relayed {
    /// `None`: nothing more will be written.
    pieces: Option<File>,
    series: Series,
}

/// Opens a file for writing, truncated, like `>` in a shell; but waits neither for the reader of a FIFO, nor for a file
/// system's server for longer than `patience`.
pub fn create(path: &Path, patience: Duration) -> io::Result<Destination> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    let (source, pieces) = pipe2(OFlag::O_CLOEXEC)?;
    let opened = relay::open(patience, &[source.as_fd()], || options.open(path), |file| copy(&source, file))?;
    Ok(match opened {
        Opened::InChild(series) => Destination::Relayed(Relayed { pieces: Some(pieces.into()), series }),
        Opened::Direct(file) | Opened::Fifo(file) => Destination::File(file),
    })
}

/// Writes one piece to the `file`, and replies how much was written; after the last piece closes it, with an empty
/// reply.
fn copy(source: &OwnedFd, file: &mut Option<File>) -> io::Result<Vec<u8>> {
    let mut piece = [0; PIECE];
    let length = read(source, &mut piece)?;
    match file {
        Some(file) if length > 0 => {
            let written = file.write(&piece[..length])?;
            Ok(u32::try_from(written).unwrap_or(u32::MAX).to_ne_bytes().to_vec())
        }
        Some(_) => {
            *file = None;
            Ok(Vec::new())
        }
        None => relay::idle(),
    }
}

impl Relayed {
    /// Calls write(2) once, which may write a part, however long it takes.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(pieces) = &mut self.pieces else { return Err(io::ErrorKind::WriteZero.into()) };
        pieces.write_all(&bytes[..bytes.len().min(PIECE)]).map_err(|_| gone())?;
        let count = self.answer()?.try_into().map_err(|_| gone())?;
        usize::try_from(u32::from_ne_bytes(count)).map_err(io::Error::other)
    }

    /// Closes the file, however long that takes.
    pub fn close(&mut self) -> io::Result<()> {
        self.pieces = None;
        self.answer().map(drop)
    }

    fn answer(&self) -> io::Result<Vec<u8>> {
        match self.series.wait() {
            Answer::Done(Reply { bytes, .. }) => relay::decode(bytes),
            _ => Err(gone()),
        }
    }
}

/// Returns the error once the child is gone. Not a broken pipe: that would mean a reader that wants no more.
fn gone() -> io::Error {
    io::Error::other("the child process that writes it has ended")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relayed(path: &Path) -> Relayed {
        match create(path, Duration::from_secs(20)).unwrap() {
            Destination::Relayed(relayed) => relayed,
            Destination::File(_) => panic!("the file is here"),
        }
    }

    #[test]
    fn closed_file_has_all_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "what was there before").unwrap();
        let mut relayed = relayed(&path);
        let text = "0123456789".repeat(1000);
        let mut done = 0;
        while done < text.len() {
            done += relayed.write(&text.as_bytes()[done..]).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "it is there when the answer is");
        relayed.close().unwrap();
        assert_eq!(relayed.write(b"more").unwrap_err().kind(), io::ErrorKind::WriteZero);
    }

    #[test]
    fn file_errors_are_reported() {
        let dir = tempfile::tempdir().unwrap();
        let error = |path: &Path| create(path, Duration::from_secs(20)).err().unwrap().raw_os_error();
        assert_eq!(error(dir.path()), Some(libc::EISDIR));
        assert_eq!(error(&dir.path().join("no/file")), Some(libc::ENOENT));
        assert!(matches!(create("/dev/full".as_ref(), Duration::from_secs(20)), Ok(Destination::File(_))));
        // It writes to a file whose size is limited.
        let path = dir.path().join("file");
        let mut relayed = relayed(&path);
        let pid = relayed.series.pid();
        assert_eq!(limit_size(pid, 100), 0);
        assert_eq!(relayed.write(&[b'x'; 150]).unwrap(), 100);
        assert_eq!(relayed.write(&[b'x'; 50]).unwrap_err().raw_os_error(), Some(libc::EFBIG));
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
        assert_eq!(relayed.write(b"x").unwrap_err().to_string(), gone().to_string());
    }

    fn limit_size(pid: i32, bytes: u64) -> i32 {
        let limit = libc::rlimit64 { rlim_cur: bytes, rlim_max: bytes };
        // SAFETY: reads `limit`, which lives for the call, and writes nothing.
        unsafe { libc::prlimit64(pid, libc::RLIMIT_FSIZE, &raw const limit, std::ptr::null_mut()) }
    }
}
