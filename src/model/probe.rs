//! Whether a model's server is there and takes the key, found out without asking the model anything: its list of models
//! costs nothing.

use std::time::Duration;

use reqwest::Url;
use secrecy::ExposeSecret;
use serde_json::Value;

use super::key::usable;
use super::providers::wire_of;
use super::proxy::proxy_for;
use super::unpack::AnswerBody;
use super::{http, remote};
use crate::config::LlmConfig;

/// How long the server may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// The most bytes of its list that are read.
const LONGEST_LIST: usize = 8 << 20;

/// What was found out about a model's server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeResult {
    /// No server is asked: its replies are made up.
    NoServer,
    /// It is there, takes the key and has the model.
    Good,
    /// It is there and takes the key, and its list does not name the model.
    NotListed,
    /// It is there, and has no such list; whether it takes the key is not known.
    NotKnown {
        /// What it answered, a status of HTTP.
        status: u16,
    },
    /// The key holds what no key does.
    OddKey {
        /// What, without the key.
        why: String,
    },
    /// It does not take the key.
    KeyRefused {
        /// What it answered, a status of HTTP.
        status: u16,
    },
    /// It cannot be reached.
    Unreachable {
        /// Why, without the address.
        why: String,
    },
    /// The address is none.
    Address {
        /// Why.
        why: String,
    },
}

/// Finds out about a model.
pub async fn probe(llm: &LlmConfig) -> ProbeResult {
    let Some(wire) = wire_of(llm.provider) else { return ProbeResult::NoServer };
    let url = match remote::whole_url(llm, wire) {
        Ok(url) => list_url(url),
        Err(why) => return ProbeResult::Address { why },
    };
    let client = match http::client() {
        Ok(client) => client,
        Err(why) => return ProbeResult::Unreachable { why },
    };
    let proxy = proxy_for(&url);
    let mut call = client.get(url).timeout(PROBE_TIMEOUT);
    for (name, value) in wire.headers(llm) {
        call = call.header(name, value);
    }
    let (token, key) = match (usable(llm.token.as_ref()), usable(llm.api_key.as_ref())) {
        (Ok(token), Ok(key)) => (token, key),
        (Err(why), _) | (_, Err(why)) => return ProbeResult::OddKey { why },
    };
    if let Some(token) = token {
        call = call.bearer_auth(token.expose_secret());
    } else if let Some(key) = key {
        let (header, value) = wire.key_header(llm, &key);
        call = call.header(header, value.expose_secret());
    }
    let answer = match call.send().await {
        Ok(answer) => answer,
        Err(error) => {
            let why = http::in_words(error);
            return ProbeResult::Unreachable {
                why: proxy.map_or(why.clone(), |proxy| format!("through {proxy}: {why}")),
            };
        }
    };
    match answer.status().as_u16() {
        200..=299 => match crate::bounds::parse::<Value>(&AnswerBody::of(answer).beginning(LONGEST_LIST).await) {
            Ok(list) if names(&list, &llm.model) == Some(false) => ProbeResult::NotListed,
            _ => ProbeResult::Good,
        },
        status @ (401 | 403) => ProbeResult::KeyRefused { status },
        // Google says so of a key that is none.
        400 if answer.text().await.is_ok_and(|text| text.contains("API_KEY_INVALID")) => {
            ProbeResult::KeyRefused { status: 400 }
        }
        status => ProbeResult::NotKnown { status },
    }
}

/// Where the server lists its models, from where it is asked for a reply.
fn list_url(mut url: Url) -> Url {
    let segments: Vec<String> = url.path_segments().into_iter().flatten().map(str::to_owned).collect();
    let mut kept: Vec<&str> = segments.iter().map(String::as_str).collect();
    let last = kept.pop().unwrap_or_default();
    match last.split_once(':') {
        // Gemini: the model's own page.
        Some((model, _)) => kept.push(model),
        None => {
            if kept.last() == Some(&"chat") {
                kept.pop();
            }
            // Azure: deployments are listed nowhere, models beside them.
            if let Some(at) = kept.iter().position(|segment| *segment == "deployments") {
                kept.truncate(at);
            }
            kept.push("models");
        }
    }
    // The segments were encoded already.
    url.set_path(&kept.join("/"));
    url
}

/// Whether a list names the model; `None`: it is no list.
fn names(list: &Value, model: &str) -> Option<bool> {
    let items = list.get("data")?.as_array()?;
    let short = |id: &str| id.split(':').next().unwrap_or_default().to_owned();
    let ids = items.iter().filter_map(|item| item.get("id")?.as_str());
    Some(items.is_empty() || ids.into_iter().any(|id| id == model || short(id) == model))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_beside_the_replies() {
        let list = |url: &str| list_url(Url::parse(url).unwrap()).to_string();
        assert_eq!(list("https://api.openai.com/v1/chat/completions"), "https://api.openai.com/v1/models");
        assert_eq!(list("https://api.anthropic.com/v1/messages"), "https://api.anthropic.com/v1/models");
        assert_eq!(
            list("https://x.openai.azure.com/openai/deployments/my%20d/chat/completions?api-version=1"),
            "https://x.openai.azure.com/openai/models?api-version=1"
        );
        assert_eq!(
            list("https://g/v1beta/models/gemini-2.5-flash:generateContent"),
            "https://g/v1beta/models/gemini-2.5-flash"
        );
    }
}
