//! Calls of tools (`docs/reference/ag2-semantics.md`, section 5): an agent's model asks for them, and its peer executes
//! them, one after the other. Whatever goes wrong with a call is a result, for the model to read; only what must stop the
//! run stops it.

use std::sync::Arc;

use serde_json::{Map, Number, Value, json};

use crate::bounds::{OUTSIDE, UnfitJson, read};
use crate::chat::cut::call_cut_off;
use crate::chat::memory::{OutgoingMessage, RememberedMessage};
use crate::chat::{AllowedCall, CallPermission, ChatEvent, ConversationContext, Result, ToolResponse, WorkflowFailure};
use crate::ids::Name;
use crate::protocol::dialogue::{ChatRole, ToolCall};
use crate::workflow::{Agent, ApprovalRule, ToolReturn, ToolTable, WorkflowTool, apply_defaults};

/// The most problems of one call that a model is told.
const MOST_PROBLEMS: usize = 10;

/// The tools that names in a workflow stand for, as a model is offered them.
pub fn offered(tools: &ToolTable, names: &[Name]) -> Vec<Value> {
    let tools = tools.offered(names);
    tools.map(|tool| function(tool.name.as_str(), &tool.description, &tool.params.json)).collect()
}

/// A function in the shape of the wire.
pub(super) fn function(name: &str, description: &str, parameters: &Value) -> Value {
    let mut parameters = complete(parameters.clone());
    if let Value::Object(fields) = &mut parameters
        && fields.get("type").is_some_and(|kind| kind == "object")
    {
        fields.entry("properties").or_insert_with(|| json!({}));
    }
    json!({"type": "function", "function": {"description": description, "name": name, "parameters": parameters}})
}

/// The schema with what OpenAI and some templates demand, and JSON Schema leaves out: a list says what is in it, if that is anything.
fn complete(mut schema: Value) -> Value {
    let Value::Object(fields) = &mut schema else { return schema };
    let is_list = match fields.get("type") {
        Some(Value::Array(several)) => several.iter().any(|kind| kind == "array"),
        kind => kind.is_some_and(|kind| kind == "array"),
    };
    if is_list {
        fields.entry("items").or_insert_with(|| json!({}));
    }
    for key in ["properties", "$defs", "definitions"] {
        for inner in fields.get_mut(key).and_then(Value::as_object_mut).into_iter().flat_map(|all| all.values_mut()) {
            *inner = complete(inner.take());
        }
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = fields.get_mut(key) {
            *inner = complete(inner.take());
        }
    }
    for key in ["anyOf", "oneOf", "allOf", "prefixItems"] {
        for inner in fields.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten() {
            *inner = complete(inner.take());
        }
    }
    schema
}

/// What came of one call.
pub(super) struct ToolOutcome {
    /// The result, as the model is told it.
    pub text: String,
    /// What the tool returned; none: it failed.
    pub returned: Option<Value>,
}

/// Executes the calls of a message, and answers it with the results.
pub(super) async fn execute_calls(
    ctx: &mut ConversationContext<'_>,
    agent: &Agent,
    message: &RememberedMessage,
) -> Result<OutgoingMessage> {
    if let Some(calls) = at_once(ctx, &agent.executes, message) {
        return Ok(results(execute_at_once(ctx, &agent.name, &agent.executes, &calls).await?, "\n\n"));
    }
    let mut responses = Vec::with_capacity(message.tool_calls.len());
    for (call, cut) in message.calls() {
        let done = match cut {
            // Whatever its arguments mean now, it is not what the model meant to call.
            Some(cut) => refuse(ctx, &agent.name, call, Value::Null, call_cut_off(cut)).await?,
            None => execute(ctx, &agent.name, &agent.executes, call).await?,
        };
        responses.push(ToolResponse::new(call, done.text));
    }
    Ok(results(responses, "\n\n"))
}

/// The calls of a message, if there are several and the tools of all allow to be called at the same time, without a person
/// who is asked first.
pub(super) fn at_once<'m>(
    ctx: &ConversationContext<'_>,
    tools: &[Name],
    message: &'m RememberedMessage,
) -> Option<Vec<&'m ToolCall>> {
    if message.tool_calls.len() < 2 {
        return None;
    }
    let allows = |call: &ToolCall| {
        ctx.tools.called(tools, call.function.name.as_str()).is_some_and(|tool| {
            tool.parallel && tool.approve.rule == ApprovalRule::Never && tool.returns == ToolReturn::Value
        })
    };
    let calls = message.calls().map(|(call, cut)| (cut.is_none() && allows(call)).then_some(call));
    calls.collect()
}

