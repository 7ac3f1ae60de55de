//! The seam to the models: one trait, one request in the shape of OpenAI's chat completions (which is what AG2 sends,
//! `docs/reference/ag2-semantics.md`, sections 1 and 2), and one reply. Providers translate. Retries, time-outs and
//! fallback happen here; what is journalled, and what a call costs a run, is decided above.

mod answer;
mod anthropic;
mod breaker;
mod call_ids;
mod content;
mod credential;
mod draft;
mod error;
mod fallback;
mod finish;
mod form;
mod gemini;
pub(crate) mod http;
mod key;
#[cfg(test)]
mod matrix_tests;
mod mock;
mod openai;
mod parameters;
mod priced;
pub mod probe;
mod provider_error;
mod providers;
mod proxy;
mod refusal;
mod remote;
mod request_time_limits;
mod retry;
mod sample;
mod scripted;
mod sse;
#[cfg(test)]
mod testing;
mod thoughts;
mod turns;
mod unpack;
mod usage;
mod wire;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;

pub use self::error::{Error, ServerErrorKind};
use self::fallback::FallbackModel;
use self::priced::PricedModel;
pub use self::providers::read_answer;
use self::providers::wire_of;
use self::remote::RemoteModel;
use self::scripted::ScriptedModel;
use crate::config::{self, LlmConfig, ModelProvider};
use crate::ids::Name;
use crate::protocol::dialogue::{ModelReply, ModelRequest};
use crate::rate::WorkerCount;

/// What happens while a model answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelProgress<'a> {
    /// A new attempt begins (1, 2, …): what earlier ones wrote is void.
    Attempt(u32),
    /// A piece of text, as the server cut it; it may be empty. An answer that is not streamed has none.
    Text(&'a str),
}

/// A client of HTTP as models are asked with: the system's certificates, the environment's proxies.
pub fn http_client() -> Result<reqwest::Client, String> {
    http::client()
}

/// A model that can be asked.
#[async_trait]
pub trait ChatModel: Send + Sync {
    /// Asks, and tells `progress` what comes while it comes. Dropping the future ends the request.
    async fn complete(
        &self,
        request: &ModelRequest,
        progress: &mut (dyn for<'a> FnMut(ModelProgress<'a>) + Send),
    ) -> Result<ModelReply, Error>;
}

/// Opens every model. Nothing is sent, and a missing key is no error before a model is asked. With `mock`, each model that
/// would need a server makes its replies up instead ([`ModelProvider::Scripted`] with no script), and costs nothing.
pub fn open_all(llms: &BTreeMap<Name, LlmConfig>, mock: bool) -> ModelRegistry {
    let made_up = |llm: &LlmConfig| mock || llm.provider == ModelProvider::Scripted;
    // Reading the system's certificates takes a while: only if there is a server to ask.
    let client = if llms.values().all(made_up) { None } else { Some(http::client()) };
    let workers = WorkerCount::default();
    let open = |(name, llm): (&Name, &LlmConfig)| -> (Name, Arc<dyn ChatModel>) {
        let model: Arc<dyn ChatModel> = match (&client, wire_of(llm.provider)) {
            _ if !mock && !llm.unset.is_empty() => {
                Arc::new(UnsetModel { model: name.to_string(), variable: llm.unset.join(" and ") })
            }
            (Some(client), Some(wire)) if !mock => {
                Arc::new(RemoteModel::new(name, llm, wire, client.clone(), workers.clone()))
            }
            _ => Arc::new(ScriptedModel::new(name, llm)),
        };
        match llm.price {
            Some(price) if !mock => (name.clone(), Arc::new(PricedModel::new(model, price))),
            _ => (name.clone(), model),
        }
    };
    let alone: BTreeMap<Name, Arc<dyn ChatModel>> = llms.iter().map(open).collect();
    let with_fallbacks = |(name, model): (&Name, &Arc<dyn ChatModel>)| -> (Name, Arc<dyn ChatModel>) {
        let others: Vec<_> = fallbacks(llms, name).into_iter().filter_map(|name| alone.get(name).cloned()).collect();
        match others.is_empty() {
            true => (name.clone(), model.clone()),
            false => {
                let models = std::iter::once(model.clone()).chain(others).collect();
                let round_robin = llms.get(name).is_some_and(|llm| llm.round_robin);
                (name.clone(), Arc::new(FallbackModel::new(models, round_robin)))
            }
        }
    };
    ModelRegistry {
        models: Arc::new(alone.iter().map(with_fallbacks).collect()),
        unpriced: Arc::new(if mock { BTreeSet::new() } else { config::unpriced(llms) }),
        known_as: Arc::new(llms.iter().map(|(name, llm)| (name.clone(), (system(llm), llm.model.clone()))).collect()),
        have_rates: !mock && llms.values().any(|llm| !llm.rate.is_unlimited()),
        workers,
    }
}

