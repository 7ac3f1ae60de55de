//! Metrics for Prometheus: what this process counts, and the text that a scrape is given. `docs/how-to/operate.md` lists them
//! all.
//!
//! They are the process's own: one registry, whichever tiers live in it. Counting is an atomic addition through a handle that
//! was looked up before ([`WorkflowMetrics`] once for each residency of a run in memory); only HTTP requests and refusals look theirs
//! up each time, which neither copies nor allocates. No label is a run, a user or a text of a person's: workflows are those
//! of the catalogue, tools and models those of its definitions, routes those of the route tables.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use parking_lot::RwLock;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

mod histogram;
mod process;
mod workflow;

pub use histogram::Histogram;
pub use workflow::{ModelMetrics, TokenUsage, WorkflowMetrics};

/// The type of what [`text()`] returns.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Bounds for what the program itself does.
const QUICK: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Bounds for what models and tools do.
const PATIENT: &[f64] = &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0];
/// Bounds for what people do: from a moment to a month.
const HUMAN: &[f64] = &[0.01, 0.1, 1.0, 10.0, 60.0, 300.0, 1800.0, 3600.0, 14_400.0, 86_400.0, 604_800.0, 2_592_000.0];

/// Why callers are not let in.
const REFUSALS: [&str; 4] = ["unknown", "wrong", "too_often", "unavailable"];

/// A family of histograms.
type HistogramFamily<L> = Family<L, Histogram, fn() -> Histogram>;

/// How a run is doing, as far as a worker knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "they are the labels' values")]
pub enum RunStateLabel {
    /// No worker has taken it yet.
    queued,
    /// A worker is at it.
    running,
    /// It waits for a person.
    waiting,
}

/// What an append came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "they are the labels' values")]
pub enum AppendOutcome {
    /// It is stored.
    stored,
    /// Another record was first.
    conflict,
    /// The store takes no more.
    full,
    /// The broker was away, or did not answer in time.
    unavailable,
    /// It was refused for another reason.
    refused,
}

