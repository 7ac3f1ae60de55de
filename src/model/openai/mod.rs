//! OpenAI's chat completions, as OpenAI, Azure and every server that is compatible with them speak them.

mod alternating;
mod answer;
mod body;
#[cfg(test)]
mod dialect_tests;
mod empty;
mod thoughts;

pub(super) use body::has_calls;
pub(super) use empty::is_empty;
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
pub(super) use thoughts::has_object;

use super::draft::ReplyDraft;
use super::wire::{ProviderWire, extend_path};
use super::{Error, ModelRequest};
use crate::config::{CallIdForm, LlmConfig, ModelProvider};

/// The end of the base of Azure's interface that knows no versions and no deployments in its addresses.
const AZURE_V1: &str = "/openai/v1";

/// The language of chat completions.
pub(super) struct ChatCompletionsApi;

impl ProviderWire for ChatCompletionsApi {
    fn complete_url(&self, llm: &LlmConfig, _streamed: bool, base: &mut Url) {
        if llm.provider == ModelProvider::Azure {
            if !base.path().ends_with(AZURE_V1) && !base.path().contains("/deployments/") {
                let deployment = llm.deployment.as_deref().unwrap_or(&llm.model);
                let openai = (!base.path().ends_with("/openai")).then_some("openai");
                extend_path(base, openai.into_iter().chain(["deployments", deployment]));
            }
            if let Some(version) = &llm.api_version
                && !base.query_pairs().any(|(name, _)| name == "api-version")
            {
                base.query_pairs_mut().append_pair("api-version", version);
            }
        }
        extend_path(base, ["chat", "completions"]);
    }

    fn headers(&self, _llm: &LlmConfig) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn key_header(&self, llm: &LlmConfig, key: &SecretString) -> (&'static str, SecretString) {
        match llm.provider {
            ModelProvider::Azure => ("api-key", key.clone()),
            _ => ("authorization", format!("Bearer {}", key.expose_secret()).into()),
        }
    }

    fn call_ids(&self, llm: &LlmConfig) -> CallIdForm {
        match llm.dialect.call_ids {
            // Turns are put together by the ids.
            CallIdForm::Any if llm.dialect.roles_alternate => CallIdForm::Distinct,
            form => form,
        }
    }

    fn body(&self, llm: &LlmConfig, request: &ModelRequest) -> (String, bool) {
        body::body(llm, request)
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
mod tests {
    use super::*;
    use crate::model::testing::llm;

    fn url(llm: &LlmConfig) -> String {
        let mut url = Url::parse(&llm.base_url).unwrap();
        ChatCompletionsApi.complete_url(llm, true, &mut url);
        url.to_string()
    }

    #[test]
    fn a_base_keeps_its_path_and_its_query() {
        let end = |base| url(&llm(base));
        assert_eq!(end("https://api.openai.com/v1"), "https://api.openai.com/v1/chat/completions");
        assert_eq!(end("http://localhost:11434/v1/"), "http://localhost:11434/v1/chat/completions");
        assert_eq!(end("https://x/openai/d?version=1"), "https://x/openai/d/chat/completions?version=1");
        assert_eq!(end("http://x"), "http://x/chat/completions");
    }

    #[test]
    fn azure_is_asked_by_deployment_and_version() {
        let azure = |base: &str, deployment: Option<&str>, version: Option<&str>| {
            url(&LlmConfig {
                provider: ModelProvider::Azure,
                deployment: deployment.map(str::to_owned),
                api_version: version.map(str::to_owned),
                ..llm(base)
            })
        };
        let by_deployment =
            "https://x.openai.azure.com/openai/deployments/my%20gpt/chat/completions?api-version=2024-10-21";
        for base in ["https://x.openai.azure.com", "https://x.openai.azure.com/", "https://x.openai.azure.com/openai"] {
            assert_eq!(azure(base, Some("my gpt"), Some("2024-10-21")), by_deployment);
        }
        assert_eq!(
            azure("https://x.openai.azure.com", None, Some("2024-10-21")),
            "https://x.openai.azure.com/openai/deployments/gpt-4o-mini/chat/completions?api-version=2024-10-21"
        );
        assert_eq!(
            azure("https://x.openai.azure.com/openai/v1", Some("d"), None),
            "https://x.openai.azure.com/openai/v1/chat/completions"
        );
        assert_eq!(
            azure("https://x/openai/deployments/d?api-version=1", None, Some("2")),
            "https://x/openai/deployments/d/chat/completions?api-version=1",
            "what the base says, it says"
        );
    }
}
