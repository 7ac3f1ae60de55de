//! What `llms` and `prices` of `fastagency.yaml` may hold, as tables.

use crate::yaml::shape::{MapShape, REQUEST_PARAMETERS, ValueKind, later, may, must};

/// The words of `provider:`; those from `mistral` to `lmstudio` are servers of chat completions (`models/servers.rs`).
pub const PROVIDERS: &[&str] = &[
    "openai",
    "azure",
    "anthropic",
    "gemini",
    "mistral",
    "groq",
    "fireworks",
    "cerebras",
    "deepseek",
    "moonshot",
    "kimi",
    "openrouter",
    "together",
    "xai",
    "perplexity",
    "ollama",
    "vllm",
    "lmstudio",
    "compatible",
    "scripted",
];

pub static LLM: MapShape = MapShape {
    name: "model",
    about: "A model: who serves it, and what each request says.",
    keys: &[
        must("provider", ValueKind::OneOf(PROVIDERS), "Who serves it."),
        may("model", ValueKind::Text, "Its name, as the provider knows it."),
        may(
            "api_key",
            ValueKind::Text,
            "The key (default by provider, e.g. ${OPENAI_API_KEY:-}, ${AZURE_OPENAI_API_KEY:-}, ${GROQ_API_KEY:-}).",
        ),
        may("token", ValueKind::Text, "A bearer token instead of a key, for azure, anthropic and gemini."),
        may(
            "token_file",
            ValueKind::Text,
            "A file with a bearer token that somebody renews; it is read again and again.",
        ),
        may(
            "token_command",
            ValueKind::Some(&ValueKind::Text),
            "A program and its arguments that print a bearer token; it is run again every 5 minutes, and when a token is refused.",
        ),
        may("base_url", ValueKind::Text, "Where the interface begins (azure and compatible have no default)."),
        may("deployment", ValueKind::Text, "azure: what the deployment is called (default: as the model)."),
        may(
            "api_version",
            ValueKind::Text,
            "azure: the version of the interface (default 2024-10-21); anthropic: 2023-06-01.",
        ),
        may("stream", ValueKind::Bool, "Whether the answer is streamed (default true)."),
        may(
            "timeout",
            ValueKind::Either(&[ValueKind::Duration, ValueKind::Shape(&TIMEOUT)]),
            "How long a request may take.",
        ),
        may("max_retries", ValueKind::Whole(0), "How often a failed request is tried again (default 2)."),
        may("fallback", ValueKind::List(&ValueKind::Name), "Models to ask, in this order, when this one fails."),
        may(
            "routing_method",
            ValueKind::OneOf(&["fixed_order", "round_robin"]),
            "Whom each request asks first: always this model (default), or in turn this one and those in `fallback`.",
        ),
        may(
            "script",
            ValueKind::List(&ValueKind::Either(&[ValueKind::Text, ValueKind::Shape(&SCRIPT_REPLY)])),
            "scripted: the replies, one after the other (default: it makes them up).",
        ),
        may("dialect", ValueKind::Shape(&DIALECT), "What the server takes (default by provider)."),
        may("rate", ValueKind::Shape(&RATE), "How often it may be asked, by all workers together (default: no limit)."),
        later("retry"),
    ],
    shared: REQUEST_PARAMETERS,
};

pub static DIALECT: MapShape = MapShape {
    name: "dialect",
    about: "How a server differs, most of all one of chat completions from OpenAI's. What it refuses by name is left out without it, after one try.",
    keys: &[
        may("names", ValueKind::Bool, "Messages may have a `name` (default true)."),
        may("system", ValueKind::Bool, "There are system messages (default true)."),
        may("roles_alternate", ValueKind::Bool, "User and assistant must take turns (default false)."),
        may("stream_options", ValueKind::Bool, "A stream may be asked for its usage (default true)."),
        may(
            "max_tokens_key",
            ValueKind::OneOf(&["max_tokens", "max_completion_tokens"]),
            "What the longest reply is called (default: as it is configured).",
        ),
        may(
            "call_ids",
            ValueKind::OneOf(&["any", "distinct", "plain", "nine"]),
            "What ids of calls may be: any, each another, plain (40 letters, digits, _ and -), or nine letters and digits.",
        ),
        may(
            "reasoning",
            ValueKind::OneOf(&["never", "as_sent", "with_calls", "always"]),
            "Which messages go back with the model's thoughts: none, those that came with some, each with calls, or each.",
        ),
        may("signatures", ValueKind::Bool, "Mark calls of other models for Google's (default by the model's name)."),
        may(
            "any_arguments",
            ValueKind::Bool,
            "Arguments of calls may be anything that a model wrote; if not, what is no JSON object is sent as {} (default true).",
        ),
        may("empty_content", ValueKind::Bool, "Messages may be empty (default true)."),
        may("null_content", ValueKind::Bool, "Messages with calls may have `content: null` (default true)."),
        may(
            "calls_without_tools",
            ValueKind::Bool,
            "A request without tools may tell of calls; if not, it tells them as text (default true).",
        ),
        may(
            "response_format",
            ValueKind::OneOf(&["schema", "schema_without_tools", "object", "words"]),
            "How an agent's `output` is asked for: by its schema, the same but in words where there are tools, as a JSON object, or in words.",
        ),
        may("leave_out", ValueKind::List(&ValueKind::Text), "Parameters that are never sent, like temperature."),
    ],
    shared: &[],
};

