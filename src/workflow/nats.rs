//! Requests to services on NATS, as tools: `nats: orders.lookup`. The first word of the subject stands in the workflow as it is, and a
//! value is one word of it, so that no value decides whose subject it is.

use std::collections::BTreeSet;
use std::time::Duration;

use super::address::args_in;
use super::http::pieces;
use super::scope::NameScope;
use super::{AddressPart, InjectedArguments, ToolRate};
use crate::yaml::{FieldReader, MapReader};

/// How long a request may take unless it is said.
const WITHIN: Duration = Duration::from_secs(30);
/// What is kept of a reply unless it is said, in bytes.
const MAX_RESULT: u64 = 256 << 10;
/// The longest subject, in bytes: servers take 4096 for a whole line of their protocol.
const LONGEST_SUBJECT: usize = 512;

/// A request to a service on NATS.
#[derive(Debug, Clone)]
pub struct NatsStep {
    /// Its subject, in pieces.
    pub subject: Vec<AddressPart>,
    /// How long the reply may take.
    pub within: Duration,
    /// What is kept of the reply, in bytes.
    pub max_result: u64,
    /// Whether it may be sent again if nobody knows whether it was.
    pub idempotent: bool,
    /// The words for models and people in place of the service's own.
    pub error_message: Option<String>,
    /// Arguments that models do not see.
    pub inject: InjectedArguments,
    /// How often it may be called.
    pub rate: Option<ToolRate>,
}

impl NatsStep {
    /// The arguments of the tool that its subject names: they do not go into the payload.
    pub fn named_args(&self) -> BTreeSet<&str> {
        args_in(&self.subject)
    }
}

/// Why no request of a workflow goes to a subject; none: it may.
pub fn refuses_subject(subject: &str) -> Option<String> {
    let mut tokens = subject.split('.');
    if subject.len() > LONGEST_SUBJECT {
        return Some(format!("a subject has at most {LONGEST_SUBJECT} bytes"));
    }
    if subject.contains(['*', '>']) {
        return Some("a request goes to one subject: it has no `*` and no `>`".to_owned());
    }
    if !tokens.clone().all(is_token) {
        return Some("a subject is words with a dot between them, like orders.lookup, without spaces".to_owned());
    }
    match tokens.next().unwrap_or_default() {
        first if first.starts_with('$') => Some("subjects that begin with $ are the NATS server's own".to_owned()),
        first if first.starts_with('_') => Some("subjects that begin with _ are for replies".to_owned()),
        "fa" => Some("the subjects of fa.> are those of the tiers themselves".to_owned()),
        "chat" => Some("the subjects of chat.> are those of FastAgency's tiers".to_owned()),
        _ => None,
    }
}

/// Whether a text is one word of a subject.
pub fn is_token(text: &str) -> bool {
    let fits = |letter: char| !letter.is_whitespace() && !letter.is_control() && !matches!(letter, '.' | '*' | '>');
    !text.is_empty() && text.chars().all(fits)
}

/// Reads `nats` of a tool, with the keys beside it.
pub(super) fn nats_step(
    field: &FieldReader<'_>,
    tool: &MapReader<'_>,
    (inject, rate): (InjectedArguments, Option<ToolRate>),
    scope: &NameScope<'_>,
) -> Option<NatsStep> {
    let subject = pieces(field, field.text()?.trim(), scope)?;
    // As it could be: what a value has in it is looked at when it is there.
    let word = |part: &AddressPart| match part {
        AddressPart::Text(text) => text.clone(),
        AddressPart::Value(_) => "x".to_owned(),
    };
    let like: String = subject.iter().map(word).collect();
    let is_decided = |text: &str| subject.len() == 1 || text.contains('.');
    if !matches!(&subject[0], AddressPart::Text(text) if is_decided(text)) {
        let message =
            "the first word of a subject stands in the workflow as it is: no value decides whom a request is for";
        field.note_with_hint(message, "like orders.{{ args.region }}.lookup");
        return None;
    }
    if let Some(why) = refuses_subject(&like) {
        field.note(why);
        return None;
    }
    inject.refuse_in(&subject, field);
    Some(NatsStep {
        subject,
        within: tool.read("timeout", FieldReader::some_time).unwrap_or(WITHIN),
        max_result: tool.read("max_result", FieldReader::some_size).unwrap_or(MAX_RESULT),
        idempotent: tool.read("idempotent", FieldReader::bool).unwrap_or(false),
        error_message: tool.read("error_message", FieldReader::text).map(str::to_owned),
        inject,
        rate,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_goes_to_one_subject_that_is_nobody_elses() {
        for subject in ["orders", "orders.lookup", "orders.eu-1.look_up", "fab.x", "chats.x", "größe.x"] {
            assert_eq!(refuses_subject(subject), None, "{subject}");
        }
        let others = [
            "$JS.API.INFO",
            "$KV.fa_runs.x",
            "$SYS.REQ.SERVER.PING",
            "_INBOX.a",
            "_R_.a",
            "fa.queue.x",
            "fa",
            "chat.server.initiate_chat",
            "chat",
        ];
        let wrong = ["", ".", "a..b", "a.", ".a", "a b", "a.\u{a0}b", "a\r\nPUB b", "*", "a.*", "a.>", "a.b*", "a\tb"];
        for subject in others.into_iter().chain(wrong) {
            assert!(refuses_subject(subject).is_some(), "{subject:?}");
        }
        assert!(refuses_subject(&"a.".repeat(300)).is_some());
        for token in ["", "a.b", "*", ">", "a b", "\n"] {
            assert!(!is_token(token), "{token:?}");
        }
    }
}
