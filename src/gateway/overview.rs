//! `/api/overview` and `/api/workers`: how everybody's runs are doing, and who works at them, for the operator's page. Only
//! for callers with the right to the audit.

use std::sync::Arc;

use axum::Json as Reply;
use axum::extract::State;
use futures_util::future::join_all;

use crate::auth::Caller;
use crate::broker::run_lists::{LineOwner, MOST_LOOKED_THROUGH, QuestionPlace, QuestionQuery};
use crate::gateway::error::Result;
use crate::gateway::{GatewayState, guard};
use crate::protocol::api::{
    Cost, Costs, OutcomeCounts, Overview, QueueDepthView, StateCounts, UserCost, WaitingQuestionView, WaitingQuestions,
    WorkerList, WorkerView, WorkflowCost,
};
use crate::protocol::log::RunOutcome;
use crate::protocol::queue_name::QueueName;
use crate::protocol::run_line::LineStatus;
use crate::run::summary::{OpenQuestion, RunState, RunSummary};
use crate::run::{directory, lists, redaction};

/// How many open questions are shown: the oldest, which somebody has waited for longest.
const QUESTIONS: usize = 50;
/// How many workflows and users are shown by what they cost: the dearest.
const DEAREST: usize = 50;

/// `GET /api/overview`.
pub async fn overview(State(gateway): State<Arc<GatewayState>>, caller: Caller) -> Result<Reply<Overview>> {
    guard::may_audit(&gateway, &caller)?;
    let totals = gateway.broker.lists.totals(DEAREST).await?;
    let count = |wanted: &[LineStatus]| {
        totals.by_status.iter().filter(|(status, _)| wanted.contains(status)).map(|(_, runs)| *runs as usize).sum()
    };
    let in_state = |state| count(LineStatus::of_state(state));
    let ended = |outcome| count(&[LineStatus::of_outcome(outcome)]);
    let oldest = oldest_questions(&gateway).await?;
    let names: Vec<_> = gateway.known.all().await?.native.keys().cloned().collect();
    let queues: Vec<_> = names.iter().cloned().map(QueueName::Workflow).collect();
    let depths = join_all(queues.iter().map(|queue| gateway.broker.queue.depth(queue))).await;
    let mut queue = Vec::with_capacity(names.len());
    for (name, depth) in names.iter().zip(depths) {
        let depth = depth?;
        queue.push(QueueDepthView { workflow: name.to_string(), waiting: depth.waiting, taken: depth.taken });
    }
    let cleans = gateway.broker.cleaner.is_some()
        || directory::workers(&gateway.broker).await?.iter().any(|worker| worker.cleans);
    Ok(Reply(Overview {
        warnings: gateway.is_open.then(|| super::OPEN_ACCESS_WARNING.to_owned()).into_iter().collect(),
        runs: StateCounts {
            queued: in_state(RunState::Queued),
            running: in_state(RunState::Running),
            waiting: in_state(RunState::Waiting),
            ended: in_state(RunState::Ended),
        },
        outcomes: OutcomeCounts {
            completed: ended(RunOutcome::Completed),
            failed: ended(RunOutcome::Failed),
            cancelled: ended(RunOutcome::Cancelled),
        },
        queue,
        cleaner: cleans,
        // What a removed run has cost was spent all the same.
        costs: Costs {
            by_workflow: costs(totals.by_workflow, |workflow, cost| WorkflowCost { workflow, cost }),
            by_user: costs(totals.by_user, |user, cost| UserCost { user, cost }),
        },
        questions: WaitingQuestions { open: totals.open_questions as usize, oldest },
    }))
}

fn costs<C>(found: Vec<(Option<String>, Cost)>, view: impl Fn(Option<String>, Cost) -> C) -> Vec<C> {
    found.into_iter().map(|(name, cost)| view(name, cost)).collect()
}

/// The oldest open questions, redacted.
async fn oldest_questions(gateway: &GatewayState) -> Result<Vec<WaitingQuestionView>> {
    let query = QuestionQuery {
        owner: LineOwner::Everybody,
        asked_before: None,
        after: None,
        limit: QUESTIONS,
        look_through: MOST_LOOKED_THROUGH,
    };
    let shown = |run: &mut RunSummary, place: QuestionPlace| {
        redaction::summary(&gateway.settings.redactor, run);
        run.questions.iter().find(|open| open.id == place.question).cloned()
    };
    let page = lists::questions(&gateway.broker, &query, shown).await?;
    let view = |(run, question): (RunSummary, OpenQuestion)| WaitingQuestionView {
        run: run.id,
        workflow: run.workflow.as_ref().map(ToString::to_string),
        user: run.user.as_ref().map(ToString::to_string),
        prompt: question.prompt,
        asked_at: question.at,
    };
    Ok(page.questions.into_iter().map(view).collect())
}

/// `GET /api/workers`.
pub async fn workers(State(gateway): State<Arc<GatewayState>>, caller: Caller) -> Result<Reply<WorkerList>> {
    guard::may_audit(&gateway, &caller)?;
    let mut workers = directory::workers(&gateway.broker).await?;
    workers.sort_by_key(|worker| worker.started_at);
    let shown = workers.into_iter().map(|worker| WorkerView {
        id: worker.id.to_string(),
        workflows: worker.workflows.iter().map(ToString::to_string).collect(),
        started_at: worker.started_at,
        version: worker.version,
        runs: worker.runs,
        max_runs: worker.max_runs,
        cleans: worker.cleans,
    });
    Ok(Reply(WorkerList { workers: shown.collect() }))
}
