//! One connection to the server, and the questions asked over it: each has an end, and each failure is one of the broker's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::RequestError;
use async_nats::client::{Request, RequestErrorKind};
use async_nats::{Client, HeaderMap, Message, Subject, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::expiry::ServerClock;
use super::headers::{EXPECTED_SEQUENCE, TRACE};
use super::login::{LoginRenewal, OpenConnection};
use super::monitor::{ConnectionTroubles, LeaderElections, SubjectHash};
use crate::broker::subjects::{LEADER_ELECTED, is_answered_by_ours, may_be_asked_again};
use crate::broker::{Error, Result};
use crate::traces;

/// How long an answer may take. A stream without a leader sends no answer at all, so the request must be sent again; most streams
/// have the next leader within five seconds.
pub(super) const ANSWER_WAIT: Duration = Duration::from_secs(3);
/// How long a cluster is given to answer what may be asked again, until it is, and how often it is asked in all: a stream whose leader is
/// lost has the next one at some moment, and what was asked before that is lost with it.
const ASK_AGAIN: Duration = Duration::from_secs(1);
const TIMES_ASKED: u32 = 4;
/// How often the calls that wait look at the clock. One timer for each call would cost more than the rest of its waiting.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long a tier asks at its start: a cluster chooses its leaders, and makes a stream with its copies, in seconds, and a busy one in more.
const START_WAIT: Duration = Duration::from_secs(12);
/// How long a call waits for a lost connection to come back before it fails: longer than a server takes to start again.
const DOWN_PATIENCE: Duration = Duration::from_secs(2);
const DOWN_PAUSE: Duration = Duration::from_millis(25);
/// How often a cluster is asked while nobody answers, and how long is waited in between: about as long as it chooses a leader whose
/// predecessor has stepped down.
const ELECTION_TRIES: u32 = 6;
const ELECTION_PAUSE: Duration = Duration::from_millis(200);
/// What headers may add to a message: the server's limit is for both together. Ours are below 400 bytes.
const HEADER_ROOM: usize = 512;
/// How long the store counts as full after it said so. Nobody starts a run meanwhile, so that nothing else would tell.
const FULL_FOR: Duration = Duration::from_secs(15);
/// The server says that a publisher expected another sequence.
const WRONG_LAST_SEQUENCE: [u64; 2] = [10071, 10164];
/// The stream, the consumer or the message is not there.
pub(super) const STREAM_NOT_FOUND: u64 = 10059;
pub(super) const CONSUMER_NOT_FOUND: u64 = 10014;
/// A stream of that name has other settings.
pub(super) const STREAM_NAME_IN_USE: u64 = 10058;
/// JetStream is off, for the server or for the account.
pub(super) const NO_JETSTREAM: [u64; 2] = [10039, 10076];
const MESSAGE_TOO_LARGE: u64 = 10054;
/// Of the one error for all limits of a stream, only the words tell which it is.
const PER_SUBJECT: &str = "maximum messages per subject";
/// The limit of the stream, of the account, of the server, the disk.
const FULL_CODES: [u64; 6] = [10077, 10047, 10028, 10023, 10122, 10002];

/// The connection.
pub(super) struct NatsConnection {
    /// async-nats' handle.
    pub(super) client: Client,
    /// Counts the connections made; it changes when one was lost and another made.
    pub(super) connections: watch::Receiver<u64>,
    /// Changes when a stream with copies has chosen its leader.
    pub(super) elections: watch::Receiver<LeaderElections>,
    /// Changes when the connection is lost, or something is refused: what is asked then is never answered. And from time to
    /// time, so that what waits looks at the clock.
    troubles: watch::Receiver<ConnectionTroubles>,
    /// Held by all that waits for an answer; closed while the connection is made again with another login.
    gate: Arc<tokio::sync::RwLock<()>>,
    /// Whether this login may purge.
    pub(super) may_clean: bool,
    /// Whether a direct get may be answered by a replica that is behind.
    pub(super) replicated: bool,
    /// What the subjects of all answers to us begin with.
    inbox: String,
    full: Mutex<Option<Instant>>,
    /// What the server's clock has shown.
    pub(super) clock: ServerClock,
}

/// What the server says instead of an answer.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct JetStreamError {
    /// Like a status of HTTP.
    #[serde(default)]
    pub(super) code: u16,
    /// Which error exactly.
    #[serde(default)]
    pub(super) err_code: u64,
    /// In words.
    #[serde(default)]
    pub(super) description: String,
}

