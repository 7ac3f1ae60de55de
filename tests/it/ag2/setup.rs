//! Agents, tools, models and conversations as a recording describes them. Agents and tools are written in the workflow
//! language and read by its reader; conversations are the types that the reader makes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fastagency::chat;
use fastagency::config::{ChatDialect, LlmConfig, ModelProvider, ModelRateLimit, ModelTimeouts};
use fastagency::ids::Name;
use fastagency::workflow::{
    DataTemplate, GroupChat, GroupChatManager, GroupPattern, HandoffGroup, HandoffTarget, ModelUse, SelectionMethod,
    SelectionPrompts, SelectionRole, SpeakerTransitions, SummaryMethod, Workflow, WorkflowDefinition, from_definition,
};
use serde_json::{Map, Value, json};

pub fn name(value: &Value) -> Name {
    Name::parse(value.as_str().unwrap_or_default()).unwrap_or_else(|error| panic!("{value}: {error}"))
}

fn names(value: &Value) -> Vec<Name> {
    value.as_array().into_iter().flatten().map(name).collect()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// The workflow that has the recording's agents and tools.
pub fn workflow(setup: &Value, requests: &Value) -> Result<Workflow, String> {
    let formats = response_formats(setup, requests);
    let agents: Map<String, Value> = list(&setup["agents"])
        .map(|agent| (agent["name"].as_str().unwrap_or_default().to_owned(), written_agent(agent, setup, &formats)))
        .collect();
    let tools: Map<String, Value> = list(&setup["tools"])
        .map(|tool| (tool["name"].as_str().unwrap_or_default().to_owned(), written_tool(tool)))
        .collect();
    let mut written = json!({"version": 1, "name": "recorded", "agents": agents, "steps": [{"message": "x"}]});
    if !tools.is_empty() {
        written["tools"] = Value::Object(tools);
    }
    let recorded = Name::parse("recorded").expect("a name");
    // JSON is YAML.
    let sources = BTreeMap::from([(recorded.clone(), written.to_string())]);
    from_definition(&WorkflowDefinition { name: recorded, sources }).map_err(|problems| problems.to_string())
}

fn written_agent(agent: &Value, setup: &Value, formats: &BTreeMap<String, Value>) -> Value {
    let kind = match agent["class"].as_str() {
        Some("AssistantAgent") => "assistant",
        Some("UserProxyAgent") => "user_proxy",
        _ => "conversable",
    };
    let own_name = &agent["name"];
    let mut written = json!({"kind": kind, "llm": agent["llm_config"]});
    let keys =
        ["system_message", "description", "human_input_mode", "max_consecutive_auto_reply", "default_auto_reply"];
    for key in keys {
        if let Some(value) = agent.get(key) {
            written[key] = value.clone();
        }
    }
    if let Some(rule) = agent.get("is_termination_msg") {
        written["is_termination_msg"] = json!(rule_of(rule));
    }
    if let Some(template) = agent["update_system_message"].as_str() {
        written["update_system_message"] = json!(context_template(template));
    }
    let registered = |role: &str| -> Vec<&Value> {
        let with = |tool: &&Value| list(&tool["register"]).any(|register| register[role] == *own_name);
        let mut tools: Vec<&Value> = list(&setup["tools"]).filter(with).collect();
        // AG2 takes a tool that sees the shared variables out, and puts it back last.
        if setup["pattern"]["kind"] == "group_pattern" {
            tools.sort_by_key(|tool| list(&tool["params"]).any(|param| param["name"] == "context_variables"));
        }
        tools.into_iter().map(|tool| &tool["name"]).collect()
    };
    if written["llm"] != false {
        written["tools"] = json!(registered("caller"));
    }
    written["executes"] = json!(registered("executor"));
    if let Some(format) = agent["llm_config"].as_str().and_then(|config| formats.get(config)) {
        written["output"] = format.clone();
    }
    if let Some(nested) = agent["nested_chats"].as_array() {
        let nested = nested.iter().map(|nested| {
            let mut written = nested.clone();
            written["chats"] = list(&nested["chats"]).map(nested_chat).collect();
            written
        });
        written["nested_chats"] = nested.collect();
    }
    if let Some(handoffs) = agent.get("handoffs") {
        let each = |key: &str, read: fn(&Value) -> Value| -> Value { list(&handoffs[key]).map(read).collect() };
        written["handoffs"] = json!({
            "llm": each("llm_conditions", llm_handoff),
            "context": each("context_conditions", context_handoff),
            "after_work": each("after_works", context_handoff),
        });
    }
    written
}

fn nested_chat(chat: &Value) -> Value {
    let mut written = chat.as_object().cloned().unwrap_or_default();
    written.retain(|_, value| !value.is_null());
    if chat.get("summary_method").is_some_and(Value::is_null) {
        written.insert("summary_method".to_owned(), json!("none"));
    }
    if let Some(Value::Object(carryover)) = written.get_mut("carryover_config") {
        carryover.retain(|_, value| !value.is_null());
    }
    Value::Object(written)
}

fn llm_handoff(handoff: &Value) -> Value {
    let prompt = match handoff["context_prompt"].as_str() {
        Some(template) => context_template(template),
        None => handoff["prompt"].as_str().unwrap_or_default().to_owned(),
    };
    with_conditions(handoff, json!({"target": target(&handoff["target"]), "prompt": prompt}))
}

fn context_handoff(handoff: &Value) -> Value {
    with_conditions(handoff, json!({"target": target(&handoff["target"])}))
}

fn with_conditions(handoff: &Value, mut written: Value) -> Value {
    for (key, ours) in [("available", "available"), ("condition", "when")] {
        if let Some(condition) = handoff.get(key).filter(|condition| !condition.is_null()) {
            written[ours] = json!(condition_of(condition));
        }
    }
    written
}

/// A target as the language writes it.
pub fn target(target: &Value) -> Value {
    match target["type"].as_str() {
        Some("agent") => json!({"agent": target["agent"]}),
        Some("random") => json!({"random": target["agents"]}),
        Some("nested_chat") => json!({"nested_chats": list(&target["chats"]).map(nested_chat).collect::<Value>()}),
        _ => target["type"].clone(),
    }
}

fn typed_target(written: &Value) -> HandoffTarget {
    match written["type"].as_str() {
        Some("agent") => HandoffTarget::Agent(name(&written["agent"])),
        Some("random") => HandoffTarget::Random(names(&written["agents"])),
        Some(word) => HandoffTarget::word(word).unwrap_or_else(|| panic!("{word} is no target of a group")),
        None => HandoffTarget::Terminate,
    }
}

fn rule_of(rule: &Value) -> String {
    let value = rule["value"].to_string();
    match rule["rule"].as_str().unwrap_or_default() {
        "content_contains" => format!("{value} in message.content"),
        "content_contains_ci" => format!("{value}|lower in message.content|lower"),
        "content_equals" => format!("message.content == {value}"),
        "content_endswith" => format!("message.content|trim is endingwith({value})"),
        "never" => "false".to_owned(),
        "always" => "true".to_owned(),
        other => panic!("the rule {other} is not known here"),
    }
}

/// `{name}` in AG2's templates.
fn context_template(template: &str) -> String {
    let name = regex::Regex::new(r"\{(\w+)\}").expect("a pattern");
    name.replace_all(template, "{{ context.$1 }}").into_owned()
}

/// AG2's expressions over `${name}`, with Python's idea of truth.
fn condition_of(condition: &Value) -> String {
    if let Some(variable) = condition["variable"].as_str() {
        return format!("context.{variable} | default(false) | bool");
    }
    let written = condition["expression"].as_str().unwrap_or_default();
    let steps = [
        (r"\s+&\s+", " and "),
        (r"\s+\|\s+", " or "),
        (r"!\s*(\$\{|\()", "not $1"),
        (r"len\(\$\{(\w+)\}\)", "(context.$1 | length)"),
        (r"\$\{(\w+)\}", "context.$1"),
        (r"\bTrue\b", "true"),
        (r"\bFalse\b", "false"),
    ];
    let mut expression = written.to_owned();
    for (pattern, ours) in steps {
        expression = regex::Regex::new(pattern).expect("a pattern").replace_all(&expression, ours).into_owned();
    }
    format!("({expression}) | bool")
}

fn written_tool(tool: &Value) -> Value {
    let mut params = tool["json_schema"]["function"]["parameters"].clone();
    if let Some(properties) = params["properties"].as_object_mut() {
        properties.shift_remove("context_variables");
    }
    if let Some(required) = params["required"].as_array_mut() {
        required.retain(|name| name != "context_variables");
    }
    let returns = if tool["impl"]["kind"] == "reply_result" { "reply_result" } else { "value" };
    let description = &tool["json_schema"]["function"]["description"];
    json!({"description": description, "params": params, "returns": returns, "do": [{"message": "the world does it"}]})
}

/// The schemas that models reply by. Those that Python made are in the requests.
fn response_formats(setup: &Value, requests: &Value) -> BTreeMap<String, Value> {
    let mut formats = BTreeMap::new();
    for (config, llm) in setup["llm_configs"].as_object().into_iter().flatten() {
        let format = &llm["response_format"];
        let schema = if format.get("pydantic_source").is_some() {
            let sent = list(requests).filter_map(|request| request.pointer("/response_format/json_schema/schema"));
            sent.last().cloned()
        } else if format.is_object() && format["type"] != "json_object" {
            Some(format.clone())
        } else {
            None
        };
        if let Some(schema) = schema {
            formats.insert(config.clone(), schema);
        }
    }
    formats
}

/// The models of a recording, at this server.
pub fn llms(setup: &Value, base_url: &str) -> BTreeMap<Name, LlmConfig> {
    let mut llms = BTreeMap::new();
    for (config, llm) in setup["llm_configs"].as_object().into_iter().flatten() {
        let entries: Vec<&Value> = list(&llm["config_list"]).collect();
        let entry_name = |index: usize| {
            let text = if index == 0 { config.clone() } else { format!("{config}-{index}") };
            Name::parse(&text).expect("a name")
        };
        for (index, entry) in entries.iter().enumerate() {
            let mut parameters = llm.as_object().cloned().unwrap_or_default();
            parameters.extend(entry.as_object().cloned().unwrap_or_default());
            let total = parameters.get("timeout").and_then(Value::as_f64).unwrap_or(600.0);
            let total = Duration::from_secs_f64(total);
            let of_ours =
                ["config_list", "model", "stream", "max_retries", "response_format", "routing_method", "timeout"];
            let format = parameters.get("response_format").cloned();
            parameters.retain(|key, value| !of_ours.contains(&key.as_str()) && !value.is_null());
            if let Some(format) = format.filter(|format| format["type"] == "json_object") {
                parameters.insert("response_format".to_owned(), format);
            }
            let fallback = if index == 0 { (1..entries.len()).map(entry_name).collect() } else { Vec::new() };
            let described = LlmConfig {
                provider: ModelProvider::Compatible,
                server: None,
                dialect: ChatDialect::default(),
                leave_out: BTreeSet::new(),
                model: entry["model"].as_str().unwrap_or_default().to_owned(),
                api_key: None,
                api_key_variable: None,
                token_source: None,
                base_url: base_url.to_owned(),
                stream: entry.get("stream").or_else(|| llm.get("stream")).is_some_and(|stream| stream == true),
                timeout: ModelTimeouts { first_token: total, idle: total, total },
                max_retries: entry["max_retries"].as_u64().map_or(2, |retries| retries as u32),
                round_robin: llm["routing_method"] == "round_robin",
                fallback,
                api_version: None,
                deployment: None,
                token: None,
                rate: ModelRateLimit::default(),
                price: None,
                script: Vec::new(),
                script_place: None,
                unset: Vec::new(),
                parameters,
            };
            llms.insert(entry_name(index), described);
        }
    }
    llms
}

fn summary_method(pattern: &Value) -> SummaryMethod {
    match pattern.get("summary_method") {
        None => SummaryMethod::LastMessage,
        Some(Value::Null) => SummaryMethod::Nothing,
        Some(method) if method == "last_msg" => SummaryMethod::LastMessage,
        Some(_) => SummaryMethod::Reflection {
            prompt: pattern["summary_args"]["summary_prompt"].as_str().map(str::to_owned),
            role: pattern["summary_args"]["summary_role"].as_str().map(str::to_owned),
        },
    }
}

fn given(value: &Value) -> Option<Value> {
    (!value.is_null()).then(|| value.clone())
}

fn number(value: &Value) -> Option<u32> {
    value.as_u64().map(|number| number as u32)
}

fn texts(value: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match value {
        Value::Null => Vec::new(),
        Value::String(nothing) if nothing.is_empty() => Vec::new(),
        Value::Array(items) => items.iter().map(text).collect(),
        one => vec![text(one)],
    }
}

/// A conversation of two.
pub fn chat(pattern: &Value, sender: Option<&Value>, recipient: &Value) -> chat::ChatRequest {
    chat::ChatRequest {
        on_cut: None,
        sender: sender.map(name),
        user_input: pattern["user_input"] == true,
        recipient: name(recipient),
        message: given(&pattern["message"]),
        max_turns: number(&pattern["max_turns"]),
        summary: summary_method(pattern),
        carryover: texts(&pattern["carryover"]),
        without_summaries_of: list(&pattern["finished_chat_indexes_to_exclude_from_carryover"])
            .filter_map(|index| index.as_u64().map(|index| index as usize))
            .collect(),
        clear_history: pattern["clear_history"] != false,
        silent: pattern["silent"] == true,
    }
}

fn model_use(value: &Value) -> Option<ModelUse> {
    value.as_str().map(|config| ModelUse { name: Name::parse(config).expect("a name"), parameters: Map::new() })
}

fn manager(written: &Value) -> GroupChatManager {
    let rule = written.get("is_termination_msg").filter(|rule| !rule.is_null());
    GroupChatManager {
        name: if written["name"].is_string() { name(&written["name"]) } else { name(&json!("chat_manager")) },
        llm: model_use(&written["llm_config"]),
        is_termination_msg: rule.map(|rule| fastagency::workflow::Expression::parse(&rule_of(rule)).expect("a rule")),
        answerers: None,
    }
}

/// A group chat, and its first message.
pub fn group_chat(pattern: &Value) -> (GroupChat, Option<Value>) {
    let usual = SelectionPrompts::default();
    let text = |key: &str, usual: &String| pattern[key].as_str().map_or_else(|| usual.clone(), str::to_owned);
    let selection = SelectionPrompts {
        message: text("select_speaker_message_template", &usual.message),
        prompt: match pattern.get("select_speaker_prompt_template") {
            None => usual.prompt.clone(),
            Some(prompt) => prompt.as_str().filter(|prompt| !prompt.is_empty()).map(str::to_owned),
        },
        none: text("select_speaker_auto_none_template", &usual.none),
        several: text("select_speaker_auto_multiple_template", &usual.several),
        role: match pattern["role_for_select_speaker_messages"].as_str() {
            Some("user") => SelectionRole::User,
            Some("assistant") => SelectionRole::Assistant,
            _ => SelectionRole::System,
        },
        max_retries: number(&pattern["max_retries_for_selecting_speaker"]).unwrap_or(2),
        verbose: pattern["select_speaker_auto_verbose"] == true,
        llm: model_use(&pattern["select_speaker_auto_llm_config"]),
    };
    let transitions = |map: &Map<String, Value>| {
        map.iter().map(|(key, value)| (Name::parse(key).expect("a name"), names(value))).collect()
    };
    let chat = GroupChat {
        on_cut: None,
        agents: names(&pattern["agents"]),
        initiator: name(&pattern["initiator"]),
        message: None,
        max_round: number(&pattern["max_round"]).unwrap_or(10),
        max_turns: number(&pattern["max_turns"]),
        method: match pattern["speaker_selection_method"].as_str() {
            Some("manual") => SelectionMethod::Manual,
            Some("random") => SelectionMethod::Random,
            Some("round_robin") => SelectionMethod::RoundRobin,
            _ => SelectionMethod::Auto,
        },
        transitions: match (&pattern["transitions"], pattern["transitions_type"].as_str()) {
            (Value::Object(map), Some("disallowed")) => SpeakerTransitions::Disallowed(transitions(map)),
            (Value::Object(map), _) => SpeakerTransitions::Allowed(transitions(map)),
            _ => match &pattern["allow_repeat_speaker"] {
                Value::Bool(false) => SpeakerTransitions::Repeating(Vec::new()),
                Value::Array(_) => SpeakerTransitions::Repeating(names(&pattern["allow_repeat_speaker"])),
                _ => SpeakerTransitions::All,
            },
        },
        send_introductions: pattern["send_introductions"] == true,
        selection: Arc::new(selection),
        manager: manager(&pattern["manager"]),
        summary: summary_method(pattern),
        carryover: None,
        clear_history: pattern["clear_history"] != false,
        silent: pattern["silent"] == true,
    };
    (chat, given(&pattern["message"]))
}

/// A group that hands over.
pub fn group(pattern: &Value) -> HandoffGroup {
    HandoffGroup {
        on_cut: None,
        pattern: match pattern["pattern"].as_str() {
            Some("AutoPattern") => GroupPattern::Auto,
            Some("RoundRobinPattern") => GroupPattern::RoundRobin,
            Some("RandomPattern") => GroupPattern::Random,
            Some("ManualPattern") => GroupPattern::Manual,
            _ => GroupPattern::Default,
        },
        initial_agent: name(&pattern["initial_agent"]),
        agents: names(&pattern["agents"]),
        user_agent: pattern["user_agent"].is_string().then(|| name(&pattern["user_agent"])),
        messages: DataTemplate::Plain(Value::Null),
        context: Vec::new(),
        after_work: typed_target(&pattern["group_after_work"]),
        max_rounds: number(&pattern["max_rounds"]).unwrap_or(20),
        exclude_transit_message: pattern["exclude_transit_message"] != false,
        manager: manager(&pattern["group_manager_args"]),
        summary: summary_method(pattern),
    }
}