/// Where an HTTP request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "they are the labels' values")]
pub enum Tier {
    /// At a gateway.
    gateway,
    /// At the page's tier.
    ui,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    tier: Tier,
    method: &'static str,
    route: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    tier: Tier,
    route: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TierLabels {
    tier: Tier,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: AppendOutcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RunPlaceLabels {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JobLabels {
    workflow: String,
    state: &'static str,
}

/// Everything that is counted.
pub struct Metrics {
    registry: Registry,
    families: workflow::WorkflowFamilies,
    workflows: RwLock<HashMap<Box<str>, Arc<WorkflowMetrics>>>,
    runs: Family<RunPlaceLabels, Gauge>,
    oldest: Family<RunPlaceLabels, Gauge>,
    /// Runs that the worker can hold in memory.
    pub runs_limit: Gauge,
    queue: Family<JobLabels, Gauge>,
    /// Writes that were refused because another worker has the run.
    pub fencing_refusals: Counter,
    /// Times that the worker's lease may have run out.
    pub lease_losses: Counter,
    /// Renewals of the lease that failed.
    pub lease_renewal_failures: Counter,
    appends: Family<OutcomeLabels, Counter>,
    append_seconds: Histogram,
    /// Connections to the broker that were lost.
    pub broker_losses: Counter,
    requests: Family<RequestLabels, Counter>,
    request_seconds: HistogramFamily<RouteLabels>,
    refusals: Family<ReasonLabels, Counter>,
    /// Streams of events that are open.
    pub sse_clients: Gauge,
    sockets: Family<TierLabels, Gauge>,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

/// The process's metrics.
pub fn metrics() -> &'static Metrics {
    &METRICS
}

/// All of them as text.
pub fn text() -> String {
    let mut text = String::new();
    text::encode(&mut text, &METRICS.registry).expect("writing to a string does not fail");
    text
}

impl Metrics {
    fn new() -> Self {
        let mut registry = Registry::default();
        let version = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("fastagency_build", "The program's version.", version);
        registry.register_collector(Box::new(process::ProcessCollector));
        let families = workflow::WorkflowFamilies::register(&mut registry);
        let mut metrics = Self {
            families,
            workflows: RwLock::default(),
            runs: Family::default(),
            oldest: Family::default(),
            runs_limit: Gauge::default(),
            queue: Family::default(),
            fencing_refusals: Counter::default(),
            lease_losses: Counter::default(),
            lease_renewal_failures: Counter::default(),
            appends: Family::default(),
            append_seconds: Histogram::new(QUICK),
            broker_losses: Counter::default(),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(|| Histogram::new(QUICK)),
            refusals: Family::default(),
            sse_clients: Gauge::default(),
            sockets: Family::default(),
            registry: Registry::default(),
        };
        let mut add = |name: &str, help: &str, metric: MetricKind| match metric {
            MetricKind::Counter(counter) => registry.register(name, help, counter),
            MetricKind::Gauge(gauge) => registry.register(name, help, gauge),
        };
        use MetricKind::{Counter as C, Gauge as G};
        add("fastagency_worker_runs_limit", "Runs that the worker can hold in memory.", G(metrics.runs_limit.clone()));
        add(
            "fastagency_fencing_refusals",
            "Writes of this worker that were refused because another worker has the run.",
            C(metrics.fencing_refusals.clone()),
        );
        add(
            "fastagency_lease_losses",
            "Times that this worker's lease may have run out.",
            C(metrics.lease_losses.clone()),
        );
        add(
            "fastagency_lease_renewal_failures",
            "Renewals of this worker's lease that failed.",
            C(metrics.lease_renewal_failures.clone()),
        );
        add(
            "fastagency_broker_connection_losses",
            "Connections to the NATS server that were lost.",
            C(metrics.broker_losses.clone()),
        );
        add("fastagency_sse_clients", "Streams of events that are open.", G(metrics.sse_clients.clone()));
        registry.register(
            "fastagency_runs",
            "All runs in the store by where they stand; from the worker that goes round them, the others say nothing.",
            metrics.runs.clone(),
        );
        registry.register(
            "fastagency_runs_oldest_seconds",
            "How long the run that has stood there longest has shown nothing new; from the worker that goes round.",
            metrics.oldest.clone(),
        );
        registry.register("fastagency_queue_jobs", "Jobs in the queue by workflow.", metrics.queue.clone());
        registry.register(
            "fastagency_appends",
            "Records appended to logs, by what came of it.",
            metrics.appends.clone(),
        );
        registry.register(
            "fastagency_append_seconds",
            "How long the broker took to store a record.",
            metrics.append_seconds.clone(),
        );
        registry.register("fastagency_http_requests", "HTTP requests that were answered.", metrics.requests.clone());
        registry.register(
            "fastagency_http_request_seconds",
            "How long a request waited for the beginning of its answer.",
            metrics.request_seconds.clone(),
        );
        registry.register("fastagency_logins_refused", "Callers who were not let in.", metrics.refusals.clone());
        registry.register("fastagency_sockets", "WebSockets that are open.", metrics.sockets.clone());
        // What has not happened yet is shown as nothing, so that the first time is seen as a change.
        for reason in REFUSALS {
            drop(metrics.refusals.get_or_create(&ReasonLabels { reason }));
        }
        for tier in [Tier::gateway, Tier::ui] {
            drop(metrics.sockets.get_or_create(&TierLabels { tier }));
        }
        metrics.registry = registry;
        metrics
    }

    /// The metrics of a workflow.
    pub fn workflow(&self, name: &str) -> Arc<WorkflowMetrics> {
        if let Some(known) = self.workflows.read().get(name) {
            return known.clone();
        }
        let mut workflows = self.workflows.write();
        workflows.entry(name.into()).or_insert_with(|| Arc::new(WorkflowMetrics::new(&self.families, name))).clone()
    }

    /// Takes note of an append.
    pub fn appended(&self, outcome: AppendOutcome, took: Duration) {
        self.appends.get_or_create(&OutcomeLabels { outcome }).inc();
        self.append_seconds.observe(took);
    }

    /// Takes note of an answered request.
    pub fn answered(&self, tier: Tier, method: &'static str, route: &'static str, status: u16, took: Duration) {
        self.requests.get_or_create(&RequestLabels { tier, method, route, status }).inc();
        self.request_seconds.get_or_create(&RouteLabels { tier, route }).observe(took);
    }

    /// Takes note of somebody who was not let in.
    pub fn refused(&self, reason: &'static str) {
        self.refusals.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// Counts an open socket until dropped.
    pub fn socket(&self, tier: Tier) -> OpenGauge {
        OpenGauge::new(&self.sockets.get_or_create(&TierLabels { tier }))
    }

    /// Counts an open stream of events until dropped.
    pub fn stream(&self) -> OpenGauge {
        OpenGauge::new(&self.sse_clients)
    }

    /// How many jobs of a workflow wait, and how many are with workers.
    pub fn queue(&self, workflow: &str, waiting: u64, taken: u64) {
        for (state, count) in [("waiting", waiting), ("taken", taken)] {
            let gauge = self.queue.get_or_create_owned(&JobLabels { workflow: workflow.to_owned(), state });
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Where all runs of the store stand: each place with how many there are and how old the oldest is.
    pub fn stand(&self, places: &[(&'static str, u64, Duration)]) {
        for &(state, count, oldest) in places {
            self.runs.get_or_create(&RunPlaceLabels { state }).set(i64::try_from(count).unwrap_or(i64::MAX));
            self.oldest
                .get_or_create(&RunPlaceLabels { state })
                .set(i64::try_from(oldest.as_secs()).unwrap_or(i64::MAX));
        }
    }

    /// This worker goes round the runs no more; another one knows.
    pub fn forget_stand(&self) {
        self.runs.clear();
        self.oldest.clear();
    }
}

enum MetricKind {
    Counter(Counter),
    Gauge(Gauge),
}

/// Something that is open, counted until dropped.
#[derive(Debug)]
pub struct OpenGauge(Gauge);

impl OpenGauge {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for OpenGauge {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A counter of dollars.
type DollarCounter = Counter<f64, AtomicU64>;
