//! What workflows reach outside of the system, and what must not come in or go out on the way: servers (`http`), operations of
//! specifications (`openapi`), functions of Python files (`python`), MCP servers (`mcp`), programs (`programs`), services on NATS, whose replies `service_reply` reads, the secrets that servers are
//! shown (`secrets`, `hidden`), and which addresses are asked at all (`addresses`), and how often tools are called (`call_rates`).

use std::path::Path;
use std::sync::Arc;

use crate::config::Config;
use crate::openapi::OpenApiDeclaration;

pub mod addresses;
pub mod call_rates;
pub mod encoding;
pub mod hidden;
pub mod http;
pub mod http_answer;
pub mod mcp;
pub mod oauth;
pub mod openapi;
pub mod programs;
pub mod python;
pub mod secrets;
pub mod service_reply;
pub mod toolset;
pub mod toolsets;

use addresses::AddressRules;
use call_rates::CallRates;
use http::HttpSender;
use mcp::{McpServers, McpTools};
use openapi::{OpenApiDocuments, OpenApiSets, OpenApiToolset};
use programs::Programs;
use python::PythonTools;
use secrets::{LocalTokenStore, Secrets, TokenStore};
use toolsets::Toolsets;

/// What the runs of a worker reach outside.
#[derive(Debug, Clone)]
pub struct OutsideServices {
    /// What sends requests.
    pub http: Arc<HttpSender>,
    /// What requests may hold and nobody else sees.
    pub secrets: Arc<Secrets>,
    /// The specifications whose operations are tools.
    pub documents: Arc<OpenApiDocuments>,
    /// What runs programs.
    pub programs: Arc<Programs>,
    /// The sets of tools that others have.
    pub toolsets: Arc<Toolsets>,
    /// How often tools may be called.
    pub rates: Arc<CallRates>,
}

impl OutsideServices {
    /// As a configuration has it, with tokens in the memory of this process.
    pub fn new(config: &Config) -> Self {
        Self::with_tokens(config, Arc::new(LocalTokenStore::default()))
    }

    /// The same, with tokens that are kept elsewhere, such as where all workers share them.
    pub fn with_tokens(config: &Config, tokens: Arc<dyn TokenStore>) -> Self {
        let rules = AddressRules::new(&config.outgoing.allow_private);
        let http = HttpSender::new(rules, config.outgoing.proxy.as_deref());
        let http = Arc::new(http.following(&config.outgoing.allow_hosts));
        let folder = config.path.parent().unwrap_or(Path::new(""));
        let services = Self::of_parts(http, Secrets::new(config.secrets.clone()).with_tokens(tokens.clone()), folder);
        let hidden = services.secrets.shared_hidden_texts();
        let openapi = OpenApiSets::new(services.documents.clone(), services.http.clone(), services.secrets.clone());
        let mcp = McpServers::new(&config.mcp, &services.http, &config.secrets, &tokens, &hidden);
        let toolsets = Toolsets::new(vec![
            Arc::new(openapi),
            Arc::new(PythonTools::new(config.python.clone(), &hidden)),
            Arc::new(McpTools::new(mcp)),
        ]);
        let programs = Arc::new(Programs::new(config.commands.clone()).beside(&hidden));
        Self { programs, toolsets: Arc::new(toolsets), ..services }
    }

    /// With what sends requests, which also asks for tokens, and the folder of the project; without tools that others have.
    pub fn of_parts(http: Arc<HttpSender>, secrets: Secrets, folder: &Path) -> Self {
        let documents = Arc::new(OpenApiDocuments::new(folder, http.clone()));
        let secrets = Arc::new(secrets.with_http(http.clone()));
        Self { secrets, http, documents, programs: Arc::default(), toolsets: Arc::default(), rates: Arc::default() }
    }

    /// The operations of a specification as tools.
    pub fn openapi(&self, declaration: OpenApiDeclaration) -> OpenApiToolset {
        OpenApiToolset::new(declaration, self.documents.clone(), self.http.clone(), self.secrets.clone())
    }
}

impl Default for OutsideServices {
    /// Without secrets, and to public addresses only.
    fn default() -> Self {
        let http = Arc::new(HttpSender::new(AddressRules::default(), None));
        Self::of_parts(http, Secrets::default(), Path::new(""))
    }
}
