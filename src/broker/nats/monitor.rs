//! What happens to the connection: it is lost and made again, and the server refuses things. Whoever waits for an answer hears
//! of it here, as what is refused is never answered.

use std::collections::VecDeque;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_nats::{Client, Event};
use tokio::sync::watch;

use crate::broker::subjects::RUNS_STREAM;
use crate::metrics::metrics;

/// How often a slow reader is said.
const SAY_EVERY: Duration = Duration::from_secs(5);
/// Refusals that are remembered for the calls that wait.
const REMEMBERED_REFUSALS: usize = 64;

/// Watches the connection: says what happens to it, and tells every follower when it was made again.
pub(super) struct ConnectionMonitor {
    pub(super) connections: watch::Sender<u64>,
    pub(super) troubles: watch::Sender<ConnectionTroubles>,
    statistics: OnceLock<Arc<async_nats::Statistics>>,
    start: Instant,
    /// When a slow subscription was last said, in seconds after `start` and one: each dropped message is an event.
    slow_said: AtomicU64,
    /// The next loss is our own doing.
    loss_expected: AtomicBool,
}

impl ConnectionMonitor {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            connections: watch::Sender::new(1),
            troubles: watch::Sender::new(ConnectionTroubles::default()),
            statistics: OnceLock::new(),
            start: Instant::now(),
            slow_said: AtomicU64::new(0),
            loss_expected: AtomicBool::new(false),
        })
    }

    /// The connection is about to be made again: that is no loss to speak of.
    pub(super) fn expect_loss(&self) {
        self.loss_expected.store(true, Ordering::Relaxed);
    }

    pub(super) fn watch(&self, client: &Client) {
        let _ = self.statistics.set(client.statistics());
    }

    pub(super) fn heard(&self, event: &Event) {
        match event {
            Event::Disconnected if self.loss_expected.swap(false, Ordering::Relaxed) => {
                self.troubles.send_modify(|troubles| troubles.losses += 1);
            }
            Event::Disconnected => {
                self.troubles.send_modify(|troubles| troubles.losses += 1);
                metrics().broker_losses.inc();
                tracing::warn!("the connection to NATS was lost; it is being made again");
            }
            Event::LameDuckMode => tracing::warn!("the NATS server is about to stop"),
            Event::SlowConsumer(_) => self.say_slow(),
            Event::ServerError(error) => match PermissionRefusal::read(&error.to_string()) {
                // The call that waits for it fails, and its caller says what that means.
                Some(refusal) if refusal.is_publish && refusal.subject.starts_with("$JS.API.") => {
                    tracing::debug!(%error, "the NATS server reports an error");
                    self.troubles.send_modify(|troubles| troubles.add(refusal));
                }
                Some(refusal) => {
                    tracing::warn!(%error, "the NATS server reports an error");
                    self.troubles.send_modify(|troubles| troubles.add(refusal));
                }
                // Words before it closes the connection: they say why.
                None => {
                    tracing::warn!(%error, "the NATS server reports an error");
                    self.troubles.send_modify(|troubles| troubles.said = Some(error.to_string().into()));
                }
            },
            Event::ClientError(error) => {
                tracing::debug!(%error, "no connection to NATS yet");
                self.troubles.send_modify(|troubles| troubles.said = Some(error.to_string().into()));
            }
            Event::Connected => self.troubles.send_modify(|troubles| troubles.said = None),
            Event::Draining | Event::Closed => {}
        }
        // Counted rather than taken from the event: async-nats drops events when too many wait, but each that comes finds
        // the true number.
        let Some(statistics) = self.statistics.get() else { return };
        let made = statistics.connects.load(Ordering::Relaxed);
        let again = self.connections.send_if_modified(|known| {
            let changed = *known != made;
            *known = made;
            changed
        });
        if again {
            tracing::info!("the connection to NATS is there again");
        }
    }

    fn say_slow(&self) {
        let now = self.start.elapsed().as_secs() + 1;
        let said = self.slow_said.swap(now, Ordering::Relaxed);
        if said == 0 || now - said >= SAY_EVERY.as_secs() {
            tracing::warn!(
                "a reader of this process is slower than NATS; messages were dropped, and will be read again"
            );
        }
    }
}

/// How often streams have chosen their leaders, as far as this process has heard. What a leader has republished when it was lost may
/// never have come to whoever listens over another server, whose connection stands: each of them counts as a gap.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct LeaderElections {
    runs: u64,
    buckets: u64,
}

impl LeaderElections {
    /// Those of the stream of the runs.
    pub(super) fn of_runs(&self) -> u64 {
        self.runs
    }

    /// Those of the buckets' streams.
    pub(super) fn of_buckets(&self) -> u64 {
        self.buckets
    }

