//! The steps of a workflow: one function per action, reading like what it does. Nothing here looks at a clock, draws a
//! random number or touches the world but through [`Scoped`]; so the same log gives the same execution.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{StreamExt, TryStreamExt, stream};
use minijinja::context;
use serde_json::{Map, Value, json};

use crate::chat::{Failure, Result, Stop};
use crate::clock::Timestamp;
use crate::engine::Error;
use crate::engine::effects::Scoped;
use crate::engine::execution::{Execution, Flow};
use crate::engine::journal::{Journal, Values};
use crate::engine::questions::{ask, chosen, offered, text_value, texts};
use crate::engine::scope::{Change, Scope, within_bounds};
use crate::engine::talks;
use crate::ids::{Name, RunId};
use crate::message::{self, Content, Form, MultipleChoice, TextInput, Within};
use crate::protocol::effect_key::EffectScope;
use crate::protocol::failure::FailureKind;
use crate::protocol::log::Origin;
use crate::run::directory;
use crate::run::start::{Start, start};
use crate::workflow::expression::seen;
use crate::workflow::{self, Action, Arm, LoopCondition, MessageAction, MessageContent, OnError, Step, Wait, Workflow};

/// Executes a workflow from its start.
pub(super) async fn execute(workflow: Arc<Workflow>, journal: Arc<Journal>) -> Result<Value> {
    let mut scope = Scope::new(&workflow, journal.run, &journal.created, &journal.created.params);
    let execution = Execution { workflow: &workflow, journal: &journal, within: Vec::new(), execute_body: body };
    Ok(execution.body(&workflow.steps, &mut scope, EffectScope::root()).await?.into_returned())
}

/// Executes steps in order. `at` names the place for the keys of their effects.
fn body<'f>(
    execution: &'f Execution<'_>,
    steps: &'f [Step],
    scope: &'f mut Scope,
    at: EffectScope,
) -> BoxFuture<'f, Result<Flow>> {
    Box::pin(async move {
        let mut last = Value::Null;
        for step in steps {
            execution.journal.budget.count_step().await?;
            if let Some(when) = &step.when
                && !scope.holds(when).map_err(|stop| placed(stop, step))?
            {
                continue;
            }
            match execute_step(execution, step, scope, &at).await? {
                Flow::Next(value) => {
                    if let Some(id) = &step.id {
                        scope.ended(id, &value);
                    }
                    last = value;
                }
                returned => return Ok(returned),
            }
        }
        Ok(Flow::Next(last))
    })
}

