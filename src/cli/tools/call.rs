//! `fastagency tools call`: one call of a tool, as an agent would make it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value, json};

use crate::bounds;
use crate::cli::outcome::{self, CliError};
use crate::cli::{CommonArguments, project};
use crate::config::{Config, ConfigSection};
use crate::engine::{SingleCall, SingleCallArguments};
use crate::ids::{RunId, UserId};
use crate::openapi::{DocumentSource, OpenApiDeclaration};
use crate::outside::OutsideServices;
use crate::outside::openapi::{OpenApiDocuments, OpenApiToolset};
use crate::outside::toolset::{ListedTool, Toolset, ToolsetAnswer, ToolsetCall, ToolsetError};
use crate::tokens::SharedTokenStore;
use crate::workflow::{self, ToolsetDeclaration, Workflow};

/// How long a call may take.
const CALL_WITHIN: Duration = Duration::from_secs(60);
/// What is shown of a result, in bytes.
const MAX_RESULT: u64 = 1 << 20;

/// What to call.
#[derive(Args)]
pub(super) struct CallArguments {
    /// The workflow and the tool; with --openapi the tool alone.
    #[arg(value_names = ["WORKFLOW", "TOOL"], num_args = 1..=2, required = true)]
    names: Vec<String>,
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

/// A tool of a workflow.
struct FoundTool<'w> {
    workflow: &'w Workflow,
    declaration: &'w ToolsetDeclaration,
    /// The set that has it, opened.
    set: Arc<dyn Toolset>,
    listed: ListedTool,
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

    pub(super) async fn run(self, common: CommonArguments) -> Result<ExitCode, CliError> {
        let arguments: Map<String, Value> = bounds::read(self.args.as_bytes(), &bounds::OUTSIDE)
            .map_err(|error| CliError::Usage(format!("--args is no JSON object: {error}")))?;
        let config = project::load(&common)?;
        config.usable(ConfigSection::Worker)?;
        let services = self.services(&config, &common).await?;
        let run = RunId::random();
        let (set, tool, given): (Arc<dyn Toolset>, &str, SingleCallArguments) = match (&self.openapi, &self.names[..]) {
            (Some(source), [tool]) => {
                let given = SingleCallArguments { arguments, secrets: Vec::new() };
                (Arc::new(self.of_specification(source, &services)?), tool, given)
            }
            (Some(_), _) => return Err(CliError::Usage("with --openapi, name the tool alone".to_owned())),
            (None, [workflow, tool]) => {
                let workflows = workflow::load_folder(&config.workflows)?;
                let found = set_with(&workflows, workflow, tool, &services).await?;
                let user = self.user.as_deref().and_then(UserId::new);
                let FoundTool { workflow, declaration, listed, .. } = &found;
                let call = SingleCall { workflow, set: declaration, tool: listed, arguments: &arguments, run, user };
                let given = call.arguments(&services.secrets).await;
                let given = given.map_err(|why| CliError::Usage(format!("tools.{}: {why}", declaration.name)))?;
                (found.set, tool, given)
            }
            (None, _) => return Err(CliError::Usage("name the workflow and the tool, or use --openapi".to_owned())),
        };
        let key = run.to_string();
        let call = ToolsetCall {
            tool,
            arguments: &given.arguments,
            secrets: &given.secrets,
            caller: None,
            key: &key,
            run: &key,
            within: CALL_WITHIN,
            max_result: MAX_RESULT,
            resumed: None,
        };
        let answer = set.call(call).await;
        services.toolsets.close().await;
        Ok(self.print(answer))
    }

    fn of_specification(&self, written: &str, services: &OutsideServices) -> Result<OpenApiToolset, CliError> {
        let mut declaration = OpenApiDeclaration {
            source: written.to_owned(),
            server: self.server.clone(),
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

    fn mapping(&self) -> Result<BTreeMap<String, String>, CliError> {
        let pair = |text: &String| match text.split_once('=') {
            Some((scheme, secret)) => Ok((scheme.to_owned(), secret.to_owned())),
            None => Err(CliError::Usage(format!("--security is SCHEME=SECRET, and not {text:?}"))),
        };
        self.security.iter().map(pair).collect()
    }

    fn print(&self, answer: Result<ToolsetAnswer, ToolsetError>) -> ExitCode {
        let result = match answer {
            Ok(ToolsetAnswer::Value(value)) => Ok(value),
            Ok(ToolsetAnswer::Asks { message, .. }) => {
                Err(format!("the tool asks a person, which only a run can do: {message}"))
            }
            Ok(ToolsetAnswer::CutOff { why }) => Err(why),
            Ok(ToolsetAnswer::Continues { .. }) => {
                Err("the tool goes on by itself, which only a run can follow".to_owned())
            }
            Err(error) => Err(error.to_string()),
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

/// The set of a workflow that has a tool, with the tool.
async fn set_with<'w>(
    workflows: &'w [Workflow],
    name: &str,
    tool: &str,
    services: &OutsideServices,
) -> Result<FoundTool<'w>, CliError> {
    let Some(workflow) = workflows.iter().find(|workflow| workflow.name.as_str() == name) else {
        return Err(CliError::Usage(format!("there is no workflow {name:?}")));
    };
    for (entry, declaration) in workflow.tools.sets() {
        let failed = |why: ToolsetError| CliError::Usage(format!("tools.{entry}: {why}"));
        let set = services.toolsets.get(&declaration.source).map_err(failed)?;
        let listed = set.list().await.map_err(failed)?;
        if let Some(listed) = listed.into_iter().find(|listed| listed.name == tool) {
            return Ok(FoundTool { workflow, declaration, set, listed });
        }
    }
    Err(CliError::Usage(format!("no set of tools of the workflow {name:?} has a tool {tool:?}")))
}
