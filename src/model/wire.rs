//! How a provider is spoken to: what one request says, and how one piece of its answer is read. The rest (connections,
//! attempts, waits, the form of an answer) is the same for all of them, in [`super::remote`] and [`super::answer`].

use reqwest::Url;
use secrecy::SecretString;
use serde_json::Value;

use super::Error;
use super::draft::ReplyDraft;
use crate::config::{CallIdForm, LlmConfig};
use crate::protocol::dialogue::ModelRequest;

/// A provider's language. Knows no network.
pub(super) trait ProviderWire: Send + Sync {
    /// Completes the base of the address.
    fn complete_url(&self, llm: &LlmConfig, streamed: bool, base: &mut Url);

    /// The headers of every request that are not secret.
    fn headers(&self, llm: &LlmConfig) -> Vec<(&'static str, String)>;

    /// The header that carries a key.
    fn key_header(&self, llm: &LlmConfig, key: &SecretString) -> (&'static str, SecretString);

    /// What ids of calls must look like.
    fn call_ids(&self, llm: &LlmConfig) -> CallIdForm;

    /// The body of a request as JSON, and whether it asks for a stream.
    fn body(&self, llm: &LlmConfig, request: &ModelRequest) -> (String, bool);

    /// Takes a piece of a stream, or a whole answer; `event` is the piece's name where it has one. An error that the server
    /// tells was taken before.
    fn take(
        &self,
        piece: &Value,
        event: &str,
        draft: &mut ReplyDraft<'_>,
        show: &mut dyn FnMut(&str),
    ) -> Result<(), Error>;
}

/// Puts segments at the end of an address's path.
pub(super) fn extend_path<'s>(url: &mut Url, segments: impl IntoIterator<Item = &'s str>) {
    // Only addresses like `mailto:` have no path; they were refused before.
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
}
