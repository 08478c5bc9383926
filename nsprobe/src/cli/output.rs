//! stdout for data, stderr for talk; what each of them can take.

use super::feed::Feed;
use crate::model::{Snapshot, text};
use crate::render::style::TextStyle;
use crate::render::wrap::wrapped;
use anstream::{AutoStream, ColorChoice};
use clap::ValueEnum;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// When colours are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Color {
    Auto,
    Always,
    Never,
}

/// Buffered stdout, with what is known of the terminal behind it.
pub(super) struct Output {
    stdout: BufWriter<File>,
    /// Whether the terminal takes colours.
    color: bool,
    wish: Color,
}

impl Output {
    /// What is written goes to a descriptor of its own: Rust's stdout takes EBADF for success.
    pub(super) fn new(wish: Color) -> io::Result<Self> {
        let stdout = io::stdout();
        let color = match wish {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => AutoStream::choice(&stdout) != ColorChoice::Never,
        };
        let file = File::from(stdout.as_fd().try_clone_to_owned()?);
        Ok(Self { stdout: BufWriter::with_capacity(64 * 1024, file), color, wish })
    }

    /// The descriptor behind it, for a stream of lines that does without the buffer.
    pub(super) fn file(&self) -> io::Result<File> {
        self.stdout.get_ref().try_clone()
    }

    /// What a file takes; `ascii` is the caller's wish for plain lines.
    pub(super) fn look_of_file(&self, ascii: bool) -> TextStyle {
        TextStyle { color: self.wish == Color::Always, unicode: !ascii && locale_is_utf8(), width: None }
    }

    /// What the terminal takes; `ascii` is the caller's wish for plain lines.
    pub(super) fn look(&self, ascii: bool) -> TextStyle {
        TextStyle { color: self.color, unicode: !ascii && locale_is_utf8(), width: width(&io::stdout()) }
    }
}

impl Write for Output {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.stdout.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stdout.flush()
    }
}

/// Columns of the terminal behind `stream`, or of `COLUMNS` where that is set; `None` when it is no terminal: what goes to a
/// pipe or a file is whole, whatever the shell has exported.
fn width(stream: &(impl IsTerminal + AsFd)) -> Option<usize> {
    if !stream.is_terminal() {
        return None;
    }
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    columns.filter(|&columns| columns > 0).or_else(|| {
        let (width, _) = terminal_size::terminal_size_of(stream)?;
        Some(usize::from(width.0)).filter(|&width| width > 0)
    })
}

/// Whether the locale's characters are UTF-8: the first of the three variables that is set decides, as
/// locale(7) has it. None set is the C locale.
fn locale_is_utf8() -> bool {
    ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .filter_map(|name| std::env::var(name).ok())
        .find(|value| !value.is_empty())
        .is_some_and(|value| {
            let value = value.to_ascii_lowercase();
            value.contains("utf-8") || value.contains("utf8")
        })
}

/// What is said on stderr while nobody may wait for its reader.
static TALK: Mutex<Option<Feed>> = Mutex::new(None);

/// Bytes of messages that wait for a reader of stderr.
const TALK_ROOM: usize = 64 << 10;

/// For so long the last messages wait for one.
const LAST_WORDS: Duration = Duration::from_millis(150);

/// From now on nobody waits for the reader of stderr; messages that do not find room are dropped.
pub(super) fn talk_in_background() -> io::Result<()> {
    let stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    *TALK.lock().unwrap_or_else(PoisonError::into_inner) = Some(Feed::new(stderr.into(), TALK_ROOM)?);
    Ok(())
}

/// Brings the last messages to their reader, if there is one.
pub(super) fn finish_talk() {
    if let Some(talk) = &*TALK.lock().unwrap_or_else(PoisonError::into_inner) {
        // With stderr gone there is nobody left to tell.
        let _ = talk.wait(LAST_WORDS, LAST_WORDS, &mut || false);
    }
}

/// Where a message goes on that is wider than the terminal: below its first word.
const INDENT: usize = "nsprobe: ".len();

/// Says on stderr what went wrong: the one place from which anything gets there. Texts of others are in their printed
/// form in `message` already; what comes from libraries may not be. On a terminal it is wrapped.
pub(super) fn complain(message: &dyn Display) {
    let line = format!("nsprobe: {}", text::guarded(&message.to_string()));
    let line = wrapped(&line, INDENT, TextStyle { width: width(&io::stderr()), ..TextStyle::PLAIN }) + "\n";
    // With stderr gone there is nobody left to tell.
    if let Some(talk) = &mut *TALK.lock().unwrap_or_else(PoisonError::into_inner) {
        let _ = talk.push(line.as_bytes(), false, 0) && talk.flush().is_ok();
    } else {
        let _ = io::stderr().write_all(line.as_bytes());
    }
}

/// Says what is wrong with the command line, or prints the help that it asks for.
pub(super) fn usage(error: clap::Error) -> ExitCode {
    let error = with_hint(harmless(error));
    let code = u8::try_from(error.exit_code()).unwrap_or(2);
    let printed = error.print().and_then(|()| io::stdout().flush());
    match printed {
        // What went to stderr and did not arrive leaves nowhere to report that.
        Err(why) if !error.use_stderr() && why.kind() != io::ErrorKind::BrokenPipe => {
            complain(&format_args!("stdout: {why}"));
            ExitCode::from(2)
        }
        _ => ExitCode::from(code),
    }
}

/// The error with the texts that were given in their printed form.
fn harmless(mut error: clap::Error) -> clap::Error {
    let inside = |text: &str| {
        let quoted = text::quoted(text.as_bytes());
        quoted[1..quoted.len() - 1].to_owned()
    };
    let changed: Vec<(ContextKind, ContextValue)> = error
        .context()
        .filter_map(|(kind, value)| {
            let harmless = match value {
                ContextValue::String(text) => ContextValue::String(inside(text)),
                ContextValue::Strings(texts) => {
                    ContextValue::Strings(texts.iter().map(|text| inside(text)).collect())
                }
                _ => return None,
            };
            (harmless != *value).then_some((kind, harmless))
        })
        .collect();
    if !changed.is_empty() {
        // It repeats what was given.
        error.remove(ContextKind::Suggested);
    }
    for (kind, value) in changed {
        error.insert(kind, value);
    }
    error
}

/// `1 process`, `2 processes`.
pub(super) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// The error with a hint where a command to be traced is not marked as one.
fn with_hint(mut error: clap::Error) -> clap::Error {
    let is_word = matches!(error.get(ContextKind::InvalidArg), Some(ContextValue::String(text)) if !text.starts_with('-'));
    let traces = std::env::args_os().any(|argument| argument == "trace");
    if error.kind() == ErrorKind::UnknownArgument && is_word && traces {
        let hint = "put `--` before the command: nsprobe trace -- COMMAND";
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![hint.into()]));
    }
    error
}

/// Reports that nothing was selected, and from how much.
pub(super) fn nothing(snapshot: &Snapshot) {
    complain(&format_args!(
        "nothing matches; {} and {} were searched",
        counted(snapshot.namespaces.len() as u64, "namespace", "namespaces"),
        counted(snapshot.processes.len() as u64, "process", "processes")
    ));
}
