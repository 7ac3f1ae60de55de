//! The world of a recording: a scripted person, tools that do what the recording says, models that ask the scripted server,
//! and a list of what happened, in AG2's words.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use async_trait::async_trait;
use fastagency::chat::{
    AllowedCall, CallPermission, ChatEvent, Effects, HumanQuestion, HumanReply, IdentifiedReply, Result, SpeakingPair,
    WorkflowFailure, WorkflowStop,
};
use fastagency::ids::{MessageId, Name};
use fastagency::message::MessageContent;
use fastagency::model::{ModelProgress, ModelRegistry};
use fastagency::protocol::dialogue::ModelRequest;
use fastagency::protocol::failure::FailureKind;
use fastagency::workflow::{HumanInputMode, ModelUse};
use serde_json::{Map, Value, json};

pub struct World {
    pub models: ModelRegistry,
    /// What tools do, by name.
    pub tools: BTreeMap<String, Value>,
    pub humans: Mutex<VecDeque<Value>>,
    pub choices: Mutex<VecDeque<Value>>,
    pub prompts: Mutex<Vec<Value>>,
    pub events: Mutex<Vec<Value>>,
}

impl World {
    pub fn note(&self, kind: &str, content: Value) {
        self.events.lock().unwrap().push(json!({"type": kind, "content": content}));
    }
}

#[async_trait]
impl Effects for World {
    async fn tell(&self, event: ChatEvent, _: Option<MessageId>) -> Result<()> {
        let (kind, content) = in_ag2_words(event);
        self.note(kind, content);
        Ok(())
    }

    async fn ask(&self, question: HumanQuestion) -> Result<HumanReply> {
        let MessageContent::TextInput(asked) = question.says else { panic!("a conversation asks for texts") };
        let prompt = json!(asked.prompt);
        self.prompts.lock().unwrap().push(prompt.clone());
        self.note("input_request", json!({"prompt": prompt, "password": asked.password}));
        let answer = self.humans.lock().unwrap().pop_front();
        Ok(HumanReply::Given(answer.unwrap_or_else(|| json!("exit"))))
    }

    async fn ask_model(
        &self,
        model: &ModelUse,
        request: ModelRequest,
        _: Option<SpeakingPair<'_>>,
    ) -> Result<std::result::Result<IdentifiedReply, WorkflowFailure>> {
        let failed = |error: fastagency::model::Error| WorkflowFailure {
            kind: FailureKind::Model,
            message: error.to_string(),
            step: None,
        };
        let asked = match self.models.get(&model.name) {
            Ok(asked) => asked,
            Err(error) => return Ok(Err(failed(error))),
        };
        let mut told = |progress: ModelProgress<'_>| {
            if let ModelProgress::Text(piece) = progress {
                self.note("stream", json!({"content": piece}));
            }
        };
        Ok(match asked.complete(&request, &mut told).await {
            Ok(reply) => Ok(IdentifiedReply { reply, message: MessageId::random(), attempt: 1 }),
            Err(error) => Err(failed(error)),
        })
    }

    async fn may_call(&self, _: AllowedCall<'_>) -> Result<CallPermission> {
        Ok(CallPermission::Granted(None))
    }

    async fn call_tool(&self, call: AllowedCall<'_>) -> Result<std::result::Result<Value, WorkflowFailure>> {
        let what = &self.tools[call.tool.name.as_str()];
        let arguments = call.arguments;
        let failure = |message: String| WorkflowFailure { kind: FailureKind::Tool, message, step: None };
        Ok(match what["kind"].as_str().expect("a tool does something") {
            "const" => Ok(what["value"].clone()),
            "template" => Ok(json!(filled(&what["template"], arguments))),
            "echo_args" => Ok(Value::Object(arguments.clone())),
            "sum" => {
                let sum: f64 = arguments.values().filter_map(Value::as_f64).sum();
                Ok(if sum.fract() == 0.0 { json!(sum as i64) } else { json!(sum) })
            }
            "raise" => Err(failure(what["message"].as_str().unwrap_or_default().to_owned())),
            "read_context" => Ok(json!(filled(&what["template"], call.context.expect("a group")))),
            "reply_result" => Ok(reply_result(what, arguments)),
            other => {
                return Err(WorkflowStop::failed(FailureKind::Tool, format!("nothing is known of tools that {other}")));
            }
        })
    }

    async fn choose(&self, among: &[Name]) -> Result<usize> {
        let wanted = self.choices.lock().unwrap().pop_front().expect("the recording chooses");
        Ok(among.iter().position(|name| wanted == name.as_str()).expect("it is one of them"))
    }
}

