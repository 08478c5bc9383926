//! What the schema of an event requires beyond its fields.

use schemars::Schema;
use serde_json::{Value, json};

/// The errors of calls that are restarted.
pub(super) const RESTARTS: [&str; 4] =
    ["ERESTARTSYS", "ERESTARTNOINTR", "ERESTARTNOHAND", "ERESTART_RESTARTBLOCK"];

/// Fields that only some calls have: the arguments of one call are not those of another.
pub(super) fn of_event(schema: &mut Schema) {
    let args = |required: &[&str]| json!({ "required": ["args"], "properties": { "args": { "required": required } } });
    let flags = json!({
        "required": ["args"],
        "properties": { "args": { "required": ["flags"], "not": { "required": ["fd"] } } }
    });
    let change = json!({ "not": { "required": ["args"] }, "properties": { "result": { "type": "null" } } });
    let only = |field: &str, event: &str| json!({ "if": { "required": [field] }, "then": { "properties": { "event": { "const": event } } } });
    let of = |event: &str, then: Value| json!({ "if": { "properties": { "event": { "const": event } } }, "then": then });
    let conditions = json!([
        of("clone", flags.clone()),
        of("unshare", flags),
        of("setns", args(&["fd"])),
        of("chroot", args(&["path"])),
        of("pivot_root", args(&["new_root"])),
        of("change", change),
        only("target", "setns"),
        only("child", "clone"),
        only("scans", "change"),
    ]);
    schema.insert("allOf".to_owned(), conditions);
}
