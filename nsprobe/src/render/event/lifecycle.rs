//! Lines about the lifecycle of namespaces, and about a resync.

use super::clock;
use crate::model::{Changes, Created, Destroyed, Origination, Rebuilt};
use crate::render::style::{self, TextStyle};
use std::fmt::Write as _;
use std::time::SystemTime;

/// A namespace that was created, on the line below the call that made it, or that was seen for the first time.
#[must_use]
pub fn created(created: &Created, time: SystemTime, text_style: TextStyle) -> String {
    let owner = created.owner.map(|owner| format!(", owner {}", owner.id)).unwrap_or_default();
    let how = match created.by {
        Origination::Call { .. } => "created",
        Origination::FirstSeen => "first seen",
    };
    lifecycle_line(time, format_args!("{} {how}{owner}", created.namespace.id), text_style)
}

/// A namespace that was destroyed.
#[must_use]
pub fn destroyed(destroyed: &Destroyed, time: SystemTime, text_style: TextStyle) -> String {
    let age = destroyed.age.map(|age| format!(" after {:.6} s", age.as_secs_f64())).unwrap_or_default();
    let seen = if destroyed.seen { "" } else { " (unseen, earlier)" };
    lifecycle_line(time, format_args!("{} destroyed{age}{seen}", destroyed.namespace.id), text_style)
}

/// The result of a resync after a loss.
#[must_use]
pub fn rebuilt(rebuilt: &Rebuilt) -> String {
    let mut text = match &rebuilt.failed {
        None => "-- resynced after lost events".to_owned(),
        Some(why) => format!("-- resync failed after lost events: {}", style::printable(why)),
    };
    if let Some(Changes { ended, found }) = rebuilt.namespaces {
        let _ = write!(text, "; namespaces found destroyed: {ended}, found new: {found}");
    }
    if let Some(followed) = rebuilt.followed {
        let _ = write!(text, "; tasks now followed: {followed}");
    }
    text
}

fn lifecycle_line(time: SystemTime, what: std::fmt::Arguments<'_>, text_style: TextStyle) -> String {
    let time = text_style.paint(style::DIM, clock(time));
    format!("{time}  {:>11}  {:>5}  {:15}  {}", "", "", "", text_style.paint(style::NAMESPACE, what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Mark, NsId, NsKey, NsKind};
    use std::time::Duration;

    #[test]
    fn lifecycle_lines_are_aligned_with_the_calls() {
        let time = SystemTime::UNIX_EPOCH + Duration::new(1_795_000_000, 123_456_789);
        let id = NsId::new(NsKind::Net, 4, 4_026_532_208);
        let owner = Some(NsId::new(NsKind::User, 4, 4_026_531_837));
        let namespace = NsKey { id, mark: Mark::Id(77) };
        let owner = owner.map(|id| NsKey { id, mark: Mark::Unknown });
        let by = Origination::Call { name: "unshare", pid: 7 };
        let made = created(&Created { namespace, owner, by }, time, TextStyle::PLAIN);
        let age = Some(Duration::from_millis(1500));
        let ended = destroyed(&Destroyed { namespace, age, seen: true }, time, TextStyle::PLAIN);
        insta::assert_snapshot!(format!("{made}\n{ended}"), @"
        11:06:40.123456                                       net:[4026532208] created, owner user:[4026531837]
        11:06:40.123456                                       net:[4026532208] destroyed after 1.500000 s
        ");
    }
}
