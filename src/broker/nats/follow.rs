//! Hearing what streams republish: a core subscription that knows when it may have missed something.

use async_nats::{Message, Subscriber};
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use tokio::sync::watch;

use super::monitor::LeaderElections;
use super::server::NatsConnection;
use crate::broker::Result;

/// What one who hears a run may leave unread. Ten seconds of a fast model's tokens.
pub(super) const MOST_UNREAD: usize = 1024;
/// What one subscription may leave unread; async-nats drops what comes then. One may be for thousands of runs. The buffer grows in
/// blocks of 32 messages (6 kB).
pub(super) const CAPACITY: usize = 8 * MOST_UNREAD;

/// A subscription and what is known of its gaps.
struct NatsSubscription<T> {
    subscriber: Subscriber,
    connections: watch::Receiver<u64>,
    elections: watch::Receiver<LeaderElections>,
    /// How often a leader was chosen whose predecessor may not have told all.
    elected: fn(&LeaderElections) -> u64,
    elected_so_far: u64,
    hears_elections: bool,
    read: fn(Message) -> Option<T>,
    gap: fn() -> T,
    /// How many messages came without the buffer being empty in between.
    streak: usize,
    gap_due: bool,
}

/// Hears `subject` from now on. `read` makes an item of a message (one it cannot read counts as a gap), `gap` says
/// that something may have been missed: the connection was lost, a stream (`elected`) has another leader, or the buffer was full.
pub(super) async fn hear<T: Send + 'static>(
    server: &NatsConnection,
    doing: &str,
    subject: String,
    elected: fn(&LeaderElections) -> u64,
    read: fn(Message) -> Option<T>,
    gap: fn() -> T,
) -> Result<BoxStream<'static, T>> {
    // Taken before the subscription, so that a connection lost in between is noticed.
    let connections = server.connections.clone();
    let mut elections = server.elections.clone();
    let elected_so_far = elected(&elections.borrow_and_update());
    let subscriber = server.subscribe(doing, subject).await?;
    let hearing = NatsSubscription {
        subscriber,
        connections,
        elections,
        elected,
        elected_so_far,
        hears_elections: true,
        read,
        gap,
        streak: 0,
        gap_due: false,
    };
    Ok(stream::unfold(hearing, |mut hearing| async move { Some((hearing.next().await?, hearing)) }).boxed())
}

impl<T> NatsSubscription<T> {
    async fn next(&mut self) -> Option<T> {
        if std::mem::take(&mut self.gap_due) {
            return Some((self.gap)());
        }
        let message = match self.subscriber.next().now_or_never() {
            Some(message) => message?,
            None => {
                // Without budget tokio says "nothing there" whatever is there.
                if tokio::task::coop::has_budget_remaining() {
                    self.streak = 0;
                }
                match self.message_or_gap().await? {
                    Some(message) => message,
                    None => return Some((self.gap)()),
                }
            }
        };
        // async-nats does not tell a subscription that messages were dropped. But if its buffer was full at some moment,
        // then from that moment on it gives UNREAD messages in a row; so after each such row there is a gap, perhaps.
        self.streak += 1;
        if self.streak == CAPACITY {
            self.streak = 0;
            self.gap_due = true;
        }
        Some((self.read)(message).unwrap_or_else(self.gap))
    }

    /// The next message; `Some(None)`: something else was heard before it. `None`: the client has ended.
    async fn message_or_gap(&mut self) -> Option<Option<Message>> {
        loop {
            tokio::select! {
                biased;
                message = self.subscriber.next() => return message.map(Some),
                changed = self.connections.changed() => return changed.ok().map(|()| None),
                changed = self.elections.changed(), if self.hears_elections => {
                    // Nobody counts them where no stream has copies.
                    self.hears_elections = changed.is_ok();
                    let elected = (self.elected)(&self.elections.borrow_and_update());
                    if std::mem::replace(&mut self.elected_so_far, elected) != elected {
                        return Some(None);
                    }
                }
            }
        }
    }
}
