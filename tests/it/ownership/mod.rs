//! The ownership of runs, simulated: real workers (claim, lease, writer, parking, taking over, the tour) and real clients
//! (start, answer, cancel, follow) over a broker that keeps its promises, on a network and on machines that do not. Calls are
//! delayed, lost on the way there or back, or arrive after their caller gave up; workers are killed, stopped and let go on,
//! cut off; clocks are off; clients die between two steps. All of it follows from a seed, in simulated time.
//!
//! A seed that fails is printed; `FASTAGENCY_SEED=n cargo nextest run one_seed --run-ignored all` repeats it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use fastagency::broker::{Broker, Error};
use fastagency::ids::{MessageId, Name, RunId};
use fastagency::lifecycle::Lifecycle;
use fastagency::model::{self, ChatModel, ModelProgress, ModelRegistry};
use fastagency::protocol::dialogue::{ModelReply, ModelRequest, ModelUsage};
use fastagency::run;
use fastagency::run::answer::{AnswerAcceptance, AnswerPayload, SubmittedAnswer, answer, cancel};
use fastagency::run::assembler::RecordAssembler;
use fastagency::run::attach::{FollowedEvent, attach};
use fastagency::run::record::{EffectOutcome, LogEntry, RecordBody, RunOutcome};
use fastagency::run::start::{StartDelivery, start_with_token};
use fastagency::worker::serve;
use fastagency::workflow::Workflow;
use rand::RngExt;
use serde_json::json;

use crate::support::system::{self, start_of, worker_parts};

mod faults;
mod server;

use faults::{Actor, Faults, Plan, STORM};
use server::{Server, Written};

const WORKFLOW: &str = r#"
version: 1
name: all_kinds
agents:
  a: { system_message: You answer. }
steps:
  - id: one
    agent: { agent: a, message: one }
  - id: first
    text_input: { prompt: First? }
  - parallel:
      x:
        - agent: { agent: a, message: x }
        - id: second
          text_input: { prompt: Second? }
      y:
        - wait: 2s
        - agent: { agent: a, message: y }
  - wait: 3s
  - timeout: 1h
    agent: { agent: a, message: two }
  - return: "{{ steps.first }}"
"#;

const LEASE: Duration = Duration::from_secs(2);
const PARK_AFTER: Duration = Duration::from_millis(700);
/// How soon after the storm every run must have ended.
const CALM: Duration = Duration::from_secs(240);
/// Processes: two at first, and those that are started for them.
const WORKERS: usize = 5;
const RUNS: usize = 3;

/// What goes wrong: workers die and are replaced, are stopped, are cut off; once in a while all are cut off at once.
fn plans(seed: u64) -> Vec<Plan> {
    let seeded = Faults::new(seed, Vec::new());
    let mut random = seeded.random("plans");
    let mut plans = vec![Plan::default(); WORKERS + RUNS];
    let millis = Duration::from_millis;
    let span = |random: &mut rand::rngs::StdRng, longest: u64| {
        let from = random.random_range(0..STORM.as_millis() as u64);
        (millis(from), millis(from + random.random_range(50..longest)).min(STORM))
    };
    for (actor, plan) in plans.iter_mut().enumerate().take(WORKERS) {
        plan.skew = random.random_range(-3000..3000);
        if actor >= 2 {
            plan.born = millis(random.random_range(500..STORM.as_millis() as u64));
        }
        // The last one lives.
        if actor + 1 < WORKERS && random.random_bool(0.7) {
            plan.dies = Some(plan.born + millis(random.random_range(10..6000)));
        }
        for _ in 0..random.random_range(0..3) {
            plan.paused.push(span(&mut random, 6000));
        }
        for _ in 0..random.random_range(0..2) {
            plan.cut.push(span(&mut random, 5000));
        }
    }
    for plan in &mut plans[WORKERS..] {
        for _ in 0..random.random_range(0..3) {
            plan.cut.push(span(&mut random, 3000));
        }
    }
    if random.random_bool(0.2) {
        let away = span(&mut random, 6000);
        plans.iter_mut().for_each(|plan| plan.cut.push(away));
    }
    plans
}

fn workflow() -> Workflow {
    static READ: LazyLock<Workflow> = LazyLock::new(|| system::workflow(WORKFLOW));
    READ.clone()
}

