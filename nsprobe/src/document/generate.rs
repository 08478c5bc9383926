//! The JSON Schemas of the documents, from their types.

use super::diff::Diff;
use super::doctor::Doctor;
use super::list::List;
use super::schemas::{Document, Schema};
use super::trace::Line;
use super::tree::Tree;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

/// The names of the files in `schema/`, with their contents.
#[must_use]
pub fn all() -> Vec<(String, String)> {
    vec![file::<List<'_>>(), file::<Tree<'_>>(), file::<Diff<'_>>(), file::<Line<'_>>(), file::<Doctor<'_>>()]
}

fn file<D: Document + JsonSchema>() -> (String, String) {
    let Schema { name, version } = D::SCHEMA;
    let id = format!("{name}-{version}");
    let mut schema =
        SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<D>();
    schema.insert("$id".to_owned(), format!("urn:nsprobe:schema:{id}").into());
    let mut schema = schema.to_value();
    Polish(D::SCHEMA).schema(&mut schema);
    (format!("{id}.json"), format!("{schema:#}\n"))
}

/// The order of the keywords of a schema. Other keywords follow, in the order of the generator; `$defs` is last.
const ORDER: [&str; 9] =
    ["$schema", "$id", "title", "description", "$ref", "type", "const", "enum", "properties"];

/// What the schemas of this project have in a different form than schemars generates.
struct Polish(Schema);

impl Polish {
    fn schema(&self, schema: &mut Value) {
        let Value::Object(keywords) = schema else { return };
        self.name_itself(keywords);
        numbers(keywords);
        absent_or_known(keywords);
        alone(keywords);
        for (keyword, value) in keywords.iter_mut() {
            match (keyword.as_str(), value) {
                // A line of a doc comment ends where the source does.
                ("description", Value::String(text)) => *text = text.replace('\n', " "),
                ("$ref", Value::String(reference)) => *reference = definition(reference),
                ("properties", Value::Object(fields)) => {
                    fields.values_mut().for_each(|field| self.schema(field));
                }
                ("$defs", Value::Object(definitions)) => {
                    let named = std::mem::take(definitions).into_iter();
                    *definitions = named.map(|(name, schema)| (definition(&name), schema)).collect();
                    for definition in definitions.values_mut() {
                        self.schema(definition);
                    }
                }
                ("oneOf" | "anyOf" | "allOf", Value::Array(schemas)) => {
                    for schema in schemas {
                        self.schema(schema);
                    }
                }
                ("items" | "additionalProperties" | "if" | "then" | "else", schema) => self.schema(schema),
                _ => {}
            }
        }
        sort(keywords);
    }

    /// Fills in the name and the version of [`super::schemas::SchemaName`].
    fn name_itself(&self, keywords: &mut Map<String, Value>) {
        if keywords.get("const").is_some_and(|name| name == "") {
            keywords.insert("const".to_owned(), self.0.name.into());
            keywords.remove("type");
        }
        if keywords.get("pattern").is_some_and(|pattern| pattern == "") {
            keywords.insert("pattern".to_owned(), format!(r"^{}\.\d+$", self.0.major()).into());
        }
    }
}

/// Replaces the formats of numbers, which are not of JSON Schema, by limits.
fn numbers(keywords: &mut Map<String, Value>) {
    let limit = match keywords.get("format").and_then(Value::as_str) {
        Some("uint32") => Some(u32::MAX.into()),
        Some("uint64" | "int32" | "int64") => None,
        _ => return,
    };
    keywords.remove("format");
    if let Some(limit) = limit {
        keywords.entry("maximum").or_insert(limit);
    }
}

/// The mark of a field that may be absent, or null.
const NULLABLE: &str = "nullable";

/// Excludes null from the fields that may be absent, unless they are marked: a document that has them has them for a
/// reason.
fn absent_or_known(keywords: &mut Map<String, Value>) {
    let required = keywords.get("required").cloned().unwrap_or_default();
    let is_required =
        |name: &String| required.as_array().is_some_and(|names| names.iter().any(|it| it == name));
    let Some(Value::Object(fields)) = keywords.get_mut("properties") else { return };
    for (_, field) in fields.iter_mut().filter(|(name, _)| !is_required(name)) {
        if field.as_object_mut().is_some_and(|field| field.remove(NULLABLE).is_some()) {
            continue;
        }
        for list in ["type", "enum", "anyOf"] {
            if let Some(Value::Array(values)) = field.get_mut(list) {
                values.retain(|it| !it.is_null() && it != "null" && it["type"] != "null");
            }
        }
        if let Some(Value::Array(types)) = field.get_mut("type")
            && let [one] = types.as_mut_slice()
        {
            field["type"] = one.take();
        }
    }
}

/// Puts the keywords of an `anyOf` of one schema beside those of the schema around it, which has the description.
fn alone(keywords: &mut Map<String, Value>) {
    while let Some(Value::Array(schemas)) = keywords.get("anyOf")
        && let [Value::Object(only)] = schemas.as_slice()
    {
        let only = only.clone();
        keywords.remove("anyOf");
        for (keyword, value) in only {
            keywords.entry(keyword).or_insert(value);
        }
    }
}

/// The name of a definition, or a reference to it, in snake case.
fn definition(name: &str) -> String {
    let mut snake = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && snake.ends_with(|before: char| before.is_ascii_alphanumeric()) {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

fn sort(keywords: &mut Map<String, Value>) {
    let mut rest = std::mem::take(keywords);
    for keyword in ORDER {
        keywords.extend(rest.shift_remove_entry(keyword));
    }
    let definitions = rest.shift_remove_entry("$defs");
    keywords.extend(rest);
    keywords.extend(definitions);
}
