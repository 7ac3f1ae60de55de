//! `/openapi.json`: the whole interface in one place, as `docs/reference/api.md` tells it in words. A test holds it and the route table
//! together. Here is what each operation does and which types it reads and sends; what is in them their types say
//! ([`crate::protocol::api`]).

use serde_json::{Map, Value, json};

use crate::gateway::guard;

mod audit;
mod fastagency;
mod parts;
mod runs;
mod service;

use parts::ApiOperation;

/// What is described together: its name, what it is, and its operations.
type Tag = (&'static str, &'static str, fn() -> Vec<ApiOperation>);

const TAGS: [Tag; 4] = [
    ("runs", "Our own interface: runs with exact resume, answers by question, history.", runs::operations),
    ("audit", "What happened in everybody's runs, for auditors.", audit::operations),
    ("fastagency", "FastAgency's own endpoints, for its clients.", fastagency::operations),
    ("service", "Health and description of the gateway.", service::operations),
];

/// How any operation may answer where callers are asked who they are.
const TO_CALLERS: [(u16, &str); 4] = [
    (401, "`unauthorized`: authentication is required, or it failed"),
    (403, "`forbidden`: this page, or this user, may not"),
    (429, "`too_many_requests`: too often, or wrong too often; `Retry-After` says how long to wait"),
    (503, "`auth_unavailable`, `broker_unavailable` or `broker_full`: try again"),
];

/// How any operation of `/api` may answer that reads JSON.
const TO_JSON: [(u16, &str); 4] = [
    (400, "`malformed_json`: the body is no JSON; `incomplete_body`"),
    (408, "`request_timeout`: the body did not come in time"),
    (413, "`too_large`: the body is larger than 2 MiB, or than what can be stored"),
    (415, "`unsupported_media_type`: the body is not sent as JSON in UTF-8, or compressed"),
];

/// How any operation of `/api` may answer.
const TO_QUERY: [(u16, &str); 1] = [(422, "`invalid_query`")];

/// The description.
pub fn document() -> Value {
    let mut paths = Map::new();
    let mut schemas = Map::new();
    for (tag, _, operations) in TAGS {
        for operation in operations() {
            let (method, path) = (operation.method, operation.path);
            let (described, named) = with_what_all_answer(operation).described(tag);
            schemas.extend(named);
            paths.entry(path).or_insert_with(|| json!({}))[method] = described;
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "fastagency",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Multi-agent workflows as durable runs: start one, follow it, answer its questions.",
        },
        "tags": TAGS.map(|(name, words, _)| json!({"name": name, "description": words})),
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {
            "password": {"type": "http", "scheme": "basic", "description": "auth.mode: basic"},
            "token": {"type": "http", "scheme": "bearer", "description": "A token (auth.mode: jwt, or from POST /token), or a key"},
            "key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "A key"},
        }},
        // Which of them count is the configuration's to say; with auth.mode none, nothing is asked.
        "security": [{}, {"password": []}, {"token": []}, {"key": []}],
    })
}

fn with_what_all_answer(operation: ApiOperation) -> ApiOperation {
    let is_fastagencys = operation.path.starts_with("/fastagency/");
    if guard::OPEN_PATHS.contains(&operation.path) {
        return operation.open_to_all();
    }
    let told = |operation: ApiOperation, (status, words): (u16, &str)| match operation.knows(status) {
        true => operation,
        false if is_fastagencys => operation.says(status, words),
        false => operation.refuses(status, words),
    };
    let more = if operation.reads_json() && !is_fastagencys { &TO_JSON[..] } else { &[] };
    let query = if operation.path.starts_with("/api/") { &TO_QUERY[..] } else { &[] };
    TO_CALLERS.iter().chain(more).chain(query).copied().fold(operation, told)
}

#[cfg(test)]
mod contract_tests;
#[cfg(test)]
mod page_types_tests;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::gateway::routes;

    #[test]
    fn every_route_is_described_and_every_description_has_its_route() {
        let routes: BTreeSet<String> =
            routes::table().iter().map(|route| format!("{} {}", route.method, route.path)).collect();
        let document = document();
        let described: BTreeSet<String> = document["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, methods)| {
                methods.as_object().unwrap().keys().map(move |method| format!("{method} {path}"))
            })
            .collect();
        assert_eq!(routes, described);
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_parameter_of_a_path_is_described() {
        fn references(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(map) => {
                    found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
                    map.values().for_each(|value| references(value, found));
                }
                Value::Array(list) => list.iter().for_each(|value| references(value, found)),
                _ => {}
            }
        }
        let document = document();
        let mut found = Vec::new();
        references(&document, &mut found);
        for reference in found {
            assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
        }
        for (path, methods) in document["paths"].as_object().unwrap() {
            let named: Vec<&str> = path.split('{').skip(1).filter_map(|rest| rest.split('}').next()).collect();
            for (method, operation) in methods.as_object().unwrap() {
                let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
                let described: Vec<&str> = parameters
                    .iter()
                    .filter(|one| one["in"] == "path")
                    .filter_map(|one| one["name"].as_str())
                    .collect();
                assert_eq!(described, named, "{method} {path}");
            }
        }
    }
}
