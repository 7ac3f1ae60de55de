//! Who calls, health, and this description itself.

use serde_json::json;

use super::Operation;
use super::parts::{answer, operation, problem};

pub(super) fn service() -> Vec<Operation> {
    vec![
        (
            "post",
            "/token",
            json!({
                "tags": ["service"],
                "summary": "A token for a user and a password: FastAPI's OAuth2 password flow",
                "requestBody": {"required": true, "content": {"application/x-www-form-urlencoded": {"schema": {
                    "type": "object", "required": ["username", "password"], "properties": {
                        "username": {"type": "string"}, "password": {"type": "string"}, "grant_type": {"type": "string"}}}}}},
                "responses": {
                    "200": answer("The token", json!({"type": "object", "required": ["access_token", "token_type", "expires_in"],
                        "properties": {"access_token": {"type": "string"}, "token_type": {"const": "bearer"},
                            "expires_in": {"type": "integer", "description": "Seconds"}}})),
                    "401": {"description": "Wrong user or password"},
                    "403": problem("`forbidden`: this page may not"),
                    "404": {"description": "No tokens are given out here"},
                    "400": {"description": "The form broke off"},
                    "408": {"description": "The form did not come in time"},
                    "413": {"description": "The form is too large"},
                    "422": {"description": "What is missing, as FastAPI tells it"},
                    "429": problem("`too_many_requests`"),
                },
            }),
        ),
        (
            "get",
            "/api/me",
            operation(
                "service",
                "Who calls, and how callers prove who they are",
                vec![],
                None,
                json!({
                    "200": answer("The caller; null: an anonymous caller", json!({"type": "object", "required": ["mode", "user"],
                        "properties": {
                            "mode": {"enum": ["none", "basic", "api_key", "jwt", "oidc", "trusted_header"]},
                            "user": {"anyOf": [{"type": "null"}, {"type": "object", "required": ["name", "groups", "admin"],
                                "properties": {"name": {"type": "string"}, "groups": {"type": "array", "items": {"type": "string"}},
                                    "admin": {"type": "boolean"}}}]}}}))}),
            ),
        ),
        (
            "post",
            "/api/admin-link",
            operation(
                "service",
                "With auth.mode none: the token of this gateway for the code of its admin link, once",
                vec![],
                Some(json!({"type": "object", "required": ["code"], "additionalProperties": false,
                    "properties": {"code": {"type": "string"}}})),
                json!({
                    "200": answer("The token, sent as `Authorization: Bearer …`", json!({"type": "object", "required": ["token"],
                        "properties": {"token": {"type": "string"}}})),
                    "403": problem("`admin_link_used`: it was opened before, or belongs to another process"),
                    "404": problem("`no_admin_link`: callers are asked who they are here"),
                    "422": problem("`invalid_body`")}),
            ),
        ),
        (
            "post",
            "/api/session/end",
            operation(
                "service",
                "Ends what the request belongs to, a session of the page or a token of POST /token: no gateway takes it any more",
                vec![],
                Some(json!({"type": "object", "additionalProperties": false, "properties": {
                    "lifetime": {"type": "integer", "minimum": 0, "description": "How long the session would have counted, in seconds"}}})),
                json!({
                    "204": {"description": "It is over"},
                    "409": problem("`no_session`: there is nothing to end")}),
            ),
        ),
        (
            "get",
            "/healthz",
            operation(
                "service",
                "Whether the process is alive",
                vec![],
                None,
                json!({
            "200": {"description": "It is"}}),
            ),
        ),
        (
            "get",
            "/readyz",
            operation(
                "service",
                "Whether the broker can be reached and takes new runs",
                vec![],
                None,
                json!({
            "200": {"description": "It can"}, "503": problem("`not_ready`, and why")}),
            ),
        ),
        (
            "get",
            "/openapi.json",
            operation(
                "service",
                "This description",
                vec![],
                None,
                json!({
            "200": {"description": "OpenAPI 3.1", "content": {"application/json": {}}}}),
            ),
        ),
        (
            "get",
            "/docs",
            operation(
                "service",
                "This description as a page",
                vec![],
                None,
                json!({
            "200": {"description": "HTML", "content": {"text/html": {}}}}),
            ),
        ),
    ]
}
