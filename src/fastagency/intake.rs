//! Our worker beside FastAgency's: joins the workers that share `initiate_workers`, starts what FastAgency gateways ask for,
//! and brings their users' answers into the inbox.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::bounds::{self, OUTSIDE, UnfitJson};
use crate::broker::contract::{FastAgencyContract, SettleableMessage};
use crate::broker::{self, Broker, InboxSlot};
use crate::fastagency::refusal;
use crate::ids::{MessageId, Name, RunId, UserId, user_token};
use crate::lifecycle::Shutdown;
use crate::problem::chain;
use crate::protocol::answerers::AnswererRule;
use crate::protocol::log::RunOrigin;
use crate::redact::Redactor;
use crate::run::answer::{self, AnswerAcceptance, AnswerPayload, SubmittedAnswer};
use crate::run::start::{RunStart, StartOutcome, start};
use crate::run::{self, secret};
use crate::seal::Sealer;
use crate::workflow::{self, Workflow};

/// How long to wait before a stream that is away is tried again.
const JOIN_PAUSE: Duration = Duration::from_secs(5);
/// How long a start that this worker does not serve rests before another worker is offered it; grows with each attempt.
const NOT_OURS: Duration = Duration::from_millis(50);
const NOT_OURS_AT_MOST: Duration = Duration::from_secs(10);
/// How often a start is offered that no worker serves: for about an hour. Those that stay would come again and again for ever,
/// and those that are meant would wait among them.
const MOST_OFFERS: u64 = 360;

/// What a worker of ours is for FastAgency's gateways.
pub struct ServedWorkflows {
    /// The broker.
    pub broker: Broker,
    /// What it serves, by name.
    pub workflows: BTreeMap<Name, Arc<Workflow>>,
    /// What seals passwords; none: they are told, and not stored.
    pub sealer: Option<Sealer>,
    /// What is not told to clients.
    pub redactor: Redactor,
    /// Whose end ends this.
    pub shutdown: Shutdown,
}

/// Prepares FastAgency's stream and bucket, announces the workflows there, and begins to take starts and answers. While the
/// server is away that holds the stream, that is tried again and again, and nothing of ours waits for it.
pub async fn join(worker: ServedWorkflows) -> broker::Result<()> {
    let worker = Arc::new(worker);
    match begin(&worker).await {
        Err(error @ broker::Error::Unavailable { .. }) => {
            tracing::warn!("FastAgency's Python tiers are not served for now: {}", chain(&error));
            let later = worker.clone();
            worker.shutdown.run(async move {
                while !later.shutdown.has_begun() {
                    tokio::select! {
                        () = later.shutdown.soft() => return,
                        () = tokio::time::sleep(JOIN_PAUSE) => {}
                    }
                    match begin(&later).await {
                        Ok(()) => return tracing::info!("FastAgency's Python tiers are served from now on"),
                        Err(error) => {
                            tracing::debug!("FastAgency's Python tiers are not served yet: {}", chain(&error))
                        }
                    }
                }
            });
            Ok(())
        }
        outcome => outcome,
    }
}

async fn begin(worker: &Arc<ServedWorkflows>) -> broker::Result<()> {
    let Some(contract) = &worker.broker.contract else { return Ok(()) };
    contract.prepare().await?;
    for workflow in worker.workflows.values() {
        contract.announce(workflow.name.as_str(), workflow.description.as_deref().unwrap_or_default()).await?;
    }
    let (starts, answers) = (worker.clone(), worker.clone());
    worker.shutdown.run(async move { take_starts(starts).await });
    worker.shutdown.run(async move { take_answers(answers).await });
    Ok(())
}

/// What a FastAgency gateway publishes to start a run.
#[derive(Deserialize)]
struct ForeignStart {
    #[serde(default)]
    user_id: Option<String>,
    workflow_uuid: String,
    name: String,
    #[serde(default)]
    params: Map<String, Value>,
}