/// A model with a setting that names a variable which is not set: an error of the run that asks it, not of the start.
struct UnsetModel {
    model: String,
    variable: String,
}

#[async_trait]
impl ChatModel for UnsetModel {
    async fn complete(
        &self,
        _: &ModelRequest,
        _: &mut (dyn for<'a> FnMut(ModelProgress<'a>) + Send),
    ) -> Result<ModelReply, Error> {
        Err(Error::Unset { model: self.model.clone(), variable: self.variable.clone() })
    }
}

/// Who serves a model, by the names of OpenTelemetry's conventions for generative AI (`gen_ai.provider.name`).
fn system(llm: &LlmConfig) -> &'static str {
    match llm.provider {
        _ if let Some(server) = llm.server => server.system,
        ModelProvider::OpenAi => "openai",
        ModelProvider::Azure => "azure.ai.openai",
        ModelProvider::Anthropic => "anthropic",
        ModelProvider::Gemini => "gcp.gemini",
        ModelProvider::Compatible => "openai_compatible",
        ModelProvider::Scripted => "scripted",
    }
}

/// Whom to ask after `name`: its own fallbacks in their order, then theirs, each model once.
fn fallbacks<'a>(llms: &'a BTreeMap<Name, LlmConfig>, name: &'a Name) -> Vec<&'a Name> {
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
pub struct ModelRegistry {
    models: Arc<BTreeMap<Name, Arc<dyn ChatModel>>>,
    unpriced: Arc<BTreeSet<Name>>,
    /// Who serves each, and what it is called there.
    known_as: Arc<BTreeMap<Name, (&'static str, String)>>,
    have_rates: bool,
    workers: WorkerCount,
}

impl ModelRegistry {
    /// Takes models by name.
    pub fn new(models: BTreeMap<Name, Arc<dyn ChatModel>>) -> Self {
        Self { models: Arc::new(models), ..Self::default() }
    }

    /// The model of that name.
    pub fn get(&self, name: &Name) -> Result<&Arc<dyn ChatModel>, Error> {
        self.models.get(name).ok_or_else(|| Error::Unknown { model: name.to_string() })
    }

    /// Whether it is known what the model and those that stand in for it cost: a run with a limit of money asks no other.
    pub fn has_price(&self, name: &Name) -> bool {
        !self.unpriced.contains(name)
    }

    /// Who serves the model, by OpenTelemetry's names, and what it is called there.
    pub fn known_as(&self, name: &Name) -> Option<(&'static str, &str)> {
        self.known_as.get(name).map(|(provider, model)| (*provider, model.as_str()))
    }

    /// Whether a rate limits any of them.
    pub fn have_rates(&self) -> bool {
        self.have_rates
    }

    /// That many workers, this one included, share the models' rates: from now on each takes an equal part.
    pub fn are_shared_by(&self, workers: usize) {
        self.workers.set(workers);
    }
}
