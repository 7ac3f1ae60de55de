//! Every provider after every other in one conversation, against servers that hold to the real rules: a conversation that one has
//! begun goes on with the next, and comes back, with texts, calls and thoughts, streamed or not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use super::testing::{SeenRequest, ServerAct, TestServer, ask, http, json_answer, llm, message, name, stream_answer};
use super::{ChatModel, open_all};
use crate::config::{CallIdForm, ChatDialect, LlmConfig, ModelProvider, ReasoningReturn};
use crate::protocol::dialogue::{ChatMessage, ChatRole, ModelReply, ModelRequest};

/// The servers of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    OpenAi,
    /// With a version of the interface in its address.
    Azure,
    /// With thinking.
    Anthropic,
    Gemini,
    /// Demands signatures, too, and says so only when it is asked.
    OldGemini,
    Mistral,
    Groq,
    /// Takes thoughts back, and no names.
    Fireworks,
    DeepSeek,
    Moonshot,
    OpenRouter,
    Together,
    /// vLLM with Mistral's template, and nothing configured for it.
    Vllm,
    /// Names calls by their function, all of them alike.
    Ollama,
    /// Calls have numbers, and each reply begins to count anew.
    LmStudio,
}

const KINDS: [Kind; 15] = [
    Kind::OpenAi,
    Kind::Azure,
    Kind::Anthropic,
    Kind::Gemini,
    Kind::OldGemini,
    Kind::Mistral,
    Kind::Groq,
    Kind::Fireworks,
    Kind::DeepSeek,
    Kind::Moonshot,
    Kind::OpenRouter,
    Kind::Together,
    Kind::Vllm,
    Kind::Ollama,
    Kind::LmStudio,
];

/// What a model answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Text,
    ThoughtsAndText,
    Calls,
    ThoughtsAndCalls,
}

const SHAPES: [Shape; 4] = [Shape::Text, Shape::ThoughtsAndText, Shape::Calls, Shape::ThoughtsAndCalls];

impl Shape {
    fn has_thoughts(self) -> bool {
        matches!(self, Shape::ThoughtsAndText | Shape::ThoughtsAndCalls)
    }

    fn has_calls(self) -> bool {
        matches!(self, Shape::Calls | Shape::ThoughtsAndCalls)
    }
}

