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
        Some(origin) if is_from(&origin, &host(headers)) || named.contains(&origin) => Ok(()),
        Some(origin) => Err(origin),
        None => match text(headers, "sec-fetch-site") {
            None | Some("same-origin" | "none") => Ok(()),
            Some(_) => Err("another origin".to_owned()),
        },
    }
}

fn is_from(origin: &str, host: &str) -> bool {
    !host.is_empty() && host_of(origin) == host
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
