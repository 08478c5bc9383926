//! The measurements where they are kept: docs/performance.md.

use crate::checkout;
use anyhow::{Context as _, Result};
use std::fs;

/// The document, in the checkout.
pub const DOCUMENT: &str = "docs/performance.md";
const BEGIN: &str = "<!-- cargo xtask bench --write: begin -->";
const END: &str = "<!-- cargo xtask bench --write: end -->";

/// Puts `text` between the marks of the document.
pub fn write(text: &str) -> Result<()> {
    let path = checkout::root().join(DOCUMENT);
    let document = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
    let document =
        replaced(&document, text).with_context(|| format!("{DOCUMENT} has no line {BEGIN}, or no end"))?;
    fs::write(&path, document)?;
    Ok(())
}

/// `document` with `text` between the marks; `None` without both marks.
fn replaced(document: &str, text: &str) -> Option<String> {
    let (before, rest) = document.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{}\n{END}{after}", text.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_around_the_marks_stays() {
        let document = format!("# Title\n\n{BEGIN}\nold\n{END}\nmore\n");
        let new = replaced(&document, "new\n").expect("marks");
        assert_eq!(new, format!("# Title\n\n{BEGIN}\nnew\n{END}\nmore\n"));
        assert_eq!(replaced(&new, "new").as_ref(), Some(&new));
        assert_eq!(replaced("no marks", "new"), None);
    }

    #[test]
    fn the_document_has_marks() {
        let document = fs::read_to_string(checkout::root().join(DOCUMENT)).expect(DOCUMENT);
        assert!(replaced(&document, "").is_some());
    }
}
