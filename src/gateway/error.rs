//! What a caller of `/api` is told when something does not work: one shape, one sentence. This file alone knows statuses.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::broker;
use crate::clock::Timestamp;
use crate::ids::{InvalidId, MessageId};
use crate::problem::chain;
use crate::protocol::api::{ApiErrorBody, ApiErrorView};
use crate::run;

/// An error of `/api`, ready to be sent.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    /// What is sent. Boxed: every handler's result has room for an error.
    told: Box<ApiErrorView>,
    /// In seconds: when another try makes sense.
    wait: Option<u64>,
}

/// The result of a handler of `/api`.
pub type Result<T, E = ApiError> = std::result::Result<T, E>;

impl ApiError {
    /// An error; `message` is a sentence for a person.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let told = Box::new(ApiErrorView { code: code.to_owned(), message: message.into(), ..ApiErrorView::default() });
        Self { status, code, told, wait: None }
    }

    /// Adds what may help.
    pub fn hint(mut self, hint: Option<String>) -> Self {
        self.told.hint = hint;
        self
    }

    /// Says when another try makes sense (`Retry-After`).
    pub fn again_in(self, wait: Duration) -> Self {
        Self { wait: Some(wait.as_secs() + 1), ..self }
    }

    /// Adds whose answer counts instead, and when it came.
    pub fn beaten_by(mut self, by: Option<String>, at: Timestamp) -> Self {
        self.told.by = Some(by);
        self.told.at = Some(at);
        self
    }

    /// There is no such run, or it is somebody else's: the answer is the same, so that nobody learns which.
    pub fn unknown_run(run: &str) -> Self {
        let shown: String = run.chars().take(80).collect();
        Self::new(StatusCode::NOT_FOUND, "unknown_run", format!("there is no run {shown:?}"))
    }

    /// A fault of ours, logged here under an id that the answer carries too.
    pub fn internal(what: &(dyn std::error::Error + 'static)) -> Self {
        let id = MessageId::random().to_string();
        tracing::error!(error.id = %id, "a request failed: {}", chain(what));
        Self::fault(id)
    }

    /// A fault of ours that is logged already.
    pub fn fault(id: String) -> Self {
        let message = "something went wrong in the gateway; its log has more under this id";
        let mut fault = Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message);
        fault.told.id = Some(id);
        fault
    }

    /// Something that is not for this caller.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    /// The body that is sent.
    pub fn body(&self) -> ApiErrorBody {
        ApiErrorBody { error: (*self.told).clone() }
    }

    /// Its name, for whoever decides by it.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// Its sentence.
    pub fn message(&self) -> &str {
        &self.told.message
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            // Soon enough for a person, late enough for a broker that restarts.
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        }
        if let Some(wait) = self.wait {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait));
        }
        response
    }
}

impl From<broker::Error> for ApiError {
    fn from(error: broker::Error) -> Self {
        match &error {
            broker::Error::Unavailable { .. } => {
                tracing::warn!("{}", chain(&error));
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "broker_unavailable",
                    "the broker is out of reach; nothing was done, try again",
                )
            }
            broker::Error::Full { what } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "broker_full", format!("the broker's store is full: {what}"))
            }
            broker::Error::TooLarge { .. } => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", error.to_string()),
            broker::Error::Conflict { .. } | broker::Error::Denied { .. } | broker::Error::Refused { .. } => {
                Self::internal(&error)
            }
        }
    }
}

impl From<run::Error> for ApiError {
    fn from(error: run::Error) -> Self {
        match error {
            run::Error::Broker(error) => error.into(),
            run::Error::Unknown { run } => Self::unknown_run(&run.to_string()),
            run::Error::Unstorable { source, .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "too_complex", source.to_string())
            }
            other => Self::internal(&other),
        }
    }
}

impl From<InvalidId> for ApiError {
    fn from(error: InvalidId) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_id", error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(error: &ApiError) -> String {
        serde_json::to_string(&error.body()).expect("JSON")
    }

    #[test]
    fn the_shape_is_the_documented_one_and_a_fault_of_ours_tells_nothing_but_its_id() {
        let error = ApiError::new(StatusCode::NOT_FOUND, "unknown_workflow", "there is no workflow named \"lessons\"")
            .hint(Some("did you mean \"lesson\"?".to_owned()));
        assert_eq!(
            json(&error),
            r#"{"error":{"code":"unknown_workflow","message":"there is no workflow named \"lessons\"","hint":"did you mean \"lesson\"?"}}"#
        );
        let refused = broker::Error::Refused { doing: "append".into(), reason: "secret detail".into() };
        let error = ApiError::from(refused);
        assert_eq!(error.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!json(&error).contains("secret detail"));
        assert!(error.body().error.id.is_some());
    }
}
