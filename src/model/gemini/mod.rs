//! Gemini's `generateContent`, as Google's Gemini API and Vertex AI speak it.

mod answer;
mod body;

use reqwest::Url;
use secrecy::SecretString;
use serde_json::Value;

use super::draft::ReplyDraft;
use super::wire::{ProviderWire, extend_path};
use super::{Error, ModelRequest};
use crate::config::{CallIdForm, LlmConfig};

/// The language of `generateContent`.
pub(super) struct GenerateContentApi;

impl ProviderWire for GenerateContentApi {
    fn complete_url(&self, llm: &LlmConfig, streamed: bool, base: &mut Url) {
        // A model's name may say where it is: `tunedModels/x`, or on Vertex AI `publishers/google/models/x`.
        let (folder, model) = llm.model.rsplit_once('/').unwrap_or(("models", &llm.model));
        let method = if streamed { "streamGenerateContent" } else { "generateContent" };
        extend_path(base, folder.split('/').chain([format!("{model}:{method}").as_str()]));
        if streamed {
            base.query_pairs_mut().append_pair("alt", "sse");
        }
    }

    fn headers(&self, _llm: &LlmConfig) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn key_header(&self, _llm: &LlmConfig, key: &SecretString) -> (&'static str, SecretString) {
        ("x-goog-api-key", key.clone())
    }

    fn call_ids(&self, _llm: &LlmConfig) -> CallIdForm {
        CallIdForm::Distinct
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
