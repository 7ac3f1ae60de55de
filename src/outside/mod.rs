//! What workflows reach outside of the system, and what must not come in or go out on the way: servers (`http`), functions of Python
//! files (`python`), MCP servers (`mcp`), programs (`programs`), the secrets that servers are shown (`secrets`), and which addresses are
//! asked at all (`addresses`).

use std::sync::Arc;

use crate::config::Config;

pub mod addresses;
pub mod encoding;
pub mod http;
pub mod mcp;
pub mod programs;
pub mod python;
pub mod secrets;
pub mod toolset;
pub mod toolsets;

use addresses::AddressRules;
use http::HttpSender;
use mcp::{McpServers, McpTools};
use programs::Programs;
use python::PythonTools;
use secrets::Secrets;
use toolsets::Toolsets;

/// What the runs of a worker reach outside.
#[derive(Debug, Clone)]
pub struct OutsideServices {
    /// What sends requests.
    pub http: Arc<HttpSender>,
    /// What requests may hold and nobody else sees.
    pub secrets: Arc<Secrets>,
    /// What runs programs.
    pub programs: Arc<Programs>,
    /// The sets of tools that others have.
    pub toolsets: Arc<Toolsets>,
}

impl OutsideServices {
    /// As a configuration has it.
    pub fn new(config: &Config) -> Self {
        let rules = AddressRules::new(&config.outgoing.allow_private);
        let http = Arc::new(HttpSender::new(rules, config.outgoing.proxy.as_deref()));
        Self {
            toolsets: Arc::new(Toolsets::new(vec![
                Arc::new(PythonTools::new(config.python.clone())),
                Arc::new(McpTools::new(McpServers::new(&config.mcp, &http, &config.secrets))),
            ])),
            http,
            secrets: Arc::new(Secrets::new(config.secrets.clone())),
            programs: Arc::new(Programs::new(config.commands.clone())),
        }
    }
}

impl Default for OutsideServices {
    /// Without secrets, and to public addresses only.
    fn default() -> Self {
        Self {
            http: Arc::new(HttpSender::new(AddressRules::default(), None)),
            secrets: Arc::default(),
            programs: Arc::default(),
            toolsets: Arc::default(),
        }
    }
}
