//! `/api/audit`: everybody's runs for whoever must account for them (`crate::audit`): lists, timelines, what happens now,
//! and exports. Only for callers with the right to it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json as Reply;
use axum::body::Body as HttpBody;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::audit::verify::{self, LogVerifier};
use crate::audit::{
    CsvColumns, ExportFormat, PromptHistory, RunSelection, erase, event, every_run, history, listed, unreadable,
};
use crate::auth::Caller;
use crate::broker::run_lists::{LineOrder, LinePlace, LineQuery, MOST_LOOKED_THROUGH, nanoseconds};
use crate::broker::{LogUpdate, StoredRecord};
use crate::gateway::body::{JsonBody, ValidatedQuery};
use crate::gateway::error::{ApiError, Result};
use crate::gateway::events::EventIds;
use crate::gateway::runs::{read_cursor, run_id, show_lines};
use crate::gateway::{GatewayState, events, guard};
use crate::ids::{RunId, UserId};
use crate::problem::chain;
use crate::protocol::api::{
    AuditEventView, AuditEventsQuery, AuditHistory, AuditPageQuery, AuditRunList, AuditRunQuery, AuditRunView,
    EmptyEvent, EraseUser, Erased, LISTED, LONGEST_REASON, MOST_LISTED, RunVerification, Verification,
};
use crate::protocol::log::{LogEntry, RecordBody, RunErasure};
use crate::run::assembler::RecordAssembler;
use crate::run::lists::{self, SummaryPage};
use crate::run::summary::{self, RunSummary};
use crate::run::{self, redaction};
use crate::visible::checked_line;

/// How many exports and verifications of all runs go on at once: each reads every log there is.
pub const AT_ONCE: usize = 2;
/// How many runs a live tail remembers the workflow and user of; with one more all are looked up again as they are needed.
const MOST_REMEMBERED_RUNS: usize = 10_000;

/// `GET /api/audit/runs`.
pub async fn runs(
    State(gateway): State<Arc<GatewayState>>,
    caller: Caller,
    ValidatedQuery(selection): ValidatedQuery<RunSelection>,
    ValidatedQuery(page): ValidatedQuery<AuditPageQuery>,
) -> Result<Reply<AuditRunList>> {
    guard::may_audit(&gateway, &caller)?;
    let after = page.cursor.as_deref().map(read_cursor).transpose()?;
    let limit = page.limit.unwrap_or(LISTED).min(MOST_LISTED);
    let mut found = match selection.lines() {
        Some(filter) => {
            let (order, look_through) = (LineOrder::Newest, MOST_LOOKED_THROUGH);
            lists::page(&gateway.broker, &LineQuery { filter, order, after, limit, look_through }).await?
        }
        None => page_of_logs(&gateway, &selection, after, limit).await?,
    };
    show_lines(&gateway, &mut found.runs, |run| selection.takes(run));
    let runs = found.runs.iter().map(AuditRunView::from).collect();
    Ok(Reply(AuditRunList { runs, next: found.next.map(|next| next.to_string()) }))
}

/// A page of the runs of which the lists have no lines: every log is looked at.
async fn page_of_logs(
    gateway: &GatewayState,
    selection: &RunSelection,
    after: Option<LinePlace>,
    limit: usize,
) -> Result<SummaryPage> {
    let place = |run: &RunSummary| LinePlace { waits: false, at: nanoseconds(run.created_at), run: run.id };
    let mut runs = selection.of(listed(&gateway.broker, selection).await?);
    runs.retain(|run| after.is_none_or(|after| (place(run).at, run.id) < (after.at, after.run)));
    let is_more = runs.len() > limit;
    runs.truncate(limit);
    let next = runs.last().filter(|_| is_more).map(place);
    Ok(SummaryPage { runs, next })
}

/// A run in a few words, redacted.
fn line(gateway: &GatewayState, run: &mut RunSummary) -> AuditRunView {
    redaction::summary(&gateway.settings.redactor, run);
    AuditRunView::from(&*run)
}

