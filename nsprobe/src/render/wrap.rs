//! Lines that are wider than the terminal.

use super::style::Look;
use textwrap::{Options, WordSeparator, WordSplitter, WrapAlgorithm};

/// `line`, continued on further lines behind `indent` blanks where the terminal is narrower; words stay whole if they fit.
/// Colours take no room.
#[must_use]
pub fn wrapped(line: &str, indent: usize, look: Look) -> String {
    let Some(width) = look.width else { return line.to_owned() };
    // On a terminal that is hardly wider than the indentation, one line for each word would help nobody.
    if width < indent + 20 {
        return line.to_owned();
    }
    let indent = " ".repeat(indent);
    let options = Options::new(width)
        .subsequent_indent(&indent)
        .word_separator(WordSeparator::AsciiSpace)
        .word_splitter(WordSplitter::NoHyphenation)
        .wrap_algorithm(WrapAlgorithm::FirstFit);
    textwrap::fill(line, options)
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
}
