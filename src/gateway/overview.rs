//! `/api/overview` and `/api/workers`: how everybody's runs are doing, and who works at them, for the operator's page. Only
//! for callers with the right to the audit.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json as Reply;
use axum::extract::State;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::auth::Caller;
use crate::gateway::error::Result;
use crate::gateway::{Gateway, guard};
use crate::money::Usd;
use crate::protocol::queue_name::QueueName;
use crate::run::record::Ending;
use crate::run::summary::{self, State as RunState, Summary};
use crate::run::{directory, redaction};

/// How many open questions are shown: the oldest, which somebody has waited for longest.
const QUESTIONS: usize = 50;
/// How many workflows and users are shown by what they cost: the dearest.
const DEAREST: usize = 50;

/// What the runs of one workflow, or of one user, cost.
#[derive(Default)]
struct Cost {
    runs: u64,
    tokens: u64,
    usd: Usd,
}

/// `GET /api/overview`.
pub async fn overview(State(gateway): State<Arc<Gateway>>, caller: Caller) -> Result<Reply<Value>> {
    guard::may_audit(&gateway, &caller)?;
    let all = summary::list_all_and_removed(&gateway.broker).await?;
    let runs: Vec<Summary> = all.iter().filter(|run| run.removed.is_none()).cloned().collect();
    let count = |state| runs.iter().filter(|run| run.state == state).count();
    let ended = |outcome| runs.iter().filter(|run| run.outcome == Some(outcome)).count();
    let names: Vec<_> = gateway.known.all().await?.native.keys().cloned().collect();
    let queues: Vec<_> = names.iter().cloned().map(QueueName::Workflow).collect();
    let depths = join_all(queues.iter().map(|queue| gateway.broker.queue.depth(queue))).await;
    let mut queue = Vec::with_capacity(names.len());
    for (name, depth) in names.iter().zip(depths) {
        let depth = depth?;
        queue.push(json!({"workflow": name, "waiting": depth.waiting, "taken": depth.taken}));
    }
    let cleans = gateway.broker.cleaner.is_some()
        || directory::workers(&gateway.broker).await?.iter().any(|worker| worker.cleans);
    let workflow = |run: &Summary| run.workflow.as_ref().map(ToString::to_string);
    let user = |run: &Summary| run.user.as_ref().map(|user| user.as_str().to_owned());
    let warnings: Vec<&str> = gateway.is_open.then_some(super::OPEN).into_iter().collect();
    let shown = json!({
        "warnings": warnings,
        "runs": {"queued": count(RunState::Queued), "running": count(RunState::Running),
                 "waiting": count(RunState::Waiting), "ended": count(RunState::Ended)},
        "outcomes": {"completed": ended(Ending::Completed), "failed": ended(Ending::Failed),
                     "cancelled": ended(Ending::Cancelled)},
        "queue": queue,
        "cleaner": cleans,
        // What a removed run has cost was spent all the same.
        "costs": {"by_workflow": dearest(&all, "workflow", workflow), "by_user": dearest(&all, "user", user)},
        "questions": questions(&gateway, runs),
    });
    Ok(Reply(shown))
}

fn dearest(runs: &[Summary], key: &str, of: impl Fn(&Summary) -> Option<String>) -> Vec<Value> {
    let mut costs: BTreeMap<Option<String>, Cost> = BTreeMap::new();
    for run in runs {
        let cost = costs.entry(of(run)).or_default();
        cost.runs += 1;
        cost.tokens += run.tokens;
        cost.usd += run.cost_usd;
    }
    let mut costs: Vec<_> = costs.into_iter().collect();
    costs.sort_by_key(|(_, cost)| Reverse((cost.usd, cost.tokens, cost.runs)));
    costs.truncate(DEAREST);
    let line = |(whose, cost): (Option<String>, Cost)| json!({key: whose, "runs": cost.runs, "tokens": cost.tokens, "cost_usd": cost.usd});
    costs.into_iter().map(line).collect()
}

/// How many questions are open, and the oldest of them, redacted.
fn questions(gateway: &Gateway, runs: Vec<Summary>) -> Value {
    let mut waiting: Vec<Summary> = runs.into_iter().filter(|run| !run.questions.is_empty()).collect();
    let open: usize = waiting.iter().map(|run| run.questions.len()).sum();
    waiting.sort_by_key(|run| run.questions[0].at);
    waiting.truncate(QUESTIONS);
    let mut oldest = Vec::new();
    for mut run in waiting {
        redaction::summary(&gateway.settings.redactor, &mut run);
        for question in &run.questions {
            oldest.push(json!({"run": run.id, "workflow": run.workflow, "user": run.user, "prompt": question.prompt,
                               "asked_at": question.at}));
        }
    }
    oldest.truncate(QUESTIONS);
    json!({"open": open, "oldest": oldest})
}

/// `GET /api/workers`.
pub async fn workers(State(gateway): State<Arc<Gateway>>, caller: Caller) -> Result<Reply<Value>> {
    guard::may_audit(&gateway, &caller)?;
    let mut workers = directory::workers(&gateway.broker).await?;
    workers.sort_by_key(|worker| worker.started_at);
    Ok(Reply(json!({"workers": workers})))
}