async fn take_starts(worker: Arc<ServedWorkflows>) {
    each(&worker, "starts", |contract| async move { contract.initiations().await }, |worker, message| {
        let worker = worker.clone();
        async move {
            let initiation: ForeignStart = match bounds::read(message.body(), &OUTSIDE) {
                Ok(initiation) => initiation,
                Err(UnfitJson::Exceeded(exceeded)) => {
                    tracing::warn!("a start on {} is refused: {exceeded}", message.subject());
                    return message.ack().await;
                }
                Err(UnfitJson::Json(_)) => {
                    tracing::warn!("a message on {} is no start of a workflow", message.subject());
                    return message.ack().await;
                }
            };
            let served = Name::parse(&initiation.name).ok().and_then(|name| worker.workflows.get(&name).cloned());
            let (Some(workflow), Ok(run)) = (served, RunId::parse(&initiation.workflow_uuid)) else {
                let Some(delay) = rest_after(message.attempt()) else {
                    tracing::warn!("a start on {} is given up: no worker serves its workflow", message.subject());
                    return message.ack().await;
                };
                return message.retry_after(delay).await;
            };
            let user = foreign_user(initiation.user_id);
            let params = match workflow::checked_params(&workflow, initiation.params) {
                Ok(params) => params,
                Err(problems) => {
                    // Not what is wrong with them: that quotes them.
                    tracing::warn!(run.id = %run, workflow = %workflow.name, "a start with parameters that do not fit the workflow is refused");
                    return refuse(&worker, message, run, user.as_ref(), &problems).await;
                }
            };
            let wanted = RunStart {
                run,
                workflow: workflow.name.clone(),
                definition: Some(workflow.definition.hash()),
                params,
                user,
                groups: Box::default(),
                origin: RunOrigin::FastAgency,
            };
            match start(&worker.broker, wanted, None).await {
                Ok(StartOutcome::New { .. } | StartOutcome::Existing(_)) => message.ack().await,
                Err(error) => {
                    tracing::warn!(run.id = %run, "the run could not be started: {error}");
                    message.retry_after(Duration::from_secs(2)).await
                }
            }
        }
    })
    .await;
}

/// Tells a FastAgency gateway's client why nothing was started, and settles the start.
async fn refuse(
    worker: &ServedWorkflows,
    message: Box<dyn SettleableMessage>,
    run: RunId,
    user: Option<&UserId>,
    problems: &str,
) -> broker::Result<()> {
    let Some(contract) = &worker.broker.contract else { return message.ack().await };
    let refused = async {
        // It was started by another definition, and asked for again.
        if run::created(&worker.broker, run).await?.is_some() {
            return Ok(());
        }
        Ok::<_, run::Error>(refusal::refuse(&**contract, run, user, problems, &worker.redactor).await?)
    };
    match refused.await {
        Ok(()) => message.ack().await,
        Err(error) => {
            tracing::warn!(run.id = %run, "the client could not be told that its start is refused: {error}");
            message.retry_after(Duration::from_secs(2)).await
        }
    }
}

/// How long a start rests that was offered so many times; none: it is given up.
fn rest_after(offers: u64) -> Option<Duration> {
    let delay = NOT_OURS * 2u32.saturating_pow(offers.min(8) as u32);
    (offers < MOST_OFFERS).then(|| delay.min(NOT_OURS_AT_MOST))
}

/// A user as FastAgency writes him: no user is null, empty, or the text `None`.
fn foreign_user(user: Option<String>) -> Option<UserId> {
    user.filter(|user| user != "None").and_then(UserId::new)
}

/// What a FastAgency gateway publishes as an answer.
#[derive(Deserialize)]
struct ForeignAnswer {
    msg: Option<String>,
    question_uuid: Option<String>,
    #[serde(default)]
    error: bool,
}

async fn take_answers(worker: Arc<ServedWorkflows>) {
    each(
        &worker,
        "answers",
        |contract| async move { contract.answers().await },
        |worker, message| {
            let worker = worker.clone();
            async move {
                match bring_in(&worker, &*message).await {
                    Ok(()) => message.ack().await,
                    Err(run::Error::Broker(
                        error @ (broker::Error::Unavailable { .. } | broker::Error::Full { .. }),
                    )) => {
                        tracing::warn!("an answer could not be brought in: {error}");
                        message.retry_after(Duration::from_secs(1)).await
                    }
                    Err(error) => {
                        tracing::debug!("an answer that is not for us: {error}");
                        message.ack().await
                    }
                }
            }
        },
    )
    .await;
}

