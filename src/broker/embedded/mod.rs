//! The broker inside this process, kept in a file: for one machine.
//!
//! One database works with a SQLite file (`database.rs`), most often on a thread of its own (`store.rs`); every call is a piece of
//! work for it. It does what waits in one transaction, and only after the commit does it answer and tell followers. Everything that was acknowledged therefore survives
//! `kill -9`; the disk itself is synchronised about once a second (`docs/explanation/broker.md` says what survives what).
//!
//! Always true here: one process per data folder, held by a lock on a file that the system releases however the process
//! ends; dropping the last [`Broker`] ends the thread and frees the folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::broker::Broker;

mod backup;
mod catalogue;
mod database;
mod dispatcher;
mod due;
mod file_size;
mod folder;
mod inbox;
mod lines;
mod lists;
mod log;
mod queue;
mod scan;
mod schema;
mod session;
mod slack;
mod store;
mod store_change;

pub use backup::{BackupError, BackupInProgress};
pub use folder::{admin_token, running_address, write_address, write_admin_token};

/// The largest record, answer or entry in bytes: what a NATS server carries by default, so that moving to one is no surprise.
pub const MAX_PAYLOAD: usize = 1024 * 1024;

const MEGABYTE: u64 = 1_000_000;

/// Why a data folder cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreOpenError {
    /// Another process works in it.
    #[error(
        "the data folder {} is in use by another process{}",
        dir.display(),
        address.as_ref().map(|url| format!(" (its gateway is at {url})")).unwrap_or_default()
    )]
    InUse {
        /// The folder.
        dir: PathBuf,
        /// Where its gateway listens, if it said so.
        address: Option<String>,
    },
    /// A newer version of this program wrote it.
    #[error(
        "the data folder {} was written by a newer version of this program (format {found}; this one knows up to {known})",
        dir.display()
    )]
    Newer {
        /// The folder.
        dir: PathBuf,
        /// The format of the file.
        found: i64,
        /// The newest format that this program reads.
        known: i64,
    },
    /// Its disk has no room for what this version of the program adds to the store.
    #[error(
        "the store in {} needs an index of its {runs} runs before this version can open it, and the disk has not the room for that: \
         about {} MB are needed, {} MB are free. Nothing was changed; make room, and start again",
        dir.display(),
        needed.div_ceil(MEGABYTE),
        free / MEGABYTE
    )]
    NoRoom {
        /// The folder.
        dir: PathBuf,
        /// How many runs the store has.
        runs: u64,
        /// About how many bytes are needed.
        needed: u64,
        /// How many are free.
        free: u64,
    },
    /// The folder or a file in it cannot be made, read or written.
    #[error("cannot use {} as a data folder", dir.display())]
    Folder {
        /// The folder.
        dir: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is no store of ours, or is damaged.
    #[error("cannot open the store {}", file.display())]
    Store {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
}

/// Opens the broker kept in `dir`, which is made if it is not there. Blocks for as long as opening a file takes.
pub fn open(dir: &Path) -> Result<Broker, StoreOpenError> {
    open_within(dir, None)
}

/// [`open`], with the most bytes that the store's file may have: a full one takes no more records, as with a disk that is
/// nearly full.
pub fn open_within(dir: &Path, max_bytes: Option<u64>) -> Result<Broker, StoreOpenError> {
    open_with(dir, file_size::FileSizeLimit::on_disk_of(dir, max_bytes))
}

fn open_with(dir: &Path, room: file_size::FileSizeLimit) -> Result<Broker, StoreOpenError> {
    let lock = folder::lock(dir)?;
    let embedded = Arc::new(EmbeddedBroker { store: store::EmbeddedStore::open(dir, lock, room)? });
    Ok(Broker {
        log: embedded.clone(),
        inbox: embedded.clone(),
        queue: embedded.clone(),
        catalogue: embedded.clone(),
        lists: embedded.clone(),
        cleaner: Some(embedded),
        contract: None,
        services: None,
    })
}

/// The traits, over one store.
struct EmbeddedBroker {
    store: store::EmbeddedStore,
}

impl EmbeddedBroker {
    /// Refuses what is larger than [`MAX_PAYLOAD`].
    fn fits(payload: &[u8]) -> crate::broker::Result<()> {
        if payload.len() > MAX_PAYLOAD {
            return Err(crate::broker::Error::TooLarge { size: payload.len(), max: MAX_PAYLOAD });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use bytes::Bytes;

    use super::*;
    use crate::broker::{Error, RecordLane, RemovalMethod, TOMBSTONE_KEPT};
    use crate::ids::RunId;

    #[tokio::test]
    async fn a_store_that_is_full_takes_no_more_until_something_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let most = 4 << 20;
        let broker = open_within(dir.path(), Some(most)).unwrap();
        let payload = || Bytes::from(vec![b'x'; 200_000]);
        let mut runs = Vec::new();
        let mut refused = None;
        while refused.is_none() && runs.len() < 30 {
            let run = RunId::random();
            match broker.log.append(run, RecordLane::Did, payload(), 0).await {
                Ok(_) => runs.push(run),
                Err(error) => refused = Some(error),
            }
        }
        assert!(matches!(refused, Some(Error::Full { .. })), "{refused:?} after {} records", runs.len());
        assert!((10..=20).contains(&runs.len()), "{}", runs.len());
        let ready = broker.log.ready().await;
        assert!(matches!(ready, Err(Error::Full { .. })), "{ready:?}");
        let left = broker.log.append_tombstone(runs[0], Bytes::from_static(b"gone"), TOMBSTONE_KEPT).await.unwrap();
        broker.cleaner.as_ref().unwrap().forget(runs[0], left, RemovalMethod::Remove).await.unwrap();
        broker.log.append(RunId::random(), RecordLane::Did, payload(), 0).await.unwrap();
        drop(broker);
        assert!(std::fs::metadata(dir.path().join(schema::FILE)).unwrap().len() <= most);
    }

    #[tokio::test]
    async fn a_store_does_not_fill_its_disk_and_what_removes_runs_has_room_nevertheless() {
        let dir = tempfile::tempdir().unwrap();
        let free = Arc::new(AtomicU64::new(1 << 30));
        let disk = {
            let free = free.clone();
            move || Some(file_size::DiskSpace { size: 100 << 30, free: free.load(Ordering::SeqCst) })
        };
        let broker = open_with(dir.path(), file_size::FileSizeLimit::of(None, Box::new(disk))).unwrap();
        let append = async |size: usize| {
            let run = RunId::random();
            broker.log.append(run, RecordLane::Did, vec![b'x'; size].into(), 0).await.map(|_| run)
        };
        // The disk is looked at now and then only.
        let until = async |size: usize, is_full: bool| {
            let begun = std::time::Instant::now();
            loop {
                match append(size).await {
                    Err(Error::Full { .. }) if is_full => break,
                    Ok(_) if !is_full => break,
                    Ok(_) | Err(Error::Full { .. }) => assert!(begun.elapsed().as_secs() < 20, "{is_full}"),
                    Err(error) => panic!("{error}"),
                }
            }
        };
        let mut runs = Vec::new();
        for _ in 0..10 {
            runs.push(append(200_000).await.unwrap());
        }
        free.store(100 << 20, Ordering::SeqCst);
        until(200_000, true).await;
        // To the last page.
        until(500, true).await;
        let tombstone = || Bytes::from(vec![b'x'; 3_000]);
        let first = broker.log.append_tombstone(runs[0], tombstone(), TOMBSTONE_KEPT).await.unwrap();
        broker.log.append_tombstone(runs[1], tombstone(), TOMBSTONE_KEPT).await.unwrap();
        until(200_000, true).await;
        broker.cleaner.as_ref().unwrap().forget(runs[0], first, RemovalMethod::Remove).await.unwrap();
        append(150_000).await.unwrap();
        until(200_000, true).await;
        free.store(1 << 30, Ordering::SeqCst);
        until(200_000, false).await;
    }

    #[tokio::test]
    async fn the_write_ahead_log_does_not_become_as_large_as_what_is_stored() {
        let dir = tempfile::tempdir().unwrap();
        let broker = open(dir.path()).unwrap();
        let write_ahead = dir.path().join(schema::WRITE_AHEAD);
        let mut largest = 0;
        for _ in 0..400 {
            let payload = Bytes::from(vec![b'x'; 900_000]);
            broker.log.append(RunId::random(), RecordLane::Did, payload, 0).await.unwrap();
            largest = largest.max(std::fs::metadata(&write_ahead).unwrap().len());
        }
        assert!(largest < schema::LARGE_WRITE_AHEAD + (16 << 20), "{} MB", largest >> 20);
    }
}
