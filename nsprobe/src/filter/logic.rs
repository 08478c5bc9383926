//! Two-valued logic: a test of something unknown is false, so its negation is true.
//!
//! CEL has no such rule: `null > 5` is an error there, and so is its negation, and a row with neither would be missing
//! from both results. So each test of an expression is rewritten once, before any row is evaluated: `pid > 5` becomes
//! `pid != null && pid > 5`, and `pid != 5` becomes `!(pid != null && pid == 5)`. Only a comparison with the literal
//! `null` tests if a field is known. The operators that join tests (`&&`, `||`, `!`, `?:`, the macros) stay.

use super::error::Error;
use cel::common::ast::operators as op;
use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, ListExpr, LiteralValue};
use std::collections::HashSet;

/// Rewrites an expression so that every test of an unknown field is false.
pub(super) fn two_valued(expression: &IdedExpr) -> Result<IdedExpr, Error> {
    let mut rewriter = Rewriter { bound: HashSet::new(), parts: 0 };
    rewriter.test(expression)
}

/// A part whose value may be unknown.
struct Guarded {
    part: IdedExpr,
    /// The conditions for the value to be known; each is itself two-valued.
    known: Vec<IdedExpr>,
}

struct Rewriter {
    /// The variables of the enclosing macros, which are not fields.
    bound: HashSet<String>,
    parts: usize,
}

/// The maximum number of parts: a condition inside a value is written twice, and may contain others.
const MOST: usize = 20_000;

impl Rewriter {
    /// Rewrites a part with a value of true or false.
    fn test(&mut self, part: &IdedExpr) -> Result<IdedExpr, Error> {
        let Expr::Call(call) = &part.expr else {
            let guarded = self.value(part)?;
            return Ok(guarded.when_known());
        };
        match (call.func_name.as_str(), call.args.as_slice()) {
            (op::LOGICAL_AND | op::LOGICAL_OR | op::LOGICAL_NOT | op::NOT_STRICTLY_FALSE, args) => {
                let args = args.iter().map(|arg| self.test(arg)).collect::<Result<_, _>>()?;
                self.call(&call.func_name, args)
            }
            (op::CONDITIONAL, args) => {
                let args = args.iter().map(|arg| self.test(arg)).collect::<Result<_, _>>()?;
                self.call(op::CONDITIONAL, args)
            }
            (op::NOT_EQUALS, [first, second]) => {
                let equal = self.equals(first, second)?;
                self.call(op::LOGICAL_NOT, vec![equal])
            }
            (op::EQUALS, [first, second]) => self.equals(first, second),
            _ => {
                let Guarded { part, known } = self.operands(part.id, call)?;
                Ok(Guarded { part, known }.when_known())
            }
        }
    }

    /// `first == second`: false if one is unknown, unless one is the literal `null`.
    fn equals(&mut self, first: &IdedExpr, second: &IdedExpr) -> Result<IdedExpr, Error> {
        let tested = match (is_null(first), is_null(second)) {
            (true, _) => second,
            (_, true) => first,
            (false, false) => {
                let (first, second) = (self.value(first)?, self.value(second)?);
                let part = self.call(op::EQUALS, vec![first.part, second.part])?;
                return Ok(Guarded { part, known: joined(first.known, second.known) }.when_known());
            }
        };
        let Guarded { part, known } = self.value(tested)?;
        let is_null = self.call(op::EQUALS, vec![part, null()])?;
        // `pid + 1 == null`: the sum is unknown if the field is.
        match known.into_iter().reduce(and) {
            None => Ok(is_null),
            Some(known) => {
                let unknown = self.call(op::LOGICAL_NOT, vec![known])?;
                self.call(op::LOGICAL_OR, vec![unknown, is_null])
            }
        }
    }

