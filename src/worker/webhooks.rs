//! Delivering notices (`run::notice`) to webhooks: signed as Standard Webhooks has it, tried again for days, in no order.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::broker::{AnyDelivery, Broker, JobReason};
use crate::clock::Clock;
use crate::config::{WebhookConfig, WebhookTrigger};
use crate::ids::{MessageId, Name, RunId};
use crate::lifecycle::Shutdown;
use crate::model::http;
use crate::protocol::answerers::AnswererRule;
use crate::protocol::log::{EffectOutcome, LogEntry, RecordBody};
use crate::protocol::queue_name::QueueName;
use crate::redact::Redactor;
use crate::run::notice::occasion;
use crate::run::summary::RunSummary;
use crate::run::{self, look, redaction};

/// Notices on their way at once to one webhook.
const AT_ONCE: usize = 16;
/// How long a receiver may take: it is to take the notice, not to work on it.
const RECEIVER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a delivery may be held without a word.
const HELD_WITHOUT_WORD: Duration = Duration::from_secs(15);
/// The pauses between tries: the last is repeated.
const PAUSES: [u64; 7] = [5, 30, 120, 600, 1800, 3600, 4 * 3600];
/// How often a notice is tried: for three days.
const MOST_TRIES: u64 = 24;
/// How often the record that a notice tells of is waited for: for an hour. Who was to append it has died, and whoever took
/// the run over has announced it anew.
const MOST_WAITS: u64 = 60;
/// How long to wait after the broker failed.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// A webhook, and what is needed to call it.
pub(super) struct WebhookCaller {
    pub broker: Broker,
    pub clock: Arc<dyn Clock>,
    pub name: Name,
    pub webhook: WebhookConfig,
    redactor: Redactor,
    client: reqwest::Client,
}

impl WebhookCaller {
    /// One for that webhook; the error says why there is no HTTP client.
    pub(super) fn new(
        broker: Broker,
        clock: Arc<dyn Clock>,
        redactor: Redactor,
        name: Name,
        webhook: WebhookConfig,
    ) -> Result<Self, String> {
        let redactor = if webhook.redact { redactor } else { Redactor::default() };
        Ok(Self { broker, clock, name, webhook, redactor, client: http::client()? })
    }

    /// Delivers notices until the end begins.
    pub(super) async fn serve(self, shutdown: Shutdown) {
        let queue = QueueName::Webhook(self.name.clone());
        while !shutdown.has_begun() {
            match self.broker.queue.take(&queue, HELD_WITHOUT_WORD).await {
                Ok(jobs) => {
                    let each = jobs.for_each_concurrent(AT_ONCE, |job| async {
                        match job {
                            Ok(delivery) => self.deliver(delivery).await,
                            Err(error) => tracing::warn!(webhook = %self.name, "cannot take notices: {error}"),
                        }
                    });
                    tokio::select! { () = shutdown.soft() => return, () = each => {} }
                }
                Err(error) => tracing::warn!(webhook = %self.name, "cannot take notices: {error}"),
            }
            tokio::select! { () = shutdown.soft() => return, () = tokio::time::sleep(AFTER_FAILURE) => {} }
        }
    }

    async fn deliver(&self, delivery: AnyDelivery) {
        let (run, attempt) = (delivery.job().run, delivery.attempt());
        let JobReason::Notice { about } = delivery.job().reason else {
            drop(delivery.ack().await);
            return;
        };
        let settled = match self.notice(run, about).await {
            Ok(NoticeState::Say(body)) => match self.call(about, &body).await {
                Ok(()) => delivery.ack().await,
                Err(why) if attempt < MOST_TRIES => {
                    let pause = PAUSES[usize::try_from(attempt - 1).unwrap_or(usize::MAX).min(PAUSES.len() - 1)];
                    tracing::warn!(run.id = %run, webhook = %self.name, "a notice was not taken, again in {pause} s: {why}");
                    delivery.retry_after(Duration::from_secs(pause)).await
                }
                Err(why) => {
                    tracing::error!(run.id = %run, webhook = %self.name, "a notice was not taken and is given up: {why}");
                    delivery.ack().await
                }
            },
            Ok(NoticeState::NotYet) if attempt < MOST_WAITS => {
                delivery.retry_after(Duration::from_secs(attempt.min(60))).await
            }
            Ok(NoticeState::NotYet | NoticeState::Void) => delivery.ack().await,
            Err(error) => {
                tracing::debug!(run.id = %run, webhook = %self.name, "a notice could not be made: {error}");
                delivery.retry_after(AFTER_FAILURE).await
            }
        };
        if let Err(error) = settled {
            tracing::debug!(run.id = %run, webhook = %self.name, "a notice was not settled and comes again: {error}");
        }
    }

