//! Lines that are wider than the terminal.

use super::style::Look;
use textwrap::core::{Word, break_words, display_width};
use textwrap::wrap_algorithms::wrap_first_fit;

/// Where a line is broken: behind these characters.
const BREAKS: [char; 3] = [' ', '|', ','];

/// Where a piece is broken that is wider than a line all the same.
const FURTHER_BREAKS: [char; 6] = ['/', '=', ':', ';', '<', '>'];

/// `line`, continued on further lines behind `indent` blanks where the terminal is narrower. It is broken at a blank, `|` or
/// `,`, in a longer piece at `/`, `=` and the like, and inside a word only where that does not fit into a line. Colours take
/// no room.
#[must_use]
pub fn wrapped(line: &str, indent: usize, look: Look) -> String {
    let Some(width) = look.width else { return line.to_owned() };
    // On a terminal that is hardly wider than the indentation, one line for each word would help nobody.
    if width < indent + 20 {
        return line.to_owned();
    }
    let room = width - indent;
    let words = pieces(line, &BREAKS).flat_map(|piece| {
        let fits = display_width(piece.trim_end()) <= room;
        let further: &[char] = if fits { &[] } else { &FURTHER_BREAKS };
        pieces(piece, further).map(Word::from)
    });
    let words = break_words(words, room);
    #[expect(clippy::cast_precision_loss, reason = "terminals are narrower than 2^52 columns")]
    let lines = wrap_first_fit(&words, &[width as f64, room as f64]);
    let mut out = String::with_capacity(line.len() + lines.len() * (indent + 1));
    for (number, words) in lines.into_iter().enumerate() {
        if number > 0 {
            out.extend(std::iter::once('\n').chain(std::iter::repeat_n(' ', indent)));
        }
        for (at, word) in words.iter().enumerate() {
            out.push_str(word);
            if at + 1 < words.len() {
                out.push_str(word.whitespace);
            }
        }
    }
    out
}

/// The pieces of `line`, each with the breaks that it ends with.
fn pieces<'a>(line: &'a str, breaks: &'a [char]) -> impl Iterator<Item = &'a str> {
    let mut rest = line;
    std::iter::from_fn(move || {
        let is_break = |c: char| breaks.contains(&c);
        let end = rest.find(is_break).map_or(rest.len(), |at| {
            let after = &rest[at..];
            at + (after.len() - after.trim_start_matches(is_break).len())
        });
        let (piece, after) = rest.split_at(end);
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_whole_and_colours_take_no_room() {
        let look = Look { width: Some(30), ..Look::PLAIN };
        assert_eq!(
            wrapped("a  b  some words that take more room", 4, look),
            "a  b  some words that take\n    more room"
        );
        let painted = "\u{1b}[1mone two three four five\u{1b}[0m six";
        assert_eq!(wrapped(painted, 4, look), painted);
        let long = wrapped(&"x".repeat(40), 4, look);
        assert!(long.lines().all(|line| line.len() <= 30) && long.matches('x').count() == 40, "{long}");
        assert_eq!(
            wrapped("some words that take more room than there is", 4, Look::PLAIN).lines().count(),
            1
        );
    }

    #[test]
    fn lists_and_paths_are_broken_at_their_seams() {
        let look = Look { width: Some(41), ..Look::PLAIN };
        assert_eq!(
            wrapped("clone(CLONE_NEWNS|CLONE_NEWNET|CLONE_CHILD_CLEARTID) = 7", 4, look),
            "clone(CLONE_NEWNS|CLONE_NEWNET|\n    CLONE_CHILD_CLEARTID) = 7"
        );
        let path = "chroot(\"/srv/one/two/three/four/five/six/seven/eight/nine\") = 0";
        assert_eq!(
            wrapped(path, 4, look),
            "chroot(\"/srv/one/two/three/four/five/six/\n    seven/eight/nine\") = 0"
        );
        assert_eq!(
            wrapped("    indented, and then some more text", 4, Look { width: Some(30), ..look }),
            "    indented, and then some\n    more text"
        );
    }
}
