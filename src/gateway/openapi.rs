//! `/openapi.json`: the whole interface in one place, as `docs/api.md` tells it in words. A test holds it and the route table
//! together.

use serde_json::{Map, Value, json};

use crate::gateway::guard;

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
                ("401", "`unauthorized`: say who you are, or that is not right"),
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

type Operation = (&'static str, &'static str, Value);

fn operations() -> Vec<Operation> {
    let mut all = runs();
    all.extend(one_run());
    all.extend(audit());
    all.extend(overview());
    all.extend(fastagency());
    all.extend(service());
    all
}

fn runs() -> Vec<Operation> {
    vec![
        (
            "get",
            "/api/workflows",
            operation(
                "runs",
                "The workflows that can be started",
                vec![],
                None,
                json!({
                    "200": answer("The workflows", json!({"type": "object", "required": ["workflows"], "properties": {
                        "workflows": {"type": "array", "items": reference("Workflow")}}})),
                }),
            ),
        ),
        (
            "post",
            "/api/runs",
            operation(
                "runs",
                "Start a run",
                vec![
                    header("Idempotency-Key", "A repeated call with the same key is answered with the same run."),
                    query(
                        "wait",
                        json!({"type": "number", "minimum": 0}),
                        "Answer only when the run has ended or asks something, or after so many seconds (at most 55).",
                    ),
                ],
                Some(json!({"type": "object", "required": ["workflow"], "additionalProperties": false, "properties": {
                "workflow": {"type": "string"}, "params": {"type": "object", "default": {}}}})),
                json!({
                    "201": answer("The run, started now", reference("Run")),
                    "200": answer("The run that was started with this Idempotency-Key", reference("Run")),
                    "404": problem("`unknown_workflow`"),
                    "409": problem("`idempotency_key_used` for another start"),
                    "413": problem("`too_large`: the body is larger than 2 MiB"),
                    "422": problem("`invalid_params`, `invalid_body`, `invalid_query`"),
                }),
            ),
        ),
        (
            "get",
            "/api/runs",
            operation(
                "runs",
                "List runs: those that wait for a person first, then the newest first",
                vec![
                    query("state", json!({"enum": STATES}), "Only those in this state."),
                    query("workflow", json!({"type": "string"}), "Only those of this workflow."),
                    query("search", json!({"type": "string"}), "Only those with this in their title, workflow or id."),
                    query(
                        "limit",
                        json!({"type": "integer", "minimum": 0, "maximum": 500, "default": 50}),
                        "At most so many.",
                    ),
                    query("everybody", json!({"type": "boolean", "default": false}), "All that the caller may see."),
                ],
                None,
                json!({
                    "200": answer("The runs", json!({"type": "object", "required": ["runs"], "properties": {
                        "runs": {"type": "array", "items": reference("Run")}}})),
                    "422": problem("`invalid_query`"),
                }),
            ),
        ),
        (
            "get",
            "/api/questions",
            operation(
                "runs",
                "What the caller's runs wait for, the oldest question first",
                vec![
                    query("workflow", json!({"type": "string"}), "Only those of runs of this workflow."),
                    query(
                        "limit",
                        json!({"type": "integer", "minimum": 0, "maximum": 500, "default": 50}),
                        "How many at most.",
                    ),
                    query("everybody", json!({"type": "boolean", "default": false}), "All that the caller may answer."),
                ],
                None,
                json!({
                    "200": answer("The questions", json!({"type": "object", "required": ["questions"], "properties": {
                        "questions": {"type": "array", "items": {"type": "object",
                            "required": ["id", "prompt", "asked_at", "run"], "properties": {
                                "id": {"type": "string"}, "prompt": {"type": "string"},
                                "asked_at": {"type": "string", "format": "date-time"},
                                "run": {"type": "object", "properties": {"id": {"type": "string"},
                                    "workflow": {"type": "string"}, "title": {"type": ["string", "null"]}}}}}}}})),
                    "422": problem("`invalid_query`"),
                }),
            ),
        ),
    ]
}