/// Why there is no answer.
pub(super) enum MissingAnswer {
    /// Nothing was asked: there is no connection.
    NotAsked(String),
    /// The login may not do this.
    Denied(String),
    /// The connection was lost meanwhile.
    Lost(String),
    /// There was none in time.
    Late,
}

/// What a stream says when it has stored a message.
#[derive(Deserialize)]
struct PublishAck {
    #[serde(default)]
    seq: u64,
    error: Option<JetStreamError>,
}

/// Asks for what a tier needs at its start, again while no answer comes in time. What the server refuses, it has said.
pub(super) async fn patiently<'a, T>(ask: impl Fn() -> BoxFuture<'a, Result<T>>) -> Result<T> {
    let begun = Instant::now();
    loop {
        let asked = Instant::now();
        match ask().await {
            Err(Error::Unavailable { .. }) if asked.elapsed() >= ANSWER_WAIT && begun.elapsed() < START_WAIT => {}
            other => return other,
        }
    }
}

/// What has happened to the connection so far, for one who waits for what happens next.
#[derive(Clone)]
struct SeenTroubles {
    troubles: watch::Receiver<ConnectionTroubles>,
    losses: u64,
    refusals: u64,
}

impl SeenTroubles {
    fn of(mut troubles: watch::Receiver<ConnectionTroubles>) -> Self {
        let (losses, refusals) = troubles.borrow_and_update().known();
        Self { troubles, losses, refusals }
    }
}