    /// Rewrites a part with a value of any type.
    fn value(&mut self, part: &IdedExpr) -> Result<Guarded, Error> {
        self.count(1)?;
        let always = |part: IdedExpr| Guarded { part, known: Vec::new() };
        match &part.expr {
            Expr::Ident(_) | Expr::Select(_) => {
                let known = if self.is_bound(part) {
                    Vec::new()
                } else {
                    vec![self.call(op::NOT_EQUALS, vec![part.clone(), null()])?]
                };
                Ok(Guarded { part: part.clone(), known })
            }
            Expr::Call(call) => match (call.func_name.as_str(), call.args.as_slice()) {
                (
                    op::LOGICAL_AND
                    | op::LOGICAL_OR
                    | op::LOGICAL_NOT
                    | op::NOT_STRICTLY_FALSE
                    | op::EQUALS
                    | op::NOT_EQUALS
                    | op::LESS
                    | op::LESS_EQUALS
                    | op::GREATER
                    | op::GREATER_EQUALS
                    | op::IN
                    | "contains"
                    | "startsWith"
                    | "endsWith"
                    | "matches",
                    _,
                ) => Ok(always(self.test(part)?)),
                (op::CONDITIONAL, [condition, yes, no]) => self.choice(condition, yes, no),
                _ => self.operands(part.id, call),
            },
            Expr::List(list) => {
                let (elements, known) = self.values(list.elements.iter())?;
                let list = ListExpr::new_with_optionals(elements, list.optional_indices.clone());
                Ok(Guarded { part: IdedExpr { id: part.id, expr: Expr::List(list) }, known })
            }
            Expr::Comprehension(comprehension) => self.comprehension(part.id, comprehension),
            Expr::Literal(_) | Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => Ok(always(part.clone())),
        }
    }

    /// Rewrites `condition ? yes : no`: known if the chosen side is.
    fn choice(&mut self, condition: &IdedExpr, yes: &IdedExpr, no: &IdedExpr) -> Result<Guarded, Error> {
        let condition = self.test(condition)?;
        let (yes, no) = (self.value(yes)?, self.value(no)?);
        let known = if yes.known.is_empty() && no.known.is_empty() {
            Vec::new()
        } else {
            // The condition is part of both.
            self.count(size(&condition))?;
            let all = |known: Vec<IdedExpr>| known.into_iter().reduce(and).unwrap_or_else(truth);
            vec![self.call(op::CONDITIONAL, vec![condition.clone(), all(yes.known), all(no.known)])?]
        };
        let part = self.call(op::CONDITIONAL, vec![condition, yes.part, no.part])?;
        Ok(Guarded { part, known })
    }

    /// Rewrites a call whose value is known if all of its operands are.
    fn operands(&mut self, id: u64, call: &CallExpr) -> Result<Guarded, Error> {
        let (mut target, mut known) = (None, Vec::new());
        if let Some(part) = &call.target {
            let guarded = self.value(part)?;
            (target, known) = (Some(Box::new(guarded.part)), guarded.known);
        }
        let (args, of_args) = self.values(call.args.iter())?;
        let func_name = call.func_name.clone();
        let part = IdedExpr { id, expr: Expr::Call(CallExpr { func_name, target, args }) };
        Ok(Guarded { part, known: joined(known, of_args) })
    }

