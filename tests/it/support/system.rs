//! A system in the process of the test: a broker, and over it the tiers that the test asks for. Of real processes there is
//! `Deployment`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fastagency::auth::AdminLink;
use fastagency::broker::{self, Broker, Job, JobReason};
use fastagency::ids::{MessageId, Name, RunId};
use fastagency::lifecycle::{Lifecycle, LifecycleEnd, Shutdown};
use fastagency::model::ModelRegistry;
use fastagency::protocol::queue_name::QueueName;
use fastagency::run::answer::{AnswerAcceptance, AnswerPayload, SubmittedAnswer, answer, cancel};
use fastagency::run::attach::{AttachedFollower, FollowedEvent, attach};
use fastagency::run::directory::{self, WorkflowCard};
use fastagency::run::record::{LogEntry, RecordBody, RunOrigin, RunOutcome};
use fastagency::run::start::{RunStart, StartOutcome, start};
use fastagency::seal::Sealer;
use fastagency::workflow::{Workflow, WorkflowDefinition, from_definition};
use fastagency::{clock, config, gateway, worker};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

use super::client::{Socket, client, run_id, socket};
use super::eventually::{PATIENCE, soon};
use super::http::Event;

/// What a system is made of.
pub struct SystemBuilder {
    broker: Broker,
    data: Option<tempfile::TempDir>,
    gateway: Option<gateway::Settings>,
    worker: Option<worker::WorkerParts>,
}

pub struct System {
    pub broker: Broker,
    /// Where its gateway listens.
    pub url: String,
    pub http: reqwest::Client,
    /// What opens the audit where no one is asked who calls.
    pub admin: Arc<AdminLink>,
    pub shutdown: Shutdown,
    /// The workflow of its worker.
    workflow: Option<Workflow>,
    life: tokio::task::JoinHandle<LifecycleEnd>,
    _data: Option<tempfile::TempDir>,
}

impl SystemBuilder {
    /// Changes the broker before a tier has it.
    pub fn broker(mut self, change: impl FnOnce(&mut Broker)) -> Self {
        change(&mut self.broker);
        self
    }

    /// A gateway with these settings.
    pub fn gateway(mut self, change: impl FnOnce(&mut gateway::Settings)) -> Self {
        let mut settings = gateway::Settings { socket_linger: Duration::from_millis(300), ..Default::default() };
        settings.admin_link = Some(Arc::new(AdminLink::new()));
        change(&mut settings);
        self.gateway = Some(settings);
        self
    }

    /// A worker with a workflow as it is written.
    pub fn worker(self, source: &str) -> Self {
        self.worker_of(workflow(source))
    }

    /// A worker with this workflow.
    pub fn worker_of(mut self, workflow: Workflow) -> Self {
        self.worker = Some(worker_parts(self.broker.clone(), workflow, ModelRegistry::default()));
        self
    }

    pub fn models(self, models: ModelRegistry) -> Self {
        self.parts(|parts| parts.models = models)
    }

    pub fn park_after(self, pause: Duration) -> Self {
        self.parts(|parts| parts.settings.park_after = pause)
    }

    /// Changes what the worker works with.
    pub fn parts(mut self, change: impl FnOnce(&mut worker::WorkerParts)) -> Self {
        change(self.worker.as_mut().expect("it has a worker"));
        self
    }

    /// Opens the gateway first, so that nothing of the worker is missed.
    pub async fn start(self) -> System {
        let Self { broker, data, gateway: settings, worker: parts } = self;
        let lifecycle = Lifecycle::new(Duration::from_secs(5));
        let shutdown = lifecycle.shutdown();
        let (mut url, mut admin) = (String::new(), None);
        if let Some(settings) = settings {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            url = format!("http://{}", listener.local_addr().unwrap());
            admin.clone_from(&settings.admin_link);
            shutdown.spawn("gateway", gateway::serve(listener, broker.clone(), settings, shutdown.clone()));
        }
        let workflow = parts.as_ref().map(|parts| parts.workflows[0].clone());
        if let Some(parts) = parts {
            shutdown.spawn("worker", worker::serve(parts, shutdown.clone()));
        }
        let life = tokio::spawn(lifecycle.run());
        let admin = admin.unwrap_or_else(|| Arc::new(AdminLink::new()));
        System { broker, url, http: client(), admin, shutdown, workflow, life, _data: data }
    }
}