/// `GET /api/audit/runs/{id}`.
pub async fn run(
    State(gateway): State<Arc<GatewayState>>,
    caller: Caller,
    Path(id): Path<String>,
    ValidatedQuery(query): ValidatedQuery<AuditRunQuery>,
) -> Result<Reply<AuditHistory>> {
    guard::may_audit(&gateway, &caller)?;
    let run = run_id(&id)?;
    let redactor = &gateway.settings.redactor;
    let history = history(&gateway.broker, run, redactor).await?;
    if history.is_empty() {
        return Err(ApiError::unknown_run(&id));
    }
    let mut summary = redaction::summary_of(redactor, run, &history.records);
    if let Some(title) = summary::title(&gateway.broker, summary.user.as_ref(), run).await? {
        summary.title = Some(title);
    }
    let mut prompts = PromptHistory::default();
    let tell = |placed: &LogEntry| {
        let whole = (query.prompts == Some(true)).then(|| prompts.of(&redaction::placed(redactor, placed)));
        AuditEventView { prompt: whole.flatten().map(Box::new), ..event(run, placed, redactor) }
    };
    let events = history.events(tell);
    Ok(Reply(AuditHistory { run: line(&gateway, &mut summary), events }))
}

fn verifier(gateway: &GatewayState) -> Result<&LogVerifier> {
    gateway.settings.verifier.as_ref().ok_or_else(|| {
        let message = "logs are not chained here: there is no key (audit.key)";
        ApiError::new(StatusCode::CONFLICT, "not_chained", message)
    })
}

impl From<verify::Error> for ApiError {
    fn from(error: verify::Error) -> Self {
        match error {
            verify::Error::Run(error) => error.into(),
            anchors => Self::internal(&anchors),
        }
    }
}

