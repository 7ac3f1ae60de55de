//! `fastagency run`: one conversation at the terminal, through a gateway: one that is running, or one in this process.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use tokio::time::Instant;

use crate::broker::{Broker, embedded};
use crate::cli::outcome::CliError;
use crate::cli::{CommonArguments, ListenArguments, project};
use crate::client::{self, GatewayClient, patiently};
use crate::console::{
    self, Console, ConsoleEnd, ConsoleStyle, InputKind, PreparedAnswers, TerminalInput, TypedInput, choose, plain,
};
use crate::ids::{MessageId, RunId};
use crate::lifecycle::Lifecycle;
use crate::project::check_has_project;
use crate::protocol::api::WorkflowView;
use crate::protocol::log::RunOutcome;
use crate::yaml::secrets;
use crate::{gateway, worker};

/// What `--help` says at its end.
const HOW_IT_GOES: &str = "\
Worker and gateway run in this process, over the data folder; if `fastagency all` is using that folder, its gateway is
used instead.

A workflow whose file has a mistake is left out when another one is named, with those that call it, and its mistakes are
shown. `fastagency all` and `fastagency worker` do not start then.

Ctrl-C cancels the run and waits for its end; a second one leaves at once. Ctrl-D at a question leaves the run as it is:
--run ID comes back to it. Without a terminal nothing is asked: a question needs an --answer.

Exit codes: 0 completed, 1 failed, 2 wrong use, 3 no broker or gateway, 4 cancelled, 5 a question was left without an
answer (the run waits for it).";

/// Runs a workflow and talks with it in the terminal.
#[derive(Args)]
#[command(after_help = HOW_IT_GOES)]
pub(super) struct RunCommand {
    /// The name of the workflow. Without it, the only workflow is run, or you choose one.
    #[arg(conflicts_with = "run")]
    workflow: Option<String>,
    /// A parameter of the workflow (may be repeated). The value is JSON if the parameter is not a text.
    #[arg(long = "param", short, value_name = "NAME=VALUE", conflicts_with = "run")]
    params: Vec<String>,
    /// An answer, used once (may be repeated). FOR is the question's number in the run (1, 2, …), its id, or the beginning
    /// of its prompt. Without FOR= it answers the next question that has no answer of its own (`=VALUE`, if the value has
    /// a `=`). Choices are given by label or number (several with commas), forms as JSON.
    /// A call is allowed or denied with once, same, always or deny, or the number of one; `1=amount=4.50` changes an argument.
    #[arg(long = "answer", short, value_name = "[FOR=]VALUE")]
    answers: Vec<String>,
    /// Print each record of the run as a line of JSON, and do not ask.
    #[arg(long)]
    json: bool,
    /// Continue a run.
    #[arg(long, value_name = "ID", value_parser = run_id)]
    run: Option<RunId>,
    /// Use the gateway at this address; nothing runs in this process.
    #[arg(long, value_name = "URL", conflicts_with_all = ["data_dir", "nats", "mock_llm"])]
    gateway_url: Option<String>,
    /// Use the NATS server of the configuration instead of the data folder (as --nats-url does).
    #[arg(long, conflicts_with = "data_dir")]
    nats: bool,
    /// The data folder of the embedded broker.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Use a mock instead of every model: no key, no network.
    #[arg(long)]
    mock_llm: bool,
}

/// How long the tiers in this process may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// How long they may take to end: nobody waits for more at a terminal, and the run is safe in the broker.
const END_WITHIN: Duration = Duration::from_secs(5);
/// How long a start is tried while the gateway is away.
const START_TIMEOUT: Duration = Duration::from_secs(15);

fn run_id(text: &str) -> Result<RunId, String> {
    RunId::parse(text).map_err(|error| error.to_string())
}

/// A path as it can be typed.
fn typed(path: &Path) -> String {
    let path = path.display().to_string();
    if path.contains(char::is_whitespace) { format!("'{path}'") } else { path }
}

