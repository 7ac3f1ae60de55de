//! What a message about a configuration must not show: the values of keys that hold secrets, and logins in addresses. It goes
//! by the keys' names, so that a secret under a misspelt key, or in a file that is no YAML, is not shown either.

use super::{MapEntry, NodeContent, YamlNode};
use crate::problem::did_you_mean;

/// Keys that hold secrets.
const SECRET: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "secret",
    "client_secret",
    "token",
    "access_token",
    "auth_token",
    "api_key",
    "apikey",
    "key",
    "private_key",
    "seal_key",
    "signing_key",
    "session_key",
    "signing_key",
    "authorization",
    "credentials",
    "nkey_seed",
];
/// Keys that are near to those and hold none.
const PUBLIC_KEYS: &[&str] = &["tokens", "public_key", "prompt_cache_key", "nats", "keys"];
/// Keys whose map holds secrets under any key.
const SECRET_MAPS: &[&str] = &["headers", "env", NAMED_SECRETS];
/// What is no secret in the `oauth` of a named one.
const PUBLIC_IN_OAUTH: &[&str] = &[
    "flow",
    "client_auth",
    "scopes",
    "token_url",
    "issuer",
    "authorization_url",
    "device_url",
    "revocation_url",
    "redirect_url",
];
/// The key whose map holds secrets with names, each with its hosts.
const NAMED_SECRETS: &str = "secrets";
/// A shorter text, in bytes, is not looked for in messages: it may be a word of theirs, whose absence would tell it.
const SHORTEST_SECRET: usize = 8;
/// What `token` may be a map of, in one of its places.
const IN_TOKEN: &[&str] = &["secret", "lifetime"];
/// What stands in the place of a secret.
const HIDDEN: &str = "…";

/// Whether the value of a key is a secret.
pub fn is_secret(key: &str) -> bool {
    let key = key.to_lowercase().replace('-', "_");
    if PUBLIC_KEYS.contains(&key.as_str()) || key.ends_with("_file") || key.ends_with("_command") {
        return false;
    }
    let ends = ["password", "secret", "_key", "_token", "credentials", "authorization"];
    // Of short words too many others are near.
    let long = SECRET.iter().copied().filter(|secret| secret.len() > 4);
    SECRET.contains(&key.as_str()) || ends.iter().any(|end| key.ends_with(end)) || did_you_mean(&key, long).is_some()
}

/// Whether what stands at a path is a secret.
pub fn is_secret_path(path: &str) -> bool {
    let mut parts = path.split('.').map(|part| part.split('[').next().unwrap_or(part)).rev();
    let last = parts.next().unwrap_or_default();
    let map = parts.next();
    // `secrets: { name: { value: … } }`: of a named secret only the hosts are none.
    let is_named = parts.next().is_some_and(|map| map == NAMED_SECRETS) && last != "hosts";
    is_secret(last) || map.is_some_and(|map| SECRET_MAPS.contains(&map)) || is_named
}

