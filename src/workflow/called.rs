//! What a workflow needs of itself while it runs: its parameters as checked, and the workflows that it calls.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::ids::Name;
use crate::workflow::{Workflow, WorkflowDefinition, from_definition};

/// The parameters with their defaults; the error is a sentence that names each that does not fit.
pub fn checked_params(workflow: &Workflow, params: Map<String, Value>) -> Result<Map<String, Value>, String> {
    let Some(schema) = &workflow.params else { return crate::schema::no_params(params) };
    crate::schema::checked_params(&schema.json, Some(&schema.validator), params)
}

/// A workflow that this one calls, from the texts that this one is pinned to.
pub fn called(workflow: &Workflow, name: &Name) -> Result<Workflow, String> {
    let sources: BTreeMap<Name, String> = workflow.definition.sources.clone();
    from_definition(&WorkflowDefinition { name: name.clone(), sources }).map_err(|problems| problems.to_string())
}

/// Fills in the defaults of a schema's properties, at the top level as it is usual for parameters.
pub fn apply_defaults(schema: &Value, params: &mut Map<String, Value>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(default) = property.get("default")
            && !params.contains_key(name)
        {
            params.insert(name.clone(), default.clone());
        }
    }
}