fn one_run() -> Vec<Operation> {
    let id = || path("id", "The run's id: 32 hexadecimal digits.");
    vec![
        (
            "get",
            "/api/runs/{id}",
            operation(
                "runs",
                "Look a run up",
                vec![id()],
                None,
                json!({
            "200": answer("The run", reference("Run")), "404": problem("`unknown_run`")}),
            ),
        ),
        (
            "patch",
            "/api/runs/{id}",
            operation(
                "runs",
                "Rename a run",
                vec![id()],
                Some(json!({"type": "object", "additionalProperties": false, "properties": {
                "title": {"type": ["string", "null"], "maxLength": 120,
                    "description": "Null or empty: the first answer is its title again."}}})),
                json!({
                "200": answer("The run", reference("Run")), "404": problem("`unknown_run`"),
                "422": problem("`invalid_title`")}),
            ),
        ),
        (
            "delete",
            "/api/runs/{id}",
            operation(
                "runs",
                "Remove an ended run for ever",
                vec![id()],
                None,
                json!({
            "204": {"description": "It is gone"}, "404": problem("`unknown_run`"), "409": problem("`run_not_ended`")}),
            ),
        ),
        (
            "post",
            "/api/runs/{id}/cancel",
            operation(
                "runs",
                "End a run",
                vec![id()],
                None,
                json!({
            "202": {"description": "It will end"}, "404": problem("`unknown_run`"), "409": problem("`run_ended`")}),
            ),
        ),
        (
            "post",
            "/api/runs/{id}/answers/{question}",
            operation(
                "runs",
                "Answer a question",
                vec![id(), path("question", "The question's id: the uuid of the message that asks.")],
                Some(json!({"type": "object", "required": ["value"], "additionalProperties": false, "properties": {
                "value": {"description": "A string for text_input, a choice's text for multiple_choice (a list of them if \
                                          several may be chosen), an object for form, {\"decision\": \"once\"} for approval."}}})),
                json!({
                "202": {"description": "The answer counts"},
                "404": problem("`unknown_run`, `unknown_question`"),
                "409": problem("`already_answered` (with `by` and `at`), `run_ended`"),
                "422": problem("`invalid_answer`")}),
            ),
        ),
        (
            "get",
            "/api/runs/{id}/events",
            operation(
                "runs",
                "Follow a run: its log as server-sent events, then what happens",
                vec![
                    id(),
                    query("after", json!({"type": "integer", "minimum": 0}), "Only what comes after this record."),
                    query("follow", json!({"type": "boolean", "default": true}), "False: end after what is there."),
                    header("Last-Event-ID", "As `after`, and goes before it."),
                ],
                None,
                json!({
                "200": {
                    "description": "Events: `record` (id: its seq; data: a record), `caught_up`, `delta`, `goodbye`, `error`",
                    "content": events(&[
                        ("record", reference("Record")),
                        ("caught_up", json!({"type": "object", "required": ["seq"], "properties": {"seq": {"type": "integer"}}})),
                        ("delta", json!({"type": "object"})),
                        ("goodbye", json!({"type": "object", "required": ["after"], "properties": {"after": {"type": "integer"}}})),
                        ("error", reference("Error")),
                    ]),
                },
                "404": problem("`unknown_run`"),
                "422": problem("`invalid_query`, `invalid_last_event_id`")}),
            ),
        ),
    ]
}

