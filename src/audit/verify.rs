//! Whether the log of a run is what was written: its chain holds from the first record to the last, and it ends where the
//! anchors say.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use crate::broker::{Broker, ScannedItem, StoredRecord};
use crate::chain::anchors::{self, AnchorFolder, LogAnchor, LogFate};
use crate::chain::{ChainHead, ChainKey, ChainLink, ChainMark, digest, linked, read_mark};
use crate::clock::{self, Clock, SystemClock, Timestamp};
use crate::ids::RunId;
pub use crate::protocol::api::{Finding, Report, Verdict};
use crate::protocol::log::{KeptHistory, Record, RecordBody, is_last_piece};
use crate::run::look_through;
use bytes::Bytes;
use futures_util::StreamExt;

/// How far the store's clock and the writers' may differ: more is a time that somebody changed.
const CLOCKS_DIFFER: Duration = Duration::from_secs(300);

/// A stored record as the chain sees it.
struct ChainStep {
    seq: u64,
    /// When it was stored, as the store says.
    at: Timestamp,
    link: Option<ChainLink>,
    digest: RecordDigest,
}

/// What is known of the digest of a record.
enum RecordDigest {
    Plain(ChainMark),
    /// Only who has the key knows it.
    Covered(String),
}

impl ChainStep {
    fn fits(&self, link: &ChainLink, key: &ChainKey, run: RunId, before: &ChainHead) -> bool {
        match &self.digest {
            RecordDigest::Plain(digest) => link.fits(key, run, before, digest),
            RecordDigest::Covered(text) => {
                key.uncover(run, self.seq, text).iter().any(|digest| link.fits(key, run, before, digest))
            }
        }
    }
}

/// Verifies logs: with the key that they were chained with, and the anchors in a folder.
#[derive(Clone)]
pub struct LogVerifier {
    key: ChainKey,
    anchors: PathBuf,
}

/// Counts the log of a run.
fn add(report: &mut Report, run: RunId, verdict: Verdict) {
    report.runs += 1;
    report.chained += verdict.chained;
    report.unanchored += u64::from(!verdict.anchored);
    let as_written = verdict.findings.is_empty();
    if verdict.removed && as_written {
        let count = if verdict.chained > 0 { &mut report.removed } else { &mut report.forgotten };
        *count += 1;
    }
    if verdict.chained == 0 && verdict.unchained > 0 && as_written {
        report.unchained.push(run);
    }
    if !verdict.findings.is_empty() {
        report.tampered.push((run, verdict.findings));
    }
    if !verdict.unreadable.is_empty() {
        report.unreadable.push((run, verdict.unreadable));
    }
}

