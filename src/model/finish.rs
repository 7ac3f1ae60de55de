//! Why a model stopped: one small set of words, whatever its provider calls it. A word that is not known stays as it is.

use serde_json::Value;

use super::Error;
use super::draft::ReplyDraft;

/// The end of an answer, as its server tells it.
enum FinishWord<'w> {
    /// It is none: some servers write `""` or `"null"` into every piece until the last.
    Nothing,
    /// An end, by the name that logs, workflows and clients know.
    Reason(&'w str),
    /// The server gave up in the middle of the answer.
    GaveUp,
}

/// Takes note of why a model stopped, if the server says so. What the server gave up is an error, and may succeed another time.
pub(super) fn take_finish(draft: &mut ReplyDraft<'_>, word: Option<&Value>) -> Result<(), Error> {
    let Some(word) = word.and_then(Value::as_str) else { return Ok(()) };
    match finish_word(word) {
        FinishWord::Nothing => {}
        // A call is what the model stopped for, where the provider has no word of its own for that.
        FinishWord::Reason("stop") if draft.has_calls() => draft.finish_reason = Some("tool_calls".to_owned()),
        FinishWord::Reason(reason) => draft.finish_reason = Some(reason.to_owned()),
        FinishWord::GaveUp => {
            let message = "the server gave up in the middle of its answer".to_owned();
            let (model, code) = (draft.model().to_owned(), Some(word.to_owned()));
            return Err(Error::Status { model, status: 500, in_answer: true, message, code });
        }
    }
    Ok(())
}

fn finish_word(word: &str) -> FinishWord<'_> {
    let reason = match word.trim().to_ascii_lowercase().as_str() {
        "" | "null" | "none" | "finish_reason_unspecified" => return FinishWord::Nothing,
        "stop" | "end_turn" | "stop_sequence" | "eos" | "eos_token" | "complete" | "completed" => "stop",
        "tool_calls" | "tool_use" | "function_call" => "tool_calls",
        "length"
        | "max_tokens"
        | "max_output_tokens"
        | "model_length"
        | "model_context_window_exceeded"
        | "max_length" => "length",
        "content_filter"
        | "content_filtered"
        | "safety"
        | "recitation"
        | "language"
        | "blocklist"
        | "prohibited_content"
        | "spii"
        | "image_safety"
        | "image_prohibited_content"
        | "image_recitation"
        | "guardrail_intervened"
        | "sensitive" => "content_filter",
        "refusal" => "refusal",
        "pause_turn" => "pause",
        "error" | "network_error" | "insufficient_system_resource" | "abort" => return FinishWord::GaveUp,
        _ => return FinishWord::Reason(word),
    };
    FinishWord::Reason(reason)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::draft::CallPiece;

    fn taken(word: Value, calls: bool) -> Result<Option<String>, String> {
        let mut draft = ReplyDraft::new("m");
        if calls {
            draft.add_call(CallPiece { name: "f", ..CallPiece::default() }).unwrap();
        }
        take_finish(&mut draft, Some(&word)).map_err(|error| error.to_string())?;
        Ok(draft.finish_reason)
    }

    #[test]
    fn every_provider_s_words_become_one_small_set() {
        for (words, wanted) in [
            (&["stop", "STOP", "end_turn", "stop_sequence", "eos_token"][..], "stop"),
            (&["tool_calls", "tool_use", "function_call"], "tool_calls"),
            (&["length", "max_tokens", "MAX_TOKENS", "model_context_window_exceeded", "model_length"], "length"),
            (&["content_filter", "SAFETY", "RECITATION", "PROHIBITED_CONTENT", "SPII", "sensitive"], "content_filter"),
            (&["refusal"], "refusal"),
            (&["pause_turn"], "pause"),
            (&["OTHER"], "OTHER"),
            (&["of tomorrow"], "of tomorrow"),
        ] {
            for word in words {
                assert_eq!(taken(json!(word), false), Ok(Some(wanted.to_owned())), "{word}");
            }
        }
        assert_eq!(taken(json!("STOP"), true), Ok(Some("tool_calls".to_owned())));
        assert_eq!(taken(json!("length"), true), Ok(Some("length".to_owned())));
    }

    #[test]
    fn an_end_that_is_none_is_none() {
        for nothing in
            [json!(""), json!("null"), json!("None"), json!(null), json!(7), json!("FINISH_REASON_UNSPECIFIED")]
        {
            assert_eq!(taken(nothing.clone(), false), Ok(None), "{nothing}");
        }
        for gave_up in ["error", "network_error", "insufficient_system_resource", "abort"] {
            let words = taken(json!(gave_up), false).unwrap_err();
            assert!(words.contains("answered with an error") && words.contains("gave up in the middle"), "{words}");
        }
    }
}
