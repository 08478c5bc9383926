//! Checks an expression against the fields and their types, before it is evaluated for any row.

use super::error::Error;
use super::value::{Field, Type};
use cel::common::ast::operators as op;
use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue};
use regex::Regex;
use std::collections::{HashMap, HashSet};
use std::fmt;

/// The patterns of an expression, compiled.
type Patterns = HashMap<String, Regex>;

/// The result of a check.
pub(super) struct Checked {
    /// The fields it names, each name once.
    pub(super) fields: Vec<(String, &'static Field)>,
    /// The patterns of its calls of `matches`.
    pub(super) patterns: Patterns,
}

/// Checks a whole expression.
pub(super) fn check(expression: &IdedExpr, fields: &'static [Field]) -> Result<Checked, Error> {
    let checked = Checked { fields: Vec::new(), patterns: Patterns::new() };
    let mut checker = Checker { fields, checked, bound: HashSet::new(), depth: 0 };
    let kind = checker.infer(expression)?;
    if !matches!(kind, Kind::Of(Type::Bool) | Kind::Any) {
        return Err(Error::Type(format!("the filter is {kind}, not true or false")));
    }
    Ok(checker.checked)
}

/// The functions of CEL's library that an expression may call, besides operators.
const FUNCTIONS: [&str; 8] =
    ["contains", "startsWith", "endsWith", "matches", "size", "int", "string", "capabilities"];

/// The macros, for the message about an unknown function.
const MACROS: [&str; 5] = ["exists", "all", "exists_one", "map", "filter"];

/// The type of a part, as far as known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// This type.
    Of(Type),
    /// `null`.
    Null,
    /// Unknown: a list of mixed types, a variable of a macro.
    Any,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of(kind) => kind.fmt(f),
            Self::Null => f.write_str("null"),
            Self::Any => f.write_str("something"),
        }
    }
}

impl Kind {
    /// The type of this list's elements.
    const fn element(self) -> Self {
        match self {
            Self::Of(Type::Numbers) => Self::Of(Type::Number),
            Self::Of(Type::Texts) => Self::Of(Type::Text),
            _ => Self::Any,
        }
    }

    /// The type of a list of this.
    const fn list(self) -> Self {
        match self {
            Self::Of(Type::Number) => Self::Of(Type::Numbers),
            Self::Of(Type::Text) => Self::Of(Type::Texts),
            _ => Self::Any,
        }
    }

    const fn is_list(self) -> bool {
        matches!(self, Self::Of(Type::Numbers | Type::Texts) | Self::Any)
    }

    fn is(self, kind: Type) -> bool {
        matches!(self, Self::Any) || self == Self::Of(kind)
    }
}

struct Checker {
    fields: &'static [Field],
    checked: Checked,
    /// The variables of the enclosing macros.
    bound: HashSet<String>,
    /// The nesting depth of the current part.
    depth: u32,
}

/// The maximum nesting: evaluation recurses.
const DEEPEST: u32 = 48;

