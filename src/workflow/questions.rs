//! Reads the steps that show people something or ask them.

use std::collections::BTreeSet;

use serde_json::{Number, Value};

use super::answerers::answerers;
use super::json_schema::{passwords_in, schema};
use super::scope::NameScope;
use super::shapes::{CHOICE, FORM, MESSAGE, MULTIPLE_CHOICE, ON_TIMEOUT, TEXT_INPUT};
use super::values::{data, entries, list_or_expression, template};
use super::{
    ChoiceList, ChoiceOption, DataTemplate, MessageAction, MessageStepContent, OnTimeout, QuestionTerms, StepAction,
    Template, ValueType,
};
use crate::protocol::participant::{USER, WORKFLOW};
use crate::yaml::{FieldReader, MapReader};

fn asking(fields: &MapReader<'_>, scope: &NameScope<'_>) -> Option<QuestionTerms> {
    let text = |key: &'static str, default: &str| {
        fields.get(key).map_or_else(|| Some(Template::plain(default)), |field| template(&field, scope))
    };
    let prompt = fields.read("prompt", |field| template(field, scope));
    let (sender, recipient) = (text("sender", WORKFLOW), text("recipient", USER));
    let timeout = fields.read("timeout", FieldReader::duration);
    let on_timeout = fields.read("on_timeout", |field| {
        if !field.is_map() {
            let fails = field.scalar().is_some_and(|scalar| scalar.text == "fail");
            return if fails { Some(OnTimeout::Fail) } else { field.is_not("fail or { default: … }") };
        }
        data(&field.fields(&ON_TIMEOUT)?.get("default")?, scope).map(OnTimeout::Default)
    });
    if fields.get("on_timeout").is_some() && fields.get("timeout").is_none() {
        fields.field.review.add(fields.problem_at_key("on_timeout", "without a `timeout` this never happens"));
    }
    Some(QuestionTerms {
        prompt: prompt?,
        sender: sender?,
        recipient: recipient?,
        timeout,
        on_timeout: on_timeout.unwrap_or_default(),
        answerers: answerers(fields),
    })
}

pub fn text_input(field: &FieldReader<'_>, scope: &NameScope<'_>) -> Option<StepAction> {
    let fields = field.fields(&TEXT_INPUT)?;
    let asking = asking(&fields, scope);
    let suggestions = match fields.get("suggestions") {
        None => Some(DataTemplate::List(Vec::new())),
        Some(field) => list_or_expression(&field, scope, |field| {
            if field.is_list() {
                let texts: Vec<_> =
                    field.items()?.iter().map(|item| template(item, scope).map(DataTemplate::Text)).collect();
                return texts.into_iter().collect::<Option<_>>().map(DataTemplate::List);
            }
            template(field, scope).map(DataTemplate::Text)
        }),
    };
    let pattern = fields.read("pattern", |field| {
        let pattern = field.text()?;
        match regex::Regex::new(pattern) {
            Ok(_) => Some(pattern.to_owned()),
            Err(error) => {
                let reason = error.to_string();
                let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ");
                field.note(format!("this is not a regular expression: {reason}"));
                None
            }
        }
    });
    let types = [("string", ValueType::String), ("integer", ValueType::Integer), ("number", ValueType::Number)];
    let value_type = fields.read("type", |field| field.one_of(&types)).unwrap_or_default();
    Some(StepAction::TextInput {
        password: fields.read("password", FieldReader::bool).unwrap_or(false),
        multiline: fields.read("multiline", FieldReader::bool).unwrap_or(false),
        suggestions_fill: fields.read("suggestions_fill", FieldReader::bool).unwrap_or(false),
        pattern,
        value_type,
        asking: asking?,
        suggestions: suggestions?,
    })
}

pub fn multiple_choice(field: &FieldReader<'_>, scope: &NameScope<'_>) -> Option<StepAction> {
    let fields = field.fields(&MULTIPLE_CHOICE)?;
    let asking = asking(&fields, scope);
    let choices = fields.get("choices").and_then(|field| {
        if !field.is_list() {
            return list_or_expression(&field, scope, |field| template(field, scope)).map(ChoiceList::Computed);
        }
        let items = field.items()?;
        if items.is_empty() {
            field.note("there is nothing to choose from");
        }
        let choices: Vec<_> = items.iter().map(|item| choice(item, scope)).collect();
        let choices = choices.into_iter().collect::<Option<Vec<_>>>()?;
        check_labels(&items, &choices);
        Some(ChoiceList::Written(choices))
    });
    let default = fields.read("default", |field| {
        let label = Template::plain(&field.scalar()?.text);
        let label = if field.text().is_some() { template(field, scope)? } else { label };
        if let (Some(ChoiceList::Written(choices)), Some(text)) = (&choices, label.as_plain()) {
            let labels: Option<Vec<_>> = choices.iter().map(|choice| choice.label.as_plain()).collect();
            if let Some(labels) = labels
                && !labels.contains(&text)
            {
                field.note_with_hint(
                    format!("{text:?} is not one of the choices"),
                    format!("there is {}", labels.join(", ")),
                );
            }
        }
        Some(label)
    });
    let single = fields.read("single", FieldReader::bool).unwrap_or(true);
    let min = fields.read("min", |field| field.whole(0));
    let max: Option<usize> = fields.read("max", |field| field.whole(1));
    for key in ["min", "max"] {
        if single && fields.get(key).is_some() {
            fields.field.review.add(fields.problem_at_key(key, "this is for `single: false`"));
        }
    }
    if let (Some(least), Some(most)) = (min, max)
        && least > most
    {
        fields.field.review.add(fields.problem_at_key("min", format!("{least} is more than `max`, which is {most}")));
    }
    Some(StepAction::MultipleChoice { default, single, min, max, asking: asking?, choices: choices? })
}

