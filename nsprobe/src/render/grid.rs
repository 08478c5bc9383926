//! Rows and columns of text: each row on one line, cut at the terminal's width.

use crate::render::style::{self, TextStyle};
use anstyle::Style;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Row, Table, presets};
use std::io::{self, Write};
use unicode_width::UnicodeWidthStr as _;

/// A column's name, and whether its cells are numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heading<'a> {
    pub(super) name: &'a str,
    pub(super) is_number: bool,
}

/// The maximum width of a cell without a terminal: the longest possible path.
const MAX_WIDTH: usize = 4096;

/// Writes `rows`, each in its style; with the line of names if `header` is set.
pub(super) fn write(
    headings: &[Heading<'_>],
    rows: impl Iterator<Item = (Style, Vec<String>)>,
    header: bool,
    text_style: TextStyle,
    out: &mut impl Write,
) -> io::Result<()> {
    let widest = text_style.width.map_or(MAX_WIDTH, |width| width.min(MAX_WIDTH));
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let mut styles = Vec::new();
    if header {
        let names = headings.iter().map(|heading| aligned(*heading, heading.name.to_owned()));
        // One line each, this and the rows below: a line is what gets cut and painted.
        table.set_header(one_line(Row::from(names)));
        styles.push(Style::new().bold());
    }
    // Cut before the layout: splitting a text takes time that grows with the square of its length, and a column is as
    // wide in each row as in its widest.
    let cut = |cells: Vec<String>| cells.iter().map(|text| style::cut(text, widest, text_style)).collect();
    let mut rows: Vec<(Style, Vec<String>)> = rows.map(|(style, cells)| (style, cut(cells))).collect();
    cut_last(headings, &mut rows, header, text_style);
    for (style, cells) in rows {
        let cells = headings.iter().zip(cells).map(|(heading, text)| aligned(*heading, text));
        table.add_row(one_line(Row::from(cells)));
        styles.push(style);
    }
    // Every column is as wide as its widest cell.
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.column_iter_mut().for_each(|column| _ = column.set_padding((0, 1)));
    for (style, line) in styles.into_iter().zip(table.lines()) {
        let line = line.trim_end();
        let painted = if style == Style::new() { line.to_owned() } else { text_style.paint(style, line) };
        writeln!(out, "{painted}")?;
    }
    Ok(())
}

/// Cuts the last column to the width that the others leave. The table itself would cut it after a word, however far
/// that is from the edge.
fn cut_last(
    headings: &[Heading<'_>],
    rows: &mut [(Style, Vec<String>)],
    header: bool,
    text_style: TextStyle,
) {
    let (Some(width), Some(last)) = (text_style.width, headings.len().checked_sub(1)) else { return };
    let widest = |column: usize| {
        let name = if header { headings[column].name.width() } else { 0 };
        rows.iter().filter_map(|(_, cells)| Some(cells.get(column)?.width())).fold(name, usize::max)
    };
    let taken: usize = (0..last).map(|column| widest(column) + 1).sum();
    let room = width.saturating_sub(taken).max(1);
    for cell in rows.iter_mut().filter_map(|(_, cells)| cells.get_mut(last)) {
        *cell = style::cut(cell, room, text_style);
    }
}

fn one_line(mut row: Row) -> Row {
    row.max_height(1);
    row
}

fn aligned(heading: Heading<'_>, text: String) -> Cell {
    let alignment = if heading.is_number { CellAlignment::Right } else { CellAlignment::Left };
    Cell::new(text).set_alignment(alignment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_column_is_cut_at_the_edge_and_not_after_a_word() {
        let headings = [Heading { name: "PID", is_number: true }, Heading { name: "WHAT", is_number: false }];
        let command = format!("3 of {}", "x".repeat(90));
        for width in [20, 79, 80, 81] {
            let rows = [&command, "4 of 名前名前名前名前名前名前名前名前名前名前", "5 of a b"];
            let rows = rows.map(|what| (Style::new(), vec!["12345".to_owned(), what.to_owned()]));
            let mut out = Vec::new();
            write(
                &headings,
                rows.into_iter(),
                true,
                TextStyle { width: Some(width), ..TextStyle::PLAIN },
                &mut out,
            )
            .unwrap();
            let text = String::from_utf8(out).unwrap();
            let [header, long, _, short] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
            assert_eq!((header, short), ("  PID WHAT", "12345 5 of a b"));
            assert!(text.lines().all(|line| line.width() <= width), "{width}: {text}");
            let expected = format!("12345 3 of {}…", "x".repeat(width - 12));
            assert_eq!(long, expected, "{width}");
        }
    }
}
