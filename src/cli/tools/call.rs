//! `fastagency tools call`: one call of a tool, as an agent would make it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use reqwest::Url;
use serde_json::{Map, Value, json};

use super::find::{FoundTool, find, listed};
use crate::bounds::{self, UnfitJson};
use crate::cli::outcome::{self, CliError};
use crate::cli::{CommonArguments, project};
use crate::config::{Config, ConfigSection};
use crate::engine::{SingleCall, SingleCallEnd};
use crate::ids::{RunId, UserId};
use crate::openapi::{DocumentSource, OpenApiDeclaration};
use crate::outside::OutsideServices;
use crate::outside::openapi::{OpenApiDocuments, OpenApiToolset};
use crate::outside::toolset::{Toolset, ToolsetAnswer, ToolsetCall};
use crate::problem::did_you_mean;
use crate::project::check_has_project;
use crate::schema;
use crate::tokens::SharedTokenStore;
use crate::workflow::{ApprovalRule, StepAction, Workflow, WorkflowTool};

/// How long a call may take.
const CALL_WITHIN: Duration = Duration::from_secs(60);
/// What is shown of a result, in bytes.
const MAX_RESULT: u64 = 1 << 20;

/// How it is typed: of two names the first is a workflow, and one name alone is a tool of the specification.
const USAGE: &str = "\
fastagency tools call [OPTIONS] <WORKFLOW> <TOOL>
       fastagency tools call [OPTIONS] --openapi <FILE|URL> <TOOL>";

/// What to call.
#[derive(Args)]
#[command(override_usage = USAGE)]
pub(super) struct CallArguments {
    /// The workflow; with --openapi the tool.
    #[arg(value_name = "WORKFLOW")]
    first: String,
    /// The tool of the workflow (of a set also SET.TOOL).
    #[arg(value_name = "TOOL")]
    tool: Option<String>,
    /// The arguments: a JSON object.
    #[arg(long, value_name = "JSON", default_value = "{}")]
    args: String,
    /// The user in whose name it is called: `user.id` in `inject`.
    #[arg(long, value_name = "NAME", conflicts_with = "openapi")]
    user: Option<String>,
    /// A specification, instead of a workflow: a file, or an address.
    #[arg(long, value_name = "FILE|URL")]
    openapi: Option<String>,
    /// With --openapi: the address of the server, instead of the one in the specification.
    #[arg(long, value_name = "URL", requires = "openapi")]
    server: Option<String>,
    /// With --openapi: the secret for a security scheme (default: the secret of the scheme's own name).
    #[arg(long, value_name = "SCHEME=SECRET", requires = "openapi")]
    security: Vec<String>,
    /// Print {"result": …} or {"error": …}.
    #[arg(long)]
    json: bool,
    /// Use the logins that are stored at the NATS server of the configuration (as --nats-url does).
    #[arg(long)]
    nats: bool,
    /// The data folder whose logins are used.
    #[arg(long, value_name = "DIR", conflicts_with = "nats")]
    data_dir: Option<PathBuf>,
}

/// What a call is made with.
struct ProjectReach<'a> {
    config: &'a Config,
    services: &'a OutsideServices,
}

impl CallArguments {
    /// What a worker reaches outside, with the logins that workers use, if there are any.
    async fn services(&self, config: &Config, common: &CommonArguments) -> Result<OutsideServices, CliError> {
        let is_beside_nats = self.nats || common.nats_url.is_some();
        if !is_beside_nats && !project::data_dir(config, self.data_dir.as_ref()).is_dir() {
            return Ok(OutsideServices::new(config));
        }
        let stored = project::open_tokens(config, common, self.nats, self.data_dir.as_ref()).await?;
        Ok(match stored {
            Some(stored) => OutsideServices::with_tokens(config, Arc::new(SharedTokenStore::new(stored))),
            None => OutsideServices::new(config),
        })
    }

