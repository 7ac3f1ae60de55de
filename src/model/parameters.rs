//! The parameters of a request: those of the agent, and over them those of the model (`docs/reference/ag2-semantics.md`,
//! section 1).

use serde_json::{Map, Value};

use crate::config::LlmConfig;
use crate::protocol::dialogue::ModelRequest;

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
pub(super) struct RequestParameters {
    /// By OpenAI's names, and those of `extra:` as they are.
    pub(super) given: Map<String, Value>,
    /// What the reply must look like, in OpenAI's shape.
    pub(super) response_format: Option<Value>,
    /// Whether the reply is to be streamed. A reply of a given form is not (AG2).
    pub(super) streamed: bool,
}

/// The parameters of a request to this model.
pub(super) fn parameters(llm: &LlmConfig, request: &ModelRequest) -> RequestParameters {
    let response_format = request.response_format.as_ref().or_else(|| llm.parameters.get("response_format"));
    let response_format = response_format.or_else(|| request.parameters.get("response_format"));
    let response_format = response_format.filter(|format| !format.is_null()).cloned();
    let mut given = request.parameters.clone();
    given.extend(llm.parameters.clone());
    let is_sent = |key: &String| !NEVER_SENT.contains(&key.as_str()) && !llm.leave_out.contains(key);
    given.retain(|key, value| !value.is_null() && is_sent(key));
    RequestParameters { given, streamed: llm.stream && response_format.is_none(), response_format }
}

impl RequestParameters {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ModelProvider;
    use crate::model::providers::wire_of;
    use crate::model::testing::{asking, llm};
    use crate::yaml::shape::{REQUEST_PARAMETERS, ValueKind};
    use serde_json::json;

    /// A value that a request may have for a parameter.
    fn some_value(name: &str, kind: ValueKind) -> Value {
        match (name, kind) {
            ("tool_choice", _) => json!("required"),
            ("reasoning_effort", _) => json!("low"),
            ("extra", _) => json!({}),
            (_, ValueKind::Number) => json!(0.5),
            (_, ValueKind::Whole(_)) => json!(7),
            (_, ValueKind::Bool) => json!(name != "parallel_tool_calls"),
            _ => json!("x"),
        }
    }

    #[test]
    fn each_parameter_is_sent_or_said_to_be_lacking() {
        let tool = json!({"type": "function", "function": {"name": "f"}});
        for provider in [
            ModelProvider::OpenAi,
            ModelProvider::Azure,
            ModelProvider::Compatible,
            ModelProvider::Anthropic,
            ModelProvider::Gemini,
        ] {
            let wire = wire_of(provider).expect("a provider with a server");
            let llm = LlmConfig { provider, ..llm("http://x") };
            let body = |parameters: Value| {
                let Value::Object(parameters) = parameters else { panic!("no map") };
                let (body, _) = wire.body(&llm, &ModelRequest { tools: vec![tool.clone()], parameters, ..asking("x") });
                serde_json::from_str::<Value>(&body).unwrap()
            };
            let plain = body(json!({}));
            for key in REQUEST_PARAMETERS.iter().filter(|key| key.name != "extra") {
                let is_sent = body(json!({ key.name: some_value(key.name, key.kind) })) != plain;
                assert_eq!(is_sent, !provider.lacks().contains(&key.name), "{provider:?}: {}", key.name);
            }
            let own = body(json!({"some_new_thing": 1}));
            assert_eq!(own["some_new_thing"], 1, "{provider:?}: what `extra` says is sent as it is");
        }
    }
}
