//! What a server of nearly the same language refuses, told by the words of its error: the field that may be left out, or the form
//! that it wants. The request is asked again in that way, and so are those after it. What a person must change stays an error.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::Error;
use super::content::shortened;
use super::openai::{has_calls, has_object, is_empty};
use crate::bounds::{OUTSIDE, read};
use crate::config::{CallIdForm, FormRequest, LlmConfig, ModelProvider, ReasoningReturn, TokenLimitKey};
use crate::protocol::dialogue::{ChatMessage, ModelRequest};

/// Parameters without which an answer is still an answer to what was asked.
const MAY_BE_LEFT_OUT: [&str; 17] = [
    "temperature",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "seed",
    "logprobs",
    "top_logprobs",
    "reasoning_effort",
    "verbosity",
    "parallel_tool_calls",
    "user",
    "service_tier",
    "store",
    "metadata",
    "prompt_cache_key",
    "safety_identifier",
];
/// Words by which servers say that they do not know a field, or take no other value than their own. A value out of its range is
/// told in other words, and is for a person to change.
const REFUSALS: [&str; 16] = [
    "unsupported",
    "not supported",
    "does not support",
    "doesn't support",
    "not permitted",
    "extra_forbidden",
    "not allowed",
    "unknown",
    "unrecognized",
    "unrecognised",
    "unexpected",
    "additional propert",
    "is deprecated",
    "cannot both be specified",
    "may only be set to",
    "no such",
];
/// How much of an error is looked at, in characters: a refusal is a sentence.
const LONGEST_WORDS: usize = 4000;
/// The parameter with which Anthropic's models think.
const THINKING: &str = "thinking";

/// Another way to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Adaptation {
    /// Messages have no names.
    WithoutNames,
    /// There are no system messages.
    WithoutSystem,
    /// The roles take turns.
    RolesInTurn,
    /// The usage is not asked for.
    WithoutStreamOptions,
    /// The longest reply is called so.
    Limit(TokenLimitKey),
    /// Ids of calls look so.
    CallIds(CallIdForm),
    /// Thoughts go back so.
    Reasoning(ReasoningReturn),
    /// A parameter is not sent.
    Without(&'static str),
    /// Calls of other models are marked for Google's.
    MarkedCalls,
    /// The model does not think in this request.
    NotThinking,
    /// Arguments of calls are objects.
    ObjectArguments,
    /// No message is empty.
    NothingEmpty,
    /// No message has no content.
    NoNull,
    /// Calls are told as text where there are no tools.
    CallsAsText,
    /// A form is asked for so.
    Form(FormRequest),
}

impl Adaptation {
    /// How to ask instead, if the server's words say it and the request is not asked so already.
    pub(super) fn after(error: &Error, llm: &LlmConfig, request: &ModelRequest) -> Option<Self> {
        let Error::Status { status, message, .. } = error else { return None };
        if !matches!(status, 400 | 422 | 500) {
            return None;
        }
        let words = RefusalWords::of(message);
        // Servers that run a template themselves answer 500 to what the template refuses.
        let of_template = ["template", "jinja", "roles must alternate", "tool call arguments"];
        let by_template = *status == 500 && of_template.iter().any(|word| words.has(word));
        if !matches!(status, 400 | 422) && !by_template {
            return None;
        }
        let found = match llm.provider {
            ModelProvider::Anthropic => words.of_messages_api(),
            ModelProvider::OpenAi | ModelProvider::Azure | ModelProvider::Compatible => {
                words.of_chat_completions(&sent(llm, request)).or_else(|| words.of_messages(llm, request))
            }
            ModelProvider::Gemini | ModelProvider::Scripted => None,
        };
        let found = found.or_else(|| words.of_form(llm, request));
        let unmarked = words.has("thought_signature") && words.has("missing");
        let found = found.or_else(|| unmarked.then_some(Adaptation::MarkedCalls));
        let found = found.or_else(|| words.parameter(&sent(llm, request)))?;
        let mut other = llm.clone();
        found.apply(&mut other);
        let changes =
            other.dialect != llm.dialect || other.leave_out != llm.leave_out || other.parameters != llm.parameters;
        changes.then_some(found)
    }

