//! `GET /api/runs/{id}/events`: a run's log as server-sent events, and then what happens. The client pulls: what it does not
//! read stays unread at the broker, so a slow one costs nobody but itself.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body as HttpBody;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::auth::Caller;
use crate::config::AccessRight;
use crate::gateway::body::ValidatedQuery;
use crate::gateway::error::{ApiError, Result};
use crate::gateway::limits::ConnectionGuard;
use crate::gateway::permissions::RunPermissions;
use crate::gateway::runs::run_id;
use crate::gateway::{GatewayState, projection};
use crate::ids::RunId;
use crate::metrics::{OpenGauge, metrics};
use crate::problem::chain;
use crate::protocol::api::{CaughtUpView, GoodbyeView, RecordBodyView, RunEventsQuery};
use crate::protocol::log::{EffectOutcome, LogEntry, RecordBody, RunCreation};
use crate::run;
use crate::run::attach::{AttachedFollower, FollowedEvent, attach};
use crate::run::redaction;

/// `GET /api/runs/{id}/events`.
pub async fn events(
    State(gateway): State<Arc<GatewayState>>,
    caller: Caller,
    headers: HeaderMap,
    Path(id): Path<String>,
    ValidatedQuery(query): ValidatedQuery<RunEventsQuery>,
) -> Result<Response> {
    let run = run_id(&id)?;
    // A browser that connects again repeats its first address and adds this header: the header is the newer of the two.
    let after = match headers.get("last-event-id") {
        None => query.after.unwrap_or(0),
        Some(value) => value.to_str().ok().and_then(|text| text.trim().parse().ok()).ok_or_else(|| {
            let message = "Last-Event-ID: must be the id of an event of this run (a number)";
            ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_last_event_id", message)
        })?,
    };
    let follow = query.follow.unwrap_or(true);
    let mut events = RunEventStream::open(gateway, caller, run, after, EventIds::Sequence).await?;
    events.follow = follow;
    let body = events.into_stream().map(Ok::<Bytes, Infallible>);
    Ok(flowing("text/event-stream", HttpBody::from_stream(body)))
}

/// An answer that goes on for as long as something happens.
pub(super) fn flowing(media_type: &'static str, body: HttpBody) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx holds events back otherwise.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// What the `id` of an event says.
#[derive(Debug, Clone)]
pub(super) enum EventIds {
    /// Of a record its sequence, if no other record with it follows; nothing of another event: there is one stream.
    Sequence,
    /// Which of several streams it belongs to, and behind it, of such a record, `:` and its sequence.
    Stream(String),
}

/// What is left to send to one client of one run.
pub(super) struct RunEventStream {
    gateway: Arc<GatewayState>,
    run: RunId,
    attached: AttachedFollower,
    /// How the run began, without its parameters.
    created: Box<RunCreation>,
    /// Who reads.
    caller: Caller,
    after: u64,
    /// The sequence of the last record that was sent.
    last: u64,
    follow: bool,
    ids: EventIds,
    waiting: VecDeque<Bytes>,
    _open: OpenGauge,
    keep_alive_at: Instant,
    over: bool,
    /// Its place among its caller's streams.
    _held: Option<ConnectionGuard>,
}

impl RunEventStream {
    /// Follows a run after this record, if the caller may see it.
    pub(super) async fn open(
        gateway: Arc<GatewayState>,
        caller: Caller,
        run: RunId,
        after: u64,
        ids: EventIds,
    ) -> Result<Self> {
        let held = gateway.limits.stream(&caller)?;
        let mut attached = attach(&gateway.broker, run, 0).await?;
        // The log is read from its start, because its first record says whose run it is.
        let (first, created) = match attached.next().await? {
            Some(FollowedEvent::Record(placed)) => match &placed.record.body {
                RecordBody::Created(created)
                    if gateway.auth.may(
                        &caller,
                        AccessRight::See,
                        created.workflow.as_str(),
                        created.user.as_ref(),
                    ) =>
                {
                    let created = RunCreation { params: Map::new(), ..created.clone() };
                    (placed, Box::new(created))
                }
                _ => return Err(ApiError::unknown_run(&run.to_string())),
            },
            _ => return Err(ApiError::unknown_run(&run.to_string())),
        };
        let mut events = Self {
            keep_alive_at: Instant::now() + gateway.settings.keep_alive,
            gateway,
            run,
            attached,
            created,
            caller,
            after,
            last: after,
            follow: true,
            ids,
            waiting: VecDeque::new(),
            _open: metrics().stream(),
            over: false,
            _held: held,
        };
        events.take(FollowedEvent::Record(first));
        Ok(events)
    }

    /// Its events, one by one.
    pub(super) fn into_stream(self) -> impl Stream<Item = Bytes> {
        stream::unfold(self, |mut events| async move { Some((events.next().await?, events)) })
    }

    /// The next event; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                self.keep_alive_at = Instant::now() + self.gateway.settings.keep_alive;
                return Some(event);
            }
            if self.over {
                return None;
            }
            let shutdown = self.gateway.shutdown.clone();
            tokio::select! {
                seen = self.attached.next() => match seen {
                    Ok(Some(seen)) => self.take(seen),
                    Ok(None) => self.over = true,
                    Err(error) => self.fail(error),
                },
                () = shutdown.soft() => self.goodbye(),
                () = tokio::time::sleep_until(self.keep_alive_at) => self.waiting.push_back(Bytes::from_static(b": alive\n\n")),
            }
        }
    }

    fn take(&mut self, seen: FollowedEvent) {
        match seen {
            FollowedEvent::Record(placed) if placed.seq > self.after => {
                self.last = placed.seq;
                self.gateway.unclaimed.saw(self.run, &placed);
                self.gateway.recent_ends.saw(self.run, &placed);
                let placed = redaction::placed(&self.gateway.settings.redactor, &placed);
                if let Some(mut shown) = projection::record(&placed) {
                    self.say_who_is_asked(&placed, &mut shown.body);
                    // Who goes on behind the first step of an append is sent all of it once more.
                    let seq = placed.record.step.is_none().then_some(placed.seq);
                    self.waiting.push_back(event("record", &self.ids, seq, &shown));
                }
            }
            FollowedEvent::Record(_) => {}
            FollowedEvent::CaughtUp { seq } => {
                self.waiting.push_back(event("caught_up", &self.ids, None, &CaughtUpView { seq }));
                self.over |= !self.follow;
            }
            FollowedEvent::Delta(delta) => self.waiting.extend(pass_on(&self.ids, &delta)),
        }
    }

    /// Says at a question that the reader may not answer whom it waits for.
    fn say_who_is_asked(&self, placed: &LogEntry, shown: &mut RecordBodyView) {
        let permissions = || RunPermissions::of_created(&self.gateway, &self.caller, &self.created);
        match (&placed.record.body, shown) {
            (RecordBody::Said { message, .. }, RecordBodyView::Said { message: view }) if message.says.asks() => {
                if let Some(who) = permissions().waits_for(message.says.answerers(), 0)
                    && let Some(content) = view.content.as_object_mut()
                {
                    content.insert("waits_for".to_owned(), Value::String(who));
                }
            }
            (
                RecordBody::Did { outcome: EffectOutcome::Reminded(reminder), .. },
                RecordBodyView::Reminded { waits_for, .. },
            ) => *waits_for = permissions().waits_for(Some(&reminder.answerers), reminder.escalated),
            _ => {}
        }
    }

    fn goodbye(&mut self) {
        self.waiting.push_back(event("goodbye", &self.ids, None, &GoodbyeView { after: self.last }));
        self.over = true;
    }

    fn fail(&mut self, error: run::Error) {
        match error {
            // The client connects again, here or elsewhere, and misses nothing.
            run::Error::Broker(error) => {
                tracing::debug!("a stream of events ended early: {}", chain(&error));
                self.goodbye();
            }
            other => {
                let error = ApiError::from(other);
                self.waiting.push_back(event("error", &self.ids, None, &error.body()));
                self.over = true;
            }
        }
    }
}

