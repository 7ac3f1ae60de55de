//! Whose thoughts are whose. What a provider wants to see again of its models' thoughts is kept with the first call of a reply
//! (`extra_content`), under the provider's name. Beside it stands the model that thought them: seals of one model are refused
//! by another, also of the same provider.

use serde_json::{Value, json};

use crate::config::LlmConfig;
use crate::protocol::dialogue::{ModelReply, ToolCall};

/// The key of the model, as its provider knows it. What older versions stored has none, and counts as the model's own.
const OF_MODEL: &str = "model";

/// What Google's documentation says to send for a call that another model made: newer models refuse one without a signature.
pub(super) const NO_SIGNATURE: &str = "skip_thought_signature_validator";
/// The beginnings of the names of Google's models that demand no signatures.
const WITHOUT_SIGNATURES: [&str; 2] = ["gemini-1", "gemini-2"];

/// Whether one of Google's models refuses a call without a signature.
pub(super) fn demands_signatures(llm: &LlmConfig) -> bool {
    let name = llm.model.rsplit('/').next().unwrap_or_default();
    llm.dialect.signatures || !WITHOUT_SIGNATURES.iter().any(|older| name.starts_with(older))
}

/// Says in a reply which model its thoughts are of.
pub(super) fn sign(reply: &mut ModelReply, model: &str) {
    for extra in reply.tool_calls.iter_mut().filter_map(|call| call.extra_content.as_mut()) {
        if let Value::Object(extra) = extra {
            extra.insert(OF_MODEL.to_owned(), json!(model));
        }
    }
}

/// What came with a call from this model, under a provider's name.
pub(super) fn own<'c>(call: &'c ToolCall, provider: &str, model: &str) -> Option<&'c Value> {
    let extra = call.extra_content.as_ref()?;
    let is_own = extra.get(OF_MODEL).is_none_or(|thought_by| thought_by == model);
    extra.get(provider).filter(|_| is_own)
}
