//! Arguments that hold names chosen by tenants: arbitrary bytes, or the form in which nsprobe prints them.
//!
//! A path is taken literally if such a file exists, otherwise as the printed form of one ([`text::parse`]). A name
//! that cannot be looked up stands for both.

use crate::kernel::paths;
use crate::model::text;
use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

/// The path that is meant.
pub(super) fn path(given: &OsStr) -> PathBuf {
    let parsed = text::parse(given.as_bytes()).filter(|parsed| parsed != given.as_bytes());
    match parsed {
        // A file whose server does not answer exists.
        Some(parsed) if paths::is_there(given.as_ref()).is_ok_and(|there| !there) => {
            PathBuf::from(std::ffi::OsString::from_vec(parsed))
        }
        _ => given.into(),
    }
}

/// Names separated by commas, except in quotes; each literally and, if it is a printed form, also what that stands
/// for. `None` if one is empty.
pub(super) fn names(given: &OsStr) -> Option<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for name in split(given.as_bytes()) {
        if name.is_empty() {
            return None;
        }
        names.push(name.to_vec());
        names.extend(text::parse(name).filter(|parsed| parsed != name && !parsed.is_empty()));
    }
    Some(names)
}

/// The pieces between commas that are not in quotes. An unclosed quote is not a quote.
fn split(list: &[u8]) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    let mut rest = list;
    loop {
        let quoted = rest.strip_prefix(b"\"").and_then(closing).map_or(0, |end| end + 2);
        let end = rest[quoted..].iter().position(|&byte| byte == b',').map(|at| quoted + at);
        let Some(end) = end else {
            pieces.push(rest);
            return pieces;
        };
        pieces.push(&rest[..end]);
        rest = &rest[end + 1..];
    }
}

/// The index of the quote that ends a printed form whose first quote is removed.
fn closing(inside: &[u8]) -> Option<usize> {
    let mut escaped = false;
    inside.iter().position(|&byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn existing_file_is_preferred_to_the_parsed_form_of_its_name() {
        let scratch = tempfile::tempdir().unwrap();
        let file = |name: &[u8]| scratch.path().join(OsStr::from_bytes(name));
        let form = file(br"a\xff");
        assert_eq!(path(form.as_os_str()), file(b"a\xff"), "no such file: the printed form");
        std::fs::write(&form, "").unwrap();
        assert_eq!(path(form.as_os_str()), form);
        let quoted = text::shown_path(&file(b"b \xff"));
        assert_eq!(path(OsStr::new(&quoted)), file(b"b \xff"));
        let raw = file(b"b \xff");
        assert_eq!(path(raw.as_os_str()), raw);
        assert_eq!(path(OsStr::new("-")), PathBuf::from("-"));
    }

    #[test]
    fn names_are_split_outside_of_quotes() {
        let names = |given: &[u8]| names(OsStr::from_bytes(given));
        assert_eq!(names(b"a,b"), Some(vec![b"a".to_vec(), b"b".to_vec()]));
        assert_eq!(names(b"a\xff"), Some(vec![b"a\xff".to_vec()]));
        assert_eq!(names(br"a\xff"), Some(vec![br"a\xff".to_vec(), b"a\xff".to_vec()]));
        assert_eq!(
            names(br#""a,\"b",c"#),
            Some(vec![br#""a,\"b""#.to_vec(), b"a,\"b".to_vec(), b"c".to_vec()])
        );
        assert_eq!(names(br#""a,b"#), Some(vec![br#""a"#.to_vec(), b"b".to_vec()]));
        for empty in [&b""[..], b"a,", b",a", b"a,,b"] {
            assert_eq!(names(empty), None);
        }
    }
}
