//! Many runs that wait for a person, out of memory, and many of them answered at once.
//!
//! `scripts/parked.sh` is the long form: 10 000 runs, 1 000 woken at once, with figures.

use std::time::{Duration, Instant};

use fastagency::broker::{Broker, ScannedItem};
use fastagency::ids::{MessageId, RunId};
use fastagency::run::assembler::RecordAssembler;
use fastagency::run::attach::{FollowedEvent, attach};
use fastagency::run::record::RecordBody;
use futures_util::StreamExt;
use serde_json::json;

use crate::support::deployment::Deployment;
use crate::support::eventually::eventually_within;
use crate::support::nats_server::NatsServer;
use crate::support::project::Tier;

const ECHO: &str = r#"
version: 1
name: echo
steps:
  - id: word
    text_input: { prompt: "Well?" }
  - message: "{{ steps.word }}"
  - return: "{{ steps.word }}"
"#;

/// Calls under way at once while runs are started.
const AT_ONCE: usize = 64;
/// What a worker whose runs are all parked may hold more than an idle one, in kB, and how long it may take to give it back.
const IDLE: u64 = 20 * 1024;
const SETTLES: Duration = Duration::from_secs(20);
/// Longer than ten thousand runs take.
const PATIENCE: Duration = Duration::from_secs(180);

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

/// The memory of a process in use, in kB.
fn resident(tier: &Tier) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", tier.pid())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Waits until so many runs are parked.
async fn parked(broker: &Broker, runs: usize) {
    eventually_within(PATIENCE, "all runs are parked", async || {
        let (mut parked, mut tour) = (0, broker.log.scan().await.unwrap());
        while let Some(sighting) = tour.next().await {
            // The last under each lane is met; a run's `parked` is the later one.
            if let ScannedItem::Record { run, stored } = sighting.unwrap()
                && let Ok(taken) = RecordAssembler::default().take(run, &stored)
                && let Some(placed) = taken.records.last()
            {
                parked += usize::from(matches!(placed.record.body, RecordBody::Parked { .. }));
            }
        }
        if parked >= runs { Ok(()) } else { Err(parked) }
    })
    .await;
}

/// The question of a run, and the sequence of its last record.
async fn open_question(broker: &Broker, run: &str) -> (RunId, MessageId, u64) {
    let run = RunId::parse(run).unwrap();
    let records = fastagency::run::read(broker, run, 0).await.unwrap();
    let asked = records.iter().filter_map(|placed| placed.record.message()).find(|message| message.says.asks());
    (run, asked.expect("a question").uuid, records.last().expect("a record").seq)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_parked_runs_cost_nothing_and_wake_when_they_are_answered() {
    let (runs, woken) = (number("PARKED_RUNS", 300), number("PARKED_WOKEN", 60));
    let Some(nats) = NatsServer::start("parked::many_parked_runs_cost_nothing") else { return };
    let deployment = Deployment::over(nats).worker("park_after: 1s").workflow(ECHO).start().await;
    let worker = deployment.worker("worker").await;
    let (broker, gateways) = (deployment.broker.clone(), deployment.gateways());
    let idle = resident(&worker);

    let begun = Instant::now();
    let started: Vec<String> = futures_util::stream::iter(0..runs)
        .map(|number| {
            let gateways = gateways.clone();
            async move { gateways.start("echo", json!({}), &format!("parked {number}")).await }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    parked(&broker, runs).await;
    let (took, with_all) = (begun.elapsed(), resident(&worker));
    let parked_at = Instant::now();
    let settled = eventually_within(SETTLES, "the worker gives memory back", async || {
        let now = resident(&worker);
        if now <= idle + IDLE { Ok(now) } else { Err(now) }
    })
    .await;
    let settled_in = parked_at.elapsed();

    let mut questions = Vec::new();
    for run in started.iter().take(woken) {
        questions.push(open_question(&broker, run).await);
    }
    let begin = tokio::sync::watch::Sender::new(false);
    let mut waking = tokio::task::JoinSet::new();
    let mut ready = Vec::new();
    for (run, question, last) in questions {
        let (broker, gateways, mut begun) = (broker.clone(), gateways.clone(), begin.subscribe());
        let (tell, here) = tokio::sync::oneshot::channel();
        ready.push(here);
        waking.spawn(async move {
            let mut following = attach(&broker, run, last).await.unwrap();
            let _ = tell.send(());
            begun.wait_for(|begun| *begun).await.unwrap();
            let answered = Instant::now();
            let next = async {
                loop {
                    match following.next().await.unwrap() {
                        Some(FollowedEvent::Record(placed)) if placed.record.message().is_some() => {
                            return answered.elapsed();
                        }
                        Some(_) => {}
                        None => panic!("it says something before it ends"),
                    }
                }
            };
            let (run, question) = (run.to_string(), question.to_string());
            let (accepted, took) = tokio::join!(gateways.answer(&run, &question, "hello"), next);
            assert!(accepted);
            took
        });
    }
    for here in ready {
        here.await.unwrap();
    }
    begin.send_replace(true);
    let mut took_each = tokio::time::timeout(PATIENCE, waking.join_all()).await.expect("all wake");
    took_each.sort();
    let at = |share: usize| took_each[(took_each.len() * share / 100).min(took_each.len() - 1)];
    eprintln!("{runs} runs started and parked in {took:.1?}");
    eprintln!(
        "worker's memory: {} MB idle before, {} MB when the last was parked, {} MB {settled_in:.1?} later",
        idle / 1024,
        with_all / 1024,
        settled / 1024
    );
    eprintln!(
        "{woken} answered at once: from the answer to the next message p50 {} ms, p99 {} ms",
        at(50).as_millis(),
        at(99).as_millis()
    );
    assert_eq!(took_each.len(), woken);
}
