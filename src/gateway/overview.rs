//! `/api/overview` and `/api/workers`: how everybody's runs are doing, and who works at them, for the operator's page. Only
//! for callers with the right to the audit.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json as Reply;
use axum::extract::State;
use futures_util::future::join_all;

use crate::auth::Caller;
use crate::gateway::error::Result;
use crate::gateway::{GatewayState, guard};
use crate::protocol::api::{
    Cost, Costs, OutcomeCounts, Overview, QueueDepthView, StateCounts, UserCost, WaitingQuestionView, WaitingQuestions,
    WorkerList, WorkerView, WorkflowCost,
};
use crate::protocol::log::RunOutcome;
use crate::protocol::queue_name::QueueName;
use crate::run::summary::{self, OpenQuestion, RunState, RunSummary};
use crate::run::{directory, redaction};

/// How many open questions are shown: the oldest, which somebody has waited for longest.
const QUESTIONS: usize = 50;
/// How many workflows and users are shown by what they cost: the dearest.
const DEAREST: usize = 50;

/// `GET /api/overview`.
pub async fn overview(State(gateway): State<Arc<GatewayState>>, caller: Caller) -> Result<Reply<Overview>> {
    guard::may_audit(&gateway, &caller)?;
    let all = summary::list_all_and_removed(&gateway.broker).await?;
    let runs: Vec<RunSummary> = all.iter().filter(|run| run.removed.is_none()).cloned().collect();
    let count = |state| runs.iter().filter(|run| run.state == state).count();
    let ended = |outcome| runs.iter().filter(|run| run.outcome == Some(outcome)).count();
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
    let workflow = |run: &RunSummary| run.workflow.as_ref().map(ToString::to_string);
    let user = |run: &RunSummary| run.user.as_ref().map(|user| user.as_str().to_owned());
    let by_workflow = dearest(&all, workflow).into_iter().map(|(workflow, cost)| WorkflowCost { workflow, cost });
    let by_user = dearest(&all, user).into_iter().map(|(user, cost)| UserCost { user, cost });
    Ok(Reply(Overview {
        warnings: gateway.is_open.then(|| super::OPEN_ACCESS_WARNING.to_owned()).into_iter().collect(),
        runs: StateCounts {
            queued: count(RunState::Queued),
            running: count(RunState::Running),
            waiting: count(RunState::Waiting),
            ended: count(RunState::Ended),
        },
        outcomes: OutcomeCounts {
            completed: ended(RunOutcome::Completed),
            failed: ended(RunOutcome::Failed),
            cancelled: ended(RunOutcome::Cancelled),
        },
        queue,
        cleaner: cleans,
        // What a removed run has cost was spent all the same.
        costs: Costs { by_workflow: by_workflow.collect(), by_user: by_user.collect() },
        questions: questions(&gateway, runs),
    }))
}

/// What runs cost, by what `of` says of each; those that cost most come first.
fn dearest(runs: &[RunSummary], of: impl Fn(&RunSummary) -> Option<String>) -> Vec<(Option<String>, Cost)> {
    let mut costs: BTreeMap<Option<String>, Cost> = BTreeMap::new();
    for run in runs {
        let cost = costs.entry(of(run)).or_default();
        cost.runs += 1;
        cost.tokens += run.tokens;
        cost.cost_usd += run.cost_usd;
        cost.estimated |= run.estimated;
    }
    let mut costs: Vec<_> = costs.into_iter().collect();
    costs.sort_by_key(|(_, cost)| Reverse((cost.cost_usd, cost.tokens, cost.runs)));
    costs.truncate(DEAREST);
    costs
}

/// How many questions are open, and the oldest of them, redacted.
fn questions(gateway: &GatewayState, runs: Vec<RunSummary>) -> WaitingQuestions {
    let mut waiting: Vec<RunSummary> = runs.into_iter().filter(|run| !run.questions.is_empty()).collect();
    let open: usize = waiting.iter().map(|run| run.questions.len()).sum();
    waiting.sort_by_key(|run| run.questions[0].at);
    waiting.truncate(QUESTIONS);
    let mut oldest = Vec::new();
    for mut run in waiting {
        redaction::summary(&gateway.settings.redactor, &mut run);
        let of_run = |question: &OpenQuestion| WaitingQuestionView {
            run: run.id,
            workflow: run.workflow.as_ref().map(ToString::to_string),
            user: run.user.as_ref().map(ToString::to_string),
            prompt: question.prompt.clone(),
            asked_at: question.at,
        };
        oldest.extend(run.questions.iter().map(of_run));
    }
    oldest.truncate(QUESTIONS);
    WaitingQuestions { open, oldest }
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
