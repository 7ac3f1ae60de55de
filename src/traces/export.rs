//! Sending spans to a collector: OTLP over HTTP, with the program's own HTTP client.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry::KeyValue;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use secrecy::ExposeSecret;

use super::{Error, Settings};

/// How long a collector may take.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);
/// The most that is read of what a collector answers.
const LARGEST_ANSWER: usize = 64 << 10;

/// A provider of spans that go to the collector, for a tier.
pub(super) fn provider(settings: &Settings, tier: &'static str) -> Result<SdkTracerProvider, Error> {
    let refuse = |reason: String| Error { endpoint: shown(&settings.endpoint), reason };
    // Whoever else needs TLS in this process may have chosen already; then that choice stands.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(EXPORT_TIMEOUT)
        .build()
        .map_err(|error| refuse(error.to_string()))?;
    let http = RuntimeHttpClient { client, runtime: tokio::runtime::Handle::current() };
    let headers: HashMap<String, String> =
        settings.headers.iter().map(|(name, value)| (name.clone(), value.expose_secret().to_owned())).collect();
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(http)
        .with_endpoint(traces_url(&settings.endpoint))
        .with_headers(headers)
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .map_err(|error| refuse(error.to_string()))?;
    // The SDK reads OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES by itself; they go before what is said here.
    let mut resource = Resource::builder();
    let names_itself = std::env::var("OTEL_SERVICE_NAME").is_ok_and(|name| !name.is_empty());
    if !names_itself {
        resource = resource.with_service_name(format!("fastagency-{tier}"));
    }
    let resource = resource.with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))).build();
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.sample))))
        .with_resource(resource)
        .build())
}

/// Where spans go: below the collector's address, unless it is named whole.
fn traces_url(endpoint: &str) -> String {
    if endpoint.ends_with("/v1/traces") {
        endpoint.to_owned()
    } else {
        format!("{}/v1/traces", endpoint.trim_end_matches('/'))
    }
}

/// The address without a login that may be in it.
fn shown(endpoint: &str) -> String {
    match (endpoint.find("://"), endpoint.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => format!("{}{}", &endpoint[..scheme + 3], &endpoint[at + 1..]),
        _ => endpoint.to_owned(),
    }
}

/// Sends from the runtime: the SDK exports from a thread of its own, where nothing asynchronous lives.
struct RuntimeHttpClient {
    client: reqwest::Client,
    runtime: tokio::runtime::Handle,
}

impl fmt::Debug for RuntimeHttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnRuntime")
    }
}

#[async_trait]
impl HttpClient for RuntimeHttpClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let request = reqwest::Request::try_from(request)?;
        let client = self.client.clone();
        let exchange = async move {
            let mut answer = client.execute(request).await?;
            let status = answer.status();
            let mut body = Vec::new();
            while let Some(piece) = answer.chunk().await? {
                body.extend_from_slice(&piece[..piece.len().min(LARGEST_ANSWER - body.len())]);
                if body.len() == LARGEST_ANSWER {
                    break;
                }
            }
            Ok::<_, reqwest::Error>((status, Bytes::from(body)))
        };
        let (status, body) = self.runtime.spawn(exchange).await??;
        let mut response = Response::new(body);
        *response.status_mut() = status;
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_go_below_the_collectors_address() {
        assert_eq!(traces_url("http://c:4318"), "http://c:4318/v1/traces");
        assert_eq!(traces_url("http://c:4318/"), "http://c:4318/v1/traces");
        assert_eq!(traces_url("https://c/otlp/v1/traces"), "https://c/otlp/v1/traces");
        assert_eq!(shown("https://u:p@c/x"), "https://c/x");
    }
}
