//! FastAgency's own REST endpoints (`docs/reference/fastagency-wire.md`, section 2), down to the shape of their errors.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::auth::Caller;
use crate::bounds::{self, OUTSIDE, UnfitJson};
use crate::gateway::GatewayState;
use crate::gateway::body;
use crate::gateway::error::ApiError;
use crate::problem::chain;
use crate::protocol::api::{DiscoveredWorkflowView, FastApiError, FirstFrame, InitiateWorkflow, WorkflowNames};

/// The largest body of `initiate_workflow`. The socket takes the same parameters in a frame of at most this size.
pub const LARGEST_BODY: usize = body::LARGEST_BODY;
/// The largest body that is repeated in the words about what is wrong with it.
const MOST_REPEATED: usize = 16 * 1024;

/// `GET /fastagency/discovery`.
pub async fn discovery(State(gateway): State<Arc<GatewayState>>, caller: Caller) -> Response {
    match gateway.known.all().await {
        Ok(known) => {
            let found = known.described().filter(|(name, _)| gateway.auth.may_start(&caller, name));
            let found = found.map(|(name, description)| DiscoveredWorkflowView {
                name: name.to_owned(),
                description: description.to_owned(),
            });
            Json(found.collect::<Vec<_>>()).into_response()
        }
        Err(error) => {
            tracing::warn!("the workflows could not be listed: {}", chain(&error));
            detail(StatusCode::GATEWAY_TIMEOUT, json!("Unable to connect to the broker"))
        }
    }
}

/// `GET /`, as FastAgency's examples answer it.
pub async fn workflows(
    State(gateway): State<Arc<GatewayState>>,
    caller: Caller,
) -> Result<Json<WorkflowNames>, ApiError> {
    let known = gateway.known.all().await?;
    let workflows: Map<String, Value> = known
        .described()
        .filter(|(name, _)| gateway.auth.may_start(&caller, name))
        .map(|(name, description)| (name.to_owned(), json!(description)))
        .collect();
    Ok(Json(WorkflowNames { workflows }))
}

/// `POST /fastagency/initiate_workflow`: makes an id, and starts nothing.
pub async fn initiate(
    State(gateway): State<Arc<GatewayState>>,
    caller: Caller,
    headers: HeaderMap,
    request: Request,
) -> Response {
    let bytes = match body::read(request.into_body(), LARGEST_BODY).await {
        Ok(bytes) => bytes,
        Err(error) => return detail(error.status(), json!(error.message())),
    };
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    match check(&bytes, content_type) {
        Ok(wanted) => Json(FirstFrame {
            user_id: caller.user.as_ref().map(ToString::to_string),
            workflow_uuid: gateway.broker.log.new_run_id().dashed(),
            name: wanted.workflow_name,
            params: wanted.params,
        })
        .into_response(),
        Err(problems) => detail(StatusCode::UNPROCESSABLE_ENTITY, Value::Array(problems)),
    }
}

/// An error as FastAPI writes it.
pub fn detail(status: StatusCode, detail: Value) -> Response {
    (status, Json(FastApiError { detail })).into_response()
}

