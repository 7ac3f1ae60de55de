//! Traces for OpenTelemetry: one for each request and the run that it begins, from the page's tier to the model. Off unless
//! [`start`] was called; then nothing is made, read or copied.
//!
//! The place in a trace goes along with a future ([`TraceSpan::instrument`]) and between processes as W3C's `traceparent`: in the
//! headers of HTTP requests and of NATS messages, and in a run's first record, so that whoever takes the run up later, after
//! weeks perhaps, goes on with its trace.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::Poll;
use std::time::Duration;

use opentelemetry::trace::{
    Link, SpanBuilder, SpanContext, SpanId, Status, TraceContextExt, TraceFlags, TraceId, TraceState, Tracer,
    TracerProvider,
};
use opentelemetry::{Context, StringValue, Value};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use pin_project_lite::pin_project;
use secrecy::SecretString;

mod export;
pub mod genai;

pub use opentelemetry::KeyValue;
pub use opentelemetry::trace::SpanKind as Kind;

/// The header that says where in a trace its message belongs (W3C Trace Context).
pub const HEADER: &str = "traceparent";
/// How long the last spans may take to be sent when the program ends.
const FLUSH_WITHIN: Duration = Duration::from_secs(3);

/// What the collector must be known by.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its address; spans go to `/v1/traces` below it.
    pub endpoint: String,
    /// Headers that it wants to see, such as a key.
    pub headers: Vec<(String, SecretString)>,
    /// Which part of the traces that begin here is kept, 0 to 1.
    pub sample: f64,
    /// Whether spans hold what models and tools are asked and what they reply.
    pub content: bool,
}

/// Why there are no traces.
#[derive(Debug, thiserror::Error)]
#[error("traces cannot be sent to {endpoint}: {reason}")]
pub struct Error {
    endpoint: String,
    reason: String,
}

struct TraceRecorder {
    tracer: SdkTracer,
    content: bool,
}

static TRACES: OnceLock<TraceRecorder> = OnceLock::new();

/// Sends what is left when it is dropped.
#[must_use = "the last spans are sent when it is dropped"]
pub struct TraceFlush(SdkTracerProvider);

impl Drop for TraceFlush {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown_with_timeout(FLUSH_WITHIN) {
            tracing::debug!("the last spans were not sent: {error}");
        }
    }
}

/// Begins to make spans, for the life of the process. To be called within a runtime, and the result dropped outside of it.
pub fn start(settings: &Settings, tier: &'static str) -> Result<TraceFlush, Error> {
    let provider = export::provider(settings, tier)?;
    let tracer = provider.tracer("fastagency");
    // A second start (tests) keeps the first.
    let _ = TRACES.set(TraceRecorder { tracer, content: settings.content });
    Ok(TraceFlush(provider))
}

/// Whether spans are made.
pub fn is_on() -> bool {
    TRACES.get().is_some()
}

/// Whether spans hold what models and tools are asked and what they reply.
pub fn show_content() -> bool {
    TRACES.get().is_some_and(|traces| traces.content)
}

/// The place in a trace that goes along with what is executed now, as [`HEADER`] says it.
pub fn current() -> Option<String> {
    is_on().then(|| Context::map_current(written)).flatten()
}

fn written(context: &Context) -> Option<String> {
    let span = context.span();
    let place = span.span_context();
    let flags = place.trace_flags() & TraceFlags::SAMPLED;
    place.is_valid().then(|| format!("00-{}-{}-{:02x}", place.trace_id(), place.span_id(), flags))
}

/// Reads [`HEADER`]. What does not fit the format is no place.
fn read(header: &str) -> Option<SpanContext> {
    let mut parts = header.trim().split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let fits = is_hex(version, 2) && version != "ff" && is_hex(trace, 32) && is_hex(span, 16) && is_hex(flags, 2);
    if !fits || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    let place = SpanContext::new(trace, span, flags, true, TraceState::NONE);
    place.is_valid().then_some(place)
}

