//! What one caller may take (`gateway.limits`): a user, or an address where nobody is asked who he is. Each gateway counts for
//! itself. What is remembered is bounded, and forgotten soon after a caller is gone.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use tokio::time::Instant;

use crate::auth::Caller;
use crate::config;
use crate::gateway::Gateway;
use crate::gateway::error::ApiError;
use crate::ids::{RunId, UserId};
use crate::run::summary::{self, State as RunState};
use crate::run::{self, writer};

/// Callers that are remembered. Of more than that those are forgotten that hold nothing.
const MOST_KEPT: usize = 20_000;
/// How often those are looked for: in vain, that would cost each newcomer a look at everybody.
const SWEPT_EVERY: Duration = Duration::from_secs(1);
/// How long a count of a user's open runs is believed; what he starts meanwhile is added.
const COUNTED_FOR: Duration = Duration::from_secs(5);
/// Every rate is one per minute, of which a whole minute's may come at once.
const MINUTE: Duration = Duration::from_secs(60);

/// A caller has had enough for now.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("that is too much for now: {what}; try again in {} s", wait.as_secs() + 1)]
pub struct TooMany {
    what: &'static str,
    wait: Duration,
}

impl From<TooMany> for ApiError {
    fn from(refused: TooMany) -> Self {
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", refused.to_string()).again_in(refused.wait)
    }
}

/// What callers have taken.
pub struct Limits {
    limits: config::Limits,
    callers: Arc<Mutex<HashMap<Who, Taken>>>,
    /// When those who hold nothing were last looked for.
    swept: Mutex<Option<Instant>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Who {
    User(UserId),
    Address(IpAddr),
}

#[derive(Default)]
struct Taken {
    starts: Bucket,
    requests: Bucket,
    messages: Bucket,
    sockets: u32,
    streams: u32,
    /// Runs that have not ended, and when they were counted.
    open_runs: Option<(u32, Instant)>,
    seen: Option<Instant>,
}

/// What was taken in the last minute and is not given back yet, as of a moment.
#[derive(Default)]
struct Bucket {
    level: f64,
    as_of: Option<Instant>,
}

impl Bucket {
    fn take(&mut self, per_minute: u32, now: Instant) -> Result<(), Duration> {
        let each = MINUTE.as_secs_f64() / f64::from(per_minute);
        let passed = self.as_of.map_or(0.0, |as_of| now.saturating_duration_since(as_of).as_secs_f64());
        self.level = (self.level - passed / each).max(0.0);
        self.as_of = Some(now);
        let over = self.level + 1.0 - f64::from(per_minute);
        // A hair's breadth is the arithmetic's, not the caller's.
        if over > 1e-6 {
            return Err(Duration::from_secs_f64(over * each));
        }
        self.level += 1.0;
        Ok(())
    }
}

/// A socket or a stream; its place is free again when this is dropped.
pub struct Held(Box<Holding>);

struct Holding {
    who: Who,
    is_socket: bool,
    callers: Arc<Mutex<HashMap<Who, Taken>>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut callers = self.0.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = callers.get_mut(&self.0.who) {
            let count = if self.0.is_socket { &mut taken.sockets } else { &mut taken.streams };
            *count = count.saturating_sub(1);
        }
    }
}

/// A start that was counted.
pub struct Counted<'l>(Option<(&'l Limits, Who)>);

impl Counted<'_> {
    /// No run began: it does not count.
    pub fn give_back(self) {
        let Some((limits, who)) = self.0 else { return };
        limits.with(who, |taken| {
            taken.starts.level = (taken.starts.level - 1.0).max(0.0);
            if let Some((count, _)) = &mut taken.open_runs {
                *count = count.saturating_sub(1);
            }
        });
    }
}

impl Limits {
    /// Nobody has taken anything yet.
    pub fn new(limits: config::Limits) -> Self {
        Self { limits, callers: Arc::default(), swept: Mutex::default() }
    }

