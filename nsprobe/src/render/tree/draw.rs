//! Labelled nodes → lines: connectors, indentation, cutting, wrapping.

use crate::render::style::{self, TextStyle};
use anstyle::Style;
use std::fmt::Write as _;
use std::io::{self, Write};
use unicode_width::UnicodeWidthStr as _;

/// Text in one style.
#[derive(Clone, Debug, Default)]
pub(super) struct Span {
    pub style: Style,
    pub text: String,
}

impl Span {
    pub fn new(style: Style, text: impl Into<String>) -> Self {
        Self { style, text: text.into() }
    }
}

/// A line of a tree, and its notes.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    /// Always shown, separated by blanks.
    pub head: Vec<Span>,
    /// Cut to the width.
    pub text: Span,
    /// Follows the text, and is kept in preference to it if there is no room for both.
    pub tail: Span,
    /// The lines below it: each note begins a line and is wrapped between its spans; a span wider than a line is cut.
    pub notes: Vec<Vec<Span>>,
}

/// Nodes and their children.
#[derive(Debug, Default)]
pub(super) struct Drawing {
    nodes: Vec<Node>,
    children: Vec<Vec<usize>>,
    roots: Vec<usize>,
}

impl Drawing {
    /// Adds `node` as the last child of `parent`, or as the last root; returns its index.
    pub fn add(&mut self, parent: Option<usize>, node: Node) -> usize {
        let index = self.nodes.len();
        self.nodes.push(node);
        self.children.push(Vec::new());
        match parent {
            Some(parent) => self.children[parent].push(index),
            None => self.roots.push(index),
        }
        index
    }

    /// Writes the lines.
    pub fn write(&self, out: &mut dyn Write, text_style: TextStyle) -> io::Result<()> {
        let mut indent = Indent::new(text_style);
        // (node, its depth, whether it is its parent's last child)
        let mut stack: Vec<(usize, usize, bool)> =
            self.roots.iter().rev().map(|&root| (root, 0, false)).collect();
        while let Some((index, depth, last)) = stack.pop() {
            let node = &self.nodes[index];
            let children = &self.children[index];
            indent.enter(depth, last);
            write_label(out, node, &indent.connector(), text_style)?;
            if !node.notes.is_empty() {
                write_notes(out, &node.notes, &indent.below(), text_style)?;
            }
            let below = children.iter().enumerate().rev();
            stack.extend(below.map(|(i, &child)| (child, depth + 1, i + 1 == children.len())));
        }
        Ok(())
    }
}

/// The number of levels that are drawn if the terminal is wide enough.
const MAX_LEVELS: usize = 128;

/// The lines that lead from a node's ancestors to it.
struct Indent {
    text_style: TextStyle,
    /// For each node on the path, roots left out: whether it is the last child.
    last: Vec<bool>,
    /// The number of levels that are drawn; those above are counted.
    levels: usize,
}

impl Indent {
    fn new(text_style: TextStyle) -> Self {
        // The rest of the width must hold a pid and some of a command.
        let levels = match text_style.width {
            Some(width) => (width.saturating_sub(24) / 3 + 1).min(MAX_LEVELS),
            // Each line of a chain of processes has those above it.
            None => MAX_LEVELS,
        };
        Self { text_style, last: Vec::new(), levels }
    }

    fn enter(&mut self, depth: usize, last: bool) {
        self.last.truncate(depth.saturating_sub(1));
        if depth > 0 {
            self.last.push(last);
        }
    }

    /// The prefix of the node's own line.
    fn connector(&self) -> String {
        let Some((&last, above)) = self.last.split_last() else { return String::new() };
        let mut text = self.bars(above);
        text.push_str(match (self.text_style.unicode, last) {
            (true, false) => "├─ ",
            (true, true) => "└─ ",
            (false, false) => "|- ",
            (false, true) => "`- ",
        });
        text
    }

    /// The prefix of the node's notes.
    fn below(&self) -> String {
        let mut text = self.bars(&self.last);
        text.push_str(if self.text_style.unicode { "┊ " } else { ": " });
        text
    }

    fn bars(&self, last: &[bool]) -> String {
        let hidden = last.len().saturating_sub(self.levels);
        let mut text = String::with_capacity((last.len() - hidden + 4) * 5);
        if hidden > 0 {
            let ellipsis = if self.text_style.unicode { "…" } else { "..." };
            let _ = write!(text, "{ellipsis}{hidden} ");
        }
        for &last in &last[hidden..] {
            text.push_str(match (last, self.text_style.unicode) {
                (true, _) => "   ",
                (false, true) => "│  ",
                (false, false) => "|  ",
            });
        }
        text
    }
}

fn write_label(out: &mut dyn Write, node: &Node, prefix: &str, text_style: TextStyle) -> io::Result<()> {
    let mut line = text_style.paint(style::DIM, prefix);
    if prefix.is_empty() {
        line.clear();
    }
    let mut used = prefix.width();
    let mut parts: Vec<(Style, &str)> = node.head.iter().map(|span| (span.style, &*span.text)).collect();
    used += parts.iter().map(|(_, text)| text.width() + 1).sum::<usize>();
    let room = text_style.width.map(|width| width.saturating_sub(used));
    let fit = |text: &str, reserve: usize| match room {
        Some(room) => style::cut(text, room.saturating_sub(reserve), text_style),
        None => text.to_owned(),
    };
    let tail = fit(&node.tail.text, 0);
    let reserve = if tail.is_empty() { 0 } else { tail.width() + 1 };
    let text = fit(&node.text.text, reserve);
    parts.push((node.text.style, &text));
    parts.push((node.tail.style, &tail));
    let mut blank = false;
    for (style, text) in parts.into_iter().filter(|(_, text)| !text.is_empty()) {
        if std::mem::replace(&mut blank, true) {
            line.push(' ');
        }
        line.push_str(&text_style.paint(style, text));
    }
    writeln!(out, "{line}")
}

/// The minimum width of a note that is cut: a narrower one would be of no use.
const MIN_NOTE_WIDTH: usize = 24;

/// Cuts a note to the width that a prefix leaves. It is not wrapped, because the name of a process or of a path could
/// then begin a line.
fn fitting(span: &Span, prefix: usize, text_style: TextStyle) -> Span {
    let room =
        text_style.width.map(|width| width.saturating_sub(prefix)).filter(|room| *room >= MIN_NOTE_WIDTH);
    Span::new(
        span.style,
        room.map_or_else(|| span.text.clone(), |room| style::cut(&span.text, room, text_style)),
    )
}

fn write_notes(
    out: &mut dyn Write,
    notes: &[Vec<Span>],
    prefix: &str,
    text_style: TextStyle,
) -> io::Result<()> {
    for note in notes {
        let mut used = usize::MAX;
        let mut line = String::new();
        let pieces = note.iter().map(|span| fitting(span, prefix.width(), text_style));
        for span in pieces {
            let width = span.text.width();
            if !line.is_empty() && text_style.width.is_some_and(|most| used + 1 + width > most) {
                writeln!(out, "{line}")?;
                line.clear();
            }
            if line.is_empty() {
                line = text_style.paint(style::DIM, prefix);
                used = prefix.width();
            } else {
                line.push(' ');
                used += 1;
            }
            line.push_str(&text_style.paint(span.style, &span.text));
            used += width;
        }
        writeln!(out, "{line}")?;
    }
    Ok(())
}
