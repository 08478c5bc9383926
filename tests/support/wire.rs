//! Reading events of `trace --json`: the namespaces before a call, which an event has only where they differ.

use nsprobe::model::NsSlot;
use serde_json::{Value, json};

/// The kind of namespace of a file of `/proc/PID/ns`.
fn kind(slot: &str) -> &str {
    slot.trim_end_matches("_for_children")
}

/// The namespace in a slot after the call; null if unknown.
pub fn after(event: &Value, slot: &str) -> Value {
    let namespaces = &event["namespaces"];
    namespaces.get(slot).unwrap_or_else(|| &namespaces[kind(slot)]).clone()
}

/// The namespace in a slot before the call; null if unknown.
pub fn before(event: &Value, slot: &str) -> Value {
    let change = ["changed", "unsure"].iter().find_map(|name| event[name].get(slot));
    change.map_or_else(|| after(event, slot), |change| change["before"].clone())
}

/// The namespaces in all slots before the call.
pub fn all_before(event: &Value) -> Value {
    NsSlot::ALL.iter().map(|slot| (slot.name().to_owned(), before(event, slot.name()))).collect()
}

/// The namespaces in all slots after the call.
pub fn all_after(event: &Value) -> Value {
    NsSlot::ALL.iter().map(|slot| (slot.name().to_owned(), after(event, slot.name()))).collect()
}

/// What the call changed, in the order of the slots. A directory that only has another path is none of it.
pub fn changed(event: &Value) -> Value {
    let changed = event["changed"].as_object().expect("an object");
    let is_change = |name: &&str| {
        let Some(change) = changed.get(*name) else { return false };
        let is_directory = ["root", "cwd"].contains(name);
        let now = if is_directory { event[name].clone() } else { after(event, name) };
        assert_eq!(change["after"], now, "{event}");
        assert!(is_directory || change["before"] != change["after"], "{event}");
        change.get("same_directory").is_none()
    };
    let names = NsSlot::ALL.map(NsSlot::name).into_iter().chain(["root", "cwd"]);
    assert!(changed.keys().all(|name| names.clone().any(|known| known == name)), "{event}");
    names.filter(is_change).collect()
}

/// A resolved path and what is unusual about it: `path` of `of`, and the field beside it.
pub fn path(of: &Value, path: &str) -> Value {
    let state = of.get(format!("{path}_state")).cloned().unwrap_or_else(|| json!([]));
    json!([of[path], state])
}

/// The path of a directory before the call.
pub fn directory_before(event: &Value, name: &str) -> Value {
    event["changed"].get(name).map_or_else(|| path(event, name), |change| path(change, "before"))
}

/// The key of the namespace in a slot after the call; null without one.
pub fn key_after(start: &Value, event: &Value, slot: &str) -> Value {
    let initial = (&start["namespaces"][kind(slot)], &start["keys"][kind(slot)]);
    let ino = after(event, slot);
    let own = event["namespaces"].get(slot).map_or_else(|| kind(slot), |_| slot);
    let key = event["keys"].get(own);
    if ino.is_u64() && *initial.0 == ino && event["keys"].is_object() {
        assert_eq!(key, None, "an initial namespace: {event}");
        return initial.1.clone();
    }
    key.cloned().unwrap_or_default()
}

/// The key of the namespace in a slot before the call; null without one.
pub fn key_before(start: &Value, event: &Value, slot: &str) -> Value {
    let Some(change) = ["changed", "unsure"].iter().find_map(|name| event[name].get(slot)) else {
        return key_after(start, event, slot);
    };
    let key = change.get("before_key");
    if change["before"].is_u64() && start["namespaces"][kind(slot)] == change["before"] {
        assert_eq!(key, None, "an initial namespace: {event}");
        return if event["keys"].is_object() { start["keys"][kind(slot)].clone() } else { Value::Null };
    }
    key.cloned().unwrap_or_default()
}

/// Replaces the keys of an event by those of all slots, before and after the call: which of them a line has depends on
/// whether nsprobe knows the initial namespaces.
pub fn expand_keys(start: &Value, event: &mut Value) {
    let both = |slot| json!([key_before(start, event, slot), key_after(start, event, slot)]);
    let keys: Value = NsSlot::ALL.iter().map(|slot| (slot.name().to_owned(), both(slot.name()))).collect();
    event["keys"] = keys;
    for name in ["changed", "unsure"] {
        let changes = event.get_mut(name).and_then(Value::as_object_mut).into_iter().flatten();
        for change in changes.filter_map(|(_, change)| change.as_object_mut()) {
            change.remove("before_key");
        }
    }
}
