//! Writes a parsed template or expression out again with each comparison as a call of a function that refuses unlike types
//! (`guard`), and notes on the way what names it looks up. minijinja has no hook for its operators. Working on the parsed
//! tree, with parentheses around everything that could be read otherwise, leaves nothing to guess about precedence.

use std::collections::HashSet;

use minijinja::Value;
use minijinja::machinery::ast::{self, BinOpKind, CallArg, CompareOpKind, Expr, Stmt, UnaryOpKind};
use minijinja::value::ValueKind;

use super::bounds::WEIGHED;
use super::exact_number::ARITHMETIC_VALUE;
use super::guard::COMPARE;
use super::{ENVIRONMENT, EvaluationError, NamePath};
use crate::problem::did_you_mean;

/// What YAML and JSON call `none`.
const NULL: &str = "null";

type RewriteResult = Result<(), EvaluationError>;

/// The functions that a template may call.
const FUNCTIONS: [&str; 3] = ["range", "dict", "namespace"];

pub struct ExpressionRewriter {
    out: String,
    names: Vec<NamePath>,
    /// What the template itself defines (`set`, `for`), innermost scope last.
    scopes: Vec<HashSet<String>>,
    /// In a template with statements what one operator builds may be built upon again and again: it is weighed each time.
    repeats: bool,
}

impl Default for ExpressionRewriter {
    fn default() -> Self {
        Self { out: String::new(), names: Vec::new(), scopes: vec![HashSet::new()], repeats: false }
    }
}

/// Whether this is the caller's name: null, if the caller is anonymous.
pub fn is_name_of_caller(path: &str) -> bool {
    matches!(path, "user.name" | "user.id")
}

fn refused<T>(message: impl Into<String>) -> Result<T, EvaluationError> {
    Err(EvaluationError::new(message))
}

impl ExpressionRewriter {
    /// For a template with statements.
    pub fn of_statements() -> Self {
        Self { repeats: true, ..Self::default() }
    }

    /// The text, and what it looks up in its context.
    pub fn finish(self) -> (String, Vec<NamePath>) {
        (self.out, self.names)
    }

    fn write(&mut self, text: &str) {
        self.out.push_str(text);
    }

    fn is_local(&self, name: &str) -> bool {
        self.scopes.iter().any(|scope| scope.contains(name))
    }

