//! Arguments that models do not see: `inject` of a tool. A value is data whose texts are templates, or one of `secrets:` in
//! `fastagency.yaml`, which only what is called gets: `api_key: { secret: billing }`.

use std::collections::BTreeSet;

use super::address::args_in;
use super::{AddressPart, DataTemplate};
use crate::problem::Problem;
use crate::yaml::FieldReader;

/// Arguments that models do not see.
#[derive(Debug, Clone, Default)]
pub struct InjectedArguments {
    /// Those that the workflow makes.
    pub data: Vec<(String, DataTemplate)>,
    /// Those that are secrets.
    pub secrets: Vec<InjectedSecret>,
}

/// An argument that is a secret.
#[derive(Debug, Clone)]
pub struct InjectedSecret {
    /// The argument.
    pub argument: String,
    /// The secret, by its name in `secrets:`.
    pub secret: String,
    /// A problem at its place; the message is to be filled in.
    pub problem: Problem,
}

/// Who gets a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretReceiver {
    /// A server.
    Host(String),
    /// The server of a specification, which is known when it is called.
    Api,
    /// A program of `commands:`.
    Command(String),
    /// A Python file.
    Python(String),
    /// A server of `mcp:`.
    Mcp(String),
    /// The services on a subject; `*` stands for a value.
    Nats(String),
}

impl SecretReceiver {
    /// What a secret says in `fastagency.yaml` to be for it.
    pub fn permission(&self) -> String {
        match self {
            Self::Host(host) => format!("hosts: [{host}]"),
            Self::Api => "hosts: [HOST OF THE API]".to_owned(),
            Self::Command(command) => format!("tools: {{ command: [{command}] }}"),
            Self::Python(file) => format!("tools: {{ python: [{file}] }}"),
            Self::Mcp(server) => format!("tools: {{ mcp: [{server}] }}"),
            Self::Nats(subject) => format!("tools: {{ nats: [\"{subject}\"] }}"),
        }
    }

    /// A subject with `*` for each word that has a value in it.
    pub(super) fn of_subject(parts: &[AddressPart]) -> Self {
        let piece = |part: &AddressPart| match part {
            AddressPart::Text(text) => text.clone(),
            AddressPart::Value(_) => "*".to_owned(),
        };
        let subject: String = parts.iter().map(piece).collect();
        let word = |word: &str| if word.contains('*') { "*".to_owned() } else { word.to_owned() };
        Self::Nats(subject.split('.').map(word).collect::<Vec<_>>().join("."))
    }
}

impl std::fmt::Display for SecretReceiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Host(host) => write!(f, "the host {host}"),
            Self::Api => f.write_str("the server of a specification"),
            Self::Command(command) => write!(f, "the command {command:?}"),
            Self::Python(file) => write!(f, "the Python file {file:?}"),
            Self::Mcp(server) => write!(f, "the MCP server {server:?}"),
            Self::Nats(subject) => write!(f, "the subject {subject:?}"),
        }
    }
}

impl InjectedArguments {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty() && self.secrets.is_empty()
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.data.iter().map(|(name, _)| name.as_str()).chain(self.secrets.iter().map(|one| one.argument.as_str()))
    }

    /// Those with names that a tool takes.
    pub(super) fn taken(&self, takes: impl Fn(&str) -> bool) -> Self {
        let mut taken = self.clone();
        taken.data.retain(|(name, _)| takes(name));
        taken.secrets.retain(|one| takes(&one.argument));
        taken
    }

    /// Says which secrets would stand in an address.
    pub(super) fn refuse_in(&self, parts: &[AddressPart], field: &FieldReader<'_>) {
        let named = args_in(parts);
        self.refuse(field, |argument| named.contains(argument));
    }

    /// Says which secrets would go along into the query, as nothing names them.
    pub(super) fn refuse_along(&self, named: &BTreeSet<&str>, field: &FieldReader<'_>) {
        self.refuse(field, |argument| !named.contains(argument));
    }

    fn refuse(&self, field: &FieldReader<'_>, is_in_the_address: impl Fn(&str) -> bool) {
        for one in self.secrets.iter().filter(|one| is_in_the_address(&one.argument)) {
            let hint = "addresses and subjects stand in logs: send it in a header, or in the body";
            field.note_with_hint(format!("the secret {:?} would stand in the address", one.secret), hint);
        }
    }
}
