//! Sets of tools in a run: listed before the first step of their workflow, and called. What they list and what came of each call
//! is remembered, so that a run goes on with the tools that it began with.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::bounds::{MADE, check_value};
use crate::chat::{HumanQuestion, HumanReply, Result, WorkflowStop};
use crate::engine::arguments::{with_data, with_injected};
use crate::engine::call_reach::CallReach;
use crate::engine::effects::{self, ScopedEffects};
use crate::engine::rates::turn;
use crate::engine::scope::ExpressionScope;
use crate::engine::tool_failure::{failed, kind_of};
use crate::message::{AnswerDeadline, DECLINED, FormQuestion, MessageContent};
use crate::outside::toolset::{
    ElicitationAnswer, ListedTool, ResumedCall, Toolset, ToolsetAnswer, ToolsetCall, ToolsetError,
};
use crate::protocol::effect_key::EffectScope;
use crate::protocol::failure::FailureKind;
use crate::protocol::participant::USER;
use crate::workflow::{SecretReceiver, ToolsetDeclaration, ToolsetStep, Workflow};

use super::execution::WorkflowExecution;

/// How often a set is asked for its tools before a run fails.
const LIST_ATTEMPTS: u32 = 4;
/// How long to wait before it is asked again; each time twice as long.
const BEFORE_NEXT_LIST: Duration = Duration::from_millis(500);
/// What the log keeps of a list, in bytes.
const LARGEST_LIST: usize = 512 << 10;
/// How often a call may ask people, or go on elsewhere, before it is given up.
const MOST_ROUNDS: u32 = 1000;
/// The longest time between two looks at a call that goes on elsewhere.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The workflow with the tools that its sets have; none: it has no sets. `at`: before the places of its steps.
pub(super) async fn with_toolsets(execution: &WorkflowExecution<'_>, at: &EffectScope) -> Result<Option<Workflow>> {
    let workflow = execution.workflow;
    if workflow.tools.sets().is_empty() {
        return Ok(None);
    }
    let (mut lists, mut is_new) = (Vec::new(), false);
    for (name, set) in workflow.tools.sets() {
        let scope = at.toolset(name);
        let effects = ScopedEffects::new(execution.journal.clone(), scope, execution.within.clone());
        let listed = effects::outside(
            &effects,
            true,
            async || Ok(()),
            async |_| {
                is_new = true;
                listed(&effects, set).await
            },
        );
        let listed = listed.await?;
        let listed: Vec<ListedTool> = crate::bounds::from_value(listed).map_err(crate::engine::Error::unreadable)?;
        lists.push((name.clone(), listed));
    }
    let listed = workflow.with_lists(&lists).and_then(|listed| {
        if is_new {
            listed.refuse_too_many()?;
        }
        Ok(listed)
    });
    let listed = listed.map_err(|why| WorkflowStop::failed(FailureKind::Tool, why))?;
    Ok(Some(listed))
}