/// The texts in a file that are secrets.
pub fn texts(root: &YamlNode) -> Vec<String> {
    fn gather(node: &YamlNode, is_secret_here: bool, found: &mut Vec<String>) {
        match &node.content {
            NodeContent::Scalar(scalar) if is_secret_here && scalar.text.len() >= SHORTEST_SECRET => {
                found.push(scalar.text.clone());
            }
            NodeContent::Scalar(_) => {}
            NodeContent::List(items) => items.iter().for_each(|item| gather(item, is_secret_here, found)),
            NodeContent::Map(entries) => {
                for entry in entries {
                    // `token: { secret: …, lifetime: … }`: what is in a map has keys of its own.
                    let is_map = matches!(entry.value.content, NodeContent::Map(_));
                    if entry.key == NAMED_SECRETS {
                        let named = entry.value.values().flat_map(|named| in_named(named));
                        named.for_each(|value| gather(value, true, found));
                        continue;
                    }
                    let in_secrets = SECRET_MAPS.contains(&entry.key.as_str());
                    let secret = in_secrets || is_secret_here && !is_map || is_secret(&entry.key) && !is_map;
                    gather(&entry.value, secret, found);
                }
            }
        }
    }
    /// What may be a secret of a named one. A value from outside may be one wherever it stands.
    fn in_named(named: &YamlNode) -> Vec<&YamlNode> {
        let NodeContent::Map(fields) = &named.content else { return vec![named] };
        let is_public = |field: &MapEntry| match field.key.as_str() {
            "hosts" | "refresh" => true,
            "tools" => matches!(field.value.content, NodeContent::Map(_)),
            _ => false,
        };
        let fields = fields.iter().filter(|field| !is_public(field));
        let within = fields.flat_map(|field| match &field.value.content {
            NodeContent::Map(inner) if field.key == "oauth" => {
                let is_public = |value: &YamlNode| match &value.content {
                    NodeContent::Scalar(scalar) => !scalar.substituted,
                    _ => true,
                };
                let hidden = inner
                    .iter()
                    .filter(|entry| !(PUBLIC_IN_OAUTH.contains(&entry.key.as_str()) && is_public(&entry.value)));
                hidden.map(|entry| &entry.value).collect()
            }
            _ => vec![&field.value],
        });
        within.collect()
    }
    let mut found = Vec::new();
    gather(root, false, &mut found);
    found
}

/// A message without these texts, and without logins in addresses.
pub fn without(message: &str, texts: &[String]) -> String {
    let mut message = message.to_owned();
    for text in texts {
        let escaped = text.escape_debug().to_string();
        for text in [text.as_str(), escaped.as_str()] {
            if message.contains(text) {
                message = message.replace(text, HIDDEN);
            }
        }
    }
    without_logins(&message)
}

/// A text in which no address has a login: `https://user:password@host` becomes `https://…@host`.
pub fn without_logins(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("//") {
        let (before, after) = rest.split_at(at + 2);
        shown.push_str(before);
        let end = after.find(|c: char| c.is_whitespace() || "/?#\"'`,<>".contains(c)).unwrap_or(after.len());
        rest = match after[..end].rfind('@') {
            Some(at) => {
                shown.push_str(HIDDEN);
                &after[at..]
            }
            None => after,
        };
    }
    shown.push_str(rest);
    shown
}

/// The lines of a file as they may be shown.
pub fn hidden_lines(text: &str) -> Vec<String> {
    // How far the line is indented whose secret the next lines may belong to; whether any key there holds one.
    let mut inside: Option<(usize, bool)> = None;
    let mut lines = Vec::new();
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        if line.trim().is_empty() {
            lines.push(line.to_owned());
            continue;
        }
        let begins_anew = keys_of(line).next().is_some() || line.trim_start().starts_with(['-', '#']);
        if inside.is_some_and(|(outer, _)| indent <= outer && begins_anew) {
            inside = None;
        }
        let any_key = matches!(inside, Some((_, true)));
        let (shown, has_key) = hidden_line(line, any_key);
        lines.push(match inside {
            // The rest of a text that goes over several lines, or of what stands there instead of one.
            Some((_, is_map))
                if !(line.trim_start().starts_with('#') || begins_as_token(line) || has_key && is_map) =>
            {
                format!("{}{HIDDEN}", " ".repeat(indent))
            }
            _ => without_logins(&shown),
        });
        if inside.is_some() {
            continue;
        }
        if let Some(key) = keys_of(line).map(|(_, key)| key).rfind(|key| is_secret(key) || SECRET_MAPS.contains(key)) {
            inside = Some((indent, SECRET_MAPS.contains(&key)));
        }
    }
    lines
}

/// One line with what follows a secret's key hidden, and whether it has a key at all.
fn hidden_line(line: &str, any_key: bool) -> (String, bool) {
    let mut has_key = false;
    for (end, key) in keys_of(line) {
        has_key = true;
        let value = line[end..].trim_start();
        let holds = any_key || is_secret(key) || SECRET_MAPS.contains(&key);
        // A map says of each of its keys what it is; a variable is no secret, only its value.
        let is_open = value.is_empty()
            || value.starts_with('#')
            || key == "token" && value.strip_prefix('{').is_some_and(begins_as_token)
            || is_variable(value);
        if holds && !is_open {
            let gap = line[end..].len() - value.len();
            return (format!("{}{HIDDEN}", &line[..end + gap]), true);
        }
    }
    (line.to_owned(), has_key)
}

