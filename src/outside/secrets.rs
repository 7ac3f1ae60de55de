//! The secrets of `secrets:`: requests may hold them, and nothing else does. A server that sends one back has it taken out of its answer.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use super::addresses::AddressRules;
use super::encoding::encoded_query;
use crate::config::SecretConfig;

/// Shorter ones are no secrets that a text could be searched for: `abc` stands in many words.
const SHORTEST_HIDDEN: usize = 6;

/// Secrets by name.
#[derive(Debug, Default)]
pub struct Secrets {
    secrets: BTreeMap<String, SecretConfig>,
    /// Each in the forms in which a server sends it back, with its name; the longest first.
    forms: Vec<(SecretString, String)>,
}

impl Secrets {
    /// Those with these names.
    pub fn new(secrets: BTreeMap<String, SecretConfig>) -> Self {
        let mut forms: Vec<(SecretString, String)> = Vec::new();
        for (name, secret) in &secrets {
            let Some(plain) = secret.value.as_ref().map(ExposeSecret::expose_secret) else { continue };
            if plain.len() < SHORTEST_HIDDEN {
                continue;
            }
            let quoted = Value::String(plain.to_owned()).to_string();
            let mut all = vec![
                plain.to_owned(),
                quoted[1..quoted.len() - 1].to_owned(),
                encoded_query(plain),
                form_urlencoded::byte_serialize(plain.as_bytes()).collect(),
            ];
            all.sort();
            all.dedup();
            forms.extend(all.into_iter().map(|form| (form.into(), name.clone())));
        }
        forms.sort_by_key(|(form, _)| std::cmp::Reverse(form.expose_secret().len()));
        Self { secrets, forms }
    }

    /// The length of the longest, in any form.
    pub fn longest(&self) -> usize {
        self.forms.first().map_or(0, |(form, _)| form.expose_secret().len())
    }

    /// Those that are for this host, for the templates of a request to it that is sent now. Kept nowhere.
    pub fn for_host(&self, host: &str) -> Value {
        let fitting = self.secrets.iter().filter(|(_, secret)| is_for(secret, host));
        let each =
            fitting.filter_map(|(name, secret)| Some((name.clone(), secret.value.as_ref()?.expose_secret().into())));
        Value::Object(each.collect::<Map<String, Value>>())
    }

    /// Why a request to this host may not hold this secret; none: it may.
    pub fn refuses(&self, name: &str, host: &str) -> Option<String> {
        match self.secrets.get(name) {
            Some(SecretConfig { value: None, .. }) => {
                Some(format!("the secret {name:?} has no value: the variable that it comes from is not set"))
            }
            None => Some(format!("there is no secret {name:?} (fastagency.yaml: secrets)")),
            Some(secret) if is_for(secret, host) => None,
            Some(secret) => {
                Some(format!("the secret {name:?} is for {} alone, and would go to {host}", secret.hosts.join(", ")))
            }
        }
    }

    /// A text in which each secret is replaced by its name.
    pub fn hidden(&self, text: &str) -> String {
        self.forms.iter().fold(text.to_owned(), |text, (form, name)| match text.contains(form.expose_secret()) {
            true => text.replace(form.expose_secret(), &format!("[secret {name}]")),
            false => text,
        })
    }

    /// The same in every text of a value, names of fields included.
    pub fn hidden_in(&self, value: Value) -> Value {
        match value {
            _ if self.secrets.is_empty() => value,
            Value::String(text) => Value::String(self.hidden(&text)),
            Value::Array(items) => items.into_iter().map(|item| self.hidden_in(item)).collect(),
            Value::Object(fields) => {
                fields.into_iter().map(|(name, value)| (self.hidden(&name), self.hidden_in(value))).collect()
            }
            Value::Number(number) => match self.hidden(number.as_str()) {
                hidden if hidden == number.as_str() => Value::Number(number),
                hidden => Value::String(hidden),
            },
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
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_server_sends_back_holds_no_secret() {
        let secret = |value: &str, hosts: &[&str]| SecretConfig {
            value: Some(SecretString::from(value)),
            hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
        };
        let secrets = Secrets::new(BTreeMap::from([
            ("billing".to_owned(), secret("k-12345678", &["billing.example.com", "10.0.0.1"])),
            ("short".to_owned(), secret("ab", &["*.example.com"])),
            ("odd".to_owned(), secret("a/b+c\"d e", &["odd.example"])),
            ("unset".to_owned(), SecretConfig { value: None, hosts: vec!["odd.example".to_owned()] }),
        ]));
        for form in ["a/b+c\"d e", "a%2Fb%2Bc%22d%20e", "a%2Fb%2Bc%22d+e", "a/b+c\\\"d e"] {
            assert_eq!(secrets.hidden(&format!("<{form}>")), "<[secret odd]>", "{form}");
        }
        assert!(secrets.refuses("unset", "odd.example").is_some_and(|why| why.contains("is not set")));
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
