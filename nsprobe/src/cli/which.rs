//! `--ns`: one namespace, by what people have at hand to name it.

use super::{Exit, output};
use crate::model::{Namespace, NsId, NsKind, Snapshot};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::str::FromStr;

/// One namespace, as it was named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// `net:[4026531833]`, `net:4026531833`.
    Named(NsKind, u64),
    /// `4026531833`: inodes of nsfs are of one kind each.
    Inode(u64),
    /// `/run/netns/a`, `/proc/1/ns/net`.
    Path(PathBuf),
}

/// What `--ns` takes, for its error message.
const FORMS: &str = "use net:[4026531833], net:4026531833, 4026531833 or the path of a namespace's file";

/// Why there is nothing to show.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Missing {
    /// What was asked for is not there: nothing found.
    #[error("{0}")]
    NotFound(String),
    /// What was asked for is nothing that could be found: an error.
    #[error("{0}")]
    Mistaken(String),
}

impl Missing {
    /// Says so, and with what code to end.
    pub(super) fn exit(self) -> anyhow::Result<Exit> {
        match self {
            Self::NotFound(_) => {
                output::complain(&self);
                Ok(Exit::Findings)
            }
            Self::Mistaken(_) => Err(self.into()),
        }
    }
}

impl FromStr for Which {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('/') {
            return Ok(Self::Path(text.into()));
        }
        let inode = |text: &str| text.parse().map_err(|_| format!("`{text}` is no inode number: {FORMS}"));
        match text.split_once(':') {
            None => inode(text).map(Self::Inode),
            Some((kind, rest)) => {
                let kind = kind.parse().map_err(|error| format!("{error}"))?;
                let number = rest.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(rest);
                Ok(Self::Named(kind, inode(number)?))
            }
        }
    }
}

impl Which {
    /// The namespace meant.
    pub(super) fn find<'a>(&self, snapshot: &'a Snapshot) -> Result<&'a Namespace, Missing> {
        let find = |is_it: &dyn Fn(NsId) -> bool| snapshot.namespaces.iter().find(|ns| is_it(ns.id));
        let missing = |name: String| Missing::NotFound(format!("namespace {name} was not found"));
        match self {
            Self::Named(kind, ino) => find(&|id| (id.kind, id.ino) == (*kind, *ino))
                .ok_or_else(|| missing(format!("{kind}:[{ino}]"))),
            Self::Inode(ino) => find(&|id| id.ino == *ino).ok_or_else(|| missing(ino.to_string())),
            Self::Path(path) => {
                let shown = path.display();
                let no_file = |error| Missing::Mistaken(format!("{shown}: {error}"));
                let file = std::fs::metadata(path).map_err(no_file)?;
                if !snapshot.namespaces.iter().any(|ns| ns.id.dev == file.dev()) {
                    return Err(Missing::Mistaken(format!("{shown} is not the file of a namespace")));
                }
                find(&|id| (id.dev, id.ino) == (file.dev(), file.ino()))
                    .ok_or_else(|| missing(format!("{} of {shown}", file.ino())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_has_several_names() {
        let named = Ok(Which::Named(NsKind::Net, 4_026_531_833));
        assert_eq!("net:[4026531833]".parse(), named);
        assert_eq!("net:4026531833".parse(), named);
        assert_eq!("4026531833".parse(), Ok(Which::Inode(4_026_531_833)));
        assert_eq!("/run/netns/a:[1]".parse(), Ok(Which::Path("/run/netns/a:[1]".into())));
        assert_eq!("./a".parse(), Ok(Which::Path("./a".into())));
        for bad in
            ["", "net", "net:", "net:[1", "net:[]", "net:[-1]", "mount:[1]", "net:[99999999999999999999]"]
        {
            assert!(bad.parse::<Which>().is_err(), "{bad}");
        }
    }
}