impl Kind {
    fn model(self) -> &'static str {
        match self {
            Kind::OpenAi | Kind::Azure => "gpt-4o-mini",
            Kind::Anthropic => "claude-sonnet-4-5",
            Kind::Gemini => "gemini-3-pro",
            Kind::OldGemini => "gemini-2.5-flash",
            Kind::Mistral => "mistral-small",
            Kind::Groq | Kind::Together => "llama-3.3",
            Kind::Fireworks => "accounts/fireworks/models/glm-5",
            Kind::DeepSeek => "deepseek-v4",
            Kind::Moonshot => "kimi-k2.6",
            Kind::OpenRouter => "google/gemini-3-pro",
            Kind::Vllm => "ministral",
            Kind::Ollama | Kind::LmStudio => "qwen3",
        }
    }

    fn config(self, base_url: &str, stream: bool) -> LlmConfig {
        let open = ChatDialect::OPEN;
        let strict = ChatDialect { names: false, reasoning: ReasoningReturn::Never, ..open };
        let (provider, dialect) = match self {
            Kind::OpenAi => (ModelProvider::OpenAi, ChatDialect::OPENAI),
            Kind::Azure => (ModelProvider::Azure, ChatDialect::OPENAI),
            Kind::Anthropic => (ModelProvider::Anthropic, open),
            Kind::Gemini | Kind::OldGemini => (ModelProvider::Gemini, open),
            Kind::Mistral => {
                let nine = CallIdForm::Nine;
                let mistral = ChatDialect { roles_alternate: true, stream_options: false, call_ids: nine, ..strict };
                (ModelProvider::Compatible, mistral)
            }
            Kind::Groq => (ModelProvider::Compatible, strict),
            Kind::Fireworks => {
                (ModelProvider::Compatible, ChatDialect { reasoning: ReasoningReturn::AsSent, ..strict })
            }
            Kind::DeepSeek => (ModelProvider::Compatible, ChatDialect { reasoning: ReasoningReturn::Always, ..open }),
            Kind::Moonshot => {
                (ModelProvider::Compatible, ChatDialect { reasoning: ReasoningReturn::WithCalls, ..open })
            }
            Kind::OpenRouter => (ModelProvider::Compatible, ChatDialect { call_ids: CallIdForm::Plain, ..open }),
            Kind::Together | Kind::LmStudio => {
                (ModelProvider::Compatible, ChatDialect { any_arguments: false, ..open })
            }
            Kind::Vllm | Kind::Ollama => (ModelProvider::Compatible, open),
        };
        let mut parameters = serde_json::Map::new();
        if self == Kind::Anthropic {
            parameters.insert("thinking".to_owned(), json!({"type": "enabled", "budget_tokens": 2000}));
        }
        LlmConfig {
            provider,
            dialect,
            model: self.model().to_owned(),
            api_key: Some("sk-of-the-matrix".into()),
            parameters,
            stream,
            api_version: (self == Kind::Azure).then(|| "2024-10-21".to_owned()),
            ..llm(base_url)
        }
    }

    /// The ids of the two calls of the nth reply.
    fn ids(self, number: usize) -> [String; 2] {
        [0, 1].map(|at| match self {
            Kind::OpenAi | Kind::Azure | Kind::Groq | Kind::Together => format!("call_{number:022}{at}x"),
            Kind::Fireworks => format!("functions.weather:{at}_{number:020}"),
            Kind::LmStudio => format!("{:09}", 100_000_000 + at),
            Kind::Anthropic => format!("toolu_01{number:021}{at}"),
            Kind::Gemini | Kind::OldGemini => String::new(),
            Kind::Mistral => format!("mi{number:06}{at}"),
            Kind::DeepSeek => format!("call_{at:02}_{number:024}"),
            // Each reply begins to count anew.
            Kind::Moonshot => format!("functions.weather:{at}"),
            Kind::OpenRouter => format!("tool_{at}_weather/{number}"),
            Kind::Vllm => format!("chatcmpl-tool-{number:031}{at}"),
            Kind::Ollama => "call_weather".to_owned(),
        })
    }

    /// What the server says to a request: a refusal, or an answer of this shape.
    fn behave(self, shape: Shape, number: usize, seen: &SeenRequest) -> ServerAct {
        let refused = match self {
            Kind::Anthropic => refused_by_anthropic(&seen.body),
            Kind::Gemini | Kind::OldGemini => refused_by_gemini(self, &seen.body),
            _ => refused_by_chat_completions(self, &seen.body),
        };
        if let Some((status, words)) = refused {
            let error = json!({"error": {"message": words, "type": "invalid_request_error", "code": null}});
            return http(status, "content-type: application/json\r\n", &error.to_string());
        }
        match self {
            Kind::Anthropic => anthropic_answer(shape, self.ids(number), &seen.body),
            Kind::Gemini | Kind::OldGemini => gemini_answer(self, shape, seen),
            _ => chat_answer(self, shape, number, &seen.body),
        }
    }
}

fn list<'v>(of: &'v Value, key: &str) -> Vec<&'v Value> {
    of.get(key).and_then(Value::as_array).into_iter().flatten().collect()
}

fn text<'v>(of: &'v Value, key: &str) -> &'v str {
    of.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The result that belongs to these arguments.
fn result_of(arguments: &Value) -> String {
    format!("weather of {}", text(arguments, "place"))
}