    /// Changes how the model is asked.
    pub(super) fn apply(&self, llm: &mut LlmConfig) {
        match self {
            Adaptation::WithoutNames => llm.dialect.names = false,
            Adaptation::WithoutSystem => llm.dialect.system = false,
            Adaptation::RolesInTurn => llm.dialect.roles_alternate = true,
            Adaptation::WithoutStreamOptions => llm.dialect.stream_options = false,
            Adaptation::Limit(key) => llm.dialect.max_tokens_key = Some(*key),
            Adaptation::CallIds(form) => llm.dialect.call_ids = *form,
            Adaptation::Reasoning(reasoning) => llm.dialect.reasoning = *reasoning,
            Adaptation::Without(parameter) => drop(llm.leave_out.insert((*parameter).to_owned())),
            Adaptation::MarkedCalls => llm.dialect.signatures = true,
            Adaptation::ObjectArguments => llm.dialect.any_arguments = false,
            Adaptation::NothingEmpty => llm.dialect.empty_content = false,
            Adaptation::NoNull => llm.dialect.null_content = false,
            Adaptation::CallsAsText => llm.dialect.calls_without_tools = false,
            Adaptation::Form(form) => llm.dialect.response_format = *form,
            Adaptation::NotThinking => drop(llm.parameters.insert(THINKING.to_owned(), json!({"type": "disabled"}))),
        }
    }

    /// Whether it holds for the model, and not only for what this conversation has come to.
    pub(super) fn is_remembered(&self) -> bool {
        *self != Adaptation::NotThinking
    }

    /// What is said of it in the log: the setting that does the same from the start.
    pub(super) fn as_setting(&self) -> String {
        let reasoning = |reasoning| match reasoning {
            ReasoningReturn::Never => "never",
            ReasoningReturn::AsSent => "as_sent",
            ReasoningReturn::WithCalls => "with_calls",
            ReasoningReturn::Always => "always",
        };
        let form = |form| match form {
            CallIdForm::Any => "any",
            CallIdForm::Distinct => "distinct",
            CallIdForm::Plain => "plain",
            CallIdForm::Nine => "nine",
        };
        let form_word = |form| match form {
            FormRequest::Schema => "schema",
            FormRequest::SchemaWithoutTools => "schema_without_tools",
            FormRequest::Object => "object",
            FormRequest::Words => "words",
        };
        match self {
            Adaptation::WithoutNames => "dialect: { names: false }".to_owned(),
            Adaptation::WithoutSystem => "dialect: { system: false }".to_owned(),
            Adaptation::RolesInTurn => "dialect: { roles_alternate: true }".to_owned(),
            Adaptation::WithoutStreamOptions => "dialect: { stream_options: false }".to_owned(),
            Adaptation::Limit(key) => format!("dialect: {{ max_tokens_key: {} }}", key.word()),
            Adaptation::CallIds(ids) => format!("dialect: {{ call_ids: {} }}", form(*ids)),
            Adaptation::Reasoning(thoughts) => format!("dialect: {{ reasoning: {} }}", reasoning(*thoughts)),
            Adaptation::Without(parameter) => format!("dialect: {{ leave_out: [{parameter}] }}"),
            Adaptation::MarkedCalls => "dialect: { signatures: true }".to_owned(),
            Adaptation::ObjectArguments => "dialect: { any_arguments: false }".to_owned(),
            Adaptation::NothingEmpty => "dialect: { empty_content: false }".to_owned(),
            Adaptation::NoNull => "dialect: { null_content: false }".to_owned(),
            Adaptation::CallsAsText => "dialect: { calls_without_tools: false }".to_owned(),
            Adaptation::Form(form) => format!("dialect: {{ response_format: {} }}", form_word(*form)),
            Adaptation::NotThinking => "extra: { thinking: { type: disabled } }".to_owned(),
        }
    }
}

/// The parameters of a request.
fn sent<'r>(llm: &'r LlmConfig, request: &'r ModelRequest) -> BTreeSet<&'r str> {
    let keys = |map: &'r Map<String, Value>| map.keys().map(String::as_str);
    keys(&llm.parameters).chain(keys(&request.parameters)).filter(|key| !llm.leave_out.contains(*key)).collect()
}

