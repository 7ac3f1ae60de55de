//! The steps of a workflow: one function per action, reading like what it does. Nothing here looks at a clock, draws a
//! random number or touches the world but through [`ScopedEffects`]; so the same log gives the same execution.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{StreamExt, TryStreamExt, stream};
use minijinja::context;
use serde_json::{Map, Value, json};

use crate::chat::{Result, WorkflowFailure, WorkflowStop};
use crate::clock::Timestamp;
use crate::engine::Error;
use crate::engine::conversations;
use crate::engine::effects::ScopedEffects;
use crate::engine::execution::{BodyEnd, WorkflowExecution};
use crate::engine::journal::{IterationValues, Journal};
use crate::engine::outside;
use crate::engine::questions::{ask, chosen, offered, text_value, texts};
use crate::engine::scope::{ExpressionScope, ScopeChange, within_bounds};
use crate::engine::services;
use crate::engine::toolsets::{self, with_toolsets};
use crate::ids::{Name, RunId};
use crate::message::{self, FormQuestion, InnerConversation, MessageContent, MultipleChoice, TextInput};
use crate::protocol::effect_key::EffectScope;
use crate::protocol::failure::FailureKind;
use crate::protocol::log::RunOrigin;
use crate::run::caller_token::CallerTokenSeal;
use crate::run::directory;
use crate::run::start::{RunStart, StartDelivery, start_with_token};
use crate::workflow::expression::seen;
use crate::workflow::{
    self, BranchArm, LoopCondition, MessageAction, MessageStepContent, OnError, StepAction, WaitTime, Workflow,
    WorkflowStep,
};

/// Executes a workflow from its start.
pub(super) async fn execute(workflow: Arc<Workflow>, journal: Arc<Journal>) -> Result<Value> {
    let mut scope = ExpressionScope::new(&workflow, journal.run, &journal.created, &journal.created.params);
    let execution = WorkflowExecution {
        workflow: &workflow,
        journal: &journal,
        within: Vec::new(),
        call: None,
        execute_body: body,
    };
    let listed = Box::pin(with_toolsets(&execution, &EffectScope::root())).await?;
    let execution = WorkflowExecution { workflow: listed.as_ref().unwrap_or(&workflow), ..execution };
    Ok(execution.body(&workflow.steps, &mut scope, EffectScope::root()).await?.into_returned())
}

/// Executes steps in order. `at` names the place for the keys of their effects.
fn body<'f>(
    execution: &'f WorkflowExecution<'_>,
    steps: &'f [WorkflowStep],
    scope: &'f mut ExpressionScope,
    at: EffectScope,
) -> BoxFuture<'f, Result<BodyEnd>> {
    Box::pin(async move {
        let mut last = Value::Null;
        for step in steps {
            execution.journal.budget.count_step().await?;
            if let Some(when) = &step.when
                && !scope.holds(when).map_err(|stop| placed(stop, step))?
            {
                continue;
            }
            scope.reply_ends = None;
            match execute_step(execution, step, scope, &at).await? {
                BodyEnd::Next(value) => {
                    scope.reply_ends.take_if(|_| !step.action.asks_a_model());
                    if let Some(id) = &step.id {
                        scope.ended(id, &value);
                    }
                    last = value;
                }
                returned => return Ok(returned),
            }
        }
        Ok(BodyEnd::Next(last))
    })
}

/// One step, with what surrounds it: retries, time-out, and what to do about a failure.
async fn execute_step(
    execution: &WorkflowExecution<'_>,
    step: &WorkflowStep,
    scope: &mut ExpressionScope,
    at: &EffectScope,
) -> Result<BodyEnd> {
    let here = at.step(&step.path);
    let mut attempt = 1;
    let failure = loop {
        let place = here.attempt(attempt);
        let failure = match timed(execution, step, scope, &place).await {
            // The log is of another program: nothing that goes on from here would be this run.
            Err(WorkflowStop::Failed(failure)) if failure.kind == FailureKind::Replay => {
                return Err(WorkflowStop::Failed(failure));
            }
            Err(stop) if execution.journal.budget.is_bound_met() => return Err(placed(stop, step)),
            Err(WorkflowStop::Failed(failure)) => {
                WorkflowFailure { step: failure.step.or_else(|| Some(step.place.clone())), ..failure }
            }
            ended => return ended,
        };
        match &step.retry {
            Some(retry) if attempt <= retry.max && retry.covers(&failure.kind) => {
                let pause = scoped(execution, place.pause());
                let until = pause.moment_after(retry.delay).await?;
                pause.wait_until(until).await;
                attempt += 1;
            }
            _ => break failure,
        }
    };
    let error = context! { kind => failure.kind.as_str(), message => &failure.message, step => &failure.step };
    match &step.on_error {
        OnError::Fail => Err(WorkflowStop::Failed(failure)),
        OnError::Continue => Ok(BodyEnd::Next(Value::Null)),
        OnError::Value(data) => {
            let hidden = scope.bind("error", error);
            let value = scope.value(data);
            scope.unbind("error", hidden);
            value.map(BodyEnd::Next).map_err(|stop| placed(stop, step))
        }
        OnError::Do(steps) => {
            let hidden = scope.bind("error", error);
            let flow = execution.body(steps, scope, here.on_error()).await;
            scope.unbind("error", hidden);
            flow
        }
    }
}

