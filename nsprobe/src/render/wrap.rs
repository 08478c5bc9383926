//! Wrapping of lines wider than the terminal.

use super::style::TextStyle;
use textwrap::core::{Word, break_words, display_width};
use textwrap::wrap_algorithms::wrap_first_fit;

/// A line is broken after these characters.
const BREAKS: &[u8] = b" |,";

/// A piece that is still wider than a line is broken after these.
const FURTHER_BREAKS: &[u8] = b"/=:;<>";

/// Wraps `line` at the width of the terminal, with further lines indented by `indent` blanks. It is broken at a
/// blank, `|` or `,`, in a longer piece at `/`, `=` and similar, and inside a word only if that does not fit on a
/// line. Colours take no room.
#[must_use]
pub fn wrapped(line: &str, indent: usize, text_style: TextStyle) -> String {
    let Some(width) = text_style.width else { return line.to_owned() };
    // On a terminal hardly wider than the indentation, one line per word would be of no use.
    if width < indent + 20 {
        return line.to_owned();
    }
    let room = width - indent;
    let words = pieces(line, BREAKS).flat_map(|piece| {
        let fits = display_width(piece.trim_end()) <= room;
        pieces(piece, if fits { b"" } else { FURTHER_BREAKS }).map(Word::from)
    });
    let words = break_words(words, room);
    #[expect(clippy::cast_precision_loss, reason = "terminals are narrower than 2^52 columns")]
    let lines = wrap_first_fit(&words, &[width as f64, room as f64]);
    let text = |words: &[Word<'_>]| -> String {
        let text: String = words.iter().flat_map(|word| [word.word, word.whitespace]).collect();
        text.trim_end_matches(' ').to_owned()
    };
    let lines: Vec<String> = lines.into_iter().map(text).collect();
    lines.join(&format!("\n{}", " ".repeat(indent)))
}

/// The pieces of `line`, each with the separators that it ends with. A comma in a number does not separate.
fn pieces<'a>(line: &'a str, breaks: &'a [u8]) -> impl Iterator<Item = &'a str> {
    let mut rest = line;
    std::iter::from_fn(move || {
        let bytes = rest.as_bytes();
        let is_digit = |at: usize| bytes[at].is_ascii_digit();
        let is_seam = |&at: &usize| {
            let in_number = at > 1 && bytes[at - 1] == b',' && is_digit(at - 2) && is_digit(at);
            breaks.contains(&bytes[at - 1]) && !breaks.contains(&bytes[at]) && !in_number
        };
        let (piece, after) = rest.split_at((1..rest.len()).find(is_seam).unwrap_or(rest.len()));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_kept_whole_and_colours_take_no_room() {
        let text_style = TextStyle { width: Some(30), ..TextStyle::PLAIN };
        assert_eq!(
            wrapped("a  b  some words that take more room", 4, text_style),
            "a  b  some words that take\n    more room"
        );
        let painted = "\u{1b}[1mone two three four five\u{1b}[0m six";
        assert_eq!(wrapped(painted, 4, text_style), painted);
        let long = wrapped(&"x".repeat(40), 4, text_style);
        assert!(long.lines().all(|line| line.len() <= 30) && long.matches('x').count() == 40, "{long}");
        assert_eq!(
            wrapped("some words that take more room than there is", 4, TextStyle::PLAIN).lines().count(),
            1
        );
    }

    #[test]
    fn lists_and_paths_are_broken_at_their_seams() {
        let text_style = TextStyle { width: Some(41), ..TextStyle::PLAIN };
        assert_eq!(
            wrapped("clone(CLONE_NEWNS|CLONE_NEWNET|CLONE_CHILD_CLEARTID) = 7", 4, text_style),
            "clone(CLONE_NEWNS|CLONE_NEWNET|\n    CLONE_CHILD_CLEARTID) = 7"
        );
        let path = "chroot(\"/srv/one/two/three/four/five/six/seven/eight/nine\") = 0";
        assert_eq!(
            wrapped(path, 4, text_style),
            "chroot(\"/srv/one/two/three/four/five/six/\n    seven/eight/nine\") = 0"
        );
        assert_eq!(
            wrapped("    indented, and then some more text", 4, TextStyle { width: Some(30), ..text_style }),
            "    indented, and then some\n    more text"
        );
        assert_eq!(
            wrapped(
                "the most that is read (100,000, 64 MiB)",
                4,
                TextStyle { width: Some(29), ..text_style }
            ),
            "the most that is read\n    (100,000, 64 MiB)"
        );
    }
}
