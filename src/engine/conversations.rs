//! The steps in which agents talk: a workflow's expressions become the arguments of `chat`'s rules, and what the rules do to the
//! world goes through [`ConversationEffects`], which also executes tools: their steps are steps like any other.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use crate::chat::{
    self, AgentAnswer, AgentQuestion, AllowedCall, CallPermission, CallPermit, ChatEvent, ConversationContext, Effects,
    GroupChatRequest, HandoffGroupRequest, HumanQuestion, HumanReply, IdentifiedReply, Result, SpeakingPair,
    WorkflowFailure, WorkflowStop,
};
use crate::engine::arguments::shown_data;
use crate::engine::chat_messages::shown;
use crate::engine::effects::{self, CutOffCall, ScopedEffects};
use crate::engine::execution::WorkflowExecution;
use crate::engine::permits::{DigestedCall, RequestedCall, check_permit, permit};
use crate::engine::repeats::RepeatedCalls;
use crate::engine::run_metrics::ToolCallMetrics;
use crate::engine::scope::ExpressionScope;
use crate::engine::structured_output::structured;
use crate::ids::{MessageId, Name};
use crate::message::{InnerConversation, MessageContent};
use crate::protocol::dialogue::ModelRequest;
use crate::protocol::effect_key::{EffectKey, EffectScope};
use crate::protocol::failure::FailureKind;
use crate::protocol::log::RunUsage;
use crate::protocol::participant::{USER, WORKFLOW};
use crate::workflow::{self, AgentRequest, DataTemplate, ModelUse, OnLost, WorkflowTool};

/// How deep tools may call each other: steps of a tool may call tools, and agents in them as well.
const DEEPEST_TOOLS: u32 = 8;

/// A call that may be made.
struct CheckedCall<'a> {
    tool: &'a WorkflowTool,
    arguments: &'a Map<String, Value>,
    by: &'a str,
    /// By which a person allowed exactly it; none: nobody was asked about it.
    permit: Option<&'a CallPermit>,
    /// What happens if it is cut off.
    on_lost: OnLost,
}

/// A conversation of two.
pub(super) async fn chat(
    execution: &WorkflowExecution<'_>,
    effects: &ScopedEffects,
    scope: &mut ExpressionScope,
    place: &EffectScope,
    chat: &workflow::TwoAgentChat,
) -> Result<Value> {
    let chat = given(chat, scope)?;
    talk(execution, effects, scope, place, async |ctx| chat::hold(ctx, chat).await).await
}

/// Conversations one after the other. The value is a list; each has its own usage.
pub(super) async fn chats(
    execution: &WorkflowExecution<'_>,
    effects: &ScopedEffects,
    scope: &mut ExpressionScope,
    place: &EffectScope,
    chats: &[workflow::TwoAgentChat],
) -> Result<Value> {
    let chats = chats.iter().map(|chat| given(chat, scope)).collect::<Result<Vec<_>>>()?;
    with_context(execution, effects, scope, place, async |ctx| chat::hold_all(ctx, chats).await.map(Value::Array)).await
}

/// A group chat.
pub(super) async fn group_chat(
    execution: &WorkflowExecution<'_>,
    effects: &ScopedEffects,
    scope: &mut ExpressionScope,
    place: &EffectScope,
    chat: &workflow::GroupChat,
) -> Result<Value> {
    let message = chat.message.as_ref().map(|message| scope.value(message)).transpose()?;
    let led = GroupChatRequest { chat, message, carryover: texts_of(chat.carryover.as_ref(), scope)? };
    talk(execution, effects, scope, place, async |ctx| chat::hold_group_chat(ctx, led).await).await
}

/// A group that hands over.
pub(super) async fn group(
    execution: &WorkflowExecution<'_>,
    effects: &ScopedEffects,
    scope: &mut ExpressionScope,
    place: &EffectScope,
    group: &workflow::HandoffGroup,
) -> Result<Value> {
    let messages = scope.value(&group.messages)?;
    let grouped = HandoffGroupRequest { group, messages, context: scope.map(&group.context)? };
    talk(execution, effects, scope, place, async |ctx| chat::hold_group(ctx, grouped).await).await
}

