//! Lost events as text: the stage, and whose events they were.

use crate::model::{Lost, Owner, Stage};

/// The number of owners that are named.
const MAX_OWNERS: usize = 3;

/// The number of lost events and the reason, with the name of the stage in JSON and the owners that lost most there.
#[must_use]
pub fn described(lost: &Lost) -> String {
    let Lost { stage, count, .. } = lost;
    let why = why(*stage);
    let owners = owners(lost).map(|owners| format!(": {owners}")).unwrap_or_default();
    let what = if *stage == Stage::CallsFull { "reported without paths from before" } else { "lost" };
    format!("{count} {what} {why} ({stage}{owners})")
}

/// The reason for losses at a stage.
const fn why(stage: Stage) -> &'static str {
    match stage {
        Stage::RingFull | Stage::PerfRingFull => "because the buffer in the kernel was full",
        Stage::Share => "because a user's or control group's share of the buffer in the kernel was used up",
        Stage::PendingFull => "because the kernel had no memory for calls under way",
        Stage::FollowFull | Stage::NamespacesFull | Stage::DeniedFull => {
            "because a table in the kernel was full"
        }
        Stage::CallsFull => "because a user's or control group's share of a table in the kernel was used up",
        Stage::DeniedUnread => "because the arguments of calls stopped by seccomp were not found",
        Stage::Recursion => "because the kernel did not run the probe's programs",
        Stage::Decode => "because the records were not understood",
        Stage::OutputFull | Stage::OutputFullLifecycle => "because the reader of the output was too slow",
        Stage::Sink => "because the output did not take them",
    }
}

/// The owners that lost most, if known.
fn owners(lost: &Lost) -> Option<String> {
    let worst = lost.worst(MAX_OWNERS);
    if worst.is_empty() {
        return None;
    }
    let others = lost.count.saturating_sub(worst.iter().map(|owner| owner.count).sum());
    let mut owners: Vec<String> = worst.into_iter().map(owner).collect();
    if others > 0 {
        owners.push(format!("others {others}"));
    }
    Some(owners.join(", "))
}

fn owner(owner: &Owner) -> String {
    let path = owner.cgroup.as_ref().and_then(|cgroup| cgroup.path.as_ref());
    let cgroup = path.map(|path| format!(" in {path}")).unwrap_or_default();
    format!("uid {}{cgroup} {}", owner.uid, owner.count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::OwnerCgroup;

    #[test]
    fn owners_that_lost_most_are_named() {
        let owner = |uid, count, path: Option<&str>| Owner {
            uid,
            cgroup: path.map(|path| OwnerCgroup { id: 7, path: Some(path.into()) }),
            count,
        };
        assert_eq!(
            described(&Lost::at(Stage::Decode, 3)),
            "3 lost because the records were not understood (decode)"
        );
        assert_eq!(
            described(&Lost { stage: Stage::CallsFull, count: 2, owners: vec![owner(1, 2, None)] }),
            "2 reported without paths from before because a user's or control group's share of a table in the kernel was used \
             up (calls_full: uid 1 2)"
        );
        let all = vec![owner(1, 1, None), owner(2, 5, Some("/a\u{1b}")), owner(3, 2, None)];
        let lost = Lost { stage: Stage::Share, count: 8, owners: all.clone() };
        assert_eq!(owners(&lost).unwrap(), "uid 2 in \"/a\\u{1b}\" 5, uid 3 2, uid 1 1");
        let lost = Lost { stage: Stage::Share, count: 17, owners: [all, vec![owner(4, 3, None)]].concat() };
        let whose = "uid 2 in \"/a\\u{1b}\" 5, uid 4 3, uid 3 2, others 7";
        assert_eq!(
            described(&lost),
            format!(
                "17 lost because a user's or control group's share of the buffer in the kernel was used up (share: {whose})"
            )
        );
    }
}
