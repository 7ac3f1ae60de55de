//! What workflows reach outside of the system, and what must not come in or go out on the way: servers (`http`), functions of Python files (`python`), the secrets that servers are
//! shown (`secrets`), and which addresses are asked at all (`addresses`).

use std::sync::Arc;

use crate::config::Config;

pub mod addresses;
pub mod encoding;
pub mod http;
pub mod programs;
pub mod python;
pub mod secrets;
pub mod toolset;
pub mod toolsets;

use addresses::AddressRules;
use http::HttpSender;
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
        Self {
            http: Arc::new(HttpSender::new(
                AddressRules::new(&config.outgoing.allow_private),
                config.outgoing.proxy.as_deref(),
            )),
            secrets: Arc::new(Secrets::new(config.secrets.clone())),
            programs: Arc::new(Programs::new(config.commands.clone())),
            toolsets: Arc::new(Toolsets::new(vec![Arc::new(PythonTools::new(config.python.clone()))])),
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
