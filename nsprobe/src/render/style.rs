//! The style of text: colour, line drawing, width.

use crate::model::{Process, Root, text};
use anstyle::{AnsiColor, Style};
use std::fmt::Display;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The capabilities of the output: decided once by the caller, obeyed by every format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextStyle {
    /// ANSI colours and emphasis.
    pub color: bool,
    /// Line drawing beyond ASCII.
    pub unicode: bool,
    /// Columns of the terminal; `None` if the output is not a terminal, and nothing is cut.
    pub width: Option<usize>,
}

impl TextStyle {
    /// The style for a file: no colour, UTF-8 lines, nothing cut.
    pub const PLAIN: Self = Self { color: false, unicode: true, width: None };

    /// Formats `text` in `style`, if the output has colour.
    pub fn paint(self, style: Style, text: impl Display) -> String {
        if self.color { format!("{style}{text}{style:#}") } else { text.to_string() }
    }
}

/// A root directory: its path, and whether it has been deleted, or is none of its mount namespace's.
pub(super) fn root(root: &Root) -> String {
    let path = root.path().map_or_else(|| "?".to_owned(), ToString::to_string);
    match root {
        Root::Deleted(_) => format!("{path} (deleted)"),
        Root::Chrooted(_) if path == "/" => format!("{path} (outside its mount namespace)"),
        _ => path,
    }
}

/// Style of a namespace.
pub const NAMESPACE: Style = AnsiColor::Cyan.on_default();
/// Style of a pid.
pub const PID: Style = Style::new().bold();
/// Style of secondary text.
pub const DIM: Style = Style::new().dimmed();
/// Style of a success that changed something.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// Style of something that deserves attention.
pub const WARNING: Style = AnsiColor::Yellow.on_default();
/// Style of a failure.
pub const BAD: Style = AnsiColor::Red.on_default();

/// Escapes the control characters of `text` (`\n`, `\u{1b}`), so that a hostile command line can neither break a line
/// nor send the terminal a command.
#[must_use]
pub fn printable(text: &str) -> String {
    text::guarded(&text.replace('\\', "\\\\")).into_owned()
}

/// The command of a process on one line, with an ASCII mark where its arguments were cut if the style requires it.
#[must_use]
pub fn command(process: &Process, text_style: TextStyle) -> String {
    let command = process.command();
    match command.strip_suffix('…') {
        Some(kept) if process.arguments.cut() && !text_style.unicode => format!("{kept}..."),
        _ => command,
    }
}

/// Cuts `text` with an ellipsis to `width` terminal columns.
#[must_use]
pub fn cut(text: &str, width: usize, text_style: TextStyle) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let ellipsis = if text_style.unicode { "…" } else { "..." };
    let room = width.saturating_sub(ellipsis.width());
    let mut used = 0;
    let mut out = String::new();
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > room {
            break;
        }
        out.push(c);
    }
    if width >= ellipsis.width() {
        out.push_str(ellipsis);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_command_line_is_made_harmless() {
        assert_eq!(printable("a\u{1b}[2Jb\nc"), "a\\u{1b}[2Jb\\nc");
        assert_eq!(printable("x\u{202e}y"), "x\\u{202e}y");
        assert_eq!(printable("größe 名前"), "größe 名前");
    }

    #[test]
    fn cutting_counts_columns_and_not_bytes() {
        let ascii = TextStyle { unicode: false, ..TextStyle::PLAIN };
        assert_eq!(cut("abcdef", 6, TextStyle::PLAIN), "abcdef");
        assert_eq!(cut("abcdefg", 6, TextStyle::PLAIN), "abcde…");
        assert_eq!(cut("abcdefg", 6, ascii), "abc...");
        assert_eq!(cut("名前名前", 5, TextStyle::PLAIN), "名前…");
        assert_eq!(cut("abc", 0, TextStyle::PLAIN), "");
    }
}