fn refused_by_chat_completions(kind: Kind, body: &Value) -> Option<(u16, String)> {
    let messages = list(body, "messages");
    if kind == Kind::Mistral && body.get("stream_options").is_some() {
        return Some((422, "Extra inputs are not permitted, field: 'stream_options'".to_owned()));
    }
    let mut ids = BTreeSet::new();
    for (at, message) in messages.iter().enumerate() {
        let role = text(message, "role");
        if let Some(words) = unknown_key(kind, at, message) {
            return Some((400, words));
        }
        let calls = list(message, "tool_calls");
        let thoughts = message.get("reasoning_content").and_then(Value::as_str);
        if kind == Kind::DeepSeek && role == "assistant" && thoughts.is_none() {
            return Some((
                400,
                format!("Missing `reasoning_content` field in the assistant message at message index {at}."),
            ));
        }
        if kind == Kind::Moonshot && !calls.is_empty() && thoughts.is_none_or(str::is_empty) {
            let words = "thinking is enabled but reasoning_content is missing in assistant tool call message at index";
            return Some((400, format!("{words} {at}")));
        }
        if role == "tool" && !matches!(text(messages[at - 1], "role"), "assistant" | "tool") {
            let words = "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.";
            return Some((400, words.to_owned()));
        }
        for (place, call) in calls.iter().enumerate() {
            let id = text(call, "id");
            if let Some(words) = refused_id(kind, id) {
                return Some((400, words));
            }
            let told_apart = matches!(kind, Kind::OpenAi | Kind::Azure | Kind::Mistral | Kind::OpenRouter);
            if !ids.insert(id.to_owned()) && told_apart {
                return Some((400, format!("the id {id} is there twice")));
            }
            let result = messages[at + 1..].iter().take_while(|next| text(next, "role") == "tool").nth(place);
            let answered = result.filter(|result| text(result, "tool_call_id") == id);
            let arguments = serde_json::from_str(text(&call["function"], "arguments")).unwrap();
            if answered.is_none_or(|result| text(result, "content") != result_of(&arguments)) {
                let words =
                    "An assistant message with 'tool_calls' must be followed by tool messages responding to each";
                return Some((400, format!("{words} 'tool_call_id': {id}")));
            }
        }
    }
    let roles: Vec<&str> = messages.iter().map(|message| text(message, "role")).collect();
    match kind {
        Kind::Mistral if roles.windows(2).any(|pair| pair == ["tool", "user"]) => {
            Some((400, "Unexpected role 'user' after role 'tool'".to_owned()))
        }
        Kind::Mistral if !matches!(roles.last(), Some(&"user" | &"tool")) => {
            Some((400, format!("Expected last role User or Tool for serving but got {:?}", roles.last())))
        }
        Kind::Mistral | Kind::Vllm => refused_by_template(&messages),
        _ => None,
    }
}

/// As Mistral's templates look at it.
fn refused_by_template(messages: &[&Value]) -> Option<(u16, String)> {
    let counted = messages.iter().skip_while(|message| text(message, "role") == "system");
    let counted = counted.filter(|message| text(message, "role") != "tool" && list(message, "tool_calls").is_empty());
    let wrong = counted.enumerate().any(|(at, message)| (text(message, "role") == "user") != (at % 2 == 0));
    wrong.then(|| {
        let words =
            "After the optional system message, conversation roles must alternate user/assistant/user/assistant/...";
        (400, words.to_owned())
    })
}

fn unknown_key(kind: Kind, at: usize, message: &Value) -> Option<String> {
    let known: &[&str] = match kind {
        Kind::OpenAi | Kind::Azure | Kind::Together | Kind::Vllm | Kind::Ollama | Kind::LmStudio => &["name"],
        Kind::DeepSeek | Kind::Moonshot => &["name", "reasoning_content"],
        Kind::Fireworks => &["reasoning_content"],
        Kind::OpenRouter => &["name", "reasoning", "reasoning_details", "reasoning_content"],
        _ => &[],
    };
    let always = ["role", "content", "tool_calls", "tool_call_id"];
    let mut keys = message.as_object()?.keys().map(String::as_str);
    let unknown = keys.find(|key| !always.contains(key) && !known.contains(key));
    let in_calls = || {
        let calls = list(message, "tool_calls").into_iter().filter_map(Value::as_object).flat_map(|call| call.keys());
        calls.map(String::as_str).find(|key| !["id", "type", "function"].contains(key))
    };
    // A server refuses what it has sent itself: the others take it.
    let takes_thoughts = matches!(kind, Kind::Together | Kind::Vllm | Kind::Ollama | Kind::LmStudio);
    let unknown = unknown.filter(|key| !(takes_thoughts && key.starts_with("reasoning")));
    unknown.or_else(in_calls).map(|key| format!("('messages.{at}' : property '{key}' is unsupported)"))
}

