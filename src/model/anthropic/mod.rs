//! Anthropic's Messages.

mod answer;
mod body;

use reqwest::Url;
use secrecy::SecretString;
use serde_json::Value;

use super::draft::Draft;
use super::wire::{Wire, extend_path};
use super::{Error, Request};
use crate::config::Llm;

/// The version of the interface that this module speaks.
const VERSION: &str = "2023-06-01";

/// The language of Messages.
pub(super) struct Messages;

impl Wire for Messages {
    fn complete_url(&self, _llm: &Llm, _streamed: bool, base: &mut Url) {
        // Anthropic's own clients want the base without the version; people also write it with it.
        let version = (!base.path().trim_end_matches('/').ends_with("/v1")).then_some("v1");
        extend_path(base, version.into_iter().chain(["messages"]));
    }

    fn headers(&self, llm: &Llm) -> Vec<(&'static str, String)> {
        vec![("anthropic-version", llm.api_version.clone().unwrap_or_else(|| VERSION.to_owned()))]
    }

    fn key_header(&self, _llm: &Llm, key: &SecretString) -> (&'static str, SecretString) {
        ("x-api-key", key.clone())
    }

    fn body(&self, llm: &Llm, request: &Request) -> (String, bool) {
        let (body, streamed) = body::body(llm, request);
        (body.to_string(), streamed)
    }

    fn take(
        &self,
        piece: &Value,
        _event: &str,
        draft: &mut Draft<'_>,
        show: &mut dyn FnMut(&str),
    ) -> Result<(), Error> {
        answer::take(piece, draft, show)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
