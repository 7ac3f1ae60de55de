//! A request to an agent's model, with all that goes with it.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::chat::{ConversationContext, Result, pattern, tools};
use crate::ids::Name;
use crate::protocol::dialogue::{ChatMessage, ModelRequest};
use crate::workflow::{Agent, CompiledSchema, ModelUse};

/// A request with all that goes with an agent's model: its parameters, its tools, and the form of its replies.
pub(super) fn request(
    ctx: &mut ConversationContext<'_>,
    agent: &Agent,
    llm: &ModelUse,
    messages: Vec<Arc<ChatMessage>>,
) -> Result<ModelRequest> {
    let mut offered = tools::offered(ctx.tools, &agent.tools);
    offered.extend(pattern::transfer_tools(ctx, agent)?);
    Ok(ModelRequest {
        messages,
        tools: offered,
        response_format: agent.output.as_deref().map(response_format),
        parameters: llm.parameters.clone(),
        turn: ctx.memory.next_turn(&agent.name),
        ..ModelRequest::default()
    })
}

/// A schema as OpenAI's structured output wants it (`docs/reference/ag2-semantics.md`, section 1): every object closed,
/// every property required. It is named by its title.
pub fn response_format(schema: &CompiledSchema) -> Value {
    let title = schema.json.get("title").and_then(Value::as_str).filter(|title| Name::parse(title).is_ok());
    let mut strict = schema.json.clone();
    make_strict(&mut strict);
    json!({
        "type": "json_schema",
        "json_schema": {"schema": strict, "name": title.unwrap_or("response_format"), "strict": true},
    })
}

fn make_strict(schema: &mut Value) {
    match schema {
        Value::Array(parts) => parts.iter_mut().for_each(make_strict),
        Value::Object(fields) => {
            if fields.get("type").is_some_and(|kind| kind == "object") {
                fields.entry("additionalProperties").or_insert(json!(false));
            }
            if let Some(Value::Object(properties)) = fields.get("properties") {
                let names: Vec<&String> = properties.keys().collect();
                fields.insert("required".to_owned(), json!(names));
            }
            for key in ["properties", "$defs", "definitions"] {
                if let Some(Value::Object(inner)) = fields.get_mut(key) {
                    inner.values_mut().for_each(make_strict);
                }
            }
            for key in ["items", "anyOf", "allOf"] {
                if let Some(inner) = fields.get_mut(key) {
                    make_strict(inner);
                }
            }
        }
        _ => {}
    }
}