/// Executes calls at the same time. What is told of them is told in their order: first all calls, then all results.
pub(super) async fn execute_at_once(
    ctx: &ConversationContext<'_>,
    agent: &Name,
    tools: &[Name],
    calls: &[&ToolCall],
) -> Result<Vec<ToolResponse>> {
    let mut checked = Vec::with_capacity(calls.len());
    for call in calls {
        checked.push(check_call(ctx, agent, tools, call).await?);
    }
    let context = ctx.handoff_state.as_ref().map(|handoff_state| &handoff_state.context);
    let callable = calls.iter().zip(&checked).filter_map(|(call, checked)| match checked {
        CallCheck::Fits { tool, fitting, .. } => {
            Some(AllowedCall { tool, call, agent, arguments: fitting, context, permit: None })
        }
        CallCheck::Refused { .. } => None,
    });
    let mut came = ctx.effects.call_tools(callable.collect()).await?.into_iter();
    let mut responses = Vec::with_capacity(calls.len());
    for (call, checked) in calls.iter().zip(checked) {
        let done = match checked {
            CallCheck::Refused { arguments, text } => refuse(ctx, agent, call, arguments, text).await?,
            CallCheck::Fits { tool, arguments, .. } => {
                let Some(came) = came.next() else { break };
                conclude(ctx, agent, call, &tool, arguments, String::new(), came).await?
            }
        };
        responses.push(ToolResponse::new(call, done.text));
    }
    Ok(responses)
}

/// A message with results; together they are its text, so that rules can look at it.
pub(super) fn results(responses: Vec<ToolResponse>, between: &str) -> OutgoingMessage {
    let texts: Vec<&str> = responses.iter().map(|response| response.content.as_str()).collect();
    OutgoingMessage {
        role: Some(ChatRole::Tool),
        content: json!(texts.join(between)),
        tool_responses: responses,
        ..OutgoingMessage::default()
    }
}

/// Whether a call can be made.
enum CallCheck {
    /// It can.
    Fits {
        tool: Arc<WorkflowTool>,
        /// As the model wrote them.
        arguments: Value,
        /// With defaults.
        fitting: Map<String, Value>,
    },
    /// It cannot, for this reason.
    Refused { arguments: Value, text: String },
}

/// Tells that a call is to be made, if the tool is one of these, and whether its arguments fit.
async fn check_call(ctx: &ConversationContext<'_>, agent: &Name, tools: &[Name], call: &ToolCall) -> Result<CallCheck> {
    let name = call.function.name.as_str();
    let Some(tool) = ctx.tools.called(tools, name) else {
        return Ok(CallCheck::Refused { arguments: json!({}), text: format!("Error: Function {name} not found.") });
    };
    let given = match read_arguments(&call.function.arguments) {
        Ok(given) => given,
        Err(text) => return Ok(CallCheck::Refused { arguments: Value::Null, text }),
    };
    let arguments = Value::Object(given.clone());
    ctx.tell(ChatEvent::ExecuteFunction { agent: agent.clone(), call: call.clone(), arguments: arguments.clone() })
        .await?;
    Ok(match checked_arguments(tool, given) {
        Ok(fitting) => CallCheck::Fits { tool: tool.clone(), arguments, fitting },
        Err(problems) => CallCheck::Refused { arguments, text: format!("Error: {problems}") },
    })
}

/// Executes one call, if the tool is one of these.
pub(super) async fn execute(
    ctx: &ConversationContext<'_>,
    agent: &Name,
    tools: &[Name],
    call: &ToolCall,
) -> Result<ToolOutcome> {
    let (tool, arguments, mut fitting) = match check_call(ctx, agent, tools, call).await? {
        CallCheck::Fits { tool, arguments, fitting } => (tool, arguments, fitting),
        CallCheck::Refused { arguments, text } => return refuse(ctx, agent, call, arguments, text).await,
    };
    let tool = &tool;
    let context = ctx.handoff_state.as_ref().map(|handoff_state| &handoff_state.context);
    let mut note = String::new();
    let mut permit = None;
    if tool.approve.rule != ApprovalRule::Never {
        match ctx
            .effects
            .may_call(AllowedCall { tool, call, agent, arguments: &fitting, context, permit: None })
            .await?
        {
            CallPermission::Granted(given) => permit = given,
            CallPermission::Changed(others, given) => match checked_arguments(tool, others) {
                Ok(others) => {
                    fitting = others;
                    permit = given;
                    // The conversation keeps the call as the model wrote it.
                    note = format!("A person changed the arguments to {}.\n", json!(fitting));
                }
                Err(problems) => return refuse(ctx, agent, call, arguments, format!("Error: {problems}")).await,
            },
            CallPermission::Denied(reason) => {
                let text = format!("Error: {}", denial(reason.as_deref()));
                return refuse(ctx, agent, call, arguments, text).await;
            }
        }
    }
    let allowed = AllowedCall { tool, call, agent, arguments: &fitting, context, permit: permit.as_ref() };
    let came = ctx.effects.call_tool(allowed).await?;
    conclude(ctx, agent, call, tool, arguments, note, came).await
}

