//! The shapes of the JSON documents, read from their schemas: one type for each path, and a path for each field of
//! `--filter`.

use crate::schema::published;
use crate::support;
use nsprobe::document::schemas::{DIFF, DOCTOR, LIST, Schema, TRACE, TREE};
use nsprobe::filter::{EventRow, Field, NamespaceRow, ProcessRow, Type};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The types at each path: `namespaces[].leader.pid` → `integer`. Null, besides a type, is not counted.
type Types = BTreeMap<String, BTreeSet<String>>;

/// Adds the types of a part of a schema at `path`, and of what is in it.
fn collect(schema: &Value, part: &Value, path: &str, types: &mut Types) {
    // A tree repeats itself.
    if !part.is_object() || path.contains("children[].children[]") {
        return;
    }
    if let Some(reference) = part["$ref"].as_str() {
        let definition = schema.pointer(reference.trim_start_matches('#'));
        collect(schema, definition.unwrap_or_else(|| panic!("{reference}")), path, types);
    }
    for keyword in ["anyOf", "oneOf", "allOf"] {
        let parts = part[keyword].as_array().into_iter().flatten();
        parts.for_each(|part| collect(schema, part, path, types));
    }
    for keyword in ["then", "else"] {
        collect(schema, &part[keyword], path, types);
    }
    let of_value = |value: &Value| match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let named = match &part["type"] {
        Value::String(name) => vec![name.as_str()],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => {
            let values = part["enum"].as_array().into_iter().flatten().chain(part.get("const"));
            values.map(of_value).collect()
        }
    };
    let found = types.entry(path.to_owned()).or_default();
    found.extend(named.into_iter().filter(|name| *name != "null").map(str::to_owned));
    for (name, field) in part["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        collect(schema, field, &path, types);
    }
    if let Some(items) = part.get("items") {
        collect(schema, items, &format!("{path}[]"), types);
    }
}

fn types(schema: &Value) -> Types {
    let mut types = Types::new();
    collect(schema, schema, "", &mut types);
    types
}

/// The paths without a type, or with several.
fn without_one_type(types: &Types) -> Vec<(&String, &BTreeSet<String>)> {
    types.iter().filter(|(_, types)| types.len() != 1).collect()
}

#[test]
fn every_path_of_a_document_has_one_type() {
    let _limit = support::time_limit();
    for (schema, least) in [(LIST, 80), (TREE, 250), (DIFF, 300), (TRACE, 200), (DOCTOR, 8)] {
        let types = types(&published(schema));
        let wrong = without_one_type(&types);
        assert!(wrong.is_empty(), "{}: {wrong:#?}", schema.name);
        assert!(types.len() >= least, "{}: only {} paths", schema.name, types.len());
    }
    let union = json!({"type": "object", "properties": {
        "a": {"oneOf": [{"type": "string"}, {"type": "integer"}]},
        "b": {"type": ["string", "null"]},
        "c": {"type": "array", "items": {"enum": ["x", 1]}},
        "d": {},
    }});
    let types = types(&union);
    let wrong: Vec<&str> = without_one_type(&types).into_iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(wrong, ["a", "c[]", "d"]);
}

/// The type that a filter gives to a path that begins with `prefix`, with the names of the fields in between.
fn of_filter(types: &Types, prefix: &str, field: &str) -> Option<Type> {
    let (path, types) = types
        .iter()
        .filter_map(|(path, types)| Some((path.strip_prefix(prefix)?, types)))
        .filter(|(path, _)| path.replace("[]", "") == field)
        .max_by_key(|(path, _)| path.len())?;
    match (types.first()?.as_str(), path.contains("[]")) {
        ("boolean", false) => Some(Type::Bool),
        ("integer", false) => Some(Type::Number),
        ("string", false) => Some(Type::Text),
        ("integer", true) => Some(Type::Numbers),
        ("string", true) => Some(Type::Texts),
        // The names in it.
        ("object", false) if ["changed", "unsure"].contains(&path) => Some(Type::Texts),
        _ => None,
    }
}

#[test]
fn every_field_of_a_filter_is_a_path_with_the_same_type() {
    let _limit = support::time_limit();
    let rows: [(Schema, &str, &[Field]); 5] = [
        (LIST, "namespaces[].", NamespaceRow::FIELDS),
        (TREE, "roots[].namespace.", NamespaceRow::FIELDS),
        (LIST, "processes[].", ProcessRow::FIELDS),
        (TREE, "roots[].", ProcessRow::FIELDS),
        (TRACE, "", EventRow::FIELDS),
    ];
    for (schema, prefix, fields) in rows {
        let types = types(&published(schema));
        assert!(fields.len() > 15);
        for field in fields {
            let found = of_filter(&types, prefix, field.name);
            assert_eq!(found, Some(field.kind), "{}: {prefix}{}", schema.name, field.name);
        }
    }
}
