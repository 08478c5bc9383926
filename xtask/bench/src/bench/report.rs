//! The document with the measurements: docs/performance.md.

use anyhow::{Context as _, Result};
use std::fs;
use xtask::checkout;

/// The document, in the checkout.
pub const DOCUMENT: &str = "docs/performance.md";

/// The marks around the figures of one subject.
fn marks(subject: &str) -> [String; 2] {
    ["begin", "end"].map(|edge| format!("<!-- cargo xtask bench --write: {subject}: {edge} -->"))
}

/// Puts `text` between the marks of `subject` in the document.
pub fn write(subject: &str, text: &str) -> Result<()> {
    let path = checkout::root().join(DOCUMENT);
    let document = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
    let document = replaced(&document, subject, text)
        .with_context(|| format!("{DOCUMENT} lacks one of the lines {}", marks(subject).join(" and ")))?;
    fs::write(&path, document)?;
    Ok(())
}

/// `document` with `text` between the marks; `None` if a mark is missing.
fn replaced(document: &str, subject: &str, text: &str) -> Option<String> {
    let [begin, end] = marks(subject);
    let (before, rest) = document.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n{}\n{end}{after}", text.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_around_the_marks_stays() {
        let [begin, end] = marks("this");
        let document = format!("# Title\n\n{begin}\nold\n{end}\nmore\n");
        let new = replaced(&document, "this", "new\n").expect("marks");
        assert_eq!(new, format!("# Title\n\n{begin}\nnew\n{end}\nmore\n"));
        assert_eq!(replaced(&new, "this", "new").as_ref(), Some(&new));
        assert_eq!(replaced(&new, "that", "new"), None);
    }

    #[test]
    fn document_has_marks() {
        let document = fs::read_to_string(checkout::root().join(DOCUMENT)).expect(DOCUMENT);
        for subject in ["snapshot", "trace"] {
            assert!(replaced(&document, subject, "").is_some(), "{subject}");
        }
    }
}
