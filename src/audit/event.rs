//! A record as the audit tells it.

use serde_json::{Value, json};

use crate::bounds::{STORED, check_value, shorten};
use crate::clock::Timestamp;
use crate::ids::RunId;
use crate::message::Message;
use crate::protocol::answer::{AnswerOutcome, AnswerRecord};
use crate::protocol::api::{
    AuditEventBodyView, AuditEventView, AuditMessageView, ErasureView, ModelRequestView, RemovedRunView, RenameView,
};
use crate::protocol::effect_key::EffectKey;
use crate::protocol::log::{
    EffectOutcome, LogEntry, LoggedRequest, RecordBody, RunErasure, RunOrigin, RunRemoval, TitleEvent,
};
use crate::redact::Redactor;
use crate::run::assembler::UnreadableRecord;
use crate::run::redaction;
use crate::run::summary::TitleChange;

/// A record as the audit shows it (`docs/how-to/audit.md` lists what belongs to which kind).
pub fn event(run: RunId, placed: &LogEntry, redactor: &Redactor) -> AuditEventView {
    let record = redaction::placed(redactor, placed).into_owned().record;
    let (workflow, user) = whose(&record.body);
    let asked = record.asked;
    let shown = AuditEventView {
        workflow,
        user: user.map(Some),
        took_ms: asked.as_ref().map(|asked| asked.took_ms),
        asked: asked.map(|asked| Box::new(request(*asked))),
        ..beside(run, placed.seq, placed.at, body(record.body))
    };
    // Older logs hold more than is stored now; whoever is told of it may take no more.
    let mut value = json!(shown);
    if check_value(&value, &STORED).is_ok() {
        return shown;
    }
    shorten(&mut value, STORED.depth);
    crate::bounds::from_value(value).unwrap_or(shown)
}

/// A record that cannot be read, or not whole, in its place: who reads on knows that something is missing.
pub fn unreadable(run: RunId, unread: &UnreadableRecord) -> AuditEventView {
    let reason = unread.why.to_string();
    beside(run, unread.seq, unread.at, AuditEventBodyView::Unreadable { reason })
}

/// That a run was given another title, as the audit tells it. Such events lie beside the log, and have no place in it.
pub fn renamed(run: RunId, rename: &TitleChange, redactor: &Redactor) -> AuditEventView {
    let title = |title: &Option<String>| title.as_deref().map(|title| redactor.text(title).into_owned());
    let body = AuditEventBodyView::Renamed {
        by: rename.renamed.by.as_ref().map(ToString::to_string),
        from: title(&rename.from),
        to: title(&rename.to),
        dropped: rename.renamed.dropped,
    };
    AuditEventView { seq: None, ..beside(run, 0, rename.renamed.at, body) }
}

/// That the history of an ended run was stored anew without what is not to be seen.
pub fn redacted(run: RunId, seq: u64, at: Timestamp) -> AuditEventView {
    beside(run, seq, at, AuditEventBodyView::Redacted)
}

/// An event of which no more is known than this.
fn beside(run: RunId, seq: u64, at: Timestamp, body: AuditEventBodyView) -> AuditEventView {
    AuditEventView {
        run,
        seq: Some(seq),
        at,
        workflow: None,
        user: None,
        body,
        took_ms: None,
        asked: None,
        prompt: None,
    }
}

/// The workflow and the user of a run, where a record names them.
fn whose(body: &RecordBody) -> (Option<String>, Option<String>) {
    let named = match body {
        RecordBody::Created(created) => Some((&created.workflow, &created.user)),
        RecordBody::Removed(removal) => removal.evidence.as_ref().map(|evidence| (&evidence.workflow, &evidence.user)),
        _ => None,
    };
    match named {
        Some((workflow, user)) => (Some(workflow.to_string()), user.as_ref().map(ToString::to_string)),
        None => (None, None),
    }
}

fn body(body: RecordBody) -> AuditEventBodyView {
    match body {
        RecordBody::Created(created) => AuditEventBodyView::Created {
            definition: created.definition,
            params: created.params,
            groups: created.groups.into_vec(),
            origin: origin(created.origin),
            trace: created.trace,
            signature: created.signature,
        },
        RecordBody::Claimed { worker, epoch, message } => AuditEventBodyView::Claimed {
            worker: worker.to_string(),
            epoch,
            message: message.as_ref().map(self::message),
        },
        RecordBody::Said { key, message } if message.says.asks() => {
            AuditEventBodyView::Asked { key, message: self::message(&message) }
        }
        RecordBody::Said { key, message } => AuditEventBodyView::Said { key, message: self::message(&message) },
        RecordBody::Did { key, outcome } => did(key, outcome),
        RecordBody::Calling { key, digest } => AuditEventBodyView::Calling { key, digest },
        RecordBody::Parked { until } => AuditEventBodyView::Parked { until },
        RecordBody::Ended(ended) => AuditEventBodyView::Ended {
            outcome: ended.outcome,
            reason: ended.reason,
            message: message(&ended.message),
            result: ended.result,
            usage: ended.usage,
        },
        RecordBody::Part { .. } => AuditEventBodyView::Part,
        RecordBody::Removed(removal) => AuditEventBodyView::Removed(Box::new(removed(*removal))),
        RecordBody::Kept(_) => AuditEventBodyView::Removed(Box::default()),
    }
}

