//! FastAgency's own endpoints: what its clients send and read.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A workflow that can be started, as FastAgency's clients list it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "DiscoveredWorkflow")]
pub struct DiscoveredWorkflowView {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
}

/// The names and descriptions of the workflows, as FastAgency's examples answer `/`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkflowNames {
    /// The workflows.
    #[serde(rename = "Workflows")]
    #[schemars(with = "BTreeMap<String, String>")]
    pub workflows: Map<String, Value>,
}

/// The body of `POST /fastagency/initiate_workflow`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("required" = ["workflow_name", "workflow_uuid", "user_id", "params"]))]
pub struct InitiateWorkflow {
    /// The name of the workflow.
    pub workflow_name: String,
    /// It is not looked at: the answer has another.
    pub workflow_uuid: String,
    /// It is not looked at: a client does not say who it is, it proves it.
    pub user_id: Option<String>,
    /// The parameters of the workflow.
    pub params: Map<String, Value>,
}

/// The first frame of a conversation over the socket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FirstFrame {
    /// The user; it is not looked at.
    pub user_id: Option<String>,
    /// The id of the run.
    #[schemars(extend("format" = "uuid"))]
    pub workflow_uuid: String,
    /// The name of the workflow.
    pub name: String,
    /// The parameters of the workflow.
    pub params: Map<String, Value>,
}

/// What is wrong, in FastAPI's shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FastApiError {
    /// A text, or a list of problems with where they are.
    pub detail: Value,
}
