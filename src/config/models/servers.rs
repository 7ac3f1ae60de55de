//! The servers of chat completions that are known by a name of their own: where they are, where their key is found, and what
//! they refuse.

use super::dialect::{CallIdForm, ChatDialect, FormRequest, ReasoningReturn, TokenLimitKey};

/// A server of chat completions that `provider:` names.
#[derive(Debug, Clone, Copy)]
pub struct CompatibleServer {
    /// Its word in `provider:`.
    pub word: &'static str,
    /// What OpenTelemetry calls it (`gen_ai.provider.name`).
    pub system: &'static str,
    /// Where it is; a server of one's own is where its program listens by default.
    pub base_url: &'static str,
    /// The variable with its key; none: it needs no key.
    pub key_variable: Option<&'static str>,
    /// What it takes.
    pub dialect: ChatDialect,
}

/// Many of them read the arguments of calls in a conversation, and refuse what is no object.
const KNOWN: ChatDialect = ChatDialect { any_arguments: false, ..ChatDialect::OPEN };
const STRICT: ChatDialect = ChatDialect { names: false, reasoning: ReasoningReturn::Never, ..KNOWN };

/// All of them.
static SERVERS: [CompatibleServer; 14] = [
    CompatibleServer {
        word: "mistral",
        system: "mistral_ai",
        base_url: "https://api.mistral.ai/v1",
        key_variable: Some("MISTRAL_API_KEY"),
        // It also refuses a user's message after a result, and a conversation that the model ends.
        dialect: ChatDialect {
            roles_alternate: true,
            stream_options: false,
            call_ids: CallIdForm::Nine,
            max_tokens_key: Some(TokenLimitKey::MaxTokens),
            ..STRICT
        },
    },
    CompatibleServer {
        word: "groq",
        system: "groq",
        base_url: "https://api.groq.com/openai/v1",
        key_variable: Some("GROQ_API_KEY"),
        dialect: STRICT,
    },
    CompatibleServer {
        word: "fireworks",
        system: "fireworks",
        base_url: "https://api.fireworks.ai/inference/v1",
        key_variable: Some("FIREWORKS_API_KEY"),
        dialect: ChatDialect { reasoning: ReasoningReturn::AsSent, ..STRICT },
    },
    CompatibleServer {
        word: "cerebras",
        system: "cerebras",
        base_url: "https://api.cerebras.ai/v1",
        key_variable: Some("CEREBRAS_API_KEY"),
        dialect: STRICT,
    },
    CompatibleServer {
        word: "deepseek",
        system: "deepseek",
        base_url: "https://api.deepseek.com/v1",
        key_variable: Some("DEEPSEEK_API_KEY"),
        // It knows objects, and no schemas of them.
        dialect: ChatDialect { reasoning: ReasoningReturn::Always, response_format: FormRequest::Object, ..KNOWN },
    },
    MOONSHOT,
    CompatibleServer { word: "kimi", ..MOONSHOT },
    CompatibleServer {
        word: "openrouter",
        system: "openrouter",
        base_url: "https://openrouter.ai/api/v1",
        key_variable: Some("OPENROUTER_API_KEY"),
        // It passes ids on to whoever serves the model.
        dialect: ChatDialect { call_ids: CallIdForm::Plain, ..KNOWN },
    },
    CompatibleServer {
        word: "together",
        system: "together",
        base_url: "https://api.together.xyz/v1",
        key_variable: Some("TOGETHER_API_KEY"),
        dialect: KNOWN,
    },
    CompatibleServer {
        word: "xai",
        system: "x_ai",
        base_url: "https://api.x.ai/v1",
        key_variable: Some("XAI_API_KEY"),
        dialect: KNOWN,
    },
    CompatibleServer {
        word: "perplexity",
        system: "perplexity",
        base_url: "https://api.perplexity.ai",
        key_variable: Some("PERPLEXITY_API_KEY"),
        dialect: ChatDialect { roles_alternate: true, ..STRICT },
    },
    CompatibleServer {
        word: "ollama",
        system: "ollama",
        base_url: "http://127.0.0.1:11434/v1",
        key_variable: None,
        dialect: KNOWN,
    },
    CompatibleServer {
        word: "vllm",
        system: "vllm",
        base_url: "http://127.0.0.1:8000/v1",
        key_variable: None,
        dialect: KNOWN,
    },
    CompatibleServer {
        word: "lmstudio",
        system: "lmstudio",
        base_url: "http://127.0.0.1:1234/v1",
        key_variable: None,
        dialect: KNOWN,
    },
];

const MOONSHOT: CompatibleServer = CompatibleServer {
    word: "moonshot",
    system: "moonshot_ai",
    base_url: "https://api.moonshot.ai/v1",
    key_variable: Some("MOONSHOT_API_KEY"),
    dialect: ChatDialect { reasoning: ReasoningReturn::WithCalls, empty_content: false, ..KNOWN },
};

/// All of them, in the order of the documentation.
pub(super) fn all() -> &'static [CompatibleServer] {
    &SERVERS
}

/// The server at that address, by its host; a server of one's own has none that would tell it.
pub(super) fn by_address(base_url: &str) -> Option<&'static CompatibleServer> {
    let host = host(base_url)?;
    SERVERS.iter().find(|server| server.key_variable.is_some() && self::host(server.base_url) == Some(host))
}

fn host(url: &str) -> Option<&str> {
    let rest = url.split_once("://")?.1;
    rest.split(['/', '?', '#']).next()?.rsplit('@').next()?.split(':').next()
}
