//! Models that need no key and no network: replies from a script, or made up from the request ([`super::mock`]).
//!
//! **Which reply of a script.** Runs share a model, run at once, and are replayed on other workers, so the model remembers
//! nothing: the place in the script follows from the request alone. It is the number of messages that the agent has sent
//! *in answer* so far: those of role `assistant` after the first that somebody else sent. So an agent's first reply is the
//! first of the script, whether it opened the conversation itself or not; the same request always gets the same reply. A
//! request for a summary comes after the agent's last reply and so gets the next one. Where agents share a model, `when`
//! tells their replies apart: such a reply exists only for requests with that text in a system message.
//!
//! A reply is a text, or an object: `content`, `tool_calls` (`{name, arguments, id}`, or as OpenAI writes them), `refusal`,
//! `chunks` (how the text is cut when it is streamed), `finish_reason`, `usage`, `delay` (seconds, or "200ms", "2s"), `when`;
//! or an error: `status` and/or `error` (a message, or `{message, code}`).

use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::Value;

use super::content::text_of;
use super::error::in_brackets;
use super::request_time_limits::RequestTimeLimits;
use super::{ChatModel, Error, ModelProgress, mock};
use crate::config::{LlmConfig, ModelTimeouts};
use crate::ids::Name;
use crate::protocol::dialogue::{ChatRole, FunctionCall, ModelReply, ModelRequest, ModelUsage, ToolCall};

/// The pause between two pieces of a made-up reply, for people who look on. Another one is the parameter `piece_delay_ms`.
const PIECE_DELAY: Duration = Duration::from_millis(15);

/// A model that reads its replies from a script, or makes them up.
pub(super) struct ScriptedModel {
    name: String,
    script: Vec<Result<ScriptEntry, String>>,
    /// The file and the line of the script.
    place: Option<String>,
    stream: bool,
    piece_delay: Duration,
    timeout: ModelTimeouts,
}

impl ScriptedModel {
    /// Reads the script. A reply that cannot be read is an error of the request that meets it.
    pub(super) fn new(name: &Name, llm: &LlmConfig) -> Self {
        let written = llm.parameters.get("piece_delay_ms").and_then(Value::as_u64).map(Duration::from_millis);
        let usual = if llm.script.is_empty() { PIECE_DELAY } else { Duration::ZERO };
        Self {
            name: name.to_string(),
            script: llm.script.iter().map(ScriptEntry::read).collect(),
            place: llm.script_place.clone(),
            stream: llm.stream,
            piece_delay: written.unwrap_or(usual),
            timeout: llm.timeout,
        }
    }

    fn entry(&self, request: &ModelRequest) -> Result<ScriptEntry, Error> {
        if self.script.is_empty() {
            return Ok(ScriptEntry::made_up(request));
        }
        let meant = |entry: &&Result<ScriptEntry, String>| match entry {
            Ok(ScriptEntry { when: Some(when), .. }) => system_messages(request).any(|text| text.contains(when)),
            Ok(_) | Err(_) => true,
        };
        match self.script.iter().filter(meant).nth(mock::replies_so_far(&request.messages)) {
            Some(Ok(entry)) => Ok(entry.clone()),
            Some(Err(reason)) => {
                let reason = format!("its script{} is wrong: {reason}", in_brackets(self.place.as_deref()));
                Err(Error::Malformed { model: self.name.clone(), reason })
            }
            None => Err(Error::ScriptExhausted { model: self.name.clone(), place: self.place.clone() }),
        }
    }
}

#[async_trait]
impl ChatModel for ScriptedModel {
    async fn complete(
        &self,
        request: &ModelRequest,
        progress: &mut (dyn for<'a> FnMut(ModelProgress<'a>) + Send),
    ) -> Result<ModelReply, Error> {
        progress(ModelProgress::Attempt(1));
        let entry = self.entry(request)?;
        let streamed = self.stream && request.response_format.is_none();
        let waits = RequestTimeLimits::begin(&self.name, "OpenAI", self.timeout, streamed);
        if !entry.delay.is_zero() {
            waits.for_next(tokio::time::sleep(entry.delay)).await?;
        }
        if let Some(error) = entry.error {
            let ScriptedError { status, message, code } = error;
            return Err(Error::Status { model: self.name.clone(), status, in_answer: false, message, code });
        }
        for piece in entry.pieces.iter().filter(|_| streamed) {
            if !self.piece_delay.is_zero() {
                tokio::time::sleep(self.piece_delay).await;
            }
            progress(ModelProgress::Text(piece));
        }
        Ok(ModelReply { model: self.name.clone(), ..entry.reply })
    }
}

fn system_messages(request: &ModelRequest) -> impl Iterator<Item = String> {
    let system = request.messages.iter().filter(|message| message.role == ChatRole::System);
    system.filter_map(|message| text_of(&message.content))
}

/// One reply of a script.
#[derive(Debug, Clone)]
struct ScriptEntry {
    when: Option<String>,
    delay: Duration,
    error: Option<ScriptedError>,
    pieces: Vec<String>,
    reply: ModelReply,
}

/// An error that a script plays.
#[derive(Debug, Clone)]
struct ScriptedError {
    status: u16,
    message: String,
    code: Option<String>,
}