fn choice(field: &FieldReader<'_>, scope: &NameScope<'_>) -> Option<ChoiceOption> {
    if !field.is_map() {
        let Some(scalar) = field.scalar().filter(|_| !field.is_null()) else { return field.is_not("a choice") };
        return match field.json() {
            Value::String(_) => Some(ChoiceOption { label: template(field, scope)?, value: None, description: None }),
            // `3.10` would be shown, and 3.1 be the value.
            Value::Number(number) if !is_canonical(&number, &scalar.text) => field.text().and(None),
            // A number or a truth keeps its type.
            plain => Some(ChoiceOption {
                label: Template::plain(&scalar.text),
                value: Some(DataTemplate::Plain(plain)),
                description: None,
            }),
        };
    }
    let fields = field.fields(&CHOICE)?;
    let value = fields.read("value", |field| data(field, scope));
    let description = fields.read("description", |field| template(field, scope));
    Some(ChoiceOption { label: fields.read("label", |field| template(field, scope))?, value, description })
}

/// Whether a number, written by a program that reads it, looks as it does here.
fn is_canonical(number: &Number, written: &str) -> bool {
    let is_small = number.as_i64().is_some() || number.as_u64().is_some();
    let shown = if is_small { Some(number.clone()) } else { number.as_f64().and_then(Number::from_f64) };
    shown.is_some_and(|shown| shown.as_str() == written)
}

fn check_labels(items: &[FieldReader<'_>], choices: &[ChoiceOption]) {
    let mut labels = BTreeSet::new();
    for (field, choice) in items.iter().zip(choices) {
        if let Some(label) = choice.label.as_plain()
            && !labels.insert(label)
        {
            field.note(format!("the choice {label:?} is there twice"));
        }
    }
}

pub fn form(field: &FieldReader<'_>, scope: &NameScope<'_>) -> Option<StepAction> {
    let fields = field.fields(&FORM)?;
    let asking = asking(&fields, scope);
    let schema = fields.get("schema").and_then(|field| {
        let schema = schema(&field)?;
        let of_object = schema.json.get("type").is_none_or(|kind| kind == "object");
        if !of_object {
            field.note("a form gives an object: `type: object`");
        }
        // What a form gives is stored as it is, and a password never may be.
        for name in passwords_in(&schema.json) {
            field.note_with_hint(
                format!("the form's field {name:?} is a password, and a form is stored in clear"),
                "ask for it with `text_input` and `password: true`",
            );
        }
        Some(schema)
    });
    Some(StepAction::Form { asking: asking?, schema: schema? })
}

pub fn message(field: &FieldReader<'_>, scope: &NameScope<'_>) -> Option<MessageAction> {
    let plain = |text: &str| Template::plain(text);
    if !field.is_map() {
        let content = MessageStepContent::Text(template(field, scope)?);
        return Some(MessageAction { content, sender: plain(WORKFLOW), recipient: plain(USER) });
    }
    #[derive(Clone, Copy, PartialEq)]
    enum MessageStepType {
        Text,
        System,
        Error,
    }
    let fields = field.fields(&MESSAGE)?;
    let types =
        [("text", MessageStepType::Text), ("system", MessageStepType::System), ("error", MessageStepType::Error)];
    let kind = fields.get("type").map_or(Some(MessageStepType::Text), |field| field.one_of(&types));
    let sender = fields.get("sender").map_or_else(|| Some(plain(WORKFLOW)), |field| template(&field, scope));
    let recipient = fields.get("recipient").map_or_else(|| Some(plain(USER)), |field| template(&field, scope));
    let body = fields.read("body", |field| template(field, scope));
    let long = fields.read("long", |field| template(field, scope));
    let data = fields.read("data", |field| entries(field, scope));
    let kind = kind?;
    let (wanted, unwanted): (_, &[_]) = match kind {
        MessageStepType::Text => ("body", &["data", "long"]),
        MessageStepType::System => ("data", &["body", "long"]),
        MessageStepType::Error => ("body", &["data"]),
    };
    let word = types.iter().find(|(_, each)| *each == kind).map_or("text", |(word, _)| word);
    if fields.get(wanted).is_none() {
        field.note(format!("a message of type {word} needs {wanted:?}"));
    }
    for key in unwanted.iter().copied().filter(|key| fields.get(key).is_some()) {
        field.review.add(fields.problem_at_key(key, format!("a message of type {word} has no {key:?}")));
    }
    let content = match kind {
        MessageStepType::Text => MessageStepContent::Text(body?),
        MessageStepType::System => MessageStepContent::System(data?),
        MessageStepType::Error => MessageStepContent::Error { short: body?, long },
    };
    Some(MessageAction { content, sender: sender?, recipient: recipient? })
}
