//! What a tier shows its operators: metrics, probes and traces.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use futures_util::FutureExt;

use crate::broker::Broker;
use crate::cli::outcome::CliError;
use crate::cli::{ListenArguments, project};
use crate::config::{Config, ConfigSection, NEEDS_TOKEN};
use crate::ids::Name;
use crate::lifecycle::Shutdown;
use crate::metrics::metrics;
use crate::observe::monitor::{self, MetricsRefresh, MonitorState, ReadinessCheck};
use crate::protocol::queue_name::QueueName;
use crate::traces::{self, TraceFlush};

/// What every tier takes for its operators.
#[derive(Args, Clone)]
pub(super) struct MetricsArguments {
    /// Where metrics for Prometheus are shown, with /healthz and /readyz, instead of metrics.listen.
    #[arg(long, env = "FASTAGENCY_METRICS_LISTEN", value_name = "ADDRESS:PORT")]
    metrics_listen: Option<SocketAddr>,
}

impl MetricsArguments {
    /// Begins to show what is to be seen. The result sends the last spans when it is dropped.
    pub(super) async fn start(
        &self,
        config: &Config,
        tier: &'static str,
        ready: ReadinessCheck,
        refresh: Option<MetricsRefresh>,
        shutdown: &Shutdown,
    ) -> Result<Option<TraceFlush>, CliError> {
        config.usable(ConfigSection::Operation)?;
        let sending = match settings(config, &|name| std::env::var(name).ok()) {
            Some(settings) => Some(traces::start(&settings, tier).map_err(anyhow::Error::from)?),
            None => None,
        };
        if let Some(address) = self.metrics_listen.or(config.metrics.listen) {
            let token = config.metrics.token.clone();
            if !address.ip().is_loopback() && token.is_none() {
                return Err(CliError::Usage(format!("--metrics-listen {address}: {NEEDS_TOKEN}")));
            }
            let nowhere_else = ListenArguments { host: None, port: None };
            let listener = project::listen(&nowhere_else, address.ip(), address.port(), None).await.map_err(|_| {
                CliError::from(anyhow::anyhow!(
                    "could not show metrics on {address}; does another tier? --metrics-listen takes another port"
                ))
            })?;
            announce!("metrics: {}/metrics", project::url(&listener));
            let monitor = MonitorState { token, refresh, ready };
            shutdown.spawn("metrics", monitor::serve(listener, monitor, shutdown.clone()));
        }
        Ok(sending)
    }
}

/// Where traces go, if anywhere: the configuration first, then what OpenTelemetry's own variables say.
fn settings(config: &Config, env: &dyn Fn(&str) -> Option<String>) -> Option<traces::Settings> {
    let set = |name: &str| env(name).filter(|value| !value.is_empty());
    if set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return None;
    }
    let otlp = config.telemetry.as_ref();
    let below = |base: String| format!("{}/v1/traces", base.trim_end_matches('/'));
    let endpoint = otlp
        .and_then(|otlp| otlp.endpoint.clone())
        .or_else(|| set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"))
        .or_else(|| set("OTEL_EXPORTER_OTLP_ENDPOINT").map(below))?;
    let sample = otlp.and_then(|otlp| otlp.sample);
    let sample = sample.or_else(|| sampled(set("OTEL_TRACES_SAMPLER").as_deref(), set("OTEL_TRACES_SAMPLER_ARG")));
    Some(traces::Settings {
        endpoint,
        headers: otlp.map(|otlp| otlp.headers.clone()).unwrap_or_default(),
        sample: sample.unwrap_or(1.0),
        content: otlp.is_some_and(|otlp| otlp.content),
    })
}

/// What OpenTelemetry's variables say about how much is kept.
fn sampled(sampler: Option<&str>, part: Option<String>) -> Option<f64> {
    match sampler? {
        "always_off" | "parentbased_always_off" => Some(0.0),
        "traceidratio" | "parentbased_traceidratio" => part?.parse().ok().filter(|part| (0.0..=1.0).contains(part)),
        _ => None,
    }
}

/// A worker's readiness: it takes runs, and its broker is there.
pub(super) fn worker_ready(broker: &Broker, up: &Arc<AtomicBool>) -> ReadinessCheck {
    let (broker, up) = (broker.clone(), up.clone());
    Arc::new(move || {
        let (broker, up) = (broker.clone(), up.clone());
        async move {
            if !up.load(Ordering::Relaxed) {
                return Err("it takes no runs yet".to_owned());
            }
            broker.log.ready().await.map_err(|error| error.to_string())
        }
        .boxed()
    })
}

/// A gateway's readiness: its broker is there.
pub(super) fn broker_ready(broker: &Broker) -> ReadinessCheck {
    worker_ready(broker, &Arc::new(AtomicBool::new(true)))
}

/// The page's readiness: its gateway is ready.
pub(super) fn gateway_ready(gateway_url: &str) -> Result<ReadinessCheck, CliError> {
    // Whoever else needs TLS in this process may have chosen already; then that choice stands.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().map_err(anyhow::Error::from)?;
    let url = format!("{}/readyz", gateway_url.trim_end_matches('/'));
    Ok(Arc::new(move || {
        let call = client.get(&url).send();
        async move {
            match call.await {
                Ok(answer) if answer.status().is_success() => Ok(()),
                Ok(answer) => Err(format!("the gateway says that it is not ready ({})", answer.status())),
                Err(_) => Err("the gateway cannot be reached".to_owned()),
            }
        }
        .boxed()
    }))
}

/// Counts the jobs of these workflows at the broker.
pub(super) fn queue_depth(broker: &Broker, workflows: Vec<Name>) -> MetricsRefresh {
    let broker = broker.clone();
    Arc::new(move || {
        let (broker, workflows) = (broker.clone(), workflows.clone());
        async move {
            for workflow in workflows {
                match broker.queue.depth(&QueueName::Workflow(workflow.clone())).await {
                    Ok(depth) => metrics().queue(workflow.as_str(), depth.waiting, depth.taken),
                    Err(error) => return tracing::debug!("the queue's depth is not known: {error}"),
                }
            }
        }
        .boxed()
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn opentelemetrys_variables_count_where_the_file_says_nothing() {
        let config = Config::default_in(Path::new("."), &|_: &str| None).unwrap();
        let with = |pairs: &'static [(&str, &str)]| {
            let env =
                move |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            settings(&config, &env).map(|settings| (settings.endpoint, settings.sample))
        };
        assert_eq!(with(&[]), None);
        assert_eq!(
            with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/")]),
            Some(("http://c:4318/v1/traces".into(), 1.0))
        );
        let whole = with(&[
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c/v1/traces"),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
        ]);
        assert_eq!(whole, Some(("http://c/v1/traces".into(), 0.25)));
        assert_eq!(with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"), ("OTEL_SDK_DISABLED", "true")]), None);
    }
}
