//! The arguments of a process, which may be megabytes long.

use crate::model::text;
use std::fmt;

/// The arguments of a process, as its memory holds them, up to a limit.
///
/// They are kept in the kernel's form, each terminated by a NUL: of ten thousand processes few are displayed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    bytes: Box<[u8]>,
    cut: bool,
    known: bool,
}

impl Arguments {
    /// The number of bytes kept per process, including the NULs.
    pub const MOST: usize = 4096;

    /// Takes the text of `/proc/PID/cmdline`, or its beginning; cuts it after [`Self::MOST`] bytes.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        let kept = bytes.get(..Self::MOST).unwrap_or(bytes);
        Self { bytes: kept.into(), cut: bytes.len() > kept.len(), known: true }
    }

    /// Joins single arguments.
    #[must_use]
    pub fn of<T: AsRef<[u8]>>(arguments: impl IntoIterator<Item = T>) -> Self {
        let mut bytes = Vec::new();
        for argument in arguments {
            bytes.extend_from_slice(argument.as_ref());
            bytes.push(0);
        }
        Self::new(&bytes)
    }

    /// Marks these as the beginning of a longer list.
    #[must_use]
    pub fn and_more(self) -> Self {
        Self { cut: true, ..self }
    }

    /// True if they were read; the default is unknown arguments.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        self.known
    }

    /// True if there are none, as for kernel threads, zombies, and processes that could not be read.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// True if there are more than these, or the last one is longer.
    #[must_use]
    pub const fn cut(&self) -> bool {
        self.cut
    }

    /// Iterates over the arguments.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> + Clone {
        let ended = self.bytes.strip_suffix(&[0]).unwrap_or(&self.bytes);
        let none = self.bytes.is_empty();
        ended.split(|&byte| byte == 0).filter(move |_| !none)
    }

    /// The arguments to print, without the NULs left behind when a process writes a title over its arguments.
    fn shown(&self) -> impl Iterator<Item = &[u8]> {
        let title = self.bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        let count = self.bytes[..title].split(|&byte| byte == 0).count();
        self.iter().take(count)
    }
}

/// The printed form, as one would type it: an argument with spaces is quoted; `…` if there are more.
impl fmt::Display for Arguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, argument) in self.shown().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            f.write_str(&text::shown(argument))?;
        }
        f.write_str(if self.cut { " …" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(arguments: &Arguments) -> Vec<&[u8]> {
        arguments.iter().collect()
    }

    #[test]
    fn arguments_are_separate_whatever_they_contain() {
        let one = Arguments::new(b"echo\0x y\0");
        let two = Arguments::new(b"echo\0x\0y\0");
        assert_eq!(list(&one), [&b"echo"[..], b"x y"]);
        assert_eq!((one.to_string(), two.to_string()), (r#"echo "x y""#.to_owned(), "echo x y".to_owned()));
        assert_eq!(list(&Arguments::new(b"a\0\0b\0\0")), [&b"a"[..], b"", b"b", b""]);
        let empty = Arguments::new(b"\0");
        assert_eq!((list(&empty), empty.to_string()), (vec![&b""[..]], "\"\"".to_owned()));
        assert_eq!(list(&Arguments::new(b"no NUL")), [b"no NUL"]);
        assert!(list(&Arguments::new(b"")).is_empty());
        for arguments in [&["sh", "-c", ""][..], &[""], &[]] {
            let read: Vec<Vec<u8>> = Arguments::of(arguments).iter().map(<[u8]>::to_vec).collect();
            assert_eq!(read, arguments.iter().map(|text| text.as_bytes()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn arguments_that_were_not_read_are_unknown() {
        assert!(!Arguments::default().is_known() && Arguments::default().is_empty());
        assert!(Arguments::new(b"").is_known() && Arguments::new(b"x\0").and_more().is_known());
    }

    #[test]
    fn process_title_is_shown_without_trailing_nuls() {
        let title = Arguments::new(b"daemon: idle\0\0\0\0");
        assert_eq!(title.to_string(), r#""daemon: idle""#);
        assert_eq!(list(&title).len(), 4);
    }

    #[test]
    fn long_arguments_are_cut_and_marked() {
        let whole = Arguments::new(&[b'x'; Arguments::MOST]);
        assert!(!whole.cut() && !whole.to_string().contains('…'));
        let cut = Arguments::new(&[b'x'; Arguments::MOST + 1]);
        assert!(cut.cut() && cut.to_string().ends_with("x …"));
        assert_eq!(cut.iter().map(<[u8]>::len).sum::<usize>(), Arguments::MOST);
        assert!(Arguments::new(b"x\0").and_more().cut());
    }
}