/// One step, with what surrounds it: retries, time-out, and what to do about a failure.
async fn execute_step(execution: &Execution<'_>, step: &Step, scope: &mut Scope, at: &EffectScope) -> Result<Flow> {
    let here = at.step(&step.path);
    let mut attempt = 1;
    let failure = loop {
        let place = here.attempt(attempt);
        let failure = match timed(execution, step, scope, &place).await {
            // The log is of another program: nothing that goes on from here would be this run.
            Err(Stop::Failed(failure)) if failure.kind == FailureKind::Replay => return Err(Stop::Failed(failure)),
            Err(stop) if execution.journal.budget.is_bound_met() => return Err(placed(stop, step)),
            Err(Stop::Failed(failure)) => {
                Failure { step: failure.step.or_else(|| Some(step.place.clone())), ..failure }
            }
            ended => return ended,
        };
        match &step.retry {
            Some(retry) if attempt <= retry.max && (retry.on.is_empty() || retry.on.contains(&failure.kind)) => {
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
        OnError::Fail => Err(Stop::Failed(failure)),
        OnError::Continue => Ok(Flow::Next(Value::Null)),
        OnError::Value(data) => {
            let hidden = scope.bind("error", error);
            let value = scope.value(data);
            scope.unbind("error", hidden);
            value.map(Flow::Next).map_err(|stop| placed(stop, step))
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
async fn timed(execution: &Execution<'_>, step: &Step, scope: &mut Scope, place: &EffectScope) -> Result<Flow> {
    let Some(timeout) = step.timeout else { return action(execution, step, scope, place).await };
    let timer = scoped(execution, place.timeout());
    let deadline = timer.moment_after(timeout).await?;
    let too_slow = || Stop::failed(FailureKind::Timeout, format!("the step took longer than {timeout:?}"));
    if timer.has_timed_out() {
        return Err(too_slow());
    }
    let mut within = scope.branch();
    tokio::select! {
        // First what the log remembers: the deadline of a step that ended in time has passed when it is replayed.
        biased;
        flow = Box::pin(action(execution, step, &mut within, place)) => {
            let memory = std::mem::take(&mut within.memory);
            scope.merge(within);
            scope.memory = memory;
            flow
        }
        () = timer.wait_until(deadline) => {
            timer.remember_timed_out().await?;
            Err(too_slow())
        }
    }
}

fn scoped(execution: &Execution<'_>, scope: EffectScope) -> Scoped {
    Scoped::new(execution.journal.clone(), scope, execution.within.clone())
}

async fn action(execution: &Execution<'_>, step: &Step, scope: &mut Scope, place: &EffectScope) -> Result<Flow> {
    let fx = scoped(execution, place.clone());
    let value = match &step.action {
        Action::TextInput { asking, suggestions, suggestions_fill, password, multiline, pattern, value_type } => {
            let says = Content::TextInput(TextInput {
                prompt: Some(scope.text(&asking.prompt)?),
                suggestions: texts(scope.value(suggestions)?),
                suggestions_fill: *suggestions_fill,
                password: *password,
                multiline: *multiline,
                pattern: pattern.clone(),
                value_type: text_value(*value_type),
                ..TextInput::default()
            });
            ask(&fx, scope, asking, says).await?
        }
        Action::MultipleChoice { asking, choices, default, single, min, max } => {
            let choices = offered(choices, scope)?;
            let says = Content::MultipleChoice(MultipleChoice {
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
            chosen(ask(&fx, scope, asking, says).await?, &choices)
        }
        Action::Form { asking, schema } => {
            let says = Content::Form(Form {
                prompt: Some(scope.text(&asking.prompt)?),
                schema: schema.json.clone(),
                deadline: message::Deadline::default(),
            });
            ask(&fx, scope, asking, says).await?
        }
        Action::Message(message) => show(&fx, scope, message).await?,
        // Boxed: a run that waits for an answer to a plain question must not have the room of a whole group in it.
        Action::Agent(asking) => Box::pin(talks::ask_agent(execution, &fx, scope, place, asking)).await?,
        Action::Chat(chat) => Box::pin(talks::chat(execution, &fx, scope, place, chat)).await?,
        Action::Chats(chats) => Box::pin(talks::chats(execution, &fx, scope, place, chats)).await?,
        Action::GroupChat(chat) => Box::pin(talks::group_chat(execution, &fx, scope, place, chat)).await?,
        Action::Group(group) => Box::pin(talks::group(execution, &fx, scope, place, group)).await?,
        Action::Call { tool, args } => {
            let args = scope.map(args)?;
            Box::pin(talks::call(execution, &fx, scope, place, tool, args)).await?
        }
        Action::Branch(arms) => return branch(execution, arms, scope, place).await,
        Action::Loop { max, condition, body } => {
            return repeat(execution, *max, condition.as_ref(), body, scope, place).await;
        }
        Action::Foreach { items, variable, parallel, body } => {
            return foreach(execution, scope.value(items)?, variable, *parallel, body, scope, place).await;
        }
        Action::Parallel(branches) => parallel(execution, branches, scope, place).await?,
        Action::Workflow { name, params, wait } => {
            let params = scope.map(params)?;
            if *wait {
                Box::pin(call_workflow(execution, name, params, place)).await?
            } else {
                Box::pin(start_run(execution, &fx, name, params)).await?
            }
        }
        Action::Set(entries) => {
            for (name, data) in entries {
                let value = scope.value(data)?;
                scope.set(name, &value);
            }
            Value::Null
        }
        Action::Wait(wait) => pause(&fx, scope, wait).await?,
        Action::Return(data) => return Ok(Flow::Return(scope.value(data)?)),
        Action::Fail(message) => return Err(Stop::failed(FailureKind::Fail, scope.text(message)?)),
    };
    Ok(Flow::Next(value))
}

async fn branch(execution: &Execution<'_>, arms: &[Arm], scope: &mut Scope, place: &EffectScope) -> Result<Flow> {
    for (index, arm) in (0..).zip(arms) {
        let taken = match &arm.when {
            Some(when) => scope.holds(when)?,
            None => true,
        };
        if taken {
            return execution.body(&arm.body, scope, place.iteration(index)).await;
        }
    }
    Ok(Flow::Next(Value::Null))
}

async fn repeat(
    execution: &Execution<'_>,
    max: u64,
    condition: Option<&LoopCondition>,
    body: &[Step],
    scope: &mut Scope,
    place: &EffectScope,
) -> Result<Flow> {
    let mut values = Values::new(&execution.journal.budget);
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
            Flow::Next(value) => values.push(value)?,
            Flow::Return(value) => {
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
    execution: &Execution<'_>,
    items: Value,
    variable: &Name,
    parallel: usize,
    body: &[Step],
    scope: &mut Scope,
    place: &EffectScope,
) -> Result<Flow> {
    let Value::Array(items) = items else {
        return Err(Stop::failed(FailureKind::Template, format!("foreach needs a list, not {items}")));
    };
    if parallel > 1 {
        return foreach_at_once(execution, items, variable, parallel, body, scope, place).await.map(Flow::Next);
    }
    let mut values = Values::new(&execution.journal.budget);
    let (outer_item, outer_loop) =
        (scope.bind(variable.as_str(), minijinja::Value::UNDEFINED), scope.bind("loop", minijinja::Value::UNDEFINED));
    let mut returned = None;
    for (index, item) in (0..).zip(&items) {
        scope.bind(variable.as_str(), seen(item));
        scope.bind("loop", loop_value(index));
        match execution.body(body, scope, place.iteration(index)).await? {
            Flow::Next(value) => values.push(value)?,
            Flow::Return(value) => {
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
    execution: &Execution<'_>,
    items: Vec<Value>,
    variable: &Name,
    parallel: usize,
    body: &[Step],
    scope: &mut Scope,
    place: &EffectScope,
) -> Result<Value> {
    let before: &Scope = scope;
    let mut branches = stream::iter((0..).zip(items))
        .map(|(index, item)| async move {
            let mut branch = before.branch();
            branch.bind(variable.as_str(), seen(&item));
            branch.bind("loop", loop_value(index));
            let value = execution.body(body, &mut branch, place.iteration(index)).await?;
            Ok::<_, Stop>((ended(value), branch.into_changes()))
        })
        .buffered(parallel);
    let mut values = Values::new(&execution.journal.budget);
    let mut changed: Vec<Vec<Change>> = Vec::new();
    while let Some((value, changes)) = branches.try_next().await? {
        values.push(value)?;
        changed.push(changes);
    }
    drop(branches);
    changed.into_iter().for_each(|changes| scope.take_over(changes));
    within_bounds(values.into_list())
}

async fn parallel(
    execution: &Execution<'_>,
    branches: &[(Name, Vec<Step>)],
    scope: &mut Scope,
    place: &EffectScope,
) -> Result<Value> {
    let before: &Scope = scope;
    let running = branches.iter().map(|(name, body)| async move {
        let mut branch = before.branch();
        let value = execution.body(body, &mut branch, place.named(name)).await?;
        Ok::<_, Stop>((ended(value), branch.into_changes()))
    });
    let ended = futures_util::future::try_join_all(running).await?;
    let values = joined(scope, ended);
    within_bounds(branches.iter().map(|(name, _)| name.to_string()).zip(values).collect::<Map<_, _>>().into())
}

/// Another workflow, within this run.
async fn call_workflow(
    execution: &Execution<'_>,
    name: &Name,
    params: Map<String, Value>,
    place: &EffectScope,
) -> Result<Value> {
    let called =
        workflow::called(execution.workflow, name).map_err(|problem| Stop::failed(FailureKind::Workflow, problem))?;
    let params =
        workflow::checked_params(&called, params).map_err(|problem| Stop::failed(FailureKind::Params, problem))?;
    let title = called.title.clone().unwrap_or_else(|| name.to_string());
    let within = [execution.within.as_slice(), &[Within { id: place.to_string(), title }]].concat();
    let execution = Execution { workflow: &called, within, ..*execution };
    let mut scope = Scope::new(&called, execution.journal.run, &execution.journal.created, &params);
    Ok(execution.body(&called.steps, &mut scope, place.named(name)).await?.into_returned())
}

/// Another workflow, as a run of its own.
async fn start_run(execution: &Execution<'_>, fx: &Scoped, name: &Name, params: Map<String, Value>) -> Result<Value> {
    let called =
        workflow::called(execution.workflow, name).map_err(|problem| Stop::failed(FailureKind::Workflow, problem))?;
    let params =
        workflow::checked_params(&called, params).map_err(|problem| Stop::failed(FailureKind::Params, problem))?;
    let run = fx.once(|| json!(RunId::random())).await?;
    let id = serde_json::from_value::<RunId>(run.clone()).map_err(Error::unreadable)?;
    let definition = &called.definition;
    let broker = &execution.journal.context.broker;
    let signer = execution.journal.context.signer.as_ref();
    let stored = directory::keep_definition(broker, &definition.hash(), definition.to_bytes(), signer).await;
    stored.map_err(|error| Stop::failed(FailureKind::Broker, error.to_string()))?;
    let wanted = Start {
        run: id,
        workflow: name.clone(),
        definition: Some(definition.hash()),
        params,
        user: execution.journal.created.user.clone(),
        groups: execution.journal.created.groups.clone(),
        origin: Origin::Gateway,
    };
    // A second start with the same id finds the first.
    let voucher = execution.journal.context.voucher()?;
    start(broker, wanted, voucher).await.map_err(|error| Stop::failed(FailureKind::Broker, error.to_string()))?;
    Ok(run)
}

fn placed(stop: Stop, step: &Step) -> Stop {
    match stop {
        Stop::Failed(failure) => {
            Stop::Failed(Failure { step: failure.step.or_else(|| Some(step.place.clone())), ..failure })
        }
        halted => halted,
    }
}

/// What all rounds of a loop came to, or what one of them returned.
fn all_or(values: Value, returned: Option<Value>) -> Result<Flow> {
    match returned {
        Some(value) => Ok(Flow::Return(value)),
        None => within_bounds(values).map(Flow::Next),
    }
}

fn ended(flow: Flow) -> Value {
    match flow {
        // The check refuses `return` in a branch beside others.
        Flow::Next(value) | Flow::Return(value) => value,
    }
}

fn joined(scope: &mut Scope, branches: Vec<(Value, Vec<Change>)>) -> Vec<Value> {
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

async fn show(fx: &Scoped, scope: &Scope, action: &MessageAction) -> Result<Value> {
    let says = match &action.content {
        MessageContent::Text(body) => Content::text(scope.text(body)?),
        MessageContent::System(entries) => Content::SystemMessage { message: scope.map(entries)? },
        MessageContent::Error { short, long } => Content::Error {
            short: Some(scope.text(short)?),
            long: long.as_ref().map(|long| scope.text(long)).transpose()?,
        },
    };
    fx.say(&scope.text(&action.sender)?, &scope.text(&action.recipient)?, says, None).await?;
    Ok(Value::Null)
}

async fn pause(fx: &Scoped, scope: &Scope, wait: &Wait) -> Result<Value> {
    let moment = match wait {
        Wait::For(data) => fx.moment_after(duration(&scope.value(data)?)?).await?,
        Wait::Until(data) => moment(&scope.value(data)?)?,
    };
    fx.pause_until(moment).await?;
    Ok(Value::Null)
}

fn duration(value: &Value) -> Result<Duration> {
    let parsed = match value {
        Value::Number(seconds) => seconds.as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        Value::String(text) => text.parse::<jiff::SignedDuration>().ok().and_then(|span| Duration::try_from(span).ok()),
        _ => None,
    };
    parsed.ok_or_else(|| {
        Stop::failed(FailureKind::Template, format!("{value} is not a duration, such as \"10s\" or \"2h 30m\""))
    })
}

fn moment(value: &Value) -> Result<Timestamp> {
    value.as_str().and_then(|text| text.parse().ok()).ok_or_else(|| {
        Stop::failed(FailureKind::Template, format!("{value} is not a time, such as \"2027-01-31T09:00:00Z\""))
    })
}