    /// Counts one that was heard on [`LEADER_ELECTED`].
    pub(super) fn count(&mut self, subject: &str) {
        match subject.rsplit('.').next() {
            Some(RUNS_STREAM) => self.runs += 1,
            Some(stream) if stream.starts_with("KV_fa_") => self.buckets += 1,
            _ => {}
        }
    }
}

/// Why what was asked is never answered.
#[derive(Debug, Default)]
pub(super) struct ConnectionTroubles {
    /// How often the connection was lost.
    pub(super) losses: u64,
    /// The last things that the server would not let us do, each with a number that grows.
    refused: VecDeque<(u64, PermissionRefusal)>,
    refusals: u64,
    /// What the server, or the last attempt to reach it, has said since there was a connection.
    said: Option<Arc<str>>,
}

/// A subject, as its hash: each request carries one, and hardly any is ever compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct SubjectHash(u64);

impl SubjectHash {
    pub(super) fn of(subject: &str) -> Self {
        Self(BuildHasherDefault::<DefaultHasher>::default().hash_one(subject))
    }
}

/// Something that this login may not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PermissionRefusal {
    /// Whether it is publishing, else it is subscribing.
    pub(super) is_publish: bool,
    /// Where.
    pub(super) subject: String,
}

impl ConnectionTroubles {
    /// How many losses and refusals there have been.
    pub(super) fn known(&self) -> (u64, u64) {
        (self.losses, self.refusals)
    }

    /// The error of what cannot be asked.
    pub(super) fn without_connection(&self) -> String {
        format!("there is no connection to NATS{}", self.reason())
    }

    /// The error of what is never answered.
    pub(super) fn lost(&self) -> String {
        format!("the connection to NATS was lost{}", self.reason())
    }

    fn reason(&self) -> String {
        self.said.as_ref().map(|said| format!(" ({said})")).unwrap_or_default()
    }

    pub(super) fn add(&mut self, refusal: PermissionRefusal) {
        self.refusals += 1;
        self.refused.push_back((self.refusals, refusal));
        if self.refused.len() > REMEMBERED_REFUSALS {
            self.refused.pop_front();
        }
    }

    /// Whether since refusal number `known` something was refused without which nothing at `place` is answered.
    pub(super) fn since(&self, known: u64, place: SubjectHash, inbox: &str) -> Option<&PermissionRefusal> {
        let concerns = |refusal: &PermissionRefusal| {
            SubjectHash::of(&refusal.subject) == place || !refusal.is_publish && refusal.subject.starts_with(inbox)
        };
        self.refused.iter().find(|(number, refusal)| *number > known && concerns(refusal)).map(|(_, refusal)| refusal)
    }
}

impl PermissionRefusal {
    /// Reads what the server says of it.
    pub(super) fn read(error: &str) -> Option<Self> {
        let rest = &error[error.to_ascii_lowercase().find("permissions violation for ")? + 26..];
        let (what, rest) = rest.split_once(" to \"")?;
        let is_publish = what.eq_ignore_ascii_case("publish");
        (is_publish || what.eq_ignore_ascii_case("subscription"))
            .then(|| Self { is_publish, subject: rest.split('"').next().unwrap_or_default().to_owned() })
    }

    pub(super) fn what(&self) -> String {
        format!("{} {:?}", if self.is_publish { "publish to" } else { "subscribe to" }, self.subject)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_read_from_the_servers_words_and_concerns_what_waits_for_it() {
        let publish =
            PermissionRefusal::read("Permissions Violation for Publish to \"$JS.API.STREAM.PURGE.FA_RUNS\"").unwrap();
        assert_eq!((publish.is_publish, publish.subject.as_str()), (true, "$JS.API.STREAM.PURGE.FA_RUNS"));
        let subscribe = "'Permissions Violation for Subscription to \"_INBOX.worker.x.*\" using queue \"q\"'";
        let subscribe = PermissionRefusal::read(subscribe).unwrap();
        assert_eq!((subscribe.is_publish, subscribe.subject.as_str()), (false, "_INBOX.worker.x.*"));
        assert_eq!(PermissionRefusal::read("Authorization Violation"), None);
        let mut troubles = ConnectionTroubles::default();
        troubles.add(publish);
        assert!(troubles.since(0, SubjectHash::of("$JS.API.STREAM.PURGE.FA_RUNS"), "_INBOX.worker").is_some());
        assert!(troubles.since(1, SubjectHash::of("$JS.API.STREAM.PURGE.FA_RUNS"), "_INBOX.worker").is_none());
        assert!(troubles.since(0, SubjectHash::of("$JS.API.INFO"), "_INBOX.worker").is_none());
        troubles.add(subscribe);
        assert!(troubles.since(1, SubjectHash::of("$JS.API.INFO"), "_INBOX.worker").is_some());
        assert!(troubles.since(1, SubjectHash::of("$JS.API.INFO"), "_INBOX.gateway").is_none());
    }
}