/// Puts an answer into the inbox of the run that it is for, if that run is ours.
async fn bring_in(worker: &ServedWorkflows, message: &dyn SettleableMessage) -> run::Result<()> {
    let Ok(answer) = bounds::read::<ForeignAnswer>(message.body(), &OUTSIDE) else { return Ok(()) };
    let mut tokens = message.subject().rsplit('.');
    let (Some(run), Some(user)) = (tokens.next(), tokens.next()) else { return Ok(()) };
    let Ok(run) = RunId::parse(run) else { return Ok(()) };
    let looked = run::look(&worker.broker, run, 0).await?;
    let Some(created) = looked.created() else { return Ok(()) };
    if created.origin != RunOrigin::FastAgency || user_token(created.user.as_ref()) != user {
        return Ok(());
    }
    let named = answer.question_uuid.and_then(|uuid| MessageId::parse(&uuid).ok());
    let asked =
        looked.records.iter().filter_map(|placed| placed.record.message()).find(|said| Some(said.uuid) == named);
    let (Some(question), Some(text), false) = (asked, answer.msg, answer.error) else { return Ok(()) };
    if !question.says.asks() {
        return Ok(());
    }
    if question.says.answerers().is_some_and(AnswererRule::restricts) {
        // A Python gateway says by itself who answers, and nothing of groups: it can vouch for nobody.
        tracing::warn!(run.id = %run, "an answer of a FastAgency gateway was not used: the question is only for some people");
        return Ok(());
    }
    let secret = question.says.is_secret();
    let (given, told) =
        if secret { conceal(worker, run, question.uuid, text).await? } else { (AnswerPayload::Text(text), None) };
    let given = SubmittedAnswer::new(given, created.user.clone());
    let accepted = answer::answer(&worker.broker, &created.workflow, run, question.uuid, &given).await?;
    if accepted == AnswerAcceptance::Yes
        && let Some(password) = told
    {
        worker.broker.inbox.notify(run, InboxSlot::Answer(question.uuid), password.into()).await?;
    }
    if secret && let Some(contract) = &worker.broker.contract {
        contract.erase(message.seq()).await?;
    }
    Ok(())
}

/// What of a password is stored, and what is only told once that was the first answer.
async fn conceal(
    worker: &ServedWorkflows,
    run: RunId,
    question: MessageId,
    password: String,
) -> run::Result<(AnswerPayload, Option<String>)> {
    match &worker.sealer {
        Some(sealer) => {
            Ok((AnswerPayload::Sealed(secret::seal(&worker.broker, sealer, run, question, &password).await?), None))
        }
        None => Ok((AnswerPayload::NotStored, Some(password))),
    }
}

/// Takes messages of a stream until the end begins, opening it again when it breaks.
async fn each<Open, Opened, Take, Taken>(worker: &Arc<ServedWorkflows>, what: &str, open: Open, take: Take)
where
    Open: Fn(Arc<dyn FastAgencyContract>) -> Opened,
    Opened: Future<
        Output = broker::Result<futures_util::stream::BoxStream<'static, broker::Result<Box<dyn SettleableMessage>>>>,
    >,
    Take: Fn(&Arc<ServedWorkflows>, Box<dyn SettleableMessage>) -> Taken,
    Taken: Future<Output = broker::Result<()>>,
{
    let Some(contract) = worker.broker.contract.clone() else { return };
    while !worker.shutdown.has_begun() {
        match open(contract.clone()).await {
            Ok(mut messages) => loop {
                let message = tokio::select! {
                    () = worker.shutdown.soft() => return,
                    message = messages.next() => message,
                };
                match message {
                    Some(Ok(message)) => {
                        if let Err(error) = take(worker, message).await {
                            tracing::debug!("one of FastAgency's {what} was not settled: {error}");
                        }
                    }
                    Some(Err(error)) => tracing::warn!("cannot take FastAgency's {what}: {error}"),
                    None => break,
                }
            },
            Err(error) => tracing::warn!("cannot take FastAgency's {what}: {error}"),
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(2)) => {}
            () = worker.shutdown.soft() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_that_nobody_serves_is_given_up_after_about_an_hour() {
        let rests: Vec<Duration> = (1..).map_while(rest_after).collect();
        let total: Duration = rests.iter().sum();
        assert!((3000..4000).contains(&total.as_secs()), "{total:?}");
        assert!(rests.iter().all(|rest| *rest <= NOT_OURS_AT_MOST));
        assert_eq!(rest_after(u64::MAX), None);
    }
}
