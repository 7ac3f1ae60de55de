//! Two workers, two gateways, one NATS server, all real processes; runs with model calls, questions that are answered late,
//! waits and parallel branches; and meanwhile workers, gateways and the server are killed and stopped at random. At the end
//! the logs, the clients' views and the model's own notes must agree.
//!
//! `scripts/chaos.sh` is the long form: 500 runs, three minutes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastagency::broker::Broker;
use fastagency::clock::{Clock, SystemClock, Timestamp, until};
use fastagency::ids::RunId;
use fastagency::run;
use fastagency::run::record::{LogEntry, RecordBody, RunOutcome};
use rand::seq::SliceRandom;
use rand::{Rng, RngExt, SeedableRng};
use serde_json::json;
use tokio::time::Instant;

use crate::support::http::Gateways;
use crate::support::nats_server::NatsServer;
use crate::support::ports::free_port;
use crate::support::project::{Project, Tier};
use crate::support::slow_model::{Asked, SlowModel};

const WORKFLOW: &str = r#"
version: 1
name: mixed
params: { type: object, properties: { tag: { type: string } }, required: [tag] }
agents:
  a: { system_message: You answer. }
steps:
  - id: one
    agent: { agent: a, message: "one of {{ params.tag }}" }
  - id: first
    text_input: { prompt: "First of {{ params.tag }}?" }
  - parallel:
      x:
        - agent: { agent: a, message: "x of {{ params.tag }}" }
        - id: second
          text_input: { prompt: "Second of {{ params.tag }}?" }
      y:
        - wait: 4s
        - agent: { agent: a, message: "y of {{ params.tag }}" }
  - foreach:
      in: [1, 2, 3]
      as: number
      do:
        - agent: { agent: a, message: "item {{ number }} of {{ params.tag }}" }
  - message: "{{ steps.first }} and {{ steps.second }}"
  - return: "{{ params.tag }}"
"#;

/// How long everything may take to come to its end once nothing is killed any more.
const CALM: Duration = Duration::from_secs(90);
/// The workers' lease, and how long a run may lie before it is taken over.
const LEASE: u64 = 3;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

struct Everything {
    gateways: Gateways,
    broker: Broker,
    history: Mutex<History>,
}

/// A kind of blow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Blow {
    WorkerKilled,
    WorkerStopped,
    WorkerTerminated,
    GatewayKilled,
    NatsKilled,
}

/// Each as often as it comes in a round of blows. A run of any length begins with one of each kind.
const ROUND: [Blow; 10] = [
    Blow::WorkerKilled,
    Blow::WorkerStopped,
    Blow::WorkerTerminated,
    Blow::GatewayKilled,
    Blow::NatsKilled,
    Blow::WorkerKilled,
    Blow::WorkerStopped,
    Blow::GatewayKilled,
    Blow::WorkerKilled,
    Blow::WorkerKilled,
];
/// The kinds that a round begins with.
const KINDS: usize = 5;

/// What was done to whom, and when.
#[derive(Debug, Clone, Default)]
pub struct History {
    blows: BTreeMap<Blow, usize>,
    /// The workers that were killed or stopped, by their ids.
    hits: Vec<(String, Timestamp)>,
    /// When there was no NATS server.
    no_nats: Vec<Span>,
    /// When a worker was not there, for each worker.
    no_worker: [Vec<Span>; 2],
}

/// From when to when something was away.
type Span = (Timestamp, Timestamp);

impl History {
    /// How long a run lay that a worker which was hit at `hit` had and another claimed at `claimed`: counted from the last
    /// moment before the claim at which there was no NATS server, or no worker at all.
    fn lay(&self, hit: Timestamp, claimed: Timestamp) -> Duration {
        let back = self.away().filter(|span| span.0 <= claimed && span.1 > hit).map(|span| span.1.min(claimed)).max();
        until(back.map_or(hit, |back| back.max(hit)), claimed)
    }

    /// Whether nothing but one worker was away while a run lay from `hit` to `claimed`, and for so long before that a worker
    /// which had lost NATS may take runs over again.
    fn hit_one_worker(&self, hit: Timestamp, claimed: Timestamp) -> bool {
        let calm = Duration::from_secs(2 * LEASE);
        self.away().all(|span| span.0 > claimed || until(span.1, hit) >= calm)
    }

    /// When there was no NATS server, or no worker at all.
    fn away(&self) -> impl Iterator<Item = Span> {
        let [first, second] = &self.no_worker;
        let nobody = first.iter().flat_map(|one| {
            second.iter().map(move |other| (one.0.max(other.0), one.1.min(other.1))).filter(|both| both.0 < both.1)
        });
        self.no_nats.iter().copied().chain(nobody)
    }
}