/// Asks for the tools of a set, again for a moment if its owner is away.
async fn listed(effects: &ScopedEffects, set: &ToolsetDeclaration) -> Result<Value> {
    let mut pause = BEFORE_NEXT_LIST;
    for attempt in 1.. {
        let owner = owner(effects, set);
        let listed = match owner {
            Ok(owner) => owner.list().await,
            Err(error) => Err(error),
        };
        match listed {
            Ok(listed) => return stored(effects, set, &listed),
            // What took all its time, such as a file that hangs on import, would most likely take it again.
            Err(ToolsetError::Unavailable(_)) if attempt < LIST_ATTEMPTS => {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            Err(error) => {
                let words = format!("the tools of {} cannot be listed: {error}", set.name);
                return Err(WorkflowStop::failed(kind_of(&error), words));
            }
        }
    }
    unreachable!("the last attempt returns")
}

fn stored(effects: &ScopedEffects, set: &ToolsetDeclaration, listed: &[ListedTool]) -> Result<Value> {
    let value = serde_json::to_value(listed).map_err(crate::engine::Error::unreadable)?;
    let value = effects.journal.context.outside.secrets.hidden_in(value);
    let too_large = |what: String| {
        let words =
            format!("the list of the tools of {} is too large ({what}); choose some: only: [\"get_*\"]", set.name);
        WorkflowStop::failed(FailureKind::Tool, words)
    };
    let size = value.to_string().len();
    if size > LARGEST_LIST {
        return Err(too_large(format!("{size} bytes")));
    }
    check_value(&value, &MADE).map_err(|exceeded| too_large(exceeded.to_string()))?;
    Ok(value)
}

/// Calls a tool of a set: once, or in rounds, between which people are asked.
pub(super) async fn call(effects: &ScopedEffects, scope: &mut ExpressionScope, step: &ToolsetStep) -> Result<Value> {
    let mut resumed: Option<ResumedCall> = None;
    let mut answers = GivenAnswers::default();
    let (mut pause, mut only_looks) = (Duration::ZERO, false);
    for _ in 0..MOST_ROUNDS {
        let next = async |key: &str| {
            // Not while the log is read again: what came of it is known then.
            wait_for(pause).await;
            round(CallReach::of_run(effects), scope, step, key, resumed.as_ref()).await
        };
        // What goes on is one call, however many requests it takes.
        let rate = step.set.rate.as_ref().filter(|_| resumed.is_none());
        let turn = async || turn(effects, rate, step.set.error_message.as_deref()).await;
        let came = effects::outside(effects, step.idempotent || only_looks, turn, next).await?;
        let came: ToolsetAnswer = crate::bounds::from_value(came).map_err(crate::engine::Error::unreadable)?;
        (pause, only_looks) = (Duration::ZERO, false);
        resumed = match came {
            ToolsetAnswer::Value(value) => return Ok(value),
            ToolsetAnswer::Continues { state, after_ms, only_looks: looks } => {
                (pause, only_looks) = (Duration::from_millis(after_ms).min(LONGEST_PAUSE), looks);
                Some(ResumedCall { state, answer: None })
            }
            ToolsetAnswer::Asks { message, schema, state } => {
                let answer = match answers.of_same(&message, &schema) {
                    Some(answer) => answer,
                    None => {
                        let answer = asked(effects, step, message.clone(), schema.clone()).await?;
                        answers.note(message, schema, answer.clone());
                        answer
                    }
                };
                Some(ResumedCall { state, answer: Some(answer) })
            }
            ToolsetAnswer::CutOff { .. } if step.idempotent => {
                answers.begin_again();
                None
            }
            ToolsetAnswer::CutOff { why } => {
                let (set, why) = (&step.set, ToolsetError::Lost(why));
                let reach = CallReach::of_run(effects);
                return Err(failed(reach, set.name.as_str(), set.error_message.as_deref(), &why));
            }
        };
    }
    let words = format!("the tool {:?} went on for {MOST_ROUNDS} rounds without a result", step.tool);
    Err(WorkflowStop::failed(FailureKind::Limit, words))
}

/// What people answered during a call. If it is made again from its beginning, nobody is asked the same a second time.
#[derive(Default)]
struct GivenAnswers {
    given: Vec<(String, Value, ElicitationAnswer)>,
    /// So many of them were used since the beginning.
    used: usize,
}

impl GivenAnswers {
    fn begin_again(&mut self) {
        self.used = 0;
    }

    /// The answer to the next question, if that is the one which was asked in this place before. Else the later answers were to a
    /// call that went another way.
    fn of_same(&mut self, message: &str, schema: &Value) -> Option<ElicitationAnswer> {
        match self.given.get(self.used) {
            Some((asked, form, answer)) if asked == message && form == schema => {
                self.used += 1;
                Some(answer.clone())
            }
            _ => {
                self.given.truncate(self.used);
                None
            }
        }
    }

    fn note(&mut self, message: String, schema: Value, answer: ElicitationAnswer) {
        self.given.push((message, schema, answer));
        self.used = self.given.len();
    }
}

/// Waits before the next round. A timer takes a millisecond or two even for no time at all, so the first round has none.
async fn wait_for(pause: Duration) {
    if !pause.is_zero() {
        tokio::time::sleep(pause).await;
    }
}

/// One round of a call: a [`ToolsetAnswer`], as the log has it.
pub(super) async fn round(
    reach: CallReach<'_>,
    scope: &mut ExpressionScope,
    step: &ToolsetStep,
    key: &str,
    resumed: Option<&ResumedCall>,
) -> Result<Value> {
    let set = &step.set;
    let (arguments, secrets) = match set.secret_receiver() {
        // Who gets them is known when the request is there.
        SecretReceiver::Api => (with_data(scope, &step.inject, key)?, step.inject.secrets.as_slice()),
        receiver => (with_injected(reach, scope, &step.inject, key, &receiver).await?, &[][..]),
    };
    let run = reach.run.to_string();
    let call = ToolsetCall {
        tool: &step.tool,
        arguments: &arguments,
        secrets,
        caller: reach.caller,
        key,
        run: &run,
        within: set.within,
        max_result: set.max_result,
        resumed,
    };
    let came = match reach.outside.toolsets.get(&set.source) {
        Ok(owner) => went_on(&*owner, call).await,
        Err(error) => Err(error),
    };
    let came = came.map_err(|error| failed(reach, set.name.as_str(), set.error_message.as_deref(), &error))?;
    let value = serde_json::to_value(came).map_err(crate::engine::Error::unreadable)?;
    let value = reach.outside.secrets.hidden_in(value);
    match check_value(&value, &MADE) {
        Ok(()) => Ok(value),
        Err(exceeded) => {
            let words = format!("the result of the tool {:?} cannot be used: {exceeded}", step.tool);
            Err(WorkflowStop::failed(FailureKind::Tool, words))
        }
    }
}

/// Calls, and looks again until there is something new: only that is for the log.
async fn went_on(owner: &dyn Toolset, call: ToolsetCall<'_>) -> std::result::Result<ToolsetAnswer, ToolsetError> {
    loop {
        match owner.call(call).await? {
            ToolsetAnswer::Continues { state, after_ms, only_looks: true }
                if call.resumed.is_some_and(|resumed| resumed.answer.is_none() && resumed.state == state) =>
            {
                tokio::time::sleep(Duration::from_millis(after_ms).min(LONGEST_PAUSE)).await;
            }
            came => return Ok(came),
        }
    }
}

fn owner(effects: &ScopedEffects, set: &ToolsetDeclaration) -> std::result::Result<Arc<dyn Toolset>, ToolsetError> {
    effects.journal.context.outside.toolsets.get(&set.source)
}

/// Asks a person what the owner of a tool wants to know.
async fn asked(
    effects: &ScopedEffects,
    step: &ToolsetStep,
    message: String,
    schema: Value,
) -> Result<ElicitationAnswer> {
    let says = MessageContent::Form(FormQuestion {
        prompt: Some(message),
        schema,
        can_decline: true,
        answerers: None,
        deadline: AnswerDeadline::default(),
    });
    let question = HumanQuestion {
        sender: step.set.name.to_string(),
        recipient: USER.to_owned(),
        says,
        timeout: None,
        default: None,
        answerers: step.answerers.clone(),
    };
    Ok(match effects::ask(effects, question).await? {
        HumanReply::Given(Value::String(word)) if word == DECLINED => ElicitationAnswer::Decline,
        HumanReply::Given(content @ Value::Object(_)) => ElicitationAnswer::Accept { content },
        _ => ElicitationAnswer::Cancel,
    })
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_round_waits_for_no_timer() {
        assert_eq!(wait_for(Duration::ZERO).now_or_never(), Some(()));
        assert_eq!(wait_for(Duration::from_millis(1)).now_or_never(), None);
    }
}
