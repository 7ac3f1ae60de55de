//! Sessions of the page and tokens that were ended before their time: no gateway takes them any more. Kept at the broker for as
//! long as they would have counted, and at hand here, so that a request costs no look-up. Stored are digests of random ids:
//! they name nobody.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::auth::session::{HEADER, Named, SessionId};
use crate::auth::{Caller, Denied};
use crate::broker::{self, Broker, Shelf};
use crate::gateway::Gateway;
use crate::gateway::body::Json;
use crate::gateway::error::{ApiError, Result};
use crate::ids::hex;
use crate::lifecycle::Shutdown;

/// What the keys of ended sessions begin with.
const ENDED: &str = "ended";
/// How often the clock is looked at until a token ends, in seconds.
const LOOK_AT_CLOCK: u64 = 60;
/// The longest that an ended session is kept: as long as browsers keep a cookie.
const LONGEST: Duration = Duration::from_secs(400 * 24 * 3600);
/// Ended sessions that are kept, at most.
const MOST: usize = 1_000_000;
/// The shortest time between two readings of the list, and how many times as long as a reading itself took.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const PAUSE_FACTOR: u32 = 10;
/// The longest time between two readings, should the broker have forgotten to tell.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// How long to wait after the broker failed.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// How often it is looked whether users and keys have changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a session that was ended here is kept in mind beside the list: a list that is being read may not have it yet.
const NOT_YET_LISTED: Duration = Duration::from_secs(60);

/// The digest of an id.
type Mark = [u8; 16];

/// Which sessions and tokens were ended.
pub struct Sessions {
    broker: Broker,
    /// None: not known yet.
    ended: RwLock<Option<HashSet<Mark>>>,
    ended_here: RwLock<HashMap<Mark, Instant>>,
    /// Told whenever a session may have ended: here, elsewhere, or with its user.
    changed: watch::Sender<()>,
}

fn mark(id: &SessionId) -> Mark {
    let digest = Sha256::new().chain_update(b"fastagency session v1\0").chain_update(id).finalize();
    digest[..16].try_into().expect("a digest has 32 bytes")
}

fn key(mark: &Mark) -> String {
    format!("{ENDED}.{}", hex(mark))
}

impl Sessions {
    /// Knows nothing yet; [`Sessions::keep`] is to be started.
    pub fn new(broker: Broker) -> Self {
        let (ended, ended_here) = (RwLock::new(None), RwLock::default());
        Self { broker, ended, ended_here, changed: watch::Sender::new(()) }
    }

    /// Ends a session or a token, which would have counted for so long.
    async fn end(&self, id: &SessionId, lifetime: Duration) -> Result<()> {
        let mark = mark(id);
        if self.count() >= MOST {
            tracing::error!("{MOST} sessions were ended before their time; no more can be kept");
            return Err(broker::Error::Full { what: "ended sessions".to_owned() }.into());
        }
        let lifetime = lifetime.clamp(Duration::from_secs(1), LONGEST);
        self.broker.catalogue.put(Shelf::Gateways, &key(&mark), "{}".into(), Some(lifetime)).await?;
        self.ended_here.write().unwrap_or_else(PoisonError::into_inner).insert(mark, Instant::now());
        if let Some(ended) = &mut *self.ended.write().unwrap_or_else(PoisonError::into_inner) {
            ended.insert(mark);
        }
        self.changed.send_replace(());
        Ok(())
    }

    fn count(&self) -> usize {
        self.ended.read().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(0, HashSet::len)
    }

    /// Whether it was ended, as far as it is known here; none: nothing is known yet.
    fn at_hand(&self, id: &SessionId) -> Option<bool> {
        let ended = self.ended.read().unwrap_or_else(PoisonError::into_inner);
        ended.as_ref().map(|ended| !ended.is_empty() && ended.contains(&mark(id)))
    }

