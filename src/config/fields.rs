//! Values that several sections have: addresses, paths, secrets, keys, and what is not set.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

use crate::signing::PublicKey;
use crate::yaml::{FieldReader, MapReader, NodeContent, YamlNode};

pub(super) fn base_url(field: &FieldReader<'_>) -> Option<String> {
    let url = field.text()?;
    let fits =
        ["http://", "https://"].iter().any(|scheme| url.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()));
    if fits && !url.contains(char::is_whitespace) {
        Some(url.trim_end_matches('/').to_owned())
    } else {
        field.is_not("an address like https://api.openai.com/v1")
    }
}

/// A path, which is relative to the folder of the file.
pub(super) fn path(fields: &MapReader<'_>, key: &'static str, folder: &Path) -> Option<PathBuf> {
    let path = fields.read(key, FieldReader::text)?;
    if path.is_empty() {
        fields.get(key)?.note("a path is missing");
    }
    Some(folder.join(path))
}

pub(super) fn host(field: &FieldReader<'_>) -> Option<IpAddr> {
    match field.text()? {
        "localhost" => Some(Ipv4Addr::LOCALHOST.into()),
        text => text.parse().ok().or_else(|| field.is_not("an IP address like 127.0.0.1 or 0.0.0.0")),
    }
}

pub(super) fn port(field: &FieldReader<'_>) -> Option<u16> {
    let number: u64 = field.whole(0)?;
    match u16::try_from(number) {
        Ok(port) if port > 0 => Some(port),
        _ => field.is_not("a port (1 to 65535)"),
    }
}

/// 0 turns a limit off.
pub(super) fn none_of_zero<T: Default + PartialEq>(limit: T) -> Option<T> {
    Some(limit).filter(|limit| *limit != T::default())
}

/// The keys of those whose workflows are trusted: one at least, as none would mean everybody's.
pub(super) fn definition_keys(field: &FieldReader<'_>) -> Option<Vec<PublicKey>> {
    let key = |field: &FieldReader<'_>| match PublicKey::parse(field.text()?) {
        Some(key) => Some(key),
        None => field.is_not("a public key: a worker with a `definition_key` prints its own when it starts"),
    };
    let items = field.items()?;
    if items.is_empty() {
        return field.is_not("a list of public keys; leave it out to trust what any worker announces");
    }
    items.iter().map(key).collect()
}

/// A secret; an empty one is none.
pub(super) fn secret(fields: &MapReader<'_>, key: &'static str) -> Option<SecretString> {
    fields.read(key, FieldReader::text).filter(|text| !text.is_empty()).map(|text| text.to_owned().into())
}

/// The shortest secret that is not soon guessed: as long as the digest of the weakest algorithm (RFC 7518, 3.2).
pub(super) const SHORTEST_SECRET: usize = 32;

/// A secret that much hangs on.
pub(super) fn long_secret(fields: &MapReader<'_>, key: &'static str) -> Option<SecretString> {
    let found = secret(fields, key)?;
    if found.expose_secret().len() < SHORTEST_SECRET {
        // Not shown, and neither is its length.
        fields.get(key)?.note(format!("the secret is too short: at least {SHORTEST_SECRET} characters"));
        return None;
    }
    Some(found)
}

/// Secrets from before a change, the newest first: what was made with them is still read. Empty ones are none, so that a
/// variable may be left empty when nothing was changed.
pub(super) fn secrets(fields: &MapReader<'_>, key: &'static str) -> Vec<SecretString> {
    let one = |field: &FieldReader<'_>| field.text().filter(|text| !text.is_empty()).map(|text| text.to_owned().into());
    fields.read(key, |field| Some(field.items()?.iter().filter_map(one).collect())).unwrap_or_default()
}

pub(super) fn is_empty(field: &FieldReader<'_>) -> bool {
    field.scalar().is_some_and(|scalar| scalar.text.is_empty() && scalar.missing.is_none())
}

/// What is not set in a node, but for some keys of it.
pub(super) fn unset_in<'n>(node: &'n YamlNode, but: &[&str]) -> Vec<(&'n YamlNode, String)> {
    let missing = |node: &'n YamlNode| {
        let scalars = node.scalars().into_iter();
        scalars.filter_map(|(node, scalar)| Some((node, scalar.missing.clone()?))).collect::<Vec<_>>()
    };
    match &node.content {
        NodeContent::Map(entries) => entries
            .iter()
            .filter(|entry| !but.contains(&entry.key.as_str()))
            .flat_map(|entry| missing(&entry.value))
            .collect(),
        _ => missing(node),
    }
}