/// The words of an error.
struct RefusalWords {
    /// All of them, in small letters.
    text: String,
    /// What stands in quotes or in a path, like `messages[1].name`, in single words.
    named: BTreeSet<String>,
}

impl RefusalWords {
    fn of(message: &str) -> Self {
        let text = match read::<Value>(message.as_bytes(), &OUTSIDE) {
            // Pydantic's lists of errors: the field's path, and also what stood there, which may say anything.
            Ok(mut errors @ (Value::Array(_) | Value::Object(_))) => {
                without_input(&mut errors);
                errors.to_string()
            }
            _ => message.to_owned(),
        };
        let text = shortened(&text, LONGEST_WORDS).to_lowercase();
        let mut named = BTreeSet::new();
        let is_of_path = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '.' | '[' | ']');
        for quoted in text.split(['\'', '"', '`', ' ', '(', ')', ',', ':', ';']) {
            let quoted = quoted.trim_matches('.');
            let is_path = quoted.contains(['.', '[']) && quoted.chars().all(is_of_path);
            let is_quoted = ['\'', '"', '`'].iter().any(|mark| text.contains(&format!("{mark}{quoted}{mark}")));
            if !quoted.is_empty() && (is_path || is_quoted) {
                named.extend(quoted.split(['.', '[', ']']).filter(|part| !part.is_empty()).map(str::to_owned));
            }
        }
        Self { text, named }
    }

    fn has(&self, words: &str) -> bool {
        self.text.contains(words)
    }

    fn refuses(&self) -> bool {
        REFUSALS.iter().any(|words| self.has(words))
    }

    fn of_messages_api(&self) -> Option<Adaptation> {
        let wants_thoughts = self.has("expected `thinking`");
        // Seals of another model.
        let refuses_seal = self.has("signature") && self.has("thinking") && self.has("invalid");
        (wants_thoughts || refuses_seal).then_some(Adaptation::NotThinking)
    }

    fn of_chat_completions(&self, sent: &BTreeSet<&str>) -> Option<Adaptation> {
        if self.has("reasoning_content") || self.named.contains("reasoning") || self.named.contains("reasoning_details")
        {
            let wanted = self.has("missing") || self.has("must be passed back") || self.has("must be provided");
            return match wanted {
                true if self.has("tool call message") => Some(Adaptation::Reasoning(ReasoningReturn::WithCalls)),
                true => Some(Adaptation::Reasoning(ReasoningReturn::Always)),
                false => self.refuses().then_some(Adaptation::Reasoning(ReasoningReturn::Never)),
            };
        }
        if self.has("role") && (self.has("alternat") || self.has("expected last role") || self.has("unexpected role")) {
            return Some(Adaptation::RolesInTurn);
        }
        let is_about_place =
            ["at the beginning", "must be the first", "must be first", "multiple system", "only one system"];
        if self.has("system message") && is_about_place.iter().any(|words| self.has(words)) {
            return Some(Adaptation::RolesInTurn);
        }
        if self.has("system role not supported") || self.has("system role is not supported") {
            return Some(Adaptation::WithoutSystem);
        }
        if self.has("tool call id") && self.has("length of 9") {
            return Some(Adaptation::CallIds(CallIdForm::Nine));
        }
        let of_id = self.named.contains("id") && (self.has("tool_use") || self.has("tool_call"));
        if self.has("ids must be unique")
            || of_id && (self.has("pattern") || self.has("too long") || self.has("maximum length"))
        {
            return Some(Adaptation::CallIds(CallIdForm::Plain));
        }
        if !self.refuses() {
            return None;
        }
        if self.has("stream_options") {
            return Some(Adaptation::WithoutStreamOptions);
        }
        let names = |key: TokenLimitKey| sent.contains(key.word()) && self.has(key.word());
        if names(TokenLimitKey::MaxTokens) {
            return Some(Adaptation::Limit(TokenLimitKey::MaxCompletionTokens));
        }
        if names(TokenLimitKey::MaxCompletionTokens) {
            return Some(Adaptation::Limit(TokenLimitKey::MaxTokens));
        }
        let of_message = self.named.contains("name") && self.has("messages") && !self.has("function");
        // Of the fields that a request has, messages alone have a name that may be left out, but tools need theirs.
        let of_name = self.has("property 'name' is unsupported") && !self.has("tool") && !self.has("function");
        (of_message || of_name).then_some(Adaptation::WithoutNames)
    }

    /// What a server of chat completions does not take of a conversation, which has something of the kind.
    fn of_messages(&self, llm: &LlmConfig, request: &ModelRequest) -> Option<Adaptation> {
        let has_any = |words: &[&str]| words.iter().any(|words| self.has(words));
        let dialect = &llm.dialect;
        let mut calls = request.messages.iter().flat_map(|message| &message.tool_calls);
        // A parser's words name the place and not what stands there.
        let of_parser =
            ["json", "argument", "delimiter", "unterminated", "expecting", "escape", "mapping", "control char"];
        if dialect.any_arguments && has_any(&of_parser) && !calls.all(has_object) {
            return Some(Adaptation::ObjectArguments);
        }
        let of_nothing = ["empty", "at least one content", "is blank", "content is required", "non-whitespace"];
        let is_nothing = |message: &ChatMessage| {
            is_empty(&message.content) && (message.tool_calls.is_empty() || !message.content.is_null())
        };
        let says_nothing = || request.messages.iter().any(|message| is_nothing(message));
        if dialect.empty_content && has_any(&of_nothing) && says_nothing() {
            return Some(Adaptation::NothingEmpty);
        }
        let is_null = || request.messages.iter().any(|message| message.content.is_null());
        if dialect.null_content && self.has("content") && has_any(&["string", "null", "none"]) && is_null() {
            return Some(Adaptation::NoNull);
        }
        let tells_of_calls = request.tools.is_empty() && has_calls(request);
        let is_asked_so = dialect.calls_without_tools && !dialect.roles_alternate;
        (is_asked_so && self.has("tool") && tells_of_calls).then_some(Adaptation::CallsAsText)
    }

    /// The next less demanding way to ask for a form, where that is what the server refuses.
    fn of_form(&self, llm: &LlmConfig, request: &ModelRequest) -> Option<Adaptation> {
        let is_asked = |of: Option<&Value>| of.is_some_and(|format| !format.is_null());
        if ![request.response_format.as_ref(), llm.parameters.get("response_format")].into_iter().any(is_asked) {
            return None;
        }
        let names_form = [
            "response_format",
            "response format",
            "response mime type",
            "json_schema",
            "json mode",
            "json_object",
            "output_config",
            "structured output",
        ];
        if !names_form.iter().any(|words| self.has(words)) {
            return None;
        }
        let with_tools = !request.tools.is_empty() && (self.has("tool") || self.has("function call"));
        let is_chat = !matches!(llm.provider, ModelProvider::Anthropic | ModelProvider::Gemini);
        let next = match llm.dialect.response_format {
            FormRequest::Schema if with_tools => FormRequest::SchemaWithoutTools,
            FormRequest::Schema | FormRequest::SchemaWithoutTools if is_chat => FormRequest::Object,
            _ => FormRequest::Words,
        };
        // What is wrong with a schema is for a person to change.
        let is_refused = self.refuses() || self.has("unavailable") || self.has("cannot be combined");
        (is_refused && !self.has("invalid schema")).then_some(Adaptation::Form(next))
    }

    /// The parameter that the server refuses.
    fn parameter(&self, sent: &BTreeSet<&str>) -> Option<Adaptation> {
        let says = |name: &str| {
            // Words of every day are only names where they stand as names.
            self.named.contains(name) || (name.contains('_') || name == "temperature") && self.has(name)
        };
        let mut found = MAY_BE_LEFT_OUT.iter().filter(|name| sent.contains(*name) && says(name));
        // Of two that exclude each other, the model's freedom is said by the first.
        let found = if self.has("cannot both be specified") { found.next_back() } else { found.next() };
        found.filter(|_| self.refuses()).map(|name| Adaptation::Without(name))
    }
}

fn without_input(errors: &mut Value) {
    match errors {
        Value::Object(fields) => {
            fields.retain(|key, _| !matches!(key.as_str(), "input" | "ctx" | "url"));
            fields.values_mut().for_each(without_input);
        }
        Value::Array(items) => items.iter_mut().for_each(without_input),
        _ => {}
    }
}

#[cfg(test)]
#[path = "refusal_tests.rs"]
mod tests;
