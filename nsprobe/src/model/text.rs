//! Texts from untrusted sources: names, arguments and paths of processes, which need not be UTF-8 and may be crafted to
//! deceive a reader or to control a terminal.
//!
//! [`Text`] keeps every byte. Its `Display` is the only form in which such a text is printed: nothing in it controls a
//! terminal, is invisible, or can be mistaken for the rest of a line, and [`parse`] restores the bytes.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use unicode_general_category::{GeneralCategory, get_general_category};

/// A text of arbitrary bytes.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(Vec<u8>);

impl Text {
    /// An empty text.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As a path.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// True if it is empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text with U+FFFD in place of invalid UTF-8.
    #[must_use]
    pub fn lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    /// Empties it.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// True if it is UTF-8, so that [`Text::lossy`] loses nothing.
    #[must_use]
    pub fn is_utf8(&self) -> bool {
        std::str::from_utf8(&self.0).is_ok()
    }
}

/// The printed form: see [`shown`].
impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&shown(&self.0))
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", quoted(&self.0))
    }
}

impl From<Vec<u8>> for Text {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<&[u8]> for Text {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text.into_bytes())
    }
}

impl From<OsString> for Text {
    fn from(text: OsString) -> Self {
        Self(text.into_vec())
    }
}

impl From<&OsStr> for Text {
    fn from(text: &OsStr) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl From<PathBuf> for Text {
    fn from(path: PathBuf) -> Self {
        Self(path.into_os_string().into_vec())
    }
}

impl From<&Path> for Text {
    fn from(path: &Path) -> Self {
        path.as_os_str().into()
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

/// The only form in which nsprobe prints a text from outside.
///
/// A text of letters, digits and some punctuation is unchanged. Any other is put in double quotes, with `\"` and `\\`
/// for these two characters, `\n`, `\r`, `\t`, `\u{9b}` for characters that are invisible or control a terminal, and
/// `\xff` for a byte that is not UTF-8. No two texts have the same form, and [`parse`] reverses it.
#[must_use]
pub fn shown(bytes: &(impl AsRef<[u8]> + ?Sized)) -> String {
    let bytes = bytes.as_ref();
    let plain = !bytes.is_empty()
        && std::str::from_utf8(bytes).is_ok_and(|text| !text.contains("...") && is_plain(text));
    if plain { String::from_utf8_lossy(bytes).into_owned() } else { quoted(bytes) }
}

/// The printed form of a path.
#[must_use]
pub fn shown_path(path: &(impl AsRef<OsStr> + ?Sized)) -> String {
    shown(path.as_ref().as_bytes())
}

/// The printed form with quotes, even where they are not needed.
#[must_use]
pub fn quoted(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 2);
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        let mut marks = Marks::default();
        for c in chunk.valid().chars() {
            if marks.may_stand(c) && !is_hidden(c) && !matches!(c, '"' | '\\') {
                out.push(c);
            } else {
                escape(c, &mut out);
                marks = Marks::default();
            }
        }
        for byte in chunk.invalid() {
            let _ = fmt::Write::write_fmt(&mut out, format_args!("\\x{byte:02x}"));
        }
    }
    out.push('"');
    out
}

/// True if the text needs no quotes and no escapes.
fn is_plain(text: &str) -> bool {
    let mut marks = Marks::default();
    text.chars().all(|c| {
        let is_plain = if c.is_ascii() {
            c.is_ascii_alphanumeric() || "/._-:@%+=~#^{}".contains(c)
        } else {
            (c.is_alphanumeric() || is_mark(c)) && !is_hidden(c)
        };
        marks.may_stand(c) && is_plain
    })
}

/// Escapes characters of `message` that control a terminal or are invisible: a safety net for texts that consist of
/// printed forms already. Backslashes are unchanged, so applying it twice changes nothing.
#[must_use]
pub fn guarded(message: &str) -> Cow<'_, str> {
    if message.chars().all(|c| !is_hidden(c)) {
        return message.into();
    }
    let mut out = String::with_capacity(message.len() + 16);
    for c in message.chars() {
        if is_hidden(c) {
            escape(c, &mut out);
        } else {
            out.push(c);
        }
    }
    out.into()
}

fn escape(c: char, out: &mut String) {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '"' | '\\' => out.extend(['\\', c]),
        c => {
            let _ = fmt::Write::write_fmt(out, format_args!("\\u{{{:x}}}", u32::from(c)));
        }
    }
}

