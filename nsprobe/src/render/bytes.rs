//! Arbitrary bytes as text in JSON.
//!
//! What is not UTF-8 is replaced by U+FFFD. A field beside the text, with `_base64` added to its name, then has all
//! the bytes; beside an array of texts, an array of the same length.
//!
//! Characters that control a terminal or are not visible are escaped (`\u009b`), so that the document can be printed
//! as it is; the value stays the same.

use crate::model::text;
use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer};
use std::io::{self, Write};

/// Writes a value on one line.
pub(super) fn to_writer(out: impl Write, value: &impl Serialize) -> io::Result<()> {
    value.serialize(&mut Serializer::with_formatter(out, Visible(CompactFormatter)))?;
    Ok(())
}

/// Writes a value on many lines.
pub(super) fn to_writer_pretty(out: impl Write, value: &impl Serialize) -> io::Result<()> {
    value.serialize(&mut Serializer::with_formatter(out, Visible(PrettyFormatter::new())))?;
    Ok(())
}

/// Writes an object with each of its fields, and each item of its arrays, on a line.
pub(super) fn to_writer_by_line(out: impl Write, value: &impl Serialize) -> io::Result<()> {
    value.serialize(&mut Serializer::with_formatter(out, Visible(Lines { depth: 0 })))?;
    Ok(())
}

/// Serialises a value on one line.
pub(super) fn to_vec(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(256);
    to_writer(&mut bytes, value)?;
    Ok(bytes)
}

/// A formatter that writes like another one and escapes hidden characters.
struct Visible<F>(F);

impl<F: Formatter> Formatter for Visible<F> {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut from = 0;
        for (at, c) in fragment.char_indices().filter(|(_, c)| text::is_hidden(*c)) {
            writer.write_all(&fragment.as_bytes()[from..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            from = at + c.len_utf8();
        }
        writer.write_all(&fragment.as_bytes()[from..])
    }

    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_array(writer)
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array(writer)
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(writer, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array_value(writer)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn end_object_key<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_key(writer)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}

/// A formatter that begins a line for each field of an object, and for each item of the arrays in it.
struct Lines {
    depth: usize,
}

impl Formatter for Lines {
    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth += 1;
        writer.write_all(b"[")
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth -= 1;
        writer.write_all(b"]")
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        writer.write_all(match (first, self.depth) {
            (true, 2) => b"\n",
            (true, _) => b"",
            (false, 2) => b",\n",
            (false, _) => b",",
        })
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth += 1;
        writer.write_all(b"{")
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth -= 1;
        writer.write_all(b"}")
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        writer.write_all(match (first, self.depth) {
            (true, _) => b"",
            (false, 1) => b",\n",
            (false, _) => b",",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::values::Base64;
    use proptest::prelude::*;

    #[test]
    fn hidden_characters_are_escaped_and_the_value_stays_the_same() {
        let text = "a\u{9b}\u{7f}\u{202e}\u{2028}\u{e0041}\u{1b}\n\"é名";
        let json = String::from_utf8(to_vec(&text).unwrap()).unwrap();
        assert_eq!(json, r#""a\u009b\u007f\u202e\u2028\udb40\udc41\u001b\n\"é名""#);
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        let mut pretty = Vec::new();
        to_writer_pretty(&mut pretty, &[text]).unwrap();
        assert_eq!(String::from_utf8(pretty).unwrap(), format!("[\n  {json}\n]"));
    }

    #[test]
    fn bytes_are_kept_beside_a_text_that_is_not_utf8() {
        assert_eq!(Base64::of(&"whole".into()), None);
        let text = b"n\xff".to_vec().into();
        assert_eq!(to_vec(&Base64::of(&text)).unwrap(), br#""bv8=""#);
    }

    proptest! {
        #[test]
        fn any_text_is_visible_and_survives_a_round_trip(text in any::<String>()) {
            let json = String::from_utf8(to_vec(&text).unwrap()).unwrap();
            prop_assert!(json.chars().all(|c| !text::is_hidden(c)), "{}", json);
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
    }
}
