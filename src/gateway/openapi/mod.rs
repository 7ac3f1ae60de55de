//! `/openapi.json`: the whole interface in one place, as `docs/reference/api.md` tells it in words. A test holds it and the route table
//! together.

use serde_json::{Map, Value, json};

use crate::gateway::guard;

mod audit;
mod fastagency;
mod parts;
mod runs;
mod schemas;
mod service;

use parts::problem;
use schemas::schemas;

/// The description.
pub fn document() -> Value {
    let mut paths = Map::new();
    for (method, path, operation) in operations() {
        let entry = paths.entry(path).or_insert_with(|| json!({}));
        let mut operation = operation;
        if guard::OPEN.contains(&path) {
            operation["security"] = json!([]);
        } else if let Some(responses) = operation["responses"].as_object_mut() {
            let fastagencys = path.starts_with("/fastagency/");
            for (status, words) in [
                ("401", "`unauthorized`: authentication is required, or it failed"),
                ("403", "`forbidden`: this page, or this user, may not"),
                ("429", "`too_many_requests`: too often, or wrong too often; `Retry-After` says how long to wait"),
                ("503", "`auth_unavailable`, `broker_unavailable` or `broker_full`: try again"),
            ] {
                let told = if fastagencys { json!({"description": words}) } else { problem(words) };
                responses.entry(status).or_insert(told);
            }
        }
        let reads_json = operation["requestBody"]["content"].get("application/json").is_some();
        if let Some(responses) = operation["responses"].as_object_mut()
            && reads_json
            && !path.starts_with("/fastagency/")
        {
            for (status, words) in [
                ("400", "`malformed_json`: the body is no JSON; `incomplete_body`"),
                ("408", "`request_timeout`: the body did not come in time"),
                ("413", "`too_large`: the body is larger than 2 MiB, or than what can be stored"),
                ("415", "`unsupported_media_type`: the body is not sent as JSON, or compressed"),
            ] {
                responses.entry(status).or_insert_with(|| problem(words));
            }
        }
        if let Some(entry) = entry.as_object_mut() {
            entry.insert(method.to_owned(), operation);
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "fastagency",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Multi-agent workflows as durable runs: start one, follow it, answer its questions.",
        },
        "tags": [
            {"name": "runs", "description": "Our own interface: runs with exact resume, answers by question, history."},
            {"name": "audit", "description": "What happened in everybody's runs, for auditors."},
            {"name": "fastagency", "description": "FastAgency's own endpoints, for its clients."},
            {"name": "service", "description": "Health and description of the gateway."},
        ],
        "paths": paths,
        "components": {"schemas": schemas(), "securitySchemes": {
            "password": {"type": "http", "scheme": "basic", "description": "auth.mode: basic"},
            "token": {"type": "http", "scheme": "bearer", "description": "A token (auth.mode: jwt, or from POST /token), or a key"},
            "key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "A key"},
        }},
        // Which of them count is the configuration's to say; with auth.mode none, nothing is asked.
        "security": [{}, {"password": []}, {"token": []}, {"key": []}],
    })
}

/// A method, a path, and what they do.
type Operation = (&'static str, &'static str, Value);

fn operations() -> Vec<Operation> {
    let mut all = runs::runs();
    all.extend(runs::one_run());
    all.extend(audit::audit());
    all.extend(audit::overview());
    all.extend(fastagency::fastagency());
    all.extend(service::service());
    all
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
