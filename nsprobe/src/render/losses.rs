//! Lost events for people: where, and whose they were.

use crate::model::{Lost, Owner};

/// How many owners are named.
const MOST: usize = 3;

/// The stage, and who lost most there.
#[must_use]
pub fn stage(lost: &Lost) -> String {
    let worst = lost.worst(MOST);
    if worst.is_empty() {
        return lost.stage.to_owned();
    }
    let others = lost.count.saturating_sub(worst.iter().map(|owner| owner.count).sum());
    let mut owners: Vec<String> = worst.into_iter().map(owner).collect();
    if others > 0 {
        owners.push(format!("others {others}"));
    }
    format!("{}: {}", lost.stage, owners.join(", "))
}

fn owner(owner: &Owner) -> String {
    let path = owner.cgroup.as_ref().and_then(|cgroup| cgroup.path.as_ref());
    let place = path.map(|path| format!(" in {path}")).unwrap_or_default();
    format!("uid {}{place} {}", owner.uid, owner.count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::OwnerCgroup;

    #[test]
    fn those_who_lost_most_are_named() {
        let owner = |uid, count, path: Option<&str>| Owner {
            uid,
            cgroup: path.map(|path| OwnerCgroup { id: 7, path: Some(path.into()) }),
            count,
        };
        assert_eq!(stage(&Lost::at("decode", 3)), "decode");
        let owners = vec![owner(1, 1, None), owner(2, 5, Some("/a\u{1b}")), owner(3, 2, None)];
        let lost = Lost { stage: "share", count: 8, owners: owners.clone() };
        assert_eq!(stage(&lost), "share: uid 2 in \"/a\\u{1b}\" 5, uid 3 2, uid 1 1");
        let lost = Lost { stage: "share", count: 17, owners: [owners, vec![owner(4, 3, None)]].concat() };
        assert_eq!(stage(&lost), "share: uid 2 in \"/a\\u{1b}\" 5, uid 4 3, uid 3 2, others 7");
    }
}
