//! The secrets of `secrets:`: requests may hold them, and nothing else does. A server that sends one back has it taken out of its answer.

use std::collections::BTreeMap;

use secrecy::ExposeSecret;
use serde_json::{Map, Value};

use super::addresses::AddressRules;
use crate::config::SecretConfig;

/// Shorter ones are no secrets that a text could be searched for: `abc` stands in many words.
const SHORTEST_HIDDEN: usize = 6;

/// Secrets by name.
#[derive(Debug, Default)]
pub struct Secrets(BTreeMap<String, SecretConfig>);

impl Secrets {
    /// Those with these names.
    pub fn new(secrets: BTreeMap<String, SecretConfig>) -> Self {
        Self(secrets)
    }

    /// Those that are for this host, for the templates of a request to it that is sent now. Kept nowhere.
    pub fn for_host(&self, host: &str) -> Value {
        let fitting = self.0.iter().filter(|(_, secret)| is_for(secret, host));
        let each = fitting.map(|(name, secret)| (name.clone(), secret.value.expose_secret().into()));
        Value::Object(each.collect::<Map<String, Value>>())
    }

    /// Why a request to this host may not hold this secret; none: it may.
    pub fn refuses(&self, name: &str, host: &str) -> Option<String> {
        match self.0.get(name) {
            None => Some(format!("there is no secret {name:?} (fastagency.yaml: secrets)")),
            Some(secret) if is_for(secret, host) => None,
            Some(secret) => {
                Some(format!("the secret {name:?} is for {} alone, and would go to {host}", secret.hosts.join(", ")))
            }
        }
    }

    /// A text in which each secret is replaced by its name.
    pub fn hidden(&self, text: &str) -> String {
        let secrets = self.0.iter().map(|(name, secret)| (name, secret.value.expose_secret()));
        secrets.filter(|(_, secret)| secret.len() >= SHORTEST_HIDDEN).fold(text.to_owned(), |text, (name, secret)| {
            match text.contains(secret) {
                true => text.replace(secret, &format!("[secret {name}]")),
                false => text,
            }
        })
    }

    /// The same in every text of a value, names of fields included.
    pub fn hidden_in(&self, value: Value) -> Value {
        match value {
            _ if self.0.is_empty() => value,
            Value::String(text) => Value::String(self.hidden(&text)),
            Value::Array(items) => items.into_iter().map(|item| self.hidden_in(item)).collect(),
            Value::Object(fields) => {
                fields.into_iter().map(|(name, value)| (self.hidden(&name), self.hidden_in(value))).collect()
            }
            other => other,
        }
    }
}

/// Whether a secret may be sent to a host. A workflow is written by others than who keeps the secret, and a worker executes workflows
/// that other workers have announced.
fn is_for(secret: &SecretConfig, host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    let rules = AddressRules::new(&secret.hosts);
    rules.allows_name(host) || host.parse().is_ok_and(|address| rules.names(address))
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_server_sends_back_holds_no_secret() {
        let secret = |value: &str, hosts: &[&str]| SecretConfig {
            value: SecretString::from(value),
            hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
        };
        let secrets = Secrets::new(BTreeMap::from([
            ("billing".to_owned(), secret("k-12345678", &["billing.example.com", "10.0.0.1"])),
            ("short".to_owned(), secret("ab", &["*.example.com"])),
        ]));
        let echoed = json!({"headers": {"k-12345678": "Bearer k-12345678"}, "list": ["about", 7, null]});
        let hidden = json!({"headers": {"[secret billing]": "Bearer [secret billing]"}, "list": ["about", 7, null]});
        assert_eq!(secrets.hidden_in(echoed), hidden);
        assert!(!format!("{secrets:?}").contains("k-1234"));
        assert_eq!(secrets.for_host("billing.example.com"), json!({"billing": "k-12345678", "short": "ab"}));
        assert_eq!(secrets.for_host("other.example.com"), json!({"short": "ab"}));
        assert_eq!(secrets.for_host("10.0.0.1"), json!({"billing": "k-12345678"}));
        for host in ["billing.example.com.evil.example", "evil.example", "93.184.215.14", "[::1]", "10.0.0.2"] {
            assert_eq!(secrets.for_host(host), json!({}), "{host}");
        }
        let why = secrets.refuses("billing", "evil.example").unwrap();
        assert_eq!(
            why,
            "the secret \"billing\" is for billing.example.com, 10.0.0.1 alone, and would go to evil.example"
        );
        assert!(secrets.refuses("biling", "billing.example.com").is_some_and(|why| why.contains("there is no secret")));
        assert_eq!(secrets.refuses("billing", "billing.example.com"), None);
    }
}
