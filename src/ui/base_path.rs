//! The path that the page is below, where `ui.public_url` has one (`https://example.com/agents`). All that the page sends is relative to
//! its own addresses, so a proxy may remove that path; where a proxy leaves it, it is removed here.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::Uri;
use axum::http::uri::PathAndQuery;
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use sha2::Digest;

/// The path without a slash at its end, like `/agents`; empty where the page is at the root.
#[derive(Debug, Clone)]
pub struct BasePath(Arc<str>);

impl BasePath {
    /// The path of a `public_url`, which the configuration has checked.
    pub fn of(public_url: Option<&str>) -> Self {
        let rest = public_url.and_then(|url| url.split_once("://")).map_or("", |(_, rest)| rest);
        Self(rest.find('/').map_or("", |at| rest[at..].trim_end_matches('/')).into())
    }

    /// Whether the page is at the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The path with a slash at its end: what cookies are for.
    pub fn folder(&self) -> String {
        format!("{}/", self.0)
    }

    /// What stands behind the names of cookies: two systems below one host must not take each other's. A path has letters that names
    /// may not have.
    pub fn cookie_suffix(&self) -> String {
        if self.is_root() {
            return String::new();
        }
        format!("-{}", crate::ids::hex(&sha2::Sha256::digest(self.0.as_bytes())[..4]))
    }

    /// The page's own path in a path that comes with this one before it. `None`: it comes without, as from a proxy that has removed
    /// it. A page below `/ui` has both `/ui/ui/logo` and, from such a proxy, `/ui/logo`: what is behind must be one of its own.
    fn own<'p>(&self, path: &'p str) -> Option<&'p str> {
        let own = path.strip_prefix(&*self.0).filter(|own| own.starts_with('/'))?;
        super::ROUTES.iter().any(|route| first_segment(route) == first_segment(own)).then_some(own)
    }
}

/// `runs` in `/runs/{id}`.
fn first_segment(path: &str) -> &str {
    path.trim_start_matches('/').split('/').next().unwrap_or_default()
}

/// Serves what comes with the path before it as if it came without, and leads from `/agents` to `/agents/`.
pub async fn serve_below(State(base): State<BasePath>, mut request: Request, next: Next) -> Response {
    let uri = request.uri();
    if uri.path() == &*base.0 {
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        return Redirect::temporary(&format!("{}{query}", base.folder())).into_response();
    }
    if let Some(uri) = base.own(uri.path()).and_then(|own| with_path(uri, own)) {
        *request.uri_mut() = uri;
    }
    next.run(request).await
}

fn with_path(uri: &Uri, path: &str) -> Option<Uri> {
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(format!("{path}{query}")).ok()?);
    Uri::from_parts(parts).ok()
}

/// Whether a path has dot segments, written out or not (WHATWG URL, 4.1): put behind the gateway's address they would name
/// something beside it.
pub fn leads_elsewhere(path: &str) -> bool {
    let segments = path.split(['/', '\\']);
    segments.map(|segment| segment.to_ascii_lowercase().replace("%2e", ".")).any(|plain| matches!(&*plain, "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_counts_with_and_without_what_is_before_it() {
        let below = |url: &'static str| move |path: &'static str| BasePath::of(Some(url)).own(path).map(str::to_owned);
        let agents = below("https://x.example:8443/agents");
        for (path, own) in [
            ("/agents/", Some("/")),
            ("/agents/runs/1", Some("/runs/1")),
            ("/agents/api/runs", Some("/api/runs")),
            ("/agents//fastagency/discovery", Some("//fastagency/discovery")),
            // From a proxy that has removed it, and what is nothing of ours.
            ("/", None),
            ("/api/runs", None),
            ("/agents", None),
            ("/agentsapi/runs", None),
            ("/agents%2fapi/runs", None),
            ("/agents/../api/runs", None),
            ("//agents/api/runs", None),
            ("/Agents/api/runs", None),
            ("/agents/agents/", None),
        ] {
            assert_eq!(agents(path).as_deref(), own, "{path}");
        }
        // A page below a name that the page has itself.
        let ours = below("https://x.example/fastagency");
        assert_eq!(ours("/fastagency/fastagency/ws").as_deref(), Some("/fastagency/ws"));
        assert_eq!(ours("/fastagency/runs/1").as_deref(), Some("/runs/1"));
        assert_eq!(ours("/fastagency/discovery"), None, "from a proxy that has removed the path");
        assert_eq!(below("https://x.example/a/b")("/a/b/inbox").as_deref(), Some("/inbox"));
    }

    #[test]
    fn the_configuration_refuses_each_path_that_would_mean_two_things() {
        let mut ours: Vec<&str> = super::super::ROUTES.iter().map(|route| first_segment(route)).collect();
        ours.sort_unstable();
        ours.dedup();
        // What is behind these is nothing of the page's own, so they mean one thing.
        ours.retain(|first| !["", "fastagency", "ui"].contains(first));
        assert_eq!(ours, crate::config::PATHS_OF_THE_PAGE);
    }

    #[test]
    fn cookies_of_two_paths_have_two_names() {
        let suffix = |url: Option<&str>| BasePath::of(url).cookie_suffix();
        assert_eq!((suffix(None), suffix(Some("https://x.example"))), (String::new(), String::new()));
        let (one, other) = (suffix(Some("https://x.example/agents")), suffix(Some("https://x.example/agents/b")));
        assert!(one.len() == 9 && other.len() == 9 && one != other, "{one} {other}");
        assert_eq!(BasePath::of(Some("https://x.example/agents")).folder(), "/agents/");
        assert_eq!(BasePath::of(None).folder(), "/");
    }

    #[test]
    fn a_path_with_dot_segments_is_not_passed_on() {
        for path in ["/api/../token", "/api/%2e%2E/x", "/api/.%2e/x", "/api/x/%2e", "/api/..\\x", "/api/./x"] {
            assert!(leads_elsewhere(path), "{path}");
        }
        for path in ["/api/runs", "/api/..x", "//fastagency/discovery", "/api/%252e%252e/x", "/api/a.b/..."] {
            assert!(!leads_elsewhere(path), "{path}");
        }
    }
}
