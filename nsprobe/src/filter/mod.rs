//! Filters: an expression over the fields of a namespace, a process or an event selects the rows to show.
//!
//! The language is CEL, the Common Expression Language, as in Kubernetes, evaluated by the crate `cel`. It has no loops
//! but those over a given list, and reaches nothing outside the row. nsprobe adds strictness: an expression is checked
//! against the fields and their types before anything is read, because CEL's own result for a misspelt field or for
//! `uid == "root"` is an error, or `false`, for every row.
//!
//! A field that is unknown for a row (the pid of a namespace without processes) equals `null` and nothing else; any
//! other test of it is false, and so the negation of that test is true (`logic.rs`).

mod check;
mod error;
mod event;
mod logic;
mod namespace;
mod process;
mod value;

pub use error::Error;
pub use event::EventRow;
pub use namespace::NamespaceRow;
pub use process::ProcessRow;
pub use value::{Field, Fields, Type, Value};

use crate::model::capability_names;
use cel::common::ast::IdedExpr;
use cel::extractors::This;
use cel::{Context, Env, ParseErrors};
use check::Checked;
use error::LONGEST;
use regex::Regex;
use std::sync::Arc;

/// A filter expression, compiled for rows of one type.
pub struct Filter {
    expression: IdedExpr,
    context: Context<'static, 'static>,
    /// The fields used by the expression, with the names used there.
    used: Vec<(String, &'static Field)>,
}

/// Stack for the parser at that length: it needs between 16 and 64 MB. Untouched pages cost nothing.
const PARSER_STACK: usize = 128 << 20;

/// Parses and checks a text, on a stack that is large enough.
fn read(text: &str, env: &Env, fields: &'static [Field]) -> Result<(IdedExpr, Checked), Error> {
    if text.len() > LONGEST {
        return Err(Error::TooLong);
    }
    let work = || {
        let expression = env.parser().parse(text).map_err(syntax)?;
        let checked = check::check(&expression, fields)?;
        Ok((logic::two_valued(&expression)?, checked))
    };
    let failed =
        |error: &dyn std::fmt::Display| Error::Evaluation(format!("cannot read the filter: {error}"));
    std::thread::scope(|scope| {
        let reader = std::thread::Builder::new().stack_size(PARSER_STACK).spawn_scoped(scope, work);
        match reader.map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(failed(&"the parser panicked")),
            Err(error) => Err(failed(&error)),
        }
    })
}

impl Filter {
    /// Compiles an expression over `fields`.
    pub fn compile(text: &str, fields: &'static [Field]) -> Result<Self, Error> {
        let env = Arc::new(Env::stdlib());
        let (expression, checked) = read(text, &env, fields)?;
        let mut context = Context::with_env(env);
        let capabilities = |This(mask): This<Arc<String>>| {
            let mask = u64::from_str_radix(&mask, 16).unwrap_or_default();
            let name = |name: &str| cel::Value::String(Arc::new(name.to_owned()));
            cel::Value::List(Arc::new(capability_names(mask).map(name).collect()))
        };
        context
            .add_function("capabilities", capabilities)
            .map_err(|error| Error::Evaluation(error.to_string()))?;
        if checked.patterns.is_empty() {
            return Ok(Self { expression, context, used: checked.fields });
        }
        let patterns = checked.patterns;
        let matches = move |This(text): This<Arc<String>>, pattern: Arc<String>| {
            patterns.get(pattern.as_str()).is_some_and(|regex: &Regex| regex.is_match(&text))
        };
        context.add_function("matches", matches).map_err(|error| Error::Evaluation(error.to_string()))?;
        Ok(Self { expression, context, used: checked.fields })
    }

    /// True if the expression is true of a row; an error if it cannot be evaluated for this row.
    pub fn matches(&self, row: &dyn Fields) -> Result<bool, Error> {
        let mut scope = self.context.new_inner_scope();
        for (name, field) in &self.used {
            scope.add_variable_from_value(name.as_str(), row.value(field.name));
        }
        match scope.resolve(&self.expression) {
            Ok(cel::Value::Bool(answer)) => Ok(answer),
            Ok(other) => {
                let kind = other.type_of();
                Err(Error::Type(format!("the filter is a value of type {kind}, not true or false")))
            }
            Err(error) => Err(Error::Evaluation(error.to_string())),
        }
    }
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Filter").field("used", &self.used).finish_non_exhaustive()
    }
}

/// The first syntax error; the list of expected tokens is omitted, as it has a dozen names.
fn syntax(errors: ParseErrors) -> Error {
    let Some(first) = errors.errors.into_iter().next() else {
        return Error::Syntax { column: 1, message: "not an expression".to_owned() };
    };
    let message = first.msg.trim_start_matches("Syntax error: ");
    let message = message.split(" expecting ").next().unwrap_or(message);
    let plain = [
        ("mismatched input", "unexpected"),
        ("extraneous input", "unexpected"),
        ("token recognition error at:", "cannot read"),
        ("'<EOF>'", "end"),
    ];
    let message = plain.into_iter().fold(message.to_owned(), |text, (from, to)| text.replace(from, to));
    Error::Syntax { column: first.pos.1, message }
}

#[cfg(test)]
mod tests;
