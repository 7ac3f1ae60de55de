//! Runs that FastAgency's own workers do: what such a worker says is copied into our log, so that everything above reads one
//! kind of run. One task per gateway reads all that workers say, in order; several gateways may do so at once: the log takes
//! a message from the first, and its key (its sequence in FastAgency's stream) tells the others that it is there.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::bounds::{self, ExceededBound, OUTSIDE, UnfitJson, ValueBounds, cut};
use crate::broker::contract::ConversationMessage;
use crate::broker::{self, Broker, InboxSlot};
use crate::clock::{self, Clock, SystemClock};
use crate::fastagency::envelope::from_envelope;
use crate::ids::{MessageId, RunId, UserId, user_token};
use crate::lifecycle::Shutdown;
use crate::message::{Message, MessageContent};
use crate::protocol::answer::{AnswerOutcome, AnswerRecord};
use crate::protocol::effect_key::EffectKey;
use crate::protocol::log::{
    EffectOutcome, LogEntry, Record, RecordBody, RunEnd, RunOrigin, RunOutcome, RunUsage, completed_message,
};
use crate::redact::Redactor;
use crate::run::answer::{AnswerAcceptance, AnswerPayload, SubmittedAnswer};
use crate::run::run_ref::RunRef;
use crate::run::summary::{self, RunSummary};
use crate::run::{Result, answer as inbox, created, look, redaction};

/// The runs that are kept in mind; a forgotten one is read again.
const MOST_REMEMBERED: usize = 10_000;
/// How long to wait after the broker failed.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// How often questions are looked at whose answer may not have been passed on.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long a gateway may take to pass an answer on: longer than each call to the broker.
const PASSED_ON_WITHIN: Duration = Duration::from_secs(6);

/// How much a message of a FastAgency worker may be. How large it is NATS limits.
const SAID: ValueBounds = ValueBounds { size: usize::MAX, ..OUTSIDE };

/// Copies what FastAgency's workers say, until the end.
pub async fn serve(broker: Broker, redactor: Redactor, shutdown: Shutdown) {
    loop {
        tokio::select! {
            () = shutdown.soft() => return,
            outcome = copy_all(&broker, &redactor) => if let Err(error) = outcome {
                tracing::warn!("messages of FastAgency's workers are not read for now: {error}");
            }
        }
        tokio::select! {
            () = shutdown.soft() => return,
            () = tokio::time::sleep(AFTER_FAILURE) => {}
        }
    }
}

async fn copy_all(broker: &Broker, redactor: &Redactor) -> Result<()> {
    let Some(contract) = &broker.contract else { return Ok(()) };
    contract.prepare().await?;
    let mut messages = contract.worker_messages().await?;
    let mut runs = ForeignRuns::default();
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let carried = tokio::select! {
            carried = messages.next() => carried,
            _ = looks.tick() => {
                for (run, question) in runs.waiting() {
                    pass_on_again(broker, redactor, run, question).await?;
                }
                continue;
            }
        };
        let Some(carried) = carried else { return Ok(()) };
        let Some((run, message)) = said(&carried) else { continue };
        if carried.copy_of.is_some() && !runs.may_be_foreign(broker, run).await? {
            continue;
        }
        runs.copy(broker, redactor, run, carried.seq, &message).await?;
    }
}

/// The run that a message is about, and the message. FastAgency's worker publishes under the subject of whichever run it
/// started last, so only the body says whose message it is; one that does not say might be anybody's and is shown to nobody.
fn said(carried: &ConversationMessage) -> Option<(RunId, Message)> {
    // What is too deep is cut off: the message may be the one that ends the run.
    let shallow = cut(&carried.body, SAID.depth);
    let body = shallow.as_deref().unwrap_or(&carried.body);
    let body: Value = match bounds::read(body, &SAID) {
        Ok(body) => body,
        Err(UnfitJson::Exceeded(exceeded)) => left_out(body, &exceeded)?,
        Err(UnfitJson::Json(_)) => return None,
    };
    let run = RunId::parse(body.get("workflow_uuid")?.as_str()?).ok()?;
    Some((run, from_envelope(&body)?))
}

