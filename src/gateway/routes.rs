//! The route table, and what surrounds every request: limits, ids, the access log, and words for what is not there.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::handler::HandlerWithoutStateExt;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, patch, post};
use serde_json::json;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::services::ServeDir;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::trace::TraceLayer;
use tracing::Span;

use crate::auth::{Caller, KeyScope};
use crate::gateway::error::ApiError;
use crate::gateway::front_end::FrontEnd;
use crate::gateway::query_check::QueryCheck;
use crate::gateway::{
    GatewayState, audit, docs, events, fastagency, guard, health, merged_events, overview, runs, sessions, socket,
};
use crate::ids::MessageId;
use crate::metrics::Tier;
use crate::observe::{self, ObservedTier};

/// What a key must be for.
type RequiredScopes = &'static [KeyScope];

const ANY: RequiredScopes = &[];
const START: RequiredScopes = &[KeyScope::Start];
const SEE: RequiredScopes = &[KeyScope::See];
const ANSWER: RequiredScopes = &[KeyScope::Answer];
const CANCEL: RequiredScopes = &[KeyScope::Cancel];
const AUDIT: RequiredScopes = &[KeyScope::Audit];
const ERASE: RequiredScopes = &[KeyScope::Audit, KeyScope::Cancel];
/// A whole conversation, as FastAgency's socket has it.
const TALK: RequiredScopes = &[KeyScope::Start, KeyScope::See, KeyScope::Answer];

/// One route.
pub struct ApiRoute {
    /// Its method, in small letters.
    pub method: &'static str,
    /// Its path.
    pub path: &'static str,
    /// What a key must be for.
    needs: RequiredScopes,
    handler: MethodRouter<Arc<GatewayState>>,
}

/// Every route of the gateway; `/openapi.json` describes the same ones.
#[rustfmt::skip]
pub fn table() -> Vec<ApiRoute> {
    let route = |method, path, needs, handler| ApiRoute { method, path, needs, handler };
    vec![
        route("get",    "/api/me", ANY, get(guard::me)),
        route("post",   "/api/admin-link", ANY, post(guard::admin_link)),
        route("post",   "/api/session/end", ANY, post(sessions::end)),
        route("get",    "/api/workflows", SEE, get(runs::workflows)),
        route("post",   "/api/runs", START, post(runs::create)),
        route("get",    "/api/runs", SEE, get(runs::list)),
        route("get",    "/api/runs/{id}", SEE, get(runs::get)),
        route("patch",  "/api/runs/{id}", CANCEL, patch(runs::rename)),
        route("delete", "/api/runs/{id}", CANCEL, delete(runs::delete)),
        route("get",    "/api/questions", SEE, get(runs::questions)),
        route("post",   "/api/runs/{id}/cancel", CANCEL, post(runs::cancel)),
        route("post",   "/api/runs/{id}/answers/{question}", ANSWER, post(runs::answer)),
        route("get",    "/api/runs/{id}/events", SEE, get(events::events)),
        route("get",    "/api/events", ANY, get(merged_events::events)),
        route("get",    "/api/overview", AUDIT, get(overview::overview)),
        route("get",    "/api/workers", AUDIT, get(overview::workers)),
        route("get",    "/api/audit/runs", AUDIT, get(audit::runs)),
        route("get",    "/api/audit/runs/{id}", AUDIT, get(audit::run)),
        route("get",    "/api/audit/runs/{id}/verify", AUDIT, get(audit::verify_one)),
        route("get",    "/api/audit/verify", AUDIT, get(audit::verify_all)),
        route("post",   "/api/audit/erase", ERASE, post(audit::erase)),
        route("get",    "/api/audit/events", AUDIT, get(audit::events)),
        route("get",    "/api/audit/export", AUDIT, get(audit::export)),
        route("get",    "/fastagency/discovery", SEE, get(fastagency::discovery)),
        route("post",   "/fastagency/initiate_workflow", START, post(fastagency::initiate)),
        route("get",    "/fastagency/ws", TALK, get(socket::open)),
        route("post",   "/token", ANY, post(guard::token)),
        route("get",    "/healthz", ANY, get(health::alive)),
        route("get",    "/readyz", ANY, get(health::ready)),
        route("get",    "/openapi.json", ANY, get(docs::openapi)),
        route("get",    "/docs", ANY, get(docs::page)),
        route("get",    "/", SEE, get(fastagency::workflows)),
    ]
}

