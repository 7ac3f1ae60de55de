//! The questions that steps ask: what is offered, who is asked, and what an answer means as a value.

use serde_json::Value;

use crate::chat::{Answer, Question, Result, Stop};
use crate::engine::effects::{self, Scoped};
use crate::engine::scope::Scope;
use crate::message::{Content, TextValue};
use crate::protocol::failure::FailureKind;
use crate::workflow::{Asking, Choices, Data, OnTimeout, ValueType};

pub(super) fn text_value(kind: ValueType) -> TextValue {
    match kind {
        ValueType::String => TextValue::String,
        ValueType::Integer => TextValue::Integer,
        ValueType::Number => TextValue::Number,
    }
}

pub(super) fn texts(value: Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.into_iter().map(text).collect(),
        Value::Null => Vec::new(),
        one => vec![text(one)],
    }
}

fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

pub(super) async fn ask(fx: &Scoped, scope: &Scope, asking: &Asking, says: Content) -> Result<Value> {
    let default = match &asking.on_timeout {
        OnTimeout::Fail => None,
        OnTimeout::Default(data) => Some(scope.value(data)?),
    };
    let question = Question {
        sender: scope.text(&asking.sender)?,
        recipient: scope.text(&asking.recipient)?,
        says,
        timeout: asking.timeout,
        default,
    };
    match effects::ask(fx, question).await? {
        Answer::Given(value) => Ok(value),
        Answer::TimedOut => {
            let timeout = asking.timeout.unwrap_or_default();
            Err(Stop::failed(FailureKind::Timeout, format!("nobody answered within {timeout:?}")))
        }
    }
}

/// A choice as it is offered.
pub(super) struct Offer {
    pub label: String,
    pub value: Option<Value>,
    pub description: Option<String>,
}

pub(super) fn offered(choices: &Choices, scope: &Scope) -> Result<Vec<Offer>> {
    let offers: Vec<Offer> = match choices {
        Choices::Written(choices) => choices
            .iter()
            .map(|choice| {
                Ok(Offer {
                    label: scope.text(&choice.label)?,
                    value: choice.value.as_ref().map(|value| scope.value(value)).transpose()?,
                    description: choice.description.as_ref().map(|text| scope.text(text)).transpose()?,
                })
            })
            .collect::<Result<_>>()?,
        Choices::Computed(template) => match scope.value(&Data::Text(template.clone()))? {
            Value::Array(items) => items.into_iter().map(computed_offer).collect(),
            other => return Err(Stop::failed(FailureKind::Template, format!("choices must be a list, not {other}"))),
        },
    };
    if offers.is_empty() {
        return Err(Stop::failed(FailureKind::Template, "there is nothing to choose from"));
    }
    Ok(offers)
}

fn computed_offer(item: Value) -> Offer {
    match item {
        Value::Object(mut fields) => {
            let value = fields.remove("value");
            let label = fields.remove("label").or_else(|| value.clone()).map(text).unwrap_or_default();
            Offer { label, value, description: fields.remove("description").map(text) }
        }
        label => Offer { label: text(label), value: None, description: None },
    }
}

/// What was chosen, as values instead of labels.
pub(super) fn chosen(answer: Value, offers: &[Offer]) -> Value {
    let value_of = |label: Value| {
        let offer = offers.iter().find(|offer| Some(offer.label.as_str()) == label.as_str());
        offer.and_then(|offer| offer.value.clone()).unwrap_or(label)
    };
    match answer {
        Value::Array(labels) => labels.into_iter().map(value_of).collect(),
        label => value_of(label),
    }
}
