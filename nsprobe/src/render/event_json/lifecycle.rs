//! The lifecycle of namespaces in the stream: their keys, and the records of their creation and destruction.

use crate::model::{Created, Destroyed, Event, Mark, NsId, NsKey, Slots};
use serde::ser::{Serialize, SerializeMap as _, Serializer};

/// The key of a namespace, as `list`, `tree`, `diff` and `trace` write it.
struct Key(NsKey);

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// The keys of the namespaces of an event: all of `before`, and of `after` those that differ.
#[derive(serde::Serialize)]
pub(super) struct KeysObject<'a> {
    before: SlotKeys<'a>,
    after: SlotKeys<'a>,
}

impl<'a> KeysObject<'a> {
    /// `None` if only inodes are known.
    pub(super) fn new(event: &'a Event) -> Option<Self> {
        let marks = event.marks.as_deref()?;
        let before = SlotKeys { of: &event.before, marks: &marks.before, except: None };
        let after = SlotKeys { of: &event.after, marks: &marks.after, except: Some(&event.before) };
        Some(Self { before, after })
    }
}

struct SlotKeys<'a> {
    of: &'a Slots<Option<NsId>>,
    marks: &'a Slots<Mark>,
    /// Namespaces that are also in these slots are left out.
    except: Option<&'a Slots<Option<NsId>>>,
}

impl Serialize for SlotKeys<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (slot, id) in self.of.iter() {
            let key = id.map(|id| Key(NsKey { id, mark: *self.marks.get(slot) }));
            match self.except {
                None => map.serialize_entry(slot.name(), &key)?,
                Some(others) if key.is_some() && others.get(slot) != id => {
                    map.serialize_entry(slot.name(), &key)?;
                }
                Some(_) => {}
            }
        }
        map.end()
    }
}

#[derive(serde::Serialize)]
struct KeyedNamespaceObject {
    kind: &'static str,
    ino: u64,
    /// A string, because many JSON readers keep less than 64 bits of a number.
    kernel_id: Option<String>,
    key: Key,
}

impl From<NsKey> for KeyedNamespaceObject {
    fn from(key: NsKey) -> Self {
        let kernel_id = key.mark.kernel_id().map(|id| id.to_string());
        Self { kind: key.id.kind.name(), ino: key.id.ino, kernel_id, key: Key(key) }
    }
}

#[derive(serde::Serialize)]
pub(super) struct CreatedObject {
    namespace: KeyedNamespaceObject,
    owner: Option<u64>,
    owner_key: Option<Key>,
    by: &'static str,
    pid: Option<u32>,
}

impl From<&Created> for CreatedObject {
    fn from(created: &Created) -> Self {
        Self {
            namespace: created.namespace.into(),
            owner: created.owner.map(|owner| owner.id.ino),
            owner_key: created.owner.map(Key),
            by: created.by.name(),
            pid: created.by.pid(),
        }
    }
}

#[derive(serde::Serialize)]
pub(super) struct DestroyedObject {
    namespace: KeyedNamespaceObject,
    age_ns: Option<u64>,
    seen: bool,
}

impl From<&Destroyed> for DestroyedObject {
    fn from(destroyed: &Destroyed) -> Self {
        let age_ns = destroyed.age.map(|age| u64::try_from(age.as_nanos()).unwrap_or(u64::MAX));
        Self { namespace: destroyed.namespace.into(), age_ns, seen: destroyed.seen }
    }
}