impl Checker {
    fn infer(&mut self, part: &IdedExpr) -> Result<Kind, Error> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(Error::TooDeep);
        }
        let kind = self.infer_part(part);
        self.depth -= 1;
        kind
    }

    fn infer_part(&mut self, part: &IdedExpr) -> Result<Kind, Error> {
        match &part.expr {
            Expr::Literal(literal) => Ok(literal_kind(literal)),
            Expr::Ident(_) | Expr::Select(_) => match name(part) {
                Some(name) => self.name(&name),
                None => Err(Error::Type("a dot is for names of fields only".to_owned())),
            },
            Expr::Call(call) => self.call(call),
            Expr::List(list) => {
                let kinds: Vec<Kind> =
                    list.elements.iter().map(|element| self.infer(element)).collect::<Result<_, _>>()?;
                let first = kinds.first().copied().unwrap_or(Kind::Any);
                Ok(if kinds.iter().all(|&kind| kind == first) { first.list() } else { Kind::Any })
            }
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => {
                Err(Error::Type("a filter cannot contain maps or structs".to_owned()))
            }
        }
    }

    fn name(&mut self, name: &str) -> Result<Kind, Error> {
        let first = name.split('.').next().unwrap_or(name);
        if self.bound.contains(first) {
            return Ok(Kind::Any);
        }
        let Some(field) = self.fields.iter().find(|field| field.name == name) else {
            let fields: Vec<&str> = self.fields.iter().map(|field| field.name).collect();
            let nearest = nearest(name, &fields).map(|name| format!(" (did you mean `{name}`?)"));
            return Err(Error::UnknownField {
                name: name.to_owned(),
                nearest: nearest.unwrap_or_default(),
                fields: fields.join(", "),
            });
        };
        if !self.checked.fields.iter().any(|(used, _)| used == name) {
            self.checked.fields.push((name.to_owned(), field));
        }
        Ok(Kind::Of(field.kind))
    }

    fn call(&mut self, call: &CallExpr) -> Result<Kind, Error> {
        let parts: Vec<&IdedExpr> = call.target.as_deref().into_iter().chain(&call.args).collect();
        let kinds: Vec<Kind> = parts.iter().map(|part| self.infer(part)).collect::<Result<_, _>>()?;
        let first = kinds.first().copied().unwrap_or(Kind::Any);
        let second = kinds.get(1).copied().unwrap_or(Kind::Any);
        match call.func_name.as_str() {
            op::LOGICAL_AND | op::LOGICAL_OR | op::LOGICAL_NOT => {
                if let Some(kind) = kinds.iter().find(|kind| !kind.is(Type::Bool)) {
                    return Err(Error::Type(format!("true or false is needed, not {kind}")));
                }
                Ok(Kind::Of(Type::Bool))
            }
            // Part of the expansion of a macro.
            op::NOT_STRICTLY_FALSE => Ok(Kind::Of(Type::Bool)),
            op::EQUALS | op::NOT_EQUALS => {
                let known = |kind: Kind| matches!(kind, Kind::Of(_));
                comparable(known(first) && known(second) && first != second, first, second)
            }
            op::LESS | op::LESS_EQUALS | op::GREATER | op::GREATER_EQUALS => {
                let ordered = |kind: Kind| kind.is(Type::Number) || kind.is(Type::Text);
                let same = first == second || first == Kind::Any || second == Kind::Any;
                comparable(!(ordered(first) && ordered(second) && same), first, second)
            }
            op::IN => {
                if !second.is_list() {
                    return Err(Error::Type(format!("`in` needs a list, not {second}")));
                }
                let element = second.element();
                let known = element != Kind::Any && first != Kind::Any && first != Kind::Null;
                comparable(known && first != element, first, element)
            }
            op::CONDITIONAL => Ok(second),
            op::ADD | op::SUBSTRACT | op::MULTIPLY | op::DIVIDE | op::MODULO | op::NEGATE => Ok(first),
            op::INDEX => Ok(first.element()),
            "size" | "int" => Ok(Kind::Of(Type::Number)),
            "string" => Ok(Kind::Of(Type::Text)),
            "capabilities" if parts.len() != 1 => Err(Error::Type(
                "`capabilities` needs one text: capabilities(process.cap_effective)".to_owned(),
            )),
            "capabilities" if first.is(Type::Text) => Ok(Kind::Of(Type::Texts)),
            "capabilities" => Err(Error::Type(format!("`capabilities` needs a text, not {first}"))),
            name if FUNCTIONS.contains(&name) => {
                text_function(name, &kinds)?;
                if let ("matches", Some(pattern)) = (name, parts.get(1)) {
                    self.pattern(pattern)?;
                }
                Ok(Kind::Of(Type::Bool))
            }
            name => {
                let functions = FUNCTIONS.into_iter().chain(MACROS).collect::<Vec<_>>().join(", ");
                Err(Error::UnknownFunction { name: name.to_owned(), functions })
            }
        }
    }

    /// Compiles a pattern, so that an invalid one is an error now and a valid one is compiled once.
    fn pattern(&mut self, part: &IdedExpr) -> Result<(), Error> {
        let Expr::Literal(LiteralValue::String(text)) = &part.expr else {
            return Err(Error::Type("the pattern of `matches` must be a literal text".to_owned()));
        };
        let pattern = text.inner();
        let regex = Regex::new(pattern)
            .map_err(|error| Error::Regex { pattern: pattern.to_owned(), message: reason(&error) })?;
        self.checked.patterns.insert(pattern.to_owned(), regex);
        Ok(())
    }

    fn comprehension(&mut self, macro_: &ComprehensionExpr) -> Result<Kind, Error> {
        let range = self.infer(&macro_.iter_range)?;
        if !range.is_list() {
            return Err(Error::Type(format!("exists, all, map and filter need a list, not {range}")));
        }
        self.infer(&macro_.accu_init)?;
        let names = [Some(&macro_.iter_var), macro_.iter_var2.as_ref(), Some(&macro_.accu_var)];
        let mut fresh = Vec::new();
        for name in names.into_iter().flatten() {
            if self.bound.insert(name.clone()) {
                fresh.push(name);
            }
        }
        for part in [&macro_.loop_cond, &macro_.loop_step, &macro_.result] {
            self.infer(part)?;
        }
        for name in fresh {
            self.bound.remove(name);
        }
        Ok(Kind::Any)
    }
}