/// Whether a map begins as that of `auth.token` does.
fn begins_as_token(map: &str) -> bool {
    keys_of(map).next().is_some_and(|(_, key)| IN_TOKEN.contains(&key) && map.trim_start().starts_with(key))
}

/// Whether a value is nothing but `${NAME}` or `${file:path}`.
fn is_variable(value: &str) -> bool {
    let value = value.trim_end_matches([' ', '}', ',', ']']).trim_matches(['"', '\'']);
    let Some(inner) = value.strip_prefix("${") else { return false };
    let inner = inner.trim_end_matches(['}', '"', '\'']);
    !inner.contains(":-") && inner.chars().all(|c| c.is_ascii_alphanumeric() || "_:/.-".contains(c))
}

/// The keys in a line, each with where what follows it begins.
fn keys_of(line: &str) -> impl DoubleEndedIterator<Item = (usize, &str)> {
    let ends = line.match_indices(':').filter(|(at, _)| {
        let after = &line[at + 1..];
        after.is_empty() || after.starts_with([' ', '\t']) || line[..*at].ends_with(['"', '\''])
    });
    ends.filter_map(|(at, _)| {
        let before = line[..at].trim_end_matches(['"', '\'', ' ']);
        let begin = before
            .rfind(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-'))
            .map_or(0, |found| found + before[found..].chars().next().map_or(1, char::len_utf8));
        let key = &before[begin..];
        (!key.is_empty()).then_some((at + 1, key))
    })
    .collect::<Vec<_>>()
    .into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_shows_no_secret_however_it_is_written() {
        for (line, shown) in [
            ("  password: hunter22", "  password: …"),
            ("nats: { user: me, password: hunter22 }", "nats: { user: me, password: …"),
            ("  \"password\": \"hunter22", "  \"password\": …"),
            ("  pasword: hunter22", "  pasword: …"),
            ("  api-key: sk-1", "  api-key: …"),
            ("  session_key: [1, 2]", "  session_key: …"),
            ("  headers: { x-any: hunter22 }", "  headers: …"),
            ("  password: ${NATS_PASSWORD}", "  password: ${NATS_PASSWORD}"),
            ("  password: ${NATS_PASSWORD:-hunter22}", "  password: …"),
            ("  url: nats://me:hunter22@host:4222", "  url: nats://…@host:4222"),
            ("  max_tokens: three", "  max_tokens: three"),
            ("  token_file: 3", "  token_file: 3"),
            ("token: { secret: hunter22, lifetime: 3 }", "token: { secret: …"),
        ] {
            assert_eq!(hidden_lines(line), [shown], "{line}");
        }
    }

    #[test]
    fn a_secret_over_several_lines_is_hidden_to_its_end() {
        let text = "a: 1\nseal_key: |\n  hunter22\n  hunter23\nauth:\n  token:\n    lifetime: 3\n    secret:\n      hunter24\n  mode: x\notlp:\n  headers:\n    x-any: hunter25\nb: 2\n";
        let shown = hidden_lines(text).join("\n");
        assert!(!shown.contains("hunter2"), "{shown}");
        for kept in ["a: 1", "lifetime: 3", "mode: x", "x-any:", "b: 2"] {
            assert!(shown.contains(kept), "{kept} in {shown}");
        }
    }

    #[test]
    fn an_address_is_shown_without_its_login() {
        assert_eq!(without_logins("at https://a:b@c/d and nats://x"), "at https://…@c/d and nats://x");
        assert_eq!(without_logins("\"postgres://a:p@q@host\""), "\"postgres://…@host\"");
        assert_eq!(without_logins("see https://host/@me"), "see https://host/@me");
    }
}