/// Why logs cannot be verified.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The anchors cannot be read.
    #[error(transparent)]
    Anchors(#[from] crate::chain::anchors::Error),
    /// The logs cannot be read.
    #[error(transparent)]
    Run(#[from] crate::run::Error),
}

impl From<crate::broker::Error> for Error {
    fn from(error: crate::broker::Error) -> Self {
        Error::Run(error.into())
    }
}

impl LogVerifier {
    /// One with a key, and the folder of the anchors.
    pub fn new(key: ChainKey, anchors: PathBuf) -> Self {
        Self { key, anchors }
    }

    /// Verifies one log.
    pub async fn one(&self, broker: &Broker, run: RunId) -> Result<Verdict, Error> {
        // The anchors first: the run may be going on.
        let found = anchors::read(&self.anchors, &self.key)?;
        let stored = broker.log.read(run, 0).await?;
        Ok(verify(&self.key, run, &stored, found.anchors.get(&run)))
    }

    /// Verifies every log that there is or was; `progress` is told how many of how many are done.
    pub async fn all(&self, broker: &Broker, progress: &(dyn Fn(usize, usize) + Send + Sync)) -> Result<Report, Error> {
        let found = anchors::read(&self.anchors, &self.key)?;
        let mut report = Report { anchor_files: found.files, anchors_wrong: found.wrong.clone(), ..Report::default() };
        if found.lost > 0 {
            report.anchors_wrong.push(format!("{} anchors could not be written, and are missing", found.lost));
        }
        let runs = all_runs(broker, &found).await?;
        for (done, run) in runs.iter().enumerate() {
            let stored = broker.log.read(*run, 0).await?;
            add(&mut report, *run, verify(&self.key, *run, &stored, found.anchors.get(run)));
            progress(done + 1, runs.len());
        }
        Ok(report)
    }
}

/// Verifies the log of a run. `anchor` must have been read before the log was: a run may be going on.
pub fn verify(key: &ChainKey, run: RunId, stored: &[StoredRecord], anchor: Option<&LogAnchor>) -> Verdict {
    let (steps, erased) = steps(stored);
    let mut verdict = Verdict {
        chained: 0,
        unchained: 0,
        anchored: anchor.is_some(),
        removed: erased,
        findings: Vec::new(),
        unreadable: unreadable(run, stored),
    };
    let mut head = ChainHead::default();
    for (place, step) in steps.iter().enumerate() {
        let Some(link) = step.link else {
            if head.number == 0 {
                verdict.unchained += 1;
                head = ChainHead { seq: step.seq, ..ChainHead::default() };
            } else {
                find(
                    &mut verdict,
                    Some(step.seq),
                    "is not chained: it was inserted, or changed, or written without the key",
                );
            }
            continue;
        };
        // A tombstone stands alone.
        let alone = link.before.filter(|_| place == 0 && steps.len() == 1);
        let before = alone.map_or(head, |(seq, mark)| ChainHead { seq, number: link.number.saturating_sub(1), mark });
        // It has the place before it in itself, and may stand after what has not been removed yet.
        verdict.removed |= link.before.is_some();
        if step.fits(&link, key, run, &before) {
            verdict.chained += 1;
            // The link was made just before; the store cannot know its own time then, and so it is not in it.
            let (stored, written) = (step.at, link.at);
            if clock::until(stored, written).max(clock::until(written, stored)) > CLOCKS_DIFFER {
                find(
                    &mut verdict,
                    Some(step.seq),
                    format!("was written at {written}, and now says that it was stored at {stored}"),
                );
            }
        } else if link.number.saturating_sub(before.number) > 1 {
            let missing = link.number - before.number - 1;
            find(
                &mut verdict,
                Some(step.seq),
                format!("does not follow: {missing} records before it are missing, or it was changed"),
            );
        } else if link.number <= before.number {
            find(&mut verdict, Some(step.seq), "is out of place: it was inserted or moved, or it was changed");
        } else {
            find(&mut verdict, Some(step.seq), "was changed, or was moved here, or the key is another one");
        }
        head = ChainHead { seq: step.seq, number: link.number, mark: link.mark };
    }
    if let Some(anchor) = anchor {
        compare(&mut verdict, &head, anchor, steps.is_empty());
    }
    verdict
}

/// The records of a log that cannot be read.
fn unreadable(run: RunId, stored: &[StoredRecord]) -> Vec<Finding> {
    let unread = look_through(run, stored, 0).unreadable.into_iter();
    unread.map(|unread| Finding { seq: Some(unread.seq), what: unread.why.to_string() }).collect()
}

fn find(verdict: &mut Verdict, seq: Option<u64>, what: impl Into<String>) {
    verdict.findings.push(Finding { seq, what: what.into() });
}

/// Looks whether a log ends where its anchor says.
fn compare(verdict: &mut Verdict, head: &ChainHead, anchor: &LogAnchor, empty: bool) {
    let known = anchor.head;
    if let LogFate::Removed { until } = anchor.fate {
        verdict.removed = true;
        if let Some(until) = until.filter(|until| empty && SystemClock.now() < *until) {
            find(verdict, None, format!("it was removed, and what was left of it until {until} is gone"));
        }
        // It was removed by somebody who has the key; another run may have been started under its id since.
        if head.number == known.number && head.mark != known.mark {
            find(verdict, None, "it was removed, and what is left is not what was left then");
        }
    } else if empty {
        find(verdict, None, format!("the whole log is gone: {} records were there", known.number));
    } else if head.number < known.number {
        let (there, cut) = (known.number, known.number - head.number);
        find(verdict, None, format!("the end is cut off: {there} records were there, the last {cut} are missing"));
    } else if head.number == known.number && (head.mark != known.mark || head.seq != known.seq) {
        find(verdict, Some(head.seq), "is not the last record that was there, or not in its place");
    }
}

/// What the chain goes over: the stored records; of a history that was stored anew, those that it stands for and then its own.
fn steps(stored: &[StoredRecord]) -> (Vec<ChainStep>, bool) {
    let mut steps: Vec<ChainStep> = Vec::with_capacity(stored.len());
    let mut erased = false;
    let mut text = String::new();
    // Where the record that is being read begins among the steps.
    let mut from = 0;
    for one in stored {
        let linked = linked(&one.payload);
        let payload = linked.as_ref().map_or_else(|| one.payload.clone(), |linked| linked.payload());
        let own = digest(&payload);
        let kept = match kept_in(&payload, &mut text) {
            RecordPiece::First => {
                from = steps.len();
                None
            }
            RecordPiece::Further => None,
            RecordPiece::Last(kept) => kept,
            RecordPiece::Whole(kept) => {
                from = steps.len();
                kept
            }
        };
        steps.push(ChainStep {
            seq: one.seq,
            at: one.at,
            link: linked.map(|linked| linked.link),
            digest: RecordDigest::Plain(own),
        });
        if let Some(kept) = kept {
            erased = kept.erased.is_some();
            let own = steps.split_off(from.min(steps.len()));
            steps = kept.entries.iter().map(step_of).chain(own).collect();
        }
    }
    (steps, erased)
}

fn step_of(entry: &crate::protocol::log::KeptEntry) -> ChainStep {
    let link = entry.chain.as_deref().and_then(ChainLink::read);
    let own = || digest(entry.text.as_deref().unwrap_or_default().as_bytes());
    let digest = match entry.digest.as_deref() {
        None => RecordDigest::Plain(own()),
        Some(text) => read_mark(text).map_or_else(|| RecordDigest::Covered(text.to_owned()), RecordDigest::Plain),
    };
    ChainStep { seq: entry.seq, at: entry.at, link, digest }
}

enum RecordPiece {
    First,
    Further,
    Last(Option<Box<KeptHistory>>),
    Whole(Option<Box<KeptHistory>>),
}

/// Reads as much of a payload as tells what it stands for. One that cannot be read stands for itself.
fn kept_in(payload: &Bytes, text: &mut String) -> RecordPiece {
    let kept = |text: &[u8]| match crate::bounds::parse::<Record>(text) {
        Ok(Record { body: RecordBody::Kept(kept), .. }) => Some(Box::new(kept)),
        _ => None,
    };
    // Most records are neither; they need not be read.
    let begins = |kind: &str| payload.windows(kind.len()).take(96).any(|window| window == kind.as_bytes());
    if begins("\"kind\":\"kept\"") {
        return RecordPiece::Whole(kept(payload));
    }
    if !begins("\"kind\":\"part\"") {
        return RecordPiece::Whole(None);
    }
    match crate::bounds::parse::<Record>(payload) {
        Ok(Record { body: RecordBody::Part { index, count, text: piece, .. }, .. }) => {
            if index == 0 {
                text.clear();
            }
            text.push_str(&piece);
            match index {
                0 if count > 1 => RecordPiece::First,
                _ if !is_last_piece(index, count) => RecordPiece::Further,
                _ => RecordPiece::Last(kept(std::mem::take(text).as_bytes())),
            }
        }
        _ => RecordPiece::Whole(None),
    }
}

/// Every run that there is or was: those with a log, and those that only the anchors know.
async fn all_runs(broker: &Broker, anchors: &AnchorFolder) -> Result<BTreeSet<RunId>, Error> {
    let mut runs: BTreeSet<RunId> = anchors.anchors.keys().copied().collect();
    let mut scan = broker.log.scan().await?;
    while let Some(item) = scan.next().await {
        if let ScannedItem::Record { run, .. } = item? {
            runs.insert(run);
        }
    }
    Ok(runs)
}
