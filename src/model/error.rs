//! Why a model gave no answer, in words that say what to do, and by kind for whoever decides what to do.

use std::time::Duration;

/// Why a model gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key is missing.
    #[error(
        "the model {model:?} has no API key: set {variable} and start the worker again, or start it with --mock-llm to try things without a model"
    )]
    NoKey {
        /// The name in `llms:`.
        model: String,
        /// What to set.
        variable: String,
    },
    /// Its key is none.
    #[error("the model {model:?} cannot be asked: {reason}")]
    OddKey {
        /// The name in `llms:`.
        model: String,
        /// What is wrong with the key, without a letter of it that is right.
        reason: String,
    },
    /// Its token cannot be fetched.
    #[error("the model {model:?} has no token: {reason}")]
    NoToken {
        /// The name in `llms:`.
        model: String,
        /// Why, without secrets.
        reason: String,
    },
    /// A setting of it names a variable that is not set.
    #[error("the model {model:?} cannot be used: {variable} is not set")]
    Unset {
        /// The name in `llms:`.
        model: String,
        /// What is not set.
        variable: String,
    },
    /// The server took too long.
    #[error("{api} API call timed out. The model {model:?} gave {what} within {after:?}")]
    TimedOut {
        /// Whose interface was called: `OpenAI`, for instance. AG2's words begin with it
        /// (`docs/reference/ag2-semantics.md`, section 9).
        api: &'static str,
        /// The name in `llms:`.
        model: String,
        /// What did not come: "no first token", "nothing more", "no complete answer".
        what: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// The server answered with an error.
    #[error("the model {model:?} answered {}{}: {message}", answered(*status, *in_answer), ServerErrorKind::of(*status, code.as_deref(), message).aside())]
    Status {
        /// The name in `llms:`.
        model: String,
        /// The HTTP status.
        status: u16,
        /// The error came in the place of an answer, under the status 200, and names no other: `status` is a guess.
        in_answer: bool,
        /// The server's words, shortened, without secrets.
        message: String,
        /// The server's error code, e.g. `content_filter`.
        code: Option<String>,
    },
    /// The server cannot be reached, or the connection broke before the answer began.
    #[error("the model {model:?} cannot be reached at {address}: {reason}")]
    Unreachable {
        /// The name in `llms:`.
        model: String,
        /// Its address, without secrets.
        address: String,
        /// What went wrong.
        reason: String,
    },
    /// The connection broke in the middle of the answer.
    #[error("the connection to the model {model:?} at {address} was lost in the middle of its answer: {reason}")]
    BrokenOff {
        /// The name in `llms:`.
        model: String,
        /// Its address, without secrets.
        address: String,
        /// What went wrong.
        reason: String,
    },
    /// Its endpoint failed so often that nobody asks it for a while.
    #[error(
        "the model {model:?} is not asked for another {again_in:?}, because it failed {failures} times in a row; the last time: {last}"
    )]
    Down {
        /// The name in `llms:`.
        model: String,
        /// How often it failed.
        failures: u32,
        /// When it is tried again.
        again_in: Duration,
        /// The last failure, as it was told.
        last: String,
    },
    /// Its `rate` left no room for the request.
    #[error(
        "the model {model:?} is asked as often as its rate allows ({rate}), and there was no room for another request within {after:?}"
    )]
    Crowded {
        /// The name in `llms:`.
        model: String,
        /// The rate, as it is configured.
        rate: String,
        /// How long was waited.
        after: Duration,
    },
    /// The answer is not what the provider's interface promises.
    #[error("the model {model:?} sent an answer that cannot be read: {reason}")]
    Malformed {
        /// The name in `llms:`.
        model: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no model of that name.
    #[error("there is no model named {model:?} under llms:")]
    Unknown {
        /// The name.
        model: String,
    },
    /// The scripted model has no reply left.
    #[error("the script of the model {model:?}{} has no reply left", in_brackets(place.as_deref()))]
    ScriptExhausted {
        /// The name in `llms:`.
        model: String,
        /// The file and the line of the script; none: it is not from a file.
        place: Option<String>,
    },
}

impl Error {
    /// The error as logs have it: without the server's own words, which may quote what it was asked.
    pub fn in_log(&self) -> String {
        match self {
            Error::Status { model, status, in_answer, .. } => {
                let aside = self.trouble().map(ServerErrorKind::aside).unwrap_or_default();
                format!("the model {model:?} answered {}{aside}", answered(*status, *in_answer))
            }
            Error::Malformed { model, .. } => format!("the model {model:?} sent an answer that cannot be read"),
            Error::Down { model, failures, again_in, .. } => {
                format!(
                    "the model {model:?} is not asked for another {again_in:?}, because it failed {failures} times in a row"
                )
            }
            other => other.to_string(),
        }
    }

