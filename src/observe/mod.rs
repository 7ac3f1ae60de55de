//! What operators see of a tier: around each HTTP request its metrics and its span ([`ObservedTier`]), and a listener of its
//! own for Prometheus and for whoever probes ([`monitor`]).

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;

use crate::metrics::{Tier, metrics};
use crate::traces::{self, KeyValue, Kind, SpanParent, TraceSpan};

pub mod monitor;

/// The route of what is at no route. A path as a client wrote it must never become a label.
const ELSEWHERE: &str = "other";

/// Which tier is observed, and what routes it has.
#[derive(Debug, Clone)]
pub struct ObservedTier {
    tier: Tier,
    routes: Arc<HashSet<&'static str>>,
}

impl ObservedTier {
    /// A tier with these routes.
    pub fn new(tier: Tier, routes: impl IntoIterator<Item = &'static str>) -> Self {
        Self { tier, routes: Arc::new(routes.into_iter().collect()) }
    }

    fn route(&self, request: &Request) -> &'static str {
        let matched = request.extensions().get::<MatchedPath>();
        matched.and_then(|matched| self.routes.get(matched.as_str())).copied().unwrap_or(ELSEWHERE)
    }
}

/// Counts and times a request, and is its span if there are traces: probes are counted and not traced.
pub async fn request(State(observed): State<ObservedTier>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let (method, route) = (method(request.method()), observed.route(&request));
    let response = if traces::is_on() && !matches!(route, "/healthz" | "/readyz") {
        let header = request.headers().get(traces::HEADER).and_then(|header| header.to_str().ok());
        let span = TraceSpan::begin(Kind::Server, SpanParent::Header(header), || {
            let attributes = vec![
                KeyValue::new("http.request.method", method),
                KeyValue::new("http.route", route),
                KeyValue::new("url.path", request.uri().path().to_owned()),
            ];
            (format!("{method} {route}"), attributes)
        });
        let response = span.instrument(next.run(request)).await;
        span.set("http.response.status_code", i64::from(response.status().as_u16()));
        if response.status().is_server_error() {
            span.fail("server_error");
        }
        response
    } else {
        next.run(request).await
    };
    metrics().answered(observed.tier, method, route, response.status().as_u16(), begun.elapsed());
    response
}

/// A method as a label: those that nobody has heard of are one.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
