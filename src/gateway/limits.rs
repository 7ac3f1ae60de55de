//! What one caller may take (`gateway.limits`): a user, or an address where nobody is asked who he is. Each gateway counts for
//! itself. What is remembered is bounded, and forgotten soon after a caller is gone.
//!
//! The buckets are our own, and not the crate `governor`. A start that came to nothing is given back here, which `governor` cannot
//! do; bytes of any number are counted; one caller's rates are compared to find who has taken least, which is who is forgotten;
//! and its table of callers has no bound. A cache such as `moka` or `quick_cache` forgets who was not seen for long, or comes
//! rarely: somebody with many addresses could have his own count forgotten by it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use hyper::body::SizeHint;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::auth::Caller;
use crate::config;
use crate::gateway::error::ApiError;
use crate::gateway::{GatewayState, body};
use crate::ids::{RunId, UserId};
use crate::run::answer::AnswerPayload;
use crate::run::{self, writer};
use crate::serving::{ALWAYS_FREE, ByteBudget, ReservedBytes, subscriber};

/// Callers that are remembered. Of more than that those are forgotten that hold nothing.
const MOST_KEPT: usize = 100_000;
/// How often those are looked for: in vain, that would cost each newcomer a look at everybody.
const SWEPT_EVERY: Duration = Duration::from_secs(1);
/// How long a count of a user's open runs is believed; what he starts meanwhile is added.
const COUNTED_FOR: Duration = Duration::from_secs(5);
/// How many sessions one caller may end in a minute, whatever is configured.
const ENDS_PER_MINUTE: u32 = 30;
/// A whole minute's, or hour's, may come at once.
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
/// What a run's own records take, its parameters aside, which it holds twice (as they came, and in the message that tells of its
/// start), and what a record takes.
const EACH_START: usize = 1024;
const EACH_RECORD: usize = 256;
/// What a caller's large bodies and frames may hold together while they come.
const MOST_IN_UPLOADS: u64 = 32 * 1024 * 1024;

/// A caller has had enough for now.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("that is too much for now: {what}; try again in {} s", wait.as_secs() + 1)]
pub struct LimitExceeded {
    what: &'static str,
    wait: Duration,
}

impl From<LimitExceeded> for ApiError {
    fn from(refused: LimitExceeded) -> Self {
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", refused.to_string()).again_in(refused.wait)
    }
}

/// What callers have taken.
pub struct LimitCounters {
    limits: config::CallerLimits,
    callers: Arc<Mutex<HashMap<LimitedCaller, CallerCounters>>>,
    /// When those who hold nothing were last looked for.
    swept: Mutex<Option<Instant>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum LimitedCaller {
    User(UserId),
    Address(IpAddr),
}

#[derive(Default)]
struct CallerCounters {
    starts: LimitBucket,
    starts_of_hour: LimitBucket,
    /// Bytes that were stored.
    bytes: LimitBucket,
    uploads: Option<Arc<ByteBudget>>,
    requests: LimitBucket,
    messages: LimitBucket,
    ends: LimitBucket,
    sockets: u32,
    streams: u32,
    /// Runs that have not ended, and when they were counted.
    open_runs: Option<(u32, Instant)>,
    seen: Option<Instant>,
}

/// What was taken in the last minute, or hour, and is not given back yet, as of a moment.
#[derive(Default)]
struct LimitBucket {
    level: f64,
    as_of: Option<Instant>,
}

impl LimitBucket {
    fn take(&mut self, most: f64, period: Duration, now: Instant) -> Result<(), Duration> {
        self.has_room(1.0, most, period, now)?;
        self.level += 1.0;
        Ok(())
    }