    async fn notice(&self, run: RunId, about: MessageId) -> run::Result<NoticeState> {
        let mut records = look(&self.broker, run, 0).await?.records;
        if !self.redactor.is_empty() {
            records.iter_mut().for_each(|placed| redaction::record(&self.redactor, &mut placed.record));
        }
        Ok(notice(run, about, &records))
    }

    async fn call(&self, about: MessageId, body: &Value) -> Result<(), String> {
        let (id, body) = (format!("msg_{about}"), body.to_string());
        let time = self.clock.now().as_second().to_string();
        let signature = sign(self.webhook.secret.expose_secret(), &id, &time, &body);
        let call = self
            .client
            .post(&self.webhook.url)
            .timeout(RECEIVER_TIMEOUT)
            .header("content-type", "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", time)
            .header("webhook-signature", signature)
            .body(body);
        let answer = call.send().await.map_err(http::in_words)?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err(format!("it answered {status}")),
        }
    }
}

/// What is to be told.
#[derive(Debug, PartialEq)]
enum NoticeState {
    Say(Value),
    /// The record is not there.
    NotYet,
    /// Nobody needs to know any more: it was answered meanwhile, or the run is gone.
    Void,
}

fn notice(run: RunId, about: MessageId, records: &[LogEntry]) -> NoticeState {
    let Some(RecordBody::Created(_)) = records.first().map(|first| &first.record.body) else {
        return NoticeState::Void;
    };
    let summary = RunSummary::of(run, records);
    let found = records.iter().find_map(|placed| match occasion(&placed.record.body) {
        Some((occasion, message)) if message == about => Some((occasion, placed)),
        _ => None,
    });
    let Some((occasion, placed)) = found else {
        return if summary.outcome.is_some() { NoticeState::Void } else { NoticeState::NotYet };
    };
    let told = json!({
        "id": run, "workflow": summary.workflow, "title": summary.title, "user": summary.user, "state": summary.state,
        "outcome": summary.outcome, "reason": summary.reason,
    });
    let (kind, data) = match (occasion, &placed.record.body) {
        (WebhookTrigger::Waiting, RecordBody::Said { message, .. })
            if summary.open_questions().any(|open| open == about) =>
        {
            let question = question(about, message.says.prompt(), message.says.answerers());
            ("run.waiting", json!({"run": told, "question": question}))
        }
        (
            WebhookTrigger::Reminded | WebhookTrigger::Escalated,
            RecordBody::Did { outcome: EffectOutcome::Reminded(reminder), .. },
        ) if let Some(open) = summary.questions.iter().find(|open| open.id == reminder.question) => {
            let kind = if reminder.escalated_to.is_some() { "run.escalated" } else { "run.reminded" };
            let prompt = records.iter().find_map(|placed| prompt_of(placed, open.id));
            let mut question = question(open.id, prompt, Some(&reminder.answerers));
            question["asked_at"] = json!(open.at);
            if let Some(to) = &reminder.escalated_to {
                question["escalated_to"] = json!(to);
            }
            (kind, json!({"run": told, "question": question}))
        }
        (WebhookTrigger::Ended, RecordBody::Ended(ended)) => {
            ("run.ended", json!({"run": told, "result": ended.result}))
        }
        _ => return NoticeState::Void,
    };
    NoticeState::Say(json!({"type": kind, "timestamp": placed.at, "data": data}))
}

