//! A gateway on a free port over an embedded broker, and a played worker.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastagency::broker::{Broker, InboxSlot, InboxUpdate};
use fastagency::clock;
use fastagency::ids::{MessageId, RunId, WorkerId};
use fastagency::message::{Message, MessageContent, TextInput, check_answer, check_text_answer};
use fastagency::protocol::answer::{AnswerOutcome, AnswerRecord, AnswerValue};
use fastagency::protocol::effect_key::EffectKey;
use fastagency::run::answer::{AnswerPayload, SubmittedAnswer};
use fastagency::run::claim::{self, ClaimOutcome, OwnedRun, PreparedRun};
use fastagency::run::directory::{self, WorkerCard};
use fastagency::run::lease::Lease;
use fastagency::run::record::{EffectOutcome, Record, RecordBody, RunEnd, RunOutcome, RunUsage, completed_message};
use fastagency::run::summary::RunSummary;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use serde_json::Value;

use crate::support::eventually::{PATIENCE, eventually};
use crate::support::system::{System, played_workflows};

/// A played worker that holds one run.
pub struct Player {
    pub broker: Broker,
    pub run: RunId,
    owned: OwnedRun,
    steps: u32,
    /// Heard from the beginning, as a worker does: a password is told once.
    inbox_updates: BoxStream<'static, InboxUpdate>,
    told: HashMap<MessageId, Bytes>,
}

impl Player {
    /// Takes a run that was just started.
    pub async fn take(system: &System, run: RunId) -> Self {
        let broker = system.broker.clone();
        let inbox_updates = broker.inbox.subscribe(run).await.unwrap();
        let card = WorkerCard {
            id: WorkerId::random(),
            workflows: Vec::new(),
            started_at: clock::system().now(),
            version: "test".into(),
            runs: 0,
            max_runs: 0,
            cleans: true,
            takes_created: false,
        };
        directory::renew(&broker, &card, Duration::from_secs(60)).await.unwrap();
        let known: HashMap<&str, &str> = played_workflows().into_iter().map(|(name, about, _)| (name, about)).collect();
        let describe = |created: fastagency::run::record::RunCreation| {
            let description = known.get(created.workflow.as_str()).map(|about| (*about).to_owned());
            std::future::ready(Ok(PreparedRun { description, with: () }))
        };
        let lease = Lease::new(card.id, Duration::from_secs(60), clock::system(), Lease::moment(&clock::SystemClock));
        let owned = eventually("the run is created", async || {
            match claim::claim(&broker, &lease, run, None, describe).await.unwrap() {
                ClaimOutcome::Mine(owned, ()) => Some(*owned),
                ClaimOutcome::Nothing => None,
                ClaimOutcome::Held { by } => panic!("{by} has it"),
                ClaimOutcome::NotYet { .. } | ClaimOutcome::Unread { .. } | ClaimOutcome::Unfit { .. } => {
                    panic!("it cannot be taken")
                }
            }
        })
        .await;
        Player { broker, run, owned, steps: 0, inbox_updates, told: HashMap::new() }
    }

    async fn append(&mut self, body: RecordBody) -> u64 {
        let placed = self.owned.writer.append(Record::new(body), clock::system().now()).await.unwrap();
        self.owned.history.extend(placed);
        self.owned.writer.last()
    }

    fn key(&mut self) -> EffectKey {
        self.steps += 1;
        EffectKey::from(self.steps.to_string().as_str())
    }

    pub async fn say(&mut self, message: Message) -> u64 {
        let key = self.key();
        self.append(RecordBody::Said { key, message }).await
    }

    pub async fn say_text(&mut self, text: &str) -> u64 {
        self.say(message(MessageContent::text(text))).await
    }

    pub async fn ask(&mut self, says: MessageContent) -> Message {
        let question = message(says);
        self.say(question.clone()).await;
        question
    }

    /// Waits for the answer to a question and logs it as a worker does; returns what was given.
    pub async fn answered(&mut self, question: &Message) -> SubmittedAnswer {
        let slot = InboxSlot::Answer(question.uuid);
        let wait = async {
            loop {
                if let Some(stored) = self.broker.inbox.get(self.run, slot).await.unwrap()
                    && (self.told.contains_key(&question.uuid)
                        || !String::from_utf8_lossy(&stored.payload).contains("told"))
                {
                    return stored;
                }
                if let Some(InboxUpdate::Stored { slot: InboxSlot::Answer(about), stored }) =
                    self.inbox_updates.next().await
                    && stored.seq == 0
                {
                    self.told.insert(about, stored.payload);
                }
            }
        };
        let stored = tokio::time::timeout(PATIENCE, wait).await.expect("an answer");
        let mut given: SubmittedAnswer = serde_json::from_slice(&stored.payload).unwrap();
        let fits = match &given.answer {
            AnswerPayload::Value(value) => check_answer(&question.says, value).ok(),
            AnswerPayload::Text(text) => check_text_answer(&question.says, text).ok(),
            _ => None,
        };
        let secret = question.says.is_secret();
        let outcome = match fits {
            Some(fits) if !secret => AnswerOutcome::Given(AnswerValue { value: fits.value, text: fits.text }),
            _ => AnswerOutcome::NeverStored,
        };
        let answered = AnswerRecord { question: question.uuid, by: given.by.clone(), outcome };
        let key = self.key();
        self.append(RecordBody::Did { key, outcome: EffectOutcome::Answer(answered) }).await;
        if given.answer == AnswerPayload::NotStored {
            let secret = self.told.remove(&question.uuid).expect("the password was told");
            given.answer = AnswerPayload::Text(String::from_utf8(secret.to_vec()).unwrap());
        }
        given
    }

    /// Puts down what lists show of the run.
    pub async fn publish_summary(&mut self) {
        RunSummary::of(self.run, &self.owned.history).publish_summary(&self.broker).await.unwrap();
    }

    pub async fn end(mut self, result: Value) -> u64 {
        let ended = RunEnd {
            outcome: RunOutcome::Completed,
            reason: None,
            result: result.clone(),
            usage: RunUsage::default(),
            message: completed_message(self.run, result),
        };
        let seq = self.append(RecordBody::Ended(ended)).await;
        self.publish_summary().await;
        seq
    }
}

pub fn message(says: MessageContent) -> Message {
    Message {
        uuid: MessageId::random(),
        sender: Some("Workflow".into()),
        recipient: Some("User".into()),
        auto_reply: false,
        alias: None,
        within: Vec::new(),
        says,
    }
}

pub fn text_input(prompt: &str, password: bool) -> MessageContent {
    MessageContent::TextInput(TextInput { prompt: Some(prompt.into()), password, ..TextInput::default() })
}

/// The broker, for a fake of one of its parts.
pub fn shared<T>(value: T) -> Arc<T> {
    Arc::new(value)
}

/// Makes it later at once.
pub async fn later(by: Duration) {
    tokio::time::pause();
    tokio::time::advance(by).await;
    tokio::time::resume();
}
