//! The seam to the models: one trait, one request in the shape of OpenAI's chat completions (which is what AG2 sends,
//! SEMANTICS.md 1 and 2), and one reply. Providers translate. Retries, time-outs and fallback happen here; what is
//! journalled, and what a call costs a run, is decided above.

mod content;
mod fallback;
pub(crate) mod http;
mod mock;
mod openai;
mod retry;
mod sample;
mod scripted;
mod sse;
#[cfg(test)]
mod testing;
mod waits;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use self::fallback::WithFallbacks;
use self::openai::OpenAi;
use self::scripted::Scripted;
use crate::config::{Llm, Provider};
use crate::ids::Name;

/// Who wrote a message of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions.
    System,
    /// Another agent, or a person.
    User,
    /// The agent that is asked.
    Assistant,
    /// The result of a tool.
    Tool,
}

/// A message of a request, in the shape that goes over the wire.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// Text, a list of parts, or null beside tool calls.
    pub content: Value,
    /// Who wrote it.
    pub role: Role,
    /// The agent's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it wants to be called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Vec<ToolCall>>,
    /// The call that this is the result of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
}

/// A call that a model asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Its id.
    pub id: String,
    /// Always `function`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What to call.
    pub function: FunctionCall,
}

/// A function and its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionCall {
    /// Its name.
    pub name: String,
    /// JSON, as the model wrote it: it may be malformed.
    pub arguments: String,
}

/// What a model is asked.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The conversation.
    pub messages: Vec<ChatMessage>,
    /// The tools that it may ask for, in the shape of the wire.
    pub tools: Vec<Value>,
    /// What the reply must look like, in the shape of the wire. With it the answer is not streamed (AG2).
    pub response_format: Option<Value>,
    /// Parameters of the agent; a model's own go before them (SEMANTICS.md 1).
    pub parameters: Map<String, Value>,
    /// How many requests the same agent has made before; a model that is asked in turn begins with another each time.
    pub turn: u32,
    /// Headers that tell what the request is for (run and effect), for logs of proxies and servers.
    pub headers: Vec<(&'static str, String)>,
}

/// What a model answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// Its text; none beside tool calls.
    pub content: Option<String>,
    /// What it wants to be called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// Why it refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// Why it stopped: `stop`, `length`, `tool_calls`, ….
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
    /// What it used.
    pub usage: Usage,
    /// The name of the model (in `llms:`) that answered: not the one asked, after a fallback.
    pub model: String,
}

/// Tokens used by one request; 0 where a server did not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens read.
    pub prompt_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
}

/// What happens while a model answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress<'a> {
    /// A new attempt begins (1, 2, …): what earlier ones wrote is void.
    Attempt(u32),
    /// A piece of text, as the server cut it; it may be empty. An answer that is not streamed has none.
    Text(&'a str),
}

/// Why a model gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key is missing.
    #[error(
        "the model {model:?} has no API key: set {variable} and start the worker again, or start it with --mock-llm to try things without a model"
    )]
    NoKey {
        /// The name in `llms:`.
        model: String,
        /// What to set.
        variable: String,
    },
    /// A setting of it names a variable that is not set.
    #[error("the model {model:?} cannot be used: {variable} is not set")]
    Unset {
        /// The name in `llms:`.
        model: String,
        /// What is not set.
        variable: String,
    },
    /// The server took too long.
    #[error("OpenAI API call timed out. The model {model:?} gave {what} within {after:?}")]
    TimedOut {
        /// The name in `llms:`.
        model: String,
        /// What did not come: "no first token", "nothing more", "no complete answer".
        what: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// The server answered with an error.
    #[error("the model {model:?} answered {status}: {message}")]
    Status {
        /// The name in `llms:`.
        model: String,
        /// The HTTP status.
        status: u16,
        /// The server's words, shortened, without secrets.
        message: String,
        /// The server's error code, e.g. `content_filter`.
        code: Option<String>,
    },
    /// The server cannot be reached, or the connection broke.
    #[error("the model {model:?} cannot be reached at {address}: {reason}")]
    Unreachable {
        /// The name in `llms:`.
        model: String,
        /// Its address, without secrets.
        address: String,
        /// What went wrong.
        reason: String,
    },
    /// The answer is not what chat completions are.
    #[error("the model {model:?} sent an answer that cannot be read: {reason}")]
    Malformed {
        /// The name in `llms:`.
        model: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no model of that name.
    #[error("there is no model named {model:?} under llms:")]
    Unknown {
        /// The name.
        model: String,
    },
    /// The scripted model has no reply left.
    #[error("the script of the model {model:?} has no reply left")]
    ScriptExhausted {
        /// The name in `llms:`.
        model: String,
    },
}

/// A model that can be asked.
#[async_trait]
pub trait ChatModel: Send + Sync {
    /// Asks, and tells `progress` what comes while it comes. Dropping the future ends the request.
    async fn complete(
        &self,
        request: &Request,
        progress: &mut (dyn for<'a> FnMut(Progress<'a>) + Send),
    ) -> Result<Reply, Error>;
}