fn overview() -> Vec<Operation> {
    let count = || json!({"type": "integer"});
    let cost = |key: &str| {
        json!({"type": "array", "items": {"type": "object", "properties": {key: {"type": ["string", "null"]},
            "runs": count(), "tokens": count(), "cost_usd": {"type": "number"}}}})
    };
    let list = |properties: Value| json!({"type": "array", "items": {"type": "object", "properties": properties}});
    vec![
        (
            "get",
            "/api/overview",
            operation(
                "audit",
                "How everybody's runs are doing: by state, in the queue, waiting for people, by what they cost",
                Vec::new(),
                None,
                json!({"200": answer("The overview", json!({"type": "object", "properties": {
                    "runs": {"type": "object", "additionalProperties": count()},
                    "outcomes": {"type": "object", "additionalProperties": count()},
                    "queue": list(json!({"workflow": {"type": "string"}, "waiting": count(), "taken": count()})),
                    "costs": {"type": "object", "properties": {
                        "by_workflow": cost("workflow"), "by_user": cost("user")}},
                    "questions": {"type": "object", "properties": {"open": count(), "oldest": list(json!({
                        "run": {"type": "string"}, "workflow": {"type": ["string", "null"]},
                        "user": {"type": ["string", "null"]}, "prompt": {"type": "string"},
                        "asked_at": {"type": "string", "format": "date-time"}}))}}}}))}),
            ),
        ),
        (
            "get",
            "/api/workers",
            operation(
                "audit",
                "The workers that are up, and what they have to do",
                Vec::new(),
                None,
                json!({"200": answer("The workers", json!({"type": "object", "properties": {
                    "workers": list(json!({"id": {"type": "string"}, "version": {"type": "string"},
                        "workflows": {"type": "array", "items": {"type": "string"}}, "runs": count(),
                        "max_runs": count(), "started_at": {"type": "string", "format": "date-time"}}))}}))}),
            ),
        ),
    ]
}

fn audit() -> Vec<Operation> {
    let text = || json!({"type": "string"});
    let when = || json!({"type": "string", "format": "date-time"});
    let selection = || {
        vec![
            query("workflow", text(), "Only runs of this workflow."),
            query("user", text(), "Only this user's."),
            query(
                "state",
                json!({"enum": ["queued", "running", "waiting", "ended", "completed", "failed", "cancelled"]}),
                "Only those that are so, or that ended so.",
            ),
            query("worker", text(), "Only those that this worker claimed last."),
            query("since", when(), "Only those created then or later."),
            query("until", when(), "Only those created before then."),
            query("q", text(), "Only those with this in their title, workflow, user, id or reason."),
        ]
    };
    let id = || path("id", "The run's id: 32 hexadecimal digits.");
    vec![
        (
            "get",
            "/api/audit/runs",
            operation(
                "audit",
                "Everybody's runs, the newest first",
                [
                    selection(),
                    vec![
                        query(
                            "limit",
                            json!({"type": "integer", "minimum": 0, "maximum": 500, "default": 50}),
                            "At most so many.",
                        ),
                        query("cursor", text(), "The `next` of the answer before: what comes after it."),
                    ],
                ]
                .concat(),
                None,
                json!({
                    "200": answer("The runs", json!({"type": "object", "required": ["runs", "next"], "properties": {
                        "runs": {"type": "array", "items": reference("Run")}, "next": {"type": ["string", "null"]}}})),
                    "422": problem("`invalid_query`"),
                }),
            ),
        ),
        (
            "get",
            "/api/audit/runs/{id}",
            operation(
                "audit",
                "Everything that happened in a run",
                vec![
                    id(),
                    query(
                        "prompts",
                        json!({"type": "boolean", "default": false}),
                        "With each request to a model whole, as `prompt`.",
                    ),
                ],
                None,
                json!({
                    "200": answer("The run and its events", json!({"type": "object", "required": ["run", "events"],
                        "properties": {"run": reference("Run"),
                            "events": {"type": "array", "items": reference("AuditEvent")}}})),
                    "404": problem("`unknown_run`"),
                    "422": problem("`invalid_query`"),
                }),
            ),
        ),
        (
            "get",
            "/api/audit/runs/{id}/verify",
            operation(
                "audit",
                "Whether the log of a run is what was written",
                vec![id()],
                None,
                json!({
                    "200": answer("The verdict", json!({"type": "object", "required": ["clean", "run", "verdict"],
                        "properties": {"clean": {"type": "boolean"}, "run": text(), "verdict": {"type": "object"}}})),
                    "404": problem("`unknown_run`"),
                    "409": problem("`not_chained`: there is no key"),
                }),
            ),
        ),
        (
            "get",
            "/api/audit/verify",
            operation(
                "audit",
                "Whether the logs of all runs are what was written",
                vec![],
                None,
                json!({
                    "200": answer("The report", json!({"type": "object", "required": ["clean", "report"],
                        "properties": {"clean": {"type": "boolean"}, "report": {"type": "object"}}})),
                    "409": problem("`not_chained`: there is no key"),
                }),
            ),
        ),
        (
            "post",
            "/api/audit/erase",
            operation(
                "audit",
                "Take everything that was said out of a person's runs, for ever",
                vec![],
                Some(json!({"type": "object", "required": ["user", "reason"], "additionalProperties": false,
                    "properties": {"user": text(), "reason": {"type": "string", "description": "Why; it is kept."}}})),
                json!({
                    "200": answer("What was erased, and what was not", json!({"type": "object",
                        "required": ["erased", "not_ended", "answered_elsewhere"], "properties": {
                            "erased": {"type": "array", "items": text()},
                            "not_ended": {"type": "array", "items": text()},
                            "answered_elsewhere": {"type": "array", "items": text()}}})),
                    "413": problem("`too_large`"),
                    "422": problem("`invalid_body`"),
                }),
            ),
        ),
        (
            "get",
            "/api/audit/events",
            operation(
                "audit",
                "What happens now, in all runs",
                vec![
                    query("workflow", text(), "Only in runs of this workflow."),
                    query("user", text(), "Only in this user's."),
                    query("run", text(), "Only in this one."),
                ],
                None,
                json!({
                    "200": {
                        "description": "Events: `record`, `gap` (something may have been missed), `goodbye`",
                        "content": events(&[
                            ("record", reference("AuditEvent")),
                            ("gap", json!({"type": "object"})),
                            ("goodbye", json!({"type": "object"})),
                        ]),
                    },
                    "404": problem("`unknown_run`"),
                    "422": problem("`invalid_query`"),
                }),
            ),
        ),
        (
            "get",
            "/api/audit/export",
            operation(
                "audit",
                "The events of all runs that are meant, as a file",
                [
                    vec![query("format", json!({"enum": ["jsonl", "csv"]}), "What it is written in; needed.")],
                    selection(),
                ]
                .concat(),
                None,
                json!({
                    "200": {"description": "The events", "content": {
                        "application/x-ndjson": {"schema": reference("AuditEvent")},
                        "text/csv": {"schema": {"type": "string"}}}},
                    "422": problem("`invalid_query`"),
                }),
            ),
        ),
    ]
}