/// The routes with all that surrounds them.
pub fn app(gateway: Arc<GatewayState>) -> Router {
    let static_dir = gateway.settings.static_dir.clone();
    let mut router = Router::new();
    for ApiRoute { path, handler, .. } in table() {
        // The user's own front end has its own start page.
        if !(path == "/" && static_dir.is_some()) {
            router = router.route(path, handler);
        }
    }
    // FastAgency's own client asks here, as it puts one slash too many before the path.
    router = router.route("//fastagency/discovery", get(fastagency::discovery));
    // One that is gone by now serves nothing.
    let front_end = static_dir.and_then(|folder| FrontEnd::of(&folder).ok());
    let router = match front_end.map(|front_end| (front_end.root().to_owned(), front_end)) {
        Some((root, front_end)) => router.fallback_service(
            tower::ServiceBuilder::new()
                .layer(SetResponseHeaderLayer::if_not_present(
                    header::X_CONTENT_TYPE_OPTIONS,
                    HeaderValue::from_static("nosniff"),
                ))
                .service(
                    ServeDir::with_backend(root, front_end)
                        .call_fallback_on_method_not_allowed(true)
                        .fallback(not_found.into_service()),
                ),
        ),
        None => router.fallback(not_found),
    };
    let observed = ObservedTier::new(Tier::gateway, table().iter().map(|route| route.path));
    let request_id = HeaderName::from_static("x-request-id");
    router
        .method_not_allowed_fallback(method_not_allowed)
        .layer(axum::middleware::from_fn_with_state(QueryCheck::new(), QueryCheck::let_in))
        .layer(axum::middleware::from_fn_with_state(ScopeCheck::new(gateway.clone()), ScopeCheck::let_in))
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

/// Refuses what a key is not for.
struct ScopeCheck {
    gateway: Arc<GatewayState>,
    needs: HashMap<(&'static str, &'static str), RequiredScopes>,
}

impl ScopeCheck {
    fn new(gateway: Arc<GatewayState>) -> Arc<Self> {
        let needs = table().into_iter().map(|route| ((route.method, route.path), route.needs)).collect();
        Arc::new(Self { gateway, needs })
    }

    async fn let_in(State(scoped): State<Arc<Self>>, request: Request, next: Next) -> Response {
        let caller = request.extensions().get::<Caller>();
        let Some(caller) = caller.filter(|caller| !caller.scopes.is_empty()) else { return next.run(request).await };
        let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str).unwrap_or_default();
        // One slash too many is FastAgency's own.
        let path = path.strip_prefix('/').filter(|rest| rest.starts_with('/')).unwrap_or(path);
        let method = match *request.method() {
            Method::GET | Method::HEAD => "get",
            Method::POST => "post",
            Method::PATCH => "patch",
            Method::DELETE => "delete",
            _ => "",
        };
        // What is no route does nothing.
        let needs = scoped.needs.get(&(method, path)).copied().unwrap_or_default();
        match caller.lacks(needs) {
            None => next.run(request).await,
            Some(scope) => {
                let words = format!("this key is not for that: it has not the scope {:?}", scope.name());
                guard::refusal(&scoped.gateway, &request, StatusCode::FORBIDDEN, &words)
            }
        }
    }
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

fn after_panic(_: Box<dyn Any + Send + 'static>) -> Response {
    let id = MessageId::random().to_string();
    // Where and why was logged when it happened.
    tracing::error!(error.id = %id, "a request panicked");
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
