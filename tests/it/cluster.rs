//! A cluster of three NATS servers that hold everything three times: conversations go on while any one of them is away. Each of
//! the three is killed in turn, then the leader of each stream of ours.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fastagency::broker::{Broker, InboxUpdate, RecordLane, RunUpdate, nats};
use fastagency::config::NatsConfig;
use fastagency::ids::{Name, RunId};
use futures_util::StreamExt;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::support::client::{Heard, client, hear, say, socket};
use crate::support::eventually::{PATIENCE, eventually_within, soon};
use crate::support::http::{Event, Gateways};
use crate::support::nats_server::NatsServer;
use crate::support::ports::free_port;
use crate::support::project::Project;

const WORKFLOW: &str = r#"
version: 1
name: twice
steps:
  - id: first
    text_input: { prompt: First? }
  - id: second
    text_input: { prompt: Second? }
  - return: "{{ steps.first }} {{ steps.second }}"
"#;

/// How many questions a conversation has.
const QUESTIONS: u32 = 2;

/// How long after a kill somebody may wait: 99 of 100 conversations, and all of them.
const MOST_WAIT: Duration = Duration::from_secs(10);
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// Three servers that know each other, and nothing of logins.
struct NatsCluster {
    servers: Vec<NatsServer>,
    _folder: tempfile::TempDir,
}

impl NatsCluster {
    /// Three servers that have found each other.
    async fn start(test: &str) -> Option<Self> {
        let cluster = Self::launch(test)?;
        eventually_within(Duration::from_secs(60), "the servers have found each other", async || {
            cluster.ask("INFO").await
        })
        .await;
        Some(cluster)
    }

    /// The same with a broker that has made our streams, each with three copies.
    async fn start_with_broker(test: &str) -> Option<(Self, Broker)> {
        let cluster = Self::start(test).await?;
        let settings = NatsConfig { url: cluster.urls(), replicas: 3, ..NatsConfig::default() };
        let broker = nats::connect(&settings, "a test").await.expect("a broker");
        cluster.is_whole().await;
        Some((cluster, broker))
    }

    fn launch(test: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let routes: Vec<u16> = (0..3).map(|_| free_port()).collect();
        let all: Vec<String> = routes.iter().map(|port| format!("\"nats-route://127.0.0.1:{port}\"")).collect();
        let server = |(number, port): (usize, &u16)| {
            let path = folder.path().join(format!("n{number}.conf"));
            let text = format!(
                "server_name: n{number}\njetstream {{ max_file_store: 4GB, max_memory_store: 256MB }}\n\
                 cluster {{ name: test, listen: \"127.0.0.1:{port}\", routes: [{}] }}\n",
                all.join(", ")
            );
            std::fs::write(&path, text).unwrap();
            NatsServer::start_with(test, &["-c", path.to_str().unwrap()])
        };
        let servers = routes.iter().enumerate().map(server).collect::<Option<Vec<_>>>()?;
        Some(Self { servers, _folder: folder })
    }

    fn urls(&self) -> String {
        self.servers.iter().map(NatsServer::url).collect::<Vec<_>>().join(",")
    }

    /// A call of JetStream's API over a server that is there.
    async fn ask(&self, call: &str) -> Option<Value> {
        let urls: Vec<String> = self.servers.iter().map(NatsServer::url).collect();
        let client = async_nats::connect(urls.as_slice()).await.ok()?;
        let asked = client.request(format!("$JS.API.{call}"), "".into());
        let answer = tokio::time::timeout(Duration::from_secs(2), asked).await.ok()?.ok()?;
        let answer: Value = serde_json::from_slice(&answer.payload).ok()?;
        answer.get("error").is_none().then_some(answer)
    }

    /// The streams of ours, which have three copies.
    async fn streams(&self) -> Option<Vec<Value>> {
        let streams = self.ask("STREAM.LIST").await?["streams"].as_array()?.clone();
        Some(streams.into_iter().filter(|stream| stream["config"]["num_replicas"] == 3).collect())
    }

    /// The streams of ours that a server leads.
    async fn led_by(&self, server: usize) -> Vec<String> {
        let streams = self.streams().await.unwrap_or_default();
        let is_led = |stream: &&Value| stream["cluster"]["leader"] == format!("n{server}");
        streams.iter().filter(is_led).filter_map(|stream| Some(stream["config"]["name"].as_str()?.to_owned())).collect()
    }