/// The gateway that is talked to, and what ends with the conversation.
struct ConnectedGateway {
    client: GatewayClient,
    /// The workflows that the worker of this process will serve.
    serves: Vec<String>,
    /// The life of worker and gateway, where they are of this process.
    lifecycle: Option<Lifecycle>,
    /// What to type, beside `--run`, to come back to this gateway.
    again: String,
}

impl RunCommand {
    pub(super) async fn run(self, common: CommonArguments) -> Result<ExitCode, CliError> {
        let mut gateway = self.enter(&common).await?;
        let lifecycle = gateway.lifecycle.take();
        let talk = self.talk(&gateway);
        let Some(lifecycle) = lifecycle else { return talk.await };
        let shutdown = lifecycle.shutdown();
        let ended = tokio::select! {
            ended = talk => ended,
            () = shutdown.soft() => Err(anyhow!("the worker or the gateway in this process has failed").into()),
        };
        shutdown.begin();
        lifecycle.run().await;
        ended
    }

    async fn enter(&self, common: &CommonArguments) -> Result<ConnectedGateway, CliError> {
        if let Some(url) = &self.gateway_url {
            let client = project::client(url)?;
            return Ok(ConnectedGateway {
                client,
                serves: Vec::new(),
                lifecycle: None,
                again: format!(" --gateway-url {url}"),
            });
        }
        let config = project::load(common)?;
        let same_config = common.config.as_ref().map(|file| format!(" -c {}", typed(file))).unwrap_or_default();
        let has_project = || check_has_project(common.config.as_deref(), &config);
        if self.nats || common.nats_url.is_some() {
            has_project()?;
            let same_nats = match &common.nats_url {
                Some(url) => format!(" --nats-url {}", secrets::without_logins(url)),
                None => " --nats".to_owned(),
            };
            let broker = project::connect(&config, "run").await?;
            return self.start(&config, broker, None, format!("{same_config}{same_nats}")).await;
        }
        let data_dir = project::data_dir(&config, self.data_dir.as_ref());
        // Where a gateway is up in the data folder, nothing else is needed. To open the folder makes it.
        if embedded::running_address(&data_dir).is_none() {
            has_project()?;
        }
        let same_folder = self.data_dir.as_ref().map(|dir| format!(" --data-dir {}", typed(dir))).unwrap_or_default();
        let again = format!("{same_config}{same_folder}");
        match embedded::open(&data_dir) {
            Ok(broker) => self.start(&config, broker, Some(&data_dir), again).await,
            Err(embedded::StoreOpenError::InUse { address: Some(url), .. }) => {
                eprintln!("{} is in use; talking to the gateway there, {url}", data_dir.display());
                if self.mock_llm {
                    eprintln!("--mock-llm changes nothing there: the models are that process's");
                }
                Ok(ConnectedGateway {
                    client: project::client_beside(&url, &data_dir)?,
                    serves: Vec::new(),
                    lifecycle: None,
                    again,
                })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Starts worker and gateway in this process.
    async fn start(
        &self,
        config: &crate::config::Config,
        broker: Broker,
        data_dir: Option<&Path>,
        again: String,
    ) -> Result<ConnectedGateway, CliError> {
        let sealer = project::sealer(config, data_dir)?;
        let broker = project::chained(config, broker, data_dir)?;
        let lenient = self.workflow.is_some() || self.run.is_some();
        let parts = match lenient {
            true => {
                let asked = self.workflow.as_deref();
                project::worker_parts_for(asked, config, broker.clone(), sealer.clone(), data_dir, self.mock_llm)?
            }
            false => project::worker_parts(config, broker.clone(), sealer.clone(), data_dir, self.mock_llm)?,
        };
        let serves = parts.workflows.iter().map(|workflow| workflow.name.to_string()).collect();
        let here = ListenArguments { host: None, port: Some(0) };
        let listener = project::listen(&here, std::net::Ipv4Addr::LOCALHOST.into(), 0, None).await?;
        let url = project::url(&listener);
        if let Some(data_dir) = data_dir {
            embedded::write_address(data_dir, &url).context("could not write the gateway's address")?;
        }
        let client = project::client(&url)?;
        let lifecycle = Lifecycle::new(config.shutdown_grace.min(END_WITHIN));
        let shutdown = lifecycle.shutdown();
        let settings = gateway::Settings {
            admin_link: project::admin_link(&crate::config::AuthConfig::default(), data_dir)?,
            sealer,
            gateway_signer: project::gateway_signer(config),
            redactor: config.audit.redactor.clone(),
            keep_evidence: config.audit.keep_evidence,
            verifier: project::verifier(config, data_dir)?,
            ..gateway::Settings::default()
        };
        shutdown.spawn("worker", worker::serve(parts, shutdown.clone()));
        shutdown.spawn("gateway", gateway::serve(listener, broker, settings, shutdown.clone()));
        Ok(ConnectedGateway { client, serves, lifecycle: Some(lifecycle), again })
    }

    async fn talk(&self, gateway: &ConnectedGateway) -> Result<ExitCode, CliError> {
        let here = io::stdin().is_terminal() && io::stdout().is_terminal();
        let style = ConsoleStyle {
            json: self.json,
            interactive: here && !self.json,
            colour: io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        };
        let client = &gateway.client;
        let run = match self.run {
            Some(run) => {
                // Only a connection that was there is made again for ever.
                patiently(START_TIMEOUT, async || client.get(run).await).await.map_err(refused)?;
                run
            }
            None => {
                let known = workflows(gateway).await?;
                let workflow = self.workflow(&known, style.interactive).await?;
                let params = console::params(&self.params, workflow.params.as_ref()).map_err(CliError::Usage)?;
                if !workflow.available {
                    eprintln!("no worker serves {} now; the run waits for one", workflow.name);
                }
                let key = MessageId::random().to_string();
                let started =
                    patiently(START_TIMEOUT, async || client.start(&workflow.name, &params, &key).await).await;
                started.map_err(|error| refused_start(error, &known))?.id
            }
        };
        let mut console = Console::new(client, run, style, PreparedAnswers::parse(&self.answers), io::stdout());
        let mut again = format!("fastagency run --run {run}{}", gateway.again);
        if self.mock_llm && !gateway.serves.is_empty() {
            again += " --mock-llm";
        }
        let left = console.talk().await;
        // Where nothing can be shown, no question has come that an answer could be for.
        let is_shown = !matches!(left, Err(console::Error::Terminal(_)));
        for unused in console.unused_answers().filter(|_| is_shown) {
            eprintln!(
                "unused --answer {unused:?}: no question matched it (FOR= is a question's number, id, or the beginning of its prompt)"
            );
        }
        match left {
            Ok(ConsoleEnd::Ended(RunOutcome::Completed)) => Ok(ExitCode::SUCCESS),
            Ok(ConsoleEnd::Ended(RunOutcome::Failed)) => Ok(ExitCode::FAILURE),
            Ok(ConsoleEnd::Ended(RunOutcome::Cancelled)) => Ok(ExitCode::from(4)),
            Ok(ConsoleEnd::Interrupted) => {
                eprintln!("left; how the run goes on is seen with: {again}");
                Ok(ExitCode::from(4))
            }
            Ok(ConsoleEnd::Unanswered { prompt, is_for_others, .. }) => {
                let prompt = prompt.lines().next().unwrap_or_default();
                eprintln!("run {run} waits for an answer to: {prompt}");
                if is_for_others {
                    // Where nothing serves but this process, nobody else can answer.
                    if !gateway.serves.is_empty() {
                        eprintln!("start `fastagency all` or the tiers, so that they can answer");
                    }
                    eprintln!("how it goes on is seen with: {again}");
                } else {
                    if !io::stdin().is_terminal() && self.answers.is_empty() {
                        eprintln!("(answers are not read from standard input where it is no terminal)");
                    }
                    eprintln!("go on with: {again} --answer …");
                }
                Ok(ExitCode::from(5))
            }
            Ok(ConsoleEnd::Unreadable { .. }) => {
                eprintln!("run {run} waits for that answer; how it goes on is seen with: {again}");
                Ok(ExitCode::from(5))
            }
            Err(console::Error::Gateway(error)) => {
                if error.will_pass() {
                    eprintln!("run {run} may go on without us; it is seen with: {again}");
                }
                Err(refused(error))
            }
            // Whoever reads our output has gone: there is nobody to tell.
            Err(console::Error::Terminal(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::FAILURE),
            Err(error) => Err(CliError::Failed(error.into())),
        }
    }

    /// The workflow that is meant.
    async fn workflow(&self, known: &[WorkflowView], interactive: bool) -> Result<WorkflowView, CliError> {
        if let Some(name) = &self.workflow {
            let found = known.iter().find(|workflow| workflow.name == *name).cloned();
            // One that is not known may be so in a moment; what is wrong with the name is the gateway's to say.
            return Ok(found.unwrap_or_else(|| WorkflowView {
                name: name.clone(),
                title: None,
                description: None,
                params: None,
                available: true,
            }));
        }
        let names: Vec<String> = known.iter().map(|workflow| workflow.name.clone()).collect();
        let chosen = match known {
            [] => return Err(CliError::Usage("there is no workflow".to_owned())),
            [only] => only.name.clone(),
            _ if interactive => choice(known, &names).await?,
            _ => return Err(CliError::Usage(format!("which workflow? there are {}", names.join(", ")))),
        };
        let found = known.iter().find(|workflow| workflow.name == chosen).cloned();
        found.ok_or_else(|| CliError::Usage(format!("there is no workflow {chosen}")))
    }
}

/// Lets a person choose a workflow.
async fn choice(known: &[WorkflowView], names: &[String]) -> Result<String, CliError> {
    for (number, workflow) in (1..).zip(known) {
        let about = workflow.description.as_deref().or(workflow.title.as_deref());
        let about = about.map(|about| format!(" — {}", plain(about).lines().next().unwrap_or_default()));
        println!("  {number}) {}{}", workflow.name, about.unwrap_or_default());
    }
    let mut input = TerminalInput::default();
    loop {
        println!("Which workflow?");
        let typed = tokio::select! {
            typed = input.next(Some(InputKind::Line)) => typed.context("the terminal cannot be read")?,
            _ = tokio::signal::ctrl_c() => TypedInput::Interrupt,
        };
        match typed {
            TypedInput::Text(text) => {
                if let Some(chosen) = choose(names, &text) {
                    return Ok(chosen);
                }
            }
            TypedInput::End | TypedInput::Interrupt => {
                return Err(CliError::Usage("no workflow was chosen".to_owned()));
            }
        }
    }
}

/// The workflows that can be started, once the worker of this process is among those who serve them.
async fn workflows(gateway: &ConnectedGateway) -> Result<Vec<WorkflowView>, CliError> {
    let start = Instant::now();
    loop {
        let known = patiently(START_TIMEOUT, async || gateway.client.workflows().await).await.map_err(refused)?;
        let served = |name: &String| known.iter().any(|workflow| workflow.name == *name && workflow.available);
        if gateway.serves.iter().all(served) || start.elapsed() > READY_WITHIN {
            return Ok(known);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn unreachable(error: client::Error) -> CliError {
    CliError::Unreachable(error.into())
}

/// How many workflows are named where there is none of a name.
const MOST_NAMED: usize = 10;

/// A start that was refused. Where no workflow is named almost so, those that there are say more than the name.
fn refused_start(error: client::Error, known: &[WorkflowView]) -> CliError {
    let is_unknown = error.code() == Some("unknown_workflow");
    let has_hint = matches!(&error, client::Error::Refused(refusal) if refusal.error.hint.is_some());
    if !is_unknown || has_hint || known.is_empty() {
        return refused(error);
    }
    let names: Vec<&str> = known.iter().take(MOST_NAMED).map(|workflow| workflow.name.as_str()).collect();
    let more = if known.len() > MOST_NAMED { ", …" } else { "" };
    CliError::Usage(plain(&format!("{error}: there is {}{more}", names.join(", "))))
}

/// A wrong name or parameter is the caller's; anything else is the gateway's.
fn refused(error: client::Error) -> CliError {
    match error.code() {
        Some("unknown_workflow" | "invalid_params" | "unknown_run") => CliError::Usage(plain(&error.to_string())),
        _ => unreachable(error),
    }
}
