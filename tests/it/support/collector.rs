//! A collector of traces as OpenTelemetry's is: it takes OTLP over HTTP, in protobuf, and keeps what comes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use prost::Message;

use super::eventually::eventually;

/// The collector; it goes with the test.
pub struct Collector {
    pub url: String,
    spans: Arc<Mutex<Vec<Span>>>,
}

/// A span that came.
#[derive(Debug, Clone)]
pub struct Span {
    pub service: String,
    pub name: String,
    pub trace: String,
    pub id: String,
    pub parent: String,
    /// The traces that it is linked to.
    pub links: Vec<String>,
    pub attributes: BTreeMap<String, String>,
}

/// The header that it wants to see.
pub const KEY: (&str, &str) = ("x-collector-key", "geheim");

impl Collector {
    pub async fn start() -> Self {
        let spans: Arc<Mutex<Vec<Span>>> = Arc::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().route("/v1/traces", post(take)).with_state(spans.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, spans }
    }

    /// Waits until the spans that have come satisfy `enough`, and returns them.
    pub async fn until(&self, enough: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        eventually("enough spans come", async || {
            let spans = self.spans.lock().unwrap().clone();
            if enough(&spans) { Ok(spans) } else { Err(spans) }
        })
        .await
    }
}

async fn take(State(spans): State<Arc<Mutex<Vec<Span>>>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    if headers.get(KEY.0).is_none_or(|value| value != KEY.1) {
        return StatusCode::UNAUTHORIZED;
    }
    let Ok(request) = ExportTraceServiceRequest::decode(body) else { return StatusCode::BAD_REQUEST };
    for resource in request.resource_spans {
        let of = attributes(&resource.resource.map(|resource| resource.attributes).unwrap_or_default());
        let service = of.get("service.name").cloned().unwrap_or_default();
        for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            let kept = Span {
                service: service.clone(),
                name: span.name,
                trace: fastagency::ids::hex(&span.trace_id),
                id: fastagency::ids::hex(&span.span_id),
                parent: fastagency::ids::hex(&span.parent_span_id),
                links: span.links.iter().map(|link| fastagency::ids::hex(&link.trace_id)).collect(),
                attributes: attributes(&span.attributes),
            };
            spans.lock().unwrap().push(kept);
        }
    }
    StatusCode::OK
}

fn attributes(pairs: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |pair: &KeyValue| match pair.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    pairs.iter().map(|pair| (pair.key.clone(), text(pair))).collect()
}
