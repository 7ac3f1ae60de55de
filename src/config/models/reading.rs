//! Reads the models of `fastagency.yaml` (`llms`), and what they cost (`prices`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::Value;

use super::dialect::dialect;
use super::servers;
use super::{
    ChatDialect, CompatibleServer, LlmConfig, ModelPrice, ModelProvider, ModelRateLimit, ModelTimeouts, TokenSource,
};
use crate::config::fields::{base_url, path, secret, unset_in};
use crate::config::model_shapes::{LLM, PRICE, RATE, SCRIPT_CALL, SCRIPT_FUNCTION, SCRIPT_REPLY, TIMEOUT};
use crate::config::variables::Environment;
use crate::ids::Name;
use crate::money::Usd;
use crate::problem::did_you_mean;
use crate::yaml::{FieldReader, MapEntry, MapReader};

/// The version of Azure's interface that is asked for where the address does not say another: the last with a date.
const AZURE_VERSION: &str = "2024-10-21";

/// Where a provider is, if it is at one place only.
/// A reply of a script: a text, or a map of which everything is looked at.
fn script_reply(field: &FieldReader<'_>) -> Option<Value> {
    if !field.is_map() {
        return field.text().map(Into::into);
    }
    let fields = field.fields(&SCRIPT_REPLY)?;
    for key in ["when", "content", "refusal", "finish_reason"] {
        fields.read(key, FieldReader::text);
    }
    fields.read("chunks", |field| field.items()?.iter().map(FieldReader::text).collect::<Option<Vec<_>>>());
    fields.read("delay", FieldReader::duration);
    fields.read("delay_s", FieldReader::duration);
    fields.read("status", |field| field.whole::<u16>(100));
    fields.read("tool_calls", |field| {
        for call in field.items()? {
            let fields = call.fields(&SCRIPT_CALL)?;
            for key in ["name", "id", "type"] {
                fields.read(key, FieldReader::text);
            }
            let function = fields.read("function", |field| {
                let fields = field.fields(&SCRIPT_FUNCTION)?;
                fields.read("name", FieldReader::text)
            });
            if fields.get("name").is_none() && fields.get("function").is_none() {
                call.note("the call names no tool: {name: …, arguments: …}");
            } else if fields.get("name").is_some() && function.is_some() {
                call.note("the call names a tool twice: `name` and `function`");
            }
        }
        Some(())
    });
    Some(field.json())
}

fn default_url(provider: ModelProvider) -> Option<&'static str> {
    match provider {
        ModelProvider::OpenAi => Some("https://api.openai.com/v1"),
        ModelProvider::Anthropic => Some("https://api.anthropic.com"),
        ModelProvider::Gemini => Some("https://generativelanguage.googleapis.com/v1beta"),
        ModelProvider::Azure | ModelProvider::Compatible | ModelProvider::Scripted => None,
    }
}

/// The variable that a provider's own clients take the key from.
fn key_variable(provider: ModelProvider) -> Option<&'static str> {
    match provider {
        ModelProvider::OpenAi => Some("OPENAI_API_KEY"),
        ModelProvider::Azure => Some("AZURE_OPENAI_API_KEY"),
        ModelProvider::Anthropic => Some("ANTHROPIC_API_KEY"),
        ModelProvider::Gemini => Some("GEMINI_API_KEY"),
        ModelProvider::Compatible | ModelProvider::Scripted => None,
    }
}

/// Where the interface begins, from an address that may be the whole one, as portals show it. A query stays.
fn base_of(url: &str, provider: Option<ModelProvider>) -> String {
    let (place, query) = url.split_at(url.find('?').unwrap_or(url.len()));
    let place = place.trim_end_matches('/');
    let base = match provider {
        Some(ModelProvider::Anthropic) => place.strip_suffix("/messages"),
        Some(ModelProvider::Gemini) => {
            let method = place.rsplit_once('/').filter(|(_, last)| last.ends_with("enerateContent"));
            // The model stands in a folder of models.
            method.and_then(|(models, _)| models.rsplit_once('/')).map(|(base, _)| base)
        }
        _ => place.strip_suffix("/chat/completions"),
    };
    format!("{}{query}", base.unwrap_or(place))
}

