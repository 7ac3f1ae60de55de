//! What operators and auditors see of everybody's runs.

use serde_json::{Value, json};

use super::Operation;
use super::parts::{answer, events, named, operation, path, problem, query, reference};
use crate::audit::erase::Erased;
use crate::protocol::api::{AuditRunList, AuditRunView, EraseUser};

pub(super) fn overview() -> Vec<Operation> {
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
                    "warnings": {"type": "array", "items": {"type": "string"}, "description": "What an operator should change."},
                    "runs": {"type": "object", "additionalProperties": count()},
                    "outcomes": {"type": "object", "additionalProperties": count()},
                    "queue": list(json!({"workflow": {"type": "string"}, "waiting": count(), "taken": count()})),
                    "cleaner": {"type": "boolean"},
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

pub(super) fn audit() -> Vec<Operation> {
    let text = || json!({"type": "string"});
    let when = || json!({"type": "string", "format": "date-time"});
    let selection = || {
        vec![
            query("workflow", text(), "Only runs of this workflow."),
            query("user", text(), "Only this user's."),
            query(
                "state",
                json!({"enum": ["queued", "running", "waiting", "ended", "completed", "failed", "cancelled", "removed"]}),
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
                    "200": answer("The runs", reference::<AuditRunList>()),
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
                        "properties": {"run": reference::<AuditRunView>(),
                            "events": {"type": "array", "items": named("AuditEvent")}}})),
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
                Some(reference::<EraseUser>()),
                json!({
                    "200": answer("What was erased, and what was not", reference::<Erased>()),
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
                            ("record", named("AuditEvent")),
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
                        "application/x-ndjson": {"schema": named("AuditEvent")},
                        "text/csv": {"schema": {"type": "string"}}}},
                    "422": problem("`invalid_query`"),
                }),
            ),
        ),
    ]
}
