//! `metrics:` and `telemetry:`: what operators see, and where.

use std::net::SocketAddr;

use secrecy::SecretString;

use super::fields::secret;
use super::shapes::{METRICS, OTLP, TELEMETRY};
use crate::yaml::FieldReader;

/// `metrics:`.
#[derive(Debug, Clone, Default)]
pub struct MetricsConfig {
    /// Where each tier shows its metrics, and says whether it lives and is ready; none: nowhere.
    pub listen: Option<SocketAddr>,
    /// What a scrape must show; always there where `listen` is not this machine only.
    pub token: Option<SecretString>,
}

/// `telemetry.otlp:`.
#[derive(Debug, Clone)]
pub struct OtlpConfig {
    /// The collector's address; none: as `OTEL_EXPORTER_OTLP_ENDPOINT` says.
    pub endpoint: Option<String>,
    /// Headers that it wants to see.
    pub headers: Vec<(String, SecretString)>,
    /// Which part of the traces that begin here is kept, 0 to 1; none: as `OTEL_TRACES_SAMPLER_ARG` says, else all.
    pub sample: Option<f64>,
    /// Whether spans hold what models are asked and what they reply (default false).
    pub content: bool,
}

/// Why an address that others can reach needs a token.
pub const NEEDS_TOKEN: &str = "others can reach this address: set metrics.token, which every scrape must show";

pub(super) fn metrics(field: &FieldReader<'_>) -> Option<MetricsConfig> {
    let fields = field.fields(&METRICS)?;
    let token = secret(&fields, "token");
    let listen = fields.read("listen", |field| {
        let text = field.text()?;
        let listen: SocketAddr = match text.parse() {
            Ok(listen) => listen,
            Err(_) => return field.is_not("an address and a port like 127.0.0.1:9464"),
        };
        if !listen.ip().is_loopback() && fields.get("token").is_none() {
            field.note(NEEDS_TOKEN);
        }
        Some(listen)
    });
    Some(MetricsConfig { listen, token })
}

pub(super) fn telemetry(field: &FieldReader<'_>) -> Option<Option<OtlpConfig>> {
    let fields = field.fields(&TELEMETRY)?;
    Some(fields.read("otlp", otlp))
}

fn otlp(field: &FieldReader<'_>) -> Option<OtlpConfig> {
    let fields = field.fields(&OTLP)?;
    let endpoint = fields.read("endpoint", |field| {
        let url = field.text()?;
        let fits = url.starts_with("http://") || url.starts_with("https://");
        if fits { Some(url.to_owned()) } else { field.is_not("an address like http://127.0.0.1:4318") }
    });
    let sample = fields.read("sample", |field| {
        let part = field.number()?;
        if (0.0..=1.0).contains(&part) { Some(part) } else { field.is_not("a part of all, from 0 to 1") }
    });
    let headers = fields.read("headers", headers).unwrap_or_default();
    Some(OtlpConfig { endpoint, headers, sample, content: fields.read("content", FieldReader::bool).unwrap_or(false) })
}

fn headers(field: &FieldReader<'_>) -> Option<Vec<(String, SecretString)>> {
    let read = |(entry, field): (&crate::yaml::MapEntry, FieldReader<'_>)| {
        let value = field.text()?.to_owned();
        Some((entry.key.clone(), SecretString::from(value)))
    };
    Some(field.entries()?.into_iter().filter_map(read).collect())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::Config;

    fn read(source: &str) -> Result<Config, String> {
        let source = format!("version: 1\n{source}");
        crate::config::reading::read(Path::new("f.yaml"), &source, Path::new(""), &|_: &str| None)
            .map_err(|problems| problems.to_string())
    }

    #[test]
    fn what_others_can_reach_needs_a_token() {
        let config = read("metrics: { listen: '127.0.0.1:9464' }").unwrap();
        assert_eq!(config.metrics.listen, Some("127.0.0.1:9464".parse().unwrap()));
        assert!(read("metrics: { listen: '0.0.0.0:9464', token: geheim }").is_ok());
        let refused = read("metrics: { listen: '0.0.0.0:9464' }").unwrap_err();
        assert!(refused.contains("f.yaml:2:20: listen: others can reach this address"), "{refused}");
        let refused = read("metrics: { listen: '9464' }").unwrap_err();
        assert!(refused.contains("like 127.0.0.1:9464"), "{refused}");
    }

    #[test]
    fn a_collector_is_read_and_its_key_is_shown_to_nobody() {
        let config = read(
            "telemetry: { otlp: { endpoint: 'http://c:4318', headers: { x-key: geheim }, sample: 0.1, content: true } }",
        )
        .unwrap();
        assert!(!format!("{config:?}").contains("geheim"));
        let otlp = config.telemetry.unwrap();
        assert_eq!((otlp.endpoint.as_deref(), otlp.sample), (Some("http://c:4318"), Some(0.1)));
        assert!(otlp.content && otlp.headers[0].0 == "x-key");
        assert!(read("telemetry: { otlp: { sample: 2 } }").unwrap_err().contains("from 0 to 1"));
        assert!(read("telemetry: { otlp: { endpoint: 'c:4318' } }").unwrap_err().contains("http://127.0.0.1:4318"));
    }
}