/// The interface of a provider that such an address is of, if it is another than the one that models are asked by.
fn other_interface(url: &str) -> Option<&'static str> {
    let place = url.split(['?', '#']).next()?;
    [("/responses", "OpenAI's Responses"), ("/embeddings", "embeddings"), ("/models", "a list of models")]
        .into_iter()
        .find(|(end, _)| place.ends_with(end))
        .map(|(_, interface)| interface)
}

pub(in crate::config) fn llms(
    field: &FieldReader<'_>,
    folder: &Path,
    environment: Environment<'_>,
) -> Option<BTreeMap<Name, LlmConfig>> {
    if field.is_null() {
        return None;
    }
    let entries = field.named_entries()?;
    let names: BTreeSet<&str> = entries.iter().map(|(name, ..)| name.as_str()).collect();
    let read = |(name, _, field): &(Name, _, FieldReader<'_>)| {
        Some((name.clone(), llm(field, name, &names, folder, environment)?))
    };
    Some(entries.iter().filter_map(read).collect())
}

fn llm(
    field: &FieldReader<'_>,
    name: &Name,
    names: &BTreeSet<&str>,
    folder: &Path,
    environment: Environment<'_>,
) -> Option<LlmConfig> {
    let fields = field.fields(&LLM)?;
    let (provider, named) = fields.read("provider", provider).unzip();
    let named: Option<&'static CompatibleServer> = named.flatten();
    let model = fields.read("model", FieldReader::text).map(str::to_owned);
    if fields.get("model").is_none() && provider.is_some_and(|provider| provider != ModelProvider::Scripted) {
        field.note("\"model\" is missing");
    }
    let base_url = fields.read("base_url", base_url).map(|url| base_of(&url, provider));
    let has_no_place = matches!(provider, Some(ModelProvider::Azure | ModelProvider::Compatible)) && named.is_none();
    if fields.get("base_url").is_none() && has_no_place {
        field.note("\"base_url\" is missing");
    }
    if let (Some(url), Some(field)) = (&base_url, fields.get("base_url"))
        && let Some(interface) = other_interface(url)
    {
        field.note_with_hint(
            format!("this is the address of {interface}, which is not what models are asked by"),
            "leave out what comes after the version, as in https://api.openai.com/v1",
        );
    }
    let variable = named.map_or_else(|| provider.and_then(key_variable), |server| server.key_variable);
    let (api_key, api_key_variable) = api_key(&fields, variable, environment);
    let timeout = fields.read("timeout", timeouts).unwrap_or(TIMEOUTS);
    let max_retries = fields.read("max_retries", |field| field.whole(0)).unwrap_or(2);
    let fallback = fields.read("fallback", |field| Some(fallback(field, name, names))).unwrap_or_default();
    let orders = [("fixed_order", false), ("round_robin", true)];
    let round_robin = fields.read("routing_method", |field| field.one_of(&orders)).unwrap_or(false);
    let script = fields.read("script", |field| Some(field.items()?.iter().filter_map(script_reply).collect()));
    let script = script.unwrap_or_default();
    let script_place = fields.get("script").map(|_| {
        let at = fields.problem_at_key("script", "");
        format!("{}:{}", at.file, at.line)
    });
    let only_for = |key: &'static str, providers: &[ModelProvider], words: &str| {
        if fields.get(key).is_some() && provider.is_some_and(|provider| !providers.contains(&provider)) {
            field.review.add(fields.problem_at_key(key, format!("this is for `provider: {words}`")));
        }
    };
    only_for("script", &[ModelProvider::Scripted], "scripted");
    only_for("deployment", &[ModelProvider::Azure], "azure");
    only_for("api_version", &[ModelProvider::Azure, ModelProvider::Anthropic], "azure` and `anthropic");
    let with_tokens = [ModelProvider::Azure, ModelProvider::Anthropic, ModelProvider::Gemini];
    only_for("token", &with_tokens, "azure`, `anthropic` and `gemini");
    let token_source = token_source(&fields, folder);
    for key in provider.map_or(&[][..], ModelProvider::lacks).iter().filter(|key| fields.get(key).is_some()) {
        let message = "the provider has no such setting (an agent's is left out for it)";
        field.review.add(fields.problem_at_key(key, message));
    }
    let parameters = fields.request_parameters();
    let stream = fields.read("stream", FieldReader::bool).unwrap_or(true);
    let provider = provider?;
    let default_url = named.map(|server| server.base_url).or(default_url(provider)).unwrap_or_default();
    let base_url = base_url
        // An address that is not set is no address; the default would send the request to somebody else.
        .unwrap_or_else(|| if fields.get("base_url").is_some() { "" } else { default_url }.to_owned());
    let api_version = fields.read("api_version", FieldReader::text).map(str::to_owned);
    let needs_version = provider == ModelProvider::Azure && !base_url.ends_with("/openai/v1");
    // The address of a known server tells as much as its name, but not that a key is needed: a proxy may stand there.
    let known = match provider {
        ModelProvider::OpenAi | ModelProvider::Azure => ChatDialect::OPENAI,
        _ => named.or_else(|| servers::by_address(&base_url)).map_or(ChatDialect::OPEN, |server| server.dialect),
    };
    let (dialect, leave_out) =
        fields.read("dialect", |field| dialect(field, provider, known)).unwrap_or((known, BTreeSet::new()));
    Some(LlmConfig {
        provider,
        server: named,
        dialect,
        leave_out,
        model: model.unwrap_or_else(|| "scripted".to_owned()),
        api_key,
        api_key_variable,
        token: secret(&fields, "token"),
        token_source,
        base_url,
        deployment: fields.read("deployment", FieldReader::text).map(str::to_owned),
        api_version: api_version.or_else(|| needs_version.then(|| AZURE_VERSION.to_owned())),
        parameters,
        stream,
        timeout,
        max_retries,
        fallback,
        rate: fields.read("rate", rate).unwrap_or_default(),
        // The table is another section.
        price: None,
        round_robin,
        script,
        script_place,
        unset: unset_in(field.node, &["api_key", "token"]).into_iter().map(|(_, message)| message).collect(),
    })
}

