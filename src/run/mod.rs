//! The ownership of a run: how it is started, claimed, written, answered, followed and ended, over the broker's traits
//! alone. Worker and gateway both stand on this; it knows no engine and no HTTP.
//!
//! The rules (`docs/explanation/architecture.md`, "Runs"): saying is appending; every append expects the last sequence; whoever wrote the
//! last claim owns the run; an answer is what the inbox took first.

pub mod active_time;
pub mod answer;
pub mod assembler;
pub mod attach;
pub mod caller_token;
pub mod claim;
pub mod clean;
pub mod directory;
pub mod lease;
pub mod lists;
pub mod notice;
mod parsing;
pub mod question;
pub mod redaction;
pub mod remove;
pub mod run_ref;
pub mod secret;
pub mod start;
pub mod summary;
pub mod sweeper;
mod view;
pub mod writer;

pub use crate::protocol::log as record;

/// What went wrong with a run. Whoever calls decides by the variant.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The broker failed.
    #[error(transparent)]
    Broker(#[from] crate::broker::Error),
    /// A record cannot be used.
    #[error(transparent)]
    Unreadable(#[from] assembler::UnreadableReason),
    /// A record would be more than anybody could read again.
    #[error("what happened in run {run} cannot be stored: {source}")]
    Unstorable {
        /// The run.
        run: crate::ids::RunId,
        /// What is too much.
        source: crate::bounds::ExceededBound,
    },
    /// There is no such run.
    #[error("there is no run {run}")]
    Unknown {
        /// The run.
        run: crate::ids::RunId,
    },
    /// Another worker owns the run now: let go, say nothing more.
    #[error("run {run} belongs to another worker now")]
    Lost {
        /// The run.
        run: crate::ids::RunId,
    },
    /// A new run was not claimed: something was stored for it meanwhile. It is to be looked at again.
    #[error("something was stored for run {run} before it was claimed")]
    Touched {
        /// The run.
        run: crate::ids::RunId,
    },
}

/// The result of a call about a run.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A log as far as it can be read.
#[derive(Debug, Default)]
pub struct ReadableLog {
    /// Its records.
    pub records: Vec<record::LogEntry>,
    /// What of it cannot be read. Records that are too deep are among the records as well, without what is too deep.
    pub unreadable: Vec<assembler::UnreadableRecord>,
    /// How many bytes it has as it is stored.
    pub bytes: u64,
}

impl ReadableLog {
    /// How the run began, if that can be read.
    pub fn created(&self) -> Option<&record::RunCreation> {
        match &self.records.first()?.record.body {
            record::RecordBody::Created(created) => Some(created),
            _ => None,
        }
    }

    /// Nothing is stored.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.unreadable.is_empty()
    }
}

/// Reads a run's records after sequence `after`, for whoever must know them all: one that cannot be read is an error.
pub async fn read(broker: &crate::broker::Broker, run: crate::ids::RunId, after: u64) -> Result<Vec<record::LogEntry>> {
    let mut looked = look(broker, run, after).await?;
    if looked.unreadable.is_empty() { Ok(looked.records) } else { Err(looked.unreadable.swap_remove(0).why.into()) }
}

/// Reads a run's records after sequence `after` as far as they can be read, for whoever shows, counts or removes them.
pub async fn look(
    broker: &crate::broker::Broker,
    run: crate::ids::RunId,
    after: u64,
) -> crate::broker::Result<ReadableLog> {
    Ok(look_through(run, &broker.log.read(run, after).await?, after))
}

/// What is stored of a run after sequence `after`, as far as it can be read.
pub fn look_through(run: crate::ids::RunId, stored: &[crate::broker::StoredRecord], after: u64) -> ReadableLog {
    let mut assembler = assembler::RecordAssembler::default();
    let mut looked = ReadableLog::default();
    let mut bytes = 0;
    for stored in stored {
        bytes += stored.payload.len() as u64;
        let taken = assembler.look(run, stored);
        if taken.anew {
            looked = ReadableLog::default();
        }
        // Those of a history that was stored anew have places that are older than where they were read.
        looked.records.extend(taken.records.into_iter().filter(|placed| placed.seq > after));
        looked.unreadable.extend(taken.unreadable.into_iter().filter(|unread| unread.seq > after));
    }
    ReadableLog { bytes, ..looked }
}

/// How a run began: one read, however long its log is. None if there is no such run any more.
pub async fn created(broker: &crate::broker::Broker, run: crate::ids::RunId) -> Result<Option<record::RunCreation>> {
    let Some(stored) = broker.log.first(run).await? else { return Ok(None) };
    let first = match assembler::RecordAssembler::default().look(run, &stored).records.into_iter().next() {
        Some(first) => Some(first),
        // Its first record came in pieces, or cannot be read.
        None => look(broker, run, 0).await?.records.into_iter().next(),
    };
    Ok(match first.map(|first| first.record.body) {
        Some(record::RecordBody::Created(created)) => Some(created),
        _ => None,
    })
}
