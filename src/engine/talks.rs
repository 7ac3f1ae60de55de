//! The steps in which agents talk: a workflow's expressions become the arguments of `chat`'s rules, and what the rules do to the
//! world goes through [`Talking`], which also executes tools: their steps are steps like any other.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use crate::bounds::{OUTSIDE, Unfit, read};
use crate::chat::{
    self, Answer, Asked, Call, Effects, Event, Failure, Grouped, Led, Permission, Permit, Question, Replied, Result,
    Speaking, Stage, Stop,
};
use crate::engine::effects::{self, Scoped};
use crate::engine::execution::Execution;
use crate::engine::permits::{Wanted, check_permit, permit};
use crate::engine::repeats::Repeats;
use crate::engine::scope::Scope;
use crate::engine::shown::shown;
use crate::engine::watch::Calling;
use crate::ids::{MessageId, Name};
use crate::message::{Content, Within};
use crate::protocol::dialogue::Request;
use crate::protocol::effect_key::{EffectKey, EffectScope};
use crate::protocol::failure::FailureKind;
use crate::protocol::log::Usage;
use crate::protocol::participant::{USER, WORKFLOW};
use crate::workflow::{self, AskAgent, Data, ModelUse, Tool};

/// How deep tools may call each other: steps of a tool may call tools, and agents in them as well.
const DEEPEST_TOOLS: u32 = 8;

/// A call that may be made.
struct Allowed<'a> {
    tool: &'a Tool,
    arguments: &'a Map<String, Value>,
    by: &'a str,
    /// By which a person allowed exactly it; none: nobody was asked about it.
    permit: Option<&'a Permit>,
}

/// A conversation of two.
pub(super) async fn chat(
    execution: &Execution<'_>,
    fx: &Scoped,
    scope: &mut Scope,
    place: &EffectScope,
    chat: &workflow::Chat,
) -> Result<Value> {
    let chat = given(chat, scope)?;
    talk(execution, fx, scope, place, async |stage| chat::hold(stage, chat).await).await
}

/// Conversations one after the other. The value is a list; each has its own usage.
pub(super) async fn chats(
    execution: &Execution<'_>,
    fx: &Scoped,
    scope: &mut Scope,
    place: &EffectScope,
    chats: &[workflow::Chat],
) -> Result<Value> {
    let chats = chats.iter().map(|chat| given(chat, scope)).collect::<Result<Vec<_>>>()?;
    on_stage(execution, fx, scope, place, async |stage| chat::hold_all(stage, chats).await.map(Value::Array)).await
}

/// A group chat.
pub(super) async fn group_chat(
    execution: &Execution<'_>,
    fx: &Scoped,
    scope: &mut Scope,
    place: &EffectScope,
    chat: &workflow::GroupChat,
) -> Result<Value> {
    let message = chat.message.as_ref().map(|message| scope.value(message)).transpose()?;
    let led = Led { chat, message, carryover: texts_of(chat.carryover.as_ref(), scope)? };
    talk(execution, fx, scope, place, async |stage| chat::hold_group_chat(stage, led).await).await
}

/// A group that hands over.
pub(super) async fn group(
    execution: &Execution<'_>,
    fx: &Scoped,
    scope: &mut Scope,
    place: &EffectScope,
    group: &workflow::Group,
) -> Result<Value> {
    let messages = scope.value(&group.messages)?;
    let grouped = Grouped { group, messages, context: scope.map(&group.context)? };
    talk(execution, fx, scope, place, async |stage| chat::hold_group(stage, grouped).await).await
}

/// One question to an agent's model.
pub(super) async fn ask_agent(
    execution: &Execution<'_>,
    fx: &Scoped,
    scope: &mut Scope,
    place: &EffectScope,
    asking: &AskAgent,
) -> Result<Value> {
    let agent = execution.agent(&asking.agent)?;
    let output = asking.output.as_ref().or(agent.output.as_ref());
    let asked = Asked {
        agent,
        message: scope.text(&asking.message)?,
        output,
        tools: asking.tools.as_ref().unwrap_or(&agent.tools),
        max_tool_rounds: asking.max_tool_rounds,
    };
    let (text, message) =
        on_stage(execution, fx, scope, place, async |stage| chat::ask_with_tools(stage, asked).await).await?;
    let Some(schema) = output else {
        fx.say(agent.name.as_str(), USER, Content::text(text.clone()), Some(message)).await?;
        return Ok(json!(text));
    };
    let value: Value = read(text.as_bytes(), &OUTSIDE).map_err(|unfit| {
        let why = match unfit {
            Unfit::Exceeded(exceeded) => format!("replied with too much: {exceeded}"),
            Unfit::Json(error) => format!("did not reply with JSON: {error}"),
        };
        Stop::failed(FailureKind::Output, format!("agent {:?} {why}", agent.name))
    })?;
    match schema.validator.validate(&value) {
        Ok(()) => Ok(value),
        Err(error) => {
            let problem = format!("the reply of agent {:?} does not fit its output schema: {error}", agent.name);
            Err(Stop::failed(FailureKind::Output, problem))
        }
    }
}

