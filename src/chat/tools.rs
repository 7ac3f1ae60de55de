//! Calls of tools (`SEMANTICS.md` 5): an agent's model asks for them, and its peer executes them, one after the other. Whatever
//! goes wrong with a call is a result, for the model to read; only what must stop the run stops it.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::chat::agent::{request, tell_sent};
use crate::chat::memory::{Line, Utterance, unnamed, wire};
use crate::chat::{Call, Event, Replied, Result, Speaking, Stage, Stop, ToolResponse};
use crate::ids::{MessageId, Name};
use crate::model::{Role, ToolCall};
use crate::workflow::{Agent, Returns, Schema, Tool, apply_defaults};

/// The most problems of one call that a model is told.
const MOST_PROBLEMS: usize = 10;

/// Tools as a model is offered them.
pub(super) fn offered(stage: &Stage<'_>, names: &[Name]) -> Vec<Value> {
    let tools = names.iter().filter_map(|name| stage.tools.get(name));
    tools.map(|tool| function(tool.name.as_str(), &tool.description, &tool.params.json)).collect()
}

/// A function in the shape of the wire.
pub(super) fn function(name: &str, description: &str, parameters: &Value) -> Value {
    json!({"type": "function", "function": {"description": description, "name": name, "parameters": parameters}})
}

/// What came of one call.
pub(super) struct Done {
    /// The result, as the model is told it.
    pub text: String,
    /// What the tool returned; none: it failed.
    pub returned: Option<Value>,
}

/// Executes the calls of a message, and answers it with the results.
pub(super) async fn execute_calls(stage: &mut Stage<'_>, agent: &Agent, message: &Line) -> Result<Utterance> {
    let mut responses = Vec::with_capacity(message.tool_calls.len());
    for call in &message.tool_calls {
        let done = execute(stage, &agent.name, &agent.executes, call).await?;
        responses.push(ToolResponse::new(call, done.text));
    }
    Ok(results(responses, "\n\n"))
}

/// A message with results; together they are its text, so that rules can look at it.
pub(super) fn results(responses: Vec<ToolResponse>, between: &str) -> Utterance {
    let texts: Vec<&str> = responses.iter().map(|response| response.content.as_str()).collect();
    Utterance {
        role: Some(Role::Tool),
        content: json!(texts.join(between)),
        tool_responses: responses,
        ..Utterance::default()
    }
}

/// Executes one call, if the tool is one of these.
pub(super) async fn execute(stage: &Stage<'_>, agent: &Name, tools: &[Name], call: &ToolCall) -> Result<Done> {
    let name = call.function.name.as_str();
    let known = tools.iter().any(|tool| tool.as_str() == name);
    let Some(tool) = stage.tools.get(name).filter(|_| known) else {
        return refuse(stage, agent, call, json!({}), format!("Error: Function {name} not found.")).await;
    };
    let given = match read_arguments(&call.function.arguments) {
        Ok(given) => given,
        Err(error) => return refuse(stage, agent, call, Value::Null, error).await,
    };
    let arguments = Value::Object(given.clone());
    stage
        .tell(Event::ExecuteFunction { agent: agent.clone(), call: call.clone(), arguments: arguments.clone() })
        .await?;
    let fitting = match checked_arguments(tool, given) {
        Ok(fitting) => fitting,
        Err(problems) => return refuse(stage, agent, call, arguments, format!("Error: {problems}")).await,
    };
    let context = stage.playing.as_ref().map(|playing| &playing.context);
    match stage.fx.call_tool(Call { tool, call, agent, arguments: &fitting, context }).await? {
        Ok(returned) => {
            let text = result_text(tool, &returned);
            let content = match tool.returns {
                Returns::Value => json!(text),
                Returns::ReplyResult => returned.clone(),
            };
            let (agent, call) = (agent.clone(), call.clone());
            stage.tell(Event::ExecutedFunction { agent, call, arguments, content, success: true }).await?;
            Ok(Done { text, returned: Some(returned) })
        }
        Err(failure) => refuse(stage, agent, call, arguments, format!("Error: {}", failure.message)).await,
    }
}

/// Tells that a call could not be executed, and why.
pub(super) async fn refuse(
    stage: &Stage<'_>,
    agent: &Name,
    call: &ToolCall,
    arguments: Value,
    text: String,
) -> Result<Done> {
    let (agent, call, content) = (agent.clone(), call.clone(), json!(text));
    stage.tell(Event::ExecutedFunction { agent, call, arguments, content, success: false }).await?;
    Ok(Done { text, returned: None })
}

