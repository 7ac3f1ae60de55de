//! The ownership of a run: how it is started, claimed, written, answered, followed and ended, over the broker's traits
//! alone. Worker and gateway both stand on this; it knows no engine and no HTTP.
//!
//! The rules (`docs/architecture.md`, "Runs"): saying is appending; every append expects the last sequence; whoever wrote the
//! last claim owns the run; an answer is what the inbox took first.

pub mod record;

pub mod answer;
pub mod attach;
pub mod claim;
pub mod directory;
pub mod lease;
pub mod notice;
pub mod question;
pub mod redaction;
pub mod remove;
pub mod secret;
pub mod spent;
pub mod start;
pub mod summary;
pub mod sweep;
pub mod writer;

/// What went wrong with a run. Whoever calls decides by the variant.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The broker failed.
    #[error(transparent)]
    Broker(#[from] crate::broker::Error),
    /// A record cannot be used.
    #[error(transparent)]
    Unreadable(#[from] record::Unreadable),
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
}

/// The result of a call about a run.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Reads a run's records after sequence `after`.
pub async fn read(broker: &crate::broker::Broker, run: crate::ids::RunId, after: u64) -> Result<Vec<record::Placed>> {
    let mut assembler = record::Assembler::default();
    let mut records = Vec::new();
    for stored in broker.log.read(run, after).await? {
        let taken = assembler.take(run, &stored)?;
        if taken.anew {
            records.clear();
        }
        // Those of a history that was stored anew have places that are older than where they were read.
        records.extend(taken.records.into_iter().filter(|placed| placed.seq > after));
    }
    Ok(records)
}

/// How a run began: one read, however long its log is. None if there is no such run any more.
pub async fn created(broker: &crate::broker::Broker, run: crate::ids::RunId) -> Result<Option<record::Created>> {
    let Some(stored) = broker.log.first(run).await? else { return Ok(None) };
    let first = match record::Assembler::default().take(run, &stored)?.records.into_iter().next() {
        Some(first) => Some(first),
        // Its first record came in pieces.
        None => read(broker, run, 0).await?.into_iter().next(),
    };
    Ok(match first.map(|first| first.record.body) {
        Some(record::Body::Created(created)) => Some(created),
        _ => None,
    })
}