/// True if a character controls a terminal, reorders the text around it, or is invisible; also if Unicode has not
/// assigned it or leaves it to private use, so that no terminal's width is known.
#[must_use]
pub fn is_hidden(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    let is_ignorable = matches!(c,
        '\u{34f}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{e0000}'..='\u{e0fff}');
    is_ignorable
        || is_blank(c)
        || matches!(
            get_general_category(c),
            GeneralCategory::Control
                | GeneralCategory::Format
                | GeneralCategory::LineSeparator
                | GeneralCategory::ParagraphSeparator
                | GeneralCategory::PrivateUse
                | GeneralCategory::Surrogate
                | GeneralCategory::Unassigned
        )
}

/// True if a non-ASCII character takes room but shows nothing: spaces, and some of other categories (an empty Braille
/// pattern, a note without a head, blank hieroglyphs, a filler of the Khitan script).
fn is_blank(c: char) -> bool {
    matches!(c, '\u{2800}' | '\u{13441}'..='\u{13442}' | '\u{16fe4}' | '\u{1d159}')
        || get_general_category(c) == GeneralCategory::SpaceSeparator
}

/// True if a character is drawn over the one before it, or merged with it (the vowels of Hangul).
fn is_mark(c: char) -> bool {
    let is_jamo = matches!(c, '\u{1160}'..='\u{11ff}' | '\u{d7b0}'..='\u{d7ff}');
    is_jamo
        || !c.is_ascii()
            && matches!(
                get_general_category(c),
                GeneralCategory::NonspacingMark
                    | GeneralCategory::EnclosingMark
                    | GeneralCategory::SpacingMark
            )
}

/// Counts the marks on a character: one without a letter below it would be drawn over something outside of the text,
/// and a high stack of them over other lines.
#[derive(Default)]
struct Marks {
    on_letter: bool,
    count: usize,
}

impl Marks {
    /// More than any language puts on one letter.
    const MOST: usize = 4;

    /// True if `c` needs no escape after the characters so far.
    fn may_stand(&mut self, c: char) -> bool {
        if !is_mark(c) {
            self.on_letter = c.is_alphanumeric();
            self.count = 0;
            return true;
        }
        self.count += 1;
        self.on_letter && self.count <= Self::MOST
    }
}

/// Restores the bytes from a printed form, with or without its quotes; `None` for any other text: with an incomplete
/// quote or escape, or one that [`shown`] does not produce.
#[must_use]
pub fn parse(form: &[u8]) -> Option<Vec<u8>> {
    let (mut rest, in_quotes) = match form {
        [b'"', inside @ .., b'"'] => (inside, true),
        form => (form, false),
    };
    let mut out = Vec::with_capacity(rest.len());
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'"' if in_quotes => return None,
            b'\\' => {
                let (&kind, after) = rest.split_first()?;
                rest = after;
                match kind {
                    b'\\' | b'"' => out.push(kind),
                    b'n' => out.push(b'\n'),
                    b'r' => out.push(b'\r'),
                    b't' => out.push(b'\t'),
                    b'x' => {
                        let (digits, after) = rest.split_at_checked(2)?;
                        out.push(u8::try_from(hexadecimal(digits)?).ok()?);
                        rest = after;
                    }
                    b'u' => {
                        let inside = rest.strip_prefix(b"{")?;
                        let end = inside.iter().take(7).position(|&byte| byte == b'}')?;
                        let c = char::from_u32(hexadecimal(&inside[..end])?)?;
                        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                        rest = &inside[end + 1..];
                    }
                    _ => return None,
                }
            }
            byte => out.push(byte),
        }
    }
    Some(out)
}