fn fastagency() -> Vec<Operation> {
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
                "413": {"description": "The body is larger than 16 MiB"},
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

fn service() -> Vec<Operation> {
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
                    "200": answer("The caller; null: he does not say", json!({"type": "object", "required": ["mode", "user"],
                        "properties": {
                            "mode": {"enum": ["none", "basic", "api_key", "jwt", "oidc", "trusted_header"]},
                            "user": {"anyOf": [{"type": "null"}, {"type": "object", "required": ["name", "groups", "admin"],
                                "properties": {"name": {"type": "string"}, "groups": {"type": "array", "items": {"type": "string"}},
                                    "admin": {"type": "boolean"}}}]}}}))}),
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

const STATES: [&str; 4] = ["queued", "running", "waiting", "ended"];

fn schemas() -> Value {
    let when = json!({"type": "string", "format": "date-time"});
    let text_or_null = json!({"type": ["string", "null"]});
    json!({
        "Error": {"type": "object", "required": ["error"], "properties": {"error": {
            "type": "object", "required": ["code", "message"], "properties": {
                "code": {"type": "string"},
                "message": {"type": "string", "description": "A sentence for a person."},
                "hint": {"type": "string"},
                "id": {"type": "string", "description": "With `internal`: the gateway's log has more under this id."},
                "by": text_or_null, "at": when}}}},
        "Workflow": {"type": "object", "required": ["name", "title", "description", "params", "available"], "properties": {
            "name": {"type": "string"}, "title": text_or_null, "description": text_or_null,
            "params": {"type": ["object", "null"], "description": "A JSON Schema."},
            "available": {"type": "boolean", "description": "Whether a living worker serves it now."}}},
        "Run": {"type": "object",
            "required": ["id", "workflow", "title", "state", "outcome", "reason", "question", "user", "created_at", "updated_at"],
            "properties": {
                "id": {"type": "string"}, "title": text_or_null,
                "workflow": {"type": ["string", "null"], "description": "Null in the audit of a run that was removed"},
                "state": {"enum": STATES},
                "outcome": {"enum": ["completed", "failed", "cancelled", null]}, "reason": text_or_null,
                "question": {"type": ["object", "null"], "properties": {
                    "id": {"type": "string"}, "prompt": {"type": "string"}}},
                "user": text_or_null, "created_at": when, "updated_at": when}},
        "Record": {"type": "object", "required": ["seq", "at", "kind"], "properties": {
            "seq": {"type": "integer"}, "at": when,
            "kind": {"enum": ["created", "claimed", "said", "answered", "parked", "ended"]},
            "message": reference("Message")}},
        "AuditEvent": {"type": "object", "required": ["run", "seq", "at", "kind"], "properties": {
            "run": {"type": "string"}, "seq": {"type": "integer"}, "at": when,
            "kind": {"type": "string", "description": "created, claimed, said, asked, answered, replied, failed, made, \
                calling, parked, ended, removed; what belongs to each is in docs/audit.md"},
            "workflow": {"type": "string"}, "user": text_or_null}},
        "Message": {"type": "object",
            "required": ["uuid", "sender", "recipient", "auto_reply", "type", "content"],
            "properties": {
                "uuid": {"type": "string"}, "sender": text_or_null, "recipient": text_or_null,
                "auto_reply": {"type": "boolean"},
                "type": {"type": "string", "description": "text_message, suggested_function_call, function_call_execution, \
                    text_input, multiple_choice, form, approval, system_message, workflow_started, workflow_completed, error, \
                    keep_alive, or what a foreign worker sent"},
                "content": {"type": "object"},
                "within": {"type": "array", "description": "The conversations inside the workflow's own that it belongs to, \
                    outermost first.", "items": {"type": "object", "properties": {
                    "id": {"type": "string"}, "title": {"type": "string"}}}},
                "html": {"type": "string", "description": "The text, rendered and made safe."}}},
    })
}