impl ScriptEntry {
    fn read(written: &Value) -> Result<Self, String> {
        let written = match written {
            Value::String(text) => WrittenReply { content: Some(text.clone()), ..WrittenReply::default() },
            Value::Object(_) => WrittenReply::deserialize(written).map_err(|error| error.to_string())?,
            other => return Err(format!("a reply is a text or an object, not {other}")),
        };
        written.checked()
    }

    fn made_up(request: &ModelRequest) -> Self {
        let call = mock::call(request);
        let text = if call.is_some() { String::new() } else { mock::reply(request) };
        let read = request.messages.iter().filter_map(|message| text_of(&message.content));
        let usage = ModelUsage {
            prompt_tokens: read.map(|text| tokens_of(&text)).sum(),
            completion_tokens: tokens_of(&text),
            ..ModelUsage::default()
        };
        Self {
            when: None,
            delay: Duration::ZERO,
            error: None,
            pieces: text.split_inclusive(char::is_whitespace).map(str::to_owned).collect(),
            reply: ModelReply {
                content: call.is_none().then_some(text),
                finish_reason: Some(if call.is_some() { "tool_calls" } else { "stop" }.to_owned()),
                tool_calls: call.into_iter().collect(),
                refusal: None,
                usage,
                model: String::new(),
            },
        }
    }
}

/// About as many tokens as a model would count.
fn tokens_of(text: &str) -> u64 {
    text.chars().count().div_ceil(4) as u64
}

/// A reply as it is written in a script.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WrittenReply {
    when: Option<String>,
    content: Option<String>,
    chunks: Option<Vec<String>>,
    tool_calls: Vec<WrittenCall>,
    refusal: Option<String>,
    finish_reason: Option<String>,
    usage: Option<ModelUsage>,
    #[serde(alias = "delay_s")]
    delay: Option<Value>,
    status: Option<u16>,
    error: Option<Value>,
}

/// A call, in the short form or in OpenAI's.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenCall {
    id: Option<String>,
    #[serde(rename = "type")]
    _kind: Option<String>,
    name: Option<String>,
    #[serde(default)]
    arguments: Value,
    function: Option<WrittenFunction>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenFunction {
    name: String,
    #[serde(default)]
    arguments: Value,
}

impl WrittenReply {
    fn checked(self) -> Result<ScriptEntry, String> {
        let calls =
            (1..).zip(self.tool_calls).map(|(number, call)| call.checked(number)).collect::<Result<Vec<_>, _>>()?;
        let content = self.content.or_else(|| self.chunks.as_ref().map(|chunks| chunks.concat()));
        let pieces = match (self.chunks, &content) {
            (Some(chunks), _) => chunks,
            (None, Some(text)) => text.split_inclusive(char::is_whitespace).map(str::to_owned).collect(),
            (None, None) => Vec::new(),
        };
        let usual_reason = if calls.is_empty() { "stop" } else { "tool_calls" };
        Ok(ScriptEntry {
            when: self.when,
            delay: self.delay.map_or(Ok(Duration::ZERO), |delay| delay_of(&delay))?,
            error: refusal(self.status, self.error),
            pieces,
            reply: ModelReply {
                content,
                tool_calls: calls,
                refusal: self.refusal,
                finish_reason: Some(self.finish_reason.unwrap_or_else(|| usual_reason.to_owned())),
                usage: self.usage.unwrap_or(ModelUsage {
                    prompt_tokens: 10,
                    completion_tokens: 5,
                    ..ModelUsage::default()
                }),
                model: String::new(),
            },
        })
    }
}

impl WrittenCall {
    fn checked(self, number: usize) -> Result<ToolCall, String> {
        let id = self.id.unwrap_or_else(|| format!("call_{number}"));
        let (name, arguments) = match (self.function, self.name) {
            (Some(function), _) => (function.name, function.arguments),
            (None, Some(name)) => (name, self.arguments),
            (None, None) => return Err(format!("the call {id:?} has no name")),
        };
        let arguments = match arguments {
            Value::String(text) => text,
            Value::Null => "{}".to_owned(),
            other => other.to_string(),
        };
        Ok(ToolCall {
            id,
            kind: "function".to_owned(),
            function: FunctionCall { name, arguments },
            extra_content: None,
        })
    }
}

/// The error that an entry plays, if it has a bad status or an error.
fn refusal(status: Option<u16>, error: Option<Value>) -> Option<ScriptedError> {
    let status = status.or(error.as_ref().map(|_| 500)).filter(|status| *status != 200)?;
    let field = |key: &str| Some(error.as_ref()?.get(key)?.as_str()?.to_owned());
    let text = error.as_ref().and_then(Value::as_str).map(str::to_owned);
    let message = text.or_else(|| field("message")).unwrap_or_else(|| format!("scripted error {status}"));
    Some(ScriptedError { status, message, code: field("code") })
}

fn delay_of(written: &Value) -> Result<Duration, String> {
    let seconds = match written {
        Value::Number(seconds) => seconds.as_f64(),
        Value::String(text) => match (text.strip_suffix("ms"), text.strip_suffix('s')) {
            (Some(millis), _) => millis.trim().parse::<f64>().ok().map(|millis| millis / 1000.0),
            (None, Some(seconds)) => seconds.trim().parse().ok(),
            (None, None) => text.trim().parse().ok(),
        },
        _ => None,
    };
    let delay = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    delay.ok_or_else(|| format!("{written} is no delay (seconds, or like \"200ms\" or \"2s\")"))
}

#[cfg(test)]
#[path = "scripted_tests.rs"]
mod tests;
