//! The parameters of a request: those of the agent, and over them those of the model (SEMANTICS.md 1).

use serde_json::{Map, Value};

use super::Request;
use crate::config::Llm;

/// Settings of AG2 and of its client that are never sent, and keys that are not parameters.
const NEVER_SENT: [&str; 13] = [
    "cache_seed",
    "price",
    "api_type",
    "tags",
    "timeout",
    "max_retries",
    "routing_method",
    "model",
    "messages",
    "tools",
    "response_format",
    "stream",
    "stream_options",
];

/// What a request says beside its conversation and its tools.
pub(super) struct Parameters {
    /// By OpenAI's names, and those of `extra:` as they are.
    pub(super) given: Map<String, Value>,
    /// What the reply must look like, in OpenAI's shape.
    pub(super) response_format: Option<Value>,
    /// Whether the reply is to be streamed. A reply of a given form is not (AG2).
    pub(super) streamed: bool,
}

/// The parameters of a request to this model.
pub(super) fn parameters(llm: &Llm, request: &Request) -> Parameters {
    let response_format = request.response_format.as_ref().or_else(|| llm.parameters.get("response_format"));
    let response_format = response_format.or_else(|| request.parameters.get("response_format"));
    let response_format = response_format.filter(|format| !format.is_null()).cloned();
    let mut given = request.parameters.clone();
    given.extend(llm.parameters.clone());
    given.retain(|key, value| !value.is_null() && !NEVER_SENT.contains(&key.as_str()));
    Parameters { given, streamed: llm.stream && response_format.is_none(), response_format }
}

impl Parameters {
    /// Takes a parameter out.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.given.shift_remove(name)
    }

    /// The schema that the reply must fit, if it must fit one.
    pub(super) fn schema(&self) -> Option<&Value> {
        self.response_format.as_ref()?.pointer("/json_schema/schema")
    }

    /// What is left, less the parameters of chat completions that the provider has no word for: `extra:`, which is sent as
    /// it is.
    pub(super) fn rest(self) -> Map<String, Value> {
        let mut rest = self.given;
        rest.retain(|name, _| !crate::yaml::shape::REQUEST_PARAMETERS.iter().any(|known| known.name == name));
        rest
    }
}

/// The texts at which a reply ends, as a list.
pub(super) fn stops(stop: Value) -> Value {
    if stop.is_array() { stop } else { Value::Array(vec![stop]) }
}