/// `GET /api/audit/runs/{id}/verify`.
pub async fn verify_one(
    State(gateway): State<Arc<GatewayState>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Reply<RunVerification>> {
    guard::may_audit(&gateway, &caller)?;
    let run = run_id(&id)?;
    let verdict = verifier(&gateway)?.one(&gateway.broker, run).await?;
    if !verdict.anchored && verdict.chained + verdict.unchained == 0 && verdict.is_clean() {
        return Err(ApiError::unknown_run(&id));
    }
    Ok(Reply((run, verdict).into()))
}

/// A place among those who read every log.
fn turn(audits: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit> {
    audits.clone().try_acquire_owned().map_err(|_| {
        let message = format!("{AT_ONCE} exports or verifications of all runs are under way; wait for one to end");
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", message).again_in(Duration::from_secs(5))
    })
}

/// `GET /api/audit/verify`.
pub async fn verify_all(State(gateway): State<Arc<GatewayState>>, caller: Caller) -> Result<Reply<Verification>> {
    guard::may_audit(&gateway, &caller)?;
    let _turn = turn(&gateway.audits)?;
    let report = verifier(&gateway)?.all(&gateway.broker, &|_, _| {}).await?;
    Ok(Reply(report.into()))
}

/// `POST /api/audit/erase`: takes everything that was said out of a person's runs.
pub async fn erase(
    State(gateway): State<Arc<GatewayState>>,
    caller: Caller,
    JsonBody(erasing): JsonBody<EraseUser>,
) -> Result<Reply<Erased>> {
    guard::may_erase(&gateway, &caller)?;
    let unfit = |message: &str| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_body", message);
    let user = UserId::new(erasing.user.as_str()).ok_or_else(|| unfit("user: must be the name of a user"))?;
    let reason = checked_line(&erasing.reason, LONGEST_REASON).map_err(|why| unfit(&format!("reason: {why}")))?;
    if reason.is_empty() {
        return Err(unfit("reason: must say why; it is kept"));
    }
    let reason = reason.to_owned();
    let by = caller.user.as_ref().map(ToString::to_string);
    let erasure = RunErasure { by, reason, at: gateway.clock.now() };
    let erased = erase::erase(&gateway.broker, &user, &erasure, gateway.settings.keep_evidence).await?;
    tracing::warn!("{} runs of a user were erased, {} have not ended yet", erased.erased.len(), erased.not_ended.len());
    Ok(Reply(erased))
}

/// The rest of the query of `GET /api/audit/export`, beside [`RunSelection`].
#[derive(Deserialize, schemars::JsonSchema)]
pub struct ExportQuery {
    /// What it is written in.
    format: ExportFormat,
}

/// `GET /api/audit/export`: the events of all runs that are meant, the oldest run first. One run at a time is in memory.
pub async fn export(
    State(gateway): State<Arc<GatewayState>>,
    caller: Caller,
    ValidatedQuery(selection): ValidatedQuery<RunSelection>,
    ValidatedQuery(ExportQuery { format }): ValidatedQuery<ExportQuery>,
) -> Result<Response> {
    guard::may_audit(&gateway, &caller)?;
    let turn = turn(&gateway.audits)?;
    let found = selection.of(every_run(&gateway.broker).await?);
    let by = caller.user.as_ref().map(UserId::as_str);
    tracing::info!(user.id = by, "the audit of {} runs was exported", found.len());
    // Of a list of many runs only what is written is kept.
    let todo: Vec<(RunId, CsvColumns)> = found.iter().map(|run| (run.id, CsvColumns::of(run))).collect();
    drop(found);
    let head = stream::iter((!format.head().is_empty()).then(|| Ok(Bytes::from(format.head()))));
    let rows = stream::unfold((gateway, todo, turn), move |(gateway, mut todo, turn)| async move {
        let (run, columns) = todo.pop()?;
        let written = lines(&gateway, run, &columns, format).await;
        if let Err(error) = &written {
            // The status has been sent long ago: the answer breaks off, so that nobody takes it for the whole.
            tracing::warn!("an export ended early: {}", chain(error));
            todo.clear();
        }
        Some((written, (gateway, todo, turn)))
    });
    let mut response = events::flowing(format.media_type(), HttpBody::from_stream(head.chain(rows)));
    let name = format!("attachment; filename=\"audit.{}\"", format.extension());
    response
        .headers_mut()
        .insert(header::CONTENT_DISPOSITION, HeaderValue::from_str(&name).expect("the names of formats are ASCII"));
    Ok(response)
}

async fn lines(gateway: &GatewayState, run: RunId, columns: &CsvColumns, format: ExportFormat) -> run::Result<Bytes> {
    let mut out = String::new();
    let redactor = &gateway.settings.redactor;
    for event in history(&gateway.broker, run, redactor).await?.told(redactor) {
        columns.write(format, &event, &mut out);
    }
    Ok(out.into())
}

/// `GET /api/audit/events`: what happens now in all runs, or in those that are meant, as server-sent events.
pub async fn events(
    State(gateway): State<Arc<GatewayState>>,
    caller: Caller,
    ValidatedQuery(watching): ValidatedQuery<AuditEventsQuery>,
) -> Result<Response> {
    let events = audit_tail(gateway, &caller, watching, EventIds::Sequence).await?;
    Ok(events::flowing("text/event-stream", HttpBody::from_stream(events.map(Ok::<Bytes, Infallible>))))
}

/// What happens now in all runs, or in those that are meant, if the caller may read the audit.
pub async fn audit_tail(
    gateway: Arc<GatewayState>,
    caller: &Caller,
    watching: AuditEventsQuery,
    ids: EventIds,
) -> Result<impl Stream<Item = Bytes> + use<>> {
    guard::may_audit(&gateway, caller)?;
    let only = watching.run.as_deref().map(run_id).transpose()?;
    let heard = gateway.broker.log.subscribe_all().await?;
    let tail = AuditTail {
        keep_alive_at: Instant::now() + gateway.settings.keep_alive,
        gateway,
        heard,
        watching,
        only,
        ids,
        whose: HashMap::new(),
        parts: HashMap::new(),
        over: false,
    };
    Ok(stream::unfold(tail, |mut tail| async move { Some((tail.next().await?, tail)) }))
}

/// Whose run it is, and of which workflow.
#[derive(Clone, Default)]
struct RunOwner {
    workflow: String,
    user: Option<String>,
}

/// What one watcher is sent.
struct AuditTail {
    gateway: Arc<GatewayState>,
    heard: BoxStream<'static, LogUpdate>,
    watching: AuditEventsQuery,
    only: Option<RunId>,
    ids: EventIds,
    whose: HashMap<RunId, RunOwner>,
    /// Large records that have come in part.
    parts: HashMap<RunId, RecordAssembler>,
    keep_alive_at: Instant,
    over: bool,
}

impl AuditTail {
    async fn next(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        loop {
            let shutdown = self.gateway.shutdown.clone();
            let event = tokio::select! {
                heard = self.heard.next() => match heard {
                    Some(LogUpdate::Record { run, stored }) => match self.take(run, &stored).await {
                        Some(event) => event,
                        None => continue,
                    },
                    Some(LogUpdate::Gap) => events::event("gap", &self.ids, None, &EmptyEvent {}),
                    None => self.goodbye(),
                },
                () = shutdown.soft() => self.goodbye(),
                () = tokio::time::sleep_until(self.keep_alive_at) => Bytes::from_static(b": alive\n\n"),
            };
            self.keep_alive_at = Instant::now() + self.gateway.settings.keep_alive;
            return Some(event);
        }
    }

    /// An event as a watcher is sent it.
    fn shown(&self, event: AuditEventView, whose: &RunOwner) -> Bytes {
        let (workflow, user) = (Some(whose.workflow.clone()), Some(whose.user.clone()));
        events::event("record", &self.ids, None, &AuditEventView { workflow, user, ..event })
    }

    fn goodbye(&mut self) -> Bytes {
        self.over = true;
        events::event("goodbye", &self.ids, None, &EmptyEvent {})
    }

    /// The events of a record, if it is one that is watched and can be read.
    async fn take(&mut self, run: RunId, stored: &StoredRecord) -> Option<Bytes> {
        if self.only.is_some_and(|only| only != run) {
            return None;
        }
        let mut assembler = self.parts.remove(&run).unwrap_or_default();
        let taken = assembler.look(run, stored);
        if taken.records.is_empty() && taken.unreadable.is_empty() {
            self.parts.insert(run, assembler);
        }
        // All of a history that was stored anew was told before.
        let is_tombstone = matches!(taken.records.as_slice(), [only] if only.seq == stored.seq);
        let news = if taken.anew && !is_tombstone { Vec::new() } else { taken.records };
        let mut told = BytesMut::new();
        if !taken.unreadable.is_empty() {
            let whose = self.look_up(run).await;
            for unread in taken.unreadable.iter().filter(|_| self.is_wanted(&whose)) {
                told.extend(self.shown(unreadable(run, unread), &whose));
            }
        }
        for placed in &news {
            told.extend(self.tell(run, placed).await.into_iter().flatten());
        }
        (!told.is_empty()).then(|| told.freeze())
    }

    /// The event of a record, if it is one that is watched.
    async fn tell(&mut self, run: RunId, placed: &LogEntry) -> Option<Bytes> {
        let whose = match &placed.record.body {
            RecordBody::Created(created) => {
                let user = created.user.as_ref().map(ToString::to_string);
                self.remember(run, RunOwner { workflow: created.workflow.to_string(), user })
            }
            _ => self.look_up(run).await,
        };
        if matches!(placed.record.body, RecordBody::Ended(_) | RecordBody::Removed(_)) {
            self.whose.remove(&run);
        }
        self.is_wanted(&whose).then(|| self.shown(event(run, placed, &self.gateway.settings.redactor), &whose))
    }

    fn is_wanted(&self, whose: &RunOwner) -> bool {
        self.watching.workflow.as_ref().is_none_or(|workflow| *workflow == whose.workflow)
            && self.watching.user.as_ref().is_none_or(|user| whose.user.as_ref() == Some(user))
    }

    fn remember(&mut self, run: RunId, whose: RunOwner) -> RunOwner {
        if self.whose.len() >= MOST_REMEMBERED_RUNS {
            self.whose.clear();
        }
        self.whose.insert(run, whose.clone());
        whose
    }

    async fn look_up(&mut self, run: RunId) -> RunOwner {
        if let Some(known) = self.whose.get(&run) {
            return known.clone();
        }
        let found = run::look(&self.gateway.broker, run, 0).await.ok().and_then(|looked| {
            let summary = RunSummary::of(run, &looked.records);
            let user = summary.user.as_ref().map(ToString::to_string);
            Some(RunOwner { workflow: summary.workflow?.to_string(), user })
        });
        match found {
            Some(whose) => self.remember(run, whose),
            None => RunOwner::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_read_every_log_at_once() {
        let audits = Arc::new(Semaphore::new(AT_ONCE));
        let mut held: Vec<_> = (0..AT_ONCE).map(|_| turn(&audits).unwrap()).collect();
        assert_eq!(turn(&audits).unwrap_err().status(), StatusCode::TOO_MANY_REQUESTS);
        held.pop();
        assert!(turn(&audits).is_ok());
    }
}
