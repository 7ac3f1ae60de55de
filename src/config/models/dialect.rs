//! How servers of chat completions differ: what each refuses, and what it wants to see again. Known servers have a row in
//! `servers`; `dialect:` of a model says it of any other, and the little that may differ of other providers.

use std::collections::BTreeSet;

use super::ModelProvider;
use crate::config::model_shapes::DIALECT;
use crate::yaml::FieldReader;

/// What a server of chat completions takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChatDialect {
    /// Messages may say who speaks (`name`). Else their texts do, where several people or agents speak.
    pub names: bool,
    /// There are system messages. Else the user says what they say.
    pub system: bool,
    /// The user and the model must take turns after the instructions, and the user has the last word.
    pub roles_alternate: bool,
    /// A streamed request may ask for the counts of tokens.
    pub stream_options: bool,
    /// How the longest reply is said; none: as it is configured.
    pub max_tokens_key: Option<TokenLimitKey>,
    /// What ids of calls must look like.
    pub call_ids: CallIdForm,
    /// Which thoughts of its models a server gets back.
    pub reasoning: ReasoningReturn,
    /// Calls of other models are marked for Google's, whatever the model's name says of it.
    pub signatures: bool,
    /// Arguments of calls may be whatever a model wrote. Else what is no JSON object is sent as an empty one.
    pub any_arguments: bool,
    /// Messages may be empty.
    pub empty_content: bool,
    /// Messages with calls may have no content (`null`).
    pub null_content: bool,
    /// A request without tools may tell of calls. Else it tells them as text.
    pub calls_without_tools: bool,
    /// How a reply of a given form is asked for.
    pub response_format: FormRequest,
}

impl Default for ChatDialect {
    fn default() -> Self {
        Self::OPEN
    }
}

impl ChatDialect {
    /// What a server is asked in of which nothing else is known.
    pub const OPEN: Self = Self {
        names: true,
        system: true,
        roles_alternate: false,
        stream_options: true,
        max_tokens_key: None,
        call_ids: CallIdForm::Any,
        reasoning: ReasoningReturn::AsSent,
        signatures: false,
        any_arguments: true,
        empty_content: true,
        null_content: true,
        calls_without_tools: true,
        response_format: FormRequest::Schema,
    };

    /// OpenAI's own, and Azure's.
    pub const OPENAI: Self = Self { call_ids: CallIdForm::Plain, reasoning: ReasoningReturn::Never, ..Self::OPEN };
}

/// The parameter that says how long a reply may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenLimitKey {
    /// `max_tokens`.
    MaxTokens,
    /// `max_completion_tokens`, as OpenAI's reasoning models want it.
    MaxCompletionTokens,
}

impl TokenLimitKey {
    /// The parameter's name.
    pub fn word(self) -> &'static str {
        match self {
            TokenLimitKey::MaxTokens => "max_tokens",
            TokenLimitKey::MaxCompletionTokens => "max_completion_tokens",
        }
    }
}

/// What the id of a call must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallIdForm {
    /// As it came, also if another call has the same: what AG2 sends.
    Any,
    /// As it came, but no two calls of a request have the same.
    Distinct,
    /// Distinct, and at most 40 letters, digits, `_` and `-`: what both OpenAI and Anthropic take.
    Plain,
    /// Distinct, and nine letters and digits, as Mistral wants them.
    Nine,
}

/// How a reply of a given form is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FormRequest {
    /// By its schema.
    Schema,
    /// By its schema, and in words where tools are offered.
    SchemaWithoutTools,
    /// As a JSON object, whose schema is told in words.
    Object,
    /// In words.
    Words,
}

/// Which thoughts (`reasoning_content`, `reasoning`, `reasoning_details`) go back with the messages that they led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReasoningReturn {
    /// None.
    Never,
    /// Those that the same model sent, with the calls that they led to.
    AsSent,
    /// Those, and a blank with every other message that has calls: Moonshot refuses one without.
    WithCalls,
    /// Those, and an empty text with every other message of the model: DeepSeek refuses one without.
    Always,
}

/// The keys of a provider with a language of its own.
const OF_OTHER_LANGUAGES: [(ModelProvider, &[&str]); 2] = [
    (ModelProvider::Anthropic, &["leave_out", "response_format"]),
    (ModelProvider::Gemini, &["leave_out", "response_format", "signatures"]),
];

/// Reads `dialect:` over what is known of the server: what the server takes, and the parameters that it is never sent.
pub(super) fn dialect(
    field: &FieldReader<'_>,
    provider: ModelProvider,
    known: ChatDialect,
) -> Option<(ChatDialect, BTreeSet<String>)> {
    let fields = field.fields(&DIALECT)?;
    if let Some((_, own)) = OF_OTHER_LANGUAGES.iter().find(|(other, _)| *other == provider) {
        for key in DIALECT.all_keys().filter(|key| fields.get(key.name).is_some() && !own.contains(&key.name)) {
            let words = format!("this is for servers of chat completions; here is only {}", own.join(" and "));
            field.review.add(fields.problem_at_key(key.name, words));
        }
    }
    let keys =
        [("max_tokens", TokenLimitKey::MaxTokens), ("max_completion_tokens", TokenLimitKey::MaxCompletionTokens)];
    let ids = [
        ("any", CallIdForm::Any),
        ("distinct", CallIdForm::Distinct),
        ("plain", CallIdForm::Plain),
        ("nine", CallIdForm::Nine),
    ];
    let thoughts = [
        ("never", ReasoningReturn::Never),
        ("as_sent", ReasoningReturn::AsSent),
        ("with_calls", ReasoningReturn::WithCalls),
        ("always", ReasoningReturn::Always),
    ];
    let forms = [
        ("schema", FormRequest::Schema),
        ("schema_without_tools", FormRequest::SchemaWithoutTools),
        ("object", FormRequest::Object),
        ("words", FormRequest::Words),
    ];
    let flag = |key: &'static str, known: bool| fields.read(key, FieldReader::bool).unwrap_or(known);
    let names = |field: &FieldReader<'_>| -> Option<BTreeSet<String>> {
        field.items()?.iter().map(|item| item.text().map(str::to_owned)).collect()
    };
    let dialect = ChatDialect {
        names: flag("names", known.names),
        system: flag("system", known.system),
        roles_alternate: flag("roles_alternate", known.roles_alternate),
        stream_options: flag("stream_options", known.stream_options),
        max_tokens_key: fields.read("max_tokens_key", |field| field.one_of(&keys)).or(known.max_tokens_key),
        call_ids: fields.read("call_ids", |field| field.one_of(&ids)).unwrap_or(known.call_ids),
        reasoning: fields.read("reasoning", |field| field.one_of(&thoughts)).unwrap_or(known.reasoning),
        signatures: flag("signatures", known.signatures),
        any_arguments: flag("any_arguments", known.any_arguments),
        empty_content: flag("empty_content", known.empty_content),
        null_content: flag("null_content", known.null_content),
        calls_without_tools: flag("calls_without_tools", known.calls_without_tools),
        response_format: fields.read("response_format", |field| field.one_of(&forms)).unwrap_or(known.response_format),
    };
    Some((dialect, fields.read("leave_out", names).unwrap_or_default()))
}