    /// Counts a request.
    pub fn request(&self, caller: &Caller) -> Result<(), TooMany> {
        let what = "requests_per_minute";
        self.rate(caller, self.limits.requests_per_minute, what, |taken| &mut taken.requests)
    }

    /// Counts an answer.
    pub fn message(&self, caller: &Caller) -> Result<(), TooMany> {
        let what = "messages_per_minute";
        self.rate(caller, self.limits.messages_per_minute, what, |taken| &mut taken.messages)
    }

    /// Whether answers are counted at all.
    pub fn has_messages(&self) -> bool {
        self.limits.messages_per_minute.is_some()
    }

    /// Counts a user's answer over a socket, when there is room for it: its client would not say it again.
    pub async fn message_in_time(&self, user: Option<&UserId>) {
        let (Some(user), Some(_)) = (user, self.limits.messages_per_minute) else { return };
        let caller = Caller { user: Some(user.clone()), ..Caller::default() };
        while let Err(refused) = self.message(&caller) {
            tokio::time::sleep(refused.wait).await;
        }
    }

    /// Counts a socket.
    pub fn socket(&self, caller: &Caller) -> Result<Option<Held>, TooMany> {
        self.hold(caller, self.limits.sockets, "sockets", true)
    }

    /// Counts a stream of events.
    pub fn stream(&self, caller: &Caller) -> Result<Option<Held>, TooMany> {
        self.hold(caller, self.limits.streams, "streams", false)
    }

    /// Counts a start. A run that is there already may be asked for however much was started.
    pub async fn start<'l>(
        &'l self,
        gateway: &Gateway,
        caller: &Caller,
        run: RunId,
    ) -> Result<Counted<'l>, StartRefused> {
        let (rate, open) = (self.limits.starts_per_minute, self.limits.open_runs);
        let Some(who) = who(caller).filter(|_| rate.is_some() || open.is_some()) else { return Ok(Counted(None)) };
        match self.count_start(gateway, caller, &who, rate, open).await? {
            Ok(()) => Ok(Counted(Some((self, who)))),
            Err(_) if writer::last_record(&gateway.broker, run).await?.is_some() => Ok(Counted(None)),
            Err(refused) => Err(refused.into()),
        }
    }

    async fn count_start(
        &self,
        gateway: &Gateway,
        caller: &Caller,
        who: &Who,
        rate: Option<u32>,
        open: Option<u32>,
    ) -> run::Result<Result<(), TooMany>> {
        if let Some(most) = open {
            let known = |taken: &mut Taken| taken.open_runs.filter(|(_, when)| when.elapsed() < COUNTED_FOR);
            if self.with(who.clone(), known).flatten().is_none() {
                // Nobody in particular has one list, whatever address he calls from.
                let runs = summary::list(&gateway.broker, caller.user.as_ref()).await?;
                let count = runs.iter().filter(|run| run.state != RunState::Ended).count();
                let count = u32::try_from(count).unwrap_or(u32::MAX);
                self.with(who.clone(), |taken| taken.open_runs = Some((count, Instant::now())));
            }
            let is_full = |taken: &mut Taken| taken.open_runs.is_some_and(|(count, _)| count >= most);
            if self.with(who.clone(), is_full) == Some(true) {
                return Ok(Err(TooMany { what: "open_runs", wait: COUNTED_FOR }));
            }
        }
        if let Some(rate) = rate {
            let what = "starts_per_minute";
            if let Err(refused) = self.rate(caller, Some(rate), what, |taken| &mut taken.starts) {
                return Ok(Err(refused));
            }
        }
        self.with(who.clone(), |taken| {
            if let Some((count, _)) = &mut taken.open_runs {
                *count += 1;
            }
        });
        Ok(Ok(()))
    }

    fn rate(
        &self,
        caller: &Caller,
        limit: Option<u32>,
        what: &'static str,
        bucket: impl FnOnce(&mut Taken) -> &mut Bucket,
    ) -> Result<(), TooMany> {
        let (Some(limit), Some(who)) = (limit, who(caller)) else { return Ok(()) };
        let taken = self.with(who, |taken| bucket(taken).take(limit, Instant::now()));
        taken.unwrap_or(Err(MINUTE)).map_err(|wait| TooMany { what, wait })
    }

    fn hold(
        &self,
        caller: &Caller,
        limit: Option<u32>,
        what: &'static str,
        is_socket: bool,
    ) -> Result<Option<Held>, TooMany> {
        let (Some(limit), Some(who)) = (limit, who(caller)) else { return Ok(None) };
        let has_room = self.with(who.clone(), |taken| {
            let count = if is_socket { &mut taken.sockets } else { &mut taken.streams };
            let has_room = *count < limit;
            *count += u32::from(has_room);
            has_room
        });
        if has_room == Some(true) {
            return Ok(Some(Held(Box::new(Holding { who, is_socket, callers: self.callers.clone() }))));
        }
        Err(TooMany { what, wait: Duration::from_secs(5) })
    }

    /// Does something with what a caller has taken; `None`: so many are here that he cannot be remembered.
    fn with<T>(&self, who: Who, act: impl FnOnce(&mut Taken) -> T) -> Option<T> {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if callers.len() >= MOST_KEPT && !callers.contains_key(&who) {
            // All at once and rarely, not one by one and always: whoever holds nothing and was not here for a minute.
            let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
            if swept.is_none_or(|swept| swept.elapsed() >= SWEPT_EVERY) {
                let is_here = |taken: &Taken| taken.seen.is_some_and(|seen| seen.elapsed() < MINUTE);
                callers.retain(|_, taken| taken.sockets + taken.streams > 0 || is_here(taken));
                *swept = Some(Instant::now());
            }
            if callers.len() >= MOST_KEPT {
                return None;
            }
        }
        let taken = callers.entry(who).or_default();
        taken.seen = Some(Instant::now());
        Some(act(taken))
    }
}