    /// What the tool is called with.
    fn arguments(&self) -> Result<Map<String, Value>, String> {
        let wanted = r#"--args must be a JSON object, like --args '{"city": "Oslo"}'"#;
        let read = outcome::beginning(&self.args);
        match bounds::read::<Value>(self.args.as_bytes(), &bounds::OUTSIDE) {
            Ok(Value::Object(arguments)) => Ok(arguments),
            Ok(other) => Err(format!("{wanted}; {read} is {}", schema::value_words(&other))),
            Err(UnfitJson::Exceeded(exceeded)) => Err(format!("--args: {exceeded}")),
            Err(UnfitJson::Json(error)) => Err(format!("{wanted}; {read} is not JSON ({error})")),
        }
    }

    pub(super) async fn run(self, common: CommonArguments) -> Result<ExitCode, CliError> {
        let arguments = self.arguments().map_err(CliError::Usage)?;
        let config = project::load(&common)?;
        config.usable(ConfigSection::Worker)?;
        let services = self.services(&config, &common).await?;
        let called = match (&self.openapi, &self.tool) {
            (Some(source), None) => self.call_operation(source, &self.first, &arguments, &services).await,
            (Some(_), Some(_)) => Err(CliError::Usage("with --openapi, name the tool alone".to_owned())),
            (None, Some(tool)) => {
                check_has_project(common.config.as_deref(), &config)?;
                let reach = ProjectReach { config: &config, services: &services };
                self.call_tool(&self.first, tool, arguments, reach).await
            }
            (None, None) => Err(CliError::Usage("name the workflow and the tool, or use --openapi".to_owned())),
        };
        services.toolsets.close().await;
        Ok(self.print(called?))
    }

    /// Calls a tool of a workflow.
    async fn call_tool(
        &self,
        workflow: &str,
        tool: &str,
        arguments: Map<String, Value>,
        reach: ProjectReach<'_>,
    ) -> Result<Result<ToolsetAnswer, String>, CliError> {
        let ProjectReach { config, services } = reach;
        let workflows = project::workflows_for(workflow, config)?;
        let FoundTool { workflow, tool } = find(&workflows, workflow, tool, services).await?;
        let Some(action) = tool.single_action() else { return Err(CliError::Usage(needs_run(&workflow, &tool))) };
        notes(&tool, &arguments).iter().for_each(|note| eprintln!("note: {}", outcome::shown(note)));
        let broker = match action {
            StepAction::Nats(_) => Some(project::connect(config, "tools").await?),
            _ => None,
        };
        let call = SingleCall {
            workflow: &workflow,
            tool: &tool,
            run: RunId::random(),
            user: self.user.as_deref().and_then(UserId::new),
            outside: services,
            services: broker.and_then(|broker| broker.services),
        };
        Ok(match call.make(arguments).await {
            SingleCallEnd::Answered(answer) => Ok(answer),
            SingleCallEnd::Failed(why) => Err(why),
        })
    }

    /// Calls an operation of a specification.
    async fn call_operation(
        &self,
        source: &str,
        tool: &str,
        arguments: &Map<String, Value>,
        services: &OutsideServices,
    ) -> Result<Result<ToolsetAnswer, String>, CliError> {
        let set = self.of_specification(source, services)?;
        if let Some(unknown) = set.unknown_scheme().await.map_err(|error| CliError::Usage(error.to_string()))? {
            return Err(CliError::Usage(unknown));
        }
        let key = RunId::random().to_string();
        let call = ToolsetCall {
            tool,
            arguments,
            secrets: &[],
            caller: None,
            key: &key,
            run: &key,
            within: CALL_WITHIN,
            max_result: MAX_RESULT,
            resumed: None,
        };
        Ok(set.call(call).await.map_err(|error| error.to_string()))
    }

    fn of_specification(&self, written: &str, services: &OutsideServices) -> Result<OpenApiToolset, CliError> {
        let mut declaration = OpenApiDeclaration {
            source: written.to_owned(),
            server: self.server()?,
            security: self.mapping()?,
            ..OpenApiDeclaration::default()
        };
        let mut documents = services.documents.clone();
        // A file that a person names may lie anywhere.
        if let DocumentSource::File(path) = DocumentSource::parse(written).map_err(CliError::Usage)?
            && let Some(name) = path.file_name()
        {
            let folder = path.parent().unwrap_or(Path::new(""));
            documents = Arc::new(OpenApiDocuments::new(folder, services.http.clone()));
            declaration.source = name.to_string_lossy().into_owned();
        }
        Ok(OpenApiToolset::new(declaration, documents, services.http.clone(), services.secrets.clone()))
    }