/// One question to an agent's model.
pub(super) async fn ask_agent(
    execution: &WorkflowExecution<'_>,
    effects: &ScopedEffects,
    scope: &mut ExpressionScope,
    place: &EffectScope,
    asking: &AgentRequest,
) -> Result<Value> {
    let agent = execution.agent(&asking.agent)?;
    let output = asking.output.as_ref().or(agent.output.as_ref());
    let asked = AgentQuestion {
        agent,
        message: scope.text(&asking.message)?,
        output,
        tools: asking.tools.as_ref().unwrap_or(&agent.tools),
        max_tool_rounds: asking.max_tool_rounds,
        on_cut: asking.on_cut,
    };
    let AgentAnswer { text, cut, message } =
        with_context(execution, effects, scope, place, async |ctx| chat::ask_with_tools(ctx, asked).await).await?;
    let Some(schema) = output else {
        let says = MessageContent::TextMessage { body: Some(text.clone()), stopped: false, cut };
        effects.say(agent.name.as_str(), USER, says, Some(message)).await?;
        return Ok(json!(text));
    };
    structured(&text, schema).map_err(|unfit| {
        // What was cut off is not wrong, but not whole.
        let because = cut.map(|cut| format!(" (the reply {})", cut.in_words())).unwrap_or_default();
        WorkflowStop::failed(FailureKind::Output, format!("{}{because}", unfit.of(agent.name.as_str())))
    })
}

/// Calls a tool by itself, without a model.
pub(super) async fn call(
    execution: &WorkflowExecution<'_>,
    effects: &ScopedEffects,
    scope: &mut ExpressionScope,
    place: &EffectScope,
    (tool, timeout): (&Name, Option<Duration>),
    args: Map<String, Value>,
) -> Result<Value> {
    let tool = match execution.workflow.tools.named(tool)[..] {
        [tool] => tool,
        [] => return Err(WorkflowStop::failed(FailureKind::Workflow, format!("there is no tool {:?}", tool.as_str()))),
        _ => {
            let problem = format!("{tool} has several tools; say which one: {tool}.NAME");
            return Err(WorkflowStop::failed(FailureKind::Workflow, problem));
        }
    };
    let fitting = |args| {
        chat::checked_arguments(tool, args).map_err(|problems| WorkflowStop::failed(FailureKind::Tool, problems))
    };
    let mut args = fitting(args)?;
    let by = WORKFLOW;
    let injected = |args: &Map<String, Value>| shown_data(scope, tool, args, None);
    let wanted = RequestedCall { tool, arguments: &args, injected: &injected, by, call_id: None };
    let permit = match permit(execution, effects, wanted).await? {
        CallPermission::Granted(permit) => permit,
        CallPermission::Changed(others, permit) => {
            args = fitting(others)?;
            permit
        }
        CallPermission::Denied(reason) => {
            return Err(WorkflowStop::failed(FailureKind::Denied, chat::denial(reason.as_deref())));
        }
    };
    // While the step's time runs, nobody could answer in time.
    let on_lost = tool.on_lost.filter(|_| timeout.is_none()).unwrap_or(OnLost::Tell);
    let allowed = CheckedCall { tool, arguments: &args, by, permit: permit.as_ref(), on_lost };
    execute(execution, allowed, None, scope, place.named(&tool.name)).await
}

