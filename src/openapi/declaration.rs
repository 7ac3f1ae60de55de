//! What a workflow says of a set of tools that are the operations of a specification.

use std::collections::BTreeMap;
use std::time::Duration;

use super::selection::ToolSelection;
use super::servers::ServerChoice;

/// A set of tools, as a workflow declares it: `petstore: { openapi: https://api.example/openapi.json, only: [listPets] }`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenApiDeclaration {
    /// Where the specification is: a file below the folder of the project, or an address.
    pub source: String,
    /// Only the operations that one of these globs selects; empty: all.
    pub only: Vec<String>,
    /// None of the operations that one of these globs selects.
    pub except: Vec<String>,
    /// The address of the server; none: what the specification says.
    pub server: Option<String>,
    /// The secrets by the security schemes of the specification. A scheme without an entry takes the secret of its own name.
    pub security: BTreeMap<String, String>,
    /// How long a call may take; none: the usual time.
    pub timeout: Option<Duration>,
    /// What is read of an answer, in bytes; none: the usual amount.
    pub max_result: Option<u64>,
    /// The words for models and people in place of the server's own.
    pub error_message: Option<String>,
}

impl OpenApiDeclaration {
    /// The operations that it means.
    pub fn selection(&self) -> ToolSelection {
        ToolSelection { include: self.only.clone(), exclude: self.except.clone() }
    }

    /// The server that it means.
    pub fn server_choice(&self) -> ServerChoice {
        ServerChoice { url: self.server.clone(), variables: BTreeMap::new() }
    }
}