/// Opens every model. Nothing is sent, and a missing key is no error before a model is asked. With `mock`, each model that
/// would need a server makes its replies up instead ([`Provider::Scripted`] with no script).
pub fn open_all(llms: &BTreeMap<Name, Llm>, mock: bool) -> Models {
    let made_up = |llm: &Llm| mock || llm.provider == Provider::Scripted;
    // Reading the system's certificates takes a while: only if there is a server to ask.
    let client = if llms.values().all(made_up) { None } else { Some(http::client()) };
    let open = |(name, llm): (&Name, &Llm)| -> (Name, Arc<dyn ChatModel>) {
        let model: Arc<dyn ChatModel> = match (&client, llm.provider) {
            _ if !mock && !llm.unset.is_empty() => {
                Arc::new(Unset { model: name.to_string(), variable: llm.unset.join(" and ") })
            }
            (Some(client), Provider::OpenAi | Provider::Compatible) if !mock => {
                Arc::new(OpenAi::new(name, llm, client.clone()))
            }
            _ => Arc::new(Scripted::new(name, llm)),
        };
        (name.clone(), model)
    };
    let alone: BTreeMap<Name, Arc<dyn ChatModel>> = llms.iter().map(open).collect();
    let with_fallbacks = |(name, model): (&Name, &Arc<dyn ChatModel>)| -> (Name, Arc<dyn ChatModel>) {
        let others: Vec<_> = fallbacks(llms, name).into_iter().filter_map(|name| alone.get(name).cloned()).collect();
        match others.is_empty() {
            true => (name.clone(), model.clone()),
            false => {
                let models = std::iter::once(model.clone()).chain(others).collect();
                let round_robin = llms.get(name).is_some_and(|llm| llm.round_robin);
                (name.clone(), Arc::new(WithFallbacks::new(models, round_robin)))
            }
        }
    };
    Models::new(alone.iter().map(with_fallbacks).collect())
}

/// A model with a setting that names a variable which is not set: an error of the run that asks it, not of the start.
struct Unset {
    model: String,
    variable: String,
}

#[async_trait]
impl ChatModel for Unset {
    async fn complete(&self, _: &Request, _: &mut (dyn for<'a> FnMut(Progress<'a>) + Send)) -> Result<Reply, Error> {
        Err(Error::Unset { model: self.model.clone(), variable: self.variable.clone() })
    }
}

/// Whom to ask after `name`: its own fallbacks in their order, then theirs, each model once.
fn fallbacks<'a>(llms: &'a BTreeMap<Name, Llm>, name: &'a Name) -> Vec<&'a Name> {
    let mut order = vec![name];
    let mut open = VecDeque::from([name]);
    while let Some(llm) = open.pop_front().and_then(|name| llms.get(name)) {
        for name in &llm.fallback {
            if !order.contains(&name) {
                order.push(name);
                open.push_back(name);
            }
        }
    }
    order.split_off(1)
}

/// All models of a worker, by their names in `llms:`, each with its fallbacks.
#[derive(Clone, Default)]
pub struct Models {
    models: Arc<BTreeMap<Name, Arc<dyn ChatModel>>>,
}

impl Models {
    /// Takes models by name.
    pub fn new(models: BTreeMap<Name, Arc<dyn ChatModel>>) -> Self {
        Self { models: Arc::new(models) }
    }

    /// The model of that name.
    pub fn get(&self, name: &Name) -> Result<&Arc<dyn ChatModel>, Error> {
        self.models.get(name).ok_or_else(|| Error::Unknown { model: name.to_string() })
    }
}
