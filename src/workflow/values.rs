//! Reads the values that people write in steps: expressions, templates, and data whose texts are templates.

use serde_json::Value;

use super::scope::NameScope;
use super::{DataTemplate, EvaluationError, Expression, InjectedArguments, InjectedSecret, OnCut, Template};
use crate::problem::did_you_mean;
use crate::yaml::{FieldReader, MapReader, NodeContent};

/// Notes what is wrong with a template or an expression.
fn parsed<T>(field: &FieldReader<'_>, result: Result<T, EvaluationError>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            let text = field.scalar().map_or("", |scalar| scalar.text.as_str());
            let assigns = error.message == "unexpected input after expression" && text.contains(" = ");
            match assigns {
                true => field.note_with_hint(error.message, "to compare, write =="),
                false => field.note(error.message),
            }
            None
        }
    }
}

/// A bare expression; `true` and `false` are ones, too.
pub fn expression(field: &FieldReader<'_>, scope: &NameScope<'_>) -> Option<Expression> {
    let Some(scalar) = field.scalar() else { return field.is_not("an expression") };
    if scalar.text.trim_start().starts_with("{{") {
        let inner = scalar.text.trim().trim_start_matches("{{").trim_end_matches("}}").trim();
        field.note_with_hint("an expression here is written without braces", format!("write: {inner}"));
        return None;
    }
    if field.is_null() {
        return field.is_not("an expression");
    }
    let expression = parsed(field, Expression::parse(&scalar.text))?;
    scope.check(field, expression.names());
    Some(expression)
}

/// A text with templates in it.
pub fn template(field: &FieldReader<'_>, scope: &NameScope<'_>) -> Option<Template> {
    let template = parsed(field, Template::parse(field.text()?))?;
    scope.check(field, template.names());
    Some(template)
}

/// Any value; its texts are templates.
pub fn data(field: &FieldReader<'_>, scope: &NameScope<'_>) -> Option<DataTemplate> {
    match &field.node.content {
        NodeContent::List(_) => {
            let items: Vec<Option<DataTemplate>> = field.items()?.iter().map(|item| data(item, scope)).collect();
            items.into_iter().collect::<Option<_>>().map(DataTemplate::List)
        }
        NodeContent::Map(_) => entries(field, scope).map(DataTemplate::Map),
        NodeContent::Scalar(_) => match field.json() {
            Value::String(_) => template(field, scope).map(DataTemplate::Text),
            plain => Some(DataTemplate::Plain(plain)),
        },
    }
}

/// A map of any values; their texts are templates.
pub fn entries(field: &FieldReader<'_>, scope: &NameScope<'_>) -> Option<Vec<(String, DataTemplate)>> {
    let entries: Vec<_> =
        field.entries()?.into_iter().map(|(entry, value)| Some((entry.key.clone(), data(&value, scope)?))).collect();
    entries.into_iter().collect()
}

/// Reads `inject`.
pub fn inject(field: &FieldReader<'_>, scope: &NameScope<'_>) -> Option<InjectedArguments> {
    let mut injected = InjectedArguments::default();
    for (entry, value) in field.entries()? {
        let argument = entry.key.clone();
        if let Some(named) = secret(&value) {
            let problem = named.problem("");
            let secret = named.name().map(|name| name.to_string());
            injected.secrets.extend(secret.map(|secret| InjectedSecret { argument, secret, problem }));
        } else if let Some(key) = misspelt_secret(&value) {
            value.note_with_hint(format!("{key:?} is not `secret`"), "a secret is given so: { secret: NAME }");
        } else if let Some(data) = data(&value, scope) {
            injected.data.push((argument, data));
        }
    }
    Some(injected)
}

/// The name in `{ secret: NAME }`; none: it is data.
fn secret<'a>(field: &FieldReader<'a>) -> Option<FieldReader<'a>> {
    if !field.is_map() {
        return None;
    }
    let mut entries = field.entries()?;
    match entries.pop() {
        Some((entry, name)) if entry.key == "secret" && entries.is_empty() => Some(name),
        _ => None,
    }
}

/// The key of a map that was probably meant to be `{ secret: NAME }`.
fn misspelt_secret(field: &FieldReader<'_>) -> Option<String> {
    if !field.is_map() {
        return None;
    }
    match &field.entries()?[..] {
        [(entry, value)] if value.scalar().is_some() && did_you_mean(&entry.key, ["secret"]).is_some() => {
            Some(entry.key.clone())
        }
        _ => None,
    }
}

/// A list, or a text that is one expression, which may give a list.
pub fn list_or_expression<T>(
    field: &FieldReader<'_>,
    scope: &NameScope<'_>,
    read: impl FnOnce(&FieldReader<'_>) -> Option<T>,
) -> Option<T> {
    if field.is_list() {
        return read(field);
    }
    if !matches!(field.json(), Value::String(_)) {
        return field.is_not("a list");
    }
    let template = template(field, scope)?;
    if !template.is_one_expression() {
        let message = "this is not a list";
        match template.as_plain() {
            Some(text) => field
                .note_with_hint(message, format!("an expression that gives one needs braces: \"{{{{ {text} }}}}\"")),
            None => field.note(message),
        }
        return None;
    }
    read(field)
}

/// `on_cut`, where it is given.
pub fn on_cut(fields: &MapReader<'_>) -> Option<OnCut> {
    let words = [("continue", OnCut::Continue), ("fail", OnCut::Fail), ("ask_on", OnCut::AskOn)];
    fields.read("on_cut", |field| field.one_of(&words))
}
