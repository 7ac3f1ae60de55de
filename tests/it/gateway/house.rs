//! A gateway on a free port over an embedded broker, and a played worker.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastagency::auth::AdminLink;
use fastagency::broker::{self, Bell, Broker, Slot};
use fastagency::clock;
use fastagency::gateway;
use fastagency::ids::{MessageId, Name, RunId, WorkerId};
use fastagency::lifecycle::{End, Lifecycle, Shutdown};
use fastagency::message::{Content, Message, TextInput, check_answer, check_text_answer};
use fastagency::protocol::answer::{AnswerOutcome, AnswerRecord, AnswerValue};
use fastagency::protocol::effect_key::EffectKey;
use fastagency::run::answer::{Answer, Given};
use fastagency::run::claim::{self, Claim, Owned, Ready};
use fastagency::run::directory::{self, WorkerCard, WorkflowCard};
use fastagency::run::lease::Lease;
use fastagency::run::record::{Body, Ended, Ending, Outcome, Record, Usage, completed_message};
use fastagency::run::summary::Summary;
use futures_util::stream::BoxStream;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// Longer than anything here takes, on the slowest machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct House {
    pub broker: Broker,
    pub url: String,
    pub http: reqwest::Client,
    pub shutdown: Shutdown,
    /// What opens the audit where no one is asked who calls.
    pub admin: Arc<AdminLink>,
    life: tokio::task::JoinHandle<End>,
    _data: tempfile::TempDir,
}

pub type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

impl House {
    pub async fn start() -> Self {
        Self::with(|_| {}, |_| {}).await
    }

    /// A house whose broker and settings are changed before the gateway opens.
    pub async fn with(broker_too: impl FnOnce(&mut Broker), settings_too: impl FnOnce(&mut gateway::Settings)) -> Self {
        let data = tempfile::tempdir().expect("a folder");
        let mut broker = broker::embedded::open(data.path()).expect("a broker");
        broker_too(&mut broker);
        for (name, description, params) in workflows() {
            let card = WorkflowCard {
                name: Name::parse(name).unwrap(),
                title: None,
                description: Some(description.to_owned()),
                params,
                definition: format!("hash-of-{name}"),
                signed: None,
            };
            directory::announce(&broker, &card, b"{}".to_vec(), None).await.expect("announced");
        }
        Self::over(broker, data, settings_too).await
    }

    /// Another gateway over the same broker.
    pub async fn another(&self, settings_too: impl FnOnce(&mut gateway::Settings)) -> Self {
        Self::over(self.broker.clone(), tempfile::tempdir().expect("a folder"), settings_too).await
    }

    async fn over(broker: Broker, data: tempfile::TempDir, settings_too: impl FnOnce(&mut gateway::Settings)) -> Self {
        let mut settings = gateway::Settings { socket_linger: Duration::from_millis(300), ..Default::default() };
        let admin = Arc::new(AdminLink::new());
        settings.admin_link = Some(admin.clone());
        settings_too(&mut settings);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().unwrap());
        let lifecycle = Lifecycle::new(Duration::from_secs(5));
        let shutdown = lifecycle.shutdown();
        shutdown.spawn("gateway", gateway::serve(listener, broker.clone(), settings, shutdown.clone()));
        #[expect(clippy::disallowed_methods, reason = "a test waits for it in `end`")]
        let life = tokio::spawn(lifecycle.run());
        House { broker, url, http: client(), shutdown, admin, life, _data: data }
    }

    /// Ends the house; every task of it must end in time.
    pub async fn end(self) -> End {
        self.shutdown.begin();
        tokio::time::timeout(PATIENCE, self.life).await.expect("it ends").expect("no panic")
    }

    pub async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut call = self.http.request(method, format!("{}{path}", self.url)).timeout(PATIENCE);
        if ["/api/audit/", "/api/overview"].iter().any(|shown| path.starts_with(shown)) {
            call = call.bearer_auth(self.admin.token());
        }
        if let Some(body) = body {
            call = call.json(&body);
        }
        let answer = call.send().await.expect("an answer");
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        self.call("GET", path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.call("POST", path, Some(body)).await
    }

    /// Starts a run and returns its id.
    pub async fn started(&self, workflow: &str) -> RunId {
        let (status, run) = self.post("/api/runs", json!({"workflow": workflow})).await;
        assert_eq!(status, 201, "{run}");
        run_id(&run)
    }

    pub async fn socket(&self) -> Socket {
        socket(&self.url).await
    }

    /// The events of a run that are there, or until it ends.
    pub async fn events(&self, run: RunId, query: &str) -> Vec<Event> {
        let answer = self.http.get(format!("{}/api/runs/{run}/events{query}", self.url)).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let text = tokio::time::timeout(PATIENCE, answer.text()).await.expect("it ends").unwrap();
        text.split("\n\n").filter_map(Event::parse).collect()
    }
}