/// Why a start was not counted.
#[derive(Debug, thiserror::Error)]
pub enum StartRefused {
    /// Enough was started.
    #[error(transparent)]
    TooMany(#[from] TooMany),
    /// It cannot be found out.
    #[error(transparent)]
    Run(#[from] run::Error),
}

fn who(caller: &Caller) -> Option<Who> {
    match &caller.user {
        Some(user) => Some(Who::User(user.clone())),
        None => caller.address.map(Who::Address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minutes_worth_may_come_at_once_and_then_as_many_as_a_minute_has() {
        let (mut bucket, start) = (Bucket::default(), Instant::now());
        for _ in 0..60 {
            assert_eq!(bucket.take(60, start), Ok(()));
        }
        assert_eq!(bucket.take(60, start), Err(Duration::from_secs(1)));
        assert_eq!(bucket.take(60, start + Duration::from_secs(1)), Ok(()));
        assert!(bucket.take(60, start + Duration::from_secs(1)).is_err());
        assert_eq!(bucket.take(60, start + Duration::from_secs(600)), Ok(()));
    }

    #[test]
    fn callers_have_their_own_and_what_is_kept_is_bounded() {
        let limits = Limits::new(config::Limits { sockets: Some(2), ..config::Limits::default() });
        let user = |name: &str| Caller { user: UserId::new(name), ..Caller::default() };
        let held = [limits.socket(&user("alice")).unwrap(), limits.socket(&user("alice")).unwrap()];
        assert!(limits.socket(&user("alice")).is_err() && limits.socket(&user("bob")).is_ok());
        drop(held);
        assert!(limits.socket(&user("alice")).is_ok());
        assert!(limits.stream(&user("alice")).unwrap().is_none(), "no limit, no place");
        for number in 0..2 * MOST_KEPT {
            let _ = limits.socket(&user(&number.to_string()));
        }
        assert!(limits.callers.lock().unwrap().len() <= MOST_KEPT);
    }
}
