//! Sessions of the page and tokens that were ended before their time: no gateway takes them any more. Kept at the broker for as
//! long as they would have counted, and at hand here, so that a request costs no look-up. Stored are digests of random ids:
//! they name nobody. What a gateway has seen there it keeps until its time is over: a mark that somebody takes away revives
//! nothing where it is known.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::auth::session::{HEADER, NamedSession, SessionId, now};
use crate::auth::{AuthDenial, Caller};
use crate::bounds;
use crate::broker::{self, Broker, Bucket};
use crate::gateway::GatewayState;
use crate::gateway::body::JsonBody;
use crate::gateway::error::{ApiError, Result};
use crate::ids::hex;
use crate::lifecycle::Shutdown;
use crate::protocol::api::EndSession;

/// What the keys of ended sessions begin with.
const ENDED: &str = "ended";
/// How often the clock is looked at until a token ends, in seconds.
const LOOK_AT_CLOCK: u64 = 60;
/// The longest that an ended session is kept: as long as browsers keep a cookie.
const LONGEST_KEPT: Duration = Duration::from_secs(400 * 24 * 3600);
/// Ended sessions that are kept, at most.
const MOST_ENDED_SESSIONS: usize = 1_000_000;
/// The shortest time between two readings of the list, and how many times as long as a reading itself took.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const PAUSE_FACTOR: u32 = 10;
/// The longest time between two readings, should the broker have forgotten to tell.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// How long to wait after the broker failed.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// How often it is looked whether users and keys have changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The digest of an id.
type SessionMark = [u8; 16];

/// What is stored under a mark.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct EndedSession {
    /// Until when it would have counted, in seconds since 1970; none: stored by an earlier version.
    #[serde(default)]
    until: Option<u64>,
}

/// The marks that are at hand.
#[derive(Default)]
struct KnownMarks {
    /// Until when each counts, in seconds since 1970.
    ended: HashMap<SessionMark, u64>,
    /// Whether these are all that were stored when the list was read last.
    is_all: bool,
}

impl KnownMarks {
    /// Takes in what the list has now. What it has no more stays until its time is over. Returns whether
    /// anything changed.
    fn take(&mut self, found: HashMap<SessionMark, u64>, now: u64) -> bool {
        self.is_all = true;
        let known = self.ended.len();
        self.ended.retain(|mark, until| *until > now || found.contains_key(mark));
        // Somebody who may write the list may write and remove marks without end; those that it still has are the ones to keep.
        if self.ended.len() > MOST_ENDED_SESSIONS {
            self.ended.retain(|mark, _| found.contains_key(mark));
        }
        let kept = self.ended.len();
        for (mark, until) in found {
            let kept = self.ended.entry(mark).or_insert(until);
            // The later one holds: a mark that somebody has put again with an earlier end was known before.
            *kept = until.max(*kept);
        }
        self.ended.len() > kept || kept < known
    }
}

/// Which sessions and tokens were ended.
pub struct EndedSessions {
    broker: Broker,
    at_hand: RwLock<KnownMarks>,
    /// Told whenever a session may have ended: here, elsewhere, or with its user.
    changed: watch::Sender<()>,
}

fn mark(id: &SessionId) -> SessionMark {
    let digest = Sha256::new().chain_update(b"fastagency session v1\0").chain_update(id).finalize();
    digest[..16].try_into().expect("a digest has 32 bytes")
}

fn key(mark: &SessionMark) -> String {
    format!("{ENDED}.{}", hex(mark))
}

impl EndedSessions {
    /// Knows nothing yet; [`EndedSessions::keep`] is to be started.
    pub fn new(broker: Broker) -> Self {
        Self { broker, at_hand: RwLock::default(), changed: watch::Sender::new(()) }
    }

    /// Ends a session or a token, which would have counted for so long.
    async fn end(&self, id: &SessionId, lifetime: Duration) -> Result<()> {
        let mark = mark(id);
        if self.read().ended.len() >= MOST_ENDED_SESSIONS {
            tracing::error!("{MOST_ENDED_SESSIONS} sessions were ended before their time; no more can be kept");
            return Err(broker::Error::Full { what: "ended sessions".to_owned() }.into());
        }
        let lifetime = lifetime.clamp(Duration::from_secs(1), LONGEST_KEPT);
        let until = now().saturating_add(lifetime.as_secs());
        let value = serde_json::to_vec(&EndedSession { until: Some(until) }).expect("it is JSON");
        self.broker.catalogue.put(Bucket::Gateways, &key(&mark), value.into(), Some(lifetime)).await?;
        self.write().ended.insert(mark, until);
        self.changed.send_replace(());
        Ok(())
    }