    /// Who leads a stream.
    async fn leader(&self, stream: &str) -> usize {
        eventually_within(Duration::from_secs(60), "a stream has a leader", async || {
            let leader = self.ask(&format!("STREAM.INFO.{stream}")).await?["cluster"]["leader"].as_str()?.to_owned();
            leader.strip_prefix('n')?.parse().ok()
        })
        .await
    }

    /// Waits until every copy of ours is up to date.
    async fn is_whole(&self) {
        eventually_within(Duration::from_secs(90), "all copies are up to date", async || {
            let streams = self.streams().await?;
            let is_current = |stream: &Value| {
                let copies = stream["cluster"]["replicas"].as_array();
                copies.is_some_and(|copies| copies.len() == 2 && copies.iter().all(|copy| copy["current"] == true))
            };
            (!streams.is_empty() && streams.iter().all(is_current)).then_some(())
        })
        .await;
    }
}

/// What the conversations of one kind met.
#[derive(Default)]
struct Outcome {
    /// How long each took, without what its person thought.
    times: Vec<Duration>,
    wrong: Vec<String>,
}

struct Load {
    gateways: Gateways,
    urls: Vec<String>,
    /// How long a person thinks over a question, and looks away between two looks at a run.
    thinks: Duration,
    looks_each: Duration,
    is_over: AtomicBool,
    number: AtomicUsize,
    outcomes: [Mutex<Outcome>; KINDS.len()],
    /// The conversations that are held now: their kind and their run, once it is known.
    open: Mutex<BTreeMap<usize, (&'static str, Option<String>)>>,
}

const KINDS: [&str; 4] = ["events", "socket", "page", "requests"];

impl Load {
    async fn lane(self: Arc<Self>, kind: usize) {
        while !self.is_over.load(Ordering::Relaxed) {
            let number = self.number.fetch_add(1, Ordering::Relaxed);
            let begun = Instant::now();
            self.open.lock().insert(number, (KINDS[kind], None));
            let said = match kind {
                0 => self.over_events(number, false).await,
                1 => self.over_socket(number).await,
                2 => self.over_events(number, true).await,
                _ => self.over_requests(number).await,
            };
            if said.is_err() {
                self.print(number).await;
            }
            self.open.lock().remove(&number);
            let mut outcome = self.outcomes[kind].lock();
            outcome.times.push(begun.elapsed().saturating_sub(self.thinks * QUESTIONS));
            outcome.wrong.extend(said.err());
        }
    }

    fn has_run(&self, number: usize, run: &str) {
        if let Some((_, known)) = self.open.lock().get_mut(&number) {
            *known = Some(run.to_owned());
        }
    }

    /// Prints what the gateways say of a conversation that went wrong, or has not ended.
    async fn print(&self, number: usize) {
        let Some((kind, run)) = self.open.lock().get(&number).cloned() else { return };
        eprintln!("{} conversation {number} over {kind}: {run:?}", jiff::Timestamp::now());
        let Some(run) = run else { return };
        for url in &self.urls {
            let asked = client().get(format!("{url}/api/runs/{run}")).timeout(Duration::from_secs(5));
            let said = match asked.send().await {
                Ok(response) => response.text().await.unwrap_or_default(),
                Err(error) => error.to_string(),
            };
            eprintln!("  {url}: {said}");
        }
    }

    fn key(number: usize) -> String {
        format!("conversation-{number}")
    }

    /// Starts, follows, answers what is asked; each record comes once and in order.
    async fn over_events(&self, number: usize, as_a_page: bool) -> Result<(), String> {
        let run = self.gateways.start("twice", json!({}), &Self::key(number)).await;
        self.has_run(number, &run);
        let begun = Instant::now();
        let (mut last, mut asked, mut result) = (0, BTreeSet::new(), None);
        let mut attempt = number;
        while result.is_none() && begun.elapsed() < Duration::from_secs(60) {
            let mut open = None;
            let mut wrong = None;
            let before = last;
            let take = |event: Event| {
                if event.name != "record" {
                    return event.name != "goodbye" && event.name != "error";
                }
                if event.id.is_some_and(|seq| seq <= last && last > 0) {
                    wrong = Some(format!("{run}: record {:?} came after {last}", event.id));
                }
                last = event.id.unwrap_or(last);
                if event.data["message"]["type"] == "text_input" {
                    let id = event.data["message"]["uuid"].as_str().unwrap_or_default().to_owned();
                    open = asked.insert(id.clone()).then_some(id);
                }
                if event.data["kind"] == "ended" {
                    result = Some(event.data["result"].clone());
                }
                open.is_none() && result.is_none()
            };
            if as_a_page {
                self.gateways.follow_as_a_page(attempt, &run, before, take).await;
            } else {
                self.gateways.follow(attempt, &run, before, take).await;
            }
            if let Some(wrong) = wrong {
                return Err(wrong);
            }
            if let Some(question) = open {
                tokio::time::sleep(self.thinks).await;
                let value = format!("{number}-{}", asked.len());
                self.gateways.answer(&run, &question, &value).await;
            }
            attempt += 1;
        }
        expected(number, result)
    }