    /// The address of the server.
    fn server(&self) -> Result<Option<String>, CliError> {
        let is_address = |text: &String| {
            Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        };
        match &self.server {
            Some(text) if !is_address(text) => {
                let words = format!("--server is an address that begins with http:// or https://, and not {text:?}");
                Err(CliError::Usage(words))
            }
            server => Ok(server.clone()),
        }
    }

    fn mapping(&self) -> Result<BTreeMap<String, String>, CliError> {
        let pair = |text: &String| match text.split_once('=') {
            Some((scheme, secret)) => Ok((scheme.to_owned(), secret.to_owned())),
            None => Err(CliError::Usage(format!("--security is SCHEME=SECRET, and not {text:?}"))),
        };
        self.security.iter().map(pair).collect()
    }

    fn print(&self, answer: Result<ToolsetAnswer, String>) -> ExitCode {
        let result = match answer {
            Ok(ToolsetAnswer::Value(value)) => Ok(value),
            Ok(ToolsetAnswer::Asks { message, .. }) => {
                Err(format!("the tool asks a person, which only a run can do: {message}"))
            }
            Ok(ToolsetAnswer::CutOff { why }) => Err(why),
            Ok(ToolsetAnswer::Continues { .. }) => {
                Err("the tool goes on by itself, which only a run can follow".to_owned())
            }
            Err(why) => Err(why),
        };
        match (self.json, &result) {
            (true, Ok(value)) => println!("{}", json!({ "result": value })),
            (true, Err(why)) => println!("{}", json!({ "error": why })),
            (false, Ok(Value::String(text))) => println!("{}", outcome::shown(text)),
            (false, Ok(value)) => println!("{}", outcome::shown(&format!("{value:#}"))),
            (false, Err(why)) => eprintln!("error: {}", outcome::shown(why)),
        }
        if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// What a person who calls a tool by hand may not expect.
fn notes(tool: &WorkflowTool, arguments: &Map<String, Value>) -> Vec<String> {
    let mut notes = Vec::new();
    if tool.approve.rule != ApprovalRule::Never {
        notes.push(format!("a run asks for approval before it calls {}; this command does not", tool.name));
    }
    if let Some(known) = tool.known_arguments() {
        let is_injected = |name: &str| tool.injected().is_some_and(|inject| inject.names().any(|given| given == name));
        for name in arguments.keys().filter(|name| !known.contains_key(*name)) {
            if is_injected(name) {
                notes.push(format!("the workflow gives {name:?} itself (`inject`), so it is left out"));
                continue;
            }
            let near = did_you_mean(name, known.keys().map(String::as_str));
            let names: Vec<&str> = known.keys().map(String::as_str).collect();
            let near = near.unwrap_or_else(|| listed("there is", &names));
            notes.push(format!("there is no argument {name:?}, so it is left out: {near}"));
        }
    }
    notes
}

/// What to do with a tool that only a run can call.
fn needs_run(workflow: &Workflow, tool: &WorkflowTool) -> String {
    let (workflow, name) = (workflow.name.as_str(), tool.name.as_str());
    let by_step = |what: &str| {
        format!(
            "the tool {name:?} {what}, which needs a run: write a step `call: {{ tool: {name}, args: {{ … }} }}` \
             into a workflow, and start it: fastagency run {workflow}"
        )
    };
    match (&tool.called, &tool.asks) {
        (Some(called), _) => {
            format!(
                "the tool {name:?} calls the workflow {:?}, which needs a run: fastagency run {called}",
                called.as_str()
            )
        }
        (None, Some(agent)) => by_step(&format!("asks the agent {:?}", agent.as_str())),
        (None, None) => by_step("has steps of its own"),
    }
}
