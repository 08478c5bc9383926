//! Splits a text that arrives in parts into lines; keeps at most one line of it.

use crate::kernel::mount_room::Turn;
use crate::kernel::proc::ProcessDir;
use std::io;

/// The longest line that is kept, in bytes. A line of mountinfo has two paths of 4,096 bytes, each byte of which may be
/// escaped as four, and the mount options, at most a page.
const LONGEST: usize = 64 * 1024;

/// A line, without its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// All of it.
    Whole(&'a [u8]),
    /// It is longer than the limit.
    TooLong,
}

/// Assembles lines.
#[derive(Debug, Default)]
struct Lines {
    /// The start of a line whose end has not arrived.
    begun: Vec<u8>,
    too_long: bool,
}

impl Lines {
    /// Passes `each` the lines that end in `part`, until it returns false; returns true if it never did.
    fn part(&mut self, mut part: &[u8], each: &mut dyn FnMut(Line<'_>) -> bool) -> bool {
        while let Some(end) = part.iter().position(|&byte| byte == b'\n') {
            let (line, rest) = (&part[..end], &part[end + 1..]);
            part = rest;
            let go_on = if self.begun.is_empty() && !self.too_long {
                each(Line::Whole(line))
            } else {
                self.keep(line);
                self.end(each)
            };
            if !go_on {
                return false;
            }
        }
        self.keep(part);
        true
    }

    fn keep(&mut self, part: &[u8]) {
        self.too_long |= self.begun.len() + part.len() > LONGEST;
        if self.too_long {
            self.begun.clear();
        } else {
            self.begun.extend_from_slice(part);
        }
    }

    /// Passes `each` the line kept.
    fn end(&mut self, each: &mut dyn FnMut(Line<'_>) -> bool) -> bool {
        let go_on = each(if self.too_long { Line::TooLong } else { Line::Whole(&self.begun) });
        self.begun.clear();
        self.too_long = false;
        go_on
    }
}

/// Passes `each` the lines of a process's mountinfo after the first `skip`, until it returns false or the `turn` is
/// over; returns true if those were all.
pub(super) fn mounts(
    process: &ProcessDir,
    mut skip: usize,
    turn: &mut Turn,
    each: &mut dyn FnMut(Line<'_>) -> bool,
) -> io::Result<bool> {
    self::each(process, "mountinfo", &mut |line| {
        if skip > 0 {
            skip -= 1;
            return turn.read(0, 0);
        }
        let length = if let Line::Whole(line) = line { line.len() + 1 } else { LONGEST };
        each(line) && turn.read(1, length)
    })
}

/// Passes `each` the lines of a file of a process, until it returns false; returns true if those were all.
fn each(process: &ProcessDir, name: &str, each: &mut dyn FnMut(Line<'_>) -> bool) -> io::Result<bool> {
    let mut lines = Lines::default();
    let all = process.read_parts(name, &mut |part| lines.part(part, each))?;
    let rest = all && (lines.too_long || !lines.begun.is_empty());
    Ok(all && (!rest || lines.end(each)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_assembled_from_any_parts() {
        let text = b"one\n\nthree has more\nfour\n";
        for size in 1..=text.len() {
            let (mut lines, mut seen) = (Lines::default(), Vec::new());
            for part in text.chunks(size) {
                assert!(lines.part(part, &mut |line| {
                    let Line::Whole(line) = line else { return false };
                    seen.push(line.to_vec());
                    true
                }));
            }
            assert_eq!(seen, [&b"one"[..], b"", b"three has more", b"four"], "{size}");
        }
    }

    #[test]
    fn endless_line_is_bounded() {
        let (mut lines, mut seen) = (Lines::default(), Vec::new());
        for _ in 0..10_000 {
            assert!(lines.part(&[b'x'; 4096], &mut |_| unreachable!("no line has ended")));
            assert!(lines.begun.len() <= LONGEST && lines.begun.capacity() <= 2 * LONGEST);
        }
        lines.part(b"x\nshort\n", &mut |line| {
            seen.push(line == Line::TooLong);
            true
        });
        assert_eq!(seen, [true, false]);
    }

    #[test]
    fn reading_stops_on_request() {
        let (mut lines, mut count) = (Lines::default(), 0);
        let went_on = lines.part(b"a\nb\nc\nd\n", &mut |_| {
            count += 1;
            count < 2
        });
        assert_eq!((went_on, count), (false, 2));
    }
}
