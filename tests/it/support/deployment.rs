//! A deployment: the tiers as real processes around a NATS server, or all of them in one process; they can be killed, stopped
//! and started again. Of a system in the process of the test there is `System`.

use std::time::Duration;

use fastagency::broker::{self, Broker};
use fastagency::ids::RunId;
use fastagency::run;
use fastagency::run::record::{LogEntry, RecordBody, RunOutcome};
use serde_json::json;

use super::eventually::eventually;
use super::held_link::HeldLink;
use super::http::{Event, Gateways};
use super::nats_server::NatsServer;
use super::ports::free_port;
use super::project::{Project, Tier};
use super::slow_model::SlowModel;

/// The workflow of a deployment, where nothing else is said: it asks a person, and then a model twice.
pub const LESSON: &str = r#"
version: 1
name: lesson
agents:
  a: { system_message: You answer. }
steps:
  - id: topic
    text_input: { prompt: "What?" }
  - id: one
    agent: { agent: a, message: one }
  - id: two
    agent: { agent: a, message: two }
  - return: "{{ steps.two }}"
"#;

/// How long a worker that says nothing keeps its runs.
pub const LEASE: Duration = Duration::from_secs(3);

/// A project with a NATS server and a model's server of its own, and a gateway; workers are started by the test.
pub struct Deployment {
    pub nats: NatsServer,
    pub model: SlowModel,
    pub project: Project,
    pub broker: Broker,
    pub url: String,
    pub gateway: Tier,
}

/// What a deployment is made of.
pub struct DeploymentBuilder {
    nats: NatsServer,
    /// Where its tiers reach the server.
    nats_url: String,
    pace: Duration,
    worker: String,
    settings: String,
    workflow: String,
}

impl DeploymentBuilder {
    /// The time that the model takes to reply; none where nothing is said.
    pub fn pace(self, pace: Duration) -> Self {
        Self { pace, ..self }
    }

    /// Its tiers reach the server over this link.
    pub fn through(self, link: &HeldLink) -> Self {
        Self { nats_url: link.url.clone(), ..self }
    }

    /// More keys of the section `worker`.
    pub fn worker(self, keys: &str) -> Self {
        Self { worker: format!(", {keys}"), ..self }
    }

    /// More sections of the configuration, or other models.
    pub fn settings(self, sections: &str) -> Self {
        Self { settings: sections.to_owned(), ..self }
    }

    /// Another workflow than `LESSON`.
    pub fn workflow(self, source: &str) -> Self {
        Self { workflow: source.to_owned(), ..self }
    }

    pub async fn start(self) -> Deployment {
        let Self { nats, nats_url, pace, worker, settings, workflow } = self;
        let model = SlowModel::start(move || pace).await;
        let config = format!(
            "version: 1\nnats: {{ url: '{nats_url}' }}\nshutdown_grace: 3s\nworker: {{ lease: {}s{worker} }}\n{}{settings}",
            LEASE.as_secs(),
            if settings.contains("llms:") { String::new() } else { llms(&model) }
        );
        let project = Project::new(&config, &[(&file_of(&workflow), &workflow)]);
        let (gateway, url) = gateway_of(&project, "gateway").await;
        let broker = nats.broker().await;
        Deployment { nats, model, project, broker, url, gateway }
    }
}

impl Deployment {
    /// One on a NATS server of its own; `None`: there is none, and the test is skipped by name.
    pub fn of(test: &str) -> Option<DeploymentBuilder> {
        Some(Self::over(NatsServer::start(test)?))
    }

    /// One on this server.
    pub fn over(nats: NatsServer) -> DeploymentBuilder {
        DeploymentBuilder {
            nats_url: nats.url(),
            nats,
            pace: Duration::ZERO,
            worker: String::new(),
            settings: String::new(),
            workflow: LESSON.to_owned(),
        }
    }

    pub async fn worker(&self, name: &str) -> Tier {
        let worker = self.project.start(name, &["worker"]);
        worker.says("worker ready").await;
        worker
    }

    /// Another gateway, and where it listens.
    pub async fn another_gateway(&self) -> (Tier, String) {
        gateway_of(&self.project, "another gateway").await
    }

