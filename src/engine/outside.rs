//! Requests to servers outside: put together from what the run knows and the secrets that it does not, sent once, and remembered.

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value, json};

use crate::chat::{Result, WorkflowStop};
use crate::engine::arguments::{with_injected, without_secrets};
use crate::engine::call_reach::CallReach;
use crate::engine::effects::{self, ScopedEffects};
use crate::engine::rates::turn;
use crate::engine::scope::ExpressionScope;
use crate::engine::tool_failure::failed;
use crate::outside::encoding::{encoded, encoded_query};
use crate::outside::http::{HttpAnswer, OutgoingRequest, SendError};
use crate::outside::http_answer::{
    IDEMPOTENCY_KEY, body_value, value_or_failure, without_secrets as answer_without_secrets,
};
use crate::outside::programs::ProgramCall;
use crate::protocol::failure::FailureKind;
use crate::workflow::expression::{seen, seen_map};
use crate::workflow::{AddressPart, HttpBody, HttpRequest, ProgramStep, SecretReceiver};

/// Sends a request, or tells what came of it.
pub(super) async fn http(effects: &ScopedEffects, scope: &mut ExpressionScope, request: &HttpRequest) -> Result<Value> {
    let reach = CallReach::of_run(effects);
    refuse_host(reach, request)?;
    let turn = async || turn(effects, request.rate.as_ref(), request.error_message.as_deref()).await;
    let send = async |call: &str| http_call(reach, scope, request, call).await;
    effects::outside(effects, request.idempotent, turn, send).await
}

/// Whether the server may have the secrets of the request.
fn refuse_host(reach: CallReach<'_>, request: &HttpRequest) -> Result<()> {
    let mut names = request.secrets().into_iter();
    match names.find_map(|name| reach.outside.secrets.refuses(name, &request.host)) {
        Some(why) => Err(WorkflowStop::failed(FailureKind::Http, why)),
        None => Ok(()),
    }
}

/// Sends a request once, but for a token that is refused: that is renewed once.
pub(super) async fn http_call(
    reach: CallReach<'_>,
    scope: &mut ExpressionScope,
    request: &HttpRequest,
    call: &str,
) -> Result<Value> {
    refuse_host(reach, request)?;
    let (host, secrets_of) = (request.host.as_str(), &reach.outside.secrets);
    let failed = |message: String| WorkflowStop::failed(FailureKind::Http, message);
    // What is fetched for them is fetched now, and not when the run is read again.
    let names = request.secrets();
    let secrets = secrets_of.for_request(host, &names, reach.caller, None).await.map_err(failed)?;
    let mut answer = sent(reach, scope, request, call, &secrets).await?;
    if answer.as_ref().is_ok_and(|answer| answer.status == 401) && !names.is_empty() {
        let renewed = secrets_of.for_request(host, &names, reach.caller, Some(&secrets)).await.map_err(failed)?;
        if renewed != secrets {
            answer = sent(reach, scope, request, call, &renewed).await?;
        }
    }
    let kind = match &answer {
        Err(SendError::TimedOut { .. } | SendError::TimedOutAfter { .. }) => FailureKind::Timeout,
        _ => FailureKind::Http,
    };
    let answer = answer.map_err(|error| secrets_of.hidden(&error.to_string()));
    let value = answer.and_then(|answer| value_of(request, answer_without_secrets(answer, secrets_of.hidden_texts())));
    value.map_err(|words| {
        let told = request.error_message.clone().unwrap_or_else(|| words.clone());
        if request.error_message.is_some() {
            tracing::warn!(run.id = %reach.run, "a request failed: {words}");
        }
        WorkflowStop::failed(kind, told)
    })
}

/// Sends a request once, with these secrets.
async fn sent(
    reach: CallReach<'_>,
    scope: &mut ExpressionScope,
    request: &HttpRequest,
    call: &str,
    secrets: &Value,
) -> Result<std::result::Result<HttpAnswer, SendError>> {
    let servers = reach.outside;
    let failed = |message: String| WorkflowStop::failed(FailureKind::Http, message);
    let host = request.host.as_str();
    let arguments = if request.inject.is_empty() {
        None
    } else {
        let receiver = SecretReceiver::Host(host.to_owned());
        Some(with_injected(reach, scope, &request.inject, call, &receiver).await?)
    };
    let hidden = scope.bind("secrets", seen(secrets));
    let hidden_args = arguments.map(|arguments| scope.bind("args", seen_map(&arguments)));
    let outgoing = outgoing(scope, request);
    if let Some(hidden) = hidden_args {
        scope.unbind("args", hidden);
    }
    scope.unbind("secrets", hidden);
    let mut outgoing = outgoing.map_err(|stop| without_secrets(reach, stop))?;
    if outgoing.url.scheme() == "http" && !request.secrets().is_empty() && !servers.http.is_named(host) {
        let words =
            format!("a secret would go to {host} unencrypted: write https, or name the host in outgoing.allow_private");
        return Err(failed(words));
    }
    if !outgoing.headers.contains_key(&IDEMPOTENCY_KEY) && !outgoing.method.is_safe() {
        let value = HeaderValue::from_str(call).map_err(|_| failed("the key of the call is no header".to_owned()))?;
        outgoing.headers.insert(IDEMPOTENCY_KEY, value);
    }
    Ok(servers.http.send(outgoing, request.max_result, servers.secrets.hidden_texts()).await)
}