/// Where a token that expires comes from: one place only, and none beside a token that does not.
fn token_source(fields: &MapReader<'_>, folder: &Path) -> Option<TokenSource> {
    let ways = ["token", "token_file", "token_command"];
    let mut given = ways.into_iter().filter(|way| fields.get(way).is_some());
    if let (Some(first), Some(second)) = (given.next(), given.next()) {
        fields.field.review.add(fields.problem_at_key(second, format!("there is a `{first}` already")));
    }
    let texts = |field: &FieldReader<'_>| -> Option<Vec<String>> {
        let texts: Option<Vec<String>> = field.items()?.iter().map(|item| item.text().map(str::to_owned)).collect();
        if texts.as_ref().is_some_and(|texts| texts.first().is_none_or(String::is_empty)) {
            field.note("there is no program here");
        }
        texts
    };
    let command = fields.read("token_command", texts).filter(|command| !command.is_empty());
    path(fields, "token_file", folder).map(TokenSource::File).or(command.map(TokenSource::Command))
}

/// The key, and the variable that it comes from. Neither a missing variable nor an empty one is a problem yet.
fn api_key(
    fields: &MapReader<'_>,
    default_variable: Option<&'static str>,
    environment: Environment<'_>,
) -> (Option<SecretString>, Option<String>) {
    let Some(field) = fields.get("api_key") else {
        let Some(variable) = default_variable else { return (None, None) };
        let key = environment(variable).filter(|key| !key.is_empty());
        return (key.map(Into::into), Some(variable.to_owned()));
    };
    let variable = field.scalar().and_then(|scalar| scalar.variables.first().cloned());
    if field.is_null() || field.is_missing() {
        return (None, variable);
    }
    (field.text().filter(|key| !key.is_empty()).map(|key| key.to_owned().into()), variable)
}