/// Calls a tool by itself, without a model.
pub(super) async fn call(
    execution: &Execution<'_>,
    fx: &Scoped,
    scope: &mut Scope,
    place: &EffectScope,
    tool: &Name,
    args: Map<String, Value>,
) -> Result<Value> {
    let Some(tool) = execution.workflow.tools.get(tool) else {
        return Err(Stop::failed(FailureKind::Workflow, format!("there is no tool {:?}", tool.as_str())));
    };
    let fitting =
        |args| chat::checked_arguments(tool, args).map_err(|problems| Stop::failed(FailureKind::Tool, problems));
    let mut args = fitting(args)?;
    let by = WORKFLOW;
    let permit = match permit(execution, fx, Wanted { tool, arguments: &args, by, call_id: None }).await? {
        Permission::Granted(permit) => permit,
        Permission::Changed(others, permit) => {
            args = fitting(others)?;
            permit
        }
        Permission::Denied(reason) => {
            return Err(Stop::failed(FailureKind::Denied, chat::denial(reason.as_deref())));
        }
    };
    let allowed = Allowed { tool, arguments: &args, by, permit: permit.as_ref() };
    execute(execution, allowed, None, scope, place.named(&tool.name)).await
}

/// A conversation with the usage in its result.
async fn talk(
    execution: &Execution<'_>,
    fx: &Scoped,
    scope: &mut Scope,
    place: &EffectScope,
    hold: impl AsyncFnOnce(&mut Stage<'_>) -> Result<Value>,
) -> Result<Value> {
    let before = execution.journal.budget.usage();
    let mut result = on_stage(execution, fx, scope, place, hold).await?;
    // Beside other branches this counts their calls, too; a run's totals are exact.
    result["usage"] = used(before, execution.journal.budget.usage());
    Ok(result)
}

/// Sets the stage for a conversation. Its agents remember what they said in earlier ones.
async fn on_stage<T>(
    execution: &Execution<'_>,
    fx: &Scoped,
    scope: &mut Scope,
    place: &EffectScope,
    hold: impl AsyncFnOnce(&mut Stage<'_>) -> Result<T>,
) -> Result<T> {
    let mut memory = std::mem::take(&mut scope.memory);
    let talking = Talking {
        fx,
        execution,
        place,
        scope: Mutex::new(Some(&mut *scope)),
        calls: AtomicU32::new(0),
        nested: AtomicU32::new(0),
        repeats: Mutex::default(),
    };
    let mut stage = Stage::new(&execution.workflow.agents, &execution.workflow.tools, &mut memory, &talking);
    let held = hold(&mut stage).await;
    scope.memory = memory;
    held
}

/// Executes a tool's steps. Its `return` is its result; what it sets is set for the workflow.
async fn execute(
    execution: &Execution<'_>,
    allowed: Allowed<'_>,
    context: Option<&Map<String, Value>>,
    scope: &mut Scope,
    place: EffectScope,
) -> Result<Value> {
    let Allowed { tool, arguments, by, permit } = allowed;
    if scope.depth == DEEPEST_TOOLS {
        let problem = format!("the tool {:?} is called {DEEPEST_TOOLS} tools deep: it never ends", tool.name.as_str());
        return Err(Stop::failed(FailureKind::Limit, problem));
    }
    if let Some(permit) = permit {
        check_permit(execution, tool, by, arguments, permit)?;
    }
    let digest = permit.map(|permit| permit.digest.as_str());
    let is_new = execution.journal.begin_tool_call(EffectKey::ToolCall(place.clone()), digest).await?;
    let calling = Calling::begin(&execution.journal.figures, execution.journal.run, tool, is_new);
    let mut within = scope.of_tool(tool, arguments, context);
    let flow = calling.span.around(execution.body(&tool.steps, &mut within, place)).await;
    calling.end(tool, &flow);
    scope.merge_variables(within);
    Ok(flow?.into_returned())
}

fn used(before: Usage, after: Usage) -> Value {
    json!({
        "llm_calls": after.llm_calls - before.llm_calls,
        "tool_calls": after.tool_calls - before.tool_calls,
        "prompt_tokens": after.prompt_tokens - before.prompt_tokens,
        "completion_tokens": after.completion_tokens - before.completion_tokens,
        "cost_usd": after.cost_usd - before.cost_usd,
    })
}

/// A chat with the values of its expressions.
fn given(chat: &workflow::Chat, scope: &Scope) -> Result<chat::Chat> {
    Ok(chat::Chat {
        sender: chat.sender.clone(),
        user_input: chat.user_input,
        recipient: chat.recipient.clone(),
        message: chat.message.as_ref().map(|message| scope.value(message)).transpose()?,
        max_turns: chat.max_turns,
        summary: chat.summary.clone(),
        carryover: texts_of(chat.carryover.as_ref(), scope)?,
        without_summaries_of: chat.without_summaries_of.clone(),
        clear_history: chat.clear_history,
        silent: chat.silent,
    })
}

/// What is carried over: nothing of nothing and of an empty text, the items of a list, else one text.
fn texts_of(data: Option<&Data>, scope: &Scope) -> Result<Vec<String>> {
    let Some(data) = data else { return Ok(Vec::new()) };
    let each = |item: Value| match item {
        // A list within the list is what a template gave: its items count.
        Value::Array(items) => items.into_iter().map(text).collect(),
        Value::Null => Vec::new(),
        one => vec![text(one)],
    };
    Ok(match scope.value(data)? {
        Value::String(nothing) if nothing.is_empty() => Vec::new(),
        Value::Array(items) => items.into_iter().flat_map(each).collect(),
        one => each(one),
    })
}

fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

/// The effects of a conversation.
struct Talking<'a, 'w> {
    fx: &'a Scoped,
    execution: &'a Execution<'w>,
    place: &'a EffectScope,
    /// What the steps of tools work on; taken while one does.
    scope: Mutex<Option<&'a mut Scope>>,
    calls: AtomicU32,
    /// How many nested conversations there were.
    nested: AtomicU32,
    /// What it did again.
    repeats: Mutex<Repeats>,
}

impl<'a> Talking<'a, '_> {
    /// How pages tell and call a nested conversation.
    fn nested(&self, agent: &Name, recipients: &[Name]) -> Within {
        let number = self.nested.fetch_add(1, Ordering::Relaxed);
        let others: Vec<&str> = recipients.iter().map(Name::as_str).collect();
        Within { id: format!("{}/nested{number}", self.place), title: format!("{agent} asks {}", others.join(", ")) }
    }

    fn scope(&self) -> std::sync::MutexGuard<'_, Option<&'a mut Scope>> {
        self.scope.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn repeats(&self) -> std::sync::MutexGuard<'_, Repeats> {
        self.repeats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Effects for Talking<'_, '_> {
    async fn tell(&self, event: Event, message: Option<MessageId>) -> Result<()> {
        match &event {
            Event::NestedBegins { agent, recipients } => self.fx.enter(self.nested(agent, recipients)),
            Event::NestedEnds { .. } => self.fx.leave(),
            Event::ExecutedFunction { call, arguments, content, .. } => {
                self.repeats().called(call, arguments, content);
            }
            _ => {}
        }
        let mut message = message;
        for shown in shown(event) {
            // Only a text can have been shown while it was written, and it comes first.
            self.fx.say(&shown.sender, &shown.recipient, shown.says, message.take()).await?;
        }
        Ok(())
    }

    async fn ask(&self, question: Question) -> Result<Answer> {
        self.repeats().something_new();
        effects::ask(self.fx, question).await
    }

    async fn ask_model(
        &self,
        model: &ModelUse,
        request: Request,
        speaking: Option<Speaking<'_>>,
    ) -> Result<std::result::Result<Replied, Failure>> {
        let limit = self.execution.journal.budget.limits.repeated_calls;
        let in_circles = self.repeats().asking(&model.name, &request, limit);
        let replied = effects::ask_model(self.fx, model, request, speaking, in_circles).await?;
        if let Ok(Replied { reply, .. }) = &replied {
            self.repeats().replied(reply);
        }
        Ok(replied)
    }

    async fn may_call(&self, call: Call<'_>) -> Result<Permission> {
        let Call { tool, call, agent, arguments, .. } = call;
        let wanted = Wanted { tool, arguments, by: agent.as_str(), call_id: Some(&call.id) };
        permit(self.execution, self.fx, wanted).await
    }

    async fn call_tool(&self, call: Call<'_>) -> Result<std::result::Result<Value, Failure>> {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let place = self.place.tool_call(&call.tool.name, number);
        // A conversation calls one tool at a time.
        let Some(scope) = self.scope().take() else {
            return Err(Stop::failed(FailureKind::Workflow, "two tools of one conversation were called at once"));
        };
        let within = self.fx.within();
        let execution = Execution { within, ..*self.execution };
        let Call { tool, arguments, agent, context, permit, .. } = call;
        let allowed = Allowed { tool, arguments, by: agent.as_str(), permit };
        let executed = execute(&execution, allowed, context, scope, place).await;
        *self.scope() = Some(scope);
        match executed {
            Ok(value) => Ok(Ok(value)),
            // What is wrong with the run is nothing that a model could mend.
            Err(Stop::Failed(failure)) if !matches!(failure.kind, FailureKind::Limit | FailureKind::Replay) => {
                Ok(Err(failure))
            }
            Err(stop) => Err(stop),
        }
    }

    async fn choose(&self, among: &[Name]) -> Result<usize> {
        let index = self.fx.once(|| json!(rand::random_range(0..among.len().max(1)))).await?;
        Ok(index.as_u64().and_then(|index| usize::try_from(index).ok()).unwrap_or(0))
    }
}