/// A step within its time-out. What it changed counts only if it ended in time: so a replay, which does not execute a step
/// that is known to have been too slow, comes to the same.
async fn timed(
    execution: &WorkflowExecution<'_>,
    step: &WorkflowStep,
    scope: &mut ExpressionScope,
    place: &EffectScope,
) -> Result<BodyEnd> {
    let Some(timeout) = step.timeout else { return action(execution, step, scope, place).await };
    let timer = scoped(execution, place.timeout());
    let deadline = timer.moment_after(timeout).await?;
    let too_slow = || WorkflowStop::failed(FailureKind::Timeout, format!("the step took longer than {timeout:?}"));
    if timer.has_timed_out() {
        return Err(too_slow());
    }
    let mut within = scope.branch();
    tokio::select! {
        // First what the log remembers: the deadline of a step that ended in time has passed when it is replayed.
        biased;
        flow = Box::pin(action(execution, step, &mut within, place)) => {
            let (memory, reply_ends) = (std::mem::take(&mut within.memory), within.reply_ends.take());
            scope.merge(within);
            (scope.memory, scope.reply_ends) = (memory, reply_ends);
            flow
        }
        () = timer.wait_until(deadline) => {
            timer.remember_timed_out().await?;
            Err(too_slow())
        }
    }
}

fn scoped(execution: &WorkflowExecution<'_>, scope: EffectScope) -> ScopedEffects {
    ScopedEffects::new(execution.journal.clone(), scope, execution.within.clone())
}

