//! What a gateway tells of a run: the events of `docs/reference/api.md`, typed. The text of a record is kept as it came.

use serde_json::Value;

use crate::clock::Timestamp;
use crate::ids::MessageId;
use crate::message::MessageContent;
pub use crate::protocol::api::{EndedView as Ended, RecordBodyView as Body};
use crate::protocol::api::{MessageView, RecordView};
use crate::run::attach::TextDelta;

/// What a follower of a run is given.
#[derive(Debug, Clone, PartialEq)]
pub enum ClientEvent {
    /// The next record of the log.
    Record(Box<ClientRecord>),
    /// What came before is history; what comes next is live. Given once.
    CaughtUp {
        /// The sequence of the last record there was.
        seq: u64,
    },
    /// A piece of text that is being written.
    Delta(TextDelta),
    /// The connection was lost and is being made again. Given once per loss.
    Lost {
        /// Why, in words.
        why: String,
    },
}

/// A record of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientRecord {
    /// The JSON as it came, in one line.
    pub json: String,
    /// Its place.
    pub seq: u64,
    /// Which of the records with that place it is; none: the last.
    pub step: Option<u32>,
    /// When it was stored.
    pub at: Timestamp,
    /// What it says.
    pub body: Body,
}

/// A message of a run, its content read.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientMessage {
    /// Its id.
    pub uuid: MessageId,
    /// Who says it.
    pub sender: Option<String>,
    /// To whom.
    pub recipient: Option<String>,
    /// What it says.
    pub says: MessageContent,
    /// Of a question that is for others: whom it waits for, in words.
    pub waits_for: Option<String>,
}

impl From<MessageView> for ClientMessage {
    fn from(view: MessageView) -> Self {
        let says = view.says();
        let waits_for = view.content.get("waits_for").and_then(Value::as_str).map(str::to_owned);
        let MessageView { uuid, sender, recipient, .. } = view;
        Self { uuid, sender, recipient, says, waits_for }
    }
}

impl From<&MessageView> for ClientMessage {
    fn from(view: &MessageView) -> Self {
        view.clone().into()
    }
}

impl ClientRecord {
    /// Reads a record from the data of its event.
    pub fn parse(json: String) -> Result<Self, crate::bounds::UnfitJson> {
        let RecordView { seq, step, at, body } = crate::bounds::parse(json.as_bytes())?;
        Ok(Self { json, seq, step, at, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::log::RunOutcome;

    fn body(json: &str) -> Body {
        ClientRecord::parse(format!(r#"{{"seq": 7, "at": "2026-11-22T10:00:00.123Z", {json}}}"#)).unwrap().body
    }

    #[test]
    fn records_of_the_documented_kinds_are_read() {
        assert!(matches!(body(r#""kind": "created", "workflow": "echo", "params": {"a": 1}, "user": null"#),
            Body::Created { workflow, .. } if workflow == "echo"));
        assert_eq!(body(r#""kind": "parked""#), Body::Parked);
        assert_eq!(body(r#""kind": "of a later version", "x": 1"#), Body::Unknown);
        let asked = body(
            r#""kind": "said", "message": {"uuid": "5f0c5f0c5f0c5f0c5f0c5f0c5f0c5f0c", "sender": "Teacher", "recipient": null,
               "auto_reply": false, "type": "text_input", "content": {"prompt": "name?", "suggestions": [], "password": true,
               "multiline": false, "pattern": null, "value_type": "string", "deadline": null, "on_timeout": null},
               "html": "<p>name?</p>"}"#,
        );
        let Body::Said { message } = asked else { panic!("it asks") };
        let asked = ClientMessage::from(*message);
        assert!(asked.says.is_secret());
        assert_eq!(asked.says.prompt(), Some("name?"));
        let ended = body(
            r#""kind": "ended", "outcome": "cancelled", "reason": null, "result": "x",
            "usage": {"llm_calls": 1, "prompt_tokens": 2, "completion_tokens": 3}, "message": {
               "uuid": "5f0c5f0c5f0c5f0c5f0c5f0c5f0c5f0c", "type": "workflow_completed", "content": {"result": "x"}}"#,
        );
        assert!(matches!(ended, Body::Ended(ended) if ended.outcome == RunOutcome::Cancelled && ended.result == "x"));
    }

    #[test]
    fn numbers_of_every_length_are_read_in_every_kind_of_message() {
        for number in ["18446744073709551616", "-9223372036854775809", "1e400", "0.1000000000000000055511151231257827"]
        {
            for (kind, content) in [
                ("approval", format!(r#"{{"function_name": "t", "arguments": {{"n": [{{"deep": {number}}}]}}}}"#)),
                ("form", format!(r#"{{"prompt": "?", "schema": {{"properties": {{"n": {{"maximum": {number}}}}}}}}}"#)),
                ("suggested_function_call", format!(r#"{{"arguments": {{"n": {number}}}}}"#)),
                ("function_call_execution", format!(r#"{{"retval": {number}}}"#)),
                ("system_message", format!(r#"{{"message": {{"n": {number}}}}}"#)),
                ("workflow_started", format!(r#"{{"name": "w", "params": {{"n": {number}}}}}"#)),
                ("workflow_completed", format!(r#"{{"result": {number}}}"#)),
            ] {
                let said = body(&format!(
                    r#""kind": "said", "message": {{"uuid": "5f0c5f0c5f0c5f0c5f0c5f0c5f0c5f0c", "type": "{kind}", "content": {content}}}"#
                ));
                let Body::Said { message } = said else { panic!("it says something") };
                let says = ClientMessage::from(*message).says;
                assert!(!matches!(says, MessageContent::Other { .. }), "{kind} with {number}: {says:?}");
                let shown = crate::message::shown(&says).to_string();
                assert!(shown.contains(&number.replace("1e400", "1e+400")), "{shown}");
            }
        }
    }

    #[test]
    fn a_message_of_an_unknown_type_is_kept() {
        let said = body(
            r#""kind": "said", "message": {"uuid": "5f0c5f0c5f0c5f0c5f0c5f0c5f0c5f0c", "type": "run_completion", "content": {"x": [1]}}"#,
        );
        let Body::Said { message } = said else { panic!("it says something") };
        assert_eq!(
            ClientMessage::from(*message).says,
            MessageContent::Other { kind: "run_completion".into(), content: serde_json::json!({"x": [1]}) }
        );
    }
}