/// Runs a program, or tells what came of it.
pub(super) async fn program(effects: &ScopedEffects, scope: &mut ExpressionScope, step: &ProgramStep) -> Result<Value> {
    let turn = async || turn(effects, step.rate.as_ref(), step.error_message.as_deref()).await;
    let run = async |key: &str| program_call(CallReach::of_run(effects), scope, step, key).await;
    effects::outside(effects, step.idempotent, turn, run).await
}

/// Runs a program once.
pub(super) async fn program_call(
    reach: CallReach<'_>,
    scope: &mut ExpressionScope,
    step: &ProgramStep,
    key: &str,
) -> Result<Value> {
    let receiver = SecretReceiver::Command(step.program.clone());
    let arguments = with_injected(reach, scope, &step.inject, key, &receiver).await?;
    let (program, within, max_result) = (step.program.as_str(), step.within, step.max_result);
    let call = ProgramCall { program, arguments: &arguments, key, within, max_result };
    let came = reach.outside.programs.call(call).await;
    let came = came.map(|value| reach.outside.secrets.hidden_in(value));
    came.map_err(|error| failed(reach, program, step.error_message.as_deref(), &error))
}

/// What is sent.
fn outgoing(scope: &ExpressionScope, request: &HttpRequest) -> Result<OutgoingRequest> {
    let wrong = |message: String| WorkflowStop::failed(FailureKind::Http, message);
    let mut address = String::new();
    for part in &request.url {
        match part {
            AddressPart::Text(text) => address.push_str(text),
            AddressPart::Value(expression) => {
                let value = text_of(scope.needed(expression, "address")?);
                address.push_str(&if address.contains('?') {
                    encoded_query(&value)
                } else {
                    encoded(&value).map_err(|why| wrong(format!("{}: {why}", expression.source())))?
                });
            }
        }
    }
    let mut url =
        reqwest::Url::parse(&address).map_err(|error| wrong(format!("the address cannot be used: {error}")))?;
    if url.host_str() != Some(&*request.host) {
        return Err(wrong("a value in the address would change the server".to_owned()));
    }
    let rest = rest_of_args(scope, request)?;
    let mut query = pairs(scope.map(&request.query)?);
    if request.rest_in_query() {
        query.extend(pairs(rest.clone()));
    }
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    let mut headers = HeaderMap::new();
    for (name, template) in &request.headers {
        let value = HeaderValue::from_str(scope.text(template)?.trim())
            .map_err(|_| wrong(format!("the header {name} would hold a character that no header holds")))?;
        let name = HeaderName::try_from(name.as_str()).map_err(|_| wrong(format!("{name} is no name of a header")))?;
        headers.append(name, value);
    }
    let (kind, body) = match &request.body {
        HttpBody::None if request.rest_in_body() => ("application/json", Some(Value::Object(rest).to_string())),
        HttpBody::None => ("", None),
        HttpBody::Json(data) => ("application/json", Some(scope.value(data)?.to_string())),
        HttpBody::Form(fields) => {
            let mut form = form_urlencoded::Serializer::new(String::new());
            form.extend_pairs(pairs(scope.map(fields)?));
            ("application/x-www-form-urlencoded", Some(form.finish()))
        }
        HttpBody::Text(template) => ("text/plain; charset=utf-8", Some(scope.text(template)?)),
    };
    if body.is_some() {
        headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static(kind));
    }
    let (method, within) = (request.method.clone(), request.within);
    Ok(OutgoingRequest { method, url, headers, body: body.map(Into::into), within })
}

/// The arguments of the tool that go along.
fn rest_of_args(scope: &ExpressionScope, request: &HttpRequest) -> Result<Map<String, Value>> {
    if !request.rest_of_args {
        return Ok(Map::new());
    }
    let named = request.named_args();
    let mut rest = scope.args()?;
    rest.retain(|name, _| !named.contains(name.as_str()));
    Ok(rest)
}

/// A map as pairs of texts: a list is repeated, null is left out.
fn pairs(values: Map<String, Value>) -> Vec<(String, String)> {
    let each = |(name, value): (String, Value)| -> Vec<(String, String)> {
        match value {
            Value::Null => Vec::new(),
            Value::Array(items) => items.into_iter().map(|item| (name.clone(), text_of(item))).collect(),
            one => vec![(name, text_of(one))],
        }
    };
    values.into_iter().flat_map(each).collect()
}

fn text_of(value: Value) -> String {
    match value {
        Value::String(text) => text,
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// What the step comes to.
fn value_of(request: &HttpRequest, answer: HttpAnswer) -> std::result::Result<Value, String> {
    if request.whole_response {
        return Ok(json!({ "status": answer.status, "headers": answer.headers, "body": body_value(answer.body) }));
    }
    value_or_failure(answer)
}
