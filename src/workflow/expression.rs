//! Templates (`{{ … }}` in text) and expressions (bare, in `when`, `until`, …), both minijinja, strict: an undefined name
//! is an error, and so is comparing unlike types.

use std::sync::Arc;

use serde_json::Value;

/// Why a template or an expression has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct EvaluationError {
    /// A sentence that names what is wrong.
    pub message: String,
}

/// A bare expression.
#[derive(Debug, Clone)]
pub struct Expression {
    source: Arc<str>,
}

/// A text with `{{ … }}` in it, or none.
#[derive(Debug, Clone)]
pub struct Template {
    source: Arc<str>,
}

impl Expression {
    /// Reads an expression; the error says what is wrong with it.
    pub fn parse(source: &str) -> Result<Self, EvaluationError> {
        Ok(Self { source: source.into() })
    }

    /// Its value.
    pub fn evaluate(&self, context: &minijinja::Value) -> Result<Value, EvaluationError> {
        let _ = (context, &self.source);
        Err(EvaluationError { message: "expressions are not there yet".to_owned() })
    }

    /// Whether it holds; an error if its value is not true or false.
    pub fn holds(&self, context: &minijinja::Value) -> Result<bool, EvaluationError> {
        Ok(self.evaluate(context)? == Value::Bool(true))
    }
}

impl Template {
    /// stub
    pub fn as_plain(&self) -> Option<&str> {
        None
    }
    /// Reads a template; the error says what is wrong with it.
    pub fn parse(source: &str) -> Result<Self, EvaluationError> {
        Ok(Self { source: source.into() })
    }

    /// Its value: a text, or, where the whole template is one `{{ expression }}`, the expression's value as it is.
    pub fn evaluate(&self, context: &minijinja::Value) -> Result<Value, EvaluationError> {
        let _ = (context, &self.source);
        Err(EvaluationError { message: "templates are not there yet".to_owned() })
    }

    /// Its value as text: what is not text is written as JSON.
    pub fn render(&self, context: &minijinja::Value) -> Result<String, EvaluationError> {
        Ok(match self.evaluate(context)? {
            Value::String(text) => text,
            other => other.to_string(),
        })
    }
}