/// Tells what came of a call. `note` stands before what the model is told.
async fn conclude(
    ctx: &ConversationContext<'_>,
    agent: &Name,
    call: &ToolCall,
    tool: &WorkflowTool,
    arguments: Value,
    note: String,
    came: std::result::Result<Value, WorkflowFailure>,
) -> Result<ToolOutcome> {
    match came {
        Ok(returned) => {
            let text = note + &result_text(tool, &returned);
            let content = match tool.returns {
                ToolReturn::Value => json!(text),
                ToolReturn::ReplyResult => returned.clone(),
            };
            let (agent, call) = (agent.clone(), call.clone());
            ctx.tell(ChatEvent::ExecutedFunction { agent, call, arguments, content, success: true }).await?;
            Ok(ToolOutcome { text, returned: Some(returned) })
        }
        Err(failure) => refuse(ctx, agent, call, arguments, format!("Error: {}", failure.message)).await,
    }
}

/// What is told of a call that a person did not allow.
pub fn denial(reason: Option<&str>) -> String {
    match reason.map(str::trim).filter(|reason| !reason.is_empty()) {
        Some(reason) => format!("a person did not allow this call: {reason}"),
        None => "a person did not allow this call".to_owned(),
    }
}

/// Tells that a call could not be executed, and why.
pub(super) async fn refuse(
    ctx: &ConversationContext<'_>,
    agent: &Name,
    call: &ToolCall,
    arguments: Value,
    text: String,
) -> Result<ToolOutcome> {
    let (agent, call, content) = (agent.clone(), call.clone(), json!(text));
    ctx.tell(ChatEvent::ExecutedFunction { agent, call, arguments, content, success: false }).await?;
    Ok(ToolOutcome { text, returned: None })
}