fn operation(tag: &str, summary: &str, parameters: Vec<Value>, body: Option<Value>, responses: Value) -> Value {
    let mut operation = json!({"tags": [tag], "summary": summary});
    if !parameters.is_empty() {
        operation["parameters"] = Value::Array(parameters);
    }
    if let Some(schema) = body {
        operation["requestBody"] = json!({"required": true, "content": {"application/json": {"schema": schema}}});
    }
    operation["responses"] = responses;
    operation
}

fn answer(description: &str, schema: Value) -> Value {
    json!({"description": description, "content": {"application/json": {"schema": schema}}})
}

/// A stream of server-sent events: each with its name and, as JSON in a text, its data.
fn events(kinds: &[(&str, Value)]) -> Value {
    let event = |(name, data): &(&str, Value)| {
        json!({"type": "object", "required": ["event", "data"], "properties": {
            "event": {"const": name},
            "id": {"type": "string"},
            "data": {"type": "string", "contentMediaType": "application/json", "contentSchema": data}}})
    };
    json!({"text/event-stream": {"schema": {"oneOf": kinds.iter().map(event).collect::<Vec<_>>()}}})
}

fn problem(description: &str) -> Value {
    answer(description, reference("Error"))
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn path(name: &str, description: &str) -> Value {
    json!({"name": name, "in": "path", "required": true, "description": description, "schema": {"type": "string"}})
}

fn query(name: &str, schema: Value, description: &str) -> Value {
    json!({"name": name, "in": "query", "description": description, "schema": schema})
}

fn header(name: &str, description: &str) -> Value {
    json!({"name": name, "in": "header", "description": description, "schema": {"type": "string"}})
}

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