/// What stands in the place of a message that is more than it may be: whose it is, and why it is not shown. The end of a run
/// stays its end.
fn left_out(body: &[u8], exceeded: &ExceededBound) -> Option<Value> {
    #[derive(Deserialize)]
    struct MessageOutline {
        workflow_uuid: String,
        #[serde(rename = "type")]
        kind: String,
        uuid: Option<String>,
    }
    let MessageOutline { workflow_uuid, kind, uuid } = bounds::outline(body).ok()?;
    let why = format!("a message of a FastAgency worker is left out: {}", exceeded.limit);
    tracing::warn!("{why}");
    let (kind, content) = match kind.as_str() {
        "workflow_completed" => (kind, json!({"result": why})),
        _ => ("error".to_owned(), json!({"short": why, "long": why})),
    };
    Some(json!({"workflow_uuid": workflow_uuid, "uuid": uuid, "type": kind, "content": content}))
}

/// What is remembered of the runs.
#[derive(Default)]
struct ForeignRuns {
    /// `None`: not ours to copy, or over.
    known: HashMap<RunId, Option<CopyProgress>>,
}

/// How far a run has been copied.
#[derive(Debug, Clone, PartialEq)]
struct CopyProgress {
    /// The sequence of the last record in our log.
    last: u64,
    /// The sequence in FastAgency's stream of the last message that was copied.
    upto: u64,
    /// The workflow raised an exception.
    failed: Option<String>,
    /// The question that was the last message.
    asked: Option<MessageId>,
    summary: RunSummary,
}

impl ForeignRuns {
    /// Whether a message that is marked as a copy of ours may be none: anybody can mark one, and copies are made only of runs
    /// that began in FastAgency.
    async fn may_be_foreign(&mut self, broker: &Broker, run: RunId) -> Result<bool> {
        if let Some(known) = self.known.get(&run) {
            return Ok(known.is_some());
        }
        let is_ours = created(broker, run).await?.is_some_and(|created| created.origin != RunOrigin::ForeignWorker);
        if is_ours {
            self.remember(run, None);
        }
        Ok(!is_ours)
    }

    fn remember(&mut self, run: RunId, known: Option<CopyProgress>) {
        if self.known.len() >= MOST_REMEMBERED {
            self.known.clear();
        }
        self.known.insert(run, known);
    }