impl System {
    /// One over an embedded broker in a folder of its own, in which no tier runs yet.
    pub fn in_own_folder() -> SystemBuilder {
        let data = tempfile::tempdir().expect("a folder");
        let builder = Self::at(data.path());
        SystemBuilder { data: Some(data), ..builder }
    }

    /// One over the embedded broker in this folder.
    pub fn at(folder: &Path) -> SystemBuilder {
        Self::over(broker::embedded::open(folder).expect("a broker"))
    }

    /// One over a broker that is there.
    pub fn over(broker: Broker) -> SystemBuilder {
        SystemBuilder { broker, data: None, gateway: None, worker: None }
    }

    /// A gateway whose workflows are played by the test.
    pub async fn played() -> Self {
        Self::played_with(|_| {}, |_| {}).await
    }

    /// The same with a broker and settings that are changed before the gateway opens.
    pub async fn played_with(broker: impl FnOnce(&mut Broker), settings: impl FnOnce(&mut gateway::Settings)) -> Self {
        let builder = Self::in_own_folder().broker(broker);
        for (name, description, params) in played_workflows() {
            let card = WorkflowCard {
                name: Name::parse(name).unwrap(),
                title: None,
                description: Some(description.to_owned()),
                params,
                definition: format!("hash-of-{name}"),
                uses_caller_token: false,
                signed: None,
            };
            directory::announce(&builder.broker, &card, b"{}".to_vec(), None).await.expect("announced");
        }
        builder.gateway(settings).start().await
    }

    /// Another gateway over the same broker.
    pub async fn another(&self, settings: impl FnOnce(&mut gateway::Settings)) -> Self {
        Self::over(self.broker.clone()).gateway(settings).start().await
    }

    /// Ends it as SIGTERM does; every task of it must end in time.
    pub async fn end(self) -> LifecycleEnd {
        self.shutdown.begin();
        tokio::time::timeout(PATIENCE, self.life).await.expect("it ends").expect("no panic")
    }

    /// Ends it, which nothing may keep it from.
    pub async fn close(self) {
        assert_eq!(self.end().await, LifecycleEnd::Clean);
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

    /// Starts a run over the gateway and returns its id.
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
        soon(answer.text()).await.unwrap().split("\n\n").filter_map(Event::parse).collect()
    }

    /// The workflow of its worker.
    pub fn worked(&self) -> &Workflow {
        self.workflow.as_ref().expect("it has a worker")
    }

    /// Starts a run of its worker's workflow, past any gateway.
    pub async fn start(&self, run: RunId) -> StartOutcome {
        start(&self.broker, start_of(self.worked(), run), None).await.unwrap()
    }

    /// Stops a run.
    pub async fn cancel(&self, run: RunId) {
        cancel(&self.broker, &self.worked().name, run, None, None).await.unwrap();
    }

    /// Has a worker look at a run.
    pub async fn wake(&self, run: RunId) {
        let (queue, job) = (QueueName::Workflow(self.worked().name.clone()), Job { run, reason: JobReason::Wake });
        self.broker.queue.enqueue(&queue, &job, &format!("{run}.wake")).await.unwrap();
    }

    pub async fn follow(&self, run: RunId) -> Follower {
        Follower { attached: attach(&self.broker, run, 0).await.unwrap(), seen: Vec::new() }
    }

    pub async fn answer(&self, run: RunId, question: MessageId, given: AnswerPayload) -> AnswerAcceptance {
        let given = SubmittedAnswer::new(given, None);
        answer(&self.broker, &self.worked().name, run, question, &given).await.unwrap()
    }
}

