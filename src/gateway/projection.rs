//! What `/api` shows of a run's log: records as the types of the interface ([`crate::protocol::api`]).

use serde_json::{Value, json};

use crate::gateway::markdown;
use crate::message::{self, Message, MessageContent};
use crate::protocol::api::{EndedView, MessageView, RecordBodyView, RecordView};
use crate::protocol::log::{EffectOutcome, LogEntry, RecordBody};
use crate::protocol::participant::is_internal;
use crate::visible;

/// A record, as the events of a run show it; `None` for what is nobody's business but the worker's.
pub fn record(placed: &LogEntry) -> Option<RecordView> {
    let body = match &placed.record.body {
        RecordBody::Created(created) => RecordBodyView::Created {
            workflow: created.workflow.to_string(),
            params: created.params.clone(),
            user: created.user.as_ref().map(ToString::to_string),
        },
        RecordBody::Claimed { worker, epoch, message } => RecordBodyView::Claimed {
            worker: worker.to_string(),
            epoch: *epoch,
            message: message.as_ref().map(|said| Box::new(said.into())),
        },
        RecordBody::Said { message, .. } => RecordBodyView::Said { message: Box::new(message.into()) },
        RecordBody::Did { outcome: EffectOutcome::Answer(answered), .. } => {
            let taken = answered.taken();
            RecordBodyView::Answered {
                question: answered.question,
                text: taken.map(|taken| taken.text.clone()),
                value: taken.map(|taken| taken.value.clone()),
                refused: answered.refused().map(str::to_owned),
                by: answered.by.as_ref().map(ToString::to_string),
                on_timeout: answered.is_late(),
                arguments_text: taken.and_then(|taken| changed_arguments(&taken.value)),
            }
        }
        RecordBody::Did { outcome: EffectOutcome::Reminded(reminder), .. } => RecordBodyView::Reminded {
            question: reminder.question,
            escalated_to: reminder.escalated_to.clone(),
            waits_for: None,
        },
        RecordBody::Parked { .. } => RecordBodyView::Parked,
        RecordBody::Ended(ended) => RecordBodyView::Ended(Box::new(EndedView {
            outcome: ended.outcome,
            reason: ended.reason.as_deref().map(|reason| message::split_place(reason).0.to_owned()),
            place: ended.reason.as_deref().and_then(|reason| message::split_place(reason).1.map(str::to_owned)),
            result: ended.result.clone(),
            usage: ended.usage,
            message: Some((&ended.message).into()),
        })),
        RecordBody::Did { .. }
        | RecordBody::Calling { .. }
        | RecordBody::Part { .. }
        | RecordBody::Removed(_)
        | RecordBody::Kept(_) => {
            return None;
        }
    };
    Some(RecordView { seq: placed.seq, step: placed.record.step, at: placed.at, body })
}

/// The arguments that somebody allowed a call with instead, as text that no program rounds; null: there are none.
fn changed_arguments(value: &Value) -> Option<String> {
    let arguments =
        value.get("arguments").filter(|arguments| arguments.is_object() && value.get("decision").is_some())?;
    Some(visible::json(arguments))
}

impl From<&Message> for MessageView {
    fn from(message: &Message) -> Self {
        Self {
            uuid: message.uuid,
            sender: message.sender.clone().filter(|name| !is_internal(name)),
            recipient: message.recipient.clone().filter(|name| !is_internal(name)),
            auto_reply: message.auto_reply,
            kind: message.says.kind().to_owned(),
            content: content(&message.says),
            within: message.within.clone(),
            html: text(&message.says).and_then(markdown::to_html),
        }
    }
}

/// What is written in markdown.
fn text(content: &MessageContent) -> Option<&str> {
    match content {
        MessageContent::TextMessage { body, .. } => body.as_deref(),
        // FastAgency's own pages show these two keys.
        MessageContent::SystemMessage { message } => message.get("body").and_then(Value::as_str),
        MessageContent::WorkflowCompleted { result } => result.as_str(),
        other => other.prompt(),
    }
}