async fn action(
    execution: &WorkflowExecution<'_>,
    step: &WorkflowStep,
    scope: &mut ExpressionScope,
    place: &EffectScope,
) -> Result<BodyEnd> {
    let effects = scoped(execution, place.clone()).of_call(execution.call.clone());
    let value = match &step.action {
        StepAction::TextInput { asking, suggestions, suggestions_fill, password, multiline, pattern, value_type } => {
            let says = MessageContent::TextInput(TextInput {
                prompt: Some(scope.text(&asking.prompt)?),
                suggestions: texts(scope.value(suggestions)?),
                suggestions_fill: *suggestions_fill,
                password: *password,
                multiline: *multiline,
                pattern: pattern.clone(),
                value_type: text_value(*value_type),
                ..TextInput::default()
            });
            ask(&effects, scope, asking, says).await?
        }
        StepAction::MultipleChoice { asking, choices, default, single, min, max } => {
            let choices = offered(choices, scope)?;
            let says = MessageContent::MultipleChoice(MultipleChoice {
                prompt: Some(scope.text(&asking.prompt)?),
                choices: choices.iter().map(|choice| choice.label.clone()).collect(),
                descriptions: if choices.iter().any(|choice| choice.description.is_some()) {
                    choices.iter().map(|choice| choice.description.clone()).collect()
                } else {
                    Vec::new()
                },
                default: default.as_ref().map(|label| scope.text(label)).transpose()?,
                single: *single,
                min: *min,
                max: *max,
                ..MultipleChoice::default()
            });
            chosen(ask(&effects, scope, asking, says).await?, &choices)
        }
        StepAction::Form { asking, schema } => {
            let says = MessageContent::Form(FormQuestion {
                prompt: Some(scope.text(&asking.prompt)?),
                schema: schema.json.clone(),
                can_decline: false,
                answerers: None,
                deadline: message::AnswerDeadline::default(),
            });
            ask(&effects, scope, asking, says).await?
        }
        StepAction::Message(message) => show(&effects, scope, message).await?,
        // Boxed: a run that waits for an answer to a plain question must not have the room of a whole group in it.
        StepAction::Agent(asking) => {
            Box::pin(conversations::ask_agent(execution, &effects, scope, place, asking)).await?
        }
        StepAction::Chat(chat) => Box::pin(conversations::chat(execution, &effects, scope, place, chat)).await?,
        StepAction::Chats(chats) => Box::pin(conversations::chats(execution, &effects, scope, place, chats)).await?,
        StepAction::GroupChat(chat) => {
            Box::pin(conversations::group_chat(execution, &effects, scope, place, chat)).await?
        }
        StepAction::Group(group) => Box::pin(conversations::group(execution, &effects, scope, place, group)).await?,
        StepAction::Call { tool, args } => {
            let args = scope.map(args)?;
            Box::pin(conversations::call(execution, &effects, scope, place, (tool, step.timeout), args)).await?
        }
        StepAction::Toolset(call) => Box::pin(toolsets::call(&effects, scope, call)).await?,
        StepAction::Program(call) => Box::pin(outside::program(&effects, scope, call)).await?,
        StepAction::Nats(request) => Box::pin(services::request(&effects, scope, request)).await?,
        StepAction::Http(request) => Box::pin(outside::http(&effects, scope, request)).await?,
        StepAction::Branch(arms) => return branch(execution, arms, scope, place).await,
        StepAction::Loop { max, condition, body } => {
            return repeat(execution, *max, condition.as_ref(), body, scope, place).await;
        }
        StepAction::Foreach { items, variable, parallel, body } => {
            return foreach(execution, scope.value(items)?, variable, *parallel, body, scope, place).await;
        }
        StepAction::Parallel(branches) => parallel(execution, branches, scope, place).await?,
        StepAction::Workflow { name, params, all_args, wait } => {
            let params = if *all_args { scope.args()? } else { scope.map(params)? };
            if *wait {
                Box::pin(call_workflow(execution, name, params, place)).await?
            } else {
                Box::pin(start_run(execution, &effects, name, params)).await?
            }
        }
        StepAction::Set(entries) => {
            for (name, data) in entries {
                let value = scope.value(data)?;
                scope.set(name, &value);
            }
            Value::Null
        }
        StepAction::Wait(wait) => pause(&effects, scope, wait).await?,
        StepAction::Return(data) => return Ok(BodyEnd::Return(scope.value(data)?)),
        StepAction::Fail(message) => return Err(WorkflowStop::failed(FailureKind::Fail, scope.text(message)?)),
    };
    Ok(BodyEnd::Next(value))
}

async fn branch(
    execution: &WorkflowExecution<'_>,
    arms: &[BranchArm],
    scope: &mut ExpressionScope,
    place: &EffectScope,
) -> Result<BodyEnd> {
    for (index, arm) in (0..).zip(arms) {
        let taken = match &arm.when {
            Some(when) => scope.holds(when)?,
            None => true,
        };
        if taken {
            return execution.body(&arm.body, scope, place.iteration(index)).await;
        }
    }
    Ok(BodyEnd::Next(Value::Null))
}

async fn repeat(
    execution: &WorkflowExecution<'_>,
    max: u64,
    condition: Option<&LoopCondition>,
    body: &[WorkflowStep],
    scope: &mut ExpressionScope,
    place: &EffectScope,
) -> Result<BodyEnd> {
    let mut values = IterationValues::new(&execution.journal.budget);
    let outer = scope.bind("loop", minijinja::Value::UNDEFINED);
    let mut returned = None;
    for index in 0..max {
        scope.bind("loop", loop_value(index));
        if let Some(LoopCondition::While(goes_on)) = condition
            && !scope.holds(goes_on)?
        {
            break;
        }
        match execution.body(body, scope, place.iteration(index)).await? {
            BodyEnd::Next(value) => values.push(value)?,
            BodyEnd::Return(value) => {
                returned = Some(value);
                break;
            }
        }
        if let Some(LoopCondition::Until(done)) = condition
            && scope.holds(done)?
        {
            break;
        }
    }
    scope.unbind("loop", outer);
    all_or(values.into_list(), returned)
}