/// A question as a notice tells it.
fn question(id: MessageId, prompt: Option<&str>, rule: Option<&AnswererRule>) -> Value {
    let mut question = json!({"id": id, "prompt": prompt});
    if let Some(rule) = rule {
        question["answerers"] = json!(rule);
    }
    question
}

/// What a question asks, if a record is that question.
fn prompt_of(placed: &LogEntry, question: MessageId) -> Option<&str> {
    let message = placed.record.message().filter(|message| message.uuid == question)?;
    message.says.prompt()
}

/// The header `webhook-signature`: HMAC-SHA256 over `id.time.body`.
fn sign(secret: &str, id: &str, time: &str, body: &str) -> String {
    let key = secret.strip_prefix("whsec_").and_then(|key| STANDARD.decode(key).ok());
    let key = key.unwrap_or_else(|| secret.as_bytes().to_vec());
    format!("v1,{}", STANDARD.encode(hmac(&key, format!("{id}.{time}.{body}").as_bytes())))
}

/// HMAC-SHA256 (RFC 2104).
fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    const BLOCK: usize = 64;
    let mut block = [0; BLOCK];
    if key.len() > BLOCK {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let padded = |pad: u8| block.map(|byte| byte ^ pad);
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::protocol::answerers::{Answerers, QuestionReminder};
    use crate::protocol::log::{
        Record, RunCreation, RunEnd, RunErasure, RunOrigin, RunOutcome, RunRemoval, RunUsage, completed_message,
    };

    #[test]
    fn a_signature_is_the_one_that_receivers_compute() {
        // RFC 4231, cases 2 and 6.
        let hex = |key: &[u8], text: &[u8]| crate::ids::hex(&hmac(key, text));
        assert_eq!(
            hex(b"Jefe", b"what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            hex(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First"),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
        // The example of the Standard Webhooks specification's libraries.
        let signature = sign(
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "1614265330",
            r#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    fn created() -> RecordBody {
        RecordBody::Created(RunCreation {
            workflow: Name::parse("lesson").unwrap(),
            definition: None,
            params: Default::default(),
            user: None,
            groups: Default::default(),
            origin: RunOrigin::Gateway,
            trace: None,
            signature: None,
        })
    }

    /// A run that has ended, and the message that tells of it.
    async fn ended(broker: &Broker) -> (RunId, MessageId) {
        let run = RunId::random();
        let message = completed_message(run, json!("card 1234-5678"));
        let about = message.uuid;
        let ended = RunEnd {
            outcome: RunOutcome::Completed,
            reason: None,
            result: json!({"1234-5678": "card 1234-5678"}),
            usage: RunUsage::default(),
            message,
        };
        let mut last = 0;
        for body in [created(), RecordBody::Ended(ended)] {
            let record = Record::new(body);
            last = broker.log.append(run, record.lane(), record.payload(), last).await.unwrap();
        }
        (run, about)
    }

    fn caller(broker: &Broker, redact: bool) -> WebhookCaller {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let webhook = WebhookConfig {
            url: "http://127.0.0.1:1".to_owned(),
            secret: "secret".into(),
            on: vec![WebhookTrigger::Ended],
            redact,
        };
        let redactor = Redactor::new(&[], vec![regex::Regex::new("[0-9]{4}-[0-9]{4}").unwrap()]);
        WebhookCaller::new(broker.clone(), crate::clock::system(), redactor, Name::parse("hook").unwrap(), webhook)
            .unwrap()
    }

    #[tokio::test]
    async fn what_is_not_to_be_seen_is_sent_only_where_that_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let broker = crate::broker::embedded::open(folder.path()).unwrap();
        let (run, about) = ended(&broker).await;
        for (redact, shown) in
            [(true, json!({"[redacted]": "card [redacted]"})), (false, json!({"1234-5678": "card 1234-5678"}))]
        {
            let NoticeState::Say(body) = caller(&broker, redact).notice(run, about).await.unwrap() else {
                panic!("no notice")
            };
            assert_eq!(body["data"]["result"], shown);
        }
    }

    #[tokio::test]
    async fn a_notice_that_waits_says_nothing_any_more_when_its_run_was_erased_or_removed() {
        let folder = tempfile::tempdir().unwrap();
        let broker = crate::broker::embedded::open(folder.path()).unwrap();
        let (erased, about) = ended(&broker).await;
        let erasure = RunErasure { by: None, reason: "asked".into(), at: Timestamp::UNIX_EPOCH };
        crate::audit::keep::erase(&broker, erased, &erasure).await.unwrap();
        assert_eq!(caller(&broker, false).notice(erased, about).await.unwrap(), NoticeState::Void);
        let (removed, about) = ended(&broker).await;
        let RecordBody::Created(created) = created() else { panic!("it is created") };
        let kept = Duration::from_secs(1);
        run::remove::remove(
            &broker,
            removed,
            &created,
            RunRemoval::default(),
            kept,
            crate::broker::RemovalMethod::Remove,
        )
        .await
        .unwrap();
        assert_eq!(caller(&broker, false).notice(removed, about).await.unwrap(), NoticeState::Void);
    }

    #[test]
    fn a_question_that_nobody_answers_is_told_again_until_somebody_does() {
        let question = MessageId::random();
        let to = Answerers { groups: vec!["leads".to_owned()], ..Answerers::default() };
        let rule = AnswererRule {
            by: Some(Answerers { users: vec!["sue".to_owned()], ..Answerers::default() }),
            ..AnswererRule::default()
        };
        let mut message = completed_message(RunId::random(), json!(null));
        message.uuid = question;
        message.says = crate::message::MessageContent::TextInput(crate::message::TextInput {
            prompt: Some("Well?".to_owned()),
            answerers: Some(Box::new(rule.clone())),
            ..Default::default()
        });
        let (again, escalated) = (MessageId::random(), MessageId::random());
        let reminded = |notice, escalated_to: Option<Answerers>| RecordBody::Did {
            key: "x#0/reminder1".into(),
            outcome: EffectOutcome::Reminded(Box::new(QuestionReminder {
                question,
                notice,
                escalated: usize::from(escalated_to.is_some()),
                escalated_to,
                answerers: Box::new(rule.clone()),
            })),
        };
        let bodies = [
            created(),
            RecordBody::Said { key: "x#0".into(), message },
            reminded(again, None),
            reminded(escalated, Some(to)),
        ];
        let mut records: Vec<LogEntry> = (1..)
            .zip(bodies)
            .map(|(seq, body)| LogEntry { seq, at: Timestamp::UNIX_EPOCH, record: Record::new(body) })
            .collect();
        let told = |about, records: &[LogEntry]| match notice(RunId::random(), about, records) {
            NoticeState::Say(body) => body,
            other => panic!("{other:?}"),
        };
        let body = told(again, &records);
        assert_eq!((&body["type"], &body["data"]["question"]["prompt"]), (&json!("run.reminded"), &json!("Well?")));
        assert_eq!(body["data"]["question"]["answerers"]["by"], json!({"users": ["sue"]}));
        let body = told(escalated, &records);
        assert_eq!(body["type"], "run.escalated");
        assert_eq!(body["data"]["question"]["escalated_to"], json!({"groups": ["leads"]}));
        let answered = crate::protocol::answer::AnswerRecord {
            question,
            by: None,
            outcome: crate::protocol::answer::AnswerOutcome::TimedOut { default: None },
        };
        let answered = RecordBody::Did { key: "x#0/answer".into(), outcome: EffectOutcome::Answer(answered) };
        records.push(LogEntry { seq: 5, at: Timestamp::UNIX_EPOCH, record: Record::new(answered) });
        assert_eq!(notice(RunId::random(), escalated, &records), NoticeState::Void);
    }
}
