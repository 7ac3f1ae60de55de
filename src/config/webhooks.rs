//! `webhooks:`: who outside is told that a run waits, or has ended.

use std::collections::BTreeMap;

use secrecy::SecretString;

use super::fields::{base_url, is_empty, secret};
use super::shapes::WEBHOOK;
use crate::ids::Name;
use crate::yaml::FieldReader;

/// An entry of `webhooks:`.
#[derive(Debug, Clone)]
pub struct WebhookConfig {
    /// Where to.
    pub url: String,
    /// What the notices are signed with.
    pub secret: SecretString,
    /// When.
    pub on: Vec<WebhookTrigger>,
    /// Whether what is not to be seen is taken out of what it is sent.
    pub redact: bool,
}

/// When a webhook is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookTrigger {
    /// A run waits for a person.
    Waiting,
    /// Nobody has answered for a while (`remind`).
    Reminded,
    /// Nobody has answered for a while, and others may answer, too, from now on (`escalate`).
    Escalated,
    /// A run has ended.
    Ended,
}

impl WebhookTrigger {
    /// All of them by their names.
    pub const ALL: [(&'static str, Self); 4] = [
        ("waiting", Self::Waiting),
        ("reminded", Self::Reminded),
        ("escalated", Self::Escalated),
        ("ended", Self::Ended),
    ];
}

/// The longest name of a webhook: it becomes part of the name of a queue.
const LONGEST_WEBHOOK: usize = 55;

pub(super) fn webhooks(field: &FieldReader<'_>) -> Option<BTreeMap<Name, WebhookConfig>> {
    let read = |(name, _, field): (Name, _, FieldReader<'_>)| {
        if name.as_str().len() > LONGEST_WEBHOOK {
            field.note(format!("a webhook's name has at most {LONGEST_WEBHOOK} characters"));
        }
        Some((name, webhook(&field)?))
    };
    Some(field.named_entries()?.into_iter().filter_map(read).collect())
}

fn webhook(field: &FieldReader<'_>) -> Option<WebhookConfig> {
    let fields = field.fields(&WEBHOOK)?;
    let url = fields.read("url", base_url);
    let occasion = |field: &FieldReader<'_>| field.one_of(&WebhookTrigger::ALL);
    let on = fields.read("on", |field| Some(field.items()?.iter().filter_map(occasion).collect()));
    let secret = secret(&fields, "secret");
    if secret.is_none() && fields.get("secret").is_some_and(|field| is_empty(&field)) {
        field.note("\"secret\" is empty; without it nobody can know that a notice is ours");
    }
    // What lacks a variable is said by the section that uses it; here it only must not be taken for something else.
    Some(WebhookConfig {
        url: url.unwrap_or_default(),
        secret: secret.unwrap_or_default(),
        on: on.unwrap_or_else(|| WebhookTrigger::ALL.iter().map(|(_, trigger)| *trigger).collect()),
        redact: fields.read("redact", FieldReader::bool).unwrap_or(true),
    })
}
