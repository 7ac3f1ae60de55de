//! What becomes of the messages of a run ([`crate::protocol::message`]): the answers that fit their questions, and how our
//! interface shows them.

mod answer;
pub mod late;
mod permission;

use serde_json::{Value, json};

use crate::visible;

pub use crate::protocol::message::*;
pub use answer::{CANCELLED, DECLINED, OTHER_DIGEST, ValidAnswer, check_answer, check_text_answer};
pub use permission::{CalledTool, PASSWORD, differ_in_number_format_only};

/// FastAgency's words for a workflow that failed; its clients show them.
pub const FAILED: &str = "Unhandled exception occurred when executing the workflow";
/// Ours for people, who have written neither an exception nor the workflow.
const FAILED_FOR_PEOPLE: &str = "The workflow could not go on";

/// What a message says, as our own interface shows it: all that is known, under the keys of `docs/reference/api.md`.
pub fn shown(content: &MessageContent) -> Value {
    let mut json = match content {
        MessageContent::Other { content, .. } => return content.clone(),
        MessageContent::KeepAlive => return json!({}),
        MessageContent::Error { short: Some(short), long } if short.starts_with(FAILED) => {
            json!({"short": format!("{FAILED_FOR_PEOPLE}."), "long": long.as_deref().map(|long| split_place(long).0)})
        }
        MessageContent::WorkflowCompleted { result: Value::String(result) } if result.starts_with(FAILED) => {
            json!({"result": format!("{FAILED_FOR_PEOPLE}{}", split_place(&result[FAILED.len()..]).0)})
        }
        known => serde_json::to_value(known).unwrap_or_default(),
    };
    if let Some(map) = json.as_object_mut() {
        map.remove("type");
        map.remove("salt");
        if let Some(text) = arguments_text(content) {
            map.insert("arguments_text".to_owned(), Value::String(text));
        }
        if let MessageContent::Approval(asked) = content
            && !asked.injected.is_empty()
        {
            let text = visible::json(&Value::Object(asked.injected.clone()));
            map.insert("injected_text".to_owned(), Value::String(text));
        }
    }
    json
}

/// What went wrong, and the line of the workflow, which stands in brackets behind it. People who have not written the workflow
/// need not read that.
pub fn split_place(told: &str) -> (&str, Option<&str>) {
    let is_line = |place: &str| {
        let written = place.rsplit_once(':').filter(|(_, line)| line.parse::<u32>().is_ok());
        written.is_some_and(|(file, _)| file.ends_with(".yaml") || file.ends_with(".yml"))
    };
    let split = told.strip_suffix(')').and_then(|rest| rest.rsplit_once(" (")).filter(|(_, place)| is_line(place));
    split.map_or((told, None), |(what, place)| (what, Some(place)))
}

/// The arguments of a call as text, exactly: the digits are those of the call, and what cannot be seen is written out. None
/// where programs that read numbers as JavaScript does show the arguments as they are.
fn arguments_text(content: &MessageContent) -> Option<String> {
    let arguments = match content {
        MessageContent::Approval(asked) => &asked.arguments,
        MessageContent::SuggestedFunctionCall { arguments, .. } => arguments,
        _ => return None,
    };
    let value = Value::Object(arguments.clone());
    let text = visible::json(&value);
    let is_needed =
        matches!(content, MessageContent::Approval(_)) || permission::has_exact_number(&value) || text.contains("\\u");
    is_needed.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_what_is_wrong_and_no_exception() {
        let error =
            |long: &str| shown(&MessageContent::Error { short: Some(format!("{FAILED}.")), long: Some(long.into()) });
        let told = error("the model is away (lesson.yaml:9)");
        assert_eq!(told, json!({"short": "The workflow could not go on.", "long": "the model is away"}));
        for kept in ["away", "away (for now)", "away (a:9)", "(x.yaml:y)"] {
            assert_eq!(error(kept)["long"], kept);
        }
        let completed =
            MessageContent::WorkflowCompleted { result: format!("{FAILED}: it is away (lesson.yaml:9)").into() };
        assert_eq!(shown(&completed), json!({"result": "The workflow could not go on: it is away"}));
        assert_eq!(split_place("it is away (lesson.yaml:9)"), ("it is away", Some("lesson.yaml:9")));
        let own = MessageContent::Error { short: Some("No.".into()), long: None };
        assert_eq!(shown(&own), json!({"short": "No.", "long": null}));
    }
}