pub static SCRIPT_REPLY: MapShape = MapShape {
    name: "script_reply",
    about: "A reply of a scripted model. An agent's first reply is the first of the script.",
    keys: &[
        may("when", ValueKind::Text, "Only for requests with this text in a system message: so agents share a model."),
        may("content", ValueKind::Text, "What it says."),
        may("chunks", ValueKind::List(&ValueKind::Text), "The same in the pieces in which it is streamed."),
        may("tool_calls", ValueKind::List(&ValueKind::Shape(&SCRIPT_CALL)), "The tools that it wants called."),
        may("refusal", ValueKind::Text, "How it refuses."),
        may("finish_reason", ValueKind::Text, "Why it ended (default: stop, or tool_calls)."),
        may("usage", ValueKind::Any, "The tokens: {prompt_tokens, completion_tokens}."),
        may("delay", ValueKind::Duration, "How long it takes (default: no time)."),
        may("delay_s", ValueKind::Number, "The same in seconds."),
        may("status", ValueKind::Whole(100), "It fails with this status of HTTP."),
        may("error", ValueKind::Any, "It fails: a message, or {message, code}."),
    ],
    shared: &[],
};

pub static SCRIPT_CALL: MapShape = MapShape {
    name: "script_call",
    about: "A call of a tool in a scripted reply.",
    keys: &[
        may("name", ValueKind::Text, "The tool."),
        may("arguments", ValueKind::Any, "Its arguments: an object, or the text that the model writes (default: {})."),
        may("id", ValueKind::Text, "The call's id (default: call_1, call_2, …)."),
        may("type", ValueKind::Text, "As OpenAI writes it: function."),
        may("function", ValueKind::Shape(&SCRIPT_FUNCTION), "As OpenAI writes it, in place of name and arguments."),
    ],
    shared: &[],
};

pub static SCRIPT_FUNCTION: MapShape = MapShape {
    name: "script_function",
    about: "The function of a call, as OpenAI writes it.",
    keys: &[
        must("name", ValueKind::Text, "The tool."),
        may("arguments", ValueKind::Any, "Its arguments: an object, or a text."),
    ],
    shared: &[],
};

pub static RATE: MapShape = MapShape {
    name: "rate",
    about: "How often a model may be asked, by all workers together; a request that finds no room waits.",
    keys: &[
        may("requests_per_minute", ValueKind::Whole(1), "Requests in any minute, retries included."),
        may("tokens_per_minute", ValueKind::Whole(1), "Tokens in any minute, read and written."),
    ],
    shared: &[],
};

pub static PRICE: MapShape = MapShape {
    name: "price",
    about: "What a million tokens of a model cost, in US dollars.",
    keys: &[
        must("input", ValueKind::Number, "Tokens read."),
        must("output", ValueKind::Number, "Tokens written, those of reasoning included."),
        may("cached_input", ValueKind::Number, "Tokens read from the provider's cache (default: as input)."),
        may("cache_write", ValueKind::Number, "Tokens put into the provider's cache (default: as input)."),
    ],
    shared: &[],
};

pub static TIMEOUT: MapShape = MapShape {
    name: "timeout",
    about: "How long a request may take.",
    keys: &[
        may("first_token", ValueKind::Duration, "Until the first byte of the answer (default 300s)."),
        may("idle", ValueKind::Duration, "Between two pieces of it (default 120s)."),
        may("total", ValueKind::Duration, "All in all (default 600s)."),
    ],
    shared: &[],
};