    /// What kind of error a server answered with; none if it did not answer.
    pub fn trouble(&self) -> Option<ServerErrorKind> {
        match self {
            Error::Status { status, message, code, .. } => Some(ServerErrorKind::of(*status, code.as_deref(), message)),
            _ => None,
        }
    }
}

/// Where something is written, behind its name.
pub(super) fn in_brackets(place: Option<&str>) -> String {
    place.map(|place| format!(" ({place})")).unwrap_or_default()
}

/// What a server answered instead of an answer.
fn answered(status: u16, in_answer: bool) -> String {
    if in_answer { "with an error".to_owned() } else { status.to_string() }
}

/// The kinds of errors that servers answer with, whatever each calls them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerErrorKind {
    /// Too many requests or tokens, or the money is used up.
    RateLimit,
    /// The server has too much to do.
    Overloaded,
    /// The key is wrong, or may not use the model.
    Auth,
    /// The conversation is longer than the model reads.
    ContextLength,
    /// A filter refused the conversation.
    ContentFilter,
    /// Something else in the request is wrong.
    Request,
    /// Something at the server is wrong.
    Server,
}

impl ServerErrorKind {
    /// Tells the kind by the status, the server's code, and, where providers have no code for it, their words.
    fn of(status: u16, code: Option<&str>, message: &str) -> Self {
        let code = code.unwrap_or_default();
        let message = message.to_ascii_lowercase();
        let too_long =
            ["prompt is too long", "maximum context length", "context window", "exceeds the maximum number of tokens"];
        match status {
            _ if code == "content_filter" => ServerErrorKind::ContentFilter,
            413 => ServerErrorKind::ContextLength,
            400 if code == "context_length_exceeded" || too_long.iter().any(|words| message.contains(words)) => {
                ServerErrorKind::ContextLength
            }
            // Gemini answers a wrong key with 400.
            400 if message.contains("api key not valid") => ServerErrorKind::Auth,
            401 | 403 => ServerErrorKind::Auth,
            402 | 429 => ServerErrorKind::RateLimit,
            503 | 529 => ServerErrorKind::Overloaded,
            500.. => ServerErrorKind::Server,
            _ => ServerErrorKind::Request,
        }
    }

    /// What is told of it beside the status.
    fn aside(self) -> &'static str {
        match self {
            ServerErrorKind::RateLimit => " (its limit is reached)",
            ServerErrorKind::Overloaded => " (it is overloaded)",
            ServerErrorKind::Auth => " (it refuses the key)",
            ServerErrorKind::ContextLength => " (the conversation is too long for it)",
            ServerErrorKind::ContentFilter => " (a filter refused it)",
            ServerErrorKind::Request | ServerErrorKind::Server => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_is_told_whatever_a_provider_calls_it() {
        for (status, code, message, trouble) in [
            (429, "rate_limit_exceeded", "Rate limit reached", ServerErrorKind::RateLimit),
            (429, "RESOURCE_EXHAUSTED", "You exceeded your current quota", ServerErrorKind::RateLimit),
            (529, "overloaded_error", "Overloaded", ServerErrorKind::Overloaded),
            (503, "UNAVAILABLE", "The model is overloaded. Please try again later.", ServerErrorKind::Overloaded),
            (401, "invalid_api_key", "Incorrect API key provided", ServerErrorKind::Auth),
            (401, "authentication_error", "invalid x-api-key", ServerErrorKind::Auth),
            (400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", ServerErrorKind::Auth),
            (403, "PERMISSION_DENIED", "no", ServerErrorKind::Auth),
            (400, "context_length_exceeded", "too long", ServerErrorKind::ContextLength),
            (
                400,
                "invalid_request_error",
                "prompt is too long: 208310 tokens > 200000 maximum",
                ServerErrorKind::ContextLength,
            ),
            (
                400,
                "INVALID_ARGUMENT",
                "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
                ServerErrorKind::ContextLength,
            ),
            (413, "request_too_large", "Request exceeds the maximum size", ServerErrorKind::ContextLength),
            (400, "content_filter", "The response was filtered", ServerErrorKind::ContentFilter),
            (400, "invalid_request_error", "max_tokens: required", ServerErrorKind::Request),
            (404, "not_found_error", "model: claude-x", ServerErrorKind::Request),
            (500, "api_error", "Internal server error", ServerErrorKind::Server),
        ] {
            let error = Error::Status {
                model: "m".to_owned(),
                status,
                in_answer: false,
                message: message.to_owned(),
                code: Some(code.to_owned()),
            };
            assert_eq!(error.trouble(), Some(trouble), "{error}");
        }
    }
}