fn hexadecimal(digits: &[u8]) -> Option<u32> {
    let is_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
    is_digits.then(|| std::str::from_utf8(digits).ok().and_then(|text| u32::from_str_radix(text, 16).ok()))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn deceptive_texts_are_quoted_and_escaped() {
        let cases: [(&[u8], &str); 21] = [
            (b"/run/netns/a", "/run/netns/a"),
            ("größe/名前".as_bytes(), "größe/名前"),
            (b"", r#""""#),
            (b" a", r#"" a""#),
            ("/j = 0  net 1→2".as_bytes(), r#""/j = 0  net 1→2""#),
            (b"a,b", r#""a,b""#),
            (b"[1]", r#""[1]""#),
            (b".../x", r#"".../x""#),
            (b"\x1b]0;hi\x07", r#""\u{1b}]0;hi\u{7}""#),
            (b"a\nb\t\r", r#""a\nb\t\r""#),
            (br"\u{8}", r#""\\u{8}""#),
            (b"q\"", r#""q\"""#),
            (b"n\xff", r#""n\xff""#),
            (b"n\xe2\x82", r#""n\xe2\x82""#),
            ("\u{9b}2J\u{7f}".as_bytes(), r#""\u{9b}2J\u{7f}""#),
            (
                "\u{61c}\u{200b}\u{2028}\u{e0041}\u{202e}\u{ad}\u{180e}\u{fe0f}".as_bytes(),
                r#""\u{61c}\u{200b}\u{2028}\u{e0041}\u{202e}\u{ad}\u{180e}\u{fe0f}""#,
            ),
            ("e\u{301}".as_bytes(), "e\u{301}"),
            (
                "\u{a0}\u{2003}\u{3000}\u{2800}\u{3164}\u{115f}\u{ffa0}\u{1d159}\u{13441}a\u{16fe4}"
                    .as_bytes(),
                r#""\u{a0}\u{2003}\u{3000}\u{2800}\u{3164}\u{115f}\u{ffa0}\u{1d159}\u{13441}a\u{16fe4}""#,
            ),
            ("\u{301}".as_bytes(), r#""\u{301}""#),
            ("/\u{301}".as_bytes(), r#""/\u{301}""#),
            ("a\u{301}\u{301}\u{301}\u{301}\u{301}".as_bytes(), "\"a\u{301}\u{301}\u{301}\u{301}\\u{301}\""),
        ];
        for (bytes, form) in cases {
            assert_eq!(shown(bytes), form);
            assert_eq!(parse(form.as_bytes()).as_deref(), Some(bytes));
        }
    }

    #[test]
    fn other_texts_than_printed_forms_do_not_parse() {
        for form in [
            r"\",
            r"\x",
            r"\xf",
            r"\xgg",
            r"\u",
            r"\u{",
            r"\u{}",
            r"\u{110000}",
            r"\u{d800}",
            r"\q",
            r#""a"b""#,
            r#""a\""#,
            r"\x+f",
        ] {
            assert_eq!(parse(form.as_bytes()), None, "{form}");
        }
        assert_eq!(parse(br"a\xff"), Some(b"a\xff".to_vec()), "without quotes, as a shell leaves it");
        assert_eq!(parse(br#"""#), Some(b"\"".to_vec()));
    }

    #[test]
    fn guarded_message_is_harmless_and_stable() {
        assert_eq!(guarded("plain: \\ größe"), "plain: \\ größe");
        let once = guarded("a\u{1b}[2J\nb\u{202e}").into_owned();
        assert_eq!(once, r"a\u{1b}[2J\nb\u{202e}");
        assert_eq!(guarded(&once), once);
    }

    /// Bytes, and characters with special meaning.
    fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            any::<u8>().prop_map(|byte| vec![byte]),
            any::<char>().prop_map(|c| c.to_string().into_bytes()),
            prop::sample::select(vec![
                "\u{1b}", "\u{9b}", "\u{202e}", "\u{2028}", "\u{301}", "\\", "\"", " ", "→", "\\u{8}", "..."
            ])
            .prop_map(|text| text.as_bytes().to_vec()),
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn printed_forms_hide_nothing_and_restore_any_bytes(bytes in any_bytes()) {
            let form = shown(&bytes);
            prop_assert!(form.chars().all(|c| !is_hidden(c)), "{:?}", form);
            prop_assert_eq!(parse(form.as_bytes()), Some(bytes.clone()));
            let in_quotes = quoted(&bytes);
            prop_assert_eq!(parse(in_quotes.as_bytes()), Some(bytes.clone()));
            let without = &in_quotes.as_bytes()[1..in_quotes.len() - 1];
            let is_quoted_itself = without.len() > 1 && without.starts_with(b"\"");
            prop_assert!(is_quoted_itself || parse(without) == Some(bytes), "{:?}", form);
        }

        #[test]
        fn any_bytes_can_be_parsed(bytes in any_bytes()) {
            let _ = parse(&bytes);
        }
    }
}
