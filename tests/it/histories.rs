//! Logs that earlier versions of this program have written must go on with this one, from wherever they were cut off:
//! `tests/histories/<name>.jsonl` holds the log of a run of the workflow `<name>.yaml`, one record a line. They are kept for
//! ever; `HISTORY=<name> cargo nextest run record_a_history --run-ignored all` writes a new one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use fastagency::broker::{Broker, RecordLane, embedded};
use fastagency::clock::{self, Clock, Timestamp};
use fastagency::ids::{MessageId, Name, RunId};
use fastagency::message::MessageContent;
use fastagency::model::{self, ChatModel, ModelProgress, ModelRegistry};
use fastagency::protocol::dialogue::{ModelReply, ModelRequest, ModelUsage};
use fastagency::protocol::effect_key::EffectKey;
use fastagency::run::answer::{AnswerPayload, SubmittedAnswer, answer};
use fastagency::run::attach::{FollowedEvent, attach};
use fastagency::run::record::{EffectOutcome, Record, RecordBody, RunEnd, RunOutcome};
use fastagency::workflow::Workflow;
use serde_json::json;

use crate::support::system::{self, System};

/// What every life of these runs has in common: the run's id is part of the ids in its log.
const RUN: &str = "0b9d6e5c7f4b4f2a8c1d2e3f4a5b6c7d";

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/histories")
}

fn workflow(name: &str) -> Workflow {
    system::workflow(&std::fs::read_to_string(folder().join(format!("{name}.yaml"))).expect("a workflow"))
}

fn history(name: &str) -> Vec<Record> {
    let text = std::fs::read_to_string(folder().join(format!("{name}.jsonl"))).expect("a history");
    text.lines().map(|line| serde_json::from_str(line).expect("a record")).collect()
}

/// A model that says which effects it was asked for.
#[derive(Default)]
struct Model {
    asked: Mutex<Vec<String>>,
}

#[async_trait]
impl ChatModel for Model {
    async fn complete(
        &self,
        request: &ModelRequest,
        _: &mut (dyn for<'a> FnMut(ModelProgress<'a>) + Send),
    ) -> Result<ModelReply, model::Error> {
        let effect = request.headers.iter().find(|(key, _)| *key == "x-fastagency-effect").unwrap().1.clone();
        self.asked.lock().unwrap().push(effect.clone());
        Ok(ModelReply {
            content: Some(format!("reply to {effect}")),
            tool_calls: Vec::new(),
            refusal: None,
            finish_reason: Some("stop".to_owned()),
            usage: ModelUsage { prompt_tokens: 2, completion_tokens: 3, ..ModelUsage::default() },
            model: "default".to_owned(),
        })
    }
}

/// The day on which these runs live, whenever they are looked at: a deadline that was kept in one of them must not pass.
struct Then(Instant);

impl Clock for Then {
    fn now(&self) -> Timestamp {
        clock::after("2026-11-23T07:30:00Z".parse().expect("a time"), self.0.elapsed())
    }
}

/// The end of a run that goes on from these records (none: from its start), and what was done for it.
struct Lived {
    ended: RunEnd,
    asked: Vec<String>,
    log: Vec<Record>,
}

async fn live_on(workflow: &Workflow, before: &[Record]) -> Lived {
    let folder = tempfile::tempdir().unwrap();
    let broker = embedded::open(folder.path()).unwrap();
    let run = RunId::parse(RUN).unwrap();
    let mut last = 0;
    for record in before {
        let payload = Bytes::from(serde_json::to_vec(record).unwrap());
        last = broker.log.append(run, RecordLane::Did, payload, last).await.unwrap();
    }
    let model = Arc::new(Model::default());
    let models = BTreeMap::from([(Name::parse("default").unwrap(), model.clone() as Arc<dyn ChatModel>)]);
    let system =
        System::over(broker.clone()).worker_of(workflow.clone()).models(ModelRegistry::new(models)).parts(|parts| {
            parts.clock = Arc::new(Then(Instant::now()));
            parts.sealer = None;
            parts.settings.lease = Duration::from_secs(10);
        });
    let system = system.start().await;
    if before.is_empty() {
        system.start(run).await;
    } else {
        system.wake(run).await;
    }
    let ended = tokio::time::timeout(Duration::from_secs(20), converse(&broker, workflow, run)).await;
    let ended = ended.unwrap_or_else(|_| panic!("the run does not end after {} records", before.len()));
    let stored = broker.log.read(run, 0).await.unwrap();
    let log = stored.iter().map(|stored| serde_json::from_slice(&stored.payload).unwrap()).collect();
    system.close().await;
    let asked = model.asked.lock().unwrap().clone();
    Lived { ended, asked, log }
}