/// Who serves the model, and which known server that is.
fn provider(field: &FieldReader<'_>) -> Option<(ModelProvider, Option<&'static CompatibleServer>)> {
    let own = [
        ("openai", ModelProvider::OpenAi),
        ("azure", ModelProvider::Azure),
        ("anthropic", ModelProvider::Anthropic),
        ("gemini", ModelProvider::Gemini),
    ];
    let last = [("compatible", ModelProvider::Compatible), ("scripted", ModelProvider::Scripted)];
    let named = servers::all().iter().map(|server| (server.word, (ModelProvider::Compatible, Some(server))));
    let plain = |(word, provider)| (word, (provider, None));
    let words: Vec<_> = own.map(plain).into_iter().chain(named).chain(last.map(plain)).collect();
    field.one_of(&words)
}

fn rate(field: &FieldReader<'_>) -> Option<ModelRateLimit> {
    let fields = field.fields(&RATE)?;
    Some(ModelRateLimit {
        requests_per_minute: fields.read("requests_per_minute", |field| field.whole(1)),
        tokens_per_minute: fields.read("tokens_per_minute", |field| field.whole(1)),
    })
}

/// The price table: models by the name that the provider knows them by.
pub(in crate::config) fn prices(field: &FieldReader<'_>) -> Option<BTreeMap<String, ModelPrice>> {
    let read = |(entry, field): (&MapEntry, FieldReader<'_>)| Some((entry.key.clone(), price(&field)?));
    Some(field.entries()?.into_iter().filter_map(read).collect())
}

fn price(field: &FieldReader<'_>) -> Option<ModelPrice> {
    let fields = field.fields(&PRICE)?;
    let dollars = |field: &FieldReader<'_>| {
        let dollars = field.number()?;
        if dollars < 0.0 { field.is_not("a price") } else { Some(Usd::from_dollars(dollars)) }
    };
    let (input, output) = (fields.read("input", dollars), fields.read("output", dollars));
    Some(ModelPrice {
        input: input?,
        output: output?,
        cached_input: fields.read("cached_input", dollars),
        cache_write: fields.read("cache_write", dollars),
    })
}

const TIMEOUTS: ModelTimeouts = ModelTimeouts {
    first_token: Duration::from_secs(300),
    idle: Duration::from_secs(120),
    total: Duration::from_secs(600),
};

fn timeouts(field: &FieldReader<'_>) -> Option<ModelTimeouts> {
    if !field.is_map() {
        let total = field.duration()?;
        return Some(ModelTimeouts {
            first_token: TIMEOUTS.first_token.min(total),
            idle: TIMEOUTS.idle.min(total),
            total,
        });
    }
    let fields = field.fields(&TIMEOUT)?;
    Some(ModelTimeouts {
        first_token: fields.read("first_token", FieldReader::duration).unwrap_or(TIMEOUTS.first_token),
        idle: fields.read("idle", FieldReader::duration).unwrap_or(TIMEOUTS.idle),
        total: fields.read("total", FieldReader::duration).unwrap_or(TIMEOUTS.total),
    })
}

fn fallback(field: &FieldReader<'_>, own: &Name, names: &BTreeSet<&str>) -> Vec<Name> {
    let mut fallback = Vec::new();
    for item in field.items().unwrap_or_default() {
        let Some(name) = item.name() else { continue };
        if name == *own {
            item.note("a model cannot stand in for itself");
        } else if !names.contains(name.as_str()) {
            let hint = did_you_mean(name.as_str(), names.iter().copied());
            let problem = item.problem(format!("there is no model {:?}", name.as_str()));
            item.review.add(match hint {
                Some(hint) => problem.with_hint(hint),
                None => problem,
            });
        } else {
            fallback.push(name);
        }
    }
    fallback
}