/// The content under every key that `docs/reference/api.md` names, so that a page need not know what is left out in the log.
fn content(content: &MessageContent) -> Value {
    let defaults: &[(&str, Value)] = match content {
        MessageContent::TextInput(_) => &[
            ("suggestions", json!([])),
            ("suggestions_fill", json!(false)),
            ("password", json!(false)),
            ("multiline", json!(false)),
            ("pattern", Value::Null),
            ("in_short", Value::Null),
            ("deadline", Value::Null),
            ("on_timeout", Value::Null),
        ],
        MessageContent::MultipleChoice(_) => &[
            ("default", Value::Null),
            ("min", Value::Null),
            ("max", Value::Null),
            ("deadline", Value::Null),
            ("on_timeout", Value::Null),
        ],
        MessageContent::Form(_) => &[("deadline", Value::Null), ("on_timeout", Value::Null)],
        MessageContent::Approval(_) => {
            &[("call_id", Value::Null), ("schema", Value::Null), ("deadline", Value::Null), ("on_timeout", Value::Null)]
        }
        _ => &[],
    };
    let mut shown = message::shown(content);
    if let Some(map) = shown.as_object_mut() {
        for (key, default) in defaults {
            map.entry(*key).or_insert_with(|| default.clone());
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;
    use crate::clock::Timestamp;
    use crate::ids::{Name, RunId, WorkerId};
    use crate::message::{MultipleChoice, TextInput};
    use crate::protocol::answer::{AnswerOutcome, AnswerRecord};
    use crate::protocol::failure::FailureKind;
    use crate::protocol::log::{
        Record, RunCreation, RunEnd, RunOrigin, RunOutcome, RunUsage, completed_message, started_message,
    };

    fn id<T: TryFrom<String>>(digit: char) -> T
    where
        T::Error: std::fmt::Debug,
    {
        T::try_from(digit.to_string().repeat(32)).unwrap()
    }

    fn created() -> RunCreation {
        RunCreation {
            workflow: Name::parse("echo").unwrap(),
            definition: Some("abc".into()),
            params: Map::from_iter([("a".to_owned(), json!(1))]),
            user: None,
            groups: Box::default(),
            origin: RunOrigin::Gateway,
            trace: None,
            signature: None,
        }
    }

    fn shown(body: RecordBody) -> Value {
        let at = Timestamp::from_millisecond(1_800_000_000_123).unwrap();
        let placed = LogEntry { seq: 7, at, record: Record::new(body) };
        let mut value = json!(record(&placed).unwrap());
        let object = value.as_object_mut().unwrap();
        assert_eq!(object.remove("seq"), Some(json!(7)));
        assert_eq!(object.remove("at"), Some(json!("2027-01-15T08:00:00.123Z")));
        value
    }

    fn said(says: MessageContent) -> RecordBody {
        let message = Message {
            uuid: id('1'),
            sender: Some("Teacher".into()),
            recipient: None,
            auto_reply: false,
            alias: None,
            within: Vec::new(),
            says,
        };
        RecordBody::Said { key: "2/secret-key".into(), message }
    }

    #[test]
    fn every_kind_of_record_is_shown_as_documented() {
        let run: RunId = id('a');
        let answered =
            |answered: AnswerRecord| RecordBody::Did { key: "1".into(), outcome: EffectOutcome::Answer(answered) };
        let plain = AnswerRecord { question: id('2'), by: None, outcome: AnswerOutcome::Given(json!("x").into()) };
        let ended = RunEnd {
            outcome: RunOutcome::Failed,
            reason: Some("no luck".into()),
            result: json!({"a": 1}),
            usage: RunUsage { llm_calls: 1, prompt_tokens: 2, completion_tokens: 3, ..RunUsage::default() },
            message: completed_message(run, json!({"a": 1})),
        };
        let started = started_message(run, &created(), None);
        let table = [
            (
                RecordBody::Created(created()),
                json!({"kind": "created", "workflow": "echo", "params": {"a": 1}, "user": null}),
            ),
            (
                RecordBody::Claimed { worker: id::<WorkerId>('b'), epoch: 2, message: None },
                json!({"kind": "claimed", "worker": "b".repeat(32), "epoch": 2}),
            ),
            (
                RecordBody::Claimed { worker: id::<WorkerId>('b'), epoch: 1, message: Some(started.clone()) },
                json!({"kind": "claimed", "worker": "b".repeat(32), "epoch": 1, "message": {
                    "uuid": started.uuid, "sender": "Workflow", "recipient": "User", "auto_reply": false,
                    "type": "workflow_started", "content": {"name": "echo", "description": null, "params": {"a": 1}}}}),
            ),
            (
                said(MessageContent::text("A **triangle**.")),
                json!({"kind": "said", "message": {
                    "uuid": "1".repeat(32), "sender": "Teacher", "recipient": null, "auto_reply": false,
                    "type": "text_message", "content": {"body": "A **triangle**."},
                    "html": "<p>A <strong>triangle</strong>.</p>\n"}}),
            ),
            (
                said(MessageContent::TextInput(TextInput { prompt: Some("name?".into()), ..TextInput::default() })),
                json!({"kind": "said", "message": {
                    "uuid": "1".repeat(32), "sender": "Teacher", "recipient": null, "auto_reply": false,
                    "type": "text_input", "content": {
                        "prompt": "name?", "suggestions": [], "suggestions_fill": false, "password": false, "multiline": false, "pattern": null,
                        "in_short": null, "value_type": "string", "deadline": null, "on_timeout": null},
                    "html": "<p>name?</p>\n"}}),
            ),
            (
                said(MessageContent::MultipleChoice(MultipleChoice {
                    choices: vec!["A".into()],
                    single: true,
                    ..MultipleChoice::default()
                })),
                json!({"kind": "said", "message": {
                    "uuid": "1".repeat(32), "sender": "Teacher", "recipient": null, "auto_reply": false,
                    "type": "multiple_choice", "content": {
                        "prompt": null, "choices": ["A"], "default": null, "single": true, "min": null, "max": null,
                        "deadline": null, "on_timeout": null}}}),
            ),
            (
                said(MessageContent::WorkflowCompleted { result: json!("**triangles**") }),
                json!({"kind": "said", "message": {
                    "uuid": "1".repeat(32), "sender": "Teacher", "recipient": null, "auto_reply": false,
                    "type": "workflow_completed", "content": {"result": "**triangles**"},
                    "html": "<p><strong>triangles</strong></p>\n"}}),
            ),
            (
                said(MessageContent::Other { kind: "run_completion".into(), content: json!({"x": [1]}) }),
                json!({"kind": "said", "message": {
                    "uuid": "1".repeat(32), "sender": "Teacher", "recipient": null, "auto_reply": false,
                    "type": "run_completion", "content": {"x": [1]}}}),
            ),
            (
                answered(plain.clone()),
                json!({"kind": "answered", "question": "2".repeat(32), "text": "x", "value": "x", "refused": null, "by": null, "on_timeout": false}),
            ),
            (
                answered(AnswerRecord { outcome: AnswerOutcome::Sealed("c2VjcmV0".into()), ..plain }),
                json!({"kind": "answered", "question": "2".repeat(32), "text": null, "value": null, "refused": null, "by": null, "on_timeout": false}),
            ),
            (RecordBody::Parked { until: None }, json!({"kind": "parked"})),
            (
                RecordBody::Ended(ended.clone()),
                json!({"kind": "ended", "outcome": "failed", "reason": "no luck", "result": {"a": 1},
                    "usage": {"llm_calls": 1, "tool_calls": 0, "prompt_tokens": 2, "completion_tokens": 3}, "message": {
                        "uuid": ended.message.uuid, "sender": "Workflow", "recipient": "User", "auto_reply": false,
                        "type": "workflow_completed", "content": {"result": {"a": 1}}}}),
            ),
        ];
        for (body, wanted) in table {
            let name = format!("{body:?}");
            assert_eq!(shown(body), wanted, "{name}");
        }
    }

    #[test]
    fn what_only_the_worker_needs_is_not_shown() {
        for body in [
            RecordBody::Did { key: "1".into(), outcome: EffectOutcome::Value(json!("secret")) },
            RecordBody::Did {
                key: "1".into(),
                outcome: EffectOutcome::Failed { kind: FailureKind::Tool, message: "y".into() },
            },
            RecordBody::Calling { key: "1".into(), digest: None },
            RecordBody::Removed(Default::default()),
        ] {
            let placed = LogEntry { seq: 1, at: Timestamp::UNIX_EPOCH, record: Record::new(body) };
            assert_eq!(record(&placed), None);
        }
    }
}