/// A list of texts, as the value of an attribute.
pub fn texts(texts: impl IntoIterator<Item = String>) -> Value {
    Value::Array(texts.into_iter().map(StringValue::from).collect::<Vec<_>>().into())
}

/// Where a span belongs.
#[derive(Debug, Clone, Copy)]
pub enum SpanParent<'a> {
    /// Under what goes along with what is executed now.
    Current,
    /// Under a place that came from elsewhere as [`HEADER`]; without one it begins a trace.
    Header(Option<&'a str>),
}

/// Something that takes its time. It ends when its last clone is dropped; without [`start`] it is nothing.
#[derive(Clone, Default)]
pub struct TraceSpan(Option<Context>);

impl TraceSpan {
    /// Begins one. What it is called and what is known of it is made only if somebody wants to see it.
    pub fn begin<N: Into<Cow<'static, str>>>(
        kind: Kind,
        under: SpanParent<'_>,
        describe: impl FnOnce() -> (N, Vec<KeyValue>),
    ) -> Self {
        Self::linked(kind, under, None, describe)
    }

    /// [`TraceSpan::begin`] for something that another trace has brought about, too.
    pub fn linked<N: Into<Cow<'static, str>>>(
        kind: Kind,
        under: SpanParent<'_>,
        link: Option<&str>,
        describe: impl FnOnce() -> (N, Vec<KeyValue>),
    ) -> Self {
        let Some(TraceRecorder { tracer, .. }) = TRACES.get() else { return Self(None) };
        let parent = match under {
            SpanParent::Current => Context::current(),
            SpanParent::Header(header) => match header.and_then(read) {
                Some(place) => Context::new().with_remote_span_context(place),
                None => Context::new(),
            },
        };
        let (name, attributes) = describe();
        let mut builder = SpanBuilder::from_name(name).with_kind(kind).with_attributes(attributes);
        let trace = parent.span().span_context().trace_id();
        if let Some(place) = link.and_then(read).filter(|place| place.trace_id() != trace) {
            builder = builder.with_links(vec![Link::with_context(place)]);
        }
        let span = tracer.build_with_context(builder, &parent);
        Self(Some(parent.with_span(span)))
    }

    /// The span that goes along with what is executed now, to be carried elsewhere.
    pub fn current() -> Self {
        Self(is_on().then(Context::current))
    }

    /// Adds what has become known.
    pub fn set(&self, name: &'static str, value: impl Into<Value>) {
        if let Some(context) = &self.0 {
            context.span().set_attribute(KeyValue::new(name, value));
        }
    }

    /// It went wrong: what kind of error it was, never its words.
    pub fn fail(&self, kind: &'static str) {
        if let Some(context) = &self.0 {
            context.span().set_attribute(KeyValue::new(genai::ERROR, kind));
            context.span().set_status(Status::error(kind));
        }
    }

    /// Whether somebody will see it.
    pub fn is_seen(&self) -> bool {
        self.0.as_ref().is_some_and(|context| context.span().is_recording())
    }

    /// Its place, as [`HEADER`] says it.
    pub fn place(&self) -> Option<String> {
        self.0.as_ref().and_then(written)
    }

    /// What is begun inside of the future belongs under this span.
    pub fn instrument<F: Future>(&self, future: F) -> SpannedFuture<F> {
        SpannedFuture { context: self.0.clone(), future }
    }
}

pin_project! {
    /// A future inside of a span.
    pub struct SpannedFuture<F> {
        context: Option<Context>,
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for SpannedFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, wake: &mut std::task::Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _inside = this.context.as_ref().map(|context| context.clone().attach());
        this.future.poll(wake)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_only_if_it_is_one() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let place = read(good).unwrap();
        assert!(place.is_sampled() && place.is_remote());
        assert_eq!(written(&Context::new().with_remote_span_context(place)).as_deref(), Some(good));
        assert!(read("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-comes-later").is_some());
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473\u{e9}-00f067aa0ba902b7-01",
        ] {
            assert!(read(bad).is_none(), "{bad:?}");
        }
    }
}