/// A workflow as it is written.
pub fn workflow(source: &str) -> Workflow {
    let name = source.lines().find_map(|line| line.strip_prefix("name: ")).expect("a name");
    let name = Name::parse(name).unwrap();
    let sources = BTreeMap::from([(name.clone(), source.to_owned())]);
    from_definition(&WorkflowDefinition { name, sources }).unwrap_or_else(|problems| panic!("{problems}"))
}

/// What starts a run of a workflow.
pub fn start_of(workflow: &Workflow, run: RunId) -> RunStart {
    RunStart {
        run,
        workflow: workflow.name.clone(),
        definition: Some(workflow.definition.hash()),
        params: Map::new(),
        user: None,
        groups: Box::default(),
        origin: RunOrigin::Gateway,
    }
}

/// The key that a worker seals passwords with.
pub fn sealer() -> Sealer {
    Sealer::new("a key of the test".to_owned().into())
}

/// What a worker works with, where nothing else is said: it parks no run within a test.
pub fn worker_parts(broker: Broker, workflow: Workflow, models: ModelRegistry) -> worker::WorkerParts {
    worker::WorkerParts {
        broker,
        clock: clock::system(),
        models,
        workflows: vec![workflow],
        sealer: Some(sealer()),
        outside: fastagency::outside::OutsideServices::default(),
        settings: config::WorkerConfig {
            max_run_bytes: None,
            max_runs: 100,
            park_after: Duration::from_secs(60),
            lease: Duration::from_secs(2),
            trusted_gateways: Vec::new(),
            signing_key: None,
            definition_key: None,
            trusted_definition_keys: Vec::new(),
        },
        keep_ended: Duration::from_secs(3600),
        keep_evidence: Duration::from_secs(3600),
        redactor: Default::default(),
        webhooks: BTreeMap::new(),
        up: Arc::default(),
    }
}

/// The workflows that a test plays: name, description, parameters.
pub fn played_workflows() -> Vec<(&'static str, &'static str, Option<Value>)> {
    let schema = json!({"type": "object", "required": ["topic"], "additionalProperties": false, "properties": {
        "topic": {"type": "string"}, "level": {"enum": ["easy", "hard"], "default": "easy"}}});
    vec![
        ("echo", "Echo one answer", None),
        ("boom", "Raises after one message", None),
        ("params", "Echoes its params", Some(json!({"type": "object"}))),
        ("everything", "Every UI call once", None),
        ("lesson", "With parameters", Some(schema)),
    ]
}

/// Follows a run in the broker.
pub struct Follower {
    attached: AttachedFollower,
    pub seen: Vec<LogEntry>,
}

impl Follower {
    /// Follows until a record that `found` likes.
    pub async fn until<T>(&mut self, what: &str, found: impl Fn(&RecordBody) -> Option<T>) -> T {
        let following = async {
            loop {
                match self.attached.next().await.unwrap() {
                    Some(FollowedEvent::Record(placed)) => {
                        let hit = found(&placed.record.body);
                        self.seen.push(*placed);
                        if let Some(hit) = hit {
                            return hit;
                        }
                    }
                    Some(_) => {}
                    None => panic!("the run ended before {what}: {:#?}", self.seen),
                }
            }
        };
        match tokio::time::timeout(PATIENCE, following).await {
            Ok(hit) => hit,
            Err(_) => panic!("{what} did not come: {:#?}", self.seen),
        }
    }

    pub async fn question(&mut self, prompt: &'static str) -> MessageId {
        self.until(prompt, |body| match body {
            RecordBody::Said { message, .. } if message.says.prompt() == Some(prompt) => Some(message.uuid),
            _ => None,
        })
        .await
    }

    pub async fn ended(&mut self) -> (RunOutcome, Value) {
        self.until("its end", |body| match body {
            RecordBody::Ended(ended) => Some((ended.outcome, ended.result.clone())),
            _ => None,
        })
        .await
    }
}

/// How many of these records are of a kind.
pub fn count(seen: &[LogEntry], which: impl Fn(&RecordBody) -> bool) -> usize {
    seen.iter().filter(|placed| which(&placed.record.body)).count()
}