pub fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().expect("a client")
}

pub async fn socket(url: &str) -> Socket {
    let url = format!("{}/fastagency/ws", url.replace("http://", "ws://"));
    tokio_tungstenite::connect_async(url).await.expect("a socket").0
}

pub fn run_id(run: &Value) -> RunId {
    RunId::parse(run["id"].as_str().expect("an id")).expect("a run id")
}

fn workflows() -> Vec<(&'static str, &'static str, Option<Value>)> {
    let schema = json!({"type": "object", "required": ["topic"], "additionalProperties": false, "properties": {
        "topic": {"type": "string"}, "level": {"enum": ["easy", "hard"], "default": "easy"}}});
    vec![
        ("echo", "Echo one answer", None),
        ("boom", "Raises after one message", None),
        ("params", "Echoes its params", None),
        ("everything", "Every UI call once", None),
        ("lesson", "With parameters", Some(schema)),
    ]
}

/// One server-sent event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub name: String,
    pub id: Option<u64>,
    pub data: Value,
}

impl Event {
    pub fn parse(text: &str) -> Option<Self> {
        let fields: HashMap<&str, &str> = text.lines().filter_map(|line| line.split_once(": ")).collect();
        Some(Event {
            name: (*fields.get("event")?).to_owned(),
            id: fields.get("id").map(|id| id.parse().expect("a number")),
            data: serde_json::from_str(fields["data"]).expect("JSON"),
        })
    }
}

/// What a client hears on a socket: texts as JSON, and the close code at the end.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    Json(Value),
    Closed(u16),
    /// Without a word.
    Dropped,
}

pub async fn say(socket: &mut Socket, text: impl Into<String>) {
    socket.send(tungstenite::Message::Text(text.into().into())).await.expect("sent");
}

pub async fn hear(socket: &mut Socket) -> Heard {
    loop {
        let next = tokio::time::timeout(PATIENCE, socket.next()).await.expect("something is heard");
        match next {
            Some(Ok(tungstenite::Message::Text(text))) => {
                return Heard::Json(serde_json::from_str(&text).expect("JSON"));
            }
            Some(Ok(tungstenite::Message::Close(frame))) => {
                // The close is answered by reading on.
                let _ = tokio::time::timeout(Duration::from_secs(1), socket.next()).await;
                return Heard::Closed(frame.map_or(1005, |frame| frame.code.into()));
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Heard::Dropped,
        }
    }
}

pub async fn hear_json(socket: &mut Socket) -> Value {
    match hear(socket).await {
        Heard::Json(json) => json,
        other => panic!("heard {other:?}"),
    }
}

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
    pub async fn take(house: &House, run: RunId) -> Self {
        let broker = house.broker.clone();
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
        let known: HashMap<&str, &str> = workflows().into_iter().map(|(name, about, _)| (name, about)).collect();
        let describe = |created: fastagency::run::record::Created| {
            let description = known.get(created.workflow.as_str()).map(|about| (*about).to_owned());
            std::future::ready(Ok(Ready { description, with: () }))
        };
        let lease = Lease::new(card.id, Duration::from_secs(60), clock::system(), Lease::moment(&clock::SystemClock));
        for _ in 0..500 {
            match claim::claim(&broker, &lease, run, describe).await.unwrap() {
                Claim::Mine(owned, ()) => {
                    return Player { broker, run, owned: *owned, steps: 0, bell, told: HashMap::new() };
                }
                Claim::Nothing => tokio::time::sleep(Duration::from_millis(10)).await,
                Claim::Held { by } => panic!("{by} has it"),
                Claim::NotYet { .. } | Claim::Unfit { .. } => panic!("it cannot be taken"),
            }
        }
        panic!("run {run} was never created");
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

/// Runs something beside the test.
pub fn beside<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> tokio::task::JoinHandle<T> {
    #[expect(clippy::disallowed_methods, reason = "the test waits for it")]
    tokio::spawn(task)
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
