//! Templates (`{{ … }}` in text) and expressions (bare, in `when`, `until`, …), both minijinja, strict: an undefined name
//! is an error, and so is comparing unlike types. Nothing here reaches the world: no files, no clock, no chance; what is
//! evaluated again has the same value again. Everything is compiled once, when it is parsed; a text without braces costs
//! nothing to evaluate but its copy.

use std::fmt;
use std::sync::{Arc, LazyLock};

use minijinja::machinery::{ast, parse, parse_expr};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{Environment, ErrorKind, UndefinedBehavior};
use serde_json::Value;

mod bounds;
mod exact_number;
mod guard;
mod rewrite;
mod values;

use rewrite::{ExpressionRewriter, is_name_of_caller};
pub use values::{seen, seen_map};

/// What one evaluation may take, in steps of minijinja's machine: a template cannot hold up a worker. What one step may
/// build is bounded, too (`bounds`).
const FUEL: u64 = 200_000;

/// Why a template or an expression has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct EvaluationError {
    /// A sentence that names what is wrong.
    pub message: String,
}

impl EvaluationError {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}

/// A name in the context, and what is looked up in it: `["steps", "lesson", "summary"]`.
pub type NamePath = Vec<String>;

/// A bare expression.
#[derive(Clone)]
pub struct Expression {
    compiled: Arc<CompiledExpression>,
}

/// A text with `{{ … }}` in it, or none.
#[derive(Clone)]
pub struct Template {
    kind: TemplateKind,
}

#[derive(Clone)]
enum TemplateKind {
    Plain(Arc<str>),
    Single(Arc<CompiledExpression>),
    Pieces(Arc<str>, Arc<[TemplatePiece]>),
    Program(Arc<TemplateProgram>),
}

enum TemplatePiece {
    Raw(String),
    Expression(CompiledExpression),
}

/// An expression, ready to be evaluated.
struct CompiledExpression {
    source: String,
    names: Vec<NamePath>,
    expression: minijinja::Expression<'static, 'static>,
}

/// A template with statements (`{% … %}`); minijinja cannot keep one compiled apart from its environment, so it is compiled
/// at each use.
struct TemplateProgram {
    source: String,
    names: Vec<NamePath>,
    rewritten: String,
}

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.set_syntax(SYNTAX.clone());
    environment.remove_global("debug");
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_formatter(|output, _, value| {
        let text = values::text(value).map_err(|message| minijinja::Error::new(ErrorKind::UndefinedError, message))?;
        bounds::write(text.len())?;
        output.write_str(&text).map_err(Into::into)
    });
    exact_number::install(&mut environment);
    guard::install(&mut environment);
    bounds::install(&mut environment);
    environment
});

static SYNTAX: LazyLock<SyntaxConfig> = LazyLock::new(|| {
    SyntaxConfig::builder().keep_trailing_newline(true).build().expect("the default delimiters fit together")
});

impl Expression {
    /// Reads an expression; the error says what is wrong with it.
    pub fn parse(source: &str) -> Result<Self, EvaluationError> {
        if source.trim_start().starts_with("{{") {
            return Err(EvaluationError::new("an expression here is written without braces"));
        }
        let parsed = parse_expr(source).map_err(|error| syntax_error(&error))?;
        Ok(Self { compiled: Arc::new(CompiledExpression::new(source.trim(), &parsed)?) })
    }

    /// Its value.
    pub fn evaluate(&self, context: &minijinja::Value) -> Result<Value, EvaluationError> {
        self.compiled.evaluate(context)
    }

    /// Whether it holds; an error if its value is not true or false.
    pub fn holds(&self, context: &minijinja::Value) -> Result<bool, EvaluationError> {
        let value = self.compiled.value(context)?;
        match value.kind() {
            ValueKind::Bool => Ok(value.is_true()),
            _ => {
                let what = values::described(&value);
                Err(EvaluationError::new(format!("`{}` is {what}, neither true nor false", self.compiled.source)))
            }
        }
    }

    /// What it looks up in its context.
    pub fn names(&self) -> &[NamePath] {
        &self.compiled.names
    }

    /// The expression as written.
    pub fn source(&self) -> &str {
        &self.compiled.source
    }
}