/// What must not happen, once it has.
#[derive(Default)]
struct Breaches(Mutex<Vec<String>>);

impl Breaches {
    fn note(&self, breach: String) {
        self.0.lock().unwrap().push(breach);
    }
}

/// A model that notices when it is asked for what the log knows already.
struct Model {
    server: Arc<Server>,
    actor: Actor,
    breaches: Arc<Breaches>,
}

#[async_trait]
impl ChatModel for Model {
    async fn complete(
        &self,
        request: &ModelRequest,
        _: &mut (dyn for<'a> FnMut(ModelProgress<'a>) + Send),
    ) -> Result<ModelReply, model::Error> {
        let header = |name: &str| request.headers.iter().find(|(key, _)| *key == name).unwrap().1.clone();
        let (run, effect) = (header("x-fastagency-run"), header("x-fastagency-effect"));
        let faults = &self.server.faults;
        if faults.is_dead(self.actor) {
            std::future::pending::<()>().await;
        }
        let id = RunId::parse(&run).unwrap();
        for (placed, _) in records(id, &self.server.log(id)) {
            if matches!(&placed.record.body, RecordBody::Did { key, .. } if key.to_string() == effect) {
                self.breaches.note(format!("the model is asked again for {effect} of {run} by worker {}", self.actor));
            }
        }
        let millis = faults.random((&run, &effect, "model")).random_range(5..1500);
        tokio::time::sleep(Duration::from_millis(millis)).await;
        faults.gate(self.actor).await;
        Ok(ModelReply {
            content: Some(format!("reply to {effect}")),
            tool_calls: Vec::new(),
            refusal: None,
            finish_reason: Some("stop".to_owned()),
            usage: ModelUsage::default(),
            model: "default".to_owned(),
        })
    }
}

/// The records of a log, and who wrote each.
fn records(run: RunId, log: &[Written]) -> Vec<(LogEntry, Actor)> {
    let mut assembler = RecordAssembler::default();
    let mut read = |written: &Written| assembler.take(run, &written.stored).expect("a record").records;
    log.iter().flat_map(|written| read(written).into_iter().map(|placed| (placed, written.by))).collect()
}