    /// Whether so much may be taken.
    fn has_room(&mut self, much: f64, most: f64, period: Duration, now: Instant) -> Result<(), Duration> {
        let each = period.as_secs_f64() / most;
        let passed = self.as_of.map_or(0.0, |as_of| now.saturating_duration_since(as_of).as_secs_f64());
        self.level = (self.level - passed / each).max(0.0);
        self.as_of = Some(now);
        let over = self.level + much - most;
        // A hair's breadth is the arithmetic's, not the caller's.
        if over > 1e-6 { Err(Duration::from_secs_f64(over * each)) } else { Ok(()) }
    }
}

impl CallerCounters {
    /// About how much was taken, to compare callers by.
    fn much(&self) -> u64 {
        let rates = [&self.requests, &self.messages, &self.starts, &self.starts_of_hour, &self.ends];
        rates.iter().map(|bucket| bucket.level).sum::<f64>() as u64 + (self.bytes.level / 1024.0) as u64
    }

    /// Counts a start that adds so many bytes to the store.
    fn start(&mut self, limits: &config::CallerLimits, bytes: f64, now: Instant) -> Result<(), LimitExceeded> {
        let too_many = |what| move |wait| LimitExceeded { what, wait };
        if let Some(most) = limits.bytes_per_hour {
            self.bytes.has_room(bytes, most as f64, HOUR, now).map_err(too_many("bytes_per_hour"))?;
        }
        if let Some(most) = limits.starts_per_hour {
            self.starts_of_hour.has_room(1.0, f64::from(most), HOUR, now).map_err(too_many("starts_per_hour"))?;
        }
        if let Some(most) = limits.starts_per_minute {
            self.starts.take(f64::from(most), MINUTE, now).map_err(too_many("starts_per_minute"))?;
        }
        self.starts_of_hour.level += 1.0;
        self.bytes.level += bytes;
        if let Some((count, _)) = &mut self.open_runs {
            *count += 1;
        }
        Ok(())
    }
}

/// A socket or a stream; its place is free again when this is dropped.
pub struct ConnectionGuard(Box<HeldConnection>);

struct HeldConnection {
    who: LimitedCaller,
    is_socket: bool,
    callers: Arc<Mutex<HashMap<LimitedCaller, CallerCounters>>>,
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let mut callers = self.0.callers.lock();
        if let Some(taken) = callers.get_mut(&self.0.who) {
            let count = if self.0.is_socket { &mut taken.sockets } else { &mut taken.streams };
            *count = count.saturating_sub(1);
        }
    }
}

/// A start that was counted.
pub struct CountedStart<'l>(Option<(&'l LimitCounters, LimitedCaller, f64)>);

impl CountedStart<'_> {
    /// No run began: it does not count.
    pub fn give_back(self) {
        let Some((limits, who, bytes)) = self.0 else { return };
        limits.with(who, |taken| {
            taken.bytes.level = (taken.bytes.level - bytes).max(0.0);
            taken.starts.level = (taken.starts.level - 1.0).max(0.0);
            taken.starts_of_hour.level = (taken.starts_of_hour.level - 1.0).max(0.0);
            if let Some((count, _)) = &mut taken.open_runs {
                *count = count.saturating_sub(1);
            }
        });
    }
}

impl LimitCounters {
    /// Nobody has taken anything yet.
    pub fn new(limits: config::CallerLimits) -> Self {
        Self { limits, callers: Arc::default(), swept: Mutex::default() }
    }

    /// Counts a request.
    pub fn request(&self, caller: &Caller) -> Result<(), LimitExceeded> {
        let what = "requests_per_minute";
        self.rate(caller, self.limits.requests_per_minute, what, |taken| &mut taken.requests)
    }

    /// Counts an answer.
    pub fn message(&self, caller: &Caller) -> Result<(), LimitExceeded> {
        let what = "messages_per_minute";
        self.rate(caller, self.limits.messages_per_minute, what, |taken| &mut taken.messages)
    }

    /// Counts what an answer adds to the store.
    pub fn bytes(&self, caller: &Caller, answer: &AnswerPayload) -> Result<(), LimitExceeded> {
        self.store(
            caller,
            match answer {
                AnswerPayload::Value(value) => weight(value),
                AnswerPayload::Text(text) | AnswerPayload::Sealed(text) => text.len(),
                AnswerPayload::NotStored | AnswerPayload::TimedOut | AnswerPayload::Cancel => 0,
            },
        )
    }

