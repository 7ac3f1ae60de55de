//! FastAgency's own endpoints.

use serde_json::json;

use super::Operation;
use super::parts::{answer, operation};

pub(super) fn fastagency() -> Vec<Operation> {
    let conversation = json!({"type": "object", "required": ["user_id", "workflow_uuid", "name", "params"], "properties": {
        "user_id": {"type": ["string", "null"]}, "workflow_uuid": {"type": "string", "format": "uuid"},
        "name": {"type": "string"}, "params": {"type": "object"}}});
    vec![
        (
            "get",
            "/",
            operation(
                "fastagency",
                "The names and descriptions of the workflows",
                vec![],
                None,
                json!({
            "200": answer("The workflows, unless the gateway serves a front end of its own",
                json!({"type": "object", "properties": {
                    "Workflows": {"type": "object", "additionalProperties": {"type": "string"}}}}))}),
            ),
        ),
        (
            "get",
            "/fastagency/discovery",
            operation(
                "fastagency",
                "The workflows that can be started",
                vec![],
                None,
                json!({
            "200": answer("The workflows", json!({"type": "array", "items": {
                "type": "object", "required": ["name", "description"], "properties": {
                    "name": {"type": "string"}, "description": {"type": "string"}}}})),
            "504": {"description": "The broker is out of reach"}}),
            ),
        ),
        (
            "post",
            "/fastagency/initiate_workflow",
            operation(
                "fastagency",
                "Make the first frame of a conversation",
                vec![],
                Some(
                    json!({"type": "object", "required": ["workflow_name", "workflow_uuid", "user_id", "params"], "properties": {
                "workflow_name": {"type": "string"}, "workflow_uuid": {"type": "string"},
                "user_id": {"type": ["string", "null"]}, "params": {"type": "object"}}}),
                ),
                json!({
                "200": answer("What to send as the first frame of /fastagency/ws", conversation),
                "400": {"description": "The body broke off"},
                "408": {"description": "The body did not come in time"},
                "413": {"description": "The body is larger than 2 MiB"},
                "422": {"description": "What is wrong with the body, as FastAPI tells it"}}),
            ),
        ),
        (
            "get",
            "/fastagency/ws",
            operation(
                "fastagency",
                "WebSocket: one conversation. The first frame says which, then the n-th text frame answers the n-th question",
                vec![],
                None,
                json!({
                "101": {"description": "The socket is open"}, "404": {"description": "This is no WebSocket handshake"}}),
            ),
        ),
    ]
}