async fn foreach(
    execution: &WorkflowExecution<'_>,
    items: Value,
    variable: &Name,
    parallel: usize,
    body: &[WorkflowStep],
    scope: &mut ExpressionScope,
    place: &EffectScope,
) -> Result<BodyEnd> {
    let Value::Array(items) = items else {
        return Err(WorkflowStop::failed(FailureKind::Template, format!("foreach needs a list, not {items}")));
    };
    if parallel > 1 {
        return foreach_at_once(execution, items, variable, parallel, body, scope, place).await.map(BodyEnd::Next);
    }
    let mut values = IterationValues::new(&execution.journal.budget);
    let (outer_item, outer_loop) =
        (scope.bind(variable.as_str(), minijinja::Value::UNDEFINED), scope.bind("loop", minijinja::Value::UNDEFINED));
    let mut returned = None;
    for (index, item) in (0..).zip(&items) {
        scope.bind(variable.as_str(), seen(item));
        scope.bind("loop", loop_value(index));
        match execution.body(body, scope, place.iteration(index)).await? {
            BodyEnd::Next(value) => values.push(value)?,
            BodyEnd::Return(value) => {
                returned = Some(value);
                break;
            }
        }
    }
    scope.unbind(variable.as_str(), outer_item);
    scope.unbind("loop", outer_loop);
    all_or(values.into_list(), returned)
}

async fn foreach_at_once(
    execution: &WorkflowExecution<'_>,
    items: Vec<Value>,
    variable: &Name,
    parallel: usize,
    body: &[WorkflowStep],
    scope: &mut ExpressionScope,
    place: &EffectScope,
) -> Result<Value> {
    let before: &ExpressionScope = scope;
    let mut branches = stream::iter((0..).zip(items))
        .map(|(index, item)| async move {
            let mut branch = before.branch();
            branch.bind(variable.as_str(), seen(&item));
            branch.bind("loop", loop_value(index));
            let value = execution.body(body, &mut branch, place.iteration(index)).await?;
            Ok::<_, WorkflowStop>((ended(value), branch.into_changes()))
        })
        .buffered(parallel);
    let mut values = IterationValues::new(&execution.journal.budget);
    let mut changed: Vec<Vec<ScopeChange>> = Vec::new();
    while let Some((value, changes)) = branches.try_next().await? {
        values.push(value)?;
        changed.push(changes);
    }
    drop(branches);
    changed.into_iter().for_each(|changes| scope.take_over(changes));
    within_bounds(values.into_list())
}

async fn parallel(
    execution: &WorkflowExecution<'_>,
    branches: &[(Name, Vec<WorkflowStep>)],
    scope: &mut ExpressionScope,
    place: &EffectScope,
) -> Result<Value> {
    let before: &ExpressionScope = scope;
    let running = branches.iter().map(|(name, body)| async move {
        let mut branch = before.branch();
        let value = execution.body(body, &mut branch, place.named(name)).await?;
        Ok::<_, WorkflowStop>((ended(value), branch.into_changes()))
    });
    let ended = futures_util::future::try_join_all(running).await?;
    let values = joined(scope, ended);
    within_bounds(branches.iter().map(|(name, _)| name.to_string()).zip(values).collect::<Map<_, _>>().into())
}

/// Another workflow, within this run.
async fn call_workflow(
    execution: &WorkflowExecution<'_>,
    name: &Name,
    params: Map<String, Value>,
    place: &EffectScope,
) -> Result<Value> {
    let called = workflow::called(execution.workflow, name)
        .map_err(|problem| WorkflowStop::failed(FailureKind::Workflow, problem))?;
    let params = workflow::checked_params(&called, params)
        .map_err(|problem| WorkflowStop::failed(FailureKind::Params, problem))?;
    let title = called.title.clone().unwrap_or_else(|| name.to_string());
    let within = [execution.within.as_slice(), &[InnerConversation { id: place.to_string(), title }]].concat();
    let execution = WorkflowExecution { workflow: &called, within, call: None, ..*execution };
    let listed = Box::pin(with_toolsets(&execution, &place.named(name))).await?;
    let execution = WorkflowExecution { workflow: listed.as_ref().unwrap_or(&called), ..execution };
    let mut scope = ExpressionScope::new(&called, execution.journal.run, &execution.journal.created, &params);
    Ok(execution.body(&called.steps, &mut scope, place.named(name)).await?.into_returned())
}