    /// Counts a record of so many bytes that is to be stored.
    pub fn store(&self, caller: &Caller, bytes: usize) -> Result<(), LimitExceeded> {
        let (Some(most), Some(who)) = (self.limits.bytes_per_hour, who(caller)) else { return Ok(()) };
        let bytes = (bytes + EACH_RECORD) as f64;
        let taken = self.with(who, |taken| {
            taken.bytes.has_room(bytes, most as f64, HOUR, Instant::now())?;
            taken.bytes.level += bytes;
            Ok(())
        });
        taken.unwrap_or(Err(MINUTE)).map_err(|wait| LimitExceeded { what: "bytes_per_hour", wait })
    }

    /// Counts what was stored to end or to remove a run. Neither is refused, whatever was stored before: it is done once to a run.
    pub fn stored(&self, caller: &Caller, bytes: usize) {
        if let (Some(most), Some(who)) = (self.limits.bytes_per_hour, who(caller)) {
            self.with(who, |taken| {
                // To look is to take off what the time since has given back.
                let _ = taken.bytes.has_room(0.0, most as f64, HOUR, Instant::now());
                taken.bytes.level += (bytes + EACH_RECORD) as f64;
            });
        }
    }

    /// Reserves the room that a request's body may take while it comes and is read; small ones take none.
    pub fn body(&self, caller: &Caller, size: SizeHint) -> Result<Option<ReservedBytes>, LimitExceeded> {
        let most = size.upper().unwrap_or(u64::MAX).min(body::LARGEST_BODY as u64);
        if most <= ALWAYS_FREE {
            return Ok(None);
        }
        let Some(uploads) = self.uploads(caller) else { return Ok(None) };
        match uploads.reserve(most) {
            Some(reserved) => Ok(Some(reserved)),
            None => Err(LimitExceeded { what: "large bodies at once", wait: Duration::from_secs(1) }),
        }
    }

    /// What a caller's large bodies and frames may hold together while they come.
    pub fn uploads(&self, caller: &Caller) -> Option<Arc<ByteBudget>> {
        let new = || Arc::new(ByteBudget::new(MOST_IN_UPLOADS));
        self.with(who(caller)?, |taken| taken.uploads.get_or_insert_with(new).clone())
    }

    /// Counts the end of a session, which is kept for a long time.
    pub fn end_of_session(&self, caller: &Caller) -> Result<(), LimitExceeded> {
        self.rate(caller, Some(ENDS_PER_MINUTE), "ends of sessions", |taken| &mut taken.ends)
    }

    /// Whether answers are counted at all.
    pub fn has_messages(&self) -> bool {
        self.limits.messages_per_minute.is_some()
    }

    /// Counts an answer over a socket, when there is room for it: its client would not say it again.
    pub async fn message_in_time(&self, caller: &Caller) {
        let what = "messages_per_minute";
        let count = || self.rate(caller, self.limits.messages_per_minute, what, |taken| &mut taken.messages);
        while let Err(refused) = count() {
            tokio::time::sleep(refused.wait).await;
        }
    }

    /// Counts a socket.
    pub fn socket(&self, caller: &Caller) -> Result<Option<ConnectionGuard>, LimitExceeded> {
        self.hold(caller, self.limits.sockets, "sockets", true)
    }

    /// Counts a stream of events.
    pub fn stream(&self, caller: &Caller) -> Result<Option<ConnectionGuard>, LimitExceeded> {
        self.hold(caller, self.limits.streams, "streams", false)
    }