    fn values<'a>(
        &mut self,
        parts: impl Iterator<Item = &'a IdedExpr>,
    ) -> Result<(Vec<IdedExpr>, Vec<IdedExpr>), Error> {
        let (mut values, mut known) = (Vec::new(), Vec::new());
        for part in parts {
            let guarded = self.value(part)?;
            values.push(guarded.part);
            known = joined(known, guarded.known);
        }
        Ok((values, known))
    }

    /// Rewrites a macro: known if its list is, and the fields that `map` puts into the new one are. The shape of the
    /// loop stays as the parser made it.
    fn comprehension(&mut self, id: u64, macro_: &ComprehensionExpr) -> Result<Guarded, Error> {
        let range = self.value(&macro_.iter_range)?;
        let names = [Some(&macro_.iter_var), macro_.iter_var2.as_ref(), Some(&macro_.accu_var)];
        let fresh: Vec<String> =
            names.into_iter().flatten().filter(|name| self.bound.insert((*name).clone())).cloned().collect();
        let quantifier = matches!(&macro_.accu_init.expr, Expr::Literal(LiteralValue::Boolean(_)));
        let step = if quantifier {
            let part = self.test(&macro_.loop_step)?;
            Guarded { part, known: Vec::new() }
        } else {
            self.value(&macro_.loop_step)?
        };
        // A condition on the macro's own variables cannot be tested outside of it.
        let step_known: Vec<IdedExpr> =
            step.known.into_iter().filter(|condition| !self.names_bound(condition)).collect();
        for name in fresh {
            self.bound.remove(&name);
        }
        let rewritten = ComprehensionExpr { iter_range: range.part, loop_step: step.part, ..macro_.clone() };
        let part = IdedExpr { id, expr: Expr::Comprehension(Box::new(rewritten)) };
        Ok(Guarded { part, known: joined(range.known, step_known) })
    }

    /// True if a name is a variable of a macro, or a field of one.
    fn is_bound(&self, part: &IdedExpr) -> bool {
        match &part.expr {
            Expr::Ident(name) => self.bound.contains(name),
            Expr::Select(select) => self.is_bound(&select.operand),
            _ => false,
        }
    }

    /// True if a part contains a variable of a macro.
    fn names_bound(&self, part: &IdedExpr) -> bool {
        match &part.expr {
            Expr::Ident(_) | Expr::Select(_) => self.is_bound(part),
            Expr::Call(call) => {
                call.target.as_deref().into_iter().chain(&call.args).any(|part| self.names_bound(part))
            }
            Expr::List(list) => list.elements.iter().any(|part| self.names_bound(part)),
            Expr::Comprehension(macro_) => {
                self.names_bound(&macro_.iter_range) || self.names_bound(&macro_.loop_step)
            }
            _ => false,
        }
    }

    fn call(&mut self, name: &str, args: Vec<IdedExpr>) -> Result<IdedExpr, Error> {
        self.count(1)?;
        Ok(call(name, args))
    }

    fn count(&mut self, parts: usize) -> Result<(), Error> {
        self.parts += parts;
        if self.parts > MOST { Err(Error::TooDeep) } else { Ok(()) }
    }
}

impl Guarded {
    /// True if its value is known and true.
    fn when_known(self) -> IdedExpr {
        match self.known.into_iter().reduce(and) {
            None => self.part,
            Some(known) => and(known, self.part),
        }
    }
}

/// The number of parts in a part, including itself.
fn size(part: &IdedExpr) -> usize {
    1 + match &part.expr {
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).map(size).sum(),
        Expr::List(list) => list.elements.iter().map(size).sum(),
        Expr::Comprehension(macro_) => size(&macro_.iter_range) + size(&macro_.loop_step),
        _ => 0,
    }
}

fn null() -> IdedExpr {
    IdedExpr { id: 0, expr: Expr::Literal(LiteralValue::Null) }
}

fn is_null(part: &IdedExpr) -> bool {
    matches!(part.expr, Expr::Literal(LiteralValue::Null))
}

fn call(name: &str, args: Vec<IdedExpr>) -> IdedExpr {
    IdedExpr { id: 0, expr: Expr::Call(CallExpr { func_name: name.to_owned(), target: None, args }) }
}

fn and(first: IdedExpr, second: IdedExpr) -> IdedExpr {
    call(op::LOGICAL_AND, vec![first, second])
}

fn truth() -> IdedExpr {
    IdedExpr { id: 0, expr: Expr::Literal(LiteralValue::Boolean(true.into())) }
}

/// Joins two lists of conditions, without duplicates.
fn joined(mut known: Vec<IdedExpr>, others: Vec<IdedExpr>) -> Vec<IdedExpr> {
    for other in others {
        if !known.contains(&other) {
            known.push(other);
        }
    }
    known
}
