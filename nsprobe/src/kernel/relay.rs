//! Files opened by a child process, which keeps them if reading and writing them may wait for a file system's server.

use super::outpost::series::Series;
use super::outpost::{Answer, Reason, Reply};
use nix::sys::stat::{SFlag, fstat};
use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileTypeExt as _;
use std::time::{Duration, Instant};

/// A file named by the user.
pub(super) enum Opened {
    /// A regular file or a directory, which the child works on.
    InChild(Series),
    /// Anything else, or any file if no child can be started: reading it involves no server.
    Direct(File),
    /// The same, for a FIFO.
    Fifo(File),
}

/// The result of work on a file.
pub(super) type Outcome = io::Result<Vec<u8>>;

/// The type of a file that a child has opened.
const IN_CHILD: u8 = 0;
const DIRECT: u8 = 1;
const FIFO: u8 = 2;

/// Has a child process `open` a file, and repeat the `work` on it if it stays there. The child has none of nsprobe's
/// descriptors but `keep`. Fails if opening it fails, or without an answer after `patience`.
pub(super) fn open(
    patience: Duration,
    keep: &[BorrowedFd<'_>],
    open: impl Fn() -> io::Result<File>,
    mut work: impl FnMut(&mut Option<File>) -> Outcome,
) -> io::Result<Opened> {
    let mut opened: Option<Option<File>> = None;
    let of_child = || match &mut opened {
        None => {
            opened = Some(None);
            match open().and_then(|file| Ok((kind(&file)?, file))) {
                Ok((IN_CHILD, file)) => {
                    opened = Some(Some(file));
                    encode(Ok(vec![IN_CHILD]))
                }
                Ok((kind, file)) => Reply { descriptor: Some(file.into()), ..encode(Ok(vec![kind])) },
                Err(error) => encode(Err(error)),
            }
        }
        Some(file) => encode(work(file)),
    };
    let series = match Series::start(keep, of_child) {
        Ok(series) => series,
        // As without this precaution.
        Err(Reason::NoChild(_)) => {
            let file = open()?;
            return Ok(if file.metadata()?.file_type().is_fifo() {
                Opened::Fifo(file)
            } else {
                Opened::Direct(file)
            });
        }
        Err(reason) => return Err(io::Error::other(reason)),
    };
    let asked = Instant::now();
    let (kind, descriptor) = match series.next(patience) {
        Answer::Done(Reply { bytes, descriptor }) => (decode(bytes)?, descriptor),
        answer => return Err(no_answer(answer, asked)),
    };
    Ok(match (&kind[..], descriptor) {
        ([FIFO], Some(file)) => Opened::Fifo(file.into()),
        (_, Some(file)) => Opened::Direct(file.into()),
        (_, None) => Opened::InChild(series),
    })
}

/// Waits until killed: there is nothing more to do.
pub(super) fn idle() -> ! {
    loop {
        std::thread::sleep(Duration::from_hours(1));
    }
}

/// Determines whether a file stays in the child that opened it. This involves its file system.
fn kind(file: &File) -> io::Result<u8> {
    let kind = SFlag::from_bits_truncate(fstat(file)?.st_mode) & SFlag::S_IFMT;
    Ok(match kind {
        SFlag::S_IFREG | SFlag::S_IFDIR => IN_CHILD,
        SFlag::S_IFIFO => FIFO,
        _ => DIRECT,
    })
}

/// Encodes the child's result in one packet: bytes after a zero, or an errno after a one.
pub(super) fn encode(outcome: Outcome) -> Reply {
    Reply::from(Some(match outcome {
        Ok(bytes) => [&[0], &bytes[..]].concat(),
        Err(error) => [&[1], &error.raw_os_error().unwrap_or(libc::EIO).to_ne_bytes()[..]].concat(),
    }))
}

/// Decodes the same.
pub(super) fn decode(bytes: Option<Vec<u8>>) -> Outcome {
    let mut bytes = bytes.unwrap_or_default();
    if bytes.first() == Some(&0) {
        bytes.remove(0);
        return Ok(bytes);
    }
    let errno = bytes.get(1..5).and_then(|bytes| bytes.try_into().ok());
    Err(io::Error::from_raw_os_error(errno.map_or(libc::EIO, i32::from_ne_bytes)))
}

/// Returns the error for a missing answer, for which somebody has waited since `asked`.
pub(super) fn no_answer(answer: Answer, asked: Instant) -> io::Error {
    match answer {
        Answer::Waiting => timed_out("a file system's server does not answer", asked),
        answer => answer.reply().err().unwrap_or_else(|| io::ErrorKind::InvalidData.into()),
    }
}

/// Returns the error after waiting since `began`: with the time it took, which may be more than its limit on a slow
/// machine.
pub(super) fn timed_out(what: &str, began: Instant) -> io::Error {
    let waited = began.elapsed().as_secs_f64();
    io::Error::new(io::ErrorKind::TimedOut, format!("{what} (waited {waited:.2} s)"))
}