    /// Counts a start. A run that is there already may be asked for however much was started.
    pub async fn start<'l>(
        &'l self,
        gateway: &GatewayState,
        caller: &Caller,
        run: RunId,
        params: &Map<String, Value>,
    ) -> Result<CountedStart<'l>, StartCountError> {
        let Some(who) = who(caller).filter(|_| self.limits_starts()) else { return Ok(CountedStart(None)) };
        let bytes = match self.limits.bytes_per_hour {
            Some(_) => (2 * weight_of(params) + EACH_START) as f64,
            None => 0.0,
        };
        match self.count_start(gateway, caller, &who, bytes).await? {
            Ok(()) => Ok(CountedStart(Some((self, who, bytes)))),
            Err(_) if writer::last_record(&gateway.broker, run).await?.is_some() => Ok(CountedStart(None)),
            Err(refused) => Err(refused.into()),
        }
    }

    fn limits_starts(&self) -> bool {
        let limits = &self.limits;
        let of_starts = limits.starts_per_minute.is_some() || limits.starts_per_hour.is_some();
        of_starts || limits.bytes_per_hour.is_some() || limits.open_runs.is_some()
    }

    async fn count_start(
        &self,
        gateway: &GatewayState,
        caller: &Caller,
        who: &LimitedCaller,
        bytes: f64,
    ) -> run::Result<Result<(), LimitExceeded>> {
        if let Some(most) = self.limits.open_runs {
            // Far from the limit an older count will do: not every start asks the broker for one.
            let believed_for = |count: u32| if count < most / 2 { MINUTE } else { COUNTED_FOR };
            let known = |taken: &mut CallerCounters| {
                taken.open_runs.filter(|(count, when)| when.elapsed() < believed_for(*count))
            };
            if self.with(who.clone(), known).flatten().is_none() {
                // Callers without a name have one list, whatever addresses they call from.
                let most_counted = usize::try_from(most).unwrap_or(usize::MAX);
                let count = gateway.broker.lists.count_open(caller.user.as_ref(), most_counted).await?;
                let count = u32::try_from(count).unwrap_or(u32::MAX);
                self.with(who.clone(), |taken| taken.open_runs = Some((count, Instant::now())));
            }
            let is_full = |taken: &mut CallerCounters| taken.open_runs.is_some_and(|(count, _)| count >= most);
            if self.with(who.clone(), is_full) == Some(true) {
                return Ok(Err(LimitExceeded { what: "open_runs", wait: COUNTED_FOR }));
            }
        }
        let counted = self.with(who.clone(), |taken| taken.start(&self.limits, bytes, Instant::now()));
        Ok(counted.unwrap_or(Err(LimitExceeded { what: "starts_per_hour", wait: MINUTE })))
    }

    fn rate(
        &self,
        caller: &Caller,
        limit: Option<u32>,
        what: &'static str,
        bucket: impl FnOnce(&mut CallerCounters) -> &mut LimitBucket,
    ) -> Result<(), LimitExceeded> {
        let (Some(limit), Some(who)) = (limit, who(caller)) else { return Ok(()) };
        let taken = self.with(who, |taken| bucket(taken).take(f64::from(limit), MINUTE, Instant::now()));
        taken.unwrap_or(Err(MINUTE)).map_err(|wait| LimitExceeded { what, wait })
    }

    fn hold(
        &self,
        caller: &Caller,
        limit: Option<u32>,
        what: &'static str,
        is_socket: bool,
    ) -> Result<Option<ConnectionGuard>, LimitExceeded> {
        let (Some(limit), Some(who)) = (limit, who(caller)) else { return Ok(None) };
        let has_room = self.with(who.clone(), |taken| {
            let count = if is_socket { &mut taken.sockets } else { &mut taken.streams };
            let has_room = *count < limit;
            *count += u32::from(has_room);
            has_room
        });
        if has_room == Some(true) {
            return Ok(Some(ConnectionGuard(Box::new(HeldConnection {
                who,
                is_socket,
                callers: self.callers.clone(),
            }))));
        }
        Err(LimitExceeded { what, wait: Duration::from_secs(5) })
    }

    /// Does something with what a caller has taken; `None`: so many are here that he cannot be remembered.
    fn with<T>(&self, who: LimitedCaller, act: impl FnOnce(&mut CallerCounters) -> T) -> Option<T> {
        let mut callers = self.callers.lock();
        if callers.len() >= MOST_KEPT && !callers.contains_key(&who) {
            // All at once and rarely, not one by one and always: whoever holds nothing and was not here for a minute.
            let mut swept = self.swept.lock();
            if swept.is_none_or(|swept| swept.elapsed() >= SWEPT_EVERY) {
                let is_here = |taken: &CallerCounters| taken.seen.is_some_and(|seen| seen.elapsed() < MINUTE);
                callers.retain(|_, taken| taken.sockets + taken.streams > 0 || is_here(taken));
                if callers.len() >= MOST_KEPT {
                    forget_half(&mut callers);
                }
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

/// Forgets half of those who hold nothing: who has taken least. Addresses are as many as somebody likes; those who come for the
/// first time must not be turned away for it.
fn forget_half(callers: &mut HashMap<LimitedCaller, CallerCounters>) {
    let holds = |taken: &CallerCounters| taken.sockets + taken.streams > 0;
    let mut levels: Vec<u64> = callers.values().filter(|taken| !holds(taken)).map(CallerCounters::much).collect();
    if levels.is_empty() {
        return;
    }
    let middle = levels.len() / 2;
    let (_, &mut median, _) = levels.select_nth_unstable(middle);
    callers.retain(|_, taken| holds(taken) || taken.much() > median);
}

/// Why a start was not counted.
#[derive(Debug, thiserror::Error)]
pub enum StartCountError {
    /// Enough was started.
    #[error(transparent)]
    TooMany(#[from] LimitExceeded),
    /// It cannot be found out.
    #[error(transparent)]
    Run(#[from] run::Error),
}

/// About what a value takes in a log, without writing it.
fn weight(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 4,
        Value::Number(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(|item| weight(item) + 1).sum::<usize>() + 2,
        Value::Object(fields) => weight_of(fields),
    }
}

fn weight_of(fields: &Map<String, Value>) -> usize {
    fields.iter().map(|(key, value)| key.len() + weight(value) + 4).sum::<usize>() + 2
}

fn who(caller: &Caller) -> Option<LimitedCaller> {
    match &caller.user {
        Some(user) => Some(LimitedCaller::User(user.clone())),
        None => caller.address.map(subscriber).map(LimitedCaller::Address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minutes_worth_may_come_at_once_and_then_as_many_as_a_minute_has() {
        let (mut bucket, start) = (LimitBucket::default(), Instant::now());
        for _ in 0..60 {
            assert_eq!(bucket.take(60.0, MINUTE, start), Ok(()));
        }
        assert_eq!(bucket.take(60.0, MINUTE, start), Err(Duration::from_secs(1)));
        assert_eq!(bucket.take(60.0, MINUTE, start + Duration::from_secs(1)), Ok(()));
        assert!(bucket.take(60.0, MINUTE, start + Duration::from_secs(1)).is_err());
        assert_eq!(bucket.take(60.0, MINUTE, start + Duration::from_secs(600)), Ok(()));
    }

    #[test]
    fn callers_have_their_own_and_what_is_kept_is_bounded() {
        let limits = LimitCounters::new(config::CallerLimits { sockets: Some(2), ..config::CallerLimits::default() });
        let user = |name: &str| Caller { user: UserId::new(name), ..Caller::default() };
        let held = [limits.socket(&user("alice")).unwrap(), limits.socket(&user("alice")).unwrap()];
        assert!(limits.socket(&user("alice")).is_err() && limits.socket(&user("bob")).is_ok());
        drop(held);
        assert!(limits.socket(&user("alice")).is_ok());
        assert!(limits.stream(&user("alice")).unwrap().is_none(), "no limit, no place");
        for number in 0..2 * MOST_KEPT {
            let _ = limits.socket(&user(&number.to_string()));
        }
        assert!(limits.callers.lock().len() <= MOST_KEPT);
    }

    #[tokio::test]
    async fn many_addresses_turn_no_newcomer_away_and_who_has_taken_much_is_remembered() {
        let limits = LimitCounters::new(config::CallerLimits {
            requests_per_minute: Some(60),
            ..config::CallerLimits::default()
        });
        let at = |number: usize| Caller {
            address: Some(IpAddr::V4((u32::try_from(number).unwrap()).into())),
            ..Caller::default()
        };
        for _ in 0..60 {
            limits.request(&at(0)).unwrap();
        }
        for number in 1..=MOST_KEPT {
            assert_eq!(limits.request(&at(number)), Ok(()), "caller {number}");
        }
        assert!(limits.request(&at(0)).is_err(), "the first has had its share");
        assert!(limits.callers.lock().len() <= MOST_KEPT);
    }
}
