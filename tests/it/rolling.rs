//! A rolling restart of every tier, one after the other, while clients start runs, watch them and answer: over events through the
//! page's tier and the gateways, and over FastAgency's socket. Real processes around a real NATS server.
//!
//! Nothing may be lost, repeated, shown twice or left out; whoever watches is told to come back; and a start fails only with
//! what a client tries again.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastagency::ids::{MessageId, RunId};
use fastagency::run;
use fastagency::run::record::{LogEntry, RecordBody};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::chaos::{Client, History, Verdict, crossed};
use crate::support::eventually::{eventually, soon};
use crate::support::http::Gateways;
use crate::support::nats_server::NatsServer;
use crate::support::ports::free_port;
use crate::support::project::{Project, Tier};
use crate::support::slow_model::SlowModel;

const WORKFLOW: &str = r#"
version: 1
name: talk
params: { type: object, properties: { tag: { type: string } }, required: [tag] }
agents:
  a: { system_message: You answer. }
steps:
  - text_input: { prompt: "First of {{ params.tag }}?" }
  - agent: { agent: a, message: "one of {{ params.tag }}" }
  - text_input: { prompt: "Second of {{ params.tag }}?" }
  - agent: { agent: a, message: "two of {{ params.tag }}" }
  - return: "{{ params.tag }}"
"#;

/// How long a tier may take to end.
const GRACE: Duration = Duration::from_secs(5);
/// Runs that end between two restarts.
const BETWEEN: usize = 6;
/// The pause before what failed is tried again.
const PAUSE: Duration = Duration::from_millis(100);

/// What everybody sees and counts.
struct Observations {
    /// The page's tier, and two gateways.
    urls: [String; 3],
    over: AtomicBool,
    number: AtomicUsize,
    ended: AtomicUsize,
    /// Streams and sockets that were told to come back.
    told: [AtomicUsize; 2],
    /// Those that ended without a word.
    dropped: Mutex<Vec<String>>,
    clients: Mutex<Vec<Client>>,
    views: Mutex<Vec<View>>,
}

/// What a client of FastAgency's socket was shown: the messages of each of its connections.
struct View {
    run: String,
    connections: Vec<Vec<String>>,
}