    fn read(&self) -> RwLockReadGuard<'_, KnownMarks> {
        self.at_hand.read()
    }

    fn write(&self) -> RwLockWriteGuard<'_, KnownMarks> {
        self.at_hand.write()
    }

    /// Whether it was ended, as far as it is known here; none: it is not known.
    fn at_hand(&self, id: &SessionId) -> Option<bool> {
        let at_hand = self.read();
        let ended = !at_hand.ended.is_empty() && at_hand.ended.contains_key(&mark(id));
        (ended || at_hand.is_all).then_some(ended)
    }

    async fn was_ended(&self, id: &SessionId) -> broker::Result<bool> {
        match self.at_hand(id) {
            Some(known) => Ok(known),
            None => Ok(self.broker.catalogue.get(Bucket::Gateways, &key(&mark(id))).await?.is_some()),
        }
    }

    /// Keeps what is at hand up to date until the end.
    pub async fn keep(&self, gateway: &GatewayState, shutdown: Shutdown) {
        let users = async {
            let mut changes = gateway.auth.changes();
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                let now = gateway.auth.changes();
                if now != changes {
                    changes = now;
                    self.changed.send_replace(());
                }
            }
        };
        let ended = async {
            loop {
                if let Err(error) = self.follow().await {
                    // What was known stays: whatever ended since cannot have been stored, or will be told.
                    tracing::debug!("the list of ended sessions is not up to date: {error}");
                }
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        };
        tokio::select! {
            () = shutdown.soft() => {}
            () = users => {}
            () = ended => {}
        }
    }

    async fn follow(&self) -> broker::Result<()> {
        let mut changes = self.broker.catalogue.watch(Bucket::Gateways).await?;
        loop {
            let began = Instant::now();
            let entries = self.broker.catalogue.list(Bucket::Gateways, Some(ENDED)).await?;
            let now = now();
            let latest = now.saturating_add(LONGEST_KEPT.as_secs());
            let marks = entries.iter().filter_map(|entry| {
                let mark = crate::auth::session::read_id(entry.key.rsplit('.').next()?)?;
                let ended: Option<EndedSession> = bounds::parse(&entry.value).ok();
                Some((mark, ended.and_then(|ended| ended.until).map_or(latest, |until| until.min(latest))))
            });
            if self.write().take(marks.collect(), now) {
                self.changed.send_replace(());
            }
            tokio::time::sleep(SHORTEST_PAUSE.max(began.elapsed() * PAUSE_FACTOR)).await;
            if let Ok(None) = tokio::time::timeout(LONGEST_PAUSE, changes.next()).await {
                return Ok(());
            }
        }
    }
}

/// Learns which session a request belongs to, and refuses it if that one is over.
pub async fn check(gateway: &GatewayState, headers: &HeaderMap, caller: &mut Caller) -> Result<(), AuthDenial> {
    let over = || AuthDenial::Wrong { why: "the session was ended".to_owned() };
    if let Some(value) = headers.get(HEADER) {
        let named = value.to_str().ok().and_then(NamedSession::read).ok_or_else(over)?;
        if named.version.is_some() && named.version.as_deref() != caller.version.as_deref() {
            return Err(AuthDenial::Wrong {
                why: "the session was begun with another password, or by another user".to_owned(),
            });
        }
        caller.session = Some(named.id);
    }
    for id in [caller.session, caller.token].iter().flatten() {
        match gateway.sessions.was_ended(id).await {
            Ok(false) => {}
            Ok(true) => return Err(over()),
            Err(error) => return Err(AuthDenial::Unavailable { why: error.to_string() }),
        }
    }
    Ok(())
}

/// Waits until a caller who was let in would not be let in any more, or not for the same, and says why; none: that cannot
/// happen.
pub fn over(gateway: &Arc<GatewayState>, caller: &Caller) -> Option<BoxFuture<'static, &'static str>> {
    let ends = caller.until.map(until);
    if caller.session.is_none() && caller.token.is_none() && caller.version.is_none() {
        return ends.map(|ends| Box::pin(ends.map(|()| RUN_OUT)) as BoxFuture<'static, &'static str>);
    }
    let (gateway, mut changed) = (gateway.clone(), gateway.sessions.changed.subscribe());
    let ids = [caller.session, caller.token];
    // Only what is asked for: it waits as long as a socket is open.
    let known = caller.version.is_some().then(|| {
        let (user, version) = (caller.user.clone(), caller.version.clone());
        let (groups, scopes) = (caller.groups.clone(), caller.scopes.clone());
        Box::new(Caller { user, version, groups, scopes, ..Caller::default() })
    });
    let changed = async move {
        loop {
            let ended = ids.iter().flatten().any(|id| gateway.sessions.at_hand(id) == Some(true));
            if ended || known.as_deref().is_some_and(|caller| !gateway.auth.still_counts(caller)) {
                return;
            }
            if changed.changed().await.is_err() {
                return;
            }
        }
    };
    Some(match ends {
        None => Box::pin(changed.map(|()| ENDED_HERE)),
        Some(ends) => Box::pin(async move {
            tokio::select! {
                () = changed => ENDED_HERE,
                () = ends => RUN_OUT,
            }
        }),
    })
}

/// Why what goes on for long is closed.
const ENDED_HERE: &str = "signed out";
const RUN_OUT: &str = "the token has run out; come back with a new one";

/// Waits until a moment, in seconds since 1970. Looked at now and then: a machine that slept has another time.
async fn until(moment: u64) {
    loop {
        let left = moment.saturating_sub(now());
        if left == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_secs(left.min(LOOK_AT_CLOCK))).await;
    }
}

/// `POST /api/session/end`: what the request belongs to, a session of the page or a token of ours, counts nowhere any more.
pub async fn end(
    State(gateway): State<Arc<GatewayState>>,
    caller: Caller,
    JsonBody(end): JsonBody<EndSession>,
) -> Result<StatusCode> {
    if caller.session.is_none() && caller.token.is_none() {
        let words = "there is nothing to end: the request belongs to no session, and shows no token of this gateway";
        return Err(ApiError::new(StatusCode::CONFLICT, "no_session", words));
    }
    gateway.limits.end_of_session(&caller)?;
    if let Some(session) = &caller.session {
        let lifetime = end.lifetime.map_or(LONGEST_KEPT, Duration::from_secs);
        gateway.sessions.end(session, lifetime).await?;
    }
    if let Some(token) = &caller.token {
        gateway.sessions.end(token, gateway.auth.token_lifetime().unwrap_or(LONGEST_KEPT)).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}
