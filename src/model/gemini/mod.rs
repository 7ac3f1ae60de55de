//! Gemini's `generateContent`, as Google's Gemini API and Vertex AI speak it.

mod answer;
mod body;

use reqwest::Url;
use secrecy::SecretString;
use serde_json::Value;

use super::draft::Draft;
use super::wire::{Wire, extend_path};
use super::{Error, Request};
use crate::config::Llm;

/// The language of `generateContent`.
pub(super) struct GenerateContent;

impl Wire for GenerateContent {
    fn complete_url(&self, llm: &Llm, streamed: bool, base: &mut Url) {
        // A model's name may say where it is: `tunedModels/x`, or on Vertex AI `publishers/google/models/x`.
        let (folder, model) = llm.model.rsplit_once('/').unwrap_or(("models", &llm.model));
        let method = if streamed { "streamGenerateContent" } else { "generateContent" };
        extend_path(base, folder.split('/').chain([format!("{model}:{method}").as_str()]));
        if streamed {
            base.query_pairs_mut().append_pair("alt", "sse");
        }
    }

    fn headers(&self, _llm: &Llm) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn key_header(&self, _llm: &Llm, key: &SecretString) -> (&'static str, SecretString) {
        ("x-goog-api-key", key.clone())
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