/// A run as its client knows it.
pub struct Client {
    pub run: String,
    /// A word of its own, `tag<number>x`: in its params, its questions, its answers, and its result.
    pub tag: String,
    /// The sequences of the records that it was shown.
    pub seen: Vec<u64>,
    pub ended: bool,
    /// How often it was shown another one's word.
    pub crossed: usize,
    /// Its answers.
    pub accepted: Vec<String>,
}

/// How often a text names the tag of another run than that with this number.
pub fn crossed(text: &str, number: usize) -> usize {
    let foreign = text.split("tag").skip(1).filter(|rest| {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        !digits.is_empty() && rest[digits.len()..].starts_with('x') && digits != number.to_string()
    });
    foreign.count()
}

/// Starts a run, follows it, and answers its questions late.
async fn converse(everything: Arc<Everything>, number: usize, seed: u64, longest_wait: u64) -> Client {
    let mut random = rand::rngs::StdRng::seed_from_u64(seed + number as u64);
    let tag = format!("tag{number}x");
    let gateways = &everything.gateways;
    let run = gateways.start("mixed", json!({"tag": tag}), &format!("{seed}-{number}")).await;
    let mut client =
        Client { run: run.clone(), tag: tag.clone(), seen: Vec::new(), ended: false, crossed: 0, accepted: Vec::new() };
    let mut answers = tokio::task::JoinSet::new();
    let mut asked = HashSet::new();
    let mut which = random.random_range(0..2);
    while !client.ended {
        let after = client.seen.last().copied().unwrap_or(0);
        let mut questions = Vec::new();
        gateways
            .follow(which, &run, after, |event| {
                client.crossed += crossed(&event.data.to_string(), number);
                if event.name != "record" {
                    return true;
                }
                client.seen.extend(event.id);
                let message = &event.data["message"];
                if message["type"] == "text_input" {
                    questions.push(message["uuid"].as_str().unwrap().to_owned());
                }
                client.ended = event.data["kind"] == "ended";
                // A question is answered beside; the stream is opened again, which it must bear at any time.
                !client.ended && message["type"] != "text_input"
            })
            .await;
        for question in questions {
            if !asked.insert(question.clone()) {
                continue;
            }
            let (gateways, run, word) = (gateways.clone(), run.clone(), format!("answer to {question} of {tag}"));
            let late = Duration::from_millis(random.random_range(0..longest_wait * 1000));
            answers.spawn(async move {
                tokio::time::sleep(late).await;
                gateways.answer(&run, &question, &word).await;
                word
            });
        }
        which += 1;
        tokio::time::sleep(Duration::from_millis(random.random_range(5..100))).await;
    }
    client.accepted = answers.join_all().await;
    client
}

/// Kills and stops at random until the time is over.
async fn strike(
    everything: &Everything,
    workers: &mut [Tier],
    gateways: &mut [Tier],
    nats: &mut NatsServer,
    seed: u64,
    end: Instant,
) {
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let mut round = ROUND;
    round[..KINDS].shuffle(&mut random);
    for number in 0.. {
        tokio::time::sleep(Duration::from_millis(random.random_range(800..2500))).await;
        if Instant::now() >= end {
            return;
        }
        if number > 0 && number % round.len() == 0 {
            round.shuffle(&mut random);
        }
        let (blow, one) = (round[number % round.len()], random.random_range(0..2));
        *everything.history.lock().unwrap().blows.entry(blow).or_default() += 1;
        let from = SystemClock.now();
        let mut pause = |most: u64| Duration::from_millis(random.random_range(100..most));
        match blow {
            Blow::WorkerKilled => {
                everything.hit(&workers[one]);
                workers[one].kill();
                tokio::time::sleep(pause(1500)).await;
                workers[one].start();
                workers[one].says("worker ready").await;
            }
            Blow::WorkerStopped => {
                everything.hit(&workers[one]);
                workers[one].signal("STOP");
                tokio::time::sleep(pause(LEASE * 2000)).await;
                workers[one].signal("CONT");
            }
            Blow::WorkerTerminated => {
                workers[one].terminate().await;
                workers[one].start();
                workers[one].says("worker ready").await;
            }
            Blow::GatewayKilled => {
                gateways[one].kill();
                tokio::time::sleep(pause(800)).await;
                gateways[one].start();
            }
            Blow::NatsKilled => {
                nats.kill();
                tokio::time::sleep(pause(3000)).await;
                nats.start_again();
            }
        }
        let span = (from, SystemClock.now());
        let mut history = everything.history.lock().unwrap();
        match blow {
            Blow::WorkerKilled | Blow::WorkerStopped | Blow::WorkerTerminated => history.no_worker[one].push(span),
            Blow::NatsKilled => history.no_nats.push(span),
            Blow::GatewayKilled => {}
        }
    }
}