async fn work(server: Arc<Server>, actor: Actor, breaches: Arc<Breaches>) {
    server.faults.at(server.faults.plans[actor].born).await;
    // A process that cannot reach the broker at its start is started again.
    loop {
        let model: Arc<dyn ChatModel> = Arc::new(Model { server: server.clone(), actor, breaches: breaches.clone() });
        let models = ModelRegistry::new(BTreeMap::from([(Name::parse("default").unwrap(), model)]));
        let mut parts = worker_parts(server.broker(actor), workflow(), models);
        parts.clock = Arc::new(server.faults.clock(actor));
        parts.sealer = None;
        parts.settings.max_runs = 10;
        (parts.settings.park_after, parts.settings.lease) = (PARK_AFTER, LEASE);
        let life = Lifecycle::new(Duration::from_secs(5));
        let _ = serve(parts, life.shutdown()).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// A run from outside, and what its client has seen.
struct Outside {
    run: RunId,
    server: Arc<Server>,
    broker: Broker,
    actor: Actor,
    /// The answers that were accepted.
    accepted: Mutex<HashMap<MessageId, String>>,
    breaches: Arc<Breaches>,
}

async fn again<T, F: Future<Output = run::Result<T>>>(mut call: impl FnMut() -> F) -> T {
    loop {
        match call().await {
            Ok(value) => return value,
            Err(run::Error::Broker(Error::Unavailable { .. })) => {}
            Err(error) => panic!("{error}"),
        }
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
}

impl Outside {
    async fn live(self: Arc<Self>) {
        let workflow = workflow();
        let mut random = self.server.faults.random(("client", self.actor));
        tokio::time::sleep(Duration::from_millis(random.random_range(0..6000))).await;
        // Some workers may be of an earlier version.
        let delivery = match self.server.faults.random(("delivery", self.actor)).random_bool(0.6) {
            true => StartDelivery::Created,
            false => StartDelivery::Job,
        };
        let start = || start_with_token(&self.broker, start_of(&workflow, self.run), None, None, delivery);
        // One in four dies after the first try, whatever came of it.
        if random.random_bool(0.25) {
            let _ = start().await;
            tokio::time::sleep(Duration::from_secs(4)).await;
        } else {
            again(start).await;
        }
        if self.server.log(self.run).is_empty() {
            return;
        }
        if random.random_bool(0.15) {
            let (this, name, at) = (self.clone(), workflow.name.clone(), random.random_range(0..9000));
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(at)).await;
                again(|| cancel(&this.broker, &name, this.run, None, None)).await;
            });
        }
        let seen = self.clone().follow(&workflow.name).await;
        self.judge(&seen);
    }

    /// Follows the run to its end and answers its questions; returns the sequences that it was shown.
    async fn follow(self: Arc<Self>, workflow: &Name) -> Vec<u64> {
        let mut seen: Vec<u64> = Vec::new();
        loop {
            let after = seen.last().copied().unwrap_or(0);
            let Ok(mut attached) = attach(&self.broker, self.run, after).await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            loop {
                match attached.next().await {
                    Ok(Some(FollowedEvent::Record(placed))) => {
                        seen.push(placed.seq);
                        if let RecordBody::Said { message, .. } = &placed.record.body
                            && message.says.asks()
                        {
                            self.clone().answer_soon(workflow, message.uuid);
                        }
                    }
                    Ok(Some(_)) => {}
                    Ok(None) => return seen,
                    Err(_) => break,
                }
            }
        }
    }

    /// Two people answer a question, each when it suits; some only try once.
    fn answer_soon(self: Arc<Self>, workflow: &Name, question: MessageId) {
        for person in ["a", "b"] {
            let (this, workflow) = (self.clone(), workflow.clone());
            let mut random = this.server.faults.random((question.to_string(), person));
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(random.random_range(0..5000))).await;
                let word = format!("{person} to {question}");
                let given = SubmittedAnswer::new(AnswerPayload::Value(json!(word)), None);
                if person == "a" && random.random_bool(0.3) {
                    if let Ok(AnswerAcceptance::Yes) = answer(&this.broker, &workflow, this.run, question, &given).await
                    {
                        this.accept(question, word);
                    }
                } else if again(|| answer(&this.broker, &workflow, this.run, question, &given)).await
                    == AnswerAcceptance::Yes
                {
                    this.accept(question, word);
                }
            });
        }
    }

    fn accept(&self, question: MessageId, word: String) {
        if let Some(other) = self.accepted.lock().unwrap().insert(question, word.clone()) {
            self.breaches.note(format!("{word:?} and {other:?} were both accepted"));
        }
    }

    /// Holds the log and what the client saw against the rules.
    fn judge(&self, seen: &[u64]) {
        let breach = |what: String| self.breaches.note(format!("run {}: {what}", self.run));
        let log = self.server.log(self.run);
        let records = records(self.run, &log);
        let stored: Vec<u64> = records.iter().map(|(placed, _)| placed.seq).collect();
        let breach = |what: String| breach(format!("{what}: {}", told(&records)));
        if seen != stored {
            breach(format!("the client saw {seen:?}, the log holds {stored:?}"));
        }
        let (mut owner, mut epochs, mut keys, mut ending) = (None, 0, HashSet::new(), None);
        let mut answers = HashMap::new();
        for (number, (placed, by)) in records.iter().enumerate() {
            let body = &placed.record.body;
            if ending.is_some() {
                breach(format!("something was written after its end: {body:?}"));
            }
            match body {
                RecordBody::Created(_) if number == 0 => continue,
                RecordBody::Claimed { epoch, .. } => {
                    owner = Some(*by);
                    epochs += 1;
                    if *epoch != epochs {
                        breach(format!("claim {epochs} calls itself {epoch}"));
                    }
                    continue;
                }
                RecordBody::Said { key, .. } if !keys.insert(("said", key)) => breach(format!("{key} was said twice")),
                RecordBody::Did { key, outcome } => {
                    if !keys.insert(("did", key)) {
                        breach(format!("{key} was done twice"));
                    }
                    if let EffectOutcome::Answer(answered) = outcome {
                        answers.insert(
                            answered.question,
                            answered.taken().map(|taken| taken.text.clone()).unwrap_or_default(),
                        );
                    }
                }
                RecordBody::Ended(ended) => ending = Some(ended.outcome),
                _ => {}
            }
            if owner != Some(*by) {
                breach(format!("worker {by} wrote {body:?} while {owner:?} owned it"));
            }
        }
        let Some(ending) = ending else { return breach("it has no end".to_owned()) };
        if ending == RunOutcome::Failed {
            breach(format!("it failed: {:?}", records.last()));
        }
        if ending == RunOutcome::Completed {
            for (question, word) in self.accepted.lock().unwrap().iter() {
                if answers.get(question).is_some_and(|answer| answer != word) {
                    breach(format!("{word:?} was accepted, and {:?} counts", answers[question]));
                }
            }
        }
    }
}

