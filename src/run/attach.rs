//! Following a run from any record on: what is stored, in order, without gaps or doubles, and then what happens. The
//! subscription comes first and the log is read after it, so that nothing falls between; whatever may have been missed later
//! is read from the log again.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::time::Instant;

use crate::broker::{self, Broker, InboxSlot, RunUpdate};
use crate::ids::RunId;
use crate::message::InnerConversation;
use crate::protocol::log::{LogEntry, RecordBody};
use crate::run::assembler::RecordAssembler;
use crate::run::{ReadableLog, Result, look};

/// What a follower is given.
#[derive(Debug, Clone, PartialEq)]
pub enum FollowedEvent {
    /// The next record of the log.
    Record(Box<LogEntry>),
    /// What came before is history; what comes next is live. Given once.
    CaughtUp {
        /// The sequence of the last record there was.
        seq: u64,
    },
    /// A piece of text that is being written (JSON of [`TextDelta`]).
    Delta(Bytes),
}

/// A piece of a text that a model is writing now. Never stored; the message that is said at the end replaces it.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[schemars(rename = "Delta")]
pub struct TextDelta {
    /// The message that it will be.
    pub message: crate::ids::MessageId,
    /// Counts from 1; a later attempt replaces the text of an earlier one.
    pub attempt: u32,
    /// Where the piece begins, in Unicode scalar values.
    pub offset: usize,
    /// The piece.
    pub text: String,
    /// Who writes.
    pub sender: Option<String>,
    /// To whom.
    pub recipient: Option<String>,
    /// The conversations inside the workflow's own that the message will belong to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub within: Vec<InnerConversation>,
}

/// The longest silence after which the log is looked at anyway.
const IDLE_LOOK: Duration = Duration::from_secs(30);
/// What all followers of a process may hold of histories that were read and not given yet, in bytes: a client that reads slowly
/// holds the rest of a history for as long.
const MOST_HELD: u64 = 256 << 20;
/// A smaller history is read however much is held.
const SMALL_HISTORY: u64 = 256 << 10;
/// How long a history waits for others to be given.
const HELD_WITHIN: Duration = Duration::from_secs(30);
/// How often it is looked whether there is room.
const ROOM_EVERY: Duration = Duration::from_millis(200);

/// What all followers hold.
static HELD: AtomicU64 = AtomicU64::new(0);

/// A follower's part of what all hold; given back when this is dropped.
#[derive(Default)]
pub struct HeldBytes(u64);

impl HeldBytes {
    /// Adds a history; false if there is no room for it now.
    fn add(&mut self, bytes: u64) -> bool {
        let room = HELD.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
            let fits = bytes <= SMALL_HISTORY || held == 0 || held + bytes <= MOST_HELD;
            fits.then_some(held + bytes)
        });
        if room.is_ok() {
            self.0 += bytes;
        }
        room.is_ok()
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        if self.0 > 0 {
            HELD.fetch_sub(self.0, Ordering::Relaxed);
        }
    }
}

/// A follower of one run.
pub struct AttachedFollower {
    broker: Broker,
    run: RunId,
    live: BoxStream<'static, RunUpdate>,
    assembler: RecordAssembler,
    waiting: VecDeque<FollowedEvent>,
    /// The room that what waits takes.
    held: HeldBytes,
    /// The sequence of the last stored message that was taken in.
    last: u64,
    /// The sequence of the last record that was given.
    given: u64,
    ended: bool,
    /// The log is to be read. Noted before it is, as whoever calls may stop waiting at any moment.
    behind: bool,
    /// The subscription has ended and is to be made anew.
    deaf: bool,
    /// When to look at the log although nothing was heard.
    look_at: Instant,
}

/// Follows a run from after sequence `after` (0: from its start).
pub async fn attach(broker: &Broker, run: RunId, after: u64) -> Result<AttachedFollower> {
    let live = broker.log.follow(run).await?;
    let mut attached = AttachedFollower {
        broker: broker.clone(),
        run,
        live,
        assembler: RecordAssembler::default(),
        waiting: VecDeque::new(),
        held: HeldBytes::default(),
        last: after,
        given: after,
        ended: false,
        behind: false,
        deaf: false,
        look_at: Instant::now() + IDLE_LOOK,
    };
    // What was heard before the subscription, or with it, is known.
    match broker.log.heard_soon(run).await {
        Some(records) => records.iter().filter(|stored| stored.seq > after).for_each(|stored| attached.take(stored)),
        None => attached.catch_up().await?,
    }
    if attached.may_be_writing() {
        // Whoever owns the run tells the text so far. Nobody may hear it, and then there is nothing to tell.
        let _ = broker.inbox.notify(run, InboxSlot::Peek, Bytes::new()).await;
    }
    attached.waiting.push_back(FollowedEvent::CaughtUp { seq: attached.last });
    Ok(attached)
}