    /// Appends a message to its run's log, unless it is there.
    async fn copy(
        &mut self,
        broker: &Broker,
        redactor: &Redactor,
        run: RunId,
        seq: u64,
        message: &Message,
    ) -> Result<()> {
        if !self.known.contains_key(&run) {
            self.remember(run, CopyProgress::of(redactor, run, &look(broker, run, 0).await?.records));
        }
        let Some(known) = self.known.get_mut(&run) else { return Ok(()) };
        while let Some(copied) = known
            && copied.upto < seq
        {
            match append(broker, run, copied.last, body(seq, message, copied.failed.as_deref())).await {
                Ok(placed) => {
                    copied.apply(redactor, &placed);
                    copied.publish_summary(broker).await;
                    if gave_up(message) {
                        end(broker, redactor, run, RunOutcome::Failed, short(message)).await?;
                    }
                    if copied.summary.outcome.is_some() || gave_up(message) {
                        *known = None;
                    }
                    return Ok(());
                }
                // Another gateway was first, or an answer came in between: look again.
                Err(broker::Error::Conflict { .. }) => {
                    *known = CopyProgress::of(redactor, run, &look(broker, run, 0).await?.records)
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl ForeignRuns {
    /// The runs that wait for an answer as far as is known here, and what they have asked. That it was answered is not known
    /// here before the worker goes on.
    fn waiting(&self) -> Vec<(RunId, MessageId)> {
        let waiting = self.known.iter().filter_map(|(run, copied)| Some((*run, copied.as_ref()?.asked?)));
        waiting.collect()
    }
}

impl CopyProgress {
    /// How far a run with these records has been copied; `None` if it is none of a FastAgency worker, or over.
    fn of(redactor: &Redactor, run: RunId, records: &[LogEntry]) -> Option<Self> {
        let mut copied = CopyProgress { last: 0, upto: 0, failed: None, asked: None, summary: RunSummary::new(run) };
        for placed in records {
            copied.apply(redactor, placed);
        }
        let foreign = copied.summary.origin == Some(RunOrigin::ForeignWorker);
        (foreign && copied.summary.outcome.is_none()).then_some(copied)
    }

    fn apply(&mut self, redactor: &Redactor, placed: &LogEntry) {
        self.last = placed.seq;
        self.summary.apply(&redaction::placed(redactor, placed));
        if let RecordBody::Said { key, message } = &placed.record.body {
            if let EffectKey::ForeignMessage(seq) = key {
                self.upto = *seq;
            }
            self.asked = message.says.asks().then_some(message.uuid);
            self.failed = match &message.says {
                MessageContent::Error { short, long } if is_exception(short.as_deref()) => {
                    long.clone().or_else(|| short.clone())
                }
                _ => None,
            };
        }
    }

    async fn publish_summary(&self, broker: &Broker) {
        let summary = &self.summary;
        let put = async {
            summary.publish_summary(broker).await?;
            summary::forget_older(broker, summary.user.as_ref(), summary.id).await
        };
        if let Err(error) = put.await {
            tracing::debug!(run.id = %summary.id, "the summary of a run could not be published: {error}");
        }
    }
}

/// FastAgency's words when a workflow raises; `workflow_completed` follows.
fn is_exception(short: Option<&str>) -> bool {
    short.is_some_and(|short| short.starts_with("Unhandled exception occurred when executing the workflow"))
}

/// Whether a worker gave the run up before it began: then nothing follows.
fn gave_up(message: &Message) -> bool {
    message.sender.as_deref() == Some("NatsAdapter") && matches!(message.says, MessageContent::Error { .. })
}

fn short(message: &Message) -> Option<&str> {
    match &message.says {
        MessageContent::Error { short, .. } => short.as_deref(),
        _ => None,
    }
}

/// The record of a message.
fn body(seq: u64, message: &Message, failed: Option<&str>) -> RecordBody {
    match &message.says {
        MessageContent::WorkflowCompleted { result } => RecordBody::Ended(RunEnd {
            outcome: if failed.is_some() { RunOutcome::Failed } else { RunOutcome::Completed },
            reason: failed.map(str::to_owned),
            result: result.clone(),
            usage: RunUsage::default(),
            message: message.clone(),
        }),
        _ => RecordBody::Said { key: EffectKey::ForeignMessage(seq), message: message.clone() },
    }
}

async fn append(broker: &Broker, run: RunId, expected: u64, body: RecordBody) -> broker::Result<LogEntry> {
    let record = Record::new(body);
    let mut seq = expected;
    let payloads = record.payloads().map_err(|exceeded| broker::Error::Refused {
        doing: "store a message of a FastAgency worker".to_owned(),
        reason: exceeded.to_string(),
    })?;
    for payload in payloads {
        seq = broker.log.append(run, record.lane(), payload, seq).await?;
    }
    Ok(LogEntry { seq, at: SystemClock.now(), record })
}

/// Appends what `decide` says about the run as it is; `None`: nothing is to be appended.
async fn append_to_current(
    broker: &Broker,
    redactor: &Redactor,
    run: RunId,
    decide: impl Fn(&RunSummary) -> Option<RecordBody>,
) -> Result<bool> {
    loop {
        let records = look(broker, run, 0).await?.records;
        let Some(mut copied) = CopyProgress::of(redactor, run, &records) else { return Ok(false) };
        let Some(body) = decide(&copied.summary) else { return Ok(false) };
        match append(broker, run, copied.last, body).await {
            Ok(placed) => {
                copied.apply(redactor, &placed);
                copied.publish_summary(broker).await;
                return Ok(true);
            }
            Err(broker::Error::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Ends a FastAgency worker's run in our log, unless it has ended.
pub async fn end(
    broker: &Broker,
    redactor: &Redactor,
    run: RunId,
    outcome: RunOutcome,
    reason: Option<&str>,
) -> Result<()> {
    append_to_current(broker, redactor, run, |_| {
        Some(RecordBody::Ended(RunEnd {
            outcome,
            reason: reason.map(str::to_owned),
            result: Value::Null,
            usage: RunUsage::default(),
            message: completed_message(run, Value::Null),
        }))
    })
    .await?;
    Ok(())
}

/// Publishes the summary of a FastAgency worker's run. It may fail: its next message publishes it again.
pub async fn publish_summary(broker: &Broker, redactor: &Redactor, run: RunId) {
    if let Ok(looked) = look(broker, run, 0).await
        && let Some(copied) = CopyProgress::of(redactor, run, &looked.records)
    {
        copied.publish_summary(broker).await;
    }
}

/// Answers a question of a FastAgency worker. The inbox takes the first; whoever was first writes it into the log and passes
/// it on to the worker, who must hear it once only: a second copy would stay in its queue and keep it busy for ever.
pub async fn answer(
    broker: &Broker,
    redactor: &Redactor,
    target: &RunRef,
    question: &Message,
    given: SubmittedAnswer,
) -> Result<AnswerAcceptance> {
    let text = as_fastagency_wants(&given.answer);
    let marked = if question.says.is_secret() { AnswerPayload::NotStored } else { given.answer };
    let stored = SubmittedAnswer::new(marked, given.by);
    let accepted = inbox::answer(broker, &target.workflow, target.run, question.uuid, &stored).await?;
    if accepted == AnswerAcceptance::Yes {
        pass_on(broker, redactor, target, question, &text, stored.by).await?;
    }
    Ok(accepted)
}

/// Brings an answer that counts into the log and to the worker, each unless it is there.
async fn pass_on(
    broker: &Broker,
    redactor: &Redactor,
    target: &RunRef,
    question: &Message,
    text: &str,
    by: Option<UserId>,
) -> Result<()> {
    let secret = question.says.is_secret();
    let outcome = if secret { AnswerOutcome::NeverStored } else { AnswerOutcome::Given(json!(text).into()) };
    let answered = AnswerRecord { question: question.uuid, by, outcome };
    let log = async || {
        append_to_current(broker, redactor, target.run, |summary| {
            let open = summary.open_questions().any(|open| open == question.uuid);
            open.then(|| RecordBody::Did {
                key: EffectKey::ForeignAnswer(question.uuid),
                outcome: EffectOutcome::Answer(answered.clone()),
            })
        })
        .await
    };
    // A password is in the log's hands only once the worker has it: nobody else could pass it on later.
    if secret {
        publish(broker, target, question.uuid, text).await?;
        log().await?;
    } else {
        log().await?;
        publish(broker, target, question.uuid, text).await?;
    }
    Ok(())
}

/// Tells the worker an answer, unless it was told.
async fn publish(broker: &Broker, target: &RunRef, question: MessageId, text: &str) -> Result<()> {
    let Some(contract) = &broker.contract else { return Ok(()) };
    if was_published(broker, target, question).await? {
        return Ok(());
    }
    let body = json!({"msg": text, "question_uuid": question.dashed(), "error": false});
    let user = user_token(target.user.as_ref());
    Ok(contract.answer(&user, target.run, question, Bytes::from(body.to_string())).await?)
}

/// Whether the last answer that the worker was told is the one to that question. It asks one after the other.
async fn was_published(broker: &Broker, target: &RunRef, question: MessageId) -> Result<bool> {
    let Some(contract) = &broker.contract else { return Ok(false) };
    let last = contract.last_answer(&user_token(target.user.as_ref()), target.run).await?;
    let body = last.and_then(|last| bounds::parse::<Value>(&last.body).ok());
    let about = body.as_ref().and_then(|body| body["question_uuid"].as_str());
    Ok(about.and_then(|about| MessageId::parse(about).ok()) == Some(question))
}

/// Passes on the answer to a run's last question, if it was given and whoever took it died before he did so.
async fn pass_on_again(broker: &Broker, redactor: &Redactor, run: RunId, question: MessageId) -> Result<()> {
    let slot = InboxSlot::Answer(question);
    let Some(stored) = broker.inbox.get(run, slot).await? else { return Ok(()) };
    if clock::until(stored.at, SystemClock.now()) < PASSED_ON_WITHIN {
        return Ok(());
    }
    let records = look(broker, run, 0).await?.records;
    let Some(RecordBody::Created(created)) = records.first().map(|first| &first.record.body) else { return Ok(()) };
    let target = RunRef::of(run, created);
    let is_over =
        matches!(records.last().map(|last| &last.record.body), Some(RecordBody::Ended(_) | RecordBody::Removed(_)));
    let last = records.iter().rev().find_map(|placed| match &placed.record.body {
        RecordBody::Said { message, .. } => Some(message),
        _ => None,
    });
    // Whoever has said something since has heard the answer.
    let Some(question) = last.filter(|last| last.uuid == question && !is_over) else { return Ok(()) };
    let Ok(given) = bounds::parse::<SubmittedAnswer>(&stored.payload) else { return Ok(()) };
    if given.answer == AnswerPayload::NotStored && !was_published(broker, &target, question.uuid).await? {
        tracing::warn!(run.id = %run, "a password was lost with the gateway that took it; the question is open again");
        return Ok(broker.inbox.reopen(run, slot).await?);
    }
    pass_on(broker, redactor, &target, question, &as_fastagency_wants(&given.answer), given.by).await
}

/// An answer as the text that FastAgency's own pages send: several choices are joined by commas.
fn as_fastagency_wants(answer: &AnswerPayload) -> String {
    match answer {
        AnswerPayload::Text(text) => text.clone(),
        AnswerPayload::Value(Value::String(text)) => text.clone(),
        AnswerPayload::Value(Value::Array(labels)) => {
            labels.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
        }
        AnswerPayload::Value(other) => other.to_string(),
        AnswerPayload::Sealed(_) | AnswerPayload::NotStored | AnswerPayload::Cancel | AnswerPayload::TimedOut => {
            String::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::ids::Name;
    use crate::protocol::log::RunCreation;

    fn carried(body: Value) -> ConversationMessage {
        ConversationMessage {
            seq: 3,
            user: "None".into(),
            run: RunId::random(),
            body: body.to_string().into(),
            copy_of: None,
        }
    }

    #[test]
    fn only_the_body_says_whose_message_it_is() {
        let run = RunId::random();
        let body =
            json!({"workflow_uuid": run, "type": "text_message", "content": {"body": "hi"}, "uuid": "my-own-uuid"});
        let (whose, message) = said(&carried(body.clone())).unwrap();
        assert_eq!((whose, message.says), (run, MessageContent::text("hi")));
        assert!(said(&carried(json!({"type": "text", "content": {"content": "AG2's own"}}))).is_none());
        assert!(said(&carried(json!("text"))).is_none());
    }

    #[test]
    fn a_run_is_copied_from_where_its_log_ends() {
        let run = RunId::random();
        let created = |origin| {
            RecordBody::Created(RunCreation {
                workflow: Name::parse("echo").unwrap(),
                definition: None,
                params: serde_json::Map::new(),
                user: None,
                groups: Box::default(),
                origin,
                trace: None,
                signature: None,
            })
        };
        let message = Message {
            uuid: run.derive("1"),
            sender: None,
            recipient: None,
            auto_reply: false,
            alias: None,
            within: Vec::new(),
            says: MessageContent::Error {
                short: Some("Unhandled exception occurred when executing the workflow.".into()),
                long: Some("boom".into()),
            },
        };
        let placed = |seq, body| LogEntry { seq, at: Timestamp::UNIX_EPOCH, record: Record::new(body) };
        let records = [placed(1, created(RunOrigin::ForeignWorker)), placed(4, body(30, &message, None))];
        let copied = CopyProgress::of(&Redactor::default(), run, &records).unwrap();
        assert_eq!((copied.last, copied.upto, copied.failed.as_deref()), (4, 30, Some("boom")));
        let completed = completed_message(run, json!("x"));
        let RecordBody::Ended(ended) = body(31, &completed, copied.failed.as_deref()) else { panic!("it ends") };
        assert_eq!((ended.outcome, ended.reason.as_deref()), (RunOutcome::Failed, Some("boom")));
        assert!(CopyProgress::of(&Redactor::default(), run, &[placed(1, created(RunOrigin::Gateway))]).is_none());
        // A title is cut at its length, and a pattern would not find what is left of a number.
        let redactor = Redactor::new(&[], vec![regex::Regex::new("[0-9]{16}").unwrap()]);
        let ask = Message {
            says: MessageContent::TextInput(crate::message::TextInput {
                prompt: Some("Hi?".into()),
                ..Default::default()
            }),
            ..message
        };
        let words = format!("{} 4111111111111111", "word ".repeat(22));
        let outcome = AnswerOutcome::Given(json!(words).into());
        let answered = AnswerRecord { question: ask.uuid, by: None, outcome };
        let answer = RecordBody::Did { key: "foreign/answer/1".into(), outcome: EffectOutcome::Answer(answered) };
        let records =
            [placed(1, created(RunOrigin::ForeignWorker)), placed(2, body(30, &ask, None)), placed(3, answer)];
        let title = CopyProgress::of(&redactor, run, &records).unwrap().summary.title.unwrap();
        assert!(title.starts_with("word ") && !title.contains("411"), "{title}");
        assert!(CopyProgress::of(&Redactor::default(), run, &[]).is_none());
    }
}
