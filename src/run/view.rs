//! A run in a few words as the types of the interface ([`crate::protocol::api`]): the gateway sends them, and `audit` on the
//! command line prints them.

use crate::protocol::api::{
    AskingRunView, AuditRunView, ErasureView, QuestionView, RemovalView, RunQuestionView, RunView,
};
use crate::protocol::log::RunRemoval;
use crate::run::summary::{OpenQuestion, RunSummary};

impl From<&RunSummary> for RunView {
    fn from(summary: &RunSummary) -> Self {
        let question = summary.questions.first();
        Self {
            id: summary.id,
            workflow: summary.workflow.as_ref().map(ToString::to_string),
            title: summary.title.clone(),
            state: summary.state,
            outcome: summary.outcome,
            reason: summary.reason.clone(),
            question: question.map(|open| RunQuestionView {
                id: open.id,
                prompt: open.prompt.clone(),
                reminded_at: open.reminded_at,
                waits_for: None,
            }),
            user: summary.user.as_ref().map(ToString::to_string),
            created_at: summary.created_at,
            updated_at: summary.updated_at,
            may: None,
            unreadable: Vec::new(),
        }
    }
}

impl From<&RunSummary> for AuditRunView {
    fn from(summary: &RunSummary) -> Self {
        let removed = summary.removed.as_deref();
        Self {
            run: RunView::from(summary),
            worker: summary.worker.map(|worker| worker.to_string()),
            removed: removed.map(RemovalView::from),
            usage: removed.map(|removal| removal.evidence.as_ref().map(|evidence| evidence.usage)),
        }
    }
}

impl From<&RunRemoval> for RemovalView {
    fn from(removal: &RunRemoval) -> Self {
        Self {
            at: removal.at,
            by: removal.by.clone(),
            reason: removal.reason.clone(),
            rule: removal.rule.clone(),
            erased: removal.erased.as_ref().map(|erasure| ErasureView {
                by: erasure.by.clone(),
                reason: erasure.reason.clone(),
                at: erasure.at,
            }),
        }
    }
}

impl From<(&RunSummary, &OpenQuestion)> for QuestionView {
    fn from((summary, question): (&RunSummary, &OpenQuestion)) -> Self {
        Self {
            id: question.id,
            prompt: question.prompt.clone(),
            asked_at: question.at,
            approval: !question.entitles,
            answerers: question.answerers.as_deref().filter(|rule| rule.restricts()).cloned(),
            escalated: question.escalated,
            reminded_at: question.reminded_at,
            waits_for: None,
            run: AskingRunView {
                id: summary.id,
                workflow: summary.workflow.as_ref().map(ToString::to_string),
                title: summary.title.clone(),
                user: summary.user.as_ref().map(ToString::to_string),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;
    use crate::clock::Timestamp;
    use crate::ids::{MessageId, Name, RunId};
    use crate::protocol::log::{LogEntry, Record, RecordBody, RunCreation, RunOrigin};
    use crate::protocol::message::{Message, MessageContent, TextInput};

    #[test]
    fn a_run_is_shown_with_its_oldest_question() {
        let question = MessageId::try_from("1".repeat(32)).unwrap();
        let created = RunCreation {
            workflow: Name::parse("echo").unwrap(),
            definition: Some("abc".into()),
            params: Map::new(),
            user: None,
            groups: Box::default(),
            origin: RunOrigin::Gateway,
            trace: None,
            signature: None,
        };
        let message = Message {
            uuid: question,
            sender: Some("Teacher".into()),
            recipient: None,
            auto_reply: false,
            alias: None,
            within: Vec::new(),
            says: MessageContent::TextInput(TextInput { prompt: Some("name?".into()), ..TextInput::default() }),
        };
        let mut summary = RunSummary::new(RunId::try_from("a".repeat(32)).unwrap());
        for (seq, body) in [(1, RecordBody::Created(created)), (2, RecordBody::Said { key: "2".into(), message })] {
            summary.apply(&LogEntry { seq, at: Timestamp::UNIX_EPOCH, record: Record::new(body) });
        }
        let wanted = json!({"id": "a".repeat(32), "workflow": "echo", "title": null, "state": "waiting", "outcome": null,
                "reason": null, "question": {"id": question, "prompt": "name?"}, "user": null,
                "created_at": "1970-01-01T00:00:00Z", "updated_at": "1970-01-01T00:00:00Z"});
        // The order of the fields is that of the documentation.
        assert_eq!(serde_json::to_string(&RunView::from(&summary)).unwrap(), wanted.to_string());
    }
}