    /// As FastAgency's clients do, over a socket; one that breaks is opened again.
    async fn over_socket(&self, number: usize) -> Result<(), String> {
        let run = uuid::Uuid::new_v4().simple().to_string();
        self.has_run(number, &run);
        let begun = Instant::now();
        let mut attempt = number;
        while begun.elapsed() < Duration::from_secs(60) {
            attempt += 1;
            let mut socket = socket(&self.urls[attempt % self.urls.len()]).await;
            let start = json!({"name": "twice", "workflow_uuid": run, "user_id": null, "params": {}});
            say(&mut socket, start.to_string()).await;
            let mut asked = 0;
            loop {
                match hear(&mut socket).await {
                    Heard::Json(frame) if frame["workflow_uuid"] != json!(run) && !frame["workflow_uuid"].is_null() => {
                        return Err(format!("{run}: heard {}", frame["workflow_uuid"]));
                    }
                    Heard::Json(frame) if frame["type"] == "text_input" => {
                        asked += 1;
                        tokio::time::sleep(self.thinks).await;
                        say(&mut socket, format!("{number}-{asked}")).await;
                    }
                    Heard::Json(frame) if frame["type"] == "workflow_completed" => {
                        return expected(number, Some(frame["content"]["result"].clone()));
                    }
                    Heard::Json(_) => {}
                    Heard::Closed(_) | Heard::Dropped => break,
                }
            }
        }
        expected(number, None)
    }

    /// As scripts do: one request after the other.
    async fn over_requests(&self, number: usize) -> Result<(), String> {
        let run = self.gateways.start("twice", json!({}), &Self::key(number)).await;
        self.has_run(number, &run);
        let begun = Instant::now();
        let mut answered = BTreeSet::new();
        while begun.elapsed() < Duration::from_secs(60) {
            let (status, view) = self.gateways.call("GET", &format!("/api/runs/{run}"), None, None).await;
            if status != 200 {
                return Err(format!("{run}: {status} {view}"));
            }
            if view["state"] == "ended" {
                let ended = self.gateways.history(&run).await;
                let result = ended.iter().find(|event| event.data["kind"] == "ended");
                let seqs: Vec<u64> = ended.iter().filter_map(|event| event.id).collect();
                if seqs.windows(2).any(|pair| pair[1] <= pair[0]) {
                    return Err(format!("{run}: {seqs:?}"));
                }
                return expected(number, result.map(|event| event.data["result"].clone()));
            }
            if let Some(question) = view["question"]["id"].as_str()
                && !answered.contains(question)
            {
                let value = format!("{number}-{}", answered.len() + 1);
                answered.insert(question.to_owned());
                tokio::time::sleep(self.thinks).await;
                self.gateways.answer(&run, question, &value).await;
            }
            tokio::time::sleep(self.looks_each).await;
        }
        expected(number, None)
    }
}

/// As servers do one after the other while they are upgraded: each gives its streams away before it ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_stored_while_its_stream_chooses_another_leader() {
    const NAME: &str = "cluster::a_record_is_stored_while_its_stream_chooses_another_leader";
    let Some((cluster, broker)) = NatsCluster::start_with_broker(NAME).await else { return };
    let mut failed = Vec::new();
    for _ in 0..20 {
        let run = RunId::random();
        cluster.leader("FA_RUNS").await;
        cluster.ask("STREAM.LEADER.STEPDOWN.FA_RUNS").await;
        let stored = broker.log.append(run, RecordLane::Did, "{}".into(), 0).await;
        failed.extend(stored.err().map(|error| fastagency::problem::chain(&error)));
    }
    // A leader that steps down with a record in its hands may never answer for it: whether that one is stored is for its reader to see.
    failed.retain(|said| !said.contains("did not answer in time"));
    assert!(failed.is_empty(), "{} of 20 failed: {}", failed.len(), failed[0]);
}

