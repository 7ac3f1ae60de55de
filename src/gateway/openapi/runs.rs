//! Runs, and one run.

use serde_json::json;

use super::parts::{ApiOperation, delete, event, get, patch, post};
use crate::gateway::runs::LONGEST_KEY;
use crate::protocol::api::{
    AnswerQuestion, ApiErrorBody, CaughtUpView, EventsQuery, GoodbyeView, ListQuestionsQuery, ListRunsQuery,
    QuestionList, RecordView, RemoveRunQuery, RenameRun, RunEventsQuery, RunList, RunView, StartRun, StartRunQuery,
    WorkflowList,
};
use crate::run::attach::TextDelta;

pub(super) fn operations() -> Vec<ApiOperation> {
    let text = || json!({"type": "string"});
    let key = json!({"type": "string", "minLength": 1, "maxLength": LONGEST_KEY, "pattern": "^[ -~]+$"});
    vec![
        get("/api/workflows", "The workflows that can be started").sends::<WorkflowList>(200, "The workflows"),
        post("/api/runs", "Start a run")
            .header("Idempotency-Key", key, "A repeated call with the same key is answered with the same run.")
            .query::<StartRunQuery>()
            .body::<StartRun>()
            .sends::<RunView>(201, "The run, started now")
            .sends::<RunView>(200, "The run that was started with this Idempotency-Key")
            .refuses(404, "`unknown_workflow`")
            .refuses(409, "`idempotency_key_used` for another start")
            .refuses(413, "`too_large`: the body is larger than 2 MiB")
            .refuses(422, "`invalid_params`, `invalid_body`, `invalid_query`, `invalid_idempotency_key`"),
        get("/api/runs", "List runs: those that wait for a person first, then the newest first")
            .query::<ListRunsQuery>()
            .sends::<RunList>(200, "The runs")
            .refuses(422, "`invalid_query`"),
        get("/api/questions", "What the caller's runs wait for, the oldest question first")
            .query::<ListQuestionsQuery>()
            .sends::<QuestionList>(200, "The questions")
            .refuses(422, "`invalid_query`"),
        get("/api/runs/{id}", "Look a run up").sends::<RunView>(200, "The run").refuses(404, "`unknown_run`"),
        patch("/api/runs/{id}", "Rename a run")
            .body::<RenameRun>()
            .sends::<RunView>(200, "The run")
            .refuses(404, "`unknown_run`")
            .refuses(422, "`invalid_title`, `invalid_body`"),
        delete("/api/runs/{id}", "Remove an ended run for ever")
            .query::<RemoveRunQuery>()
            .says(204, "It is gone; the audit keeps what it was, and who removed it")
            .refuses(404, "`unknown_run`")
            .refuses(409, "`run_not_ended`")
            .refuses(422, "`invalid_query`"),
        post("/api/runs/{id}/cancel", "End a run")
            .says(202, "It will end")
            .refuses(404, "`unknown_run`")
            .refuses(409, "`run_ended`"),
        post("/api/runs/{id}/answers/{question}", "Answer a question")
            .body::<AnswerQuestion>()
            .says(202, "The answer counts")
            .refuses(404, "`unknown_run`, `unknown_question`")
            .refuses(409, "`already_answered` (with `by` and `at`), `run_ended`, `other_digest`")
            .refuses(422, "`invalid_answer`, `invalid_body`"),
        get("/api/runs/{id}/events", "Follow a run: its log as server-sent events, then what happens")
            .query::<RunEventsQuery>()
            .header("Last-Event-ID", text(), "As `after`, and goes before it.")
            .streams(
                "Events: `record` (id: its seq; data: a record), `caught_up`, `delta`, `goodbye`, `error`",
                &[
                    event::<RecordView>("record"),
                    event::<CaughtUpView>("caught_up"),
                    event::<TextDelta>("delta"),
                    event::<GoodbyeView>("goodbye"),
                    event::<ApiErrorBody>("error"),
                ],
            )
            .refuses(404, "`unknown_run`")
            .refuses(422, "`invalid_query`, `invalid_last_event_id`"),
        get("/api/events", "Follow several runs, and the audit, in one stream of server-sent events")
            .query::<EventsQuery>()
            .streams(
                "Events as of each run and of the audit; the id of an event says whose it is: the run's id (of a record, `:` and its \
                 seq behind it), or `audit`. An `error` ends the one that it belongs to, a `goodbye` too; one without an id ends all",
                &[
                    event::<RecordView>("record"),
                    event::<CaughtUpView>("caught_up"),
                    event::<TextDelta>("delta"),
                    event::<GoodbyeView>("goodbye"),
                    event::<ApiErrorBody>("error"),
                ],
            )
            .refuses(403, "`forbidden`, `admin_link_required`")
            .refuses(422, "`invalid_query`"),
    ]
}
