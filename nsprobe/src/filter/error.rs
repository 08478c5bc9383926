//! Errors of filter expressions.

/// The maximum length of a text: the parser recurses, and in a debug build takes 30 KB of stack per operator.
pub(super) const LONGEST: usize = 4096;

/// An error in an expression, or in its evaluation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text is not an expression.
    #[error(
        "column {column}: {message} (comparisons are written ==, !=, <, <=, >, >=, `in`; text.matches('regex'), \
         text.contains('…'), text.startsWith('…'); joined by &&, ||, !)"
    )]
    Syntax {
        /// The column, counted in characters from 1.
        column: isize,
        /// The error.
        message: String,
    },
    /// The text is longer than 4096 bytes.
    #[error("longer than {LONGEST} bytes")]
    TooLong,
    /// It is nested too deep.
    #[error("nested too deep")]
    TooDeep,
    /// It names a field that these rows lack.
    #[error("there is no field `{name}`{nearest}: the fields are {fields}")]
    UnknownField {
        /// Its name.
        name: String,
        /// The name that may be meant, in brackets, or nothing.
        nearest: String,
        /// The existing fields.
        fields: String,
    },
    /// It calls an unknown function.
    #[error("there is no function `{name}`: the functions are {functions}")]
    UnknownFunction {
        /// Its name.
        name: String,
        /// The existing functions.
        functions: String,
    },
    /// It applies an operation to a type that does not support it.
    #[error("{0}")]
    Type(String),
    /// A pattern is not a regular expression.
    #[error("'{pattern}' is not a regular expression: {message}")]
    Regex {
        /// The pattern.
        pattern: String,
        /// The error in it.
        message: String,
    },
    /// The evaluation failed for this row: a division by zero, an index beyond the end of a list.
    #[error("{0}")]
    Evaluation(String),
}
