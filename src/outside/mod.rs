//! What workflows reach outside of the system, and what must not come in or go out on the way: servers (`http`), the secrets that they are
//! shown (`secrets`, `hidden`), which addresses are asked at all (`addresses`), and sets of tools that others have (`toolset`, `openapi`).

use std::path::Path;
use std::sync::Arc;

use crate::config::Config;
use crate::openapi::OpenApiDeclaration;

pub mod addresses;
pub mod encoding;
pub mod hidden;
pub mod http;
pub mod http_answer;
pub mod openapi;
pub mod secrets;
pub mod toolset;

use addresses::AddressRules;
use http::HttpSender;
use openapi::{OpenApiDocuments, OpenApiToolset};
use secrets::Secrets;

/// What the runs of a worker reach outside.
#[derive(Debug, Clone)]
pub struct OutsideServices {
    /// What sends requests.
    pub http: Arc<HttpSender>,
    /// What requests may hold and nobody else sees.
    pub secrets: Arc<Secrets>,
    /// The specifications whose operations are tools.
    pub documents: Arc<OpenApiDocuments>,
}

impl OutsideServices {
    /// As a configuration has it.
    pub fn new(config: &Config) -> Self {
        let rules = AddressRules::new(&config.outgoing.allow_private);
        let http = Arc::new(HttpSender::new(rules, config.outgoing.proxy.as_deref()));
        let folder = config.path.parent().unwrap_or(Path::new(""));
        Self::of_parts(http, Secrets::new(config.secrets.clone()), folder)
    }

    /// With what sends requests, which also asks for tokens, and the folder of the project.
    pub fn of_parts(http: Arc<HttpSender>, secrets: Secrets, folder: &Path) -> Self {
        let documents = Arc::new(OpenApiDocuments::new(folder, http.clone()));
        Self { secrets: Arc::new(secrets.with_http(http.clone())), http, documents }
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
