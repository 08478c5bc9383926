//! Separates namespaces that this process is not responsible for: others may create some too.

use super::churn::scratch;
use super::ledger::{Ns, ns};
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};
use std::iter::successors;
use std::path::Path;
use std::process::id;

/// The number of ancestors that are checked: reused pids can make a circle.
const GENERATIONS: usize = 1000;

/// The users of a namespace: those in it, those that hold it, and those of namespaces below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Users {
    /// At least one is a descendant of this process, or a mount on one of its files.
    Ours,
    /// There are some, and none is ours.
    Others,
    /// Nobody who is known: only the kernel knows.
    Nobody,
}

/// The users of the namespaces of a document.
pub struct UserIndex {
    others: BTreeSet<Ns>,
    ours: BTreeSet<Ns>,
}

impl UserIndex {
    /// Collects the users of a document's namespaces.
    pub fn new(namespaces: &[Value], processes: &[Value]) -> Self {
        let parent = |process: &Value| Some((process["pid"].as_u64()?, process["ppid"].as_u64()?));
        let parents: HashMap<u64, u64> = processes.iter().filter_map(parent).collect();
        let mut index = Self { others: BTreeSet::new(), ours: BTreeSet::new() };
        // From namespaces that are used to their ancestors.
        loop {
            let before = index.others.len() + index.ours.len();
            for namespace in namespaces {
                let used_by: Vec<Users> = users(namespace).map(|user| index.user(user, &parents)).collect();
                if used_by.contains(&Users::Ours) {
                    index.ours.extend(ns(namespace));
                } else if used_by.contains(&Users::Others) {
                    index.others.extend(ns(namespace));
                }
            }
            if index.others.len() + index.ours.len() == before {
                return index;
            }
        }
    }

    /// The users of a namespace of the document.
    pub fn of(&self, namespace: &Value) -> Users {
        match ns(namespace) {
            Some(ns) if self.ours.contains(&ns) => Users::Ours,
            Some(ns) if self.others.contains(&ns) => Users::Others,
            _ => Users::Nobody,
        }
    }

    /// The owner of a leader or holder, as far as is known by now.
    fn user(&self, user: &Value, parents: &HashMap<u64, u64>) -> Users {
        let ours = if let Some(pid) = user["pid"].as_u64() {
            let mut line = successors(Some(pid), |pid| parents.get(pid).copied()).take(GENERATIONS);
            line.any(|pid| pid == u64::from(id()))
        } else if let Some(path) = user["path"].as_str() {
            Path::new(path).starts_with(scratch())
        } else {
            return self.of(&user["of"]);
        };
        if ours { Users::Ours } else { Users::Others }
    }
}

/// The leader and the holders of a namespace.
fn users(namespace: &Value) -> impl Iterator<Item = &Value> {
    let leader = Some(&namespace["leader"]).filter(|leader| !leader.is_null());
    namespace["holders"].as_array().into_iter().flatten().chain(leader)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn namespace_belongs_to_its_users() {
        let own = id();
        let process = |pid: u32, ppid: u32| json!({"pid": pid, "ppid": ppid});
        let processes = [
            process(1, 0),
            process(own, 1),
            process(own + 1, own),
            process(own + 2, own + 1),
            process(own + 3, 1),
        ];
        let used = |leader: Value, holders: Value| {
            let namespace = json!({"kind": "net", "ino": 1, "leader": leader, "holders": holders});
            UserIndex::new(std::slice::from_ref(&namespace), &processes).of(&namespace)
        };
        let pid = |pid: u32| json!({"pid": pid});
        let path = |path: &Path| json!({"path": path});
        assert_eq!(used(pid(own + 3), json!([])), Users::Others);
        assert_eq!(used(pid(own + 3), json!([pid(1), pid(own + 4)])), Users::Others, "the last has vanished");
        assert_eq!(used(pid(own + 2), json!([pid(1)])), Users::Ours);
        assert_eq!(used(pid(1), json!([pid(own)])), Users::Ours);
        assert_eq!(used(Value::Null, json!([path(Path::new("/run/netns/a"))])), Users::Others);
        assert_eq!(used(Value::Null, json!([path(&scratch().join("1"))])), Users::Ours);
        assert_eq!(used(Value::Null, json!([])), Users::Nobody);
    }

    #[test]
    fn ancestor_is_used_by_the_users_of_its_descendants() {
        let user = |ino: u64, leader: Value, of: &[u64]| {
            let of: Vec<Value> = of.iter().map(|ino| json!({"of": {"kind": "user", "ino": ino}})).collect();
            json!({"kind": "user", "ino": ino, "leader": leader, "holders": of})
        };
        let (theirs, ours) = (json!({"pid": 1}), json!({"pid": id()}));
        let namespaces = [
            user(1, Value::Null, &[2]),
            user(2, Value::Null, &[3]),
            user(3, theirs, &[]),
            user(4, Value::Null, &[5]),
            user(5, ours, &[]),
            user(6, Value::Null, &[3, 5]),
            user(7, Value::Null, &[]),
        ];
        let index = UserIndex::new(&namespaces, &[json!({"pid": 1, "ppid": 0})]);
        let [others, ours] = [Users::Others, Users::Ours];
        let used: Vec<Users> = namespaces.iter().map(|namespace| index.of(namespace)).collect();
        assert_eq!(used, [others, others, others, ours, ours, ours, Users::Nobody]);
    }
}