impl Template {
    /// Reads a template; the error says what is wrong with it.
    pub fn parse(source: &str) -> Result<Self, EvaluationError> {
        if !["{{", "{%", "{#"].iter().any(|opening| source.contains(opening)) {
            return Ok(Self::plain(source));
        }
        let parsed = parse(source, "<template>", SYNTAX.clone()).map_err(|error| syntax_error(&error))?;
        let ast::Stmt::Template(template) = &parsed else { return Err(EvaluationError::new("this is not a template")) };
        let simple = |statement: &ast::Stmt| matches!(statement, ast::Stmt::EmitRaw(_) | ast::Stmt::EmitExpr(_));
        let kind = match template.children.as_slice() {
            [ast::Stmt::EmitExpr(only)] => {
                TemplateKind::Single(Arc::new(CompiledExpression::within(source, &only.expr)?))
            }
            // A block text ends with a line break that nobody means.
            [ast::Stmt::EmitExpr(only), ast::Stmt::EmitRaw(raw)] if raw.raw == "\n" => {
                TemplateKind::Single(Arc::new(CompiledExpression::within(source, &only.expr)?))
            }
            pieces if pieces.iter().all(simple) => {
                let pieces: Result<Vec<_>, _> = pieces.iter().map(|piece| TemplatePiece::new(source, piece)).collect();
                TemplateKind::Pieces(source.into(), pieces?.into())
            }
            statements => {
                let mut rewriter = ExpressionRewriter::of_statements();
                rewriter.statements(statements)?;
                let (rewritten, names) = rewriter.finish();
                ENVIRONMENT.template_from_str(&rewritten).map_err(|error| syntax_error(&error))?;
                TemplateKind::Program(Arc::new(TemplateProgram { source: source.to_owned(), names, rewritten }))
            }
        };
        Ok(Self { kind })
    }

    /// A text that is taken as it is.
    pub fn plain(text: &str) -> Self {
        Self { kind: TemplateKind::Plain(text.into()) }
    }

    /// Its value: a text, or, where the whole template is one `{{ expression }}`, the expression's value as it is.
    pub fn evaluate(&self, context: &minijinja::Value) -> Result<Value, EvaluationError> {
        Ok(match &self.kind {
            TemplateKind::Plain(text) => Value::String(text.to_string()),
            TemplateKind::Single(compiled) => compiled.evaluate(context)?,
            TemplateKind::Pieces(source, pieces) => Value::String(render_pieces(source, pieces, context)?),
            TemplateKind::Program(program) => Value::String(program.render(context)?),
        })
    }

    /// Its value as text: what is not text is written as JSON.
    pub fn render(&self, context: &minijinja::Value) -> Result<String, EvaluationError> {
        Ok(match self.evaluate(context)? {
            Value::String(text) => text,
            Value::Null if is_name_of_caller(self.source().trim_matches(['{', '}', ' ', '\n'])) => String::new(),
            other => other.to_string(),
        })
    }

    /// What it looks up in its context.
    pub fn names(&self) -> Vec<&NamePath> {
        match &self.kind {
            TemplateKind::Plain(_) => Vec::new(),
            TemplateKind::Single(compiled) => compiled.names.iter().collect(),
            TemplateKind::Pieces(_, pieces) => pieces.iter().flat_map(TemplatePiece::names).collect(),
            TemplateKind::Program(program) => program.names.iter().collect(),
        }
    }

    /// The text, if nothing is to be put into it.
    pub fn as_plain(&self) -> Option<&str> {
        match &self.kind {
            TemplateKind::Plain(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it is one `{{ expression }}`: its value may be anything.
    pub fn is_one_expression(&self) -> bool {
        matches!(self.kind, TemplateKind::Single(_))
    }

    /// The template as written.
    pub fn source(&self) -> &str {
        match &self.kind {
            TemplateKind::Plain(text) => text,
            TemplateKind::Single(compiled) => &compiled.source,
            TemplateKind::Pieces(source, _) => source,
            TemplateKind::Program(program) => &program.source,
        }
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expression({:?})", self.compiled.source)
    }
}
impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Template({:?})", self.source())
    }
}

impl CompiledExpression {
    fn new(source: &str, parsed: &ast::Expr<'_>) -> Result<Self, EvaluationError> {
        let mut rewriter = ExpressionRewriter::default();
        rewriter.expression(parsed)?;
        Self::of(source, rewriter)
    }

    fn of(source: &str, rewriter: ExpressionRewriter) -> Result<Self, EvaluationError> {
        let (rewritten, names) = rewriter.finish();
        let expression = ENVIRONMENT.compile_expression_owned(rewritten).map_err(|error| syntax_error(&error))?;
        Ok(Self { source: source.to_owned(), names, expression })
    }

    /// An expression in a template, whose source is a part of the template's.
    fn within(template: &str, parsed: &ast::Expr<'_>) -> Result<Self, EvaluationError> {
        Self::new(part(template, parsed), parsed)
    }

    /// An expression whose value stands in a text.
    fn shown(template: &str, parsed: &ast::Expr<'_>) -> Result<Self, EvaluationError> {
        let mut rewriter = ExpressionRewriter::default();
        rewriter.shown(parsed)?;
        Self::of(part(template, parsed), rewriter)
    }