    pub fn gateways(&self) -> Gateways {
        Gateways::new([self.url.clone()])
    }

    /// Starts a run and answers its question, so that its model is asked next.
    pub async fn answered(&self) -> String {
        let gateways = self.gateways();
        let run = gateways.start("lesson", json!({}), "the run").await;
        let question = question(&gateways, &run).await;
        assert!(gateways.answer(&run, &question, "triangles").await);
        run
    }

    /// Waits until the model was asked so many times.
    pub async fn asked(&self, times: usize) {
        self.model.was_asked(times).await;
    }

    pub async fn log(&self, run: &str) -> Vec<LogEntry> {
        run::read(&self.broker, RunId::parse(run).unwrap(), 0).await.unwrap()
    }

    /// Waits for the end of the run, and returns its log. The broker may be away meanwhile.
    pub async fn ended(&self, run: &str) -> Vec<LogEntry> {
        let id = RunId::parse(run).unwrap();
        eventually("the run ends", async || {
            let log = match run::read(&self.broker, id, 0).await {
                Err(error @ run::Error::Broker(broker::Error::Unavailable { .. })) => return Err(error.to_string()),
                log => log.unwrap(),
            };
            if let Some(RecordBody::Ended(ended)) = log.last().map(|last| &last.record.body) {
                assert_eq!(ended.outcome, RunOutcome::Completed, "{:?}", ended.reason);
                return Ok(log);
            }
            Err(format!("{log:#?}"))
        })
        .await
    }

    pub fn effects(&self) -> Vec<String> {
        self.model.asked().into_iter().map(|asked| asked.effect).collect()
    }
}

/// A project with `LESSON` whose tiers are all in one process, over the embedded broker.
pub struct OneProcess {
    pub model: SlowModel,
    pub project: Project,
    pub process: Tier,
    pub gateways: Gateways,
}

impl OneProcess {
    /// One whose model takes `pace` to reply.
    pub async fn start(pace: Duration) -> Self {
        let model = SlowModel::start(move || pace).await;
        let project = Self::project(&model);
        let (process, gateways) = Self::start_in(&project).await;
        Self { model, project, process, gateways }
    }

    /// A project whose process was not started yet.
    pub fn project(model: &SlowModel) -> Project {
        Project::new(&format!("version: 1\n{}", llms(model)), &[("lesson.yaml", LESSON)])
    }

    /// The process of a project, and a client of it.
    pub async fn start_in(project: &Project) -> (Tier, Gateways) {
        let (port, page) = (free_port().to_string(), free_port().to_string());
        let process = project.start("all", &["all", "--port", &port, "--ui-port", &page]);
        process.says("page: http").await;
        (process, Gateways::new([format!("http://127.0.0.1:{port}")]))
    }
}

/// The section of a configuration that has the model of a test.
pub fn llms(model: &SlowModel) -> String {
    format!("llms: {{ default: {{ provider: compatible, model: slow, base_url: '{}' }} }}\n", model.url)
}

fn file_of(workflow: &str) -> String {
    let name = workflow.lines().find_map(|line| line.strip_prefix("name: ")).expect("a name");
    format!("{name}.yaml")
}

async fn gateway_of(project: &Project, name: &str) -> (Tier, String) {
    let port = free_port().to_string();
    let gateway = project.start(name, &["gateway", "--port", &port]);
    gateway.says("gateway: http").await;
    (gateway, format!("http://127.0.0.1:{port}"))
}

/// The first question of a run.
pub async fn question(gateways: &Gateways, run: &str) -> String {
    eventually("the run asks", async || {
        let mut found = None;
        gateways
            .follow(0, run, 0, |Event { data, .. }| {
                if data["message"]["type"] == "text_input" {
                    found = Some(data["message"]["uuid"].as_str().unwrap().to_owned());
                }
                found.is_none()
            })
            .await;
        found
    })
    .await
}

/// The claims of a run: who, and when.
pub fn claims(log: &[LogEntry]) -> Vec<&LogEntry> {
    log.iter().filter(|placed| matches!(placed.record.body, RecordBody::Claimed { .. })).collect()
}