fn did(key: EffectKey, outcome: EffectOutcome) -> AuditEventBodyView {
    match outcome {
        EffectOutcome::Answer(answered) => answer(key, answered),
        EffectOutcome::Reply(reply) => AuditEventBodyView::Replied {
            content: reply.content,
            tool_calls: reply.tool_calls,
            refusal: reply.refusal,
            finish_reason: reply.finish_reason,
            usage: reply.usage,
            model: reply.model,
            key,
        },
        EffectOutcome::Failed { kind, message } => {
            AuditEventBodyView::Failed { error: kind.to_string(), reason: message, key }
        }
        EffectOutcome::Value(value) => AuditEventBodyView::Made { value, key },
        EffectOutcome::Reminded(reminder) => {
            AuditEventBodyView::Reminded { question: reminder.question, escalated_to: reminder.escalated_to, key }
        }
    }
}

/// An answer, without a password in whatever form.
fn answer(key: EffectKey, answered: AnswerRecord) -> AuditEventBodyView {
    let AnswerRecord { question, by, outcome } = answered;
    let (taken, refused, on_timeout, secret) = match outcome {
        AnswerOutcome::Given(taken) => (Some(taken), None, false, false),
        AnswerOutcome::TimedOut { default } => (default, None, true, false),
        AnswerOutcome::Refused { reason } => (None, Some(reason), false, false),
        AnswerOutcome::Sealed(_) | AnswerOutcome::NeverStored => (None, None, false, true),
    };
    let (value, text) = taken.map(|taken| (taken.value, taken.text)).unzip();
    AuditEventBodyView::Answered {
        question,
        value: value.filter(|value: &Value| !value.is_null()),
        text,
        refused,
        by: by.map(|by| by.to_string()),
        on_timeout,
        secret,
        key,
    }
}

/// A message in the shape that the other routes show it in.
fn message(message: &Message) -> AuditMessageView {
    AuditMessageView {
        uuid: message.uuid,
        sender: message.sender.clone(),
        recipient: message.recipient.clone(),
        kind: message.says.kind().to_owned(),
        content: crate::message::shown(&message.says),
        within: message.within.clone(),
    }
}

fn request(asked: LoggedRequest) -> ModelRequestView {
    let LoggedRequest { llm, took_ms, after, common, messages, tools, response_format, parameters } = asked;
    ModelRequestView { llm, took_ms, after, common, messages, tools, response_format, parameters }
}

/// Where a run came from, as the log has it.
fn origin(origin: RunOrigin) -> String {
    json!(origin).as_str().unwrap_or_default().to_owned()
}

