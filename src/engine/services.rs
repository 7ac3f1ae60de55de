//! Requests to services on NATS: the arguments of a tool go to a subject, and what comes back is its result.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::time::Instant;

use crate::broker::services::{ServiceError, ServiceReply, ServiceRequest};
use crate::chat::{Result, WorkflowStop};
use crate::engine::arguments::with_injected;
use crate::engine::call_reach::CallReach;
use crate::engine::effects::{self, ScopedEffects};
use crate::engine::rates::turn;
use crate::engine::scope::ExpressionScope;
use crate::engine::tool_failure::failed;
use crate::outside::service_reply::{fault_words, reply_value};
use crate::outside::toolset::ToolsetError;
use crate::protocol::failure::FailureKind;
use crate::workflow::{AddressPart, NatsStep, SecretReceiver, is_token, refuses_subject};

/// How long a subject that nobody serves is asked again, if that does no harm: a service starts again within seconds.
const NOBODY_PATIENCE: Duration = Duration::from_secs(5);
/// How long is waited before that; each time twice as long.
const BEFORE_NEXT_REQUEST: Duration = Duration::from_millis(250);

/// Asks a service, or tells what came of it.
pub(super) async fn request(effects: &ScopedEffects, scope: &mut ExpressionScope, step: &NatsStep) -> Result<Value> {
    let turn = async || turn(effects, step.rate.as_ref(), step.error_message.as_deref()).await;
    let ask = async |key: &str| service_call(CallReach::of_run(effects), scope, step, key).await;
    effects::outside(effects, step.idempotent, turn, ask).await
}

/// Asks a service once.
pub(super) async fn service_call(
    reach: CallReach<'_>,
    scope: &mut ExpressionScope,
    step: &NatsStep,
    key: &str,
) -> Result<Value> {
    let subject = subject_of(scope, step)?;
    let receiver = SecretReceiver::Nats(subject.clone());
    let mut arguments = with_injected(reach, scope, &step.inject, key, &receiver).await?;
    let named = step.named_args();
    arguments.retain(|name, _| !named.contains(name.as_str()));
    let payload = Bytes::from(Value::Object(arguments).to_string());
    let reply = reply(reach, step, ServiceRequest { subject: &subject, key, payload, within: step.within }).await;
    let hidden = reach.outside.secrets.hidden_texts();
    let came = match reply {
        Ok(ServiceReply { payload, fault: None }) => {
            reply_value(&subject, &payload, step.max_result, hidden).map_err(ToolsetError::Failed)
        }
        Ok(ServiceReply { payload, fault: Some(fault) }) => {
            let (code, description) = (&fault.code, &fault.description);
            let words = fault_words(&subject, code, description, &payload, step.max_result, hidden);
            Err(ToolsetError::Failed(words))
        }
        Err(error) => Err(error),
    };
    came.map_err(|error| failed(reach, &subject, step.error_message.as_deref(), &error))
}

/// What a service replies. One that is not there yet is asked again, if that does no harm.
async fn reply(
    reach: CallReach<'_>,
    step: &NatsStep,
    request: ServiceRequest<'_>,
) -> std::result::Result<ServiceReply, ToolsetError> {
    let Some(services) = reach.services else {
        let words = format!("{} was not asked: this worker has no NATS server", request.subject);
        return Err(ToolsetError::Unavailable(words));
    };
    let begun = Instant::now();
    let mut pause = BEFORE_NEXT_REQUEST;
    loop {
        let within = request.within.saturating_sub(begun.elapsed());
        let error = match services.request(ServiceRequest { within, ..request.clone() }).await {
            Ok(reply) => return Ok(reply),
            Err(error) => error,
        };
        let until = begun.elapsed() + pause;
        let is_patient = step.idempotent && until < NOBODY_PATIENCE.min(request.within);
        if !(is_patient && matches!(error, ServiceError::NobodyServes(_))) {
            let words = error.to_string();
            return Err(match error {
                ServiceError::TimedOut(_) => ToolsetError::TimedOut(words),
                ServiceError::Lost(_) if !step.idempotent => ToolsetError::Lost(words),
                ServiceError::TooLarge { .. } => ToolsetError::Failed(words),
                _ => ToolsetError::Unavailable(words),
            });
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}

/// Where it goes: each value is one word of the subject.
fn subject_of(scope: &ExpressionScope, step: &NatsStep) -> Result<String> {
    let wrong = |why: String| WorkflowStop::failed(FailureKind::Tool, why);
    let mut subject = String::new();
    for part in &step.subject {
        match part {
            AddressPart::Text(text) => subject.push_str(text),
            AddressPart::Value(expression) => {
                let value = match scope.needed(expression, "subject")? {
                    Value::String(text) => text,
                    value @ (Value::Number(_) | Value::Bool(_)) => value.to_string(),
                    _ => String::new(),
                };
                if !is_token(&value) {
                    let name = expression.source();
                    return Err(wrong(format!("{name}: {value:?} is not one word of a subject")));
                }
                subject.push_str(&value);
            }
        }
    }
    match refuses_subject(&subject) {
        Some(why) => Err(wrong(why)),
        None => Ok(subject),
    }
}
