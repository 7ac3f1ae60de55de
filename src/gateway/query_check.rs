//! Refuses what `/api` would not look at: a parameter of a query that no operation has is a mistake, and a filter that is
//! misspelt would answer with more than was asked for. What may stand there is read from the description (`openapi`).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::gateway::error::ApiError;
use crate::gateway::openapi;
use crate::problem::did_you_mean;

/// How much of a parameter's name an error repeats, in characters.
const LONGEST_SHOWN: usize = 60;

/// The parameters of the queries of `/api`.
pub struct QueryCheck {
    /// By path and method.
    known: HashMap<(String, String), BTreeSet<String>>,
}

impl QueryCheck {
    pub fn new() -> Arc<Self> {
        let mut known = HashMap::new();
        let document = openapi::document();
        let paths = document["paths"].as_object().into_iter().flatten();
        for (path, methods) in paths.filter(|(path, _)| path.starts_with("/api/")) {
            for (method, operation) in methods.as_object().into_iter().flatten() {
                let all = operation["parameters"].as_array().into_iter().flatten();
                let of_query = all.filter(|parameter| parameter["in"] == "query");
                let names = of_query.filter_map(|parameter| parameter["name"].as_str().map(str::to_owned)).collect();
                known.insert((path.clone(), method.clone()), names);
            }
        }
        Arc::new(Self { known })
    }

    pub async fn let_in(State(check): State<Arc<Self>>, request: Request, next: Next) -> Response {
        match check.unknown(&request) {
            Some(error) => error.into_response(),
            None => next.run(request).await,
        }
    }

    fn unknown(&self, request: &Request) -> Option<ApiError> {
        let query = request.uri().query().filter(|query| !query.is_empty())?;
        let path = request.extensions().get::<MatchedPath>()?.as_str();
        let method = match request.method().as_str() {
            "HEAD" => "get".to_owned(),
            other => other.to_ascii_lowercase(),
        };
        let known = self.known.get(&(path.to_owned(), method))?;
        let (name, _) = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| !known.contains(name.as_ref()))?;
        let shown: String = name.chars().take(LONGEST_SHOWN).collect();
        let hint = did_you_mean(&shown, known.iter().map(String::as_str)).unwrap_or_else(|| match known.len() {
            0 => "there is none".to_owned(),
            _ => format!("there is {}", known.iter().map(String::as_str).collect::<Vec<_>>().join(", ")),
        });
        let words = format!("the query does not fit: there is no parameter {shown:?}");
        Some(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_query", words).hint(Some(hint)))
    }
}
