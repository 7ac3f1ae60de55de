//! What a gateway tells of a run: the events of `docs/api.md`, typed. What a newer gateway adds is kept as it came.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::ids::MessageId;
use crate::message::Content;
use crate::run::attach::Delta;
use crate::run::record::{Ending, Usage};

/// What a follower of a run is given.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The next record of the log.
    Record(Box<Record>),
    /// What came before is history; what comes next is live. Given once.
    CaughtUp {
        /// The sequence of the last record there was.
        seq: u64,
    },
    /// A piece of text that is being written.
    Delta(Delta),
    /// The connection was lost and is being made again. Given once per loss.
    Lost {
        /// Why, in words.
        why: String,
    },
}

/// A record of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The JSON as it came, in one line.
    pub json: String,
    /// Its place.
    pub seq: u64,
    /// When it was stored.
    pub at: Timestamp,
    /// What it says.
    pub body: Body,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Body {
    /// Somebody started the run.
    Created {
        /// Its workflow.
        workflow: String,
        /// Its parameters.
        #[serde(default)]
        params: Map<String, Value>,
        /// Whose it is.
        #[serde(default)]
        user: Option<String>,
    },
    /// A worker took it over.
    Claimed {
        /// The worker.
        worker: String,
        /// How often it was taken.
        epoch: u64,
        /// In the first one: the message `workflow_started`.
        #[serde(default)]
        message: Option<Message>,
    },
    /// It said something, or asked.
    Said {
        /// What.
        message: Message,
    },
    /// A question was answered.
    Answered {
        /// Which.
        question: MessageId,
        /// What to show; none for a password.
        #[serde(default)]
        text: Option<String>,
        /// Why the answer does not fit; the question is asked again.
        #[serde(default)]
        refused: Option<String>,
        /// By whom.
        #[serde(default)]
        by: Option<String>,
        /// Nobody did; the workflow goes on without.
        #[serde(default)]
        on_timeout: bool,
    },
    /// It waits.
    Parked,
    /// It is over.
    Ended(Box<Ended>),
    /// What this program does not know.
    #[serde(other)]
    Unknown,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Ended {
    /// Well or not.
    pub outcome: Ending,
    /// Why, if not well.
    #[serde(default)]
    pub reason: Option<String>,
    /// What the workflow returned.
    #[serde(default)]
    pub result: Value,
    /// What it used.
    #[serde(default)]
    pub usage: Usage,
}

/// A message of a run.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(from = "Envelope")]
pub struct Message {
    /// Its id.
    pub uuid: MessageId,
    /// Who says it.
    pub sender: Option<String>,
    /// To whom.
    pub recipient: Option<String>,
    /// What it says.
    pub says: Content,
}

#[derive(Deserialize)]
struct Envelope {
    uuid: MessageId,
    #[serde(default)]
    sender: Option<String>,
    #[serde(default)]
    recipient: Option<String>,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    content: Value,
}

impl From<Envelope> for Message {
    fn from(envelope: Envelope) -> Self {
        let Envelope { uuid, sender, recipient, kind, content } = envelope;
        Self { uuid, sender, recipient, says: says(kind, content) }
    }
}

fn says(kind: String, content: Value) -> Content {
    let mut tagged = content.as_object().cloned().unwrap_or_default();
    // `other` is how our own log calls what it does not know; on the wire it would be a foreign worker's word.
    if kind != "other" {
        tagged.insert("type".to_owned(), Value::String(kind.clone()));
    }
    serde_json::from_value(Value::Object(tagged)).unwrap_or(Content::Other { kind, content })
}

impl Record {
    /// Reads a record from the data of its event.
    pub fn parse(json: String) -> Result<Self, crate::bounds::Unfit> {
        #[derive(Deserialize)]
        struct Placed {
            seq: u64,
            at: Timestamp,
            #[serde(flatten)]
            body: Body,
        }
        let Placed { seq, at, body } = crate::bounds::parse(json.as_bytes())?;
        Ok(Self { json, seq, at, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(json: &str) -> Body {
        Record::parse(format!(r#"{{"seq": 7, "at": "2026-11-22T10:00:00.123Z", {json}}}"#)).unwrap().body
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
        assert!(message.says.is_secret());
        assert_eq!(message.says.prompt(), Some("name?"));
        let ended = body(
            r#""kind": "ended", "outcome": "cancelled", "reason": null, "result": "x",
            "usage": {"llm_calls": 1, "prompt_tokens": 2, "completion_tokens": 3}, "message": {}"#,
        );
        assert!(matches!(ended, Body::Ended(ended) if ended.outcome == Ending::Cancelled && ended.result == "x"));
    }

    #[test]
    fn a_message_of_an_unknown_type_is_kept() {
        let said = body(
            r#""kind": "said", "message": {"uuid": "5f0c5f0c5f0c5f0c5f0c5f0c5f0c5f0c", "type": "run_completion", "content": {"x": [1]}}"#,
        );
        let Body::Said { message } = said else { panic!("it says something") };
        assert_eq!(
            message.says,
            Content::Other { kind: "run_completion".into(), content: serde_json::json!({"x": [1]}) }
        );
    }
}
