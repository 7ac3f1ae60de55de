//! A tour of all runs in the embedded store, page by page: between two pages others have their turn.

use std::collections::VecDeque;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use rusqlite::params;

use super::session::Session;
use super::store::{self, WeakSender};
use crate::broker::{Result, ScannedItem, Stored, subjects};
use crate::clock::Timestamp;
use crate::ids::RunId;

/// Runs in one page.
const PAGE: i64 = 256;

/// Where a tour is.
enum At {
    /// At the runs after that number.
    Runs(i64),
    /// At the entries of inboxes after that run's one of that name.
    Inboxes(String, String),
    End,
}

/// Goes round all runs.
pub(super) fn tour(store: WeakSender) -> BoxStream<'static, Result<ScannedItem>> {
    let start = (store, At::Runs(0), VecDeque::new());
    stream::unfold(start, |(store, mut at, mut page)| async move {
        loop {
            if let Some(sighting) = page.pop_front() {
                return Some((Ok(sighting), (store, at, page)));
            }
            let read = match at {
                At::End => return None,
                At::Runs(after) => {
                    store::call(store.upgrade().as_ref(), "go round the runs", move |session| Ok(runs(session, after)?))
                        .await
                }
                At::Inboxes(run, slot) => {
                    store::call(store.upgrade().as_ref(), "go round the inboxes", move |session| {
                        Ok(inboxes(session, &run, &slot)?)
                    })
                    .await
                }
            };
            match read {
                Ok((next, found)) => (at, page) = (next, found),
                Err(error) => return Some((Err(error), (store, At::End, VecDeque::new()))),
            }
        }
    })
    .boxed()
}

fn runs(session: &mut Session<'_>, after: i64) -> rusqlite::Result<(At, VecDeque<ScannedItem>)> {
    let mut statement = session.sql.prepare_cached(
        "select runs.no, runs.run, records.seq, records.at, records.payload from runs
         join records on records.seq = (select max(seq) from records where records.run = runs.no)
         where runs.no > ?1 order by runs.no limit ?2",
    )?;
    let (mut next, mut found) = (At::Inboxes(String::new(), String::new()), VecDeque::new());
    let mut rows = statement.query(params![after, PAGE])?;
    while let Some(row) = rows.next()? {
        next = At::Runs(row.get(0)?);
        let Ok(run) = RunId::parse(&row.get::<_, String>(1)?) else { continue };
        let payload = Bytes::from(row.get::<_, Vec<u8>>(4)?);
        found.push_back(ScannedItem::Record {
            run,
            stored: Stored { seq: row.get(2)?, at: moment(row.get(3)?), payload },
        });
    }
    Ok((next, found))
}

fn inboxes(session: &mut Session<'_>, run: &str, slot: &str) -> rusqlite::Result<(At, VecDeque<ScannedItem>)> {
    let mut statement = session.sql.prepare_cached(
        "select run, slot, seq, at from inbox where (run, slot) > (?1, ?2) order by run, slot limit ?3",
    )?;
    let (mut next, mut found) = (At::End, VecDeque::new());
    let mut rows = statement.query(params![run, slot, PAGE])?;
    while let Some(row) = rows.next()? {
        let (run, slot): (String, String) = (row.get(0)?, row.get(1)?);
        if let (Ok(run), Some(slot)) = (RunId::parse(&run), subjects::slot_of(&slot)) {
            found.push_back(ScannedItem::Inbox { run, slot, seq: row.get(2)?, at: moment(row.get(3)?) });
        }
        next = At::Inboxes(run, slot);
    }
    Ok((next, found))
}

fn moment(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH)
}