/// The text of what a tool returned: a text as it is, anything else as JSON.
pub fn result_text(tool: &Tool, returned: &Value) -> String {
    let shown = match tool.returns {
        Returns::Value => returned,
        Returns::ReplyResult => returned.get("message").unwrap_or(returned),
    };
    match shown {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Reads arguments as a model wrote them. Line breaks outside of texts do not count, those in texts need no escaping.
pub(super) fn read_arguments(written: &str) -> std::result::Result<Map<String, Value>, String> {
    let mut text = String::with_capacity(written.len());
    let (mut quoted, mut before) = (false, ' ');
    for letter in written.chars() {
        if letter == '"' && before != '\\' {
            quoted = !quoted;
        }
        before = letter;
        match letter {
            '\n' if quoted => text.push_str("\\n"),
            '\t' if quoted => text.push_str("\\t"),
            '\n' => {}
            other => text.push(other),
        }
    }
    match serde_json::from_str(&text) {
        Ok(Value::Object(arguments)) => Ok(arguments),
        Ok(other) => Err(format!("Error: the arguments are {other}\n The argument must be a JSON object.")),
        Err(error) => Err(format!("Error: {error}\n The argument must be in JSON format.")),
    }
}

/// Arguments that fit a tool: those that it does not know are left out, defaults are filled in, and a text that reads as a
/// number or a truth is one where that is wanted. The error is for the model.
pub fn checked_arguments(
    tool: &Tool,
    mut arguments: Map<String, Value>,
) -> std::result::Result<Map<String, Value>, String> {
    let schema = &tool.params.json;
    if let Some(Value::Object(properties)) = schema.get("properties")
        && schema.get("additionalProperties").is_none_or(|more| more == &json!(false))
        && schema.get("patternProperties").is_none()
    {
        arguments.retain(|name, _| properties.contains_key(name));
        for (name, value) in &mut arguments {
            if let Some(wanted) = properties.get(name) {
                coerce(value, wanted);
            }
        }
    }
    apply_defaults(schema, &mut arguments);
    let value = Value::Object(arguments);
    let problem = |error: jsonschema::ValidationError<'_>| {
        let place = error.instance_path().to_string();
        let place = place.trim_start_matches('/');
        if place.is_empty() { format!("  {error}") } else { format!("{place}\n  {error}") }
    };
    let problems: Vec<String> = tool.params.validator.iter_errors(&value).take(MOST_PROBLEMS).map(problem).collect();
    match (value, problems.len()) {
        (Value::Object(arguments), 0) => Ok(arguments),
        (_, count) => {
            let errors = if count == 1 { "error" } else { "errors" };
            Err(format!("{count} validation {errors} for {}\n{}", tool.name, problems.join("\n")))
        }
    }
}

/// Takes a text for the number or the truth that it reads as, and a number without a fraction for a whole one, if that is
/// wanted and nothing else fits.
fn coerce(value: &mut Value, wanted: &Value) {
    let is_wanted = |kind: &str| wanted.get("type").is_some_and(|wanted| wanted == kind);
    let read = match value {
        Value::String(text) if is_wanted("integer") => text.trim().parse::<i64>().ok().map(Value::from),
        Value::String(text) if is_wanted("number") => text.trim().parse::<f64>().ok().map(Value::from),
        Value::String(text) if is_wanted("boolean") => match text.to_ascii_lowercase().as_str() {
            "true" => Some(json!(true)),
            "false" => Some(json!(false)),
            _ => None,
        },
        Value::Number(number) if is_wanted("integer") => number
            .as_f64()
            .filter(|whole| number.as_i64().is_none() && whole.fract() == 0.0 && whole.abs() < 1e15)
            .map(|whole| Value::from(whole as i64)),
        _ => None,
    };
    if let Some(read) = read {
        *value = read;
    }
}

/// One question to one agent's model, whose calls are executed for it.
pub struct Asked<'a> {
    /// The agent.
    pub agent: &'a Agent,
    /// What it is asked.
    pub message: String,
    /// What the reply must be; none: what the agent says.
    pub output: Option<&'a Arc<Schema>>,
    /// The tools that it is offered, and that are executed.
    pub tools: &'a [Name],
    /// How often calls are executed before there must be a reply.
    pub max_tool_rounds: u32,
}

/// Asks, executes what the model calls, and asks again, until it replies: the text, and the id under which it was shown.
pub async fn ask_with_tools(stage: &mut Stage<'_>, asked: Asked<'_>) -> Result<(String, MessageId)> {
    let recipient = super::own_name("User");
    let agent = Agent {
        tools: asked.tools.to_vec(),
        executes: asked.tools.to_vec(),
        output: asked.output.or(asked.agent.output.as_ref()).cloned(),
        ..asked.agent.clone()
    };
    let Some(llm) = &agent.llm else {
        return Err(Stop::failed("workflow", format!("agent {:?} has no model", agent.name.as_str())));
    };
    let mut messages = vec![unnamed(Role::System, agent.system_message.clone()), unnamed(Role::User, asked.message)];
    for round in 0.. {
        let request = request(stage, &agent, llm, messages.clone())?;
        // What people are to read is said; an object is for the workflow.
        let speaking = Speaking { sender: agent.name.as_str(), recipient: recipient.as_str() };
        let speaking = agent.output.is_none().then_some(speaking);
        let Replied { reply, message } = stage.fx.ask_model(llm, request, speaking).await?.map_err(Stop::Failed)?;
        if reply.tool_calls.is_empty() {
            return Ok((reply.content.unwrap_or_default(), message));
        }
        if round == asked.max_tool_rounds {
            let problem = format!("agent {:?} still calls tools after {round} rounds", agent.name.as_str());
            return Err(Stop::failed("tool", problem));
        }
        let content = reply.content.map_or(Value::Null, Value::String);
        let calls =
            Utterance { content, tool_calls: reply.tool_calls, shown_as: Some(message), ..Utterance::default() };
        tell_sent(stage, &agent.name, &recipient, &calls).await?;
        let calls = calls.line(Role::Assistant, &agent.name);
        let results = execute_calls(stage, &agent, &calls).await?.line(Role::User, &recipient);
        messages.extend(wire([&calls, &results]));
    }
    unreachable!("the rounds are counted")
}
