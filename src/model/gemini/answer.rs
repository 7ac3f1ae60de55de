//! A chunk of a streamed answer, or a whole one: both look the same.

use serde_json::{Value, json};

use crate::model::Error;
use crate::model::draft::{CallPiece, ReplyDraft, count};
use crate::model::finish::take_finish;
use crate::protocol::dialogue::ModelUsage;

/// Takes a chunk, or a whole answer.
pub(super) fn take(chunk: &Value, draft: &mut ReplyDraft<'_>, show: &mut dyn FnMut(&str)) -> Result<(), Error> {
    if let Some(reason) = chunk.pointer("/promptFeedback/blockReason").and_then(Value::as_str) {
        let message = format!("the conversation was blocked ({reason})");
        return Err(refused(draft, 400, message, "content_filter"));
    }
    if let Some(candidate) = chunk.pointer("/candidates/0") {
        take_candidate(candidate, draft, show)?;
    }
    if let Some(usage) = chunk.get("usageMetadata") {
        let reasoning_tokens = count(usage, "thoughtsTokenCount");
        draft.count_usage(&ModelUsage {
            prompt_tokens: count(usage, "promptTokenCount").saturating_add(count(usage, "toolUsePromptTokenCount")),
            completion_tokens: count(usage, "candidatesTokenCount").saturating_add(reasoning_tokens),
            cached_tokens: count(usage, "cachedContentTokenCount"),
            reasoning_tokens,
            ..ModelUsage::default()
        });
    }
    Ok(())
}

fn take_candidate(candidate: &Value, draft: &mut ReplyDraft<'_>, show: &mut dyn FnMut(&str)) -> Result<(), Error> {
    draft.chosen = true;
    for part in candidate.pointer("/content/parts").and_then(Value::as_array).into_iter().flatten() {
        take_part(part, draft, show)?;
    }
    match candidate.get("finishReason").and_then(Value::as_str) {
        // The model failed to write a call, and may not fail another time.
        Some(reason @ ("MALFORMED_FUNCTION_CALL" | "UNEXPECTED_TOOL_CALL")) => {
            let words =
                candidate.get("finishMessage").and_then(Value::as_str).unwrap_or("it wrote a call that is none");
            Err(refused(draft, 500, words.to_owned(), reason))
        }
        _ => take_finish(draft, candidate.get("finishReason")),
    }
}

fn take_part(part: &Value, draft: &mut ReplyDraft<'_>, show: &mut dyn FnMut(&str)) -> Result<(), Error> {
    // A summary of thoughts is no answer.
    if part.get("thought") == Some(&json!(true)) {
        return Ok(());
    }
    if let Some(text) = part.get("text").and_then(Value::as_str).filter(|text| !text.is_empty()) {
        draft.add_text(text, show)?;
    }
    let Some(call) = part.get("functionCall") else { return Ok(()) };
    let arguments = call.get("args").filter(|args| !args.is_null()).map_or("{}".to_owned(), Value::to_string);
    let signature = part.get("thoughtSignature").or_else(|| part.get("thought_signature"));
    draft.add_call(CallPiece {
        index: None,
        id: call.get("id").and_then(Value::as_str).unwrap_or_default(),
        name: call.get("name").and_then(Value::as_str).unwrap_or_default(),
        arguments: &arguments,
        extra: signature.map(|signature| json!({"google": {"thought_signature": signature}})),
        whole: true,
    })
}

fn refused(draft: &ReplyDraft<'_>, status: u16, message: String, code: &str) -> Error {
    Error::Status {
        model: draft.model().to_owned(),
        status,
        in_answer: status == 500,
        message,
        code: Some(code.to_owned()),
    }
}