/// Answers what is asked, until the run has ended.
async fn converse(broker: &Broker, workflow: &Workflow, run: RunId) -> RunEnd {
    let mut attached = attach(broker, run, 0).await.unwrap();
    let mut open: Vec<(MessageId, MessageContent)> = Vec::new();
    let mut live = false;
    loop {
        match attached.next().await.unwrap().expect("it has an end") {
            FollowedEvent::Record(placed) => match placed.record.body {
                RecordBody::Said { message, .. } if message.says.asks() => open.push((message.uuid, message.says)),
                RecordBody::Did { outcome: EffectOutcome::Answer(answered), .. } => {
                    open.retain(|(question, _)| *question != answered.question);
                }
                RecordBody::Ended(ended) => return ended,
                _ => {}
            },
            FollowedEvent::CaughtUp { .. } => live = true,
            FollowedEvent::Delta(_) => {}
        }
        if live {
            for (question, says) in open.drain(..) {
                let word = if matches!(says, MessageContent::MultipleChoice(_)) { "green" } else { "triangles" };
                let given = SubmittedAnswer::new(AnswerPayload::Value(json!(word)), None);
                answer(broker, &workflow.name, run, question, &given).await.unwrap();
            }
        }
    }
}

/// The effects of a log, and what was said in it.
fn effects(log: &[Record]) -> BTreeSet<String> {
    let steps = log.iter().cloned().flat_map(Record::steps);
    steps
        .filter_map(|record| match &record.body {
            RecordBody::Said { key, message } => {
                let mut said = serde_json::to_value(message).unwrap();
                // Younger than the histories.
                said["says"].as_object_mut().unwrap().remove("in_short");
                Some(format!("said {key}: {said}"))
            }
            RecordBody::Did { key, .. } => Some(format!("did {key}")),
            _ => None,
        })
        .collect()
}

async fn goes_on_from_everywhere(name: &str) {
    let (workflow, history) = (workflow(name), history(name));
    let Some(RecordBody::Ended(end)) = history.last().map(|last| &last.body) else { panic!("{name} has no end") };
    for cut in 1..history.len() {
        let before = &history[..cut];
        let Lived { ended, asked, log } = live_on(&workflow, before).await;
        assert_eq!(
            (ended.outcome, &ended.result),
            (RunOutcome::Completed, &end.result),
            "{name} after {cut}: {:?}",
            ended.reason
        );
        assert_eq!(ended.usage, end.usage, "{name} after {cut} records");
        assert_eq!(effects(&log), effects(&history), "{name} after {cut} records");
        let known = effects(before);
        for effect in asked {
            assert!(!known.contains(&format!("did {effect}")), "{name} after {cut} records: {effect} was done again");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_history_of_steps_goes_on_from_everywhere() {
    goes_on_from_everywhere("steps").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_history_of_chats_goes_on_from_everywhere() {
    goes_on_from_everywhere("chat").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_history_whose_messages_carry_the_replies_goes_on_from_everywhere() {
    assert!(history("replies").iter().any(|record| record.done.is_some()));
    goes_on_from_everywhere("replies").await;
}

/// How a run ends that goes on from a log in which something is otherwise than this program would have it.
async fn told(change: impl Fn(&mut Vec<Record>)) -> String {
    let (workflow, mut history) = (workflow("steps"), history("steps"));
    history.pop();
    change(&mut history);
    let Lived { ended, asked, .. } = live_on(&workflow, &history).await;
    assert_eq!((ended.outcome, asked.len()), (RunOutcome::Failed, 0));
    ended.reason.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_does_not_fit_the_program_ends_in_a_sentence_and_not_in_another_story() {
    let another_kind = told(|history| {
        for record in history {
            if let RecordBody::Did { key, outcome } = &mut record.body
                && *key == EffectKey::from("one#0")
            {
                *outcome = EffectOutcome::Value(json!(1));
            }
        }
    })
    .await;
    assert!(
        another_kind.contains("at \"one#0\" its log holds a value, and the workflow now wants a model's reply"),
        "{another_kind}"
    );
    // The reply is gone, what was said after it is there: a program that had no such reply wrote this.
    let a_hole = told(|history| {
        history
            .retain(|record| !matches!(&record.body, RecordBody::Did { key, .. } if *key == EffectKey::from("one#0")))
    })
    .await;
    assert!(a_hole.contains("its log holds nothing at \"one#0\", but something at \"one#1\""), "{a_hole}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "writes tests/histories/$HISTORY.jsonl"]
async fn record_a_history() {
    let name = std::env::var("HISTORY").expect("HISTORY");
    let lived = live_on(&workflow(&name), &[]).await;
    let lines: Vec<String> = lived.log.iter().map(|record| serde_json::to_string(record).unwrap()).collect();
    std::fs::write(folder().join(format!("{name}.jsonl")), lines.join("\n") + "\n").unwrap();
}