/// What a body says, or what FastAPI would say about it.
fn check(body: &[u8], content_type: Option<&str>) -> Result<InitiateWorkflow, Vec<Value>> {
    if body.is_empty() {
        return Err(vec![problem("missing", json!(["body"]), "Field required", Value::Null)]);
    }
    // FastAPI reads a body without a type as JSON, and one of another type not at all.
    if !content_type.is_none_or(body::is_json) {
        return Err(vec![not_an_object(json!(String::from_utf8_lossy(body)))]);
    }
    let size = body.len();
    let body: Value = bounds::read(body, &OUTSIDE).map_err(|unfit| match unfit {
        UnfitJson::Exceeded(exceeded) => {
            vec![problem("value_error", json!(["body"]), &exceeded.to_string(), Value::Null)]
        }
        UnfitJson::Json(error) => vec![not_json(body, &error)],
    })?;
    if !body.is_object() {
        return Err(vec![not_an_object(body)]);
    }
    let mut problems = Vec::new();
    // FastAPI repeats what it was given with each problem. Of a large body that would be many times as much.
    let input = |value: &Value| if size <= MOST_REPEATED { value.clone() } else { Value::Null };
    type Rule = (&'static str, fn(&Value) -> bool, &'static str, &'static str);
    let rules: [Rule; 4] = [
        ("workflow_name", Value::is_string, "string_type", "Input should be a valid string"),
        ("workflow_uuid", Value::is_string, "string_type", "Input should be a valid string"),
        ("user_id", |value| value.is_string() || value.is_null(), "string_type", "Input should be a valid string"),
        ("params", Value::is_object, "dict_type", "Input should be a valid dictionary"),
    ];
    for (key, fits, kind, message) in rules {
        match body.get(key) {
            None => problems.push(problem("missing", json!(["body", key]), "Field required", input(&body))),
            Some(value) if !fits(value) => problems.push(problem(kind, json!(["body", key]), message, input(value))),
            Some(_) => {}
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    crate::bounds::from_value(body)
        .map_err(|error| vec![problem("value_error", json!(["body"]), &error.to_string(), Value::Null)])
}

fn problem(kind: &str, loc: Value, message: &str, input: Value) -> Value {
    json!({"type": kind, "loc": loc, "msg": message, "input": input})
}

fn not_an_object(input: Value) -> Value {
    let message = "Input should be a valid dictionary or object to extract fields from";
    problem("model_attributes_type", json!(["body"]), message, input)
}

fn not_json(body: &[u8], error: &serde_json::Error) -> Value {
    // Python counts characters from the start of the text.
    let lines_before: usize = body.split_inclusive(|byte| *byte == b'\n').take(error.line() - 1).map(<[u8]>::len).sum();
    let bytes_before = (lines_before + error.column().saturating_sub(1)).min(body.len());
    let position = String::from_utf8_lossy(&body[..bytes_before]).chars().count();
    let mut problem = problem("json_invalid", json!(["body", position]), "JSON decode error", json!({}));
    problem["ctx"] = json!({"error": error.to_string()});
    problem
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(body: &str) -> Value {
        Value::Array(check(body.as_bytes(), Some("application/json")).unwrap_err())
    }

    #[test]
    fn a_body_is_refused_as_fastapi_refuses_it() {
        let whole =
            json!({"workflow_name": "a", "workflow_uuid": "any", "user_id": null, "params": {"x": 1}, "more": 1});
        let wanted = check(whole.to_string().as_bytes(), Some("application/json; charset=utf-8")).unwrap();
        assert_eq!((wanted.workflow_name.as_str(), json!(wanted.params)), ("a", json!({"x": 1})));
        assert!(check(whole.to_string().as_bytes(), None).is_ok());
        let partial = json!({"workflow_name": 1, "workflow_uuid": "any", "user_id": []});
        assert_eq!(
            problems(&partial.to_string()),
            json!([
                {"type": "string_type", "loc": ["body", "workflow_name"], "msg": "Input should be a valid string", "input": 1},
                {"type": "string_type", "loc": ["body", "user_id"], "msg": "Input should be a valid string", "input": []},
                {"type": "missing", "loc": ["body", "params"], "msg": "Field required", "input": partial},
            ])
        );
        assert_eq!(problems("")[0]["loc"], json!(["body"]));
        assert_eq!(problems("[]")[0]["type"], "model_attributes_type");
        let large = json!({"workflow_name": "a", "params": {"x": "x".repeat(MOST_REPEATED)}}).to_string();
        assert!(problems(&large).to_string().len() < 1000, "a large body is not repeated with each problem");
        let broken = problems("{x}");
        assert_eq!(broken[0]["type"], "json_invalid");
        assert_eq!(broken[0]["loc"], json!(["body", 1]));
        assert_eq!(problems("{\n\"ü\": x}")[0]["loc"], json!(["body", 7]));
        assert_eq!(
            check(b"{}", Some("text/plain")).unwrap_err()[0],
            json!({"type": "model_attributes_type", "loc": ["body"],
                "msg": "Input should be a valid dictionary or object to extract fields from", "input": "{}"})
        );
    }
}