/// The written form `a.b.c`; `None` if it is not a name.
fn name(part: &IdedExpr) -> Option<String> {
    let mut names = Vec::new();
    let mut part = part;
    loop {
        match &part.expr {
            Expr::Ident(name) => names.push(name.as_str()),
            Expr::Select(select) if !select.test => {
                names.push(&select.field);
                part = &select.operand;
                continue;
            }
            _ => return None,
        }
        names.reverse();
        return Some(names.join("."));
    }
}

/// The field that is meant by a wrong name: the first that ends in it (`leader.pid` for `pid`), otherwise the most
/// similar.
pub(super) fn nearest<'a>(name: &str, fields: &[&'a str]) -> Option<&'a str> {
    let ends_in_it = |field: &&&str| field.rsplit('.').next() == Some(name);
    let distance = |field: &str| strsim::osa_distance(name, field);
    let similar =
        fields.iter().min_by_key(|field| distance(field)).filter(|field| distance(field) * 3 <= name.len());
    fields.iter().find(ends_in_it).or(similar).copied()
}

const fn literal_kind(literal: &LiteralValue) -> Kind {
    match literal {
        LiteralValue::Boolean(_) => Kind::Of(Type::Bool),
        LiteralValue::Int(_) | LiteralValue::UInt(_) | LiteralValue::Double(_) => Kind::Of(Type::Number),
        LiteralValue::String(_) => Kind::Of(Type::Text),
        LiteralValue::Null => Kind::Null,
        LiteralValue::Bytes(_) => Kind::Any,
    }
}

fn comparable(wrong: bool, first: Kind, second: Kind) -> Result<Kind, Error> {
    if wrong {
        return Err(Error::Type(format!("{first} cannot be compared with {second}")));
    }
    Ok(Kind::Of(Type::Bool))
}

/// Checks a call of contains, startsWith, endsWith or matches, which take two texts.
fn text_function(name: &str, kinds: &[Kind]) -> Result<(), Error> {
    match kinds {
        [list, _] if *list != Kind::Any && list.is_list() => Err(Error::Type(format!(
            "`{name}` is for texts; of a list write `'…' in list` or `list.exists(x, x.{name}('…'))`"
        ))),
        [text, other] if text.is(Type::Text) && other.is(Type::Text) => Ok(()),
        [text, other] => Err(Error::Type(format!("`{name}` needs two texts, not {text} and {other}"))),
        _ => Err(Error::Type(format!("`{name}` is written text.{name}('…')"))),
    }
}

/// The last line of the message, which describes the error; the lines before it draw the pattern.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.trim_start_matches("error: ").to_owned()
}