impl NatsConnection {
    /// One over a connection that is there.
    pub(super) fn new(opened: OpenConnection) -> Self {
        let OpenConnection { client, monitor, login } = opened;
        let (connections, troubles) = (monitor.connections.subscribe(), monitor.troubles.subscribe());
        let gate = Arc::new(tokio::sync::RwLock::new(()));
        let renewal = LoginRenewal { client: client.clone(), monitor: monitor.clone(), login, gate: gate.clone() };
        let clock = monitor.troubles.clone();
        #[expect(clippy::disallowed_methods, reason = "it holds nothing, and ends when nobody can wait any more")]
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(LOOK_EVERY);
            let mut renewal = std::pin::pin!(renewal.run());
            loop {
                tokio::select! {
                    () = clock.closed() => return,
                    _ = ticks.tick() => clock.send_modify(|_| {}),
                    () = &mut renewal => {}
                }
            }
        });
        // One that nobody reads from: what matters is where all inboxes of ours begin.
        let inbox = client.new_inbox();
        let inbox = inbox.rsplit_once('.').map_or(inbox.as_str(), |(prefix, _)| prefix).to_owned();
        Self {
            client,
            connections,
            elections: watch::Sender::default().subscribe(),
            troubles,
            gate,
            may_clean: false,
            replicated: false,
            inbox,
            full: Mutex::new(None),
            clock: ServerClock::default(),
        }
    }

    /// Listens from now on which leaders are chosen, for [`NatsConnection::elections`].
    pub(super) async fn hear_elections(&mut self) -> Result<()> {
        let heard = self.subscribe("hear which server leads a stream", LEADER_ELECTED.to_owned()).await?;
        let elections = watch::Sender::default();
        self.elections = elections.subscribe();
        #[expect(clippy::disallowed_methods, reason = "it holds nothing, and ends when nobody can hear any more")]
        tokio::spawn(count_elections(heard, elections));
        Ok(())
    }

    /// Waits for what the server answers to something published on `subject`: until it does or refuses, the connection is lost,
    /// or [`ANSWER_WAIT`] is over. While there is no connection nothing is begun, so that nothing is sent later that was given
    /// up long ago.
    pub(super) async fn answered<T>(&self, doing: &str, subject: &str, answer: impl Future<Output = T>) -> Result<T> {
        let answer = self.answer(SubjectHash::of(subject), Some(ANSWER_WAIT), answer);
        answer.await.map_err(|missing| missing.into_broker(doing))
    }

    /// The same where it may be asked again: `asked` counts how often it was, with this time. `None`: it is to be asked again now.
    pub(super) async fn answered_soon<T>(
        &self,
        doing: &str,
        subject: &str,
        asked: u32,
        answer: impl Future<Output = T>,
    ) -> Result<Option<T>> {
        let longest = if self.replicated { ASK_AGAIN } else { ANSWER_WAIT };
        match self.answer(SubjectHash::of(subject), Some(longest), answer).await {
            Ok(answer) => Ok(Some(answer)),
            Err(MissingAnswer::Late) if self.replicated && asked < TIMES_ASKED => Ok(None),
            Err(missing) => Err(missing.into_broker(doing)),
        }
    }

    /// The same for what somebody else answers, however long that takes.
    pub(super) async fn reply<T>(&self, subject: &str, answer: impl Future<Output = T>) -> Result<T, MissingAnswer> {
        self.answer(SubjectHash::of(subject), None, answer).await
    }

    async fn answer<T>(
        &self,
        place: SubjectHash,
        longest: Option<Duration>,
        answer: impl Future<Output = T>,
    ) -> Result<T, MissingAnswer> {
        let _open = self.gate.read().await;
        let troubles = self.connected().await?;
        self.awaited(place, longest, troubles, answer).await
    }

    /// Waits for the connection, and returns what happens to it from then on.
    async fn connected(&self) -> Result<SeenTroubles, MissingAnswer> {
        let mut seen = SeenTroubles::of(self.troubles.clone());
        let waiting = Instant::now();
        while !self.is_connected() {
            if waiting.elapsed() > DOWN_PATIENCE {
                return Err(MissingAnswer::NotAsked(seen.troubles.borrow().without_connection()));
            }
            tokio::time::sleep(DOWN_PAUSE).await;
            seen = SeenTroubles::of(seen.troubles);
        }
        Ok(seen)
    }

    async fn awaited<T>(
        &self,
        place: SubjectHash,
        longest: Option<Duration>,
        seen: SeenTroubles,
        answer: impl Future<Output = T>,
    ) -> Result<T, MissingAnswer> {
        let SeenTroubles { mut troubles, losses, refusals } = seen;
        let asked = Instant::now();
        let mut answer = std::pin::pin!(answer);
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => return Ok(answer),
                changed = troubles.changed() => {
                    if changed.is_err() {
                        return Err(MissingAnswer::Lost("the connection to NATS is closed".to_owned()));
                    }
                    let trouble = troubles.borrow_and_update();
                    if let Some(refusal) = trouble.since(refusals, place, &self.inbox) {
                        return Err(MissingAnswer::Denied(refusal.what()));
                    }
                    if trouble.losses != losses {
                        return Err(MissingAnswer::Lost(trouble.lost()));
                    }
                    if longest.is_some_and(|longest| asked.elapsed() >= longest) {
                        return Err(MissingAnswer::Late);
                    }
                }
            }
        }
    }

    /// Subscribes; whatever is asked on this connection afterwards comes after it.
    pub(super) async fn subscribe(&self, doing: &str, subject: String) -> Result<Subscriber> {
        let subscribed = self.answered(doing, "", self.client.subscribe(subject)).await?;
        subscribed.map_err(|source| unavailable(doing, source))
    }

    /// Publishes a request whose answers come to `inbox`.
    pub(super) async fn ask(&self, doing: &str, call: String, inbox: String, body: &Value) -> Result<()> {
        let asked = self.client.publish_with_reply(call, inbox, body.to_string().into());
        self.answered(doing, "", asked).await?.map_err(|source| unavailable(doing, source))
    }

    fn is_connected(&self) -> bool {
        self.client.connection_state() == async_nats::connection::State::Connected
    }

    /// The largest payload that can be sent.
    pub(super) fn max_payload(&self) -> usize {
        self.client.max_payload().saturating_sub(HEADER_ROOM)
    }

    /// Refuses what the server would refuse by closing the connection.
    pub(super) fn fits(&self, payload: &Bytes) -> Result<()> {
        let max = self.max_payload();
        if payload.len() > max {
            return Err(Error::TooLarge { size: payload.len(), max });
        }
        Ok(())
    }

    /// Asks and waits for the one answer.
    pub(super) async fn request(
        &self,
        doing: &str,
        subject: impl Into<Subject>,
        mut headers: Option<HeaderMap>,
        payload: Bytes,
    ) -> Result<Message> {
        self.fits(&payload)?;
        let subject = subject.into();
        let may_elect = self.replicated && is_answered_by_ours(&subject);
        let mut tries = 0;
        loop {
            tries += 1;
            let answer = if self.replicated && may_be_asked_again(&subject) {
                self.ask_until_answered(&subject, &payload).await.map_err(|missing| missing.into_broker(doing))?
            } else {
                let mut request = Request::new().payload(payload.clone()).timeout(None);
                // Only where it may have to be sent again it is kept.
                if let Some(headers) = if may_elect { headers.clone() } else { headers.take() } {
                    request = request.headers(headers);
                }
                self.answered(doing, &subject, self.client.send_request(subject.clone(), request)).await?
            };
            match answer {
                Ok(message) => return Ok(message),
                // In a cluster a stream that chooses its leader answers nobody for a moment; what it did not hear it did not store.
                Err(source) if source.kind() == RequestErrorKind::NoResponders => match may_elect {
                    true if tries < ELECTION_TRIES => tokio::time::sleep(ELECTION_PAUSE).await,
                    _ => {
                        let words = "nothing answers on the server: is JetStream on, and the stream there?";
                        return Err(unavailable(doing, words));
                    }
                },
                Err(source) => return Err(unavailable(doing, source)),
            }
        }
    }

    /// Asks the same again and again until somebody answers; the first answer counts, also to what was asked earlier.
    async fn ask_until_answered(
        &self,
        subject: &Subject,
        payload: &Bytes,
    ) -> Result<Result<Message, RequestError>, MissingAnswer> {
        let _open = self.gate.read().await;
        let seen = self.connected().await?;
        let mut open = FuturesUnordered::new();
        for _ in 0..TIMES_ASKED {
            let request = Request::new().payload(payload.clone()).timeout(None);
            let answer = self.client.send_request(subject.clone(), request);
            open.push(self.awaited(SubjectHash::of(subject), None, seen.clone(), answer));
            if let Ok(Some(answer)) = tokio::time::timeout(ASK_AGAIN, open.next()).await {
                return answer;
            }
        }
        Err(MissingAnswer::Late)
    }

    /// Publishes and waits until the stream has stored it; returns the sequence. With `expected`, only if that is the last
    /// sequence of the subject, or of the one that the headers name.
    pub(super) async fn store(
        &self,
        doing: &str,
        subject: String,
        mut headers: HeaderMap,
        payload: Bytes,
        expected: Option<u64>,
    ) -> Result<u64> {
        let size = payload.len();
        if let Some(place) = traces::current() {
            headers.insert(TRACE, place);
        }
        if let Some(expected) = expected {
            headers.insert(EXPECTED_SEQUENCE, expected.to_string());
        }
        let answer = self.request(doing, subject, Some(headers), payload).await?;
        let answer: PublishAck = parse(doing, &answer.payload)?;
        match answer.error {
            None => Ok(answer.seq),
            Some(error) if WRONG_LAST_SEQUENCE.contains(&error.err_code) => {
                Err(Error::Conflict { expected: expected.unwrap_or(0) })
            }
            // Where there may be one message under each subject, this one is there already.
            Some(error) if error.description.contains(PER_SUBJECT) => Err(Error::Conflict { expected: 0 }),
            Some(error) if error.err_code == MESSAGE_TOO_LARGE => {
                Err(Error::TooLarge { size, max: self.max_payload().min(size) })
            }
            Some(error) => {
                let error = error.into_broker(doing);
                if let Error::Full { .. } = &error {
                    *self.full.lock() = Some(Instant::now());
                }
                Err(error)
            }
        }
    }

    /// Whether the store has said lately that it takes no more.
    pub(super) fn full_lately(&self) -> bool {
        let full = *self.full.lock();
        full.is_some_and(|since| since.elapsed() < FULL_FOR)
    }

    /// Asks JetStream's API. The inner result is the API's own.
    pub(super) async fn api<T: DeserializeOwned>(
        &self,
        doing: &str,
        call: String,
        body: &Value,
    ) -> Result<Result<T, JetStreamError>> {
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        let answer = self.request(doing, format!("$JS.API.{call}"), None, body).await?;
        let mut answer: Value = parse(doing, &answer.payload)?;
        match answer.get_mut("error").map(Value::take) {
            Some(error) => Ok(Err(from_value(doing, error)?)),
            None => Ok(Ok(from_value(doing, answer)?)),
        }
    }

    /// [`NatsConnection::api`] for a call that has no error of its own meaning.
    pub(super) async fn api_plainly<T: DeserializeOwned>(&self, doing: &str, call: String, body: &Value) -> Result<T> {
        self.api(doing, call, body).await?.map_err(|error| error.into_broker(doing))
    }

    /// [`NatsConnection::api`] for a call that this login may not be allowed to make: then `None`. A stream whose leader has just been
    /// chosen may answer late; it is asked again.
    pub(super) async fn api_if_allowed(
        &self,
        doing: &str,
        call: &str,
        body: &Value,
    ) -> Result<Option<Result<Value, JetStreamError>>> {
        const ASKED: u32 = 3;
        let mut tries = 0;
        loop {
            tries += 1;
            match self.api::<Value>(doing, call.to_owned(), body).await {
                Ok(answer) => return Ok(Some(answer)),
                Err(Error::Denied { .. }) => return Ok(None),
                Err(Error::Unavailable { .. }) if tries < ASKED => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Removes one message of a stream, overwriting it; one that is gone already is no error.
    pub(super) async fn overwrite(&self, doing: &str, stream: &str, seq: u64) -> Result<()> {
        const NOT_DELETED: u64 = 10057;
        // Without no_erase the server overwrites the bytes before it forgets them.
        match self.api::<Value>(doing, format!("STREAM.MSG.DELETE.{stream}"), &json!({ "seq": seq })).await? {
            Ok(_) => Ok(()),
            // Of this one error there are several; only the words tell that the message is gone already.
            Err(error) if error.err_code == NOT_DELETED && error.description.contains("no message") => Ok(()),
            Err(error) => Err(error.into_broker(doing)),
        }
    }

    /// Publishes without waiting for anybody. While there is no connection it is lost rather than kept waiting.
    pub(super) async fn tell(&self, doing: &str, subject: impl Into<Subject>, payload: Bytes) -> Result<()> {
        const PATIENCE: Duration = Duration::from_millis(100);
        self.fits(&payload)?;
        if !self.is_connected() {
            return Err(unavailable(doing, self.troubles.borrow().without_connection()));
        }
        match tokio::time::timeout(PATIENCE, self.client.publish(subject.into(), payload)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(source)) => Err(unavailable(doing, source)),
            Err(_) => Err(unavailable(doing, "the connection takes no more")),
        }
    }
}

async fn count_elections(mut heard: Subscriber, elections: watch::Sender<LeaderElections>) {
    loop {
        tokio::select! {
            () = elections.closed() => return,
            message = heard.next() => match message {
                Some(message) => elections.send_modify(|elections| elections.count(&message.subject)),
                None => return,
            }
        }
    }
}

impl MissingAnswer {
    fn into_broker(self, doing: &str) -> Error {
        match self {
            Self::NotAsked(why) | Self::Lost(why) => unavailable(doing, why),
            Self::Denied(what) => Error::Denied { doing: doing.to_owned(), what },
            Self::Late => unavailable(doing, "the server did not answer in time"),
        }
    }
}

impl JetStreamError {
    /// The error for the broker's callers.
    pub(super) fn into_broker(self, doing: &str) -> Error {
        if FULL_CODES.contains(&self.err_code) {
            return Error::Full { what: self.description };
        }
        if self.code == 503 {
            return unavailable(doing, self.description);
        }
        Error::Refused { doing: doing.to_owned(), reason: self.description }
    }
}

/// [`Error::Unavailable`].
pub(super) fn unavailable(doing: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Unavailable { doing: doing.to_owned(), source: Some(source.into()) }
}

fn parse<T: DeserializeOwned>(doing: &str, bytes: &[u8]) -> Result<T> {
    crate::bounds::parse(bytes).map_err(|source| unreadable(doing, source))
}

fn from_value<T: DeserializeOwned>(doing: &str, value: Value) -> Result<T> {
    crate::bounds::from_value(value).map_err(|source| unreadable(doing, source))
}

fn unreadable(doing: &str, source: impl std::fmt::Display) -> Error {
    Error::Refused { doing: doing.to_owned(), reason: format!("the server's answer cannot be read: {source}") }
}
