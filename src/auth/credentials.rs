//! What a request shows of who sends it: a password, a key or a token, or a header that a proxy has set.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderValue, header};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::caller::{AuthDenial, Caller};
use crate::config;
use crate::ids::UserId;

/// What a key begins with, so that people and scanners know what they have found.
pub const KEY_PREFIX: &str = "fak_";

/// What somebody proves with who they are.
pub(super) enum CallerCredentials {
    Password { user: String, password: String },
    Bearer(String),
}

pub(super) fn credentials(headers: &HeaderMap) -> Result<CallerCredentials, AuthDenial> {
    let wrong = |why: &str| AuthDenial::Wrong { why: why.to_owned() };
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => {
            // FastAPI's own way of sending a key.
            let key = headers.get("x-api-key").ok_or(AuthDenial::Unknown)?;
            return key.to_str().map(|key| CallerCredentials::Bearer(key.to_owned())).map_err(|_| wrong("an odd key"));
        }
        (Some(value), None) => value.to_str().map_err(|_| wrong("an odd authorization"))?,
        (Some(_), Some(_)) => return Err(wrong("two authorizations")),
    };
    let (scheme, rest) = value.split_once(' ').ok_or_else(|| wrong("an odd authorization"))?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(CallerCredentials::Bearer(rest.to_owned()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(wrong("a scheme that is not known"));
    }
    let plain = BASE64_STANDARD.decode(rest).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    match plain.as_deref().and_then(|plain| plain.split_once(':')) {
        Some((user, password)) => {
            Ok(CallerCredentials::Password { user: user.to_owned(), password: password.to_owned() })
        }
        None => Err(wrong("an odd user and password")),
    }
}

/// The user that a proxy names. From anywhere else the header is a lie, and says so loudly.
pub(super) fn from_header(
    trusted: &config::TrustedHeaderConfig,
    headers: &HeaderMap,
    address: IpAddr,
) -> Result<Option<Caller>, AuthDenial> {
    let mut values = headers.get_all(&trusted.user).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let is_one = |name: &String| headers.get_all(name).iter().count() <= 1;
    if !is_one(&trusted.user) || !trusted.groups.as_ref().is_none_or(is_one) {
        // One of them is the caller's own, which the proxy should have replaced.
        return Err(AuthDenial::Wrong { why: format!("{} came more than once", trusted.user) });
    }
    if !trusted.from.iter().any(|network| network.contains(&address.to_canonical())) {
        return Err(AuthDenial::Wrong {
            why: format!("{} came from {address}, which is no trusted proxy", trusted.user),
        });
    }
    // Proxies write names as they are, in UTF-8, also those that are not of ASCII alone.
    let text = |value: &HeaderValue| Some(str::from_utf8(value.as_bytes()).ok()?.trim().to_owned());
    let user = text(value).and_then(UserId::new);
    let user = user.ok_or_else(|| AuthDenial::Wrong { why: format!("{} holds no name", trusted.user) })?;
    let groups = trusted.groups.as_ref().and_then(|name| headers.get(name)).and_then(text);
    let groups = groups.unwrap_or_default();
    let groups = groups.split(',').map(str::trim).filter(|group| !group.is_empty());
    Ok(Some(Caller::new(user, groups.map(str::to_owned).collect())))
}

/// A new key and its digest.
pub fn new_key() -> (String, String) {
    let key = format!("{KEY_PREFIX}{}", crate::ids::hex(&rand::random::<[u8; 24]>()));
    let digest = key_digest(&key);
    (key, digest)
}

/// What the file of users and keys has instead of a key.
pub(super) fn key_digest(key: &str) -> String {
    use sha2::Digest;
    crate::ids::hex(&sha2::Sha256::digest(key.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_may_name_a_user_in_any_language() {
        let trusted = config::TrustedHeaderConfig {
            user: "x-user".to_owned(),
            groups: Some("x-groups".to_owned()),
            from: vec!["127.0.0.1/32".parse().unwrap()],
        };
        let named = |user: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert("x-user", HeaderValue::from_bytes(user).unwrap());
            headers.insert("x-groups", HeaderValue::from_bytes("Einkauf, Verk\u{e4}ufer".as_bytes()).unwrap());
            from_header(&trusted, &headers, IpAddr::from([127, 0, 0, 1]))
        };
        for name in ["ann", "Andr\u{e9}", "\u{d64d}\u{ae38}\u{b3d9}"] {
            let caller = named(name.as_bytes()).unwrap().unwrap();
            assert_eq!(caller.user.unwrap().as_str(), name);
            assert_eq!(caller.groups, ["Einkauf", "Verk\u{e4}ufer"]);
        }
        // Latin-1, in which the same bytes may be another name.
        assert!(matches!(named(b"Andr\xe9"), Err(AuthDenial::Wrong { .. })));
    }
}
