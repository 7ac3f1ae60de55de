//! Anthropic's Messages.

mod answer;
mod body;

use reqwest::Url;
use secrecy::SecretString;
use serde_json::Value;

use super::draft::ReplyDraft;
use super::wire::{ProviderWire, extend_path};
use super::{Error, ModelRequest};
use crate::config::{CallIdForm, LlmConfig};

/// The version of the interface that this module speaks.
const VERSION: &str = "2023-06-01";

/// The language of Messages.
pub(super) struct MessagesApi;

impl ProviderWire for MessagesApi {
    fn complete_url(&self, _llm: &LlmConfig, _streamed: bool, base: &mut Url) {
        // Anthropic's own clients want the base without the version; people also write it with it.
        let version = (!base.path().trim_end_matches('/').ends_with("/v1")).then_some("v1");
        extend_path(base, version.into_iter().chain(["messages"]));
    }

    fn headers(&self, llm: &LlmConfig) -> Vec<(&'static str, String)> {
        vec![("anthropic-version", llm.api_version.clone().unwrap_or_else(|| VERSION.to_owned()))]
    }

    fn key_header(&self, _llm: &LlmConfig, key: &SecretString) -> (&'static str, SecretString) {
        ("x-api-key", key.clone())
    }

    fn call_ids(&self, _llm: &LlmConfig) -> CallIdForm {
        CallIdForm::Plain
    }

    fn body(&self, llm: &LlmConfig, request: &ModelRequest) -> (String, bool) {
        let (body, streamed) = body::body(llm, request);
        (body.to_string(), streamed)
    }

    fn take(
        &self,
        piece: &Value,
        _event: &str,
        draft: &mut ReplyDraft<'_>,
        show: &mut dyn FnMut(&str),
    ) -> Result<(), Error> {
        answer::take(piece, draft, show)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
