//! The origin of a snapshot: the place and time.

use super::context::Context;
use super::error::Error;
use super::options::Options;
use crate::model::{Origin, Text};
use nix::sys::utsname::uname;
use std::time::SystemTime;

/// Returns where and when a snapshot taken now is taken.
pub fn origin(options: &Options) -> Result<Origin, Error> {
    let proc = Context::open(options)?.proc;
    let (kernel, hostname) = uname().map_or_else(
        |_| (String::new(), Text::new()),
        |uname| (uname.release().to_string_lossy().into_owned(), uname.nodename().into()),
    );
    Ok(Origin {
        taken_at: SystemTime::now(),
        own_pid: proc.own_pid(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel,
        hostname,
        boot_id: proc.read("sys/kernel/random/boot_id").ok().as_deref().and_then(boot_id),
    })
}

/// Parses `sys/kernel/random/boot_id`: a UUID and a line feed.
fn boot_id(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?.trim_end();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_id_is_parsed() {
        let text = b"0d8e62ba-8d3f-4a01-8d4c-2a3ab3f6a1c3\n";
        assert_eq!(boot_id(text).as_deref(), Some("0d8e62ba-8d3f-4a01-8d4c-2a3ab3f6a1c3"));
        assert_eq!(boot_id(b"\n"), None);
        assert_eq!(boot_id(b"\xff\n"), None);
    }
}