impl Everything {
    /// Notes that a worker is about to be hit.
    fn hit(&self, worker: &Tier) {
        let log = worker.log();
        // `worker ready: … worker.id=…`, of its last life.
        let Some(id) = log.lines().rev().find_map(|line| line.split("worker.id=").nth(1)) else { return };
        let id: String = id.chars().take_while(char::is_ascii_hexdigit).collect();
        self.history.lock().unwrap().hits.push((id, SystemClock.now()));
    }
}

/// What was counted.
#[derive(Debug, Default)]
pub struct Verdict {
    pub lost: usize,
    pub crossed: usize,
    pub gaps: usize,
    pub repeated: usize,
    pub asked_twice: usize,
    /// Requests that were cut off and sent again.
    pub cut_off: usize,
    /// How long runs lay whose worker was hit: in all, and while there were a worker and a NATS server.
    recoveries: Vec<(Duration, Duration)>,
    /// Of them, in all, those whose worker was all that was hit.
    alone: Vec<Duration>,
}

impl Verdict {
    /// Compares what a client saw with what there is to see, with the log, and with what the model was asked.
    pub fn judge(
        &mut self,
        client: &Client,
        shown: &[u64],
        records: &[LogEntry],
        requests: &[&Asked],
        history: &History,
    ) {
        self.crossed += client.crossed;
        if client.seen != shown {
            self.gaps += 1;
            eprintln!("run {} was seen as {:?}, and is {shown:?}", client.run, client.seen);
        }
        match records.last().map(|last| &last.record.body) {
            Some(RecordBody::Ended(ended))
                if ended.outcome == RunOutcome::Completed && ended.result == json!(client.tag) => {}
            other => {
                self.lost += 1;
                eprintln!("run {} was lost: {other:?}", client.run);
            }
        }
        let mut prompts = HashSet::new();
        let mut done: HashMap<String, Timestamp> = HashMap::new();
        let mut owner: Option<(String, Timestamp)> = None;
        for placed in records {
            match &placed.record.body {
                RecordBody::Said { message, .. } if message.says.asks() && !prompts.insert(message.says.prompt()) => {
                    self.asked_twice += 1;
                    eprintln!("run {} asked {:?} twice", client.run, message.says.prompt());
                }
                RecordBody::Did { key, .. } if done.insert(key.to_string(), placed.at).is_some() => {
                    self.repeated += 1;
                    eprintln!("run {} did {key} twice", client.run);
                }
                RecordBody::Claimed { worker, .. } => {
                    let id = worker.to_string();
                    if let Some((before, since)) = owner.replace((id.clone(), placed.at))
                        && before != id
                    {
                        // Taken from a worker that was hit while it had the run.
                        let hits = history.hits.iter().rev();
                        let hit = { hits }.find(|(who, at)| *who == before && *at >= since && *at <= placed.at);
                        if let Some((_, at)) = hit {
                            let (in_all, lay) = (until(*at, placed.at), history.lay(*at, placed.at));
                            if lay > Duration::from_secs(LEASE + 2) {
                                eprintln!(
                                    "run {} lay for {in_all:.1?}, {lay:.1?} of it needlessly, until {}",
                                    client.run, placed.at
                                );
                            }
                            self.recoveries.push((in_all, lay));
                            if history.hit_one_worker(*at, placed.at) {
                                self.alone.push(in_all);
                            }
                        }
                    }
                }
                // To a parked run nobody comes because its worker was hit.
                RecordBody::Parked { .. } => owner = None,
                _ => {}
            }
        }
        let mut asked: HashSet<&str> = HashSet::new();
        for request in requests {
            if done.get(request.effect.as_str()).is_some_and(|at| *at < request.at) {
                self.repeated += 1;
                eprintln!(
                    "run {}: {} was asked for at {}, and done at {}",
                    client.run,
                    request.effect,
                    request.at,
                    done[request.effect.as_str()]
                );
            }
            self.cut_off += usize::from(!asked.insert(&request.effect));
        }
        let said = records.iter().filter_map(|placed| placed.record.message());
        let text: String = said.map(|message| serde_json::to_string(message).unwrap()).collect();
        let answered = serde_json::to_string(&records.iter().map(|placed| &placed.record).collect::<Vec<_>>()).unwrap();
        if let Some(word) = client.accepted.iter().find(|word| !answered.contains(word.as_str())) {
            self.lost += 1;
            eprintln!("run {} lost the answer {word:?}: {text}", client.run);
        }
    }

