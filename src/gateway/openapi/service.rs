//! Who calls, health, and this description itself.

use serde_json::{Map, json};

use super::parts::{ApiOperation, get, post};
use crate::protocol::api::{
    AdminToken, CallerView, EndSession, FastApiError, Readiness, RedeemAdminLink, TokenForm, TokenView,
};

pub(super) fn operations() -> Vec<ApiOperation> {
    let anything = |name: &str| Map::from_iter([(name.to_owned(), json!({}))]);
    vec![
        post("/token", "A token for a user and a password: FastAPI's OAuth2 password flow")
            .form::<TokenForm>()
            .sends::<TokenView>(200, "The token")
            .sends::<FastApiError>(400, "The form broke off")
            .sends::<FastApiError>(401, "Wrong user or password")
            .refuses(403, "`forbidden`: this page may not")
            .sends::<FastApiError>(404, "No tokens are given out here")
            .sends::<FastApiError>(408, "The form did not come in time")
            .sends::<FastApiError>(413, "The form is too large")
            .sends::<FastApiError>(422, "What is missing, as FastAPI tells it")
            .refuses(429, "`too_many_requests`")
            .refuses(503, "`auth_unavailable`: try again"),
        get("/api/me", "Who calls, and how callers prove who they are").sends::<CallerView>(200, "The caller"),
        post("/api/admin-link", "With auth.mode none: the token of this gateway for the code of its admin link, once")
            .body::<RedeemAdminLink>()
            .sends::<AdminToken>(200, "The token, sent as `Authorization: Bearer …`")
            .refuses(403, "`admin_link_used`: it was opened before, or belongs to another process")
            .refuses(404, "`no_admin_link`: callers are asked who they are here")
            .refuses(422, "`invalid_body`"),
        post(
            "/api/session/end",
            "Ends what the request belongs to, a session of the page or a token of POST /token: no gateway takes it any more",
        )
        .body::<EndSession>()
        .says(204, "It is over")
        .refuses(409, "`no_session`: there is nothing to end")
        .refuses(422, "`invalid_body`"),
        get("/healthz", "Whether the process is alive").says(200, "It is"),
        get("/readyz", "Whether the broker can be reached and takes new runs")
            .sends::<Readiness>(200, "It can, with what is so of FastAgency's part")
            .refuses(503, "`not_ready`, and why"),
        get("/openapi.json", "This description").answers(200, "OpenAPI 3.1", anything("application/json")),
        get("/docs", "This description as a page").answers(200, "HTML", anything("text/html")),
    ]
}
