//! Runs, and one run.

use serde_json::json;

use super::Operation;
use super::parts::{answer, events, header, operation, path, problem, query, reference};
use super::schemas::STATES;
use crate::protocol::api::{
    AnswerQuestion, ApiErrorBody, QuestionList, RecordView, RenameRun, RunList, RunView, StartRun, WorkflowList,
};
use crate::run::attach::Delta;

pub(super) fn runs() -> Vec<Operation> {
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
                    "200": answer("The workflows", reference::<WorkflowList>()),
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
                Some(reference::<StartRun>()),
                json!({
                    "201": answer("The run, started now", reference::<RunView>()),
                    "200": answer("The run that was started with this Idempotency-Key", reference::<RunView>()),
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
                    "200": answer("The runs", reference::<RunList>()),
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
                    "200": answer("The questions", reference::<QuestionList>()),
                    "422": problem("`invalid_query`"),
                }),
            ),
        ),
    ]
}

pub(super) fn one_run() -> Vec<Operation> {
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
            "200": answer("The run", reference::<RunView>()), "404": problem("`unknown_run`")}),
            ),
        ),
        (
            "patch",
            "/api/runs/{id}",
            operation(
                "runs",
                "Rename a run",
                vec![id()],
                Some(reference::<RenameRun>()),
                json!({
                "200": answer("The run", reference::<RunView>()), "404": problem("`unknown_run`"),
                "422": problem("`invalid_title`")}),
            ),
        ),
        (
            "delete",
            "/api/runs/{id}",
            operation(
                "runs",
                "Remove an ended run for ever",
                vec![id(), query("reason", json!({"type": "string", "maxLength": 500}), "Why; the audit keeps it.")],
                None,
                json!({
            "204": {"description": "It is gone; the audit keeps what it was, and who removed it"},
            "404": problem("`unknown_run`"), "409": problem("`run_not_ended`"), "422": problem("`invalid_query`")}),
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
                Some(reference::<AnswerQuestion>()),
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
                        ("record", reference::<RecordView>()),
                        ("caught_up", json!({"type": "object", "required": ["seq"], "properties": {"seq": {"type": "integer"}}})),
                        ("delta", reference::<Delta>()),
                        ("goodbye", json!({"type": "object", "required": ["after"], "properties": {"after": {"type": "integer"}}})),
                        ("error", reference::<ApiErrorBody>()),
                    ]),
                },
                "404": problem("`unknown_run`"),
                "422": problem("`invalid_query`, `invalid_last_event_id`")}),
            ),
        ),
    ]
}
