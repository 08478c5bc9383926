//! Why a filter expression is refused.

/// Longer texts are refused: the parser recurses, and in a debug build takes 30 KB of stack for an operator.
pub(super) const LONGEST: usize = 4096;

/// Why there is no filter, or no answer from it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text is no expression.
    #[error(
        "column {column}: {message} (comparisons are written ==, !=, <, <=, >, >=, `in`; text.matches('regex'), \
         text.contains('…'), text.startsWith('…'); joined by &&, ||, !)"
    )]
    Syntax {
        /// Where, counted in characters from 1.
        column: isize,
        /// What is wrong there.
        message: String,
    },
    /// The text is longer than 4096 bytes.
    #[error("longer than {LONGEST} bytes")]
    TooLong,
    /// It is nested too deep.
    #[error("nested too deep")]
    TooDeep,
    /// It names a field that these rows do not have.
    #[error("there is no field `{name}`: the fields are {fields}")]
    UnknownField {
        /// Its name.
        name: String,
        /// The fields there are.
        fields: String,
    },
    /// It calls a function that there is not.
    #[error("there is no function `{name}`: the functions are {functions}")]
    UnknownFunction {
        /// Its name.
        name: String,
        /// The functions there are.
        functions: String,
    },
    /// It asks something that makes no sense for the types at hand.
    #[error("{0}")]
    Type(String),
    /// A pattern is no regular expression.
    #[error("'{pattern}' is not a regular expression: {message}")]
    Regex {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        message: String,
    },
    /// The evaluation failed for this row: a division by zero, an index beyond the end of a list.
    #[error("{0}")]
    Evaluation(String),
}
