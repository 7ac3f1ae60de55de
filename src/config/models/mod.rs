//! `llms:` and `prices:`: the models, and what they cost.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Map, Value};

use crate::ids::Name;
use crate::money::Usd;

mod dialect;
mod reading;
mod servers;

pub use dialect::{CallIdForm, ChatDialect, FormRequest, ReasoningReturn, TokenLimitKey};
pub(super) use reading::{llms, prices};
pub use servers::CompatibleServer;

/// Where a token that expires is fetched from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// A file that somebody renews.
    File(PathBuf),
    /// A program, with its arguments, that prints it.
    Command(Vec<String>),
}

/// A model as `llms:` describes it, checked.
#[derive(Debug, Clone)]
pub struct LlmConfig {
    /// Who serves it.
    pub provider: ModelProvider,
    /// Which known server of chat completions it is; none: another one.
    pub server: Option<&'static CompatibleServer>,
    /// What the server of chat completions takes.
    pub dialect: ChatDialect,
    /// Parameters that are never sent, because the server refuses them.
    pub leave_out: BTreeSet<String>,
    /// The model's name, as the provider knows it.
    pub model: String,
    /// The key; none: not set.
    pub api_key: Option<SecretString>,
    /// What a person must set if the key is missing, e.g. `OPENAI_API_KEY`; none: unknown.
    pub api_key_variable: Option<String>,
    /// A bearer token, which goes before the key: of Entra ID for Azure, of Google Cloud for Vertex AI.
    pub token: Option<SecretString>,
    /// Where a bearer token that expires is fetched from, again and again; none: nowhere.
    pub token_source: Option<TokenSource>,
    /// Where the interface begins, e.g. `https://api.openai.com/v1`.
    pub base_url: String,
    /// Azure: what the deployment of the model is called; none: as the model.
    pub deployment: Option<String>,
    /// Azure, Anthropic: the version of the interface; none: the newest that this program knows, or the address says it.
    pub api_version: Option<String>,
    /// Parameters that are sent with each request as they are (temperature, top_p, seed, …).
    pub parameters: Map<String, Value>,
    /// Whether the answer is streamed (default true).
    pub stream: bool,
    /// How long to wait for what.
    pub timeout: ModelTimeouts,
    /// How often a failed request is tried again (AG2's client: 2).
    pub max_retries: u32,
    /// Models to ask, in this order, when this one fails.
    pub fallback: Vec<Name>,
    /// How often it may be asked.
    pub rate: ModelRateLimit,
    /// What it costs, by the price table; none: not known.
    pub price: Option<ModelPrice>,
    /// Whether each next request of an agent begins with the next of them, instead of always with this one.
    pub round_robin: bool,
    /// The replies of a scripted model; empty: it makes them up from the request.
    pub script: Vec<Value>,
    /// The file and the line of the script, as people name them; none: it is not from a file.
    pub script_place: Option<String>,
    /// What the model lacks, each a sentence about a variable that is not set; the key is left out, it has a field of its
    /// own. Empty: nothing. A model that lacks something must not be asked.
    pub unset: Vec<String>,
}

impl LlmConfig {
    /// Whether nobody is asked without a key or a token.
    pub fn needs_key(&self) -> bool {
        match self.provider {
            ModelProvider::Compatible => self.server.is_some_and(|server| server.key_variable.is_some()),
            ModelProvider::Scripted => false,
            ModelProvider::OpenAi | ModelProvider::Azure | ModelProvider::Anthropic | ModelProvider::Gemini => true,
        }
    }
}

/// The models of which it is not known what a reply costs, because they have no price, or a model that stands in for them
/// has none. A scripted model without a price costs nothing.
pub fn unpriced(llms: &BTreeMap<Name, LlmConfig>) -> BTreeSet<Name> {
    let has_none = |llm: &LlmConfig| llm.price.is_none() && llm.provider != ModelProvider::Scripted;
    let mut found: BTreeSet<Name> =
        llms.iter().filter(|(_, llm)| has_none(llm)).map(|(name, _)| name.clone()).collect();
    loop {
        let leads_to = |llm: &LlmConfig| llm.fallback.iter().any(|name| found.contains(name));
        let more: Vec<Name> = llms
            .iter()
            .filter(|(name, llm)| !found.contains(*name) && leads_to(llm))
            .map(|(name, _)| name.clone())
            .collect();
        if more.is_empty() {
            return found;
        }
        found.extend(more);
    }
}

/// Who serves a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelProvider {
    /// OpenAI.
    OpenAi,
    /// OpenAI's models at Microsoft Azure.
    Azure,
    /// Anthropic, by its Messages.
    Anthropic,
    /// Google, by Gemini's `generateContent`.
    Gemini,
    /// Any server that speaks OpenAI's chat completions: a known one, or another, which needs no key.
    Compatible,
    /// Nobody: replies from a script, or made up, with no key and no network.
    Scripted,
}

impl ModelProvider {
    /// What its interface is called in errors.
    pub fn api(self) -> &'static str {
        match self {
            // AG2's word, whoever is compatible (`docs/reference/ag2-semantics.md`, section 9).
            ModelProvider::OpenAi | ModelProvider::Compatible | ModelProvider::Scripted => "OpenAI",
            ModelProvider::Azure => "Azure OpenAI",
            ModelProvider::Anthropic => "Anthropic",
            ModelProvider::Gemini => "Gemini",
        }
    }

    /// The parameters of chat completions that it has no word for. An agent's are left out for such a model; the model's own
    /// are refused when the configuration is checked.
    pub fn lacks(self) -> &'static [&'static str] {
        match self {
            ModelProvider::OpenAi | ModelProvider::Azure | ModelProvider::Compatible | ModelProvider::Scripted => &[],
            ModelProvider::Anthropic => &[
                "seed",
                "presence_penalty",
                "frequency_penalty",
                "logit_bias",
                "logprobs",
                "top_logprobs",
                "verbosity",
                "service_tier",
                "store",
                "metadata",
                "prompt_cache_key",
            ],
            ModelProvider::Gemini => &[
                "logit_bias",
                "verbosity",
                "parallel_tool_calls",
                "user",
                "service_tier",
                "store",
                "metadata",
                "prompt_cache_key",
                "safety_identifier",
            ],
        }
    }
}

/// How often a model may be asked, by all workers together. `None`: no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ModelRateLimit {
    /// Requests, retries included.
    pub requests_per_minute: Option<u64>,
    /// Tokens, read and written.
    pub tokens_per_minute: Option<u64>,
}

impl ModelRateLimit {
    /// Whether it limits nothing.
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }
}

impl std::fmt::Display for ModelRateLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.requests_per_minute, self.tokens_per_minute) {
            (None, None) => f.write_str("no limit"),
            (Some(requests), None) => write!(f, "{requests} requests per minute"),
            (None, Some(tokens)) => write!(f, "{tokens} tokens per minute"),
            (Some(requests), Some(tokens)) => write!(f, "{requests} requests and {tokens} tokens per minute"),
        }
    }
}

/// What a model costs: each the price of a million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelPrice {
    /// Tokens read.
    pub input: Usd,
    /// Tokens written.
    pub output: Usd,
    /// Tokens read from the provider's cache; none: as other tokens read.
    pub cached_input: Option<Usd>,
    /// Tokens put into the provider's cache; none: as other tokens read.
    pub cache_write: Option<Usd>,
}

/// How long a request may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelTimeouts {
    /// Until the first byte of the answer.
    pub first_token: Duration,
    /// Between two pieces of it.
    pub idle: Duration,
    /// All in all (AG2's default: 600 s).
    pub total: Duration,
}