    fn define(&mut self, name: &str) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(name.to_owned());
        }
    }

    pub fn statements(&mut self, statements: &[Stmt<'_>]) -> RewriteResult {
        statements.iter().try_for_each(|statement| self.statement(statement))
    }

    /// An expression whose value stands in a text. An anonymous caller has no name there, where `null` would be read as one.
    pub fn shown(&mut self, expression: &Expr<'_>) -> RewriteResult {
        self.expression(expression)?;
        if self.path(expression).is_some_and(|path| is_name_of_caller(&path.join("."))) {
            self.write(" or ''");
        }
        Ok(())
    }

    fn scope(&mut self, statements: &[Stmt<'_>]) -> RewriteResult {
        self.scopes.push(HashSet::new());
        self.statements(statements)?;
        self.scopes.pop();
        Ok(())
    }

    fn statement(&mut self, statement: &Stmt<'_>) -> RewriteResult {
        match statement {
            // Text goes out as a constant: whatever braces it has stay text.
            Stmt::EmitRaw(raw) => {
                self.write("{{ ");
                self.string(raw.raw);
                self.write(" }}");
            }
            Stmt::EmitExpr(emit) => {
                self.write("{{ ");
                self.shown(&emit.expr)?;
                self.write(" }}");
            }
            Stmt::ForLoop(each) => self.for_loop(each)?,
            Stmt::IfCond(condition) => {
                self.write("{% if ");
                self.expression(&condition.expr)?;
                self.write(" %}");
                self.scope(&condition.true_body)?;
                if !condition.false_body.is_empty() {
                    self.write("{% else %}");
                    self.scope(&condition.false_body)?;
                }
                self.write("{% endif %}");
            }
            Stmt::WithBlock(with) => {
                self.write("{% with ");
                self.scopes.push(HashSet::new());
                for (index, (target, value)) in with.assignments.iter().enumerate() {
                    self.write(if index > 0 { ", " } else { "" });
                    self.assignment(target, value)?;
                }
                self.write(" %}");
                self.statements(&with.body)?;
                self.scopes.pop();
                self.write("{% endwith %}");
            }
            Stmt::Set(set) => {
                self.write("{% set ");
                self.assignment(&set.target, &set.expr)?;
                self.write(" %}");
            }
            Stmt::Continue(_) => self.write("{% continue %}"),
            Stmt::Break(_) => self.write("{% break %}"),
            _ => return refused("a template may use if, for, set and with; not blocks, macros, imports or includes"),
        }
        Ok(())
    }

    fn for_loop(&mut self, each: &ast::ForLoop<'_>) -> RewriteResult {
        if each.recursive {
            return refused("a loop in a template must not be recursive");
        }
        self.write("{% for ");
        // The list is looked up before the loop's own names are there, and written after them.
        let mut items =
            Self { out: String::new(), names: Vec::new(), scopes: self.scopes.clone(), repeats: self.repeats };
        items.expression(&each.iter)?;
        self.scopes.push(HashSet::from(["loop".to_owned()]));
        self.target(&each.target)?;
        self.write(" in ");
        self.write(&items.out);
        self.names.append(&mut items.names);
        if let Some(filter) = &each.filter_expr {
            self.write(" if ");
            self.expression(filter)?;
        }
        self.write(" %}");
        self.statements(&each.body)?;
        self.scopes.pop();
        if !each.else_body.is_empty() {
            self.write("{% else %}");
            self.scope(&each.else_body)?;
        }
        self.write("{% endfor %}");
        Ok(())
    }

    fn assignment(&mut self, target: &Expr<'_>, value: &Expr<'_>) -> RewriteResult {
        let mut right =
            Self { out: String::new(), names: Vec::new(), scopes: self.scopes.clone(), repeats: self.repeats };
        right.expression(value)?;
        self.target(target)?;
        self.write(" = ");
        self.write(&right.out);
        self.names.append(&mut right.names);
        Ok(())
    }

    fn target(&mut self, target: &Expr<'_>) -> RewriteResult {
        match target {
            Expr::Var(name) => {
                own_name(name.id)?;
                self.define(name.id);
                self.write(name.id);
            }
            Expr::GetAttr(attribute) => {
                self.expression(&attribute.expr)?;
                self.write(".");
                self.write(attribute.name);
            }
            Expr::List(list) => self.targets(&list.items)?,
            Expr::Tuple(tuple) => self.targets(&tuple.items)?,
            _ => return refused("this cannot be assigned to"),
        }
        Ok(())
    }

    fn targets(&mut self, targets: &[Expr<'_>]) -> RewriteResult {
        self.write("(");
        for target in targets {
            self.target(target)?;
            self.write(", ");
        }
        self.write(")");
        Ok(())
    }

    pub fn expression(&mut self, expression: &Expr<'_>) -> RewriteResult {
        if let Some(path) = self.path(expression) {
            self.names.push(path);
            return self.lookup(expression);
        }
        match expression {
            Expr::Var(_) | Expr::GetAttr(_) | Expr::GetItem(_) => self.lookup(expression),
            Expr::Const(constant) => self.constant(&constant.value),
            Expr::Slice(slice) => self.slice(slice),
            Expr::UnaryOp(unary) => {
                match unary.op {
                    UnaryOpKind::Not => {
                        self.write("(not ");
                        self.expression(&unary.expr)?;
                    }
                    UnaryOpKind::Neg => {
                        self.write("(-");
                        self.operand(&unary.expr)?;
                    }
                }
                self.write(")");
                Ok(())
            }
            Expr::BinOp(binary) => self.binary(binary),
            Expr::Compare(chain) => {
                let links = chain.ops.iter().map(|link| (compare_operator(link.op), &link.expr));
                self.comparison(&chain.expr, links)
            }
            Expr::IfExpr(choice) => {
                self.write("(");
                self.expression(&choice.true_expr)?;
                self.write(" if ");
                self.expression(&choice.test_expr)?;
                self.write(" else ");
                match &choice.false_expr {
                    Some(otherwise) => self.expression(otherwise)?,
                    // Jinja puts nothing into the text then.
                    None => self.write("\"\""),
                }
                self.write(")");
                Ok(())
            }
            Expr::Filter(filter) => self.filter(filter),
            Expr::Test(test) => self.test(test),
            Expr::Call(call) => self.call(call),
            Expr::List(list) => self.list("[", &list.items, "]"),
            Expr::Tuple(tuple) => self.list("(", &tuple.items, if tuple.items.len() == 1 { ",)" } else { ")" }),
            Expr::Map(map) => {
                self.weighed(self.repeats);
                self.write("{");
                for (key, value) in map.keys.iter().zip(&map.values) {
                    self.expression(key)?;
                    self.write(": ");
                    self.expression(value)?;
                    self.write(", ");
                }
                self.write("}");
                self.end_weighed(self.repeats);
                Ok(())
            }
        }
    }

    /// The path that a chain of lookups takes from a name of the context; none for anything else.
    fn path(&self, expression: &Expr<'_>) -> Option<NamePath> {
        match expression {
            Expr::Var(name) => (!self.is_local(name.id) && name.id != NULL).then(|| vec![name.id.to_owned()]),
            Expr::GetAttr(attribute) => {
                let mut path = self.path(&attribute.expr)?;
                path.push(attribute.name.to_owned());
                Some(path)
            }
            Expr::GetItem(item) => {
                let Expr::Const(constant) = &item.subscript_expr else { return None };
                let key = match constant.value.kind() {
                    ValueKind::String => constant.value.as_str()?.to_owned(),
                    ValueKind::Number => constant.value.to_string(),
                    _ => return None,
                };
                let mut path = self.path(&item.expr)?;
                path.push(key);
                Some(path)
            }
            _ => None,
        }
    }

    /// A name, or a lookup in a value. The names of what is looked up in are noted only if the whole was not (`expression`).
    fn lookup(&mut self, expression: &Expr<'_>) -> RewriteResult {
        let noted = self.path(expression).is_some();
        let inner = |this: &mut Self, inner: &Expr<'_>| if noted { this.lookup(inner) } else { this.expression(inner) };
        match expression {
            Expr::Var(name) => {
                own_name(name.id)?;
                self.write(if name.id == NULL && !self.is_local(NULL) { "none" } else { name.id });
                Ok(())
            }
            Expr::GetAttr(attribute) => {
                inner(self, &attribute.expr)?;
                self.write(".");
                self.write(attribute.name);
                Ok(())
            }
            Expr::GetItem(item) => {
                inner(self, &item.expr)?;
                self.write("[");
                self.expression(&item.subscript_expr)?;
                self.write("]");
                Ok(())
            }
            other => self.expression(other),
        }
    }

    fn slice(&mut self, slice: &ast::Slice<'_>) -> RewriteResult {
        self.weighed(self.repeats);
        self.expression(&slice.expr)?;
        self.write("[");
        if let Some(start) = &slice.start {
            self.expression(start)?;
        }
        self.write(":");
        if let Some(stop) = &slice.stop {
            self.expression(stop)?;
        }
        if let Some(step) = &slice.step {
            self.write(":");
            self.expression(step)?;
        }
        self.write("]");
        self.end_weighed(self.repeats);
        Ok(())
    }

    fn binary(&mut self, binary: &ast::BinOp<'_>) -> RewriteResult {
        let operator = match binary.op {
            BinOpKind::Eq => return self.comparison(&binary.left, [("==", &binary.right)].into_iter()),
            BinOpKind::Ne => return self.comparison(&binary.left, [("!=", &binary.right)].into_iter()),
            BinOpKind::Lt => return self.comparison(&binary.left, [("<", &binary.right)].into_iter()),
            BinOpKind::Lte => return self.comparison(&binary.left, [("<=", &binary.right)].into_iter()),
            BinOpKind::Gt => return self.comparison(&binary.left, [(">", &binary.right)].into_iter()),
            BinOpKind::Gte => return self.comparison(&binary.left, [(">=", &binary.right)].into_iter()),
            BinOpKind::In => return self.comparison(&binary.left, [("in", &binary.right)].into_iter()),
            BinOpKind::ScAnd => " and ",
            BinOpKind::ScOr => " or ",
            BinOpKind::Add => " + ",
            BinOpKind::Sub => " - ",
            BinOpKind::Mul => " * ",
            BinOpKind::Div => " / ",
            BinOpKind::FloorDiv => " // ",
            BinOpKind::Rem => " % ",
            BinOpKind::Pow => " ** ",
            BinOpKind::Concat => " ~ ",
        };
        let multiplies = matches!(binary.op, BinOpKind::Mul);
        let joins = matches!(binary.op, BinOpKind::Add | BinOpKind::Concat);
        self.weighed(multiplies || joins && self.repeats);
        self.write("(");
        self.chain(binary, operator)?;
        self.write(")");
        self.end_weighed(multiplies || joins && self.repeats);
        Ok(())
    }

    fn weighed(&mut self, is_weighed: bool) {
        if is_weighed {
            self.write(WEIGHED);
            self.write("(");
        }
    }

    fn end_weighed(&mut self, is_weighed: bool) {
        self.write(if is_weighed { ")" } else { "" });
    }

    /// `a + b + c` is written without inner parentheses, lest a long sum become a deep one.
    fn chain(&mut self, binary: &ast::BinOp<'_>, operator: &str) -> RewriteResult {
        use BinOpKind::{Add, Div, FloorDiv, Mul, Pow, Rem, Sub};
        let is_arithmetic = matches!(binary.op, Add | Sub | Mul | Div | FloorDiv | Rem | Pow);
        let side =
            |this: &mut Self, side: &Expr<'_>| if is_arithmetic { this.operand(side) } else { this.expression(side) };
        match &binary.left {
            Expr::BinOp(left) if same_and_leftward(left.op, binary.op) => self.chain(left, operator)?,
            left => side(self, left)?,
        }
        self.write(operator);
        side(self, &binary.right)
    }

    /// An operand of arithmetic: of a number that keeps its digits, its value.
    fn operand(&mut self, operand: &Expr<'_>) -> RewriteResult {
        let may_be_exact = !matches!(operand, Expr::Const(_) | Expr::UnaryOp(_) | Expr::Compare(_));
        if !may_be_exact {
            return self.expression(operand);
        }
        self.write(ARITHMETIC_VALUE);
        self.write("(");
        self.expression(operand)?;
        self.write(")");
        Ok(())
    }

    fn comparison<'e>(
        &mut self,
        first: &Expr<'_>,
        links: impl Iterator<Item = (&'static str, &'e Expr<'e>)>,
    ) -> RewriteResult {
        self.write(COMPARE);
        self.write("(");
        self.expression(first)?;
        for (operator, operand) in links {
            self.write(&format!(", \"{operator}\", "));
            self.expression(operand)?;
        }
        self.write(")");
        Ok(())
    }

    fn filter(&mut self, filter: &ast::Filter<'_>) -> RewriteResult {
        let Some(value) = &filter.expr else { return refused("a filter needs a value") };
        known_word("filter", filter.name)?;
        self.write("(");
        self.expression(value)?;
        self.write("|");
        self.write(filter.name);
        self.arguments(&filter.args)?;
        self.write(")");
        Ok(())
    }

    fn test(&mut self, test: &ast::Test<'_>) -> RewriteResult {
        known_word("test", test.name)?;
        self.write("(");
        self.expression(&test.expr)?;
        self.write(" is ");
        self.write(test.name);
        if !test.args.is_empty() {
            self.arguments(&test.args)?;
        }
        self.write(")");
        Ok(())
    }

    fn call(&mut self, call: &ast::Call<'_>) -> RewriteResult {
        let builds = self.repeats && matches!(call.expr, Expr::Var(_));
        self.weighed(builds);
        match &call.expr {
            Expr::Var(name) if FUNCTIONS.contains(&name.id) => self.write(name.id),
            Expr::Var(name) => {
                return refused(format!(
                    "there is no function {:?}; a filter is written as `value | {}`",
                    name.id, name.id
                ));
            }
            Expr::GetAttr(method) => match &method.expr {
                Expr::Var(name) if name.id == "loop" && self.is_local("loop") => {
                    self.write("loop.");
                    self.write(method.name);
                }
                _ => {
                    let advice = "values have no methods; filters do their work: `value | trim`, `value | items`";
                    return refused(format!("there is no method {:?}: {advice}", method.name));
                }
            },
            _ => return refused("this cannot be called"),
        }
        self.write("(");
        self.call_arguments(&call.args)?;
        self.write(")");
        self.end_weighed(builds);
        Ok(())
    }

    fn arguments(&mut self, arguments: &[CallArg<'_>]) -> RewriteResult {
        self.write("(");
        self.call_arguments(arguments)?;
        self.write(")");
        Ok(())
    }

    fn call_arguments(&mut self, arguments: &[CallArg<'_>]) -> RewriteResult {
        for (index, argument) in arguments.iter().enumerate() {
            self.write(if index > 0 { ", " } else { "" });
            match argument {
                CallArg::Pos(value) => self.expression(value)?,
                CallArg::Kwarg(name, value) => {
                    self.write(name);
                    self.write("=");
                    self.expression(value)?;
                }
                CallArg::PosSplat(value) => {
                    self.write("*");
                    self.expression(value)?;
                }
                CallArg::KwargSplat(value) => {
                    self.write("**");
                    self.expression(value)?;
                }
            }
        }
        Ok(())
    }

    fn list(&mut self, open: &str, items: &[Expr<'_>], close: &str) -> RewriteResult {
        self.weighed(self.repeats);
        self.write(open);
        for (index, item) in items.iter().enumerate() {
            self.write(if index > 0 { ", " } else { "" });
            self.expression(item)?;
        }
        self.write(close);
        self.end_weighed(self.repeats);
        Ok(())
    }

    fn constant(&mut self, value: &Value) -> RewriteResult {
        match value.kind() {
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::None => self.write("none"),
            ValueKind::Bool => self.write(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number if value.is_integer() => self.write(&value.to_string()),
            ValueKind::Number => match f64::try_from(value.clone()) {
                Ok(number) if number.is_finite() => {
                    let text = number.to_string();
                    self.write(&text);
                    self.write(if text.contains('.') { "" } else { ".0" });
                }
                _ => return refused(format!("{value} is no number that JSON has")),
            },
            kind => return refused(format!("a constant cannot be a {kind}")),
        }
        Ok(())
    }

    fn string(&mut self, text: &str) {
        self.write("\"");
        for c in text.chars() {
            match c {
                '"' | '\\' => self.out.extend(['\\', c]),
                '\n' => self.write("\\n"),
                '\r' => self.write("\\r"),
                c if c.is_control() => {
                    let mut units = [0; 2];
                    for unit in c.encode_utf16(&mut units) {
                        self.write(&format!("\\u{unit:04x}"));
                    }
                }
                c => self.out.push(c),
            }
        }
        self.write("\"");
    }
}

fn compare_operator(operator: CompareOpKind) -> &'static str {
    match operator {
        CompareOpKind::Eq => "==",
        CompareOpKind::Ne => "!=",
        CompareOpKind::Lt => "<",
        CompareOpKind::Lte => "<=",
        CompareOpKind::Gt => ">",
        CompareOpKind::Gte => ">=",
        CompareOpKind::In => "in",
        CompareOpKind::NotIn => "not in",
    }
}

fn same_and_leftward(left: BinOpKind, right: BinOpKind) -> bool {
    use BinOpKind::{Add, Concat, ScAnd, ScOr};
    matches!((left, right), (Add, Add) | (Concat, Concat) | (ScAnd, ScAnd) | (ScOr, ScOr))
}

/// Names that begin with two underscores are ours.
fn own_name(name: &str) -> RewriteResult {
    if name.starts_with("__") {
        refused(format!("{name:?}: names that begin with two underscores are reserved"))
    } else {
        Ok(())
    }
}

/// Refuses a filter or test that minijinja does not have; it would say so only when it is used.
fn known_word(kind: &str, name: &str) -> RewriteResult {
    let known = ENVIRONMENT
        .compile_expression(if kind == "filter" { "name is filter" } else { "name is test" })
        .and_then(|question| question.eval(minijinja::context! { name }))
        .is_ok_and(|answer| answer.is_true());
    if known {
        return Ok(());
    }
    let words = [
        "default", "length", "join", "tojson", "lower", "upper", "trim", "first", "last", "replace", "defined", "none",
    ];
    let hint = did_you_mean(name, words).map(|hint| format!("; {hint}")).unwrap_or_default();
    refused(format!("there is no {kind} {name:?}{hint}"))
}
