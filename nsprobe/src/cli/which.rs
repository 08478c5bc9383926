//! `--ns`: one namespace, as the user names it.

use super::{Exit, output, printed};
use crate::discover;
use crate::kernel::paths;
use crate::model::{Namespace, NsId, NsKind, Pid, Snapshot, text};
use clap::builder::{OsStringValueParser, TypedValueParser as _, ValueParser, ValueParserFactory};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// The argument that names one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// `net:[4026531833]`, `net:4026531833`.
    Named(NsKind, u64),
    /// `4026531833`: nsfs inodes are unique across kinds.
    Inode(u64),
    /// `/run/netns/a`, `/proc/1/ns/net`; as it was given.
    Path(PathBuf),
    /// `a`: a name of `ip netns`, which are files in [`NETNS`].
    Netns(OsString),
}

/// The directory in which ip(8) keeps named network namespaces.
const NETNS: &str = "/run/netns";

/// The forms that `--ns` takes, for its error message.
const FORMS: &str = "use net:[4026531833], net:4026531833, 4026531833, the path of a namespace's file or a name in /run/netns";

/// The reason why there is nothing to show.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Missing {
    /// The requested process or namespace does not exist: nothing found.
    #[error("{0}")]
    NotFound(String),
    /// The argument does not name a namespace: an error.
    #[error("{0}")]
    Invalid(String),
}

impl Missing {
    /// Reports it, and returns the exit code or the error.
    pub(super) fn exit(self) -> anyhow::Result<Exit> {
        match self {
            Self::NotFound(_) => {
                output::complain(&self);
                Ok(Exit::Findings)
            }
            Self::Invalid(_) => Err(self.into()),
        }
    }
}

/// An argument that names a namespace: arbitrary bytes.
impl ValueParserFactory for Which {
    type Parser = ValueParser;

    fn value_parser() -> Self::Parser {
        OsStringValueParser::new().try_map(|given| Self::read(&given)).into()
    }
}

impl Which {
    fn read(given: &OsStr) -> Result<Self, String> {
        if given.as_encoded_bytes().contains(&b'/') {
            return Ok(Self::Path(given.into()));
        }
        if [&b""[..], b".", b".."].contains(&given.as_encoded_bytes()) {
            return Err(format!("{} is not a namespace: {FORMS}", text::shown_path(given)));
        }
        let wrong = |text: &str| format!("{} is not an inode: {FORMS}", text::shown(text));
        let inode = |text: &str| text.parse().map_err(|_| wrong(text));
        match given.to_str().and_then(|text| text.split_once(':')) {
            None => Ok(given
                .to_str()
                .and_then(|text| text.parse().ok())
                .map_or_else(|| Self::Netns(given.to_owned()), Self::Inode)),
            Some((kind, rest)) => {
                let kind = kind.parse().map_err(|error| format!("{error}"))?;
                let inode_text =
                    rest.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(rest);
                Ok(Self::Named(kind, inode(inode_text)?))
            }
        }
    }

    /// Finds the namespace that was named.
    pub(super) fn find<'a>(&self, snapshot: &'a Snapshot) -> Result<&'a Namespace, Missing> {
        let find = |is_it: &dyn Fn(NsId) -> bool| snapshot.namespaces.iter().find(|ns| is_it(ns.id));
        let missing = |name: String| Missing::NotFound(format!("namespace {name} was not found"));
        match self {
            Self::Named(kind, ino) => find(&|id| (id.kind, id.ino) == (*kind, *ino))
                .ok_or_else(|| missing(format!("{kind}:[{ino}]"))),
            Self::Inode(ino) => find(&|id| id.ino == *ino).ok_or_else(|| missing(ino.to_string())),
            Self::Netns(name) => Self::Path(Path::new(NETNS).join(name)).find(snapshot),
            Self::Path(path) => {
                let path = &printed::path(path.as_os_str());
                let shown = text::shown_path(path);
                let no_file = |error| Missing::Invalid(format!("{shown}: {error}"));
                let (dev, ino) = paths::identity(path).map_err(no_file)?;
                if !snapshot.namespaces.iter().any(|ns| ns.id.dev == dev) {
                    return Err(Missing::Invalid(format!("{shown} is not the file of a namespace")));
                }
                find(&|id| (id.dev, id.ino) == (dev, ino)).ok_or_else(|| missing(format!("{ino} of {shown}")))
            }
        }
    }
}

/// Says that `pid` is not a process, or why it was not read; if it is a thread, of which process.
pub(super) fn no_process(pid: Pid) -> String {
    if let Some(process) = discover::process_of_thread(pid) {
        return format!("{pid} is not a process but a thread of process {process}: use --pid {process}");
    }
    match discover::why_unread(pid) {
        Some(why) => format!("process {pid} was not read: {why}"),
        None => format!("there is no process {pid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespace_has_several_names() {
        let named = Ok(Which::Named(NsKind::Net, 4_026_531_833));
        let read = |text: &str| Which::read(OsStr::new(text));
        assert_eq!(read("net:[4026531833]"), named);
        assert_eq!(read("net:4026531833"), named);
        assert_eq!(read("4026531833"), Ok(Which::Inode(4_026_531_833)));
        assert_eq!(read("/run/netns/a:[1]"), Ok(Which::Path("/run/netns/a:[1]".into())));
        assert_eq!(read("./a"), Ok(Which::Path("./a".into())));
        assert_eq!(read("demo"), Ok(Which::Netns("demo".into())));
        for bad in
            ["", "..", "net:", "net:[1", "net:[]", "net:[-1]", "mount:[1]", "net:[99999999999999999999]"]
        {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