fn refused_id(kind: Kind, id: &str) -> Option<String> {
    let is_plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    match kind {
        Kind::OpenAi | Kind::Azure if id.len() > 40 => Some(
            "Invalid 'messages[2].tool_calls[0].id': string too long. Expected a string with maximum length 40"
                .to_owned(),
        ),
        Kind::Mistral if id.len() != 9 || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            Some(format!("Tool call id was {id} but must be a-z, A-Z, 0-9, with a length of 9."))
        }
        Kind::OpenRouter if !is_plain => {
            Some(format!("messages.1.content.0.tool_use.id: String should match pattern, {id}"))
        }
        _ if id.is_empty() => Some("an id is empty".to_owned()),
        _ => None,
    }
}

fn refused_by_anthropic(body: &Value) -> Option<(u16, String)> {
    let turns = list(body, "messages");
    let mut ids = BTreeSet::new();
    let refused = |words: String| Some((400, words));
    for (at, turn) in turns.iter().enumerate() {
        let mut results: Vec<&Value> = Vec::new();
        if let Some(next) = turns.get(at + 1) {
            results = list(next, "content").into_iter().filter(|block| text(block, "type") == "tool_result").collect();
        }
        for (place, block) in list(turn, "content").into_iter().enumerate() {
            match text(block, "type") {
                "tool_use" => {
                    let id = text(block, "id");
                    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)) {
                        return refused(format!(
                            "messages.{at}.content.{place}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"
                        ));
                    }
                    if !ids.insert(id) {
                        return refused(format!("messages.{at}.content.{place}: `tool_use` ids must be unique"));
                    }
                    let result = results.iter().find(|result| text(result, "tool_use_id") == id);
                    if result.is_none_or(|result| text(result, "content") != result_of(&block["input"])) {
                        return refused(format!(
                            "messages.{at}: `tool_use` ids were found without `tool_result` blocks immediately after: {id}"
                        ));
                    }
                }
                "thinking" if text(block, "signature") != "signed by claude" => {
                    return refused(format!("messages.{at}.content.{place}: Invalid `signature` in `thinking` block"));
                }
                _ => {}
            }
        }
    }
    // Since the user last spoke.
    let is_result = |turn: &Value| {
        let blocks = list(turn, "content");
        !blocks.is_empty() && blocks.iter().all(|block| text(block, "type") == "tool_result")
    };
    let open =
        turns.iter().enumerate().rev().take_while(|(_, turn)| text(turn, "role") == "assistant" || is_result(turn));
    let thinks = text(&body["thinking"], "type") == "enabled";
    for (at, turn) in open.filter(|(_, turn)| text(turn, "role") == "assistant" && turn["content"].is_array()) {
        let first = text(&turn["content"][0], "type");
        if thinks && !matches!(first, "thinking" | "redacted_thinking") {
            return refused(format!(
                "messages.{at}.content.0.type: Expected `thinking` or `redacted_thinking`, but found `{first}`."
            ));
        }
        if !thinks && first == "thinking" {
            return refused(format!("messages.{at}.content.0: `thinking` blocks while `thinking` is disabled"));
        }
    }
    None
}

/// The signature of a model of Google's.
fn signature(kind: Kind) -> String {
    format!("signed by {kind:?}")
}

fn refused_by_gemini(kind: Kind, body: &Value) -> Option<(u16, String)> {
    let turns = list(body, "contents");
    for (at, turn) in turns.iter().enumerate() {
        if (text(turn, "role") == "user") != (at % 2 == 0) {
            return Some((400, "Please ensure that multiturn requests alternate between user and model.".to_owned()));
        }
        let calls: Vec<&Value> =
            list(turn, "parts").into_iter().filter(|part| part.get("functionCall").is_some()).collect();
        let signed = calls.first().map(|call| text(call, "thoughtSignature"));
        if signed == Some("") {
            return Some((400, "Function call is missing a thought_signature in functionCall parts.".to_owned()));
        }
        if signed.is_some_and(|signed| signed != signature(kind) && signed != "skip_thought_signature_validator") {
            return Some((400, "Corrupted thought signature.".to_owned()));
        }
        let next = turns.get(at + 1).map(|turn| list(turn, "parts")).unwrap_or_default();
        let results: Vec<&Value> = next.into_iter().filter_map(|part| part.get("functionResponse")).collect();
        let fits = |(call, result): (&&Value, &&Value)| {
            text(&result["response"], "result") == result_of(&call["functionCall"]["args"])
        };
        if calls.len() != results.len() || !calls.iter().zip(&results).all(fits) {
            let words = "Please ensure that the number of function response parts is equal to the number of function call parts";
            return Some((400, words.to_owned()));
        }
    }
    None
}