/// Python's `format` with these values.
fn filled(template: &Value, values: &Map<String, Value>) -> String {
    let mut text = template.as_str().unwrap_or_default().to_owned();
    for (name, value) in values {
        let value = match value {
            Value::String(text) => text.clone(),
            Value::Bool(true) => "True".to_owned(),
            Value::Bool(false) => "False".to_owned(),
            Value::Null => "None".to_owned(),
            other => other.to_string(),
        };
        text = text.replace(&format!("{{{name}}}"), &value);
    }
    text
}

fn reply_result(what: &Value, arguments: &Map<String, Value>) -> Value {
    let set = what["set_context"].as_object().into_iter().flatten().map(|(key, value)| {
        let argument = value.as_str().and_then(|text| arguments.get(text.strip_prefix('$')?));
        (key.clone(), argument.unwrap_or(value).clone())
    });
    let target = what.get("target").filter(|target| !target.is_null()).map(super::setup::target);
    json!({
        "message": filled(&what["message"], arguments),
        "target": target,
        "context_variables": set.collect::<Map<_, _>>(),
    })
}

fn in_ag2_words(event: ChatEvent) -> (&'static str, Value) {
    match event {
        ChatEvent::Text { sender, recipient, content, .. } => {
            ("text", json!({"content": content, "sender": sender, "recipient": recipient}))
        }
        ChatEvent::ToolCall { sender, recipient, content, calls } => {
            ("tool_call", json!({"content": content, "sender": sender, "recipient": recipient, "tool_calls": calls}))
        }
        ChatEvent::ToolResponse { sender, recipient, content, responses } => (
            "tool_response",
            json!({
                "content": content, "sender": sender, "recipient": recipient, "role": "tool", "tool_responses": responses,
            }),
        ),
        ChatEvent::ExecuteFunction { agent, call, arguments } => (
            "execute_function",
            json!({"func_name": call.function.name, "call_id": call.id, "arguments": arguments, "recipient": agent}),
        ),
        ChatEvent::ExecutedFunction { agent, call, arguments, content, success } => (
            "executed_function",
            json!({
                "func_name": call.function.name, "call_id": call.id, "arguments": arguments, "content": content,
                "recipient": agent, "is_exec_success": success,
            }),
        ),
        ChatEvent::UsingAutoReply { sender, recipient, mode } => {
            let mode = match mode {
                HumanInputMode::Always => "ALWAYS",
                HumanInputMode::Terminate => "TERMINATE",
                HumanInputMode::Never => "NEVER",
            };
            ("using_auto_reply", json!({"human_input_mode": mode, "sender": sender, "recipient": recipient}))
        }
        ChatEvent::NoHumanInput { sender, recipient } => (
            "termination_and_human_reply_no_input",
            json!({"no_human_input_msg": "NO HUMAN INPUT RECEIVED.", "sender": sender, "recipient": recipient}),
        ),
        ChatEvent::Termination { sender, recipient, reason } => {
            ("termination", json!({"termination_reason": reason, "sender": sender, "recipient": recipient}))
        }
        ChatEvent::RunChat { speaker } => ("group_chat_run_chat", json!({"speaker": speaker, "silent": false})),
        ChatEvent::SelectSpeaker { agents, .. } => ("select_speaker", json!({"agents": agents})),
        ChatEvent::SelectSpeakerInvalidInput { agents } => ("select_speaker_invalid_input", json!({"agents": agents})),
        ChatEvent::SelectSpeakerTryCountExceeded { try_count, agents } => {
            ("select_speaker_try_count_exceeded", json!({"try_count": try_count, "agents": agents}))
        }
        ChatEvent::PostCarryover { sender, recipient, message, carryover } => (
            "post_carryover_processing",
            json!({"chat_info": {"carryover": carryover, "message": message, "sender": sender, "recipient": recipient}}),
        ),
        ChatEvent::NestedBegins { agent, recipients } => {
            ("nested_begins", json!({"agent": agent, "recipients": recipients}))
        }
        ChatEvent::NestedEnds { agent } => ("nested_ends", json!({"agent": agent})),
        ChatEvent::Resumed { last_speaker, messages } => {
            ("group_chat_resume", json!({"last_speaker_name": last_speaker, "events": messages}))
        }
        ChatEvent::HandsOver { because, source, target } => {
            ("transition", json!({"because": format!("{because:?}"), "source_agent": source, "target": target}))
        }
        ChatEvent::Completed { summary, messages, last_speaker } => {
            let history: Vec<Value> = messages.iter().map(|line| json!(**line)).collect();
            ("run_completion", json!({"summary": summary, "history": history, "last_speaker": last_speaker}))
        }
    }
}