/// What is left of a run: what it was is told beside who removed it. Of the time the record has that of its storing.
fn removed(removal: RunRemoval) -> RemovedRunView {
    let erased = removal.erased.map(|RunErasure { by, reason, at }| ErasureView { by, reason, at });
    let left = RemovedRunView {
        removed_at: removal.at,
        by: removal.by,
        reason: removal.reason,
        rule: removal.rule,
        erased,
        ..RemovedRunView::default()
    };
    let Some(evidence) = removal.evidence else { return left };
    let rename = |TitleEvent { by, at, dropped }| RenameView {
        by: by.map(|by: crate::ids::UserId| by.to_string()),
        at,
        dropped,
    };
    RemovedRunView {
        definition: evidence.definition,
        origin: Some(origin(evidence.origin)),
        created_at: Some(evidence.created_at),
        ended_at: evidence.ended_at,
        outcome: evidence.outcome,
        usage: Some(evidence.usage),
        records: evidence.records,
        renamed: evidence.renamed.into_iter().map(rename).collect(),
        ..left
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;
    use crate::ids::{MessageId, Name, UserId, WorkerId};
    use crate::message::MessageContent;
    use crate::protocol::failure::FailureKind;
    use crate::protocol::log::{Record, RunCreation, RunEnd, RunEvidence, RunOutcome, RunUsage, completed_message};

    fn answered(outcome: AnswerOutcome) -> RecordBody {
        let answered = AnswerRecord { question: MessageId::random(), by: UserId::new("ann"), outcome };
        RecordBody::Did { key: "1".into(), outcome: EffectOutcome::Answer(answered) }
    }

    fn told(run: RunId, body: RecordBody) -> AuditEventView {
        let placed = LogEntry { seq: 41, at: Timestamp::UNIX_EPOCH, record: Record::new(body) };
        event(run, &placed, &Redactor::default())
    }

    #[test]
    fn a_password_is_told_of_and_never_shown() {
        for outcome in [AnswerOutcome::Sealed("c2VhbGVk".into()), AnswerOutcome::NeverStored] {
            let shown = json!(told(RunId::random(), answered(outcome)));
            assert_eq!((&shown["kind"], &shown["secret"]), (&json!("answered"), &json!(true)));
            assert!(!shown.to_string().contains("sealed") && !shown.to_string().contains("c2VhbGVk"), "{shown}");
        }
    }

    /// Records of all kinds, and those of the kept histories.
    fn records() -> Vec<Record> {
        let run = RunId::random();
        let user = UserId::new("ann");
        let workflow = Name::parse("lesson").unwrap();
        let evidence = RunEvidence {
            workflow: workflow.clone(),
            definition: Some("abc".into()),
            user: user.clone(),
            origin: RunOrigin::FastAgency,
            created_at: Timestamp::UNIX_EPOCH,
            ended_at: Some(Timestamp::UNIX_EPOCH),
            outcome: Some(RunOutcome::Failed),
            usage: RunUsage::default(),
            records: Some(3),
            renamed: vec![TitleEvent { by: user.clone(), at: Timestamp::UNIX_EPOCH, dropped: 2 }],
        };
        let removal = RunRemoval {
            at: Some(Timestamp::UNIX_EPOCH),
            by: Some("ann".into()),
            reason: Some("a mistake".into()),
            rule: Some("keep_ended: 1d".into()),
            evidence: Some(evidence),
            erased: Some(RunErasure { by: None, reason: "asked".into(), at: Timestamp::UNIX_EPOCH }),
            chain: None,
        };
        let created = RunCreation {
            workflow,
            definition: None,
            params: Map::from_iter([("a".to_owned(), json!([1, null]))]),
            user,
            groups: Box::new(["staff".to_owned()]),
            origin: RunOrigin::ForeignWorker,
            trace: Some("00-1-2-01".into()),
            signature: Some("signed".into()),
        };
        let ended = RunEnd {
            outcome: RunOutcome::Cancelled,
            reason: Some("by ann".into()),
            result: Value::Null,
            usage: RunUsage { tool_calls: 1, ..RunUsage::default() },
            message: completed_message(run, Value::Null),
        };
        let refused = AnswerOutcome::Refused { reason: "no number".into() };
        let failed = EffectOutcome::Failed { kind: FailureKind::Tool, message: "no luck".into() };
        let bodies = [
            RecordBody::Created(created),
            RecordBody::Claimed { worker: WorkerId::random(), epoch: 2, message: None },
            RecordBody::Said {
                key: "1".into(),
                message: Message { says: MessageContent::text("hi"), ..ended.message.clone() },
            },
            answered(AnswerOutcome::Given(json!({"x": 1.5}).into())),
            answered(AnswerOutcome::Given(Value::Null.into())),
            answered(AnswerOutcome::TimedOut { default: None }),
            answered(AnswerOutcome::TimedOut { default: Some(json!("later").into()) }),
            answered(refused),
            RecordBody::Did { key: "2/tool/1".into(), outcome: failed },
            RecordBody::Did { key: "3".into(), outcome: EffectOutcome::Value(json!([])) },
            RecordBody::Did { key: "4".into(), outcome: EffectOutcome::Value(Value::Null) },
            RecordBody::Calling { key: "5".into(), digest: Some("d1".into()) },
            RecordBody::Parked { until: Some(Timestamp::UNIX_EPOCH) },
            RecordBody::Ended(ended),
            RecordBody::Removed(Box::new(removal)),
            RecordBody::Removed(Box::default()),
        ];
        let mut records: Vec<Record> = bodies.into_iter().map(Record::new).collect();
        for name in ["chat", "replies", "steps"] {
            let path = format!("{}/tests/histories/{name}.jsonl", env!("CARGO_MANIFEST_DIR"));
            let text = std::fs::read_to_string(path).unwrap();
            let lines = text.lines().map(|line| serde_json::from_str::<Record>(line).unwrap());
            records.extend(lines.flat_map(Record::steps));
        }
        records
    }

    #[test]
    fn an_event_of_every_kind_is_read_as_it_was_sent() {
        let run = RunId::random();
        let rename = TitleChange {
            from: None,
            to: Some("a title".into()),
            renamed: TitleEvent { by: None, at: Timestamp::UNIX_EPOCH, dropped: 1 },
        };
        let mut events = vec![renamed(run, &rename, &Redactor::default()), redacted(run, 7, Timestamp::UNIX_EPOCH)];
        for record in records() {
            let placed = LogEntry { seq: 41, at: Timestamp::UNIX_EPOCH, record };
            events.push(event(run, &placed, &Redactor::default()));
        }
        let mut kinds = std::collections::BTreeSet::new();
        for event in events {
            let sent = json!(event);
            kinds.insert(sent["kind"].as_str().unwrap().to_owned());
            assert_eq!(crate::bounds::from_value::<AuditEventView>(sent.clone()).unwrap(), event, "{sent}");
        }
        assert_eq!(kinds.len(), 14, "{kinds:?}");
        let later = json!({"run": run, "seq": 1, "at": "2026-01-01T00:00:00Z", "kind": "of a later version", "x": 1});
        assert_eq!(crate::bounds::from_value::<AuditEventView>(later).unwrap().body, AuditEventBodyView::Unknown);
    }
}
