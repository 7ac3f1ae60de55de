//! A scan of all runs in the embedded store, page by page: between two pages others have their turn.

use std::collections::VecDeque;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use rusqlite::params;

use super::session::StoreTransaction;
use super::store::{self, WeakSender};
use crate::broker::{Result, ScannedItem, StoredRecord, subjects};
use crate::clock::Timestamp;
use crate::ids::RunId;

/// Runs in one page.
const PAGE_SIZE: i64 = 256;

/// Where a scan is.
enum ScanPosition {
    /// At the runs after that number.
    Runs(i64),
    /// At the entries of inboxes after that run's one of that name.
    Inboxes(String, String),
    End,
}

/// Goes round all runs.
pub(super) fn scan(store: WeakSender) -> BoxStream<'static, Result<ScannedItem>> {
    let start = (store, ScanPosition::Runs(0), VecDeque::new());
    stream::unfold(start, |(store, mut at, mut page)| async move {
        loop {
            if let Some(item) = page.pop_front() {
                return Some((Ok(item), (store, at, page)));
            }
            let read = match at {
                ScanPosition::End => return None,
                ScanPosition::Runs(after) => {
                    store::call(store.upgrade().as_ref(), "go round the runs", move |session| Ok(runs(session, after)?))
                        .await
                }
                ScanPosition::Inboxes(run, slot) => {
                    store::call(store.upgrade().as_ref(), "go round the inboxes", move |session| {
                        Ok(inboxes(session, &run, &slot)?)
                    })
                    .await
                }
            };
            match read {
                Ok((next, found)) => (at, page) = (next, found),
                Err(error) => return Some((Err(error), (store, ScanPosition::End, VecDeque::new()))),
            }
        }
    })
    .boxed()
}

fn runs(session: &mut StoreTransaction<'_>, after: i64) -> rusqlite::Result<(ScanPosition, VecDeque<ScannedItem>)> {
    let mut statement = session.sql.prepare_cached(
        "select runs.no, runs.run, records.seq, records.at, records.payload from runs
         join records on records.seq = (select max(seq) from records where records.run = runs.no)
         where runs.no > ?1 order by runs.no limit ?2",
    )?;
    let (mut next, mut found) = (ScanPosition::Inboxes(String::new(), String::new()), VecDeque::new());
    let mut rows = statement.query(params![after, PAGE_SIZE])?;
    while let Some(row) = rows.next()? {
        next = ScanPosition::Runs(row.get(0)?);
        let Ok(run) = RunId::parse(&row.get::<_, String>(1)?) else { continue };
        let payload = Bytes::from(row.get::<_, Vec<u8>>(4)?);
        found.push_back(ScannedItem::Record {
            run,
            stored: StoredRecord { seq: row.get(2)?, at: moment(row.get(3)?), payload },
        });
    }
    Ok((next, found))
}

fn inboxes(
    session: &mut StoreTransaction<'_>,
    run: &str,
    slot: &str,
) -> rusqlite::Result<(ScanPosition, VecDeque<ScannedItem>)> {
    let mut statement = session.sql.prepare_cached(
        "select run, slot, seq, at from inbox where (run, slot) > (?1, ?2) order by run, slot limit ?3",
    )?;
    let (mut next, mut found) = (ScanPosition::End, VecDeque::new());
    let mut rows = statement.query(params![run, slot, PAGE_SIZE])?;
    while let Some(row) = rows.next()? {
        let (run, slot): (String, String) = (row.get(0)?, row.get(1)?);
        if let (Ok(run), Some(slot)) = (RunId::parse(&run), subjects::slot_of(&slot)) {
            found.push_back(ScannedItem::Inbox { run, slot, seq: row.get(2)?, at: moment(row.get(3)?) });
        }
        next = ScanPosition::Inboxes(run, slot);
    }
    Ok((next, found))
}

fn moment(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH)
}
