//! Which namespaces of a document are not this process's affair: others make some too, unless the machine is quiet.

use super::ledger::Ns;
use super::look::ns;
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};
use std::iter::successors;
use std::path::Path;
use std::process::id;

/// Ancestors that are gone through before it counts as nobody's child: numbers that are given again can make a circle.
const GENERATIONS: usize = 1000;

/// The namespaces that have somebody in them or holding them, and nobody of ours: no descendant of this process, no
/// mount on a file of its own, and no namespace below for which that would be so.
pub fn others(namespaces: &[Value], processes: &[Value]) -> BTreeSet<Ns> {
    let parent = |process: &Value| Some((process["pid"].as_u64()?, process["ppid"].as_u64()?));
    let parents: HashMap<u64, u64> = processes.iter().filter_map(parent).collect();
    let mut others = BTreeSet::new();
    loop {
        let before = others.len();
        for namespace in namespaces {
            let mut ours = users(namespace).filter_map(|user| is_ours(user, &parents, &others)).peekable();
            if ours.peek().is_some() && !ours.any(|ours| ours) {
                others.extend(ns(namespace));
            }
        }
        if others.len() == before {
            return others;
        }
    }
}

/// The leader and the holders of a namespace.
fn users(namespace: &Value) -> impl Iterator<Item = &Value> {
    namespace["holders"].as_array().into_iter().flatten().chain([&namespace["leader"]])
}

/// Whether a leader or holder belongs to this process, as far as is known; `None` if there is none.
fn is_ours(user: &Value, parents: &HashMap<u64, u64>, others: &BTreeSet<Ns>) -> Option<bool> {
    if let Some(pid) = user["pid"].as_u64() {
        let mut line = successors(Some(pid), |pid| parents.get(pid).copied()).take(GENERATIONS);
        Some(line.any(|pid| pid == u64::from(id())))
    } else if let Some(path) = user["path"].as_str() {
        Some(Path::new(path).starts_with(super::scratch()))
    } else {
        Some(!others.contains(&ns(&user["of"])?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn whose_a_namespace_is_follows_from_who_uses_it() {
        let own = id();
        let process = |pid: u32, ppid: u32| json!({"pid": pid, "ppid": ppid});
        let processes = [
            process(1, 0),
            process(own, 1),
            process(own + 1, own),
            process(own + 2, own + 1),
            process(own + 3, 1),
        ];
        let others = |leader: Value, holders: Value| {
            let namespace = json!({"kind": "net", "ino": 1, "leader": leader, "holders": holders});
            !others(&[namespace], &processes).is_empty()
        };
        let pid = |pid: u32| json!({"pid": pid});
        let path = |path: &Path| json!({"path": path});
        assert!(others(pid(own + 3), json!([])));
        assert!(others(pid(own + 3), json!([pid(1), pid(own + 4)])), "the last has vanished");
        assert!(!others(pid(own + 2), json!([pid(1)])));
        assert!(!others(pid(1), json!([pid(own)])));
        assert!(others(Value::Null, json!([path(Path::new("/run/netns/a"))])));
        assert!(!others(Value::Null, json!([path(&super::super::scratch().join("1"))])));
        assert!(!others(Value::Null, json!([])), "nobody knows");
        assert!(others(json!({"pid": 7}), json!([])));
    }

    #[test]
    fn an_ancestor_is_theirs_whose_its_descendants_are() {
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
        ];
        let found = others(&namespaces, &[json!({"pid": 1, "ppid": 0})]);
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [1, 2, 3].map(|ino| Ns::new("user", ino)));
    }
}