/// The text of what a tool returned: a text as it is, anything else as JSON.
pub fn result_text(tool: &WorkflowTool, returned: &Value) -> String {
    let shown = match tool.returns {
        ToolReturn::Value => returned,
        ToolReturn::ReplyResult => returned.get("message").unwrap_or(returned),
    };
    match shown {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Reads arguments as a model wrote them. Nothing written is no arguments. What is JSON is read as it is. Only what is none is mended: line breaks outside of
/// texts do not count, and those in texts need no escaping.
pub(super) fn read_arguments(written: &str) -> std::result::Result<Map<String, Value>, String> {
    if written.trim().is_empty() {
        return Ok(Map::new());
    }
    let read_as = |text: &str| read(text.as_bytes(), &OUTSIDE);
    let parsed = match read_as(written) {
        Err(UnfitJson::Json(error)) => read_as(&with_escaped_breaks(written)).map_err(|_| UnfitJson::Json(error)),
        parsed => parsed,
    };
    match parsed {
        Ok(Value::Object(arguments)) => Ok(arguments),
        Ok(other) => Err(format!("Error: the arguments are {other}\n The argument must be a JSON object.")),
        Err(UnfitJson::Exceeded(exceeded)) => Err(format!("Error: {exceeded}\n The argument must be simpler.")),
        Err(UnfitJson::Json(error)) => Err(format!("Error: {error}\n The argument must be in JSON format.")),
    }
}

/// Escapes the line breaks and tabs in texts, and leaves out the line breaks between them.
fn with_escaped_breaks(written: &str) -> String {
    let mut text = String::with_capacity(written.len());
    let (mut quoted, mut escaped) = (false, false);
    for letter in written.chars() {
        match letter {
            '\n' if quoted => text.push_str("\\n"),
            '\t' if quoted => text.push_str("\\t"),
            '\n' => {}
            other => text.push(other),
        }
        quoted ^= letter == '"' && !escaped;
        escaped = letter == '\\' && !escaped;
    }
    text
}

/// Arguments as a tool is called with them, if they fit: those that it does not know are left out, defaults are filled in, and a text
/// that reads as a number or a truth is one where that is wanted.
pub fn fitted_arguments(tool: &WorkflowTool, mut arguments: Map<String, Value>) -> Map<String, Value> {
    if let Some(properties) = tool.known_arguments() {
        arguments.retain(|name, _| properties.contains_key(name));
        for (name, value) in &mut arguments {
            if let Some(wanted) = properties.get(name) {
                coerce(value, wanted);
            }
        }
    }
    apply_defaults(&tool.params.json, &mut arguments);
    arguments
}

/// The same; the error says for the model why they do not fit.
pub fn checked_arguments(
    tool: &WorkflowTool,
    arguments: Map<String, Value>,
) -> std::result::Result<Map<String, Value>, String> {
    let value = Value::Object(fitted_arguments(tool, arguments));
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

/// Takes a value for what is wanted, where it clearly means it, as AG2's typed calls do: `"2"` is a number, `1` a truth.
fn coerce(value: &mut Value, wanted: &Value) {
    if let Some(alternatives) = wanted.get("anyOf").and_then(Value::as_array) {
        let fitting = alternatives.iter().find(|alternative| has_type(value, alternative));
        for alternative in fitting.map_or(alternatives.as_slice(), std::slice::from_ref) {
            let before = value.clone();
            coerce(value, alternative);
            if *value != before {
                return;
            }
        }
        return;
    }
    let read = match (wanted.get("type").and_then(Value::as_str), &mut *value) {
        (Some("integer"), Value::String(text)) => match text.trim().parse::<Number>() {
            Ok(number) if is_whole(&number) => Some(number.into()),
            _ => text.trim().parse().ok().and_then(whole),
        },
        (Some("integer"), Value::Number(number)) if !is_whole(number) => number.as_f64().and_then(whole),
        (Some("integer"), Value::Bool(truth)) => Some(json!(u8::from(*truth))),
        (Some("number"), Value::String(text)) => match text.trim().parse::<Number>() {
            Ok(number) if number.as_f64().is_some() => Some(number.into()),
            _ => text.trim().parse::<f64>().ok().map(Value::from),
        },
        (Some("number"), Value::Bool(truth)) => Some(json!(f64::from(u8::from(*truth)))),
        (Some("boolean"), Value::Number(number)) => match number.as_f64() {
            Some(0.0) => Some(json!(false)),
            Some(1.0) => Some(json!(true)),
            _ => None,
        },
        (Some("boolean"), Value::String(text)) => match text.to_ascii_lowercase().as_str() {
            "true" | "t" | "yes" | "y" | "on" | "1" => Some(json!(true)),
            "false" | "f" | "no" | "n" | "off" | "0" => Some(json!(false)),
            _ => None,
        },
        (Some("array"), Value::Array(items)) => {
            if let Some(wanted) = wanted.get("items") {
                items.iter_mut().for_each(|item| coerce(item, wanted));
            }
            None
        }
        (Some("object"), Value::Object(fields)) => {
            for (name, wanted) in wanted.get("properties").and_then(Value::as_object).into_iter().flatten() {
                if let Some(field) = fields.get_mut(name) {
                    coerce(field, wanted);
                }
            }
            None
        }
        _ => None,
    };
    if let Some(read) = read {
        *value = read;
    }
}

/// Whether a number is written as a whole one, however many digits it has.
fn is_whole(number: &Number) -> bool {
    number.as_str().bytes().all(|byte| byte == b'-' || byte.is_ascii_digit())
}

/// A number without a fraction, as a whole one.
fn whole(number: f64) -> Option<Value> {
    (number.fract() == 0.0 && number.abs() < 1e15).then(|| Value::from(number as i64))
}

fn has_type(value: &Value, wanted: &Value) -> bool {
    match wanted.get("type").and_then(Value::as_str) {
        Some("integer") => value.as_number().is_some_and(is_whole),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        Some("string") => value.is_string(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        Some("null") => value.is_null(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::workflow::{CompiledSchema, ToolApproval};

    fn tool(properties: Value, required: Value) -> WorkflowTool {
        let json = json!({"type": "object", "properties": properties, "required": required});
        let validator = jsonschema::validator_for(&json).unwrap();
        WorkflowTool {
            name: Name::parse("book").unwrap(),
            description: String::new(),
            params: Arc::new(CompiledSchema { json, validator }),
            returns: ToolReturn::Value,
            approve: ToolApproval::default(),
            any_agent_may_call: false,
            parallel: false,
            on_lost: None,
            asks: None,
            called: None,
            steps: Vec::new(),
        }
    }

    fn checked(tool: &WorkflowTool, given: Value) -> std::result::Result<Value, String> {
        checked_arguments(tool, given.as_object().unwrap().clone()).map(Value::Object)
    }

    #[test]
    fn a_schema_says_what_strict_servers_demand_at_any_depth() {
        let offered = |schema: Value| function("f", "", &schema)["function"]["parameters"].clone();
        assert_eq!(offered(json!({"type": "object"})), json!({"type": "object", "properties": {}}));
        let schema = json!({"type": "object", "properties": {
            "tags": {"type": "array"}, "more": {"type": ["array", "null"]}, "map": {"type": "object", "additionalProperties": {"type": "array"}},
            "either": {"anyOf": [{"type": "array"}, {"type": "string"}]}, "days": {"type": "array", "items": {"type": "integer"}},
        }});
        let complete = json!({"type": "object", "properties": {
            "tags": {"type": "array", "items": {}}, "more": {"type": ["array", "null"], "items": {}},
            "map": {"type": "object", "additionalProperties": {"type": "array", "items": {}}},
            "either": {"anyOf": [{"type": "array", "items": {}}, {"type": "string"}]}, "days": {"type": "array", "items": {"type": "integer"}},
        }});
        assert_eq!(offered(schema), complete);
    }

    #[test]
    fn arguments_mean_what_they_clearly_mean() {
        let optional = json!({"anyOf": [{"type": "integer"}, {"type": "null"}], "default": null});
        let either = json!({"anyOf": [{"type": "integer"}, {"type": "string"}]});
        let days = json!({"type": "array", "items": {"type": "integer"}});
        let tool = tool(
            json!({"n": {"type": "integer"}, "on": {"type": "boolean"}, "x": {"type": "number"}, "opt": optional, "either": either, "days": days}),
            json!(["n"]),
        );
        let given =
            json!({"n": "2", "on": "yes", "x": "1.5", "opt": "5", "either": "7", "days": ["1", 2.0], "more": 1});
        let meant = json!({"n": 2, "on": true, "x": 1.5, "opt": 5, "either": "7", "days": [1, 2]});
        assert_eq!(checked(&tool, given), Ok(meant));
        assert_eq!(checked(&tool, json!({"n": 3.0})), Ok(json!({"n": 3, "opt": null})));
        let problems = checked(&tool, json!({"n": 1.5, "on": "perhaps"})).unwrap_err();
        assert_eq!(
            problems,
            "2 validation errors for book\nn\n  1.5 is not of type \"integer\"\non\n  \"perhaps\" is not of type \"boolean\""
        );
        let missing = checked(&tool, json!({})).unwrap_err();
        assert_eq!(missing, "1 validation error for book\n  \"n\" is a required property");
    }

    #[test]
    fn arguments_may_have_line_breaks_anywhere() {
        let read = read_arguments("{\n\"text\": \"one\ntwo\tthree \\\"x\\\"\"\n}").unwrap();
        assert_eq!(Value::Object(read), json!({"text": "one\ntwo\tthree \"x\""}));
        // What is right stays as it is, whatever comes before a quotation mark.
        let path = "{\"path\": \"C:\\\\temp\\\\\",\n \"n\": 1}";
        assert_eq!(Value::Object(read_arguments(path).unwrap()), json!({"path": "C:\\temp\\", "n": 1}));
        let broken = "{\"path\": \"C:\\\\temp\\\\\",\n \"text\": \"one\ntwo\"}";
        assert_eq!(Value::Object(read_arguments(broken).unwrap()), json!({"path": "C:\\temp\\", "text": "one\ntwo"}));
        for nothing in ["", " ", "\n\t"] {
            assert_eq!(read_arguments(nothing), Ok(Map::new()));
        }
        for wrong in ["null", "[1]", "{\"a\":"] {
            let error = read_arguments(wrong).unwrap_err();
            assert!(error.starts_with("Error: ") && error.contains("The argument must be"), "{error}");
        }
    }
}