impl Observations {
    /// The number of a new run, and its tag.
    fn tag(&self) -> (usize, String) {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        (number, format!("tag{number}x"))
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn drop_noted(&self, what: String) {
        self.dropped.lock().unwrap().push(what);
    }

    /// A client of these, tried in turn.
    fn gateways(&self, which: &[usize]) -> Gateways {
        Gateways::new(which.iter().map(|one| self.urls[*one].clone()))
    }
}

/// Starts a run; what goes wrong must be what a client tries again.
async fn start(gateways: &Gateways, tag: &str) -> String {
    let body = json!({"workflow": "talk", "params": {"tag": tag}});
    let attempts = AtomicUsize::new(0);
    eventually("the run starts", async || {
        let attempt = attempts.fetch_add(1, Ordering::Relaxed);
        match gateways.try_call(attempt, "POST", "/api/runs", Some(tag), Some(&body)).await {
            Some((200 | 201, run)) => Ok(run["id"].as_str().expect("an id").to_owned()),
            away @ (None | Some((502 | 503, _))) => Err(away),
            Some((status, answer)) => panic!("a start failed with {status} {answer}"),
        }
    })
    .await
}

/// One conversation after the other over events, as the page has them: a stream that is opened again where it was.
async fn watch(deployment: Arc<Observations>, which: Vec<usize>) {
    let gateways = deployment.gateways(&which);
    while !deployment.is_over() {
        let (number, tag) = deployment.tag();
        let run = start(&gateways, &tag).await;
        let mut client = Client { run, tag, seen: Vec::new(), ended: false, crossed: 0, accepted: Vec::new() };
        follow(&deployment, &gateways, &mut client, number).await;
        deployment.clients.lock().unwrap().push(client);
        deployment.ended.fetch_add(1, Ordering::Relaxed);
    }
}

async fn follow(deployment: &Observations, gateways: &Gateways, client: &mut Client, number: usize) {
    let mut answers = tokio::task::JoinSet::new();
    for which in number.. {
        let after = client.seen.last().copied().unwrap_or(0);
        let run = client.run.clone();
        let (mut heard, mut goodbye) = (false, None);
        let take = |event: crate::support::http::Event| {
            heard = true;
            client.crossed += crossed(&event.data.to_string(), number);
            match event.name.as_str() {
                "goodbye" => goodbye = event.data["after"].as_u64(),
                "record" => {
                    client.seen.extend(event.id);
                    client.ended = event.data["kind"] == "ended";
                    let message = &event.data["message"];
                    if message["type"] == "text_input" {
                        let question = message["uuid"].as_str().unwrap().to_owned();
                        let word = format!("{} of {}", client.accepted.len(), client.tag);
                        client.accepted.push(word.clone());
                        let (gateways, run) = (gateways.clone(), run.clone());
                        answers.spawn(async move { gateways.answer(&run, &question, &word).await });
                    }
                }
                _ => {}
            }
            !client.ended
        };
        gateways.follow(which, &run, after, take).await;
        if client.ended {
            break;
        }
        match goodbye {
            Some(after) => {
                deployment.told[0].fetch_add(1, Ordering::Relaxed);
                assert_eq!(Some(after), client.seen.last().copied().or(Some(after)), "where to go on from");
            }
            None if heard => deployment.drop_noted(format!("the stream of {run} at {which}")),
            None => {}
        }
        tokio::time::sleep(PAUSE).await;
    }
    answers.join_all().await;
}

/// One conversation after the other over FastAgency's socket, each with the same first frame until it is over.
async fn talk(deployment: Arc<Observations>, which: Vec<usize>) {
    let mut turn = 0;
    while !deployment.is_over() {
        let (number, tag) = deployment.tag();
        let run = RunId::random();
        let first = json!({"workflow_uuid": run.dashed(), "name": "talk", "params": {"tag": tag}}).to_string();
        let mut view = View { run: run.to_string(), connections: Vec::new() };
        let mut client =
            Client { run: view.run.clone(), tag, seen: Vec::new(), ended: false, crossed: 0, accepted: Vec::new() };
        while !client.ended {
            let url = deployment.urls[which[turn % which.len()]].replace("http://", "ws://");
            turn += 1;
            if let Ok((socket, _)) = tokio_tungstenite::connect_async(format!("{url}/fastagency/ws")).await {
                view.connections.push(Vec::new());
                converse(&deployment, socket, &first, &mut client, &mut view, number).await;
            }
            if !client.ended {
                tokio::time::sleep(PAUSE).await;
            }
        }
        deployment.clients.lock().unwrap().push(client);
        deployment.views.lock().unwrap().push(view);
        deployment.ended.fetch_add(1, Ordering::Relaxed);
    }
}

async fn converse(
    deployment: &Observations,
    mut socket: tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>,
    first: &str,
    client: &mut Client,
    view: &mut View,
    number: usize,
) {
    let mut unheard = socket.send(Message::Text(first.into())).await.is_err();
    while !unheard {
        match soon(socket.next()).await {
            Some(Ok(Message::Text(text))) => {
                client.crossed += crossed(&text, number);
                let frame: Value = serde_json::from_str(&text).expect("JSON");
                assert_eq!(frame["workflow_uuid"], view.run, "{frame}");
                assert_ne!(frame["type"], "error", "{frame}");
                let uuid = frame["uuid"].as_str().expect("a uuid").to_owned();
                view.connections.last_mut().expect("a connection").push(uuid);
                if frame["type"] == "text_input" {
                    // The same words again if it cannot be known whether they were heard.
                    let word =
                        format!("an answer to {} of {}", frame["content"]["prompt"], client.tag).replace('"', "");
                    unheard = socket.send(Message::Text(word.clone().into())).await.is_err();
                    if !client.accepted.contains(&word) {
                        client.accepted.push(word);
                    }
                }
                if frame["type"] == "workflow_completed" {
                    client.ended = true;
                    let _ = socket.close(None).await;
                    return;
                }
            }
            Some(Ok(Message::Close(Some(frame)))) => {
                assert_eq!(u16::from(frame.code), 1012, "{frame:?}");
                deployment.told[1].fetch_add(1, Ordering::Relaxed);
                // The close is answered by reading on.
                while let Some(Ok(_)) = socket.next().await {}
                return;
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => unheard = true,
        }
    }
    deployment.drop_noted(format!("a socket of {}: {:?}", view.run, view.connections.last()));
}

impl View {
    /// Whether each connection was shown the run's messages from the first one on, without a gap or a double; the answers of
    /// the past stand between them.
    fn is_whole(&self, log: &[LogEntry]) -> bool {
        let run = RunId::parse(&self.run).unwrap();
        let messages: Vec<MessageId> =
            log.iter().filter_map(|placed| placed.record.message()).map(|message| message.uuid).collect();
        let answers: Vec<String> = messages
            .iter()
            .map(|question| run.derive::<MessageId>(&format!("answer/{question}")).to_string())
            .collect();
        let messages: Vec<String> = messages.iter().map(ToString::to_string).collect();
        let shown = |connection: &Vec<String>| -> Vec<String> {
            connection.iter().filter(|uuid| !answers.contains(uuid)).cloned().collect()
        };
        self.connections.iter().all(|connection| messages.starts_with(&shown(connection)))
            && self.connections.last().is_some_and(|last| shown(last) == messages)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_tier_is_restarted_while_everybody_talks_and_nobody_notices_more_than_a_pause() {
    let Some(nats) = NatsServer::start("rolling::every_tier_is_restarted") else { return };
    let model = SlowModel::start(|| Duration::from_millis(400)).await;
    let config = format!(
        "version: 1\nnats: {{ url: '{}' }}\nllms: {{ default: {{ provider: compatible, model: slow, base_url: '{}' }} }}\n\
         worker: {{ lease: 3s, park_after: 1s }}\nshutdown_grace: {}s\n",
        nats.url(),
        model.url,
        GRACE.as_secs()
    );
    let project = Project::new(&config, &[("talk.yaml", WORKFLOW)]);
    let ports = [free_port(), free_port(), free_port()].map(|port| port.to_string());
    let urls = ports.clone().map(|port| format!("http://127.0.0.1:{port}"));
    let gateway = |one: usize| project.start(&format!("gateway{one}"), &["gateway", "--port", &ports[one]]);
    let mut tiers: Vec<(Tier, &str)> = vec![
        (project.start("worker1", &["worker"]), "worker ready"),
        (gateway(1), "gateway: http"),
        (project.start("ui", &["ui", "--port", &ports[0], "--gateway-url", &urls[1]]), "page: http"),
        (project.start("worker2", &["worker"]), "worker ready"),
        (gateway(2), "gateway: http"),
    ];
    for (tier, ready) in &tiers {
        tier.says(ready).await;
    }
    let deployment = Arc::new(Observations {
        urls,
        over: AtomicBool::new(false),
        number: AtomicUsize::new(0),
        ended: AtomicUsize::new(0),
        told: Default::default(),
        dropped: Mutex::default(),
        clients: Mutex::default(),
        views: Mutex::default(),
    });
    // One run waits, parked, all the while, and is watched through the page's tier.
    let (number, tag) = deployment.tag();
    let gateways = deployment.gateways(&[0]);
    let run = start(&gateways, &tag).await;
    let waiting = {
        let (deployment, gateways, run) = (deployment.clone(), gateways.clone(), run.clone());
        tokio::spawn(async move {
            let (mut seen, mut last) = (Vec::new(), Value::Null);
            while last["kind"] != "ended" {
                let after = seen.last().copied().unwrap_or(0);
                let (mut heard, mut goodbye) = (false, false);
                gateways
                    .follow(0, &run, after, |event| {
                        heard = true;
                        goodbye |= event.name == "goodbye";
                        seen.extend(event.id);
                        if event.name == "record" {
                            last = event.data;
                        }
                        last["kind"] != "ended"
                    })
                    .await;
                if heard && !goodbye && last["kind"] != "ended" {
                    deployment.drop_noted(format!("the stream of the waiting run {run}"));
                }
                tokio::time::sleep(PAUSE).await;
            }
            seen
        })
    };
    let mut clients = tokio::task::JoinSet::new();
    for which in [vec![0], vec![0], vec![1, 2], vec![2, 1]] {
        clients.spawn(watch(deployment.clone(), which));
    }
    for which in [vec![0], vec![1, 2], vec![0, 2]] {
        clients.spawn(talk(deployment.clone(), which));
    }
    for one in 0..=tiers.len() {
        let ended = deployment.ended.load(Ordering::Relaxed);
        eventually("some runs end", async || {
            deployment.ended.load(Ordering::Relaxed) >= ended + BETWEEN || clients.is_empty()
        })
        .await;
        let Some((tier, ready)) = tiers.get_mut(one) else { break };
        let (code, took) = tier.terminate().await;
        assert_eq!(code, Some(0), "{}", tier.log());
        assert!(took < GRACE, "{took:?}: {}", tier.log());
        tier.start();
        tier.says(ready).await;
    }
    deployment.over.store(true, Ordering::Relaxed);
    soon(clients.join_all()).await;
    let mut verdict = Verdict::default();
    for question in 0..2 {
        let open = eventually("the waiting run asks", async || {
            let history = gateways.history(&run).await;
            let asked = history.iter().filter(|event| event.data["message"]["type"] == "text_input");
            asked.map(|event| &event.data["message"]["uuid"]).nth(question).map(|id| id.as_str().unwrap().to_owned())
        });
        assert!(gateways.answer(&run, &open.await, &format!("{question} of {tag}")).await);
    }
    let seen = soon(waiting).await.unwrap();
    let accepted = vec![format!("0 of {tag}"), format!("1 of {tag}")];
    let crossed = 0;
    deployment.clients.lock().unwrap().push(Client { run, tag, seen, ended: true, crossed, accepted });
    assert_eq!(number, 0);

    let (broker, requests) = (nats.broker().await, model.asked());
    let (finished, views) = (
        std::mem::take(&mut *deployment.clients.lock().unwrap()),
        std::mem::take(&mut *deployment.views.lock().unwrap()),
    );
    for mut client in finished {
        let log = run::read(&broker, RunId::parse(&client.run).unwrap(), 0).await.unwrap();
        let shown: Vec<u64> = gateways.history(&client.run).await.iter().filter_map(|event| event.id).collect();
        if let Some(view) = views.iter().find(|view| view.run == client.run) {
            if !view.is_whole(&log) {
                verdict.gaps += 1;
                eprintln!("run {} was seen as {:#?}, and is {log:#?}", client.run, view.connections);
            }
            client.seen.clone_from(&shown);
        }
        let requests: Vec<_> = requests.iter().filter(|asked| asked.run == client.run).collect();
        verdict.judge(&client, &shown, &log, &requests, &History::default());
        assert!(matches!(log[0].record.body, RecordBody::Created(_)));
    }
    let told = deployment.told.each_ref().map(|count| count.load(Ordering::Relaxed));
    let runs = deployment.ended.load(Ordering::Relaxed);
    eprintln!(
        "rolling: {runs} runs, {} calls cut off, streams and sockets told to come back: {told:?}",
        verdict.cut_off
    );
    assert_eq!(verdict.counts(), [0; 5]);
    let dropped = deployment.dropped.lock().unwrap();
    assert!(dropped.is_empty(), "somebody was left without a word: {dropped:#?}");
    assert!(told.iter().all(|count| *count > 0), "{told:?}");
}
