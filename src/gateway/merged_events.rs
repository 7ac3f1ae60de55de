//! `GET /api/events`: the events of several runs, and of the audit, in one stream. A browser opens six connections to one server
//! at most (HTTP/1.1), so a page for each of seven runs would leave the last without any; all pages of one person share this one.
//! It keeps nothing: who follows other runs from now on asks anew, at whichever gateway, with what was read of each.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body as HttpBody;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream, SelectAll};

use crate::auth::{Caller, KeyScope};
use crate::gateway::body::ValidatedQuery;
use crate::gateway::error::{ApiError, Result};
use crate::gateway::events::{EventIds, RunEventStream, event, flowing};
use crate::gateway::{GatewayState, audit, guard};
use crate::ids::RunId;
use crate::protocol::api::{AuditEventsQuery, EventsQuery, GoodbyeView, MOST_FOLLOWED};

/// The name of the audit among the streams; no run has it, as a run's id has 32 digits.
const AUDIT: &str = "audit";

/// `GET /api/events`.
pub async fn events(
    State(gateway): State<Arc<GatewayState>>,
    caller: Caller,
    ValidatedQuery(query): ValidatedQuery<EventsQuery>,
) -> Result<Response> {
    let runs = followed(query.runs.as_deref().unwrap_or_default()).map_err(refused)?;
    let with_audit = query.audit.unwrap_or(false);
    if runs.is_empty() && !with_audit {
        return Err(refused("it names nothing to follow: give runs=ID,ID or audit=true".to_owned()));
    }
    let needs: Vec<KeyScope> = [(!runs.is_empty(), KeyScope::See), (with_audit, KeyScope::Audit)]
        .into_iter()
        .filter_map(|(is_asked, scope)| is_asked.then_some(scope))
        .collect();
    if let Some(scope) = caller.lacks(&needs) {
        let words = format!("this key is not for that: it has not the scope {:?}", scope.name());
        return Err(ApiError::forbidden(words));
    }
    if with_audit {
        guard::may_audit(&gateway, &caller)?;
    }
    let mut merged = SelectAll::new();
    for (run, after) in runs {
        merged.push(of_run(gateway.clone(), caller.clone(), run, after));
    }
    if with_audit {
        let ids = EventIds::Stream(AUDIT.to_owned());
        let tail = audit::audit_tail(gateway.clone(), &caller, AuditEventsQuery::default(), ids).await?;
        merged.push(tail.boxed());
    }
    Ok(flowing("text/event-stream", HttpBody::from_stream(merged.map(Ok::<Bytes, Infallible>))))
}

/// The events of one run. What cannot be followed is said within its own stream, and ends only that.
fn of_run(gateway: Arc<GatewayState>, caller: Caller, run: RunId, after: u64) -> BoxStream<'static, Bytes> {
    let ids = EventIds::Stream(run.to_string());
    let opened = async move {
        let failed = |error: ApiError| event("error", &ids, None, &error.body());
        match RunEventStream::open(gateway, caller, run, after, ids.clone()).await {
            Ok(events) => events.into_stream().boxed(),
            // A fault that passes: the client comes again, and has missed nothing.
            Err(error) if error.status().is_server_error() || error.status() == StatusCode::TOO_MANY_REQUESTS => {
                stream::iter([event("goodbye", &ids, None, &GoodbyeView { after })]).boxed()
            }
            Err(error) => stream::iter([failed(error)]).boxed(),
        }
    };
    stream::once(opened).flatten().boxed()
}

/// What `runs` says: each run, and the sequence after which it is followed. Of a run that stands there twice, all is sent that one of
/// the two needs.
fn followed(text: &str) -> Result<BTreeMap<RunId, u64>, String> {
    let mut runs = BTreeMap::new();
    for (place, named) in text.split(',').filter(|_| !text.is_empty()).enumerate() {
        let (id, after) = named.split_once(':').unwrap_or((named, "0"));
        let run = RunId::parse(id).map_err(|_| format!("runs: number {} is no id of a run", place + 1))?;
        let after: u64 =
            after.parse().map_err(|_| format!("runs: number {}: behind the colon stands no sequence", place + 1))?;
        runs.entry(run).and_modify(|known| *known = after.min(*known)).or_insert(after);
        if runs.len() > MOST_FOLLOWED {
            return Err(format!("runs: more than {MOST_FOLLOWED} do not fit into one stream"));
        }
    }
    Ok(runs)
}

fn refused(why: String) -> ApiError {
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_query", format!("the query does not fit: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_read_with_the_place_that_each_is_followed_from() {
        let (one, two) = ("0".repeat(31) + "1", "0".repeat(31) + "2");
        let read = |text: String| followed(&text).map(|runs| runs.into_values().collect::<Vec<u64>>());
        assert_eq!(read(String::new()), Ok(vec![]));
        assert_eq!(read(format!("{two}:7,{one}")), Ok(vec![0, 7]));
        assert_eq!(read(format!("{one}:9,{one}:4,{one}:8")), Ok(vec![4]));
        for (wrong, why) in [
            (format!("{one},"), "number 2 is no id"),
            (format!("{one},x:1"), "number 2 is no id"),
            (format!("{one}:"), "number 1: behind the colon"),
            (format!("{one}:-1"), "number 1: behind the colon"),
            (format!("{one}:1:2"), "number 1: behind the colon"),
            (format!("{one}\n:1"), "number 1 is no id"),
        ] {
            assert!(read(wrong.clone()).is_err_and(|said| said.contains(why)), "{wrong:?}");
        }
        let many = |count: usize| (0..count).map(|each| format!("{each:032x}:1")).collect::<Vec<_>>().join(",");
        assert_eq!(read(many(MOST_FOLLOWED)).map(|runs| runs.len()), Ok(MOST_FOLLOWED));
        assert!(read(many(MOST_FOLLOWED + 1)).is_err_and(|said| said.contains("more than 150")));
    }
}