/// The arguments of the two calls of a reply.
fn places(id: usize) -> [Value; 2] {
    ["Oslo", "Rome"].map(|place| json!({"place": format!("{place} {id}")}))
}

fn chat_answer(kind: Kind, shape: Shape, number: usize, body: &Value) -> ServerAct {
    let mut message = json!({"role": "assistant", "content": null});
    if !shape.has_calls() {
        message["content"] = json!(format!("{kind:?} says so."));
    } else {
        let calls = kind.ids(number).into_iter().zip(places(number)).enumerate().map(|(index, (id, arguments))| {
            json!({"index": index, "id": id, "type": "function", "function": {"name": "weather", "arguments": arguments.to_string()}})
        });
        message["tool_calls"] = calls.collect();
    }
    if shape.has_thoughts() {
        match kind {
            Kind::DeepSeek | Kind::Moonshot | Kind::Fireworks => {
                message["reasoning_content"] = json!(format!("{kind:?} thinks."))
            }
            Kind::Groq | Kind::Together | Kind::Vllm => message["reasoning"] = json!(format!("{kind:?} thinks.")),
            Kind::OpenRouter => {
                message["reasoning_details"] = json!([{"type": "reasoning.encrypted", "data": "sealed", "index": 0}]);
            }
            _ => {}
        }
    }
    if body["stream"] != true {
        return json_answer(&json!({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}));
    }
    let chunk = |delta: &Value, reason: Value| {
        format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}))
    };
    stream_answer(&(chunk(&message, Value::Null) + &chunk(&json!({}), json!("stop")) + "data: [DONE]\n\n"))
}

fn anthropic_answer(shape: Shape, ids: [String; 2], body: &Value) -> ServerAct {
    let mut content = Vec::new();
    if shape.has_thoughts() && text(&body["thinking"], "type") == "enabled" {
        content.push(json!({"type": "thinking", "thinking": "Claude thinks.", "signature": "signed by claude"}));
    }
    if !shape.has_calls() {
        content.push(json!({"type": "text", "text": "Claude says so."}));
    } else {
        let calls = ids.into_iter().zip(places(7));
        content
            .extend(calls.map(|(id, input)| json!({"type": "tool_use", "id": id, "name": "weather", "input": input})));
    }
    if body["stream"] != true {
        let usage = json!({"input_tokens": 1, "output_tokens": 1});
        return json_answer(
            &json!({"type": "message", "role": "assistant", "content": content, "stop_reason": "end_turn", "usage": usage}),
        );
    }
    let mut events = vec![
        json!({"type": "message_start", "message": {"type": "message", "content": [], "usage": {"input_tokens": 1}}}),
    ];
    for (index, block) in content.iter().enumerate() {
        events.push(json!({"type": "content_block_start", "index": index, "content_block": block}));
        events.push(json!({"type": "content_block_stop", "index": index}));
    }
    events.push(json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}}));
    events.push(json!({"type": "message_stop"}));
    stream_answer(
        &events.iter().map(|event| format!("event: {}\ndata: {event}\n\n", text(event, "type"))).collect::<String>(),
    )
}