/// What a leader republished when it was lost may have come to nobody, though each listener's own connection stands.
#[tokio::test(flavor = "multi_thread")]
async fn who_follows_a_run_reads_it_again_once_its_stream_has_another_leader() {
    const NAME: &str = "cluster::who_follows_a_run_reads_it_again_once_its_stream_has_another_leader";
    let Some((cluster, broker)) = NatsCluster::start_with_broker(NAME).await else { return };
    let run = broker.log.new_run_id();
    let mut followed = broker.log.follow(run).await.expect("it is heard");
    let mut inbox = broker.inbox.subscribe(run).await.expect("it is heard");
    let first = broker.log.append(run, RecordLane::Did, "{}".into(), 0).await.expect("stored");
    let heard = soon(followed.next()).await;
    assert!(matches!(&heard, Some(RunUpdate::Record { stored, .. }) if stored.seq == first), "{heard:?}");
    assert!(broker.log.heard(run).is_some());
    cluster.ask("STREAM.LEADER.STEPDOWN.FA_RUNS").await;
    let heard = soon(followed.next()).await;
    assert!(matches!(heard, Some(RunUpdate::Gap)), "{heard:?}");
    let heard = soon(inbox.next()).await;
    assert!(matches!(heard, Some(InboxUpdate::Gap)), "{heard:?}");
    assert!(broker.log.heard(run).is_none(), "what was heard may not be all");
}

/// The leader knows what is on its way by the text of the expected subject: two who start a run under one id must name the same one. And
/// what has just been stored is found by everybody, whichever server they ask.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_a_run_s_job_is_stored_once_and_found_from_every_server() {
    const NAME: &str = "cluster::a_record_that_is_a_run_s_job_is_stored_once_and_found_from_every_server";
    let Some(cluster) = NatsCluster::start(NAME).await else { return };
    let brokers = cluster.servers.iter().map(|server| async move {
        let settings = NatsConfig { url: server.url(), replicas: 3, ..NatsConfig::default() };
        nats::connect(&settings, "a test").await.expect("a broker").log
    });
    let logs = futures_util::future::join_all(brokers).await;
    cluster.is_whole().await;
    let (one, other) = (Name::parse("one").unwrap(), Name::parse("other").unwrap());
    for _ in 0..30 {
        let run = RunId::random();
        let (a, b, c) = tokio::join!(
            logs[0].create(run, &one, "{}".into()),
            logs[1].create(run, &other, "{}".into()),
            logs[2].append(run, RecordLane::Did, "{}".into(), 0)
        );
        let stored: Vec<u64> = [&a, &b, &c].into_iter().filter_map(|outcome| outcome.as_ref().ok().copied()).collect();
        let [seq] = stored[..] else { panic!("{a:?} {b:?} {c:?}") };
        for log in &logs {
            let last = log.last(run).await.unwrap().map(|last| last.seq);
            let did = log.last_did(run).await.unwrap().map(|last| last.seq);
            let first = log.first(run).await.unwrap().map(|first| first.seq);
            let read: Vec<u64> = log.read(run, 0).await.unwrap().iter().map(|stored| stored.seq).collect();
            let new: Vec<u64> = log.read_new(run).await.unwrap().iter().map(|stored| stored.seq).collect();
            assert_eq!((last, did, first, read, new), (Some(seq), Some(seq), Some(seq), vec![seq], vec![seq]));
        }
        let said = logs[0].append(run, RecordLane::Said, "{}".into(), seq).await.unwrap();
        let did = logs[1].append(run, RecordLane::Did, "{}".into(), said).await.unwrap();
        for log in &logs {
            assert_eq!(log.first(run).await.unwrap().unwrap().seq, seq);
            let read: Vec<u64> = log.read(run, 0).await.unwrap().iter().map(|stored| stored.seq).collect();
            assert_eq!(read, [seq, said, did]);
        }
        let nobody = RunId::random();
        assert!(logs[0].last(nobody).await.unwrap().is_none() && logs[0].first(nobody).await.unwrap().is_none());
    }
}

fn expected(number: usize, result: Option<Value>) -> Result<(), String> {
    let wanted = json!(format!("{number}-1 {number}-2"));
    match result {
        Some(result) if result == wanted => Ok(()),
        other => Err(format!("conversation {number} ended with {other:?}")),
    }
}

