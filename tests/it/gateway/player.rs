//! A gateway on a free port over an embedded broker, and a played worker.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastagency::broker::{Bell, Broker, Slot};
use fastagency::clock;
use fastagency::ids::{MessageId, RunId, WorkerId};
use fastagency::message::{Content, Message, TextInput, check_answer, check_text_answer};
use fastagency::protocol::answer::{AnswerOutcome, AnswerRecord, AnswerValue};
use fastagency::protocol::effect_key::EffectKey;
use fastagency::run::answer::{Answer, Given};
use fastagency::run::claim::{self, Claim, Owned, Ready};
use fastagency::run::directory::{self, WorkerCard};
use fastagency::run::lease::Lease;
use fastagency::run::record::{Body, Ended, Ending, Outcome, Record, Usage, completed_message};
use fastagency::run::summary::Summary;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use serde_json::Value;

use crate::support::eventually::{PATIENCE, eventually};
use crate::support::system::{System, played_workflows};

/// A played worker that holds one run.
pub struct Player {
    pub broker: Broker,
    pub run: RunId,
    owned: Owned,
    steps: u32,
    /// Heard from the beginning, as a worker does: a password is told once.
    bell: BoxStream<'static, Bell>,
    told: HashMap<MessageId, Bytes>,
}

impl Player {
    /// Takes a run that was just started.
    pub async fn take(system: &System, run: RunId) -> Self {
        let broker = system.broker.clone();
        let bell = broker.inbox.bell(run).await.unwrap();
        let card = WorkerCard {
            id: WorkerId::random(),
            workflows: Vec::new(),
            started_at: clock::system().now(),
            version: "test".into(),
            runs: 0,
            max_runs: 0,
            cleans: true,
        };
        directory::renew(&broker, &card, Duration::from_secs(60)).await.unwrap();
        let known: HashMap<&str, &str> = played_workflows().into_iter().map(|(name, about, _)| (name, about)).collect();
        let describe = |created: fastagency::run::record::Created| {
            let description = known.get(created.workflow.as_str()).map(|about| (*about).to_owned());
            std::future::ready(Ok(Ready { description, with: () }))
        };
        let lease = Lease::new(card.id, Duration::from_secs(60), clock::system(), Lease::moment(&clock::SystemClock));
        let owned = eventually("the run is created", async || {
            match claim::claim(&broker, &lease, run, false, describe).await.unwrap() {
                Claim::Mine(owned, ()) => Some(*owned),
                Claim::Nothing => None,
                Claim::Held { by } => panic!("{by} has it"),
                Claim::NotYet { .. } | Claim::Unfit { .. } => panic!("it cannot be taken"),
            }
        })
        .await;
        Player { broker, run, owned, steps: 0, bell, told: HashMap::new() }
    }

    async fn append(&mut self, body: Body) -> u64 {
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
        self.append(Body::Said { key, message }).await
    }

    pub async fn say_text(&mut self, text: &str) -> u64 {
        self.say(message(Content::text(text))).await
    }

    pub async fn ask(&mut self, says: Content) -> Message {
        let question = message(says);
        self.say(question.clone()).await;
        question
    }

    /// Waits for the answer to a question and logs it as a worker does; returns what was given.
    pub async fn answered(&mut self, question: &Message) -> Given {
        let slot = Slot::Answer(question.uuid);
        let wait = async {
            loop {
                if let Some(stored) = self.broker.inbox.get(self.run, slot).await.unwrap()
                    && (self.told.contains_key(&question.uuid)
                        || !String::from_utf8_lossy(&stored.payload).contains("told"))
                {
                    return stored;
                }
                if let Some(Bell::Rang { slot: Slot::Answer(about), stored }) = self.bell.next().await
                    && stored.seq == 0
                {
                    self.told.insert(about, stored.payload);
                }
            }
        };
        let stored = tokio::time::timeout(PATIENCE, wait).await.expect("an answer");
        let mut given: Given = serde_json::from_slice(&stored.payload).unwrap();
        let fits = match &given.answer {
            Answer::Value(value) => check_answer(&question.says, value).ok(),
            Answer::Text(text) => check_text_answer(&question.says, text).ok(),
            _ => None,
        };
        let secret = question.says.is_secret();
        let outcome = match fits {
            Some(fits) if !secret => AnswerOutcome::Given(AnswerValue { value: fits.value, text: fits.text }),
            _ => AnswerOutcome::NeverStored,
        };
        let answered = AnswerRecord { question: question.uuid, by: given.by.clone(), outcome };
        let key = self.key();
        self.append(Body::Did { key, outcome: Outcome::Answer(answered) }).await;
        if given.answer == Answer::Told {
            let secret = self.told.remove(&question.uuid).expect("the password was told");
            given.answer = Answer::Text(String::from_utf8(secret.to_vec()).unwrap());
        }
        given
    }

    /// Puts down what lists show of the run.
    pub async fn shelve(&mut self) {
        Summary::of(self.run, &self.owned.history).shelve(&self.broker).await.unwrap();
    }

    pub async fn end(mut self, result: Value) -> u64 {
        let ended = Ended {
            outcome: Ending::Completed,
            reason: None,
            result: result.clone(),
            usage: Usage::default(),
            message: completed_message(self.run, result),
        };
        let seq = self.append(Body::Ended(ended)).await;
        self.shelve().await;
        seq
    }
}

pub fn message(says: Content) -> Message {
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

pub fn text_input(prompt: &str, password: bool) -> Content {
    Content::TextInput(TextInput { prompt: Some(prompt.into()), password, ..TextInput::default() })
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