    async fn was_ended(&self, id: &SessionId) -> broker::Result<bool> {
        match self.at_hand(id) {
            Some(known) => Ok(known),
            None => Ok(self.broker.catalogue.get(Shelf::Gateways, &key(&mark(id))).await?.is_some()),
        }
    }

    /// Keeps what is at hand up to date until the end.
    pub async fn keep(&self, gateway: &Gateway, shutdown: Shutdown) {
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
        let mut changes = self.broker.catalogue.watch(Shelf::Gateways).await?;
        loop {
            let began = Instant::now();
            let entries = self.broker.catalogue.list(Shelf::Gateways, Some(ENDED)).await?;
            let marks = entries.iter().filter_map(|entry| {
                let digits = entry.key.rsplit('.').next()?;
                crate::auth::session::read_id(digits)
            });
            self.put(marks.collect());
            tokio::time::sleep(SHORTEST_PAUSE.max(began.elapsed() * PAUSE_FACTOR)).await;
            if let Ok(None) = tokio::time::timeout(LONGEST_PAUSE, changes.next()).await {
                return Ok(());
            }
        }
    }

    fn put(&self, mut found: HashSet<Mark>) {
        let mut here = self.ended_here.write().unwrap_or_else(PoisonError::into_inner);
        here.retain(|_, when| when.elapsed() < NOT_YET_LISTED);
        found.extend(here.keys().copied());
        drop(here);
        let found = Some(found);
        let mut ended = self.ended.write().unwrap_or_else(PoisonError::into_inner);
        if *ended != found {
            *ended = found;
            drop(ended);
            self.changed.send_replace(());
        }
    }
}

/// Learns which session a request belongs to, and refuses it if that one is over.
pub async fn check(gateway: &Gateway, headers: &HeaderMap, caller: &mut Caller) -> Result<(), Denied> {
    let over = || Denied::Wrong { why: "the session was ended".to_owned() };
    if let Some(value) = headers.get(HEADER) {
        let named = value.to_str().ok().and_then(Named::read).ok_or_else(over)?;
        if named.version.is_some() && named.version.as_deref() != caller.version.as_deref() {
            return Err(Denied::Wrong {
                why: "the session was begun with another password, or by another user".to_owned(),
            });
        }
        caller.session = Some(named.id);
    }
    for id in [caller.session, caller.token].iter().flatten() {
        match gateway.sessions.was_ended(id).await {
            Ok(false) => {}
            Ok(true) => return Err(over()),
            Err(error) => return Err(Denied::Unavailable { why: error.to_string() }),
        }
    }
    Ok(())
}

/// Waits until a caller who was let in would not be let in any more, or not for the same, and says why; none: that cannot
/// happen.
pub fn over(gateway: &Arc<Gateway>, caller: &Caller) -> Option<BoxFuture<'static, &'static str>> {
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
        let left = moment.saturating_sub(crate::auth::session::now());
        if left == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_secs(left.min(LOOK_AT_CLOCK))).await;
    }
}

/// The body of `POST /api/session/end`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// How long the session would have counted, in seconds.
    #[serde(default)]
    lifetime: Option<u64>,
}

/// `POST /api/session/end`: what the request belongs to, a session of the page or a token of ours, counts nowhere any more.
pub async fn end(State(gateway): State<Arc<Gateway>>, caller: Caller, Json(end): Json<End>) -> Result<StatusCode> {
    if caller.session.is_none() && caller.token.is_none() {
        let words = "there is nothing to end: the request belongs to no session, and shows no token of this gateway";
        return Err(ApiError::new(StatusCode::CONFLICT, "no_session", words));
    }
    gateway.limits.end_of_session(&caller)?;
    if let Some(session) = &caller.session {
        let lifetime = end.lifetime.map_or(LONGEST, Duration::from_secs);
        gateway.sessions.end(session, lifetime).await?;
    }
    if let Some(token) = &caller.token {
        gateway.sessions.end(token, gateway.auth.token_lifetime().unwrap_or(LONGEST)).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}
