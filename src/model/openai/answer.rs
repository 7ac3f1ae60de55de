//! A chunk of a streamed chat completion, or a whole one.

use serde_json::Value;

use super::thoughts::keep;
use crate::model::Error;
use crate::model::content::text_of;
use crate::model::draft::{CallPiece, ReplyDraft, count};
use crate::model::finish::take_finish;
use crate::model::provider_error::provider_error;
use crate::protocol::dialogue::ModelUsage;

/// Takes a chunk of a stream, or a whole answer: the one has a `delta` where the other has a `message`.
pub(super) fn take(chunk: &Value, draft: &mut ReplyDraft<'_>, show: &mut dyn FnMut(&str)) -> Result<(), Error> {
    // A chunk without a choice carries the usage, or what a filter found; only the first choice is ever asked for.
    let choices = chunk.get("choices").and_then(Value::as_array);
    let first = |choice: &&Value| choice.get("index").and_then(Value::as_u64).unwrap_or(0) == 0;
    let choice = choices.and_then(|choices| choices.iter().find(first));
    if let Some(choice) = choice {
        take_choice(choice, draft, show)?;
    }
    if let Some(usage) = usage_in(chunk, choice) {
        draft.count_usage(&usage);
    }
    Ok(())
}

fn take_choice(choice: &Value, draft: &mut ReplyDraft<'_>, show: &mut dyn FnMut(&str)) -> Result<(), Error> {
    if let Some(error) = choice.get("error").filter(|error| !error.is_null()) {
        return Err(provider_error(draft.model(), &draft.whole_letters(error)));
    }
    draft.chosen = true;
    match (choice.get("delta").filter(|delta| !delta.is_null()), choice.get("message")) {
        (Some(delta), _) => take_piece(delta, false, draft, show)?,
        (None, Some(message)) => take_piece(message, true, draft, show)?,
        (None, None) => {}
    }
    take_finish(draft, choice.get("finish_reason"))
}

/// Takes a delta, or a message, whose calls are `whole`.
fn take_piece(piece: &Value, whole: bool, draft: &mut ReplyDraft<'_>, show: &mut dyn FnMut(&str)) -> Result<(), Error> {
    if !whole {
        // AG2 joins the pieces of a stream: without any they are the empty text, where a whole answer has none.
        draft.begin_text();
    }
    if let Some(text) = piece.get("content").and_then(text_of) {
        draft.add_text(&text, show)?;
    }
    if let Some(text) = piece.get("refusal").and_then(Value::as_str) {
        draft.add_refusal(text)?;
    }
    keep(piece, draft)?;
    for call in piece.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
        let function = call.get("function");
        let arguments = match function.and_then(|function| function.get("arguments")) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(arguments)) => arguments.clone(),
            Some(other) => other.to_string(),
        };
        draft.add_call(CallPiece {
            index: call.get("index").and_then(Value::as_u64),
            id: call.get("id").and_then(Value::as_str).unwrap_or_default(),
            name: function.and_then(|function| function.get("name")?.as_str()).unwrap_or_default(),
            arguments: &arguments,
            // Google's compatible interface puts its sealed thoughts there, and wants them back.
            extra: call.get("extra_content").filter(|extra| !extra.is_null()).cloned(),
            whole,
        })?;
    }
    Ok(())
}

/// The counts of a chunk, where servers put them: beside the choices, in the choice (Moonshot), or in a part of their own (Groq).
fn usage_in(chunk: &Value, choice: Option<&Value>) -> Option<ModelUsage> {
    let places = [Some(chunk), choice, chunk.get("x_groq")];
    let usage = places.into_iter().flatten().find_map(|place| place.get("usage").filter(|usage| usage.is_object()))?;
    let detail = |of: &str, key: &str| usage.get(of).map_or(0, |details| count(details, key));
    let first = |counts: &[u64]| counts.iter().copied().find(|count| *count > 0).unwrap_or(0);
    let prompt_tokens = count(usage, "prompt_tokens");
    // OpenAI and most others; Moonshot; DeepSeek; proxies before Anthropic.
    let cached_tokens = first(&[
        detail("prompt_tokens_details", "cached_tokens"),
        count(usage, "cached_tokens"),
        count(usage, "prompt_cache_hit_tokens"),
        count(usage, "cache_read_input_tokens"),
    ]);
    let cache_write_tokens =
        first(&[detail("prompt_tokens_details", "cache_write_tokens"), count(usage, "cache_creation_input_tokens")]);
    let reasoning_tokens = detail("completion_tokens_details", "reasoning_tokens");
    let written = count(usage, "completion_tokens");
    // The total of xAI and of Google's compatible interface has the thoughts, the count of what was written has not.
    let beside = count(usage, "total_tokens").saturating_sub(prompt_tokens.saturating_add(written));
    let thoughts_beside = match reasoning_tokens {
        0 if cached_tokens == 0 && cache_write_tokens == 0 => beside,
        thoughts if thoughts <= beside => thoughts,
        _ => 0,
    };
    Some(ModelUsage {
        prompt_tokens,
        completion_tokens: written.saturating_add(thoughts_beside),
        cached_tokens,
        cache_write_tokens,
        reasoning_tokens: reasoning_tokens.max(thoughts_beside),
        ..ModelUsage::default()
    })
}