/// 100 conversations of each kind at once. A person thinks over each question, so that a program which was built for tests keeps up;
/// with CLUSTER_CONVERSATIONS nobody thinks, and the leader of each stream is killed for that stream alone.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "it takes the whole machine: scripts/test.sh runs it after the others"]
async fn conversations_go_on_while_any_one_server_is_away() {
    const NAME: &str = "cluster::conversations_go_on_while_any_one_server_is_away";
    let lanes = std::env::var("CLUSTER_CONVERSATIONS").ok().and_then(|value| value.parse().ok());
    let is_long = lanes.is_some();
    let lanes: usize = lanes.unwrap_or(100);
    let Some(mut cluster) = NatsCluster::start(NAME).await else { return };
    let config = format!("version: 1\nname: cluster\nnats: {{ url: \"{}\", replicas: 3 }}\n", cluster.urls());
    let project = Project::new(&config, &[("twice.yaml", WORKFLOW)]);
    let ports = [free_port(), free_port()];
    let mut tiers = Vec::new();
    for number in 1..=2 {
        tiers.push(project.start(&format!("worker{number}"), &["worker"]));
        tiers.last().unwrap().says("worker ready").await;
    }
    let mut urls = Vec::new();
    for (number, port) in (1..).zip(ports) {
        let gateway = project.start(&format!("gateway{number}"), &["gateway", "--port", &port.to_string()]);
        gateway.says("gateway").await;
        tiers.push(gateway);
        urls.push(format!("http://127.0.0.1:{port}"));
    }
    let load = Arc::new(Load {
        gateways: Gateways::new(urls.clone()),
        urls,
        thinks: if is_long { Duration::ZERO } else { Duration::from_secs(4) },
        looks_each: Duration::from_millis(if is_long { 50 } else { 1000 }),
        is_over: AtomicBool::new(false),
        number: AtomicUsize::new(0),
        outcomes: Default::default(),
        open: Mutex::default(),
    });
    let running: Vec<_> = (0..KINDS.len())
        .flat_map(|kind| (0..lanes).map(move |_| kind))
        .map(|kind| tokio::spawn(load.clone().lane(kind)))
        .collect();
    let mut kills: Vec<(String, usize)> = (0..3).map(|number| (format!("server n{number}"), number)).collect();
    cluster.is_whole().await;
    let mut streams: BTreeSet<String> = BTreeSet::new();
    for number in 0..3 {
        streams.extend(cluster.led_by(number).await);
    }
    assert!(streams.contains("FA_RUNS"), "{streams:?}");
    loop {
        let (what, number) = match kills.pop() {
            Some(kill) => kill,
            None => match streams.pop_first() {
                Some(stream) => {
                    let leader = cluster.leader(&stream).await;
                    (format!("the leader of {stream}"), leader)
                }
                None => break,
            },
        };
        if !is_long {
            let led = cluster.led_by(number).await;
            streams.retain(|stream| !led.contains(stream));
        }
        let before = load.outcomes.iter().map(|outcome| outcome.lock().times.len()).collect::<Vec<_>>();
        cluster.servers[number].kill();
        let killed = Instant::now();
        // As many of each kind as there are at once begin and end while it is away, or have waited for it.
        eventually_within(LONGEST_WAIT * 2, &format!("conversations go on without {what}"), async || {
            let now = load.outcomes.iter().map(|outcome| outcome.lock().times.len());
            now.zip(&before).all(|(now, before)| now >= before + 2 * lanes).then_some(())
        })
        .await;
        eprintln!("{what}: all went on within {:?}", killed.elapsed());
        cluster.servers[number].start_again();
        cluster.is_whole().await;
    }
    load.is_over.store(true, Ordering::Relaxed);
    let ended = tokio::time::timeout(PATIENCE, futures_util::future::try_join_all(running)).await;
    if ended.is_err() {
        let open: Vec<usize> = load.open.lock().keys().copied().collect();
        for number in open {
            load.print(number).await;
        }
        for tier in &tiers {
            eprintln!("{}", tier.log());
        }
    }
    ended.expect("every conversation ends").unwrap();
    let mut all = Vec::new();
    for (kind, outcome) in KINDS.iter().zip(&load.outcomes) {
        let mut outcome = outcome.lock();
        assert!(outcome.wrong.is_empty(), "{kind}: {} wrong, the first: {}", outcome.wrong.len(), outcome.wrong[0]);
        all.append(&mut outcome.times);
    }
    all.sort_unstable();
    let most = all[(all.len() * 99 / 100).min(all.len() - 1)];
    let longest = *all.last().unwrap();
    eprintln!("{} conversations, 99 of 100 within {most:?}, all within {longest:?}", all.len());
    // A program that was built for tests is given half as long again; and of few conversations, a third meet a kill.
    let (most_wait, longest_wait) =
        if is_long { (MOST_WAIT, LONGEST_WAIT) } else { (MOST_WAIT * 3 / 2, LONGEST_WAIT * 3 / 2) };
    assert!(most <= most_wait, "99 of 100 within {most:?}");
    assert!(longest <= longest_wait, "all within {longest:?}");
}