    /// What must all be nothing.
    pub fn counts(&self) -> [usize; 5] {
        [self.lost, self.crossed, self.gaps, self.repeated, self.asked_twice]
    }

    fn print(&self, runs: usize, history: &History) {
        let blows: Vec<String> = history.blows.iter().map(|(blow, times)| format!("{blow:?} {times}")).collect();
        eprintln!("chaos: {runs} runs; {}", blows.join(", "));
        eprintln!("runs or answers lost            {}", self.lost);
        eprintln!("messages crossed                {}", self.crossed);
        eprintln!("gaps or doubles in a view       {}", self.gaps);
        eprintln!("finished model calls repeated   {}", self.repeated);
        eprintln!("questions asked twice           {}", self.asked_twice);
        eprintln!("(cut off and asked again        {})", self.cut_off);
        let (in_all, lay): (Vec<_>, Vec<_>) = self.recoveries.iter().copied().unzip();
        eprintln!("recovery of {} runs, lease {LEASE} s: {}", lay.len(), shares(lay));
        eprintln!("(with the time without a NATS server or any worker: {})", shares(in_all));
        let alone = self.alone.clone();
        eprintln!("(of {} whose worker was all that was hit: {})", alone.len(), shares(alone));
    }
}

fn shares(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or_default();
    format!("p50 {:.1?}, p99 {:.1?}, longest {:.1?}", at(50), at(99), times.last().copied().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chaos_loses_nothing() {
    let (runs, seconds) = (number("CHAOS_RUNS", 40), number("CHAOS_SECONDS", 30));
    let seed = number("CHAOS_SEED", rand::rng().next_u32().into());
    eprintln!("CHAOS_SEED={seed}");
    let Some(mut nats) = NatsServer::start("chaos::chaos_loses_nothing") else { return };
    let model = SlowModel::start(|| Duration::from_millis(rand::rng().random_range(200..1500))).await;
    let ports = [free_port(), free_port()];
    let config = format!(
        "version: 1\nnats: {{ url: '{}' }}\nllms: {{ default: {{ provider: compatible, model: slow, base_url: '{}' }} }}\n\
         worker: {{ lease: {LEASE}s, park_after: 2s }}\nshutdown_grace: 5s\n",
        nats.url(),
        model.url
    );
    let project = Project::new(&config, &[("mixed.yaml", WORKFLOW)]);
    let mut workers: Vec<Tier> = (0..2).map(|one| project.start(&format!("worker{one}"), &["worker"])).collect();
    let start_gateway =
        |one: usize| project.start(&format!("gateway{one}"), &["gateway", "--port", &ports[one].to_string()]);
    let mut gateways: Vec<Tier> = (0..2).map(start_gateway).collect();
    for worker in &workers {
        worker.says("worker ready").await;
    }
    for gateway in &gateways {
        gateway.says("gateway: http").await;
    }
    let broker = nats.broker().await;
    let everything = Arc::new(Everything {
        gateways: Gateways::new(ports.map(|port| format!("http://127.0.0.1:{port}"))),
        broker,
        history: Mutex::default(),
    });

    let end = Instant::now() + Duration::from_secs(seconds);
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..runs as usize {
        let everything = everything.clone();
        let begin = Duration::from_millis(seconds * 700 * number as u64 / runs);
        clients.spawn(async move {
            tokio::time::sleep(begin).await;
            converse(everything, number, seed, (seconds / 3).max(2)).await
        });
    }
    strike(&everything, &mut workers, &mut gateways, &mut nats, seed, end).await;
    let mut finished = Vec::new();
    let calm = tokio::time::sleep(CALM);
    tokio::pin!(calm);
    loop {
        tokio::select! {
            client = clients.join_next() => match client {
                Some(client) => finished.push(client.expect("a client ends")),
                None => break,
            },
            () = &mut calm => break,
        }
    }

    let mut verdict = Verdict { lost: runs as usize - finished.len(), ..Verdict::default() };
    let asked = model.asked();
    let history = everything.history.lock().unwrap().clone();
    for client in &finished {
        let shown: Vec<u64> =
            everything.gateways.history(&client.run).await.iter().filter_map(|event| event.id).collect();
        let records = run::read(&everything.broker, RunId::parse(&client.run).unwrap(), 0).await.unwrap();
        let requests: Vec<&Asked> = asked.iter().filter(|asked| asked.run == client.run).collect();
        verdict.judge(client, &shown, &records, &requests, &history);
    }
    verdict.print(runs as usize, &history);
    assert_eq!(verdict.counts(), [0; 5], "CHAOS_SEED={seed}");
    // What was not struck was not tested.
    assert_eq!(history.blows.len(), KINDS, "{:?}", history.blows);
}
