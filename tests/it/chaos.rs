//! Two workers, two gateways, one NATS server, all real processes; runs with model calls, questions that are answered late,
//! waits and parallel branches; and meanwhile workers, gateways and the server are killed and stopped at random. At the end
//! the logs, the clients' views and the model's own notes must agree.
//!
//! `scripts/chaos.sh` is the long form: 500 runs, three minutes.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastagency::broker::Broker;
use fastagency::clock::{Clock, SystemClock, Timestamp, until};
use fastagency::ids::RunId;
use fastagency::run;
use fastagency::run::record::{Body, Ending, Placed};
use rand::{Rng, RngExt, SeedableRng};
use serde_json::json;
use tokio::time::Instant;

use crate::support::http::Gateways;
use crate::support::nats_server::NatsServer;
use crate::support::project::{Project, Tier, free_port};
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
    /// What was killed or stopped, and when: a worker by its id.
    blows: Mutex<Vec<(String, Timestamp)>>,
    kills: AtomicUsize,
}

/// A run as its client knows it.
struct Client {
    run: String,
    tag: String,
    seen: Vec<u64>,
    ended: bool,
    crossed: usize,
    accepted: Vec<String>,
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
                // Whatever names a tag must name this run's.
                let text = event.data.to_string();
                let foreign = text.split("tag").skip(1).filter(|rest| {
                    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
                    !digits.is_empty() && rest[digits.len()..].starts_with('x') && digits != number.to_string()
                });
                client.crossed += foreign.count();
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
    while Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(random.random_range(800..2500))).await;
        let one = random.random_range(0..2);
        match random.random_range(0..10) {
            0..4 => {
                everything.hit(&workers[one]);
                workers[one].kill();
                tokio::time::sleep(Duration::from_millis(random.random_range(0..1500))).await;
                workers[one].start();
            }
            4..6 => {
                everything.hit(&workers[one]);
                workers[one].signal("STOP");
                tokio::time::sleep(Duration::from_millis(random.random_range(200..LEASE * 2000))).await;
                workers[one].signal("CONT");
            }
            6..8 => {
                gateways[one].kill();
                tokio::time::sleep(Duration::from_millis(random.random_range(0..800))).await;
                gateways[one].start();
            }
            8 => {
                workers[one].terminate().await;
                workers[one].start();
            }
            _ => {
                nats.kill();
                tokio::time::sleep(Duration::from_millis(random.random_range(100..3000))).await;
                nats.start_again();
            }
        }
    }
}

impl Everything {
    /// Notes that a worker is about to be hit.
    fn hit(&self, worker: &Tier) {
        self.kills.fetch_add(1, Ordering::Relaxed);
        let log = worker.log();
        // `worker ready: … worker.id=…`, of its last life.
        let Some(id) = log.lines().rev().find_map(|line| line.split("worker.id=").nth(1)) else { return };
        let id: String = id.chars().take_while(char::is_ascii_hexdigit).collect();
        self.blows.lock().unwrap().push((id, SystemClock.now()));
    }
}

/// The figures.
#[derive(Debug, Default)]
struct Verdict {
    lost: usize,
    crossed: usize,
    gaps: usize,
    repeated: usize,
    asked_twice: usize,
    /// Requests that were cut off and sent again.
    cut_off: usize,
    recoveries: Vec<Duration>,
}

impl Verdict {
    fn judge(
        &mut self,
        client: &Client,
        shown: &[u64],
        records: &[Placed],
        requests: &[&Asked],
        blows: &[(String, Timestamp)],
    ) {
        self.crossed += client.crossed;
        if client.seen != shown {
            self.gaps += 1;
            eprintln!("run {} was seen as {:?}, and is {shown:?}", client.run, client.seen);
        }
        match records.last().map(|last| &last.record.body) {
            Some(Body::Ended(ended)) if ended.outcome == Ending::Completed && ended.result == json!(client.tag) => {}
            other => {
                self.lost += 1;
                eprintln!("run {} was lost: {other:?}", client.run);
            }
        }
        let mut prompts = HashSet::new();
        let mut done: HashMap<&str, Timestamp> = HashMap::new();
        let mut owner: Option<(String, Timestamp)> = None;
        for placed in records {
            match &placed.record.body {
                Body::Said { message, .. } if message.says.asks() && !prompts.insert(message.says.prompt()) => {
                    self.asked_twice += 1;
                    eprintln!("run {} asked {:?} twice", client.run, message.says.prompt());
                }
                Body::Did { key, .. } if done.insert(key, placed.at).is_some() => {
                    self.repeated += 1;
                    eprintln!("run {} did {key} twice", client.run);
                }
                Body::Claimed { worker, .. } => {
                    let id = worker.to_string();
                    if let Some((before, since)) = owner.replace((id.clone(), placed.at))
                        && before != id
                    {
                        // Taken from a worker that was hit while it had the run.
                        let hit =
                            blows.iter().rev().find(|(who, at)| *who == before && *at >= since && *at <= placed.at);
                        self.recoveries.extend(hit.map(|(_, at)| until(*at, placed.at)));
                    }
                }
                // To a parked run nobody comes because its worker was hit.
                Body::Parked { .. } => owner = None,
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

    fn print(&mut self, runs: usize, kills: usize) {
        self.recoveries.sort();
        let at = |share: usize| self.recoveries.get(self.recoveries.len() * share / 100).copied().unwrap_or_default();
        eprintln!("chaos: {runs} runs, {kills} workers killed or stopped");
        eprintln!("runs or answers lost            {}", self.lost);
        eprintln!("messages crossed                {}", self.crossed);
        eprintln!("gaps or doubles in a view       {}", self.gaps);
        eprintln!("finished model calls repeated   {}", self.repeated);
        eprintln!("questions asked twice           {}", self.asked_twice);
        eprintln!("(cut off and asked again        {})", self.cut_off);
        eprintln!("recovery of {} runs: p50 {:.1?}, p99 {:.1?}", self.recoveries.len(), at(50), at(99));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chaos_loses_nothing() {
    let (runs, seconds) = (number("CHAOS_RUNS", 40), number("CHAOS_SECONDS", 20));
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
        blows: Mutex::default(),
        kills: AtomicUsize::new(0),
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
    let blows = everything.blows.lock().unwrap().clone();
    for client in &finished {
        let shown: Vec<u64> =
            everything.gateways.history(&client.run).await.iter().filter_map(|event| event.id).collect();
        let records = run::read(&everything.broker, RunId::parse(&client.run).unwrap(), 0).await.unwrap();
        let requests: Vec<&Asked> = asked.iter().filter(|asked| asked.run == client.run).collect();
        verdict.judge(client, &shown, &records, &requests, &blows);
    }
    verdict.print(runs as usize, everything.kills.load(Ordering::Relaxed));
    let figures = [verdict.lost, verdict.crossed, verdict.gaps, verdict.repeated, verdict.asked_twice];
    assert_eq!(figures, [0; 5], "CHAOS_SEED={seed}");
}