fn gemini_answer(kind: Kind, shape: Shape, seen: &SeenRequest) -> ServerAct {
    let mut parts = Vec::new();
    if !shape.has_calls() {
        if shape.has_thoughts() {
            parts.push(json!({"text": "Gemini thinks.", "thought": true}));
        }
        parts.push(json!({"text": "Gemini says so."}));
    } else {
        parts.extend(places(8).map(|args| json!({"functionCall": {"name": "weather", "args": args}})));
        parts[0]["thoughtSignature"] = json!(signature(kind));
    }
    let answer = json!({"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}]});
    if seen.head.contains("alt=sse") { stream_answer(&format!("data: {answer}\n\n")) } else { json_answer(&answer) }
}

/// A server of each kind, and its model.
struct World {
    models: BTreeMap<String, Arc<dyn ChatModel>>,
    servers: Vec<TestServer>,
}

impl World {
    async fn start(kinds: &[Kind], shape: Shape, stream: bool) -> Self {
        let mut llms = BTreeMap::new();
        let mut servers = Vec::new();
        for kind in kinds.iter().copied() {
            let server = TestServer::behaving(move |number, seen| kind.behave(shape, number, seen)).await;
            llms.insert(name(&format!("{kind:?}")), kind.config(&server.base_url, stream));
            servers.push(server);
        }
        let registry = open_all(&llms, false);
        let models = llms.keys().map(|name| (name.to_string(), registry.get(name).unwrap().clone())).collect();
        Self { models, servers }
    }

    async fn ask(&self, kind: Kind, conversation: &[Arc<ChatMessage>]) -> ModelReply {
        let weather = json!({"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {"place": {"type": "string"}}}}});
        let request = ModelRequest { messages: conversation.to_vec(), tools: vec![weather], ..ModelRequest::default() };
        let (outcome, _) = ask(&*self.models[&format!("{kind:?}")], &request).await;
        outcome.unwrap_or_else(|error| {
            let sent: Vec<Value> =
                self.servers.iter().flat_map(|server| server.seen().last().map(|seen| seen.body.clone())).collect();
            panic!("{kind:?}: {error}\n{conversation:#?}\n{sent:#?}")
        })
    }
}

fn user(speaker: &str, words: &str) -> Arc<ChatMessage> {
    Arc::new(ChatMessage { name: Some(speaker.to_owned()), ..message(ChatRole::User, words) })
}

/// What a reply becomes in a conversation, with the results of its calls as an executor gives them: in order.
fn add(conversation: &mut Vec<Arc<ChatMessage>>, reply: ModelReply) {
    let calls = reply.tool_calls.clone();
    conversation.push(Arc::new(ChatMessage {
        content: reply.content.filter(|text| !text.is_empty()).map_or(Value::Null, Value::from),
        tool_calls: reply.tool_calls,
        ..message(ChatRole::Assistant, "")
    }));
    for call in calls {
        let arguments = serde_json::from_str(&call.function.arguments).unwrap();
        let result = message(ChatRole::Tool, &result_of(&arguments));
        conversation.push(Arc::new(ChatMessage { tool_call_id: Some(call.id), ..result }));
    }
}

/// One model, then another, and the first again; in between another speaks, or nobody does.
async fn converse(world: &World, first: Kind, second: Kind, shape: Shape, spoken: bool) {
    let mut conversation = vec![Arc::new(message(ChatRole::System, "You are helpful.")), user("ann", "What weather?")];
    for kind in [first, second, first, second] {
        let reply = world.ask(kind, &conversation).await;
        assert_eq!(reply.tool_calls.len(), if shape.has_calls() { 2 } else { 0 }, "{kind:?}");
        let words = reply.content.as_deref().unwrap_or_default();
        assert!(!words.contains("thinks"), "{kind:?}: thoughts are no words of the reply: {words}");
        add(&mut conversation, reply);
        if spoken || !shape.has_calls() {
            conversation.push(user("bob", "And now?"));
        }
    }
    // The question for a summary, as AG2 asks it.
    conversation.push(Arc::new(message(ChatRole::System, "Summarize.")));
    world.ask(first, &conversation).await;
}

#[tokio::test]
async fn each_provider_goes_on_with_what_each_other_began() {
    for (shape, stream) in SHAPES.into_iter().flat_map(|shape| [(shape, true), (shape, false)]) {
        for spoken in [false, true] {
            let world = World::start(&KINDS, shape, stream).await;
            for first in KINDS {
                for second in KINDS {
                    converse(&world, first, second, shape, spoken).await;
                }
            }
            for (kind, server) in KINDS.into_iter().zip(&world.servers) {
                // Each refusal is heard once at most: what was learned stays.
                let seen = server.seen().len();
                let asked = KINDS.len() * 2 * 2 + KINDS.len();
                assert!((asked..=asked + 2).contains(&seen), "{kind:?} {shape:?}: {seen} requests for {asked}");
            }
        }
    }
}

#[tokio::test]
async fn thoughts_go_back_to_the_model_that_thought_them_and_to_no_other() {
    let kinds = [Kind::DeepSeek, Kind::Moonshot, Kind::OpenRouter, Kind::Anthropic, Kind::Gemini];
    for stream in [true, false] {
        let world = World::start(&kinds, Shape::ThoughtsAndCalls, stream).await;
        let mut conversation = vec![user("ann", "What weather?")];
        for kind in kinds.into_iter().chain(kinds) {
            let reply = world.ask(kind, &conversation).await;
            add(&mut conversation, reply);
            conversation.push(user("ann", "And now?"));
        }
        let last = |kind: Kind| {
            let at = kinds.iter().position(|other| *other == kind).unwrap();
            world.servers[at].seen().last().unwrap().body.clone()
        };
        let thoughts = |kind: Kind, key: &str| {
            let body = last(kind);
            let calls = list(&body, "messages").into_iter().filter(|message| message.get("tool_calls").is_some());
            calls.map(|message| message.get(key).cloned().unwrap_or_default()).collect::<Vec<_>>()
        };
        let [own, blank] = [json!("DeepSeek thinks."), json!("")];
        assert_eq!(
            thoughts(Kind::DeepSeek, "reasoning_content"),
            [&own, &blank, &blank, &blank, &blank].map(Value::clone)
        );
        let sent = thoughts(Kind::Moonshot, "reasoning_content");
        assert_eq!(sent[..3], [json!(" "), json!("Moonshot thinks."), json!(" ")]);
        let details = json!([{"type": "reasoning.encrypted", "data": "sealed", "index": 0}]);
        let sent = thoughts(Kind::OpenRouter, "reasoning_details");
        assert_eq!(sent.iter().filter(|thoughts| **thoughts == details).count(), 1, "{sent:?}");
        assert_eq!((sent[0].clone(), sent[2].clone()), (Value::Null, details));
        let claude = last(Kind::Anthropic).to_string();
        assert_eq!(claude.matches("signed by claude").count(), 1);
        assert!(!claude.contains("sealed") && !claude.contains("Moonshot thinks"), "{claude}");
        let gemini = last(Kind::Gemini).to_string();
        assert_eq!(gemini.matches("signed by Gemini").count(), 1);
        assert_eq!(gemini.matches("skip_thought_signature_validator").count(), kinds.len() + 3);
    }
}

#[tokio::test]
async fn thinking_is_off_only_while_calls_without_thoughts_are_open() {
    let world = World::start(&[Kind::OpenAi, Kind::Anthropic], Shape::ThoughtsAndCalls, false).await;
    let mut conversation = vec![user("ann", "What weather?")];
    for kind in [Kind::OpenAi, Kind::Anthropic, Kind::Anthropic] {
        let reply = world.ask(kind, &conversation).await;
        add(&mut conversation, reply);
    }
    conversation.push(user("ann", "And tomorrow?"));
    world.ask(Kind::Anthropic, &conversation).await;
    let thinking: Vec<Value> =
        world.servers[1].seen().iter().map(|seen| seen.body["thinking"]["type"].clone()).collect();
    assert_eq!(thinking, [Value::Null, Value::Null, json!("enabled")]);
}

#[tokio::test]
async fn a_server_that_wants_thoughts_with_all_calls_is_asked_once_more_without_thinking() {
    let server = TestServer::behaving(|_, seen| {
        if text(&seen.body["thinking"], "type") == "enabled" {
            let words = "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`.";
            return http(
                400,
                "",
                &json!({"type": "error", "error": {"type": "invalid_request_error", "message": words}}).to_string(),
            );
        }
        anthropic_answer(Shape::Text, [String::new(), String::new()], &seen.body)
    })
    .await;
    let llms = BTreeMap::from([(name("claude"), Kind::Anthropic.config(&server.base_url, true))]);
    let model = open_all(&llms, false).get(&name("claude")).unwrap().clone();
    let request = ModelRequest { messages: vec![user("ann", "What weather?")], ..ModelRequest::default() };
    for _ in 0..2 {
        assert_eq!(ask(&*model, &request).await.0.unwrap().content.as_deref(), Some("Claude says so."));
    }
    let thinking: Vec<Value> = server.seen().iter().map(|seen| seen.body["thinking"]["type"].clone()).collect();
    assert_eq!(thinking, ["enabled", "disabled", "enabled", "disabled"], "it is tried anew: the next turn is another");
}