/// Reads a run's records from after sequence `after`, as far as they can be read, without following it.
pub async fn plain(broker: &Broker, run: RunId, after: u64) -> Result<ReadableLog> {
    Ok(look(broker, run, after).await?)
}

impl AttachedFollower {
    /// The next thing; `None` after the record that ended the run. Safe to drop and call again.
    pub async fn next(&mut self) -> Result<Option<FollowedEvent>> {
        loop {
            if let Some(seen) = self.waiting.pop_front() {
                return Ok(Some(seen));
            }
            if self.held.0 > 0 {
                self.held = HeldBytes::default();
            }
            if self.ended {
                return Ok(None);
            }
            if self.deaf {
                self.live = self.broker.log.follow(self.run).await?;
                self.deaf = false;
            }
            if self.behind {
                // Boxed: thousands of followers wait here, and few of them read.
                Box::pin(self.catch_up()).await?;
                self.behind = false;
                continue;
            }
            let heard = tokio::time::timeout_at(self.look_at, self.live.next()).await;
            self.look_at = Instant::now() + IDLE_LOOK;
            match heard {
                Ok(Some(RunUpdate::Record { stored, .. })) if stored.seq <= self.last => {}
                Ok(Some(RunUpdate::Record { stored, previous })) if previous == self.last => self.take(&stored),
                Ok(Some(RunUpdate::Delta(delta))) => return Ok(Some(FollowedEvent::Delta(delta))),
                Ok(Some(RunUpdate::Record { .. } | RunUpdate::Gap)) | Err(_) => self.behind = true,
                Ok(None) => (self.deaf, self.behind) = (true, true),
            }
        }
    }

    /// Whether a model may be writing: the run was claimed, and neither has ended nor waits for a person.
    fn may_be_writing(&self) -> bool {
        let Some(FollowedEvent::Record(last)) = self.waiting.back() else { return self.last > 0 && !self.ended };
        match &last.record.body {
            RecordBody::Said { message, .. } => !message.says.asks(),
            RecordBody::Claimed { .. } | RecordBody::Did { .. } => true,
            _ => false,
        }
    }

    /// The room that the history takes, for whoever gathers it first.
    pub fn held(&mut self) -> HeldBytes {
        std::mem::take(&mut self.held)
    }

    async fn catch_up(&mut self) -> Result<()> {
        let until = Instant::now() + HELD_WITHIN;
        loop {
            let records = self.broker.log.read(self.run, self.last).await?;
            if self.held.add(records.iter().map(|stored| stored.payload.len() as u64).sum()) {
                records.iter().for_each(|stored| self.take(stored));
                return Ok(());
            }
            drop(records);
            if Instant::now() > until {
                let doing = "read a long history: too many are being read by clients that are slow".to_owned();
                return Err(broker::Error::Unavailable { doing, source: None }.into());
            }
            tokio::time::sleep(ROOM_EVERY).await;
        }
    }

    /// Takes what is stored as far as it can be read: a follower is shown the rest of the run.
    fn take(&mut self, stored: &crate::broker::StoredRecord) {
        self.last = stored.seq;
        let taken = self.assembler.look(self.run, stored);
        if taken.anew {
            // What it stands for may be there still: it is for nobody any more.
            let place = |seen: &FollowedEvent| match seen {
                FollowedEvent::Record(placed) => Some(placed.seq),
                _ => None,
            };
            if let Some(first) = self.waiting.iter().find_map(place) {
                self.given = first.saturating_sub(1);
            }
            self.waiting.retain(|seen| place(seen).is_none());
        }
        let given = self.given;
        for unread in &taken.unreadable {
            tracing::debug!(run.id = %self.run, "a follower is not shown all of the run: {}", unread.why);
        }
        for placed in taken.records {
            self.ended |= matches!(placed.record.body, RecordBody::Ended(_) | RecordBody::Removed(_));
            // A history that was stored anew holds again what was given before.
            if placed.seq > given {
                self.given = placed.seq;
                self.waiting.push_back(FollowedEvent::Record(Box::new(placed)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histories_that_nobody_takes_are_bounded_and_short_ones_always_read() {
        let mut first = HeldBytes::default();
        assert!(first.add(MOST_HELD + 1), "one alone is read whatever its size");
        let mut second = HeldBytes::default();
        assert!(!second.add(SMALL_HISTORY + 1));
        assert!(second.add(SMALL_HISTORY));
        drop(first);
        assert!(second.add(SMALL_HISTORY + 1));
    }
}