    fn value(&self, context: &minijinja::Value) -> Result<minijinja::Value, EvaluationError> {
        bounds::begin();
        let value = self
            .expression
            .eval(context.clone())
            .map_err(|error| evaluation_error(&self.source, &self.names, context, &error))?;
        if value.is_undefined() {
            let message = undefined_name(&self.names, context).unwrap_or_else(|| "it is not defined".to_owned());
            return Err(EvaluationError::new(format!("in `{}`: {message}", shortened(&self.source))));
        }
        Ok(value)
    }

    fn evaluate(&self, context: &minijinja::Value) -> Result<Value, EvaluationError> {
        let value = self.value(context)?;
        values::json(&value)
            .map_err(|message| EvaluationError::new(format!("in `{}`: {message}", shortened(&self.source))))
    }
}

/// The part of a template's source that an expression in it was read from.
fn part<'t>(template: &'t str, parsed: &ast::Expr<'_>) -> &'t str {
    let span = parsed.span();
    template.get(span.start_offset as usize..span.end_offset as usize).unwrap_or(template).trim()
}

impl TemplatePiece {
    fn new(template: &str, statement: &ast::Stmt<'_>) -> Result<Self, EvaluationError> {
        Ok(match statement {
            ast::Stmt::EmitExpr(expression) => Self::Expression(CompiledExpression::shown(template, &expression.expr)?),
            ast::Stmt::EmitRaw(raw) => Self::Raw(raw.raw.to_owned()),
            _ => return Err(EvaluationError::new("this is not a piece of text")),
        })
    }

    fn names(&self) -> &[NamePath] {
        match self {
            Self::Raw(_) => &[],
            Self::Expression(compiled) => &compiled.names,
        }
    }
}

fn render_pieces(
    source: &str,
    pieces: &[TemplatePiece],
    context: &minijinja::Value,
) -> Result<String, EvaluationError> {
    let mut text = String::with_capacity(source.len());
    for piece in pieces {
        match piece {
            TemplatePiece::Raw(raw) => text.push_str(raw),
            TemplatePiece::Expression(compiled) => {
                let value = compiled.value(context)?;
                let written = values::text(&value).map_err(|message| {
                    EvaluationError::new(format!("in `{}`: {message}", shortened(&compiled.source)))
                })?;
                if text.len() + written.len() > bounds::MOST_BYTES {
                    let most = bounds::MOST_BYTES >> 20;
                    return Err(EvaluationError::new(format!(
                        "in `{}`: it builds a text of more than {most} MiB",
                        shortened(source)
                    )));
                }
                text.push_str(&written);
            }
        }
    }
    Ok(text)
}

impl TemplateProgram {
    fn render(&self, context: &minijinja::Value) -> Result<String, EvaluationError> {
        let explain = |error| evaluation_error(&self.source, &self.names, context, &error);
        let template = ENVIRONMENT.template_from_str(&self.rewritten).map_err(explain)?;
        bounds::begin();
        template.render(context.clone()).map_err(explain)
    }
}

fn syntax_error(error: &minijinja::Error) -> EvaluationError {
    let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    EvaluationError::new(detail.replace("template exceeds", "this exceeds"))
}

fn evaluation_error(
    source: &str,
    names: &[NamePath],
    context: &minijinja::Value,
    error: &minijinja::Error,
) -> EvaluationError {
    let detail = || error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    let message = match error.kind() {
        ErrorKind::UndefinedError => undefined_name(names, context).unwrap_or_else(detail),
        ErrorKind::OutOfFuel => "it takes too long".to_owned(),
        _ => detail(),
    };
    EvaluationError::new(format!("in `{}`: {message}", shortened(source)))
}

/// Says which of the names is not there.
fn undefined_name(names: &[NamePath], context: &minijinja::Value) -> Option<String> {
    for path in names {
        let mut value = context.clone();
        for (index, part) in path.iter().enumerate() {
            let inner = match part.parse::<usize>() {
                Ok(number) if index > 0 && !matches!(value.kind(), ValueKind::Map) => value.get_item(&number.into()),
                _ => value.get_attr(part),
            };
            let known = path[..index].join(".");
            match inner {
                Ok(inner) if !inner.is_undefined() => value = inner,
                _ if value.is_none() => return Some(format!("`{known}` is null, it has no `{part}`")),
                _ if index == 0 => return Some(format!("`{part}` is not defined")),
                _ if index == 1 && path[0] == "args" => return Some(format!("the argument `{part}` was not given")),
                _ => return Some(format!("`{}` is not defined", path[..=index].join("."))),
            }
        }
    }
    None
}

fn shortened(source: &str) -> String {
    let line = source.lines().next().unwrap_or_default();
    let cut: String = line.chars().take(80).collect();
    if cut.len() < source.len() { format!("{cut}…") } else { cut }
}

#[cfg(test)]
mod tests;