/// A log in a few words.
fn told(records: &[(LogEntry, Actor)]) -> String {
    let word = |(placed, by): &(LogEntry, Actor)| match &placed.record.body {
        RecordBody::Claimed { epoch, .. } => format!("{by} claimed {epoch}"),
        RecordBody::Said { key, .. } => format!("{by} said {key}"),
        RecordBody::Did { key, .. } => format!("{by} did {key}"),
        RecordBody::Parked { until } => format!("{by} parked {until:?}"),
        other => format!("{by} {}", serde_json::to_value(other).unwrap()["kind"]),
    };
    records.iter().map(word).collect::<Vec<_>>().join(", ")
}

/// Lets one seed happen, and returns what was breached.
fn simulate(seed: u64, fences: bool) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let server = Server::new(Faults::new(seed, plans(seed)), fences);
        let breaches = Arc::new(Breaches::default());
        for actor in 0..WORKERS {
            tokio::spawn(work(server.clone(), actor, breaches.clone()));
        }
        let outsides: Vec<Arc<Outside>> = (0..RUNS)
            .map(|number| {
                let actor = WORKERS + number;
                Arc::new(Outside {
                    run: RunId::for_key(None, &format!("{seed}.{number}")),
                    server: server.clone(),
                    broker: server.broker(actor),
                    actor,
                    accepted: Mutex::default(),
                    breaches: breaches.clone(),
                })
            })
            .collect();
        let lives = futures_util::future::join_all(outsides.iter().map(|outside| outside.clone().live()));
        if tokio::time::timeout(STORM + CALM, lives).await.is_err() {
            for outside in &outsides {
                let records = records(outside.run, &server.log(outside.run));
                if records.last().is_some_and(|(last, _)| !matches!(last.record.body, RecordBody::Ended(_))) {
                    breaches.note(format!("run {} never ends: {}", outside.run, told(&records)));
                }
            }
            if breaches.0.lock().unwrap().is_empty() {
                breaches.note("a client never saw the end".to_owned());
            }
        }
        std::mem::take(&mut *breaches.0.lock().unwrap())
    })
}

/// Seeds in one test; four tests take them on as many cores. `FASTAGENCY_SEEDS` tries more of them.
const SEEDS: u64 = 500;

fn hold(part: u64) {
    let seeds = std::env::var("FASTAGENCY_SEEDS").map_or(SEEDS, |seeds| seeds.parse().expect("a number"));
    for seed in part * seeds..(part + 1) * seeds {
        let breaches = simulate(seed, true);
        assert!(breaches.is_empty(), "FASTAGENCY_SEED={seed}\n{}", breaches.join("\n"));
    }
}

#[test]
fn a_run_has_one_owner_and_ends_whatever_happens_1() {
    hold(0);
}

#[test]
fn a_run_has_one_owner_and_ends_whatever_happens_2() {
    hold(1);
}

#[test]
fn a_run_has_one_owner_and_ends_whatever_happens_3() {
    hold(2);
}

#[test]
fn a_run_has_one_owner_and_ends_whatever_happens_4() {
    hold(3);
}

/// The same with a broker that takes every append: the simulation must see what comes of it.
#[test]
fn without_the_fence_two_workers_write_one_history() {
    let found = (0..200).find(|&seed| {
        let breaches = simulate(seed, false);
        breaches.iter().any(|breach| breach.contains("wrote") || breach.contains("twice"))
    });
    assert!(found.is_some(), "200 seeds without a fence, and no breach");
}

#[test]
#[ignore = "for looking into one seed: FASTAGENCY_SEED=n"]
fn one_seed() {
    tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_ansi(false).with_test_writer().init();
    let seed = std::env::var("FASTAGENCY_SEED").expect("FASTAGENCY_SEED").parse().expect("a number");
    let breaches = simulate(seed, true);
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}
