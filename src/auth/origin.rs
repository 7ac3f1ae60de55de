//! Which page sends a request. A browser sends a person's password or cookie, and reaches this machine, for whatever page asks
//! it to; programs say no origin.

use std::net::IpAddr;

use axum::http::{HeaderMap, Method, header};

/// The header by which the gateway knows what came through the `ui`, which forwards for everybody who reaches it. It can only
/// make a request fail.
pub const THROUGH_UI: &str = "x-fastagency-ui";

/// The name that the browser knows us by. What only a proxy may say was dropped by the request filter, if no proxy said it.
pub fn host(headers: &HeaderMap) -> String {
    // Each proxy adds the name that it was called by: the first one is the browser's.
    let forwarded = text(headers, "x-forwarded-host").and_then(|hosts| hosts.split(',').next()).map(str::trim);
    forwarded.or_else(|| text(headers, "host")).unwrap_or_default().to_ascii_lowercase()
}

/// Refuses what a page of another origin sends, unless it only reads (what it reads its browser keeps from it) or the origin
/// is named. The error is the origin.
pub fn check(method: &Method, headers: &HeaderMap, named: &[String]) -> Result<(), String> {
    let only_reads =
        matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) && !headers.contains_key(header::UPGRADE);
    if only_reads {
        return Ok(());
    }
    match text(headers, "origin").map(str::to_ascii_lowercase) {
        Some(origin) if is_from(&origin, headers) || named.contains(&origin) => Ok(()),
        Some(origin) => Err(origin),
        None => match text(headers, "sec-fetch-site") {
            None | Some("same-origin" | "none") => Ok(()),
            Some(_) => Err("another origin".to_owned()),
        },
    }
}

/// Whether a browser says that a page of another origin wants to have something read to it. That page is not told what it
/// says, but it can have it read as often as it likes.
pub fn reads_for_another(headers: &HeaderMap, named: &[String]) -> bool {
    let is_named = || text(headers, "origin").is_some_and(|origin| named.contains(&origin.to_ascii_lowercase()));
    matches!(text(headers, "sec-fetch-site"), Some("cross-site" | "same-site")) && !is_named()
}

/// Whether a page is ours. Where a proxy says that we are reached over TLS, one without is not: anybody in between writes it.
fn is_from(origin: &str, headers: &HeaderMap) -> bool {
    let host = host(headers);
    let proto = text(headers, "x-forwarded-proto").and_then(|protos| protos.split(',').next()).map(str::trim);
    let is_downgraded = proto.is_some_and(|proto| proto.eq_ignore_ascii_case("https")) && origin.starts_with("http:");
    !host.is_empty() && host_of(origin) == host && !is_downgraded
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The host and port of an origin.
pub fn host_of(origin: &str) -> &str {
    origin.split_once("://").map_or("", |(_, host)| host)
}

/// Whether a host, with or without a port, is this machine whoever asks.
pub fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.is_empty()
        || name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_page_without_tls_is_not_ours_where_we_are_reached_over_tls() {
        let post = |proto: Option<&'static str>, origin: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("chat.example"));
            headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            if let Some(proto) = proto {
                headers.insert("x-forwarded-proto", HeaderValue::from_static(proto));
            }
            check(&Method::POST, &headers, &[]).is_ok()
        };
        assert!(post(None, "http://chat.example") && post(Some("http"), "http://chat.example"));
        assert!(post(Some("https"), "https://chat.example"));
        assert!(!post(Some("https"), "http://chat.example") && !post(Some("https, http"), "http://chat.example"));
    }
}