/// An event in the format of server-sent events; `seq` of a record that may be gone on behind.
pub(super) fn event(name: &str, ids: &EventIds, seq: Option<u64>, data: &impl Serialize) -> Bytes {
    framed(name, ids, seq, &serde_json::to_string(data).expect("what is sent is JSON"))
}

/// The same, its data written already, in one line.
fn framed(name: &str, ids: &EventIds, seq: Option<u64>, data: &str) -> Bytes {
    match (ids, seq) {
        (EventIds::Sequence, None) => format!("event: {name}\ndata: {data}\n\n"),
        (EventIds::Sequence, Some(seq)) => format!("event: {name}\nid: {seq}\ndata: {data}\n\n"),
        (EventIds::Stream(stream), None) => format!("event: {name}\nid: {stream}\ndata: {data}\n\n"),
        (EventIds::Stream(stream), Some(seq)) => format!("event: {name}\nid: {stream}:{seq}\ndata: {data}\n\n"),
    }
    .into()
}

/// A delta as its worker wrote it; one that would break the format is written anew, or dropped if it is no JSON.
fn pass_on(ids: &EventIds, delta: &[u8]) -> Option<Bytes> {
    let text = std::str::from_utf8(delta).ok()?;
    if text.contains(['\n', '\r']) {
        let value: Value = crate::bounds::parse(delta).ok()?;
        return Some(event("delta", ids, None, &value));
    }
    Some(framed("delta", ids, None, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_never_broken_by_what_it_carries() {
        let one = &EventIds::Sequence;
        assert_eq!(framed("record", one, Some(41), r#"{"a":1}"#), "event: record\nid: 41\ndata: {\"a\":1}\n\n");
        let of = &EventIds::Stream("ab".to_owned());
        assert_eq!(framed("record", of, Some(41), r#"{"a":1}"#), "event: record\nid: ab:41\ndata: {\"a\":1}\n\n");
        assert_eq!(framed("delta", of, None, r#"{"a":1}"#), "event: delta\nid: ab\ndata: {\"a\":1}\n\n");
        assert_eq!(pass_on(one, b"{\"text\":\"a\\nb\"}").unwrap(), "event: delta\ndata: {\"text\":\"a\\nb\"}\n\n");
        assert_eq!(pass_on(one, b"{\n\"text\": \"a\"}").unwrap(), "event: delta\ndata: {\"text\":\"a\"}\n\n");
        assert_eq!(pass_on(one, b"no\nJSON"), None);
        assert_eq!(pass_on(one, &[0xff]), None);
    }
}
