//! An event of a streamed message, or a whole message.

use serde_json::{Value, json};

use crate::model::Error;
use crate::model::draft::{CallPiece, ReplyDraft, count};
use crate::model::finish::take_finish;
use crate::protocol::dialogue::ModelUsage;

/// Takes an event of a stream, or a whole message.
pub(super) fn take(piece: &Value, draft: &mut ReplyDraft<'_>, show: &mut dyn FnMut(&str)) -> Result<(), Error> {
    let index = piece.get("index").and_then(Value::as_u64);
    match text(piece, "type") {
        "message" => {
            take_message(piece, draft);
            let blocks = piece.get("content").and_then(Value::as_array).into_iter().flatten();
            blocks.zip(0..).try_for_each(|(block, index)| take_block(block, Some(index), draft, show))?;
            take_end(piece, draft)?;
        }
        "message_start" => take_message(&piece["message"], draft),
        "content_block_start" => take_block(&piece["content_block"], index, draft, show)?,
        "content_block_delta" => take_delta(&piece["delta"], index, draft, show)?,
        "message_delta" => {
            take_end(&piece["delta"], draft)?;
            take_usage(piece, draft);
        }
        "message_stop" => draft.done = true,
        // A ping, the end of a block, and what may be added one day.
        _ => {}
    }
    Ok(())
}

fn take_message(message: &Value, draft: &mut ReplyDraft<'_>) {
    draft.chosen = true;
    take_usage(message, draft);
}

/// The counts of an event replace those of earlier ones; an event gives only some of them.
fn take_usage(holder: &Value, draft: &mut ReplyDraft<'_>) {
    let Some(usage) = holder.get("usage").filter(|usage| usage.is_object()) else { return };
    let before = draft.usage;
    let given =
        |key: &str, before: u64| if usage.get(key).is_some_and(Value::is_number) { count(usage, key) } else { before };
    let cached_tokens = given("cache_read_input_tokens", before.cached_tokens);
    let cache_write_tokens = given("cache_creation_input_tokens", before.cache_write_tokens);
    // Messages counts what the cache has to do with apart.
    let plain = before.prompt_tokens - before.cached_tokens - before.cache_write_tokens;
    draft.usage = ModelUsage {
        prompt_tokens: given("input_tokens", plain).saturating_add(cached_tokens).saturating_add(cache_write_tokens),
        completion_tokens: given("output_tokens", before.completion_tokens),
        cached_tokens,
        cache_write_tokens,
        ..before
    };
}

fn take_block(
    block: &Value,
    index: Option<u64>,
    draft: &mut ReplyDraft<'_>,
    show: &mut dyn FnMut(&str),
) -> Result<(), Error> {
    match text(block, "type") {
        "text" => match text(block, "text") {
            "" => Ok(()),
            words => draft.add_text(words, show),
        },
        "tool_use" => {
            let input = block.get("input").filter(|input| input.as_object().is_some_and(|input| !input.is_empty()));
            let arguments = input.map(Value::to_string).unwrap_or_default();
            let (id, name) = (text(block, "id"), text(block, "name"));
            draft.add_call(CallPiece { index, id, name, arguments: &arguments, ..CallPiece::default() })
        }
        "thinking" | "redacted_thinking" => {
            draft.grow(block.to_string().len())?;
            let mut block = block.clone();
            block["index"] = json!(index);
            thoughts(draft).push(block);
            Ok(())
        }
        // Blocks of the provider's own tools are its own business.
        _ => Ok(()),
    }
}

fn take_delta(
    delta: &Value,
    index: Option<u64>,
    draft: &mut ReplyDraft<'_>,
    show: &mut dyn FnMut(&str),
) -> Result<(), Error> {
    match text(delta, "type") {
        "text_delta" => draft.add_text(text(delta, "text"), show),
        "input_json_delta" => {
            let arguments = text(delta, "partial_json");
            draft.add_call(CallPiece { index, arguments, ..CallPiece::default() })
        }
        "thinking_delta" => extend_thought(draft, index, "thinking", text(delta, "thinking")),
        "signature_delta" => extend_thought(draft, index, "signature", text(delta, "signature")),
        _ => Ok(()),
    }
}

/// The thoughts of this reply: nobody is shown them, but they must go back with the calls that they led to.
fn thoughts<'d>(draft: &'d mut ReplyDraft<'_>) -> &'d mut Vec<Value> {
    let kept = draft.keepsake().get_or_insert_with(|| json!({"anthropic": {"thinking": []}}));
    kept["anthropic"]["thinking"].as_array_mut().expect("it was made a list")
}

fn extend_thought(draft: &mut ReplyDraft<'_>, index: Option<u64>, key: &str, words: &str) -> Result<(), Error> {
    draft.grow(words.len())?;
    let index = json!(index);
    if let Some(thought) = thoughts(draft).iter_mut().rev().find(|thought| thought["index"] == index) {
        let so_far = text(thought, key).to_owned();
        thought[key] = json!(so_far + words);
    }
    Ok(())
}

fn take_end(holder: &Value, draft: &mut ReplyDraft<'_>) -> Result<(), Error> {
    take_finish(draft, holder.get("stop_reason"))?;
    if draft.finish_reason.is_none() {
        return Ok(());
    }
    // The numbers of the blocks were only for putting them together.
    if let Some(kept) = draft.keepsake() {
        let thoughts = kept["anthropic"]["thinking"].as_array_mut().into_iter().flatten();
        thoughts.filter_map(Value::as_object_mut).for_each(|thought| drop(thought.shift_remove("index")));
    }
    Ok(())
}

fn text<'v>(of: &'v Value, key: &str) -> &'v str {
    of.get(key).and_then(Value::as_str).unwrap_or_default()
}