/// Another workflow, as a run of its own.
async fn start_run(
    execution: &WorkflowExecution<'_>,
    effects: &ScopedEffects,
    name: &Name,
    params: Map<String, Value>,
) -> Result<Value> {
    let called = workflow::called(execution.workflow, name)
        .map_err(|problem| WorkflowStop::failed(FailureKind::Workflow, problem))?;
    let params = workflow::checked_params(&called, params)
        .map_err(|problem| WorkflowStop::failed(FailureKind::Params, problem))?;
    let run = effects.once(|| json!(RunId::random())).await?;
    let id = crate::bounds::from_value::<RunId>(run.clone()).map_err(Error::unreadable)?;
    let definition = &called.definition;
    let broker = &execution.journal.context.broker;
    let definition_signer = execution.journal.context.definition_signer.as_ref();
    let stored = directory::keep_definition(broker, &definition.hash(), definition.to_bytes(), definition_signer).await;
    stored.map_err(|error| WorkflowStop::failed(FailureKind::Broker, error.to_string()))?;
    let wanted = RunStart {
        run: id,
        workflow: name.clone(),
        definition: Some(definition.hash()),
        params,
        user: execution.journal.created.user.clone(),
        groups: execution.journal.created.groups.clone(),
        origin: RunOrigin::Gateway,
    };
    // A second start with the same id finds the first.
    let gateway_signer = execution.journal.context.gateway_signer()?;
    let token = token_for(execution.journal, &called).await;
    // What the workers that serve it now can take is not at hand here.
    start_with_token(broker, wanted, gateway_signer, token.as_ref(), StartDelivery::Job)
        .await
        .map_err(|error| WorkflowStop::failed(FailureKind::Broker, error.to_string()))?;
    Ok(run)
}

/// What a run of this workflow gets of the access token of the run that starts it, which is the same person's.
async fn token_for<'j>(journal: &'j Journal, workflow: &Workflow) -> Option<CallerTokenSeal<'j>> {
    if !journal.context.outside.secrets.has_caller_token(workflow) {
        return None;
    }
    let sealer = journal.context.sealer.as_ref()?;
    Some(CallerTokenSeal { sealer, token: journal.caller_token.current().await? })
}

fn placed(stop: WorkflowStop, step: &WorkflowStep) -> WorkflowStop {
    match stop {
        WorkflowStop::Failed(failure) => {
            WorkflowStop::Failed(WorkflowFailure { step: failure.step.or_else(|| Some(step.place.clone())), ..failure })
        }
        halted => halted,
    }
}

/// What all rounds of a loop came to, or what one of them returned.
fn all_or(values: Value, returned: Option<Value>) -> Result<BodyEnd> {
    match returned {
        Some(value) => Ok(BodyEnd::Return(value)),
        None => within_bounds(values).map(BodyEnd::Next),
    }
}

fn ended(flow: BodyEnd) -> Value {
    match flow {
        // The check refuses `return` in a branch beside others.
        BodyEnd::Next(value) | BodyEnd::Return(value) => value,
    }
}

fn joined(scope: &mut ExpressionScope, branches: Vec<(Value, Vec<ScopeChange>)>) -> Vec<Value> {
    branches
        .into_iter()
        .map(|(value, changes)| {
            scope.take_over(changes);
            value
        })
        .collect()
}

fn loop_value(index: u64) -> minijinja::Value {
    context! { index0 => index, index => index + 1, first => index == 0 }
}

async fn show(effects: &ScopedEffects, scope: &ExpressionScope, action: &MessageAction) -> Result<Value> {
    let says = match &action.content {
        MessageStepContent::Text(body) => MessageContent::text(scope.text(body)?),
        MessageStepContent::System(entries) => MessageContent::SystemMessage { message: scope.map(entries)? },
        MessageStepContent::Error { short, long } => MessageContent::Error {
            short: Some(scope.text(short)?),
            long: long.as_ref().map(|long| scope.text(long)).transpose()?,
        },
    };
    effects.say(&scope.text(&action.sender)?, &scope.text(&action.recipient)?, says, None).await?;
    Ok(Value::Null)
}

async fn pause(effects: &ScopedEffects, scope: &ExpressionScope, wait: &WaitTime) -> Result<Value> {
    let moment = match wait {
        WaitTime::For(data) => effects.moment_after(duration(&scope.value(data)?)?).await?,
        WaitTime::Until(data) => moment(&scope.value(data)?)?,
    };
    effects.pause_until(moment).await?;
    Ok(Value::Null)
}

fn duration(value: &Value) -> Result<Duration> {
    let parsed = match value {
        Value::Number(seconds) => seconds.as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        Value::String(text) => text.parse::<jiff::SignedDuration>().ok().and_then(|span| Duration::try_from(span).ok()),
        _ => None,
    };
    parsed.ok_or_else(|| {
        WorkflowStop::failed(FailureKind::Template, format!("{value} is not a duration, such as \"10s\" or \"2h 30m\""))
    })
}

fn moment(value: &Value) -> Result<Timestamp> {
    value.as_str().and_then(|text| text.parse().ok()).ok_or_else(|| {
        WorkflowStop::failed(FailureKind::Template, format!("{value} is not a time, such as \"2027-01-31T09:00:00Z\""))
    })
}
