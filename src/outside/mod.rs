//! What workflows reach outside of the system, and what must not come in or go out on the way: servers (`http`), the secrets that they are
//! shown (`secrets`), which addresses are asked at all (`addresses`), and servers whose tools agents may call (`mcp`).

use std::sync::Arc;

use crate::config::Config;

pub mod addresses;
pub mod encoding;
pub mod http;
pub mod mcp;
pub mod secrets;
pub mod toolset;

use addresses::AddressRules;
use http::HttpSender;
use mcp::McpServers;
use secrets::Secrets;

/// What the runs of a worker reach outside.
#[derive(Debug, Clone)]
pub struct OutsideServices {
    /// What sends requests.
    pub http: Arc<HttpSender>,
    /// What requests may hold and nobody else sees.
    pub secrets: Arc<Secrets>,
    /// The MCP servers; [`McpServers::close`] ends what they have started.
    pub mcp: Arc<McpServers>,
}

impl OutsideServices {
    /// As a configuration has it.
    pub fn new(config: &Config) -> Self {
        let rules = AddressRules::new(&config.outgoing.allow_private);
        let http = Arc::new(HttpSender::new(rules, config.outgoing.proxy.as_deref()));
        Self {
            mcp: Arc::new(McpServers::new(&config.mcp, &http, &config.secrets)),
            http,
            secrets: Arc::new(Secrets::new(config.secrets.clone())),
        }
    }
}

impl Default for OutsideServices {
    /// Without secrets, and to public addresses only.
    fn default() -> Self {
        let http = Arc::new(HttpSender::new(AddressRules::default(), None));
        let mcp = Arc::new(McpServers::new(&Default::default(), &http, &Default::default()));
        Self { http, secrets: Arc::default(), mcp }
    }
}
