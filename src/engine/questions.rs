//! The questions that steps ask: what is offered, who is asked, and what an answer means as a value.

use serde_json::Value;

use crate::chat::{HumanQuestion, HumanReply, Result, WorkflowStop};
use crate::engine::effects::{self, ScopedEffects};
use crate::engine::scope::ExpressionScope;
use crate::message::{MessageContent, TextValue};
use crate::protocol::failure::FailureKind;
use crate::workflow::{ChoiceList, DataTemplate, OnTimeout, QuestionTerms, ValueType};

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

pub(super) async fn ask(
    effects: &ScopedEffects,
    scope: &ExpressionScope,
    asking: &QuestionTerms,
    says: MessageContent,
) -> Result<Value> {
    let default = match &asking.on_timeout {
        OnTimeout::Fail => None,
        OnTimeout::Default(data) => Some(scope.value(data)?),
    };
    let question = HumanQuestion {
        sender: scope.text(&asking.sender)?,
        recipient: scope.text(&asking.recipient)?,
        says,
        timeout: asking.timeout,
        default,
        answerers: asking.answerers.clone(),
    };
    match effects::ask(effects, question).await? {
        HumanReply::Given(value) => Ok(value),
        HumanReply::TimedOut => {
            let timeout = asking.timeout.unwrap_or_default();
            Err(WorkflowStop::failed(FailureKind::Timeout, format!("nobody answered within {timeout:?}")))
        }
    }
}

/// A choice as it is offered.
pub(super) struct OfferedChoice {
    pub label: String,
    pub value: Option<Value>,
    pub description: Option<String>,
}

pub(super) fn offered(choices: &ChoiceList, scope: &ExpressionScope) -> Result<Vec<OfferedChoice>> {
    let offers: Vec<OfferedChoice> = match choices {
        ChoiceList::Written(choices) => choices
            .iter()
            .map(|choice| {
                Ok(OfferedChoice {
                    label: scope.text(&choice.label)?,
                    value: choice.value.as_ref().map(|value| scope.value(value)).transpose()?,
                    description: choice.description.as_ref().map(|text| scope.text(text)).transpose()?,
                })
            })
            .collect::<Result<_>>()?,
        ChoiceList::Computed(template) => match scope.value(&DataTemplate::Text(template.clone()))? {
            Value::Array(items) => items.into_iter().map(computed_offer).collect(),
            other => {
                return Err(WorkflowStop::failed(
                    FailureKind::Template,
                    format!("choices must be a list, not {other}"),
                ));
            }
        },
    };
    if offers.is_empty() {
        return Err(WorkflowStop::failed(FailureKind::Template, "there is nothing to choose from"));
    }
    Ok(offers)
}

fn computed_offer(item: Value) -> OfferedChoice {
    match item {
        Value::Object(mut fields) => {
            let value = fields.remove("value");
            let label = fields.remove("label").or_else(|| value.clone()).map(text).unwrap_or_default();
            OfferedChoice { label, value, description: fields.remove("description").map(text) }
        }
        label => OfferedChoice { label: text(label), value: None, description: None },
    }
}

/// What was chosen, as values instead of labels.
pub(super) fn chosen(answer: Value, offers: &[OfferedChoice]) -> Value {
    let value_of = |label: Value| {
        let offer = offers.iter().find(|offer| Some(offer.label.as_str()) == label.as_str());
        offer.and_then(|offer| offer.value.clone()).unwrap_or(label)
    };
    match answer {
        Value::Array(labels) => labels.into_iter().map(value_of).collect(),
        label => value_of(label),
    }
}
