//! The route table, and what surrounds every request: limits, ids, the access log, and words for what is not there.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::handler::HandlerWithoutStateExt;
use axum::http::{HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, patch, post};
use serde_json::json;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::services::ServeDir;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::trace::TraceLayer;
use tracing::Span;

use crate::gateway::error::ApiError;
use crate::gateway::{Gateway, audit, docs, events, fastagency, guard, health, overview, runs, socket};
use crate::ids::MessageId;
use crate::metrics::Tier;
use crate::observe::{self, Observed};

/// One route.
pub struct Route {
    /// Its method, in small letters; the router knows it from the handler.
    #[cfg_attr(not(test), expect(dead_code, reason = "for the test that holds it and the description together"))]
    pub method: &'static str,
    /// Its path.
    pub path: &'static str,
    handler: MethodRouter<Arc<Gateway>>,
}

/// Every route of the gateway; `/openapi.json` describes the same ones.
#[rustfmt::skip]
pub fn table() -> Vec<Route> {
    let route = |method, path, handler| Route { method, path, handler };
    vec![
        route("get",    "/api/me", get(guard::me)),
        route("get",    "/api/workflows", get(runs::workflows)),
        route("post",   "/api/runs", post(runs::create)),
        route("get",    "/api/runs", get(runs::list)),
        route("get",    "/api/runs/{id}", get(runs::get)),
        route("patch",  "/api/runs/{id}", patch(runs::rename)),
        route("delete", "/api/runs/{id}", delete(runs::delete)),
        route("get",    "/api/questions", get(runs::questions)),
        route("post",   "/api/runs/{id}/cancel", post(runs::cancel)),
        route("post",   "/api/runs/{id}/answers/{question}", post(runs::answer)),
        route("get",    "/api/runs/{id}/events", get(events::events)),
        route("get",    "/api/overview", get(overview::overview)),
        route("get",    "/api/workers", get(overview::workers)),
        route("get",    "/api/audit/runs", get(audit::runs)),
        route("get",    "/api/audit/runs/{id}", get(audit::run)),
        route("get",    "/api/audit/runs/{id}/verify", get(audit::verify_one)),
        route("get",    "/api/audit/verify", get(audit::verify_all)),
        route("post",   "/api/audit/erase", post(audit::erase)),
        route("get",    "/api/audit/events", get(audit::events)),
        route("get",    "/api/audit/export", get(audit::export)),
        route("get",    "/fastagency/discovery", get(fastagency::discovery)),
        route("post",   "/fastagency/initiate_workflow", post(fastagency::initiate)),
        route("get",    "/fastagency/ws", get(socket::open)),
        route("post",   "/token", post(guard::token)),
        route("get",    "/healthz", get(health::alive)),
        route("get",    "/readyz", get(health::ready)),
        route("get",    "/openapi.json", get(docs::openapi)),
        route("get",    "/docs", get(docs::page)),
        route("get",    "/", get(fastagency::workflows)),
    ]
}

/// The routes with all that surrounds them.
pub fn app(gateway: Arc<Gateway>) -> Router {
    let static_dir = gateway.settings.static_dir.clone();
    let mut router = Router::new();
    for Route { path, handler, .. } in table() {
        // The user's own front end has its own start page.
        if !(path == "/" && static_dir.is_some()) {
            router = router.route(path, handler);
        }
    }
    // FastAgency's own client asks here, as it puts one slash too many before the path.
    router = router.route("//fastagency/discovery", get(fastagency::discovery));
    let router = match static_dir {
        Some(folder) => router.fallback_service(
            tower::ServiceBuilder::new()
                .layer(SetResponseHeaderLayer::if_not_present(
                    header::X_CONTENT_TYPE_OPTIONS,
                    HeaderValue::from_static("nosniff"),
                ))
                .service(
                    ServeDir::new(folder).call_fallback_on_method_not_allowed(true).fallback(not_found.into_service()),
                ),
        ),
        None => router.fallback(not_found),
    };
    let observed = Observed::new(Tier::gateway, table().iter().map(|route| route.path));
    let request_id = HeaderName::from_static("x-request-id");
    router
        .method_not_allowed_fallback(method_not_allowed)
        .layer(axum::middleware::from_fn_with_state(gateway.clone(), guard::let_in))
        // Each handler has a limit of its own.
        .layer(DefaultBodyLimit::disable())
        .layer(CatchPanicLayer::custom(after_panic))
        .layer(PropagateRequestIdLayer::new(request_id.clone()))
        .layer(TraceLayer::new_for_http().make_span_with(span).on_request(()).on_response(access_log).on_failure(()))
        .layer(SetRequestIdLayer::new(request_id, MakeRequestUuid))
        .layer(axum::middleware::from_fn_with_state(observed, observe::request))
        .with_state(gateway)
}

fn is_fastagencys(uri: &Uri) -> bool {
    uri.path().trim_start_matches('/').starts_with("fastagency/")
}

async fn not_found(request: Request) -> Response {
    if is_fastagencys(request.uri()) {
        // FastAgency's server refuses a socket at a path that it does not have.
        let status =
            if request.headers().contains_key(header::UPGRADE) { StatusCode::FORBIDDEN } else { StatusCode::NOT_FOUND };
        return fastagency::detail(status, json!("Not Found"));
    }
    let path: String = request.uri().path().chars().take(200).collect();
    ApiError::new(StatusCode::NOT_FOUND, "unknown_path", format!("there is nothing at {path}"))
        .hint(Some("see /docs".to_owned()))
        .into_response()
}

async fn method_not_allowed(request: Request) -> Response {
    if is_fastagencys(request.uri()) {
        return fastagency::detail(StatusCode::METHOD_NOT_ALLOWED, json!("Method Not Allowed"));
    }
    let message = format!("{} is not possible at {}", request.method(), request.uri().path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message).into_response()
}

fn after_panic(panic: Box<dyn Any + Send + 'static>) -> Response {
    let words = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let words = words.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    let id = MessageId::random().to_string();
    tracing::error!(error.id = %id, "a request panicked: {words}");
    ApiError::fault(id).into_response()
}

fn span<B>(request: &axum::http::Request<B>) -> Span {
    let id = request.headers().get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
    // Without the query: it may hold what a person searches for.
    tracing::debug_span!("http", request.id = %id, method = %request.method(), path = %request.uri().path())
}

fn access_log<B>(response: &axum::http::Response<B>, took: Duration, _span: &Span) {
    tracing::debug!(status = response.status().as_u16(), duration_ms = took.as_secs_f64() * 1e3, "answered");
}