/// A conversation with the usage in its result.
async fn talk(
    execution: &WorkflowExecution<'_>,
    effects: &ScopedEffects,
    scope: &mut ExpressionScope,
    place: &EffectScope,
    hold: impl AsyncFnOnce(&mut ConversationContext<'_>) -> Result<Value>,
) -> Result<Value> {
    let before = execution.journal.budget.usage();
    let mut result = with_context(execution, effects, scope, place, hold).await?;
    // Beside other branches this counts their calls, too; a run's totals are exact.
    result["usage"] = used(before, execution.journal.budget.usage());
    Ok(result)
}

/// Sets the stage for a conversation. Its agents remember what they said in earlier ones.
async fn with_context<T>(
    execution: &WorkflowExecution<'_>,
    effects: &ScopedEffects,
    scope: &mut ExpressionScope,
    place: &EffectScope,
    hold: impl AsyncFnOnce(&mut ConversationContext<'_>) -> Result<T>,
) -> Result<T> {
    let mut memory = std::mem::take(&mut scope.memory);
    let talking = ConversationEffects {
        effects,
        execution,
        place,
        scope: Mutex::new(Some(&mut *scope)),
        calls: AtomicU32::new(0),
        nested: AtomicU32::new(0),
        repeats: Mutex::default(),
        shown_calls: parking_lot::Mutex::default(),
    };
    let mut ctx =
        ConversationContext::new(&execution.workflow.agents, &execution.workflow.tools, &mut memory, &talking);
    let held = hold(&mut ctx).await;
    let reply_ends = ctx.reply_ends().clone();
    scope.memory = memory;
    scope.reply_ends = Some(reply_ends);
    held
}

/// Executes a tool's steps. Its `return` is its result; what it sets is set for the workflow.
async fn execute(
    execution: &WorkflowExecution<'_>,
    allowed: CheckedCall<'_>,
    context: Option<&Map<String, Value>>,
    scope: &mut ExpressionScope,
    place: EffectScope,
) -> Result<Value> {
    let CheckedCall { tool, arguments, by, permit, on_lost } = allowed;
    if scope.depth == DEEPEST_TOOLS {
        let problem = format!("the tool {:?} is called {DEEPEST_TOOLS} tools deep: it never ends", tool.name.as_str());
        return Err(WorkflowStop::failed(FailureKind::Limit, problem));
    }
    if let Some(permit) = permit {
        let injected = shown_data(scope, tool, arguments, context);
        check_permit(execution, DigestedCall { tool, by, arguments, injected: &injected }, permit)?;
    }
    let digest = permit.map(|permit| permit.digest.as_str());
    let is_new = execution.journal.begin_tool_call(EffectKey::ToolCall(place.clone()), digest).await?;
    let calling = ToolCallMetrics::begin(&execution.journal.workflow_metrics, execution.journal.run, tool, is_new);
    let asks = tool
        .asks
        .as_ref()
        .map(|agent| InnerConversation { id: place.to_string(), title: format!("{by} asks {agent}") });
    let around = execution.within.iter().cloned().chain(asks).collect();
    let is_asked = on_lost == OnLost::Ask && tool.single_action().is_some();
    let call = is_asked.then(|| {
        Arc::new(CutOffCall {
            tool: tool.name.to_string(),
            by: by.to_owned(),
            arguments: arguments.clone(),
            answerers: tool.approve.answerers.clone(),
        })
    });
    let execution = &WorkflowExecution { within: around, call, ..*execution };
    let mut within = scope.of_tool(tool, arguments, context);
    let flow = calling.span.instrument(execution.body(&tool.steps, &mut within, place)).await;
    calling.end(tool, &flow);
    scope.merge_variables(within);
    Ok(flow?.into_returned())
}

fn used(before: RunUsage, after: RunUsage) -> Value {
    json!({
        "llm_calls": after.llm_calls - before.llm_calls,
        "estimated_calls": after.estimated_calls - before.estimated_calls,
        "tool_calls": after.tool_calls - before.tool_calls,
        "prompt_tokens": after.prompt_tokens - before.prompt_tokens,
        "completion_tokens": after.completion_tokens - before.completion_tokens,
        "cost_usd": after.cost_usd - before.cost_usd,
    })
}

/// A chat with the values of its expressions.
fn given(chat: &workflow::TwoAgentChat, scope: &ExpressionScope) -> Result<chat::ChatRequest> {
    Ok(chat::ChatRequest {
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
        on_cut: chat.on_cut,
    })
}

/// What is carried over: nothing of nothing and of an empty text, the items of a list, else one text.
fn texts_of(data: Option<&DataTemplate>, scope: &ExpressionScope) -> Result<Vec<String>> {
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

/// What happens to an agent's call that was cut off: a person decides, unless the tool says otherwise, or calls again by itself.
fn on_lost_of_agents(tool: &WorkflowTool) -> OnLost {
    let retry = tool.steps.first().and_then(|step| step.retry.as_ref());
    let is_repeated = retry.is_some_and(|retry| retry.covers(&FailureKind::Lost));
    tool.on_lost.unwrap_or(if is_repeated { OnLost::Tell } else { OnLost::Ask })
}

/// A failure of a tool is a result for the model; what is wrong with the run is nothing that a model could mend.
fn for_the_model(tool: &WorkflowTool, executed: Result<Value>) -> Result<std::result::Result<Value, WorkflowFailure>> {
    match executed {
        Ok(value) => Ok(Ok(value)),
        Err(WorkflowStop::Failed(failure))
            if failure.kind == FailureKind::Lost && tool.on_lost == Some(OnLost::Fail) =>
        {
            Err(WorkflowStop::Failed(failure))
        }
        Err(WorkflowStop::Failed(failure)) if !matches!(failure.kind, FailureKind::Limit | FailureKind::Replay) => {
            Ok(Err(failure))
        }
        Err(stop) => Err(stop),
    }
}

fn called_at_once() -> WorkflowStop {
    WorkflowStop::failed(FailureKind::Workflow, "two tools of one conversation were called at once")
}

/// The effects of a conversation.
struct ConversationEffects<'a, 'w> {
    effects: &'a ScopedEffects,
    execution: &'a WorkflowExecution<'w>,
    place: &'a EffectScope,
    /// What the steps of tools work on; taken while one does.
    scope: Mutex<Option<&'a mut ExpressionScope>>,
    calls: AtomicU32,
    /// How many nested conversations there were.
    nested: AtomicU32,
    /// What it did again.
    repeats: Mutex<RepeatedCalls>,
    /// The ids under which the calls of the last reply are shown, by the provider's id and in their order.
    shown_calls: parking_lot::Mutex<HashMap<String, VecDeque<String>>>,
}

impl<'a> ConversationEffects<'a, '_> {
    /// How pages tell and call a nested conversation.
    fn nested(&self, agent: &Name, recipients: &[Name]) -> InnerConversation {
        let number = self.nested.fetch_add(1, Ordering::Relaxed);
        let others: Vec<&str> = recipients.iter().map(Name::as_str).collect();
        InnerConversation {
            id: format!("{}/nested{number}", self.place),
            title: format!("{agent} asks {}", others.join(", ")),
        }
    }

    fn scope(&self) -> std::sync::MutexGuard<'_, Option<&'a mut ExpressionScope>> {
        self.scope.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn repeats(&self) -> std::sync::MutexGuard<'_, RepeatedCalls> {
        self.repeats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Effects for ConversationEffects<'_, '_> {
    async fn tell(&self, event: ChatEvent, message: Option<MessageId>) -> Result<()> {
        match &event {
            ChatEvent::NestedBegins { agent, recipients } => self.effects.enter(self.nested(agent, recipients)),
            ChatEvent::NestedEnds { .. } => self.effects.leave(),
            ChatEvent::ExecutedFunction { call, arguments, content, .. } => {
                self.repeats().called(call, arguments, content);
            }
            _ => {}
        }
        if let ChatEvent::ToolCall { calls, .. } = &event {
            // One of an earlier reply that was never executed is not meant any more.
            let mut shown_calls = self.shown_calls.lock();
            calls.iter().for_each(|call| drop(shown_calls.remove(&call.id)));
        }
        let mut message = message;
        for mut shown in shown(event) {
            let given = shown.says.suggested_call_id().map(str::to_owned);
            if let MessageContent::FunctionCallExecution { call_id: Some(id), .. } = &mut shown.says {
                let next = self.shown_calls.lock().get_mut(id).and_then(VecDeque::pop_front);
                *id = next.unwrap_or_else(|| std::mem::take(id));
            }
            // Only a text can have been shown while it was written, and it comes first.
            let suggested = self.effects.say(&shown.sender, &shown.recipient, shown.says, message.take()).await?;
            if let (Some(given), Some(suggested)) = (given, suggested) {
                self.shown_calls.lock().entry(given).or_default().push_back(suggested);
            }
        }
        Ok(())
    }

    async fn ask(&self, question: HumanQuestion) -> Result<HumanReply> {
        self.repeats().something_new();
        effects::ask(self.effects, question).await
    }

    async fn ask_model(
        &self,
        model: &ModelUse,
        request: ModelRequest,
        speaking: Option<SpeakingPair<'_>>,
    ) -> Result<std::result::Result<IdentifiedReply, WorkflowFailure>> {
        let limit = self.execution.journal.budget.limits.repeated_calls;
        let in_circles = self.repeats().asking(&model.name, &request, limit);
        let replied = effects::ask_model(self.effects, model, request, speaking, in_circles).await?;
        if let Ok(IdentifiedReply { reply, .. }) = &replied {
            self.repeats().replied(reply);
        }
        Ok(replied)
    }

    async fn may_call(&self, call: AllowedCall<'_>) -> Result<CallPermission> {
        let AllowedCall { tool, call, agent, arguments, context, .. } = call;
        let shown = self.shown_calls.lock().get(&call.id).and_then(|shown| shown.front().cloned());
        let call_id = Some(shown.as_deref().unwrap_or(&call.id));
        let injected = |arguments: &Map<String, Value>| match self.scope().as_deref() {
            Some(scope) => shown_data(scope, tool, arguments, context),
            None => Map::new(),
        };
        let wanted = RequestedCall { tool, arguments, injected: &injected, by: agent.as_str(), call_id };
        permit(self.execution, self.effects, wanted).await
    }

    async fn call_tool(&self, call: AllowedCall<'_>) -> Result<std::result::Result<Value, WorkflowFailure>> {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let place = self.place.tool_call(&call.tool.name, number);
        // A conversation calls one tool at a time.
        let Some(scope) = self.scope().take() else {
            return Err(called_at_once());
        };
        let within = self.effects.within();
        let execution = WorkflowExecution { within, call: None, ..*self.execution };
        let AllowedCall { tool, arguments, agent, context, permit, .. } = call;
        let allowed = CheckedCall { tool, arguments, by: agent.as_str(), permit, on_lost: on_lost_of_agents(tool) };
        let executed = execute(&execution, allowed, context, scope, place).await;
        *self.scope() = Some(scope);
        for_the_model(tool, executed)
    }

    async fn call_tools(
        &self,
        calls: Vec<AllowedCall<'_>>,
    ) -> Result<Vec<std::result::Result<Value, WorkflowFailure>>> {
        let Some(scope) = self.scope().take() else { return Err(called_at_once()) };
        let execution = WorkflowExecution { within: self.effects.within(), call: None, ..*self.execution };
        let before: &ExpressionScope = scope;
        let running = calls.iter().map(|call| {
            let number = self.calls.fetch_add(1, Ordering::Relaxed);
            let place = self.place.tool_call(&call.tool.name, number);
            let mut branch = before.branch();
            let execution = &execution;
            async move {
                let AllowedCall { tool, arguments, agent, context, permit, .. } = *call;
                let allowed =
                    CheckedCall { tool, arguments, by: agent.as_str(), permit, on_lost: on_lost_of_agents(tool) };
                let executed = execute(execution, allowed, context, &mut branch, place).await;
                for_the_model(tool, executed).map(|came| (came, branch.into_changes()))
            }
        });
        let ended = futures_util::future::try_join_all(running).await;
        let merged = ended.map(|ended| {
            let merge = |(came, changes)| {
                scope.take_over(changes);
                came
            };
            ended.into_iter().map(merge).collect()
        });
        *self.scope() = Some(scope);
        merged
    }

    async fn choose(&self, among: &[Name]) -> Result<usize> {
        let index = self.effects.once(|| json!(rand::random_range(0..among.len().max(1)))).await?;
        Ok(index.as_u64().and_then(|index| usize::try_from(index).ok()).unwrap_or(0))
    }
}
